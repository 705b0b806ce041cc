//! `attention`.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{AttentionBackwardPlan, AttentionPlan, AttentionProbabilitiesPlan};
use tilewise::{
    Alibi, Attention, AttentionBackward, AttentionInputs, AttentionProbabilities, AttentionSpec, Caps,
    CuSeqlens, DType, Gpu, Mods, Window, by_dtype,
};

use super::attention_mods::{ModOptions, fmt_mods};
use super::cached_attention::CacheSizes;
use super::{Fields, FromFile, FromSizes, List, Operation, Planned, apart, cached_attention, fields};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::{as_parsed, options};
use crate::tensors::{Output, Stored, TensorFile};

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
    #[command(flatten)]
    cache: CacheSizes,
}

options! {
    /// Reads q, k, v, alibi_slopes, sink and block_mask if there are any; writes o and lse, and the gradients where there is do
    ///
    /// q (batch, q_len, heads, head_dim), k (batch, k_len, kv_heads, head_dim), v (batch, k_len, kv_heads, value_dim),
    /// alibi_slopes (heads) or (batch, heads) and sink (heads) in any of the types; o (batch, q_len, heads, value_dim), and
    /// lse (batch, heads, q_len) in F32.
    ///
    /// With do, shaped like o, also dq, dk and dv, and dalibi_slopes and dsink in F32 where those are given. Sequences of
    /// different lengths lie one after another, (total_q, heads, head_dim) and so on, where cu_seqlens_q and cu_seqlens_k hold
    /// the prefix sums of their lengths, batch + 1 integers each; lse is then (heads, total_q).
    ///
    /// Or from a cache: k_cache and v_cache (slots, keys, kv_heads, dim), or (pages, page size, kv_heads, dim) with block_table
    /// (batch, max_pages), in the type of q, or in I8 with k_scale and v_scale (kv_heads). cache_seqlens (batch) counts the keys
    /// of each sequence, leftpad_k (batch) those of them that are padding, and cache_batch_idx (batch) says in which slot a
    /// sequence lies. New keys and values k and v (batch, new keys, kv_heads, dim) are appended first, and the caches then written
    /// too. rotary_cos and rotary_sin (positions, rotary dim / 2) turn new keys and queries.
    ///
    /// block_mask (blocks of queries, blocks of keys), perhaps with heads or with batch and heads in
    /// front, of booleans or of numbers that are 0 or 1; its blocks are of the size that --block says, or the one that comes into question.
    #[derive(Debug, Args)]
    pub struct Options {
        #[command(flatten)]
        mathematics: Mathematics,
        /// Turn neighbouring elements together, where rotary_cos and rotary_sin are given, instead of the two halves
        #[arg(long)]
        rotary_interleaved: bool,
        /// The seed of the dropout, 64 bits [default: 0]
        #[arg(long, requires = "dropout")]
        seed: Option<u64>,
        /// Also write p, the weights of the values: (batch, heads, q_len, k_len)
        #[arg(long)]
        probabilities: bool,
        #[command(flatten)]
        mods: ModOptions,
    }
}

// What no shape of a tensor says. Not a doc comment: clap would give it to the command.
options! {
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
}

/// A window as it is written: `17,5`.
#[derive(Clone, Copy, Debug)]
struct Sides(Window);

as_parsed!(Sides);

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
        if let Some(step) = self.cache.step(spec)? {
            return Ok(step);
        }
        spec.check()?;
        Ok(Box::new(OfFile::new(spec)))
    }
}

/// Which biases these slopes make.
pub(super) fn alibi(slopes: Option<&Stored<'_>>) -> Alibi {
    match slopes.map(|slopes| slopes.shape.len()) {
        None => Alibi::None,
        Some(1) => Alibi::PerHead,
        Some(_) => Alibi::PerBatchHead,
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        if let (None, Some(seed)) = (self.mathematics.dropout, self.seed) {
            let message = format!("the seed is {seed}, but nothing is dropped: dropout needs a share");
            return Err(Failure::input(message));
        }
        if cached_attention::is_cached(file) {
            if self.probabilities {
                let message = "--probabilities is not for attention to a cache; there is a tensor of a cache";
                return Err(Failure::input(message.to_owned()));
            }
            let complete = |spec| self.mathematics.apply(spec);
            return cached_attention::operation(file, complete, self.rotary_interleaved, |lengths| {
                self.mods.mods(file, lengths)
            });
        }
        if self.rotary_interleaved {
            let message = "--rotary-interleaved is for attention to a cache; there is no tensor \"k_cache\"";
            return Err(Failure::input(message.to_owned()));
        }
        let (q, k, v) = (file.get("q")?, file.get("k")?, file.get("v")?);
        let (slopes, sinks) = (file.find("alibi_slopes")?, file.find("sink")?);
        k.expect_dtype_of(&q)?;
        v.expect_dtype_of(&q)?;
        let sums = match (file.integers("cu_seqlens_q")?, file.integers("cu_seqlens_k")?) {
            (None, None) => None,
            (Some(q), Some(k)) => {
                Some([prefix_sums("cu_seqlens_q", q.values)?, prefix_sums("cu_seqlens_k", k.values)?])
            }
            (Some(_), None) => return Err(alone("cu_seqlens_q", "cu_seqlens_k")),
            (None, Some(_)) => return Err(alone("cu_seqlens_k", "cu_seqlens_q")),
        };
        let spec = match &sums {
            None => dense(&q, &k, &v)?,
            Some(sums) => packed(&q, &k, &v, sums)?,
        };
        let spec = AttentionSpec { alibi: alibi(slopes.as_ref()), sinks: sinks.is_some(), ..spec };
        let spec = self.mathematics.apply(spec);
        k.expect_shape(&spec.k_shape())?;
        v.expect_shape(&spec.v_shape())?;
        if let Some(slopes) = slopes {
            slopes.expect_shape(&spec.alibi_shape())?;
        }
        if let Some(sinks) = sinks {
            sinks.expect_shape(&[spec.heads])?;
        }
        spec.check()?;
        let mods = self.mods.mods(file, (spec.q_len, spec.k_len))?;
        if let Some(blocks) = &mods.blocks {
            blocks.check(&spec)?;
        }
        let backward = match file.find("do")? {
            None => false,
            Some(d_o) => {
                d_o.expect_dtype_of(&q)?;
                d_o.expect_shape(&spec.o_shape())?;
                mods.check_backward()?;
                true
            }
        };
        let seed = spec.dropout.map(|_| self.seed.unwrap_or(0));
        let of_file = OfFile { spec, mods, backward, sums, seed, probabilities: self.probabilities };
        spec.spans(of_file.cu_seqlens())?;
        Ok(Box::new(of_file))
    }
}

fn dense(q: &Stored<'_>, k: &Stored<'_>, v: &Stored<'_>) -> Result<AttentionSpec, Failure> {
    let [batch, q_len, heads, head_dim] = q.sizes("batch, q_len, heads, head_dim")?;
    let [_, k_len, kv_heads, _] = k.sizes("batch, k_len, kv_heads, head_dim")?;
    let [_, _, _, value_dim] = v.sizes("batch, k_len, kv_heads, value_dim")?;
    let spec = AttentionSpec::new(q.dtype, batch, (q_len, k_len), heads, head_dim);
    Ok(spec.kv_heads(kv_heads).value_dim(value_dim))
}

fn packed(
    q: &Stored<'_>,
    k: &Stored<'_>,
    v: &Stored<'_>,
    [q_sums, k_sums]: &[Vec<u32>; 2],
) -> Result<AttentionSpec, Failure> {
    let [total_q, heads, head_dim] = q.sizes("total_q, heads, head_dim")?;
    let [total_k, kv_heads, _] = k.sizes("total_k, kv_heads, head_dim")?;
    let [_, _, value_dim] = v.sizes("total_k, kv_heads, value_dim")?;
    // Sums that decrease are refused by the library, with numbers.
    let longest = |sums: &[u32]| sums.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max();
    let lengths = [q_sums, k_sums].map(|sums| longest(sums).unwrap_or(0) as usize);
    let batch = q_sums.len().saturating_sub(1);
    let spec = AttentionSpec::new(q.dtype, batch, (lengths[0], lengths[1]), heads, head_dim);
    Ok(spec.kv_heads(kv_heads).value_dim(value_dim).packed(total_q, total_k))
}

/// Prefix sums as the library takes them; it checks the rest.
fn prefix_sums(name: &str, sums: Vec<i64>) -> Result<Vec<u32>, Failure> {
    let sum = |sum| {
        u32::try_from(sum).map_err(|_| {
            Failure::input(format!("{name} holds {sum}, expected prefix sums from 0 to {}", u32::MAX))
        })
    };
    sums.into_iter().map(sum).collect()
}

fn alone(found: &str, missing: &str) -> Failure {
    Failure::input(format!("there is {found} but no {missing}; packed sequences need both"))
}

/// What a file and the options ask for.
#[derive(Debug)]
struct OfFile {
    spec: AttentionSpec,
    mods: Mods,
    /// Whether the gradient of the output is there, and so those of the inputs are asked for.
    backward: bool,
    /// Prefix sums of the lengths of packed sequences.
    sums: Option<[Vec<u32>; 2]>,
    /// The seed of the dropout.
    seed: Option<u64>,
    /// Whether the weights of the values are asked for.
    probabilities: bool,
}

impl OfFile {
    /// A spec alone: what is planned without a file is trained, too.
    fn new(spec: AttentionSpec) -> Self {
        Self { spec, mods: Mods::new(), backward: true, sums: None, seed: None, probabilities: false }
    }

    fn cu_seqlens(&self) -> Option<CuSeqlens<'_>> {
        self.sums.as_ref().map(|[q, k]| CuSeqlens { q, k })
    }
}

impl fmt::Display for OfFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.fmt(f)?;
        fmt_mods(&self.mods, f)
    }
}

impl Operation for OfFile {
    fn fields(&self) -> Fields {
        fields(&self.spec)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let Self { spec, mods, backward, .. } = self;
        let plan = AttentionPlan::with_mods(spec, mods, caps)?;
        let mut plans =
            vec![Planned::new("forward", &plan, |plan| shaders::attention_with_mods(plan, mods))?];
        if *backward {
            let plan = AttentionBackwardPlan::with_mods(spec, mods, caps)?;
            let shaders = |plan: &_| shaders::attention_backward_with_mods(plan, mods);
            plans.push(Planned::new("backward", &plan, shaders)?);
        }
        if self.probabilities {
            let plan = AttentionProbabilitiesPlan::with_mods(spec, mods, caps)?;
            let shaders = |plan: &_| shaders::attention_probabilities_with_mods(plan, mods);
            plans.push(Planned::new("probabilities", &plan, shaders)?);
        }
        Ok(plans)
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        let Self { spec, mods, backward, .. } = self;
        let buffers = ModOptions::upload(mods, gpu, file)?;
        let tables: Vec<_> = buffers.iter().map(|(name, buffer)| (name.as_str(), buffer.table())).collect();
        by_dtype!(spec.dtype, T => apart(|| {
            let tensor = |name| file.upload::<T>(gpu, name);
            let (q, k, v) = (tensor("q")?, tensor("k")?, tensor("v")?);
            let (slopes, sinks) = (file.upload_f32(gpu, "alibi_slopes")?, file.upload_f32(gpu, "sink")?);
            let inputs = AttentionInputs::new(&q, &k, &v)
                .alibi(slopes.as_ref())
                .sinks(sinks.as_ref())
                .cu_seqlens(self.cu_seqlens())
                .seed(self.seed)
                .tables(&tables);
            let outputs = Attention::with_mods(gpu, *spec, mods)?.run(inputs)?;
            let mut written =
                vec![Output::on_device("o", &outputs.o), Output::on_device("lse", &outputs.lse)];
            if self.probabilities {
                let p = AttentionProbabilities::with_mods(gpu, *spec, mods)?.run(inputs, &outputs.lse)?;
                written.push(Output::on_device("p", &p));
            }
            if *backward {
                let d_o = tensor("do")?;
                let found = AttentionBackward::with_mods(gpu, *spec, mods)?.run(inputs, &outputs, &d_o)?;
                written.push(Output::on_device("dq", &found.dq));
                written.push(Output::on_device("dk", &found.dk));
                written.push(Output::on_device("dv", &found.dv));
                if let Some(dalibi) = &found.dalibi {
                    written.push(Output::on_device("dalibi_slopes", dalibi));
                }
                if let Some(dsinks) = &found.dsinks {
                    written.push(Output::on_device("dsink", dsinks));
                }
            }
            Ok(written)
        }))
    }
}
