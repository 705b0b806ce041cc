//! The acceptance grid of the delta rule: results, states, and every gradient.

use super::share;
use crate::oracle::{DeltaRuleValues, delta_rule, delta_rule_backward};
use crate::verify::{Case, Comparison, Grid, Inputs, Outcome, both, download, poisoned, rounded, upload};
use crate::{
    DType, DeltaRule, DeltaRuleBackward, DeltaRuleGradients, DeltaRuleInputs, DeltaRuleSpec, Element, Error,
    Gpu, LinearAttentionOutputGradients, LinearAttentionOutputs, Sequences, by_dtype,
};

/// Chunks of all sizes, lengths that are no multiple of them, widths by fours and by ones, within a tile and over several,
/// with and without decays.
pub(super) fn cases(grid: Grid) -> Vec<DeltaRuleSpec> {
    use DType::{Bf16, F16, F32};
    let odd = |dtype, length| DeltaRuleSpec::new(dtype, 1, length, 2, (13, 7)).gated().initial().chunk(64);
    let mut cases = vec![
        DeltaRuleSpec::new(F32, 2, 75, 2, (16, 8)).chunk(16),
        DeltaRuleSpec::new(F32, 1, 150, 1, (128, 40)).gated().chunk(64),
        odd(F32, 1),
        odd(F32, 97).chunk(33).scale(0.7),
        odd(F32, 203),
        odd(F32, 97).sequences(Sequences::Packed(vec![0, 1, 34, 34, 97])),
        odd(F32, 113).sequences(Sequences::Indexed((0..113).map(|t| t / 31).collect())),
        DeltaRuleSpec { batch: 2, ..odd(F16, 97) },
        odd(Bf16, 97),
    ];
    if grid == Grid::Full {
        for dtype in DType::ALL {
            for chunk in [16, 32, 63, 64] {
                for length in [1, 97, 203, 1025] {
                    let spec = DeltaRuleSpec::new(dtype, 1, length, 2, (32, 16)).chunk(chunk);
                    cases.push(spec.clone());
                    cases.push(DeltaRuleSpec { key_dim: 65, value_dim: 33, ..spec.gated().initial() });
                }
            }
        }
        cases.push(DeltaRuleSpec::new(F32, 1, 200, 2, (300, 130)).gated());
    }
    cases
}

impl Case for DeltaRuleSpec {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype, T => Box::pin(run::<T>(gpu, self)))
    }
}

/// Twice the plain error, and what sums over a chunk's steps add, which the plain recurrence does not take: one through
/// the inverse of the chunk, one through its scores. The roundings of n terms, half a unit in the last place each and in
/// any direction, come to √n / 2 units, and those of two sums to √n. Four units at least, as in other chunks, since few
/// elements are a small sample; and eight at most, which longer chunks keep too.
fn of_chunks(spec: &DeltaRuleSpec) -> f64 {
    let steps = spec.chunk.unwrap_or(64).min(spec.length);
    f64::from(f32::EPSILON) * (steps as f64).sqrt().clamp(4.0, 8.0)
}

/// Keys of length 1, as the delta rule wants them.
fn keys(inputs: &mut Inputs, count: usize, width: usize) -> Vec<f64> {
    let mut keys = inputs.normal(count, 1.0);
    for key in keys.chunks_exact_mut(width) {
        let length = key.iter().map(|x| x * x).sum::<f64>().sqrt();
        for x in key {
            *x /= length;
        }
    }
    keys
}

async fn run<T: Element>(gpu: &Gpu, spec: &DeltaRuleSpec) -> Result<Vec<Outcome>, Error> {
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let (q_shape, v_shape) = (spec.q_shape(), spec.v_shape());
    let (beta_shape, state_shape) = (spec.beta_shape(), spec.state_shape());
    let mut inputs = Inputs::new((spec.length * spec.key_dim) as u64);
    let k = rounded::<T>(&keys(&mut inputs, count(&q_shape), spec.key_dim));
    let mut normal = |shape: &[usize]| rounded::<T>(&inputs.normal(count(shape), 1.0));
    let (q, v, d_o) = (normal(&q_shape), normal(&v_shape), normal(&v_shape));
    let beta = rounded::<f32>(&inputs.uniform(count(&beta_shape), 0.05, 0.95));
    let g = spec.gated.then(|| rounded::<f32>(&inputs.uniform(count(&beta_shape), -0.3, -0.01)));
    let initial = spec.initial.then(|| rounded::<f32>(&inputs.normal(count(&state_shape), 1.0)));
    let dlast = spec.initial.then(|| rounded::<f32>(&inputs.normal(count(&state_shape), 1.0)));
    let values =
        DeltaRuleValues { q: &q, k: &k, v: &v, beta: &beta, g: g.as_deref(), initial: initial.as_deref() };
    let (reference, plain) = both(spec.dtype, |precision| delta_rule(spec, precision, &values));
    let (exact, rough) =
        both(spec.dtype, |precision| delta_rule_backward(spec, precision, &values, &d_o, dlast.as_deref()));

    let in_f32 = |shape: &[usize], values: &Option<Vec<f64>>| {
        values.as_ref().map(|values| upload::<f32>(gpu, shape, values)).transpose()
    };
    let (g, initial) = (in_f32(&beta_shape, &g)?, in_f32(&state_shape, &initial)?);
    let dlast = in_f32(&state_shape, &dlast)?;
    let (q, k) = (upload::<T>(gpu, &q_shape, &q)?, upload::<T>(gpu, &q_shape, &k)?);
    let (v, d_o) = (upload::<T>(gpu, &v_shape, &v)?, upload::<T>(gpu, &v_shape, &d_o)?);
    let beta = upload::<f32>(gpu, &beta_shape, &beta)?;
    let inputs =
        DeltaRuleInputs { q: &q, k: &k, v: &v, beta: &beta, g: g.as_ref(), initial: initial.as_ref() };
    let outputs = LinearAttentionOutputs {
        o: poisoned::<T>(gpu, &v_shape)?,
        last: poisoned::<f32>(gpu, &state_shape)?,
    };
    let gradients = DeltaRuleGradients {
        q: poisoned::<T>(gpu, &q_shape)?,
        k: poisoned::<T>(gpu, &q_shape)?,
        v: poisoned::<T>(gpu, &v_shape)?,
        beta: poisoned::<f32>(gpu, &beta_shape)?,
        g: spec.gated.then(|| poisoned::<f32>(gpu, &beta_shape)).transpose()?,
        initial: poisoned::<f32>(gpu, &state_shape)?,
    };
    let mut encoder = gpu.encoder();
    DeltaRule::new(gpu, spec.clone())?.encode(&mut encoder, inputs, &outputs)?;
    let of = LinearAttentionOutputGradients { o: &d_o, last: dlast.as_ref() };
    DeltaRuleBackward::new(gpu, spec.clone())?.encode(&mut encoder, inputs, of, &gradients)?;
    gpu.submit(encoder)?;

    let outcome = |tensor, ours: &[f64], reference: &[f64], plain: &[f64]| {
        Outcome::new(tensor, ours, reference, plain, share(reference, of_chunks(spec)))
    };
    let mut outcomes = vec![
        outcome("o", &download(&outputs.o).await?, &reference.o, &plain.o),
        outcome("last", &download(&outputs.last).await?, &reference.last, &plain.last),
        outcome("dq", &download(&gradients.q).await?, &exact.q, &rough.q),
        outcome("dk", &download(&gradients.k).await?, &exact.k, &rough.k),
        outcome("dv", &download(&gradients.v).await?, &exact.v, &rough.v),
        outcome("dbeta", &download(&gradients.beta).await?, &exact.beta, &rough.beta),
        outcome("dinitial", &download(&gradients.initial).await?, &exact.initial, &rough.initial),
    ];
    if let Some(g) = &gradients.g {
        outcomes.push(outcome("dg", &download(g).await?, &exact.g, &rough.g));
    }
    Ok(outcomes)
}
