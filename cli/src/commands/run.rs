//! `tilewise run`: an operation on tensors of a file.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use half::{bf16, f16};
use serde::Serialize;
use tilewise::{
    Alibi, Attention, AttentionInputs, AttentionSpec, DType, Element, Gpu, LinearScan, LinearScanInputs,
    LinearScanSpec, Monarch, MonarchInputs, MonarchSpec,
};

use crate::adapter::Adapter;
use crate::args::Global;
use crate::draft::Draft;
use crate::failure::Failure;
use crate::output::{note, print, print_json};
use crate::progress;
use crate::specs::{AttentionOptions, Spec};
use crate::table::{Column, Table};
use crate::tensors::{self, Output, TensorFile};

/// An operation on your own tensors, from one safetensors file to another
///
/// Tensors are F32, F16 or BF16; the main ones of an operation have one type, which the result has too. The output
/// appears whole or not at all.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tilewise run attention in.safetensors -o out.safetensors --causal --window 17,5
  tilewise run linear-scan in.safetensors -o out.safetensors
  tilewise run monarch goldens.safetensors -o out.safetensors --prefix monarch-square/")]
pub struct Run {
    #[command(subcommand)]
    op: RunOp,
}

#[derive(Debug, Subcommand)]
enum RunOp {
    #[command(
        about = "Reads q, k, v, and alibi_slopes if there are any; writes o and lse",
        long_about = "Reads q, k, v, and alibi_slopes if there are any; writes o and lse

q (batch, q_len, heads, head_dim), k (batch, k_len, kv_heads, head_dim), v (batch, k_len, kv_heads, value_dim),
alibi_slopes (heads) or (batch, heads) in any of the types; o (batch, q_len, heads, value_dim), and lse (batch, heads,
q_len) in F32."
    )]
    Attention {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        options: AttentionOptions,
    },
    /// Reads x, w1, w2; writes y
    ///
    /// x (batch, k p), w1 (k, q, p), w2 (l, s, r) with k q = l r; y (batch, l s).
    Monarch {
        #[command(flatten)]
        files: Files,
    },
    #[command(
        about = "Reads a, b, and h0 if there is one; writes h and last_state",
        long_about = "Reads a, b, and h0 if there is one; writes h and last_state

a, b and h (batch, channels, length); h0 (batch, channels) in any of the types; last_state (batch, channels) in F32."
    )]
    LinearScan {
        #[command(flatten)]
        files: Files,
    },
}

#[derive(Debug, Args)]
struct Files {
    /// The safetensors file to read
    #[arg(value_name = "IN.safetensors")]
    input: PathBuf,
    /// The safetensors file to write
    #[arg(short, long, value_name = "OUT.safetensors")]
    output: PathBuf,
    /// Read only tensors whose names begin with PREFIX, such as `case/`; their names then lose it
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
}

/// What was done, for `--json` and the table.
#[derive(Debug, Serialize)]
struct Report {
    adapter: String,
    spec: Spec,
    plan: String,
    output: PathBuf,
    tensors: Vec<Written>,
}

#[derive(Debug, Serialize)]
struct Written {
    name: &'static str,
    dtype: DType,
    shape: Vec<usize>,
}

impl Run {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let (RunOp::Attention { files, .. } | RunOp::Monarch { files } | RunOp::LinearScan { files }) =
            &self.op;
        let draft = Draft::reserve(&files.output)?;
        let bytes = tensors::read(&files.input)?;
        let file = TensorFile::parse(&files.input, &bytes, &files.prefix)?;
        let spec = self.op.spec(&file)?;
        if let Some(ignored) = file.ignored() {
            note(&ignored);
        }
        let gpu = global.open()?;
        let plan = spec.plan(gpu.caps())?.explanation;
        let progress = progress::spinner(format!("{spec}"));
        let outputs = compute(&gpu, &file, spec)?;
        let adapter = Adapter::of(&gpu).name;
        let made_by = format!("tilewise {}", env!("CARGO_PKG_VERSION"));
        let metadata = [("made_by", made_by), ("adapter", adapter.clone()), ("spec", spec.to_string())];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).into();
        draft.write(&tensors::file(&outputs, metadata)?)?;
        drop(progress);
        let written =
            |output: Output| Written { name: output.name, dtype: output.dtype, shape: output.shape };
        let tensors = outputs.into_iter().map(written).collect();
        Report { adapter, spec, plan, output: files.output.clone(), tensors }.print(global)
    }
}

impl Report {
    fn print(&self, global: &Global) -> Result<(), Failure> {
        if global.json {
            return print_json(self);
        }
        let Self { adapter, spec, plan, output, tensors } = self;
        let mut table = Table::new(&[Column::Left("written"), Column::Left("type"), Column::Left("shape")]);
        for Written { name, dtype, shape } in tensors {
            table.row([(*name).into(), dtype.into(), format!("{shape:?}").into()]);
        }
        print(&format!("{spec}\non {adapter}: {plan}\n\n{table}\nto {}\n", output.display()))
    }
}

impl RunOp {
    /// The spec that the tensors' shapes and the options say, with every shape checked against it.
    fn spec(&self, file: &TensorFile<'_>) -> Result<Spec, Failure> {
        match self {
            Self::Attention { options, .. } => attention_spec(file, *options).map(Spec::Attention),
            Self::Monarch { .. } => monarch_spec(file).map(Spec::Monarch),
            Self::LinearScan { .. } => scan_spec(file).map(Spec::LinearScan),
        }
    }
}

fn attention_spec(file: &TensorFile<'_>, options: AttentionOptions) -> Result<AttentionSpec, Failure> {
    let (q, k, v) = (file.get("q")?, file.get("k")?, file.get("v")?);
    let slopes = file.find("alibi_slopes")?;
    k.expect_dtype_of(&q)?;
    v.expect_dtype_of(&q)?;
    let [batch, q_len, heads, head_dim] = q.sizes("batch, q_len, heads, head_dim")?;
    let [_, k_len, kv_heads, _] = k.sizes("batch, k_len, kv_heads, head_dim")?;
    let [_, _, _, value_dim] = v.sizes("batch, k_len, kv_heads, value_dim")?;
    let alibi = match slopes.as_ref().map(|slopes| slopes.shape.len()) {
        None => Alibi::None,
        Some(1) => Alibi::PerHead,
        Some(_) => Alibi::PerBatchHead,
    };
    let spec = AttentionSpec::new(q.dtype, batch, (q_len, k_len), heads, head_dim);
    let spec = options.apply(spec.kv_heads(kv_heads).value_dim(value_dim).alibi(alibi));
    k.expect_shape(&spec.k_shape())?;
    v.expect_shape(&spec.v_shape())?;
    if let Some(slopes) = slopes {
        slopes.expect_shape(&spec.alibi_shape())?;
    }
    spec.check()?;
    Ok(spec)
}

fn monarch_spec(file: &TensorFile<'_>) -> Result<MonarchSpec, Failure> {
    let (x, w1, w2) = (file.get("x")?, file.get("w1")?, file.get("w2")?);
    w1.expect_dtype_of(&x)?;
    w2.expect_dtype_of(&x)?;
    let [batch, _] = x.sizes("batch, k p")?;
    let spec = MonarchSpec::new(x.dtype, batch, w1.sizes("k, q, p")?, w2.sizes("l, s, r")?);
    spec.check()?;
    x.expect_shape(&[batch, spec.n_in()])?;
    Ok(spec)
}

fn scan_spec(file: &TensorFile<'_>) -> Result<LinearScanSpec, Failure> {
    let (a, b) = (file.get("a")?, file.get("b")?);
    let initial = file.find("h0")?;
    b.expect_dtype_of(&a)?;
    let [batch, channels, length] = a.sizes("batch, channels, length")?;
    b.expect_shape(a.shape)?;
    let spec = LinearScanSpec::new(a.dtype, batch, channels, length);
    let spec = LinearScanSpec { initial: initial.is_some(), ..spec };
    if let Some(initial) = initial {
        initial.expect_shape(&spec.state_shape())?;
    }
    spec.check()?;
    Ok(spec)
}

fn compute(gpu: &Gpu, file: &TensorFile<'_>, spec: Spec) -> Result<Vec<Output>, Failure> {
    match spec.dtype() {
        DType::F32 => compute_as::<f32>(gpu, file, spec),
        DType::F16 => compute_as::<f16>(gpu, file, spec),
        DType::Bf16 => compute_as::<bf16>(gpu, file, spec),
    }
}

fn compute_as<T: Element>(gpu: &Gpu, file: &TensorFile<'_>, spec: Spec) -> Result<Vec<Output>, Failure> {
    let tensor = |name| file.get(name)?.upload::<T>(gpu);
    let in_f32 = |name| file.find(name)?.map(|stored| stored.upload_f32(gpu)).transpose();
    match spec {
        Spec::Attention(spec) => {
            let (q, k, v, slopes) = (tensor("q")?, tensor("k")?, tensor("v")?, in_f32("alibi_slopes")?);
            let inputs = AttentionInputs::new(&q, &k, &v).alibi(slopes.as_ref());
            let outputs = Attention::new(gpu, spec)?.run(inputs)?;
            Ok(vec![Output::download("o", &outputs.o)?, Output::download("lse", &outputs.lse)?])
        }
        Spec::Monarch(spec) => {
            let (x, w1, w2) = (tensor("x")?, tensor("w1")?, tensor("w2")?);
            let y = Monarch::new(gpu, spec)?.run(MonarchInputs { x: &x, w1: &w1, w2: &w2 })?;
            Ok(vec![Output::download("y", &y)?])
        }
        Spec::LinearScan(spec) => {
            let (a, b, initial) = (tensor("a")?, tensor("b")?, in_f32("h0")?);
            let inputs = LinearScanInputs { a: &a, b: &b, initial: initial.as_ref() };
            let outputs = LinearScan::new(gpu, spec)?.run(inputs)?;
            let last = Output::download("last_state", &outputs.last)?;
            Ok(vec![Output::download("h", &outputs.h)?, last])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};
    use safetensors::tensor::{Dtype, TensorView};
    use std::path::Path;

    fn whole() -> Vec<u8> {
        let shapes: [(&str, &[usize]); 11] = [
            ("q", &[1, 3, 2, 4]),
            ("k", &[1, 5, 1, 4]),
            ("v", &[1, 5, 1, 4]),
            ("alibi_slopes", &[2]),
            ("x", &[2, 4]),
            ("w1", &[2, 2, 2]),
            ("w2", &[2, 2, 2]),
            ("a", &[1, 2, 5]),
            ("b", &[1, 2, 5]),
            ("h0", &[1, 2]),
            ("do", &[1, 3, 2, 4]),
        ];
        let zeros = [0_u8; 256];
        let views = shapes.map(|(name, shape)| {
            let bytes = &zeros[..shape.iter().product::<usize>() * 4];
            (name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("bytes fill the shape"))
        });
        safetensors::serialize(views, None).expect("a file")
    }

    fn specs(bytes: &[u8]) -> [Result<Spec, Failure>; 3] {
        let files = || Files { input: PathBuf::new(), output: PathBuf::new(), prefix: String::new() };
        let options = AttentionOptions { causal: false, window: None, softcap: None, scale: None };
        let ops = [
            RunOp::Attention { files: files(), options },
            RunOp::Monarch { files: files() },
            RunOp::LinearScan { files: files() },
        ];
        ops.map(|op| op.spec(&TensorFile::parse(Path::new("in"), bytes, "")?))
    }

    /// What is taken from a damaged file is a spec that can be computed, or an error of exit code 2.
    #[test]
    fn damaged_files_give_whole_specs_or_none() {
        let whole = whole();
        assert!(specs(&whole).iter().all(Result::is_ok));
        let header = 8 + usize::from(whole[0]) + 256 * usize::from(whole[1]);
        let mut random = StdRng::seed_from_u64(1);
        let mut taken = [0; 2];
        for round in 0..20_000 {
            let mut bytes = whole.clone();
            if round % 3 == 0 {
                bytes.truncate(random.random_range(0..bytes.len()));
            } else {
                for _ in 0..=(round % 2) {
                    let place = random.random_range(0..header);
                    bytes[place] =
                        if round % 2 == 0 { random.random_range(b' '..b'~') } else { random.random() };
                }
            }
            for spec in specs(&bytes) {
                taken[usize::from(spec.is_ok())] += 1;
                match spec {
                    Ok(spec) => assert!(spec.plan(&tilewise::caps::WEBGPU_BASELINE).is_ok(), "{spec}"),
                    Err(failure) => assert!(!failure.to_string().is_empty()),
                }
            }
        }
        assert!(taken.iter().all(|&count| count > 500), "refused and taken: {taken:?}");
    }
}
