//! An opened device with everything that operations share: capabilities, compiled kernels, memory accounting.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::kernel::Kernel;
use crate::shader::Shader;
use crate::{Caps, Error, caps};

/// An opened GPU. Cheap to clone: clones share the device, the kernels and the counters.
#[derive(Clone, Debug)]
pub struct Gpu {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    caps: Caps,
    shader_checks: bool,
    /// Bound where a kernel declares a tensor that its plan does not use.
    unused: wgpu::Buffer,
    kernels: Mutex<BTreeMap<String, Kernel>>,
    memory: Arc<Memory>,
    faults: Arc<Mutex<Faults>>,
}

/// What the device reported outside of any call.
#[derive(Debug, Default)]
struct Faults {
    lost: Option<String>,
    refused: Option<String>,
}

/// How to choose and open an adapter.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Part of the adapter's name, in any case; by default the fastest adapter.
    pub adapter: Option<String>,
    /// Plan as if the adapter had no more than these capabilities.
    pub ceiling: Option<Caps>,
    /// Keep the driver's bounds checks in shaders and the zeroing of workgroup memory: slower, and a second opinion
    /// on the kernels' own bounds.
    pub shader_checks: bool,
}

impl Gpu {
    /// Opens the fastest adapter, with all that it can do and tilewise can use.
    pub async fn request() -> Result<Self, Error> {
        Self::request_with(GpuOptions::default()).await
    }

    /// [`request`](Self::request), blocking.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn request_blocking() -> Result<Self, Error> {
        pollster::block_on(Self::request())
    }

    /// Opens an adapter of the caller's choice.
    pub async fn request_with(options: GpuOptions) -> Result<Self, Error> {
        let adapter = choose_adapter(options.adapter.as_deref()).await?;
        Self::open(&adapter, options).await
    }

    /// Opens this adapter.
    pub async fn open(adapter: &wgpu::Adapter, options: GpuOptions) -> Result<Self, Error> {
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("tilewise"),
            required_features: adapter.features() & caps::wanted_features(),
            required_limits: adapter.limits(),
            // SAFETY: wgpu asks for this word before it enables what may still be unsound. Of such features only
            // cooperative matrices are wanted, and the kernels that use them load and store within their arrays.
            experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|error| Error::NoDevice {
            adapter: adapter.get_info().name,
            reason: error.to_string(),
        })?;
        let caps = Caps::from_wgpu(&device.limits(), device.features(), &device.adapter_info());
        #[cfg(not(target_arch = "wasm32"))]
        let caps = if device.features().contains(caps::matrix_features()) {
            caps.with_matrices(&adapter.cooperative_matrix_properties())
        } else {
            caps
        };
        let gpu = Self::new(device, queue, caps, &options);
        gpu.watch();
        Ok(gpu)
    }

    /// Uses a device that the caller already has. Its own limits and features decide the plans; its error handler
    /// and device-lost callback stay the caller's, so that a lost device shows as [`Error::Gpu`] here.
    pub fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let caps = Caps::from_wgpu(&device.limits(), device.features(), &device.adapter_info());
        Self::new(device, queue, caps, &GpuOptions::default())
    }

    fn new(device: wgpu::Device, queue: wgpu::Queue, caps: Caps, options: &GpuOptions) -> Self {
        let caps = match &options.ceiling {
            Some(ceiling) => caps.restricted_to(ceiling),
            None => caps,
        };
        let unused = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("unused"),
            size: 16,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        Self {
            inner: Arc::new(Inner {
                device,
                queue,
                caps,
                shader_checks: options.shader_checks,
                unused,
                kernels: Mutex::default(),
                memory: Arc::default(),
                faults: Arc::default(),
            }),
        }
    }

    /// Keeps what the device reports on its own, so that the next call returns it instead of the process ending.
    fn watch(&self) {
        let faults = Arc::clone(&self.inner.faults);
        self.inner.device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            log::error!("{error}");
            lock(&faults).refused.get_or_insert_with(|| error.to_string());
        }));
        let faults = Arc::clone(&self.inner.faults);
        self.inner.device.set_device_lost_callback(move |reason, message| {
            lock(&faults).lost.get_or_insert_with(|| format!("{reason:?}: {message}"));
        });
    }

    /// Whether the two are clones of one another.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// The device.
    pub fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// The queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// What plans are made from.
    pub fn caps(&self) -> &Caps {
        &self.inner.caps
    }

    /// Whether shaders keep the driver's own bounds checks.
    pub fn shader_checks(&self) -> bool {
        self.inner.shader_checks
    }

    /// Bytes of tensors and scratch that operations of this [`Gpu`] allocated.
    pub fn memory(&self) -> &Memory {
        &self.inner.memory
    }

    /// Frees the buffers of all tensors that were dropped since the last call. Elsewhere that happens by itself; a browser
    /// waits until it collects garbage, and knows nothing of how full the GPU's memory is.
    ///
    /// Call it only while nothing is encoded and not yet submitted: what is may need a dropped tensor. From the first
    /// call on, dropped buffers are kept for the next one.
    #[cfg(target_arch = "wasm32")]
    pub fn free_dropped(&self) {
        let dropped = lock(&self.inner.memory.dropped).replace(Vec::new());
        dropped.into_iter().flatten().for_each(|buffer| buffer.destroy());
    }

    /// How many kernels were compiled so far.
    pub fn kernels_compiled(&self) -> usize {
        lock(&self.inner.kernels).len()
    }

    /// The kernel for this shader, compiled the first time it is asked for. The linked source is the key: plans
    /// that lead to the same shader share it, and lengths are not part of it.
    pub(crate) fn kernel(&self, shader: &Shader) -> Result<Kernel, Error> {
        if let Some(kernel) = lock(&self.inner.kernels).get(&shader.source) {
            return Ok(kernel.clone());
        }
        let kernel = self.guard(shader.label, || Kernel::compile(self, shader))?;
        lock(&self.inner.kernels).insert(shader.source.clone(), kernel.clone());
        Ok(kernel)
    }

    /// Compiles a shader of a plan now, so that an op that needs it finds it compiled.
    pub fn prepare(&self, shader: &Shader) -> Result<(), Error> {
        self.kernel(shader).map(drop)
    }

    /// Whether the shader was compiled.
    pub fn is_prepared(&self, shader: &Shader) -> bool {
        lock(&self.inner.kernels).contains_key(&shader.source)
    }

    /// Compiles another shader in the place of one, for whoever asks for it from now on.
    #[cfg(test)]
    pub(crate) fn replace_kernel(&self, shader: &Shader, by: &Shader) {
        let kernel = Kernel::compile(self, by);
        lock(&self.inner.kernels).insert(shader.source.clone(), kernel);
    }

    /// What the shader compiler has to say against a module: its words, and the line, where it names one.
    pub(crate) async fn complaint(
        &self,
        label: &str,
        wgsl: &str,
    ) -> Result<Option<(Option<usize>, String)>, Error> {
        self.check()?;
        let scope = self.inner.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = self.inner.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(label),
            source: wgpu::ShaderSource::Wgsl(wgsl.into()),
        });
        let error = scope.pop().await;
        let mut messages = module.get_compilation_info().await.messages.into_iter();
        let found = messages.find(|message| message.message_type == wgpu::CompilationMessageType::Error);
        Ok(match (found, error) {
            (Some(found), _) => {
                Some((found.location.map(|location| location.line_number as usize), found.message))
            }
            (None, error) => error.map(|error| (None, error.to_string())),
        })
    }

    pub(crate) fn unused(&self) -> &wgpu::Buffer {
        &self.inner.unused
    }

    /// Submits the recorded commands.
    pub fn submit(&self, encoder: wgpu::CommandEncoder) -> Result<(), Error> {
        self.guard("submit", || self.inner.queue.submit([encoder.finish()])).map(drop)
    }

    /// A new encoder for a batch of operations.
    pub fn encoder(&self) -> wgpu::CommandEncoder {
        self.inner.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// Completes once the device has done everything submitted.
    #[cfg_attr(
        not(target_arch = "wasm32"),
        allow(clippy::unused_async, reason = "only in a browser it can be awaited")
    )]
    pub async fn done(&self) -> Result<(), Error> {
        #[cfg(target_arch = "wasm32")]
        {
            let (sender, receiver) = futures_channel::oneshot::channel();
            self.inner.queue.on_submitted_work_done(move || {
                // Nobody listens any more.
                let _ = sender.send(());
            });
            receiver.await.map_err(|_| self.refusal("waiting for the device", "it did not answer"))?;
        }
        self.poll()?;
        self.check()
    }

    /// [`done`](Self::done), blocking.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn wait(&self) -> Result<(), Error> {
        self.poll()?;
        self.check()
    }

    fn poll(&self) -> Result<(), Error> {
        match self.inner.device.poll(wgpu::PollType::wait_indefinitely()) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.refusal("waiting for the device", &error.to_string())),
        }
    }

    /// Reports what the device complained of since the last check.
    fn check(&self) -> Result<(), Error> {
        let mut faults = lock(&self.inner.faults);
        if let Some(reason) = &faults.lost {
            return Err(Error::DeviceLost(reason.clone()));
        }
        match faults.refused.take() {
            Some(message) => Err(Error::Gpu { label: "the last submission".to_owned(), message }),
            None => Ok(()),
        }
    }

    /// A refusal in the device's words, or its loss if that is the cause.
    pub(crate) fn refusal(&self, label: &str, message: &str) -> Error {
        match &lock(&self.inner.faults).lost {
            Some(reason) => Error::DeviceLost(reason.clone()),
            None => Error::Gpu { label: label.to_owned(), message: message.to_owned() },
        }
    }

    /// Runs `work` and returns what wgpu's validation says of it. In a browser errors arrive later, and the next
    /// read reports them.
    pub(crate) fn guard<R>(&self, label: &str, work: impl FnOnce() -> R) -> Result<R, Error> {
        self.check()?;
        #[cfg(target_arch = "wasm32")]
        let (result, error): (R, Option<wgpu::Error>) = (work(), None);
        #[cfg(not(target_arch = "wasm32"))]
        let (result, error) = {
            let memory = self.inner.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let validation = self.inner.device.push_error_scope(wgpu::ErrorFilter::Validation);
            let result = work();
            let errors = [pollster::block_on(validation.pop()), pollster::block_on(memory.pop())];
            (result, errors.into_iter().flatten().next())
        };
        error.map_or(Ok(result), |error| Err(self.refusal(label, &error.to_string())))
    }

    /// A storage buffer, counted for as long as its lease lives.
    pub(crate) fn allocate(
        &self,
        bytes: u64,
        mapped: bool,
        what: impl Fn() -> String,
    ) -> Result<(wgpu::Buffer, Arc<Lease>), Error> {
        let limit = self.inner.caps.buffer_bytes;
        let refused = |reason| Error::Allocation { what: what(), bytes, reason };
        if bytes > limit {
            return Err(refused(format!("this adapter's buffers hold at most {}", caps::Bytes(limit))));
        }
        self.check()?;
        let descriptor = wgpu::BufferDescriptor {
            label: None,
            size: bytes,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: mapped,
        };
        // In a browser a refusal arrives later, and the next read reports it.
        #[cfg(target_arch = "wasm32")]
        let (buffer, error): (_, Option<wgpu::Error>) = (self.inner.device.create_buffer(&descriptor), None);
        #[cfg(not(target_arch = "wasm32"))]
        let (buffer, error) = {
            let scope = self.inner.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let buffer = self.inner.device.create_buffer(&descriptor);
            (buffer, pollster::block_on(scope.pop()))
        };
        if let Some(error) = error {
            return Err(refused(error.to_string()));
        }
        let lease = Lease::new(&self.inner.memory, bytes, &buffer);
        Ok((buffer, Arc::new(lease)))
    }

    /// A buffer of numbers that a call's kernels look up, such as where sequences lie.
    pub(crate) fn upload(&self, words: &[u32]) -> Result<wgpu::Buffer, Error> {
        let descriptor = wgpu::BufferDescriptor {
            label: Some("look-up"),
            size: size_of_val(words).max(16) as u64,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        self.guard("uploading", || {
            let buffer = self.inner.device.create_buffer(&descriptor);
            self.inner.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(words));
            buffer
        })
    }

    /// The first `bytes` of a buffer, once all submitted work is done.
    pub(crate) async fn download(&self, buffer: &wgpu::Buffer, bytes: u64) -> Result<Vec<u8>, Error> {
        let descriptor = wgpu::BufferDescriptor {
            label: Some("read back"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let staging = self.guard("reading back", || self.inner.device.create_buffer(&descriptor))?;
        let mut encoder = self.encoder();
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, bytes);
        self.submit(encoder)?;
        let (sender, receiver) = futures_channel::oneshot::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| drop(sender.send(result)));
        // Natively somebody has to drive the device; in a browser this does nothing and the callback comes by itself.
        self.poll()?;
        let mapped = receiver.await.map_err(|_| self.refusal("reading back", "the device did not answer"))?;
        mapped.map_err(|error| self.refusal("reading back", &error.to_string()))?;
        let view = staging
            .get_mapped_range(..bytes)
            .map_err(|error| self.refusal("reading back", &error.to_string()))?;
        let raw = view.to_vec();
        drop(view);
        // Not left to a browser's garbage collector.
        staging.destroy();
        self.check()?;
        Ok(raw)
    }
}

/// A lock whose poisoning is no concern: every critical section leaves its data whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The instance that adapters are asked from; `WGPU_BACKEND` and its like are respected.
pub fn instance() -> wgpu::Instance {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    // A page has no environment; reading one is much code.
    wgpu::Instance::new(if cfg!(target_arch = "wasm32") { descriptor } else { descriptor.with_env() })
}

async fn choose_adapter(name: Option<&str>) -> Result<wgpu::Adapter, Error> {
    let instance = instance();
    let Some(name) = name else {
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        return instance.request_adapter(&options).await.map_err(|error| Error::NoAdapter(error.to_string()));
    };
    let adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
    let names: Vec<_> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
    let wanted = name.to_lowercase();
    let found = adapters.into_iter().zip(&names).find(|(_, name)| name.to_lowercase().contains(&wanted));
    found
        .map(|(adapter, _)| adapter)
        .ok_or_else(|| Error::NoAdapter(format!("none is named {name:?} among {names:?}")))
}

/// How many bytes the tensors and scratch buffers of a [`Gpu`] take.
#[derive(Debug, Default)]
pub struct Memory {
    live: AtomicU64,
    peak: AtomicU64,
    /// What [`Gpu::free_dropped`] is to destroy, once it was called.
    #[cfg(target_arch = "wasm32")]
    dropped: Mutex<Option<Vec<wgpu::Buffer>>>,
}

impl Memory {
    /// Bytes allocated now.
    pub fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// The most bytes allocated at once since the last [`reset_peak`](Self::reset_peak).
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Starts a new measurement of the peak.
    pub fn reset_peak(&self) {
        self.peak.store(self.live(), Ordering::Relaxed);
    }
}

/// A share of [`Memory`], given back when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    memory: Arc<Memory>,
    bytes: u64,
    /// For [`Gpu::free_dropped`].
    #[cfg(target_arch = "wasm32")]
    buffer: wgpu::Buffer,
}

impl Lease {
    #[cfg_attr(
        not(target_arch = "wasm32"),
        allow(unused_variables, reason = "only browsers need the buffer")
    )]
    fn new(memory: &Arc<Memory>, bytes: u64, buffer: &wgpu::Buffer) -> Self {
        let live = memory.live.fetch_add(bytes, Ordering::Relaxed) + bytes;
        memory.peak.fetch_max(live, Ordering::Relaxed);
        Self {
            memory: Arc::clone(memory),
            bytes,
            #[cfg(target_arch = "wasm32")]
            buffer: buffer.clone(),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.memory.live.fetch_sub(self.bytes, Ordering::Relaxed);
        #[cfg(target_arch = "wasm32")]
        if let Some(dropped) = lock(&self.memory.dropped).as_mut() {
            dropped.push(self.buffer.clone());
        }
    }
}
