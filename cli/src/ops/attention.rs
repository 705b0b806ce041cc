//! `attention`.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{AttentionBackwardPlan, AttentionPlan, AttentionProbabilitiesPlan};
use tilewise::{
    Alibi, Attention, AttentionBackward, AttentionInputs, AttentionProbabilities, AttentionSpec, Caps,
    CuSeqlens, DType, Element, Gpu, Window, by_dtype,
};

use super::{FromFile, FromSizes, List, Operation, Planned, fields};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::tensors::{Output, TensorFile};

/// Scaled dot-product attention
#[derive(Debug, Args)]
pub struct Sizes {
    /// Storage of the tensors
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Queries of a batch
    #[arg(long, default_value_t = 2048)]
    q_len: usize,
    /// Keys of a batch [default: as many as queries]
    #[arg(long)]
    k_len: Option<usize>,
    /// Query heads
    #[arg(long, default_value_t = 8)]
    heads: usize,
    /// Key and value heads; a divisor of the query heads [default: as many]
    #[arg(long)]
    kv_heads: Option<usize>,
    /// Width of a query and a key, 1 to 256
    #[arg(long, default_value_t = 64)]
    head_dim: usize,
    /// Width of a value, 1 to 256 [default: as wide as a key]
    #[arg(long)]
    value_dim: Option<usize>,
    /// Add linear biases, one slope a head
    #[arg(long)]
    alibi: bool,
    /// Give each head a sink
    #[arg(long)]
    sinks: bool,
    /// Pack sequences of at most q-len queries and k-len keys, of so many queries and keys together
    #[arg(long, value_name = "TOTAL_Q,TOTAL_K")]
    packed: Option<List<2>>,
    #[command(flatten)]
    mathematics: Mathematics,
}

/// Reads q, k, v, and what else is there; writes o and lse, and the gradients if there is do
///
/// q (batch, q_len, heads, head_dim), k (batch, k_len, kv_heads, head_dim), v (batch, k_len, kv_heads, value_dim),
/// alibi_slopes (heads) or (batch, heads) and sink (heads) in any of the types; o (batch, q_len, heads, value_dim), and
/// lse (batch, heads, q_len) in F32. With do, shaped like o, also dq, dk and dv, and dalibi_slopes and dsink in F32 where
/// those are given. Sequences of different lengths lie one after another, (total_q, heads, head_dim) and so on, where
/// cu_seqlens_q and cu_seqlens_k hold the prefix sums of their lengths, batch + 1 integers each; lse is (heads, total_q).
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    mathematics: Mathematics,
    /// The seed of the dropout, 64 bits
    #[arg(long, requires = "dropout", default_value_t = 0)]
    seed: u64,
    /// Also write p, the weights of the values: (batch, heads, q_len, k_len)
    #[arg(long)]
    probabilities: bool,
}

// What no shape of a tensor says. Not a doc comment: clap would give it to the command.
#[derive(Clone, Copy, Debug, Args)]
struct Mathematics {
    /// A query sees only keys up to its own position (aligned to the bottom-right corner)
    #[arg(long)]
    causal: bool,
    /// Keys a query sees before and after its position; an empty side is unbounded: 17,5 or 17, or ,5
    #[arg(long, value_name = "LEFT,RIGHT", allow_hyphen_values = true)]
    window: Option<Sides>,
    /// Cap scores softly at ±CAP, a positive number
    #[arg(long, value_name = "CAP", allow_hyphen_values = true)]
    softcap: Option<f32>,
    /// Factor of the scores [default: 1/sqrt(head dim)]
    #[arg(long, allow_hyphen_values = true)]
    scale: Option<f32>,
    /// Drop that share of the weights, from 0 to below 1
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true)]
    dropout: Option<f32>,
}

/// A window as it is written: `17,5`.
#[derive(Clone, Copy, Debug)]
struct Sides(Window);

impl FromStr for Sides {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |text: &str| match text.trim() {
            "" => Ok(None),
            number => number.parse().map(Some).map_err(|_| {
                format!(
                    "{number:?} is no number of keys; a window is LEFT,RIGHT, and an empty side is unbounded"
                )
            }),
        };
        let sides = text.split_once(',').ok_or("a window has two sides: 17,5 or 17, or ,5")?;
        Ok(Self(Window { left: side(sides.0)?, right: side(sides.1)? }))
    }
}

impl Mathematics {
    /// Adds the options to a spec.
    fn apply(self, spec: AttentionSpec) -> AttentionSpec {
        let window = self.window.map_or_else(Window::default, |sides| sides.0);
        let Self { causal, softcap, scale, dropout, .. } = self;
        AttentionSpec { causal, window, softcap, scale, dropout, ..spec }
    }
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let lengths = (self.q_len, self.k_len.unwrap_or(self.q_len));
        let spec = AttentionSpec::new(self.dtype, self.batch, lengths, self.heads, self.head_dim)
            .kv_heads(self.kv_heads.unwrap_or(self.heads))
            .value_dim(self.value_dim.unwrap_or(self.head_dim))
            .alibi(if self.alibi { Alibi::PerHead } else { Alibi::None });
        let spec = AttentionSpec { sinks: self.sinks, ..spec };
        let spec = self.packed.map_or(spec, |List([total_q, total_k])| spec.packed(total_q, total_k));
        let spec = self.mathematics.apply(spec);
        spec.check()?;
        Ok(Box::new(Attending { spec, sums: None, seed: None, gradients: true, probabilities: false }))
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let (q, k, v) = (file.get("q")?, file.get("k")?, file.get("v")?);
        let (slopes, sinks, d_o) = (file.find("alibi_slopes")?, file.find("sink")?, file.find("do")?);
        k.expect_dtype_of(&q)?;
        v.expect_dtype_of(&q)?;
        let sums = match (file.integers("cu_seqlens_q")?, file.integers("cu_seqlens_k")?) {
            (None, None) => None,
            (Some((_, q)), Some((_, k))) => {
                Some([prefix_sums("cu_seqlens_q", q)?, prefix_sums("cu_seqlens_k", k)?])
            }
            (Some(_), None) => return Err(alone("cu_seqlens_q", "cu_seqlens_k")),
            (None, Some(_)) => return Err(alone("cu_seqlens_k", "cu_seqlens_q")),
        };
        let alibi = match slopes.as_ref().map(|slopes| slopes.shape.len()) {
            None => Alibi::None,
            Some(1) => Alibi::PerHead,
            Some(_) => Alibi::PerBatchHead,
        };
        let spec = if let Some([q_sums, k_sums]) = &sums {
            let [total_q, heads, head_dim] = q.sizes("total_q, heads, head_dim")?;
            let [total_k, kv_heads, _] = k.sizes("total_k, kv_heads, head_dim")?;
            let [_, _, value_dim] = v.sizes("total_k, kv_heads, value_dim")?;
            let lengths = (longest(q_sums), longest(k_sums));
            let batch = q_sums.len().saturating_sub(1);
            AttentionSpec::new(q.dtype, batch, lengths, heads, head_dim)
                .kv_heads(kv_heads)
                .value_dim(value_dim)
                .packed(total_q, total_k)
        } else {
            let [batch, q_len, heads, head_dim] = q.sizes("batch, q_len, heads, head_dim")?;
            let [_, k_len, kv_heads, _] = k.sizes("batch, k_len, kv_heads, head_dim")?;
            let [_, _, _, value_dim] = v.sizes("batch, k_len, kv_heads, value_dim")?;
            AttentionSpec::new(q.dtype, batch, (q_len, k_len), heads, head_dim)
                .kv_heads(kv_heads)
                .value_dim(value_dim)
        };
        let spec = self.mathematics.apply(AttentionSpec { alibi, sinks: sinks.is_some(), ..spec });
        k.expect_shape(&spec.k_shape())?;
        v.expect_shape(&spec.v_shape())?;
        if let Some(slopes) = slopes {
            slopes.expect_shape(&spec.alibi_shape())?;
        }
        if let Some(sinks) = sinks {
            sinks.expect_shape(&[spec.heads])?;
        }
        if let Some(d_o) = &d_o {
            d_o.expect_dtype_of(&q)?;
            d_o.expect_shape(&spec.o_shape())?;
        }
        spec.check()?;
        let attending = Attending {
            spec,
            sums,
            seed: spec.dropout.map(|_| self.seed),
            gradients: d_o.is_some(),
            probabilities: self.probabilities,
        };
        spec.spans(attending.cu_seqlens())?;
        Ok(Box::new(attending))
    }
}

/// Prefix sums as the library takes them; it checks the rest.
fn prefix_sums(name: &str, sums: Vec<i64>) -> Result<Vec<u32>, Failure> {
    sums.into_iter()
        .map(|sum| {
            u32::try_from(sum).map_err(|_| {
                Failure::Input(format!("{name} holds {sum}, expected prefix sums from 0 to {}", u32::MAX))
            })
        })
        .collect()
}

fn alone(found: &str, missing: &str) -> Failure {
    Failure::Input(format!("there is {found} but no {missing}; packed sequences need both"))
}

/// Sums that decrease are refused later, by the library.
fn longest(sums: &[u32]) -> usize {
    sums.windows(2).map(|pair| pair[1].saturating_sub(pair[0]) as usize).max().unwrap_or(0)
}

/// Attention with what comes with a call.
#[derive(Debug)]
struct Attending {
    spec: AttentionSpec,
    sums: Option<[Vec<u32>; 2]>,
    seed: Option<u64>,
    gradients: bool,
    probabilities: bool,
}

impl Attending {
    fn cu_seqlens(&self) -> Option<CuSeqlens<'_>> {
        self.sums.as_ref().map(|[q, k]| CuSeqlens { q, k })
    }

    fn run<T: Element>(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        let spec = self.spec;
        let tensor = |name| file.upload::<T>(gpu, name);
        let (q, k, v) = (tensor("q")?, tensor("k")?, tensor("v")?);
        let (slopes, sinks) = (file.upload_f32(gpu, "alibi_slopes")?, file.upload_f32(gpu, "sink")?);
        let inputs = AttentionInputs::new(&q, &k, &v)
            .alibi(slopes.as_ref())
            .sinks(sinks.as_ref())
            .cu_seqlens(self.cu_seqlens())
            .seed(self.seed);
        let outputs = Attention::new(gpu, spec)?.run(inputs)?;
        let mut written = vec![Output::download("o", &outputs.o)?, Output::download("lse", &outputs.lse)?];
        if self.probabilities {
            let p = AttentionProbabilities::new(gpu, spec)?.run(inputs, &outputs.lse)?;
            written.push(Output::download("p", &p)?);
        }
        if self.gradients {
            let d_o = tensor("do")?;
            let gradients = AttentionBackward::new(gpu, spec)?.run(inputs, &outputs, &d_o)?;
            written.push(Output::download("dq", &gradients.dq)?);
            written.push(Output::download("dk", &gradients.dk)?);
            written.push(Output::download("dv", &gradients.dv)?);
            if let Some(dalibi) = &gradients.dalibi {
                written.push(Output::download("dalibi_slopes", dalibi)?);
            }
            if let Some(dsinks) = &gradients.dsinks {
                written.push(Output::download("dsink", dsinks)?);
            }
        }
        Ok(written)
    }
}

impl fmt::Display for Attending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.fmt(f)
    }
}

impl Operation for Attending {
    fn fields(&self) -> serde_json::Value {
        fields(&self.spec)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let spec = &self.spec;
        let mut plans = vec![Planned::new("forward", &AttentionPlan::new(spec, caps)?, shaders::attention)?];
        if self.gradients {
            let plan = AttentionBackwardPlan::new(spec, caps)?;
            plans.push(Planned::new("backward", &plan, shaders::attention_backward)?);
        }
        if self.probabilities {
            let plan = AttentionProbabilitiesPlan::new(spec, caps)?;
            plans.push(Planned::new("probabilities", &plan, shaders::attention_probabilities)?);
        }
        Ok(plans)
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.spec.dtype, T => self.run::<T>(gpu, file))
    }
}
