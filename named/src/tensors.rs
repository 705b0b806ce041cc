//! Tensors by name: what a user gives, in a safetensors file or from a page, checked; and what an operation gives back.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::pin::Pin;

pub use safetensors::tensor::Dtype;
use safetensors::tensor::TensorView;
use safetensors::{SafeTensorError, SafeTensors, serialize};
use tilewise::wgpu;
use tilewise::{DType, Element, Error, Gpu, Tensor, Word, by_dtype};

use crate::failure::Failure;

/// At most this many names in a message.
const NAMES: usize = 24;

/// The tensors of a file, or those whose names begin with a prefix; or those of a call. It remembers which ones were read.
#[derive(Debug)]
pub struct TensorFile<'a> {
    /// What has the tensors, for messages.
    source: String,
    prefix: &'a str,
    tensors: BTreeMap<String, Given<'a>>,
    /// Tensors without the prefix.
    others: usize,
    /// Texts that a call gives, such as mods, by name.
    texts: BTreeMap<String, String>,
    used: RefCell<BTreeSet<String>>,
}

/// A tensor as it was given.
#[derive(Debug)]
pub struct Given<'a> {
    /// The type of its elements.
    pub dtype: Dtype,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Where it is.
    pub content: Content<'a>,
}

/// Where the elements of a tensor are.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    /// On the host: little-endian, in row-major order.
    Host(Cow<'a, [u8]>),
    /// In a buffer of the device.
    Device(wgpu::Buffer),
}

/// A tensor of a file, in one of the types that operations take.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Its name.
    pub name: &'a str,
    /// The type of its elements.
    pub dtype: DType,
    /// Sizes, outermost first.
    pub shape: &'a [usize],
    content: &'a Content<'a>,
}

/// Numbers of a file that count, index or choose something.
#[derive(Debug)]
pub struct Integers<T = u32> {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// The numbers, in row-major order.
    pub values: Vec<T>,
}

impl Given<'_> {
    /// The elements on the host, if they are there.
    fn bytes(&self, name: &str) -> Result<&[u8], Failure> {
        self.content.bytes(name)
    }
}

impl Content<'_> {
    fn bytes(&self, name: &str) -> Result<&[u8], Failure> {
        match self {
            Self::Host(bytes) => Ok(bytes),
            Self::Device(_) => Err(Failure::input(format!(
                "{name} is in a buffer of the device, but its values are needed on the host; give a typed array"
            ))),
        }
    }

    /// The tensor on the device. `T` is its element type.
    fn upload<T: tilewise::Stored>(&self, gpu: &Gpu, shape: &[usize]) -> Result<Tensor<T>, Failure> {
        Ok(match self {
            // The bytes need not be aligned, so they are copied.
            Self::Host(bytes) => {
                Tensor::from_slice(gpu, shape, &bytemuck::pod_collect_to_vec::<u8, T>(bytes))?
            }
            Self::Device(buffer) => Tensor::from_buffer(gpu, buffer.clone(), shape)?,
        })
    }
}

impl<'a> TensorFile<'a> {
    /// Parses a file's bytes. Names lose the prefix; tensors without it are not looked at. `source` names the file.
    pub fn parse(source: impl fmt::Display, bytes: &'a [u8], prefix: &'a str) -> Result<Self, Failure> {
        let file = SafeTensors::deserialize(bytes).map_err(|error| {
            let why = length_mismatch(bytes).unwrap_or_else(|| error.to_string());
            Failure::input(format!("{source} is no whole safetensors file: {why}"))
        })?;
        let all = file.tensors();
        let count = all.len();
        let inside = |(name, view): (String, TensorView<'a>)| {
            let content = Content::Host(Cow::Borrowed(view.data()));
            let given = Given { dtype: view.dtype(), shape: view.shape().to_vec(), content };
            name.strip_prefix(prefix).map(|rest| (rest.to_owned(), given))
        };
        let mut names: BTreeSet<_> = all.iter().map(|(name, _)| name.clone()).collect();
        let tensors: BTreeMap<_, _> = all.into_iter().filter_map(inside).collect();
        if tensors.is_empty() && !prefix.is_empty() {
            if names.len() > NAMES {
                names = names.iter().map(|name| beginning(name)).collect();
            }
            let names = list(names.iter().map(String::as_str));
            return Err(Failure::input(format!(
                "{source} has no tensor whose name begins with {prefix:?}; there are: {names}"
            )));
        }
        let (source, others) = (source.to_string(), count - tensors.len());
        Ok(Self { source, prefix, others, tensors, texts: BTreeMap::new(), used: RefCell::default() })
    }

    /// The tensors and texts of a call. `source` names the call.
    pub fn of_call(
        source: impl fmt::Display,
        tensors: BTreeMap<String, Given<'a>>,
        texts: BTreeMap<String, String>,
    ) -> Self {
        let source = source.to_string();
        Self { source, prefix: "", others: 0, tensors, texts, used: RefCell::default() }
    }

    /// A text by its path, or by the name that a call gives it.
    pub fn text(&self, path: &str) -> Result<String, Failure> {
        if let Some(text) = self.texts.get(path) {
            return Ok(text.clone());
        }
        std::fs::read_to_string(path).map_err(|error| Failure::input(format!("cannot read {path}: {error}")))
    }

    /// The tensor of that name. If it is missing the message lists those that are there.
    pub fn get(&self, name: &str) -> Result<Stored<'_>, Failure> {
        self.find(name)?.ok_or_else(|| {
            let (source, prefix) = (&self.source, self.prefix);
            let names = list(self.tensors.keys().map(String::as_str));
            let within = if prefix.is_empty() { String::new() } else { format!(" under {prefix:?}") };
            Failure::input(format!("{source} has no tensor {name:?}{within}; there are: {names}"))
        })
    }

    /// The tensor of that name, if it is there.
    pub fn find(&self, name: &str) -> Result<Option<Stored<'_>>, Failure> {
        let Some((name, given)) = self.tensors.get_key_value(name) else { return Ok(None) };
        let dtype = match given.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::Bf16,
            other => {
                return Err(Failure::input(format!("{name} holds {other:?}, expected F32, F16 or BF16")));
            }
        };
        self.used.borrow_mut().insert(name.to_owned());
        let Given { shape, content, .. } = given;
        Ok(Some(Stored { name, dtype, shape, content }))
    }

    /// The integers of that name, if they are there.
    pub fn integers(&self, name: &str) -> Result<Option<Integers<i64>>, Failure> {
        let Some(given) = self.tensors.get(name) else { return Ok(None) };
        let bytes = given.bytes(name)?;
        // The file's bytes need not be aligned, so they are copied.
        let values = match given.dtype {
            Dtype::I32 => bytemuck::pod_collect_to_vec::<u8, i32>(bytes).into_iter().map(i64::from).collect(),
            Dtype::U32 => bytemuck::pod_collect_to_vec::<u8, u32>(bytes).into_iter().map(i64::from).collect(),
            Dtype::I64 => bytemuck::pod_collect_to_vec(bytes),
            other => return Err(Failure::input(format!("{name} holds {other:?}, expected I32, U32 or I64"))),
        };
        self.used.borrow_mut().insert(name.to_owned());
        Ok(Some(Integers { shape: given.shape.clone(), values }))
    }

    /// The numbers of a tensor that is there, in whatever type they are; `expected` says what they are for.
    fn numbers(&self, (name, given): (&str, &Given<'a>), expected: &str) -> Result<Integers<f64>, Failure> {
        let values = match given.dtype {
            Dtype::BOOL | Dtype::U8 => given.bytes(name)?.iter().copied().map(f64::from).collect(),
            Dtype::I8 => {
                bytemuck::cast_slice::<u8, i8>(given.bytes(name)?).iter().copied().map(f64::from).collect()
            }
            Dtype::I32 | Dtype::U32 | Dtype::I64 => {
                self.integers(name)?.map_or(vec![], |found| found.values.iter().map(|&n| n as f64).collect())
            }
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => self.get(name)?.to_f64()?,
            other => return Err(Failure::input(format!("{name} holds {other:?}, expected {expected}"))),
        };
        self.used.borrow_mut().insert(name.to_owned());
        Ok(Integers { shape: given.shape.clone(), values })
    }

    /// Where the tensor of that name holds something other than 0.
    pub fn flags(&self, name: &str) -> Result<Integers<bool>, Failure> {
        let Integers { shape, values } = self.numbers((name, self.given(name)?), "booleans or numbers")?;
        Ok(Integers { shape, values: values.into_iter().map(|value| value != 0.0).collect() })
    }

    /// Whether there is a tensor of that name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensor of that name, of any type.
    fn given(&self, name: &str) -> Result<&Given<'a>, Failure> {
        if let Some(given) = self.tensors.get(name) {
            self.used.borrow_mut().insert(name.to_owned());
            return Ok(given);
        }
        let names = list(self.tensors.keys().map(String::as_str));
        Err(Failure::input(format!("{} has no tensor {name:?}; there are: {names}", self.source)))
    }

    /// Its shape, whatever its type.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>, Failure> {
        Ok(self.given(name)?.shape.clone())
    }

    /// Whether it holds 8-bit integers.
    pub fn is_int8(&self, name: &str) -> Result<bool, Failure> {
        Ok(self.given(name)?.dtype == Dtype::I8)
    }

    /// The tensor of that name, of 8-bit integers, on the device.
    pub fn upload_int8(&self, gpu: &Gpu, name: &str) -> Result<Tensor<i8>, Failure> {
        let given = self.given(name)?;
        match given.dtype {
            Dtype::I8 => given.content.upload(gpu, &given.shape),
            other => Err(Failure::input(format!("{name} holds {other:?}, expected I8"))),
        }
    }

    /// The numbers of that name that count or index something, if they are there.
    pub fn find_integers(&self, name: &str) -> Result<Option<Integers>, Failure> {
        let Some(Integers { shape, values }) = self.integers(name)? else { return Ok(None) };
        let value = |value: i64| {
            u32::try_from(value).map_err(|_| {
                Failure::input(format!("{name} holds {value}, expected numbers from 0 to 2^32 - 1"))
            })
        };
        let values = values.into_iter().map(value).collect::<Result<_, _>>()?;
        Ok(Some(Integers { shape, values }))
    }

    /// The ones and zeros of that name, if they are there.
    pub fn find_flags(&self, name: &str) -> Result<Option<Integers<bool>>, Failure> {
        let Some(given) = self.tensors.get(name) else { return Ok(None) };
        let expected = "booleans, or numbers that are 0 or 1";
        let Integers { shape, values } = self.numbers((name, given), expected)?;
        let flag = |value: f64| match value {
            0.0 => Ok(false),
            1.0 => Ok(true),
            odd => Err(Failure::input(format!("{name} holds {odd}, expected 0 and 1 alone"))),
        };
        let values = values.into_iter().map(flag).collect::<Result<_, _>>()?;
        Ok(Some(Integers { shape, values }))
    }

    /// The tensor of that name on the device. `T` is its element type.
    pub fn upload<T: Element>(&self, gpu: &Gpu, name: &str) -> Result<Tensor<T>, Failure> {
        self.get(name)?.upload(gpu)
    }

    /// The tensor of that name on the device in f32, which holds every f16 and bf16 exactly, if it is there.
    pub fn upload_f32(&self, gpu: &Gpu, name: &str) -> Result<Option<Tensor<f32>>, Failure> {
        self.find(name)?.map(|stored| stored.upload_f32(gpu)).transpose()
    }

    /// The elements of a tensor that mods read.
    pub fn word(&self, name: &str) -> Result<Word, Failure> {
        match self.given(name)?.dtype {
            Dtype::F32 => Ok(Word::F32),
            Dtype::U32 => Ok(Word::U32),
            Dtype::I32 => Ok(Word::I32),
            other => Err(Failure::input(format!("{name} holds {other:?}, expected F32, U32 or I32"))),
        }
    }

    /// A tensor that mods read on the device. `T` is of the file's type.
    pub fn upload_words<T: tilewise::Stored>(&self, gpu: &Gpu, name: &str) -> Result<Tensor<T>, Failure> {
        self.word(name)?;
        let given = self.given(name)?;
        given.content.upload(gpu, &given.shape)
    }

    /// What was not read, for a person to know; nothing if everything was.
    pub fn ignored(&self) -> Option<String> {
        let used = self.used.borrow();
        let unread: Vec<_> =
            self.tensors.keys().map(String::as_str).filter(|name| !used.contains(*name)).collect();
        let unread = (!unread.is_empty())
            .then(|| format!("ignored, as the operation does not read them: {}", list(unread)));
        let prefix = self.prefix;
        let outside = (self.others > 0)
            .then(|| format!("{} tensors whose names do not begin with {prefix:?}", self.others));
        match (unread, outside) {
            (Some(unread), Some(outside)) => Some(format!("{unread}; and {outside}")),
            (None, Some(outside)) => Some(format!("ignored: {outside}")),
            (unread, None) => unread,
        }
    }
}

/// If the header does not agree with the file's length, both in numbers: the commonest damage is a download that
/// broke off.
fn length_mismatch(bytes: &[u8]) -> Option<String> {
    let found = bytes.len() as u64;
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Some(format!("it has {found} bytes, expected at least 8"));
    };
    let header = u64::from_le_bytes(*length);
    let expected = match usize::try_from(header).ok().and_then(|header| rest.get(..header)) {
        None => u128::from(header) + 8,
        Some(text) => {
            let tensors: HashMap<String, serde_json::Value> = serde_json::from_slice(text).ok()?;
            let end = |tensor: &serde_json::Value| tensor.get("data_offsets")?.get(1)?.as_u64();
            let data = tensors.values().filter_map(end).max().unwrap_or(0);
            u128::from(header) + 8 + u128::from(data)
        }
    };
    let is = if expected > u128::from(found) { "truncated" } else { "too long" };
    (expected != u128::from(found))
        .then(|| format!("it is {is}: its header promises {expected} bytes, found {found}"))
}

/// The part of a name up to and with its first slash.
fn beginning(name: &str) -> String {
    name.find('/').map_or(name, |slash| &name[..=slash]).to_owned()
}

/// Names in one line, and how many more there are.
fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown = names.iter().take(NAMES).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl Stored<'_> {
    /// The sizes, if there are as many as the operation expects.
    pub fn sizes<const N: usize>(&self, expected: &str) -> Result<[usize; N], Failure> {
        self.shape.try_into().map_err(|_| {
            let Self { name, shape, .. } = self;
            let found = shape.len();
            Failure::input(format!(
                "{name} has {found} dimensions, of shape {shape:?}; expected {N}: ({expected})"
            ))
        })
    }

    /// Fails unless the shape is this one.
    pub fn expect_shape(&self, expected: &[usize]) -> Result<(), Failure> {
        let Self { name, shape, .. } = self;
        if *shape == expected {
            return Ok(());
        }
        Err(Failure::input(format!("{name} has shape {shape:?}, expected {expected:?}")))
    }

    /// Fails unless the tensor has the element type of this other one.
    pub fn expect_dtype_of(&self, other: &Self) -> Result<(), Failure> {
        if self.dtype == other.dtype {
            return Ok(());
        }
        Err(Failure::input(format!(
            "{} holds {}, expected {} like {}: the main tensors have one element type",
            self.name, self.dtype, other.dtype, other.name
        )))
    }

    /// Copies the tensor to the device as it is. `T` is its element type.
    pub fn upload<T: Element>(&self, gpu: &Gpu) -> Result<Tensor<T>, Failure> {
        self.content.upload(gpu, self.shape)
    }

    /// Copies the tensor to the device in f32, which holds every f16 and bf16 exactly.
    pub fn upload_f32(&self, gpu: &Gpu) -> Result<Tensor<f32>, Failure> {
        match self.dtype {
            DType::F32 => self.upload(gpu),
            DType::F16 | DType::Bf16 => Ok(Tensor::from_slice(gpu, self.shape, &self.values_f32()?)?),
        }
    }

    /// The elements in f32, which holds every f16 and bf16 exactly.
    pub fn values_f32(&self) -> Result<Vec<f32>, Failure> {
        Ok(match self.dtype {
            DType::F32 => self.values()?,
            DType::F16 => self.values::<half::f16>()?.into_iter().map(f32::from).collect(),
            DType::Bf16 => self.values::<half::bf16>()?.into_iter().map(f32::from).collect(),
        })
    }

    /// The values in f64, which holds every type exactly.
    pub fn to_f64(&self) -> Result<Vec<f64>, Failure> {
        by_dtype!(self.dtype, T => Ok(self.values::<T>()?.into_iter().map(Element::to_f64).collect()))
    }

    /// The file's bytes need not be aligned, so they are copied.
    fn values<T: Element>(&self) -> Result<Vec<T>, Failure> {
        Ok(bytemuck::pod_collect_to_vec(self.content.bytes(self.name)?))
    }
}

/// Fails unless every tensor that is there has its shape.
pub fn expect_shapes(expected: &[(Option<&Stored<'_>>, &[usize])]) -> Result<(), Failure> {
    expected.iter().try_for_each(|(tensor, shape)| tensor.map_or(Ok(()), |tensor| tensor.expect_shape(shape)))
}

/// What a file calls an element type.
fn file_type(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::Bf16 => Dtype::BF16,
    }
}

/// A result. What is on the device, or follows from that, is read when its bytes are asked for: computing waits for nothing.
#[derive(Debug)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// The type of its elements.
    pub dtype: Dtype,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Host(Vec<u8>),
    Device(Box<dyn OnDevice>),
    Derived(Derived),
}

/// Values that follow, on the host, from a tensor on the device.
struct Derived {
    from: Tensor<f32>,
    dtype: DType,
    derive: Box<Derive>,
}

type Derive = dyn Fn(&[f32]) -> Result<Vec<f64>, Failure>;

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Derived").field("from", &self.from).finish_non_exhaustive()
    }
}

/// Values rounded to a type, in bytes.
fn rounded(dtype: DType, values: &[f64]) -> Vec<u8> {
    by_dtype!(dtype, T => {
        let values: Vec<T> = values.iter().map(|&value| T::from_f64(value)).collect();
        bytemuck::cast_slice(&values).to_vec()
    })
}

/// A tensor whose element type is forgotten.
trait OnDevice: fmt::Debug {
    fn buffer(&self) -> &wgpu::Buffer;

    fn bytes(&self) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, Error>> + '_>>;
}

impl<T: tilewise::Stored> OnDevice for Tensor<T> {
    fn buffer(&self) -> &wgpu::Buffer {
        self.buffer()
    }

    fn bytes(&self) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, Error>> + '_>> {
        Box::pin(async { Ok(bytemuck::cast_slice(&self.read().await?).to_vec()) })
    }
}

impl Output {
    /// A tensor of these values, rounded to the type.
    pub fn of(name: &str, dtype: DType, shape: &[usize], values: &[f64]) -> Self {
        let values = Values::Host(rounded(dtype, values));
        Self { name: name.to_owned(), dtype: file_type(dtype), shape: shape.to_vec(), values }
    }

    /// A tensor that `derive` makes on the host of one on the device, rounded to the type.
    pub fn derived(
        name: &str,
        dtype: DType,
        shape: &[usize],
        from: &Tensor<f32>,
        derive: impl Fn(&[f32]) -> Result<Vec<f64>, Failure> + 'static,
    ) -> Self {
        let values = Values::Derived(Derived { from: from.clone(), dtype, derive: Box::new(derive) });
        Self { name: name.to_owned(), dtype: file_type(dtype), shape: shape.to_vec(), values }
    }

    /// A tensor on the device.
    pub fn on_device<T: Element>(name: &str, tensor: &Tensor<T>) -> Self {
        Self::new(name, file_type(T::DTYPE), tensor)
    }

    /// The same for 8-bit integers.
    pub fn int8_on_device(name: &str, tensor: &Tensor<i8>) -> Self {
        Self::new(name, Dtype::I8, tensor)
    }

    fn new<T: tilewise::Stored>(name: &str, dtype: Dtype, tensor: &Tensor<T>) -> Self {
        let values = Values::Device(Box::new(tensor.clone()));
        Self { name: name.to_owned(), dtype, shape: tensor.shape().to_vec(), values }
    }

    /// The element type, as operations call it.
    pub fn type_name(&self) -> String {
        format!("{:?}", self.dtype).to_ascii_lowercase()
    }

    /// The elements, little-endian and in row-major order. Waits for the device.
    pub async fn bytes(&self) -> Result<Cow<'_, [u8]>, Failure> {
        Ok(match &self.values {
            Values::Host(bytes) => Cow::Borrowed(bytes),
            Values::Device(tensor) => Cow::Owned(tensor.bytes().await?),
            Values::Derived(Derived { from, dtype, derive }) => {
                Cow::Owned(rounded(*dtype, &derive(&from.read().await?)?))
            }
        })
    }

    fn view<'a>(&'a self, bytes: &'a [u8]) -> Result<(&'a str, TensorView<'a>), SafeTensorError> {
        Ok((&self.name, TensorView::new(self.dtype, self.shape.clone(), bytes)?))
    }

    /// The buffer that holds the elements, if they are on the device.
    pub fn buffer(&self) -> Option<&wgpu::Buffer> {
        match &self.values {
            Values::Host(_) | Values::Derived(_) => None,
            Values::Device(tensor) => Some(tensor.buffer()),
        }
    }
}

/// The bytes of a file of these tensors. Waits for the device.
pub async fn file(outputs: &[Output], metadata: &[(&str, String)]) -> Result<Vec<u8>, Failure> {
    let mut contents = Vec::new();
    for output in outputs {
        contents.push(output.bytes().await?);
    }
    let views: Result<Vec<_>, SafeTensorError> =
        outputs.iter().zip(&contents).map(|(output, bytes)| output.view(bytes)).collect();
    let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let bytes = views.and_then(|views| serialize(views, Some(metadata)));
    bytes.map_err(|error| Failure::check(format!("a bug of tilewise: the outputs make no file: {error}")))
}
