//! Contiguous tensors in device memory.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::gpu::Lease;
use crate::spec::elements;
use crate::{DType, Element, Error, Gpu, Stored};

/// A contiguous, row-major tensor on a [`Gpu`]. Cheap to clone: clones share the buffer.
#[derive(Clone, Debug)]
pub struct Tensor<T> {
    // One pointer: operations pass tensors on in great numbers, and a browser's package has the code of every move.
    held: Arc<Held>,
    element: PhantomData<T>,
}

/// What the clones of a tensor share.
#[derive(Debug)]
struct Held {
    gpu: Gpu,
    buffer: wgpu::Buffer,
    shape: Vec<usize>,
    _lease: Option<Arc<Lease>>,
}

/// Kernels may address a buffer in words of four elements.
const WORD: u64 = 16;

impl<T: Stored> Tensor<T> {
    /// Copies `values` to the device. Fails if they do not fill `shape` exactly.
    pub fn from_slice(gpu: &Gpu, shape: &[usize], values: &[T]) -> Result<Self, Error> {
        let expected = elements("a tensor", shape)?;
        if values.len() != expected {
            return Err(Error::Length { shape: shape.to_vec(), found: values.len(), expected });
        }
        let bytes: &[u8] = bytemuck::cast_slice(values);
        if cfg!(target_arch = "wasm32") {
            // A page's memory may be too full to map a new buffer, which wgpu does not survive; writing can fail.
            let tensor = Self::allocate(gpu, shape, false)?;
            let whole = bytes.len() / 4 * 4;
            gpu.queue().write_buffer(tensor.buffer(), 0, &bytes[..whole]);
            if whole < bytes.len() {
                let mut last = [0; 4];
                last[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
                gpu.queue().write_buffer(tensor.buffer(), whole as u64, &last);
            }
            return Ok(tensor);
        }
        let tensor = Self::allocate(gpu, shape, true)?;
        let mut view = tensor
            .buffer()
            .get_mapped_range_mut(..)
            .map_err(|error| gpu.refusal("mapping a new tensor", &error.to_string()))?;
        view.slice(..bytes.len()).copy_from_slice(bytes);
        drop(view);
        tensor.buffer().unmap();
        Ok(tensor)
    }

    /// A tensor of zeros, ready to be written by an operation.
    pub fn zeros(gpu: &Gpu, shape: &[usize]) -> Result<Self, Error> {
        Self::allocate(gpu, shape, false)
    }

    /// Takes a buffer of the device that `gpu` was made from. It must have the usages `STORAGE` and `COPY_SRC`, and
    /// `COPY_DST` if an operation's last states or gradients go into it, and hold the shape's elements, padded to a multiple
    /// of 16 bytes. Fails if it is shorter; a missing usage is refused when
    /// the tensor is first used.
    pub fn from_buffer(gpu: &Gpu, buffer: wgpu::Buffer, shape: &[usize]) -> Result<Self, Error> {
        let expected = padded_bytes::<T>(elements("a tensor", shape)?);
        if buffer.size() < expected {
            let found = buffer.size() as usize / size_of::<T>();
            return Err(Error::Length {
                shape: shape.to_vec(),
                found,
                expected: expected as usize / size_of::<T>(),
            });
        }
        Ok(Self::new(gpu, buffer, shape, None))
    }

    fn new(gpu: &Gpu, buffer: wgpu::Buffer, shape: &[usize], lease: Option<Arc<Lease>>) -> Self {
        let held = Held { gpu: gpu.clone(), buffer, shape: shape.to_vec(), _lease: lease };
        Self { held: Arc::new(held), element: PhantomData }
    }

    fn allocate(gpu: &Gpu, shape: &[usize], mapped: bool) -> Result<Self, Error> {
        let bytes = padded_bytes::<T>(elements("a tensor", shape)?);
        let what = || format!("a {} tensor of shape {shape:?}", T::NAME);
        let (buffer, lease) = gpu.allocate(bytes, mapped, what)?;
        Ok(Self::new(gpu, buffer, shape, Some(lease)))
    }

    /// Sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.held.shape
    }

    /// The underlying buffer: the elements in row-major order, little-endian, padded to 16 bytes.
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.held.buffer
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape().iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for all submitted work that writes this tensor, and copies it to the host.
    ///
    /// Fails if the device was lost or refused anything since the last read.
    pub async fn read(&self) -> Result<Vec<T>, Error> {
        if self.is_empty() {
            return Ok(vec![]);
        }
        let bytes = (self.len() * size_of::<T>()) as u64;
        let mut raw = self.held.gpu.download(self.buffer(), bytes.next_multiple_of(4)).await?;
        raw.truncate(bytes as usize);
        Ok(bytemuck::pod_collect_to_vec(&raw))
    }

    /// [`read`](Self::read), blocking.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read_blocking(&self) -> Result<Vec<T>, Error> {
        pollster::block_on(self.read())
    }

    /// Fails unless the tensor is on this GPU.
    pub(crate) fn expect_here(&self, gpu: &Gpu, name: &'static str) -> Result<(), Error> {
        if self.held.gpu.is(gpu) { Ok(()) } else { Err(Error::Foreign { tensor: name }) }
    }

    /// Fails unless the tensor is on this GPU and has this shape.
    pub(crate) fn expect_shape(&self, gpu: &Gpu, name: &'static str, shape: &[usize]) -> Result<(), Error> {
        self.expect_here(gpu, name)?;
        if self.shape() != shape {
            return Err(Error::Shape {
                tensor: name,
                found: self.shape().to_vec(),
                expected: shape.to_vec(),
            });
        }
        Ok(())
    }
}

impl<T: Element> Tensor<T> {
    /// The element type.
    pub const fn dtype(&self) -> DType {
        T::DTYPE
    }

    /// Fails unless the tensor is on this GPU and has this shape and the spec's element type.
    pub(crate) fn expect(
        &self,
        gpu: &Gpu,
        name: &'static str,
        dtype: DType,
        shape: &[usize],
    ) -> Result<(), Error> {
        self.expect_here(gpu, name)?;
        if T::DTYPE != dtype {
            return Err(Error::DType { tensor: name, found: T::DTYPE, expected: dtype });
        }
        self.expect_shape(gpu, name, shape)
    }
}

/// Fails unless an optional tensor is given exactly when the spec needs it, and has this shape and element type.
pub(crate) fn expect_optional<T: Element>(
    gpu: &Gpu,
    tensor: Option<&Tensor<T>>,
    name: &'static str,
    needed: bool,
    shape: &[usize],
) -> Result<(), Error> {
    match tensor {
        Some(tensor) if needed => tensor.expect(gpu, name, T::DTYPE, shape),
        None if !needed => Ok(()),
        _ => Err(Error::Presence { tensor: name, expected: needed }),
    }
}

/// Bytes of a buffer for that many elements.
fn padded_bytes<T: Stored>(elements: usize) -> u64 {
    // A binding of no bytes does not exist, so the least is one word.
    ((elements * size_of::<T>()) as u64).next_multiple_of(WORD).max(WORD)
}
