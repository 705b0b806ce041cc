//! A `GPUDevice` of the page, and wgpu on it.
//!
//! wgpu 30 takes no JavaScript object: it asks `navigator.gpu` for an adapter, that for a device, and that for buffers. So
//! each of these is answered by a stand-in: for the time of one call, a property on the object that wgpu asks hides the
//! method of its class. Nothing else runs meanwhile, and no prototype is touched.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Array, Function, Object, Promise, Reflect};
use tilewise::shader::Shader;
use tilewise::{Caps, Error, Gpu, GpuOptions, wgpu};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;

use crate::js::{call, error, get, object, set};

/// Answers a method of an object by a stand-in while `work` runs.
fn stand_in<R>(
    target: &JsValue,
    method: &str,
    answer: impl FnMut(JsValue) -> JsValue + 'static,
    work: impl FnOnce() -> R,
) -> R {
    let answer = Closure::<dyn FnMut(JsValue) -> JsValue>::new(answer);
    set(target, method, answer.as_ref().clone());
    let result = work();
    let _ = Reflect::delete_property(target.unchecked_ref::<Object>(), &method.into());
    result
}

/// A device of the page, with the [`Gpu`] on it.
#[derive(Clone)]
pub struct Device {
    js: JsValue,
    pub gpu: Gpu,
    /// The sources of shaders that calls are compiling, and when they are done.
    compiling: Rc<RefCell<Vec<(String, Promise)>>>,
}

impl Device {
    /// Takes a `GPUDevice`. `owned` says that it was made for us: then its errors are ours to keep, and become those of
    /// the next read; a page's own device keeps the handlers that the page gave it.
    pub async fn open(
        js: JsValue,
        info: JsValue,
        owned: bool,
        ceiling: Option<Caps>,
    ) -> Result<Self, JsValue> {
        let answered = js.clone();
        let request_device =
            Closure::<dyn FnMut(JsValue) -> JsValue>::new(move |_| Promise::resolve(&answered).into());
        let adapter = object([
            ("features", get(&js, "features")),
            ("limits", get(&js, "limits")),
            ("info", info),
            ("requestDevice", request_device.into_js_value()),
        ]);
        let navigator = get(&js_sys::global(), "navigator");
        let instance = tilewise::instance();
        let options = wgpu::RequestAdapterOptions::default();
        let requested = stand_in(
            &get(&navigator, "gpu"),
            "requestAdapter",
            move |_| Promise::resolve(&adapter).into(),
            || instance.request_adapter(&options),
        );
        let adapter = requested.await.map_err(error)?;
        let gpu = if owned {
            Gpu::open(&adapter, GpuOptions { ceiling, ..GpuOptions::default() }).await.map_err(error)?
        } else {
            let descriptor = wgpu::DeviceDescriptor::default();
            let (device, queue) = adapter.request_device(&descriptor).await.map_err(error)?;
            Gpu::from_wgpu(device, queue)
        };
        gpu.free_dropped();
        Ok(Self { js, gpu, compiling: Rc::default() })
    }

    /// wgpu's handle of a `GPUBuffer` of this device. The page keeps the buffer: nothing here destroys it.
    pub fn adopt(&self, buffer: &JsValue) -> wgpu::Buffer {
        let descriptor = wgpu::BufferDescriptor {
            label: None,
            size: get(buffer, "size").as_f64().unwrap_or(0.0) as u64,
            usage: wgpu::BufferUsages::from_bits_truncate(get(buffer, "usage").as_f64().unwrap_or(0.0) as u32),
            mapped_at_creation: false,
        };
        let buffer = buffer.clone();
        stand_in(
            &self.js,
            "createBuffer",
            move |_| buffer.clone(),
            || self.gpu.device().create_buffer(&descriptor),
        )
    }

    /// A copy of a buffer in a new `GPUBuffer`, which is the page's.
    pub fn copy(&self, buffer: &wgpu::Buffer) -> Result<JsValue, JsValue> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let descriptor = object([
            ("size", (buffer.size() as f64).into()),
            ("usage", usage.bits().into()),
            ("label", "tilewise".into()),
        ]);
        let copy = call(&self.js, "createBuffer", &descriptor)?;
        let mut encoder = self.gpu.encoder();
        encoder.copy_buffer_to_buffer(buffer, 0, &self.adopt(&copy), 0, buffer.size());
        self.gpu.submit(encoder).map_err(error)?;
        Ok(copy)
    }

    /// Runs work that submits, and returns what the device has against it: nothing of it reaches the page's own handlers.
    pub async fn guard<R>(&self, work: impl FnOnce() -> R) -> Result<R, Error> {
        let device = self.gpu.device();
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let result = work();
        let (validation, memory) = (validation.pop(), memory.pop());
        match (validation.await, memory.await) {
            (None, None) => Ok(result),
            (Some(refused), _) | (None, Some(refused)) => {
                Err(Error::Gpu { label: "the call".to_owned(), message: refused.to_string() })
            }
        }
    }

    /// Compiles shaders before an operation asks for them, with the main thread and the GPU's own free meanwhile. What another
    /// call compiles is waited for.
    pub async fn prepare(&self, shaders: impl Iterator<Item = &Shader>) -> Result<(), JsValue> {
        let (others, mut new) = (Array::new(), Vec::new());
        for shader in shaders.filter(|shader| !self.gpu.is_prepared(shader)) {
            match self.compiling.borrow().iter().find(|(source, _)| *source == shader.source) {
                Some((_, done)) => drop(others.push(done)),
                None => new.push(shader),
            }
        }
        let mut tell = None;
        let done = Promise::new(&mut |resolve, _| tell = Some(resolve));
        let begun = new.iter().map(|shader| (shader.source.clone(), done.clone()));
        self.compiling.borrow_mut().extend(begun);
        let compiled = self.compile(&new).await;
        self.compiling.borrow_mut().retain(|(_, other)| !Object::is(other, &done));
        tell.map(|tell| tell.call0(&JsValue::UNDEFINED)).transpose()?;
        JsFuture::from(Promise::all(&others)).await?;
        compiled
    }

    /// wgpu 30 compiles with `createComputePipeline` alone. So the shaders are compiled twice: for a [`Gpu`] that is thrown
    /// away, whose pipelines are begun with `createComputePipelineAsync`; and, once those are there, for this one, which is
    /// handed all that the first time made.
    async fn compile(&self, new: &[&Shader]) -> Result<(), JsValue> {
        if new.is_empty() {
            return Ok(());
        }
        let (device, queue) = (self.gpu.device().clone(), self.gpu.queue().clone());
        let rehearsal = Gpu::from_wgpu(device, queue);
        let made = Made::default();
        let begun = self.recording(&made, || new.iter().try_for_each(|shader| rehearsal.prepare(shader)));
        begun.map_err(error)?;
        let pipelines = made.pipelines.take();
        // A shader that does not compile is compiled again below, where its error is caught as any other.
        let Ok(ready) = JsFuture::from(Promise::all(&pipelines.iter().collect::<Array>())).await else {
            return Ok(());
        };
        made.pipelines.replace(ready.unchecked_into::<Array>().to_vec());
        self.replaying(&made, || new.iter().try_for_each(|shader| self.gpu.prepare(shader))).map_err(error)
    }

    /// Keeps what the device makes while `work` runs. Of pipelines these are the promises.
    fn recording<R>(&self, made: &Made, work: impl FnOnce() -> R) -> R {
        let keep = |list: &List, method: &'static str| {
            let (js, list) = (self.js.clone(), Rc::clone(list));
            let class = Object::get_prototype_of(&js);
            let create: Function = get(&class, method).unchecked_into();
            move |descriptor: JsValue| {
                let result = create.call1(&js, &descriptor).unwrap_or(JsValue::UNDEFINED);
                list.borrow_mut().push(result.clone());
                result
            }
        };
        let begin = keep(&made.pipelines, "createComputePipelineAsync");
        let pipeline = move |descriptor| {
            begin(descriptor);
            // Only the rehearsal holds it, and never runs it.
            Object::new().into()
        };
        let module = keep(&made.modules, "createShaderModule");
        let group = keep(&made.groups, "createBindGroupLayout");
        let layout = keep(&made.layouts, "createPipelineLayout");
        self.standing_in(pipeline, module, group, layout, work)
    }

    /// Answers with what was kept, in its order.
    fn replaying<R>(&self, made: &Made, work: impl FnOnce() -> R) -> R {
        let replay = |list: &List| {
            let mut kept = list.take().into_iter();
            move |_| kept.next().unwrap_or(JsValue::UNDEFINED)
        };
        let (pipeline, module) = (replay(&made.pipelines), replay(&made.modules));
        self.standing_in(pipeline, module, replay(&made.groups), replay(&made.layouts), work)
    }

    fn standing_in<R>(
        &self,
        pipeline: impl FnMut(JsValue) -> JsValue + 'static,
        module: impl FnMut(JsValue) -> JsValue + 'static,
        group: impl FnMut(JsValue) -> JsValue + 'static,
        layout: impl FnMut(JsValue) -> JsValue + 'static,
        work: impl FnOnce() -> R,
    ) -> R {
        stand_in(&self.js, "createComputePipeline", pipeline, || {
            stand_in(&self.js, "createShaderModule", module, || {
                stand_in(&self.js, "createBindGroupLayout", group, || {
                    stand_in(&self.js, "createPipelineLayout", layout, work)
                })
            })
        })
    }
}

type List = Rc<RefCell<Vec<JsValue>>>;

/// What a device made, kind by kind.
#[derive(Default)]
struct Made {
    pipelines: List,
    modules: List,
    groups: List,
    layouts: List,
}
