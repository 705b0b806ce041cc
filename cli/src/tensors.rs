//! Tensors in safetensors files: what a user gives, checked, and what an operation gives back.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors, serialize};
use tilewise::{DType, Element, Gpu, Tensor, Word, by_dtype};

use crate::failure::Failure;

/// At most this many names in a message.
const NAMES: usize = 24;

/// The tensors of a file, or those whose names begin with a prefix. It remembers which ones were read.
#[derive(Debug)]
pub struct TensorFile<'a> {
    path: &'a Path,
    prefix: &'a str,
    tensors: BTreeMap<String, TensorView<'a>>,
    /// Tensors without the prefix.
    others: usize,
    used: RefCell<BTreeSet<String>>,
}

/// A tensor of a file, in one of the types that operations take.
#[derive(Debug)]
pub struct Stored<'a> {
    pub name: String,
    pub dtype: DType,
    pub shape: &'a [usize],
    data: &'a [u8],
}

/// Numbers of a file that count, index or choose something.
#[derive(Debug)]
pub struct Integers<T = u32> {
    pub shape: Vec<usize>,
    pub values: Vec<T>,
}

// The files of `run`. Not a doc comment: clap would give it to the command.
#[derive(Debug, Args)]
pub struct Files {
    /// The safetensors file to read
    #[arg(value_name = "IN.safetensors")]
    pub input: PathBuf,
    /// The safetensors file to write
    #[arg(short, long, value_name = "OUT.safetensors")]
    pub output: PathBuf,
    /// Read only tensors whose names begin with PREFIX, such as `case/`; their names then lose it
    #[arg(long, default_value = "", hide_default_value = true)]
    pub prefix: String,
}

/// The whole file.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::Input(format!("cannot read {}: {error}", path.display())))
}

impl<'a> TensorFile<'a> {
    /// Parses a file's bytes. Names lose the prefix; tensors without it are not looked at.
    pub fn parse(path: &'a Path, bytes: &'a [u8], prefix: &'a str) -> Result<Self, Failure> {
        let file = SafeTensors::deserialize(bytes).map_err(|error| {
            let why = length_mismatch(bytes).unwrap_or_else(|| error.to_string());
            Failure::Input(format!("{} is no whole safetensors file: {why}", path.display()))
        })?;
        let all = file.tensors();
        let count = all.len();
        let inside = |(name, view): (String, TensorView<'a>)| {
            name.strip_prefix(prefix).map(|rest| (rest.to_owned(), view))
        };
        let mut names: BTreeSet<_> = all.iter().map(|(name, _)| name.clone()).collect();
        let tensors: BTreeMap<_, _> = all.into_iter().filter_map(inside).collect();
        if tensors.is_empty() && !prefix.is_empty() {
            if names.len() > NAMES {
                names = names.iter().map(|name| beginning(name)).collect();
            }
            let (path, names) = (path.display(), list(names.iter().map(String::as_str)));
            return Err(Failure::Input(format!(
                "{path} has no tensor whose name begins with {prefix:?}; there are: {names}"
            )));
        }
        Ok(Self { path, prefix, others: count - tensors.len(), tensors, used: RefCell::default() })
    }

    /// The tensor of that name. If it is missing the message lists those that are there.
    pub fn get(&self, name: &str) -> Result<Stored<'_>, Failure> {
        self.find(name)?.ok_or_else(|| {
            let (path, prefix) = (self.path.display(), self.prefix);
            let names = list(self.tensors.keys().map(String::as_str));
            let within = if prefix.is_empty() { String::new() } else { format!(" under {prefix:?}") };
            Failure::Input(format!("{path} has no tensor {name:?}{within}; there are: {names}"))
        })
    }

    /// The tensor of that name, if it is there.
    pub fn find(&self, name: &str) -> Result<Option<Stored<'_>>, Failure> {
        let Some(view) = self.tensors.get(name) else { return Ok(None) };
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::Bf16,
            other => {
                return Err(Failure::Input(format!("{name} holds {other:?}, expected F32, F16 or BF16")));
            }
        };
        self.used.borrow_mut().insert(name.to_owned());
        Ok(Some(Stored { name: name.to_owned(), dtype, shape: view.shape(), data: view.data() }))
    }

    /// The integers of that name, if they are there.
    pub fn integers(&self, name: &str) -> Result<Option<Integers<i64>>, Failure> {
        let Some(view) = self.tensors.get(name) else { return Ok(None) };
        // The file's bytes need not be aligned, so they are copied.
        let values = match view.dtype() {
            Dtype::I32 => {
                bytemuck::pod_collect_to_vec::<u8, i32>(view.data()).into_iter().map(i64::from).collect()
            }
            Dtype::U32 => {
                bytemuck::pod_collect_to_vec::<u8, u32>(view.data()).into_iter().map(i64::from).collect()
            }
            Dtype::I64 => bytemuck::pod_collect_to_vec(view.data()),
            other => return Err(Failure::Input(format!("{name} holds {other:?}, expected I32, U32 or I64"))),
        };
        self.used.borrow_mut().insert(name.to_owned());
        Ok(Some(Integers { shape: view.shape().to_vec(), values }))
    }

    /// The numbers of a tensor that is there, in whatever type they are; `expected` says what they are for.
    fn numbers(
        &self,
        (name, view): (&str, &TensorView<'a>),
        expected: &str,
    ) -> Result<Integers<f64>, Failure> {
        let values = match view.dtype() {
            Dtype::BOOL | Dtype::U8 => view.data().iter().copied().map(f64::from).collect(),
            Dtype::I8 => bytemuck::cast_slice::<u8, i8>(view.data()).iter().copied().map(f64::from).collect(),
            Dtype::I32 | Dtype::U32 | Dtype::I64 => {
                self.integers(name)?.map_or(vec![], |found| found.values.iter().map(|&n| n as f64).collect())
            }
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => self.get(name)?.to_f64(),
            other => return Err(Failure::Input(format!("{name} holds {other:?}, expected {expected}"))),
        };
        self.used.borrow_mut().insert(name.to_owned());
        Ok(Integers { shape: view.shape().to_vec(), values })
    }

    /// Where the tensor of that name holds something other than 0.
    pub fn flags(&self, name: &str) -> Result<Integers<bool>, Failure> {
        let Integers { shape, values } = self.numbers((name, self.view(name)?), "booleans or numbers")?;
        Ok(Integers { shape, values: values.into_iter().map(|value| value != 0.0).collect() })
    }

    /// Whether there is a tensor of that name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensor of that name, of any type.
    fn view(&self, name: &str) -> Result<&TensorView<'a>, Failure> {
        if let Some(view) = self.tensors.get(name) {
            self.used.borrow_mut().insert(name.to_owned());
            return Ok(view);
        }
        let names = list(self.tensors.keys().map(String::as_str));
        Err(Failure::Input(format!("{} has no tensor {name:?}; there are: {names}", self.path.display())))
    }

    /// Its shape, whatever its type.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>, Failure> {
        Ok(self.view(name)?.shape().to_vec())
    }

    /// Whether it holds 8-bit integers.
    pub fn is_int8(&self, name: &str) -> Result<bool, Failure> {
        Ok(self.view(name)?.dtype() == Dtype::I8)
    }

    /// The tensor of that name, of 8-bit integers, on the device.
    pub fn upload_int8(&self, gpu: &Gpu, name: &str) -> Result<Tensor<i8>, Failure> {
        let view = self.view(name)?;
        match view.dtype() {
            Dtype::I8 => Ok(Tensor::from_slice(gpu, view.shape(), bytemuck::cast_slice(view.data()))?),
            other => Err(Failure::Input(format!("{name} holds {other:?}, expected I8"))),
        }
    }

    /// The numbers of that name that count or index something, if they are there.
    pub fn find_integers(&self, name: &str) -> Result<Option<Integers>, Failure> {
        let Some(Integers { shape, values }) = self.integers(name)? else { return Ok(None) };
        let value = |value: i64| {
            u32::try_from(value).map_err(|_| {
                Failure::Input(format!("{name} holds {value}, expected numbers from 0 to 2^32 - 1"))
            })
        };
        let values = values.into_iter().map(value).collect::<Result<_, _>>()?;
        Ok(Some(Integers { shape, values }))
    }

    /// The ones and zeros of that name, if they are there.
    pub fn find_flags(&self, name: &str) -> Result<Option<Integers<bool>>, Failure> {
        let Some(view) = self.tensors.get(name) else { return Ok(None) };
        let expected = "booleans, or numbers that are 0 or 1";
        let Integers { shape, values } = self.numbers((name, view), expected)?;
        let flag = |value: f64| match value {
            0.0 => Ok(false),
            1.0 => Ok(true),
            odd => Err(Failure::Input(format!("{name} holds {odd}, expected 0 and 1 alone"))),
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
        let Some(view) = self.tensors.get(name) else { return self.get(name).map(|_| Word::F32) };
        match view.dtype() {
            Dtype::F32 => Ok(Word::F32),
            Dtype::U32 => Ok(Word::U32),
            Dtype::I32 => Ok(Word::I32),
            other => Err(Failure::Input(format!("{name} holds {other:?}, expected F32, U32 or I32"))),
        }
    }

    /// A tensor that mods read on the device. `T` is of the file's type.
    pub fn upload_words<T: tilewise::Stored>(&self, gpu: &Gpu, name: &str) -> Result<Tensor<T>, Failure> {
        self.word(name)?;
        let view = &self.tensors[name];
        self.used.borrow_mut().insert(name.to_owned());
        Ok(Tensor::from_slice(gpu, view.shape(), &bytemuck::pod_collect_to_vec::<u8, T>(view.data()))?)
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
            Failure::Input(format!(
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
        Err(Failure::Input(format!("{name} has shape {shape:?}, expected {expected:?}")))
    }

    /// Fails unless the tensor has the element type of this other one.
    pub fn expect_dtype_of(&self, other: &Self) -> Result<(), Failure> {
        if self.dtype == other.dtype {
            return Ok(());
        }
        Err(Failure::Input(format!(
            "{} holds {}, expected {} like {}: the main tensors have one element type",
            self.name, self.dtype, other.dtype, other.name
        )))
    }

    /// Copies the tensor to the device as it is. `T` is its element type.
    pub fn upload<T: Element>(&self, gpu: &Gpu) -> Result<Tensor<T>, Failure> {
        Ok(Tensor::from_slice(gpu, self.shape, &self.values::<T>())?)
    }

    /// Copies the tensor to the device in f32, which holds every f16 and bf16 exactly.
    pub fn upload_f32(&self, gpu: &Gpu) -> Result<Tensor<f32>, Failure> {
        Ok(Tensor::from_slice(gpu, self.shape, &self.values_f32())?)
    }

    /// The elements in f32, which holds every f16 and bf16 exactly.
    pub fn values_f32(&self) -> Vec<f32> {
        match self.dtype {
            DType::F32 => self.values(),
            DType::F16 => self.values::<half::f16>().into_iter().map(f32::from).collect(),
            DType::Bf16 => self.values::<half::bf16>().into_iter().map(f32::from).collect(),
        }
    }

    /// The values in f64, which holds every type exactly.
    pub fn to_f64(&self) -> Vec<f64> {
        by_dtype!(self.dtype, T => self.values::<T>().into_iter().map(Element::to_f64).collect())
    }

    /// The file's bytes need not be aligned, so they are copied.
    fn values<T: Element>(&self) -> Vec<T> {
        bytemuck::pod_collect_to_vec(self.data)
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

/// A tensor to be written.
#[derive(Debug)]
pub struct Output {
    pub name: String,
    pub shape: Vec<usize>,
    dtype: Dtype,
    bytes: Vec<u8>,
}

impl Output {
    /// A tensor of these values, rounded to the type.
    pub fn of(name: &str, dtype: DType, shape: &[usize], values: &[f64]) -> Self {
        let bytes = by_dtype!(dtype, T => {
            let values: Vec<T> = values.iter().map(|&value| T::from_f64(value)).collect();
            bytemuck::cast_slice(&values).to_vec()
        });
        Self { name: name.to_owned(), dtype: file_type(dtype), shape: shape.to_vec(), bytes }
    }

    /// Waits for the tensor and copies it from the device.
    pub fn download<T: Element>(name: &str, tensor: &Tensor<T>) -> Result<Self, Failure> {
        let values = tensor.read_blocking()?;
        let bytes = bytemuck::cast_slice(&values).to_vec();
        Ok(Self { name: name.to_owned(), dtype: file_type(T::DTYPE), shape: tensor.shape().to_vec(), bytes })
    }

    /// The same for 8-bit integers.
    pub fn download_int8(name: &str, tensor: &Tensor<i8>) -> Result<Self, Failure> {
        let bytes = bytemuck::cast_slice(&tensor.read_blocking()?).to_vec();
        Ok(Self { name: name.to_owned(), dtype: Dtype::I8, shape: tensor.shape().to_vec(), bytes })
    }

    /// The element type, as operations call it.
    pub fn type_name(&self) -> String {
        format!("{:?}", self.dtype).to_lowercase()
    }

    fn view(&self) -> Result<(&str, TensorView<'_>), SafeTensorError> {
        Ok((&self.name, TensorView::new(self.dtype, self.shape.clone(), &self.bytes)?))
    }
}

/// The bytes of a file of these tensors.
pub fn file(outputs: &[Output], metadata: HashMap<String, String>) -> Result<Vec<u8>, Failure> {
    let views: Result<Vec<_>, SafeTensorError> = outputs.iter().map(Output::view).collect();
    let bytes = views.and_then(|views| serialize(views, Some(metadata)));
    bytes.map_err(|error| Failure::Check(format!("a bug of tilewise: the outputs make no file: {error}")))
}
