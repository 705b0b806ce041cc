//! The suite of repeatability: everything that training computes, fifty times over, is the same bit for bit.

use std::fmt;

use super::mods::{self, sums};
use crate::verify::{Case, Comparison, Inputs, Outcome, download, largest_error, upload};
use crate::{
    Alibi, Attention, AttentionBackward, AttentionInputs, AttentionProbabilities, AttentionSpec, CuSeqlens,
    DType, Element, Error, Gpu, Mods, by_dtype,
};

/// How often each case runs.
const TIMES: usize = 50;

/// An attention with many options, forward, backward and its probabilities.
pub(super) struct Repeats {
    spec: AttentionSpec,
    /// Queries and keys of each sequence.
    lengths: Vec<(usize, usize)>,
    /// Names of mods that come with it.
    mods: &'static [&'static str],
}

/// Every option at once: of the spec alone, with mods and a mask of blocks, where sequences are packed, and where what a
/// tile visits is split.
pub(super) fn cases() -> Vec<Repeats> {
    let every = |dtype, batch, lengths, dim| {
        let spec = AttentionSpec::new(dtype, batch, lengths, 4, dim).kv_heads(2).causal();
        let spec = spec.window(Some(90), None).softcap(20.0).alibi(Alibi::PerBatchHead);
        spec.dropout(0.17).sinks()
    };
    let packed = vec![(113, 203), (0, 17), (37, 27), (5, 0)];
    let even = |spec: &AttentionSpec| vec![(spec.q_len, spec.k_len); spec.batch];
    let long = AttentionSpec { window: crate::Window::default(), ..every(DType::F16, 1, (3, 3000), 24) };
    let dense = every(DType::F16, 2, (113, 203), 59);
    let modified = every(DType::F32, 2, (113, 203), 8);
    vec![
        Repeats { lengths: even(&dense), spec: dense, mods: &[] },
        Repeats { lengths: even(&long), spec: long, mods: &[] },
        Repeats {
            lengths: even(&modified),
            spec: modified,
            mods: &["softcap mod", "aux-indexed", "causal mod", "dilated", "blocks of 48 × 40"],
        },
        Repeats {
            spec: every(DType::Bf16, packed.len(), (113, 203), 24).packed(155, 247),
            lengths: packed,
            mods: &["aux-indexed", "prefix-LM"],
        },
    ]
}

impl fmt::Display for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.fmt(f)?;
        self.mods.iter().try_for_each(|name| write!(f, ", {name}"))?;
        write!(f, ", {TIMES} times")
    }
}

impl Case for Repeats {
    fn dtype(&self) -> DType {
        self.spec.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype(), T => Box::pin(run::<T>(gpu, self)))
    }
}

async fn run<T: Element>(
    gpu: &Gpu,
    Repeats { spec, lengths, mods }: &Repeats,
) -> Result<Vec<Outcome>, Error> {
    let mut inputs = Inputs::new(50);
    let mut drawn = |shape: &[usize]| inputs.normal(shape.iter().product(), 1.0);
    let q = upload::<T>(gpu, &spec.q_shape(), &drawn(&spec.q_shape()))?;
    let k = upload::<T>(gpu, &spec.k_shape(), &drawn(&spec.k_shape()))?;
    let v = upload::<T>(gpu, &spec.v_shape(), &drawn(&spec.v_shape()))?;
    let d_o = upload::<T>(gpu, &spec.o_shape(), &drawn(&spec.o_shape()))?;
    let alibi = upload::<f32>(gpu, &spec.alibi_shape(), &drawn(&spec.alibi_shape()))?;
    let sinks = upload::<f32>(gpu, &[spec.heads], &drawn(&[spec.heads]))?;
    let all = mods::all(spec, lengths);
    let chosen = all.iter().filter(|modified| mods.contains(&modified.name));
    let (mut together, mut buffers) = (Mods::new(), vec![]);
    for modified in chosen {
        together.scores.extend(modified.mods.scores.iter().cloned());
        together.masks.extend(modified.mods.masks.iter().cloned());
        together.blocks = together.blocks.or_else(|| modified.mods.blocks.clone());
        buffers.extend(modified.upload(gpu)?);
    }
    let tables: Vec<_> = buffers.iter().map(|(name, table)| (*name, table.table())).collect();
    let (q_sums, k_sums) = (sums(lengths, |lengths| lengths.0), sums(lengths, |lengths| lengths.1));
    let inputs = AttentionInputs::new(&q, &k, &v)
        .alibi(&alibi)
        .sinks(&sinks)
        .cu_seqlens(spec.packed.map(|_| CuSeqlens { q: &q_sums, k: &k_sums }))
        .seed(77)
        .tables(&tables);
    let forward = Attention::with_mods(gpu, *spec, &together)?;
    let backward = AttentionBackward::with_mods(gpu, *spec, &together)?;
    let probabilities = AttentionProbabilities::with_mods(gpu, *spec, &together)?;

    let mut outcomes: Vec<Outcome> = vec![];
    let mut first = vec![];
    for _ in 0..TIMES {
        let outputs = forward.run(inputs)?;
        let found = backward.run(inputs, &outputs, &d_o)?;
        let p = probabilities.run(inputs, &outputs.lse)?;
        let (dalibi, dsinks) = found.dalibi.zip(found.dsinks).expect("the spec has slopes and sinks");
        let found = [
            ("o", download(&outputs.o).await?),
            ("lse", download(&outputs.lse).await?),
            ("p", download(&p).await?),
            ("dq", download(&found.dq).await?),
            ("dk", download(&found.dk).await?),
            ("dv", download(&found.dv).await?),
            ("dalibi", download(&dalibi).await?),
            ("dsinks", download(&dsinks).await?),
        ];
        if first.is_empty() {
            outcomes.extend(found.iter().map(|(name, values)| repeated(name, values, values)));
            first.extend(found);
            continue;
        }
        for (outcome, ((name, first), (_, found))) in outcomes.iter_mut().zip(first.iter().zip(&found)) {
            let repeat = repeated(name, found, first);
            if !repeat.passed() {
                *outcome = repeat;
            }
        }
    }
    Ok(outcomes)
}

/// How a repetition differs from the first run. Not even the sign of a zero may.
fn repeated(tensor: &'static str, found: &[f64], first: &[f64]) -> Outcome {
    let same = found.len() == first.len() && found.iter().zip(first).all(|(x, y)| x.total_cmp(y).is_eq());
    let error = if same { 0.0 } else { largest_error(found, first).max(f64::MIN_POSITIVE) };
    Outcome { tensor, error, allowed: 0.0, largest: super::largest(first) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_that_differs_is_an_error() {
        let first = [1.0, 0.0, f64::NEG_INFINITY];
        assert!(repeated("o", &first, &first).passed());
        assert!(!repeated("o", &[1.0, -0.0, f64::NEG_INFINITY], &first).passed());
        assert!(!repeated("o", &[1.0 + f64::EPSILON, 0.0, f64::NEG_INFINITY], &first).passed());
        assert!(!repeated("o", &[f64::NAN, 0.0, f64::NEG_INFINITY], &first).passed());
        assert!(!repeated("o", &first[..2], &first).passed());
        assert!(!repeated("o", &[0.0; 3], &[0.0; 3]).passed(), "nothing was computed");
    }
}
