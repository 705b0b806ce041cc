//! Linear attention with decaying states, as the recurrence it is.

use super::recurrence::Recurrence;
use crate::oracle::Precision;
use crate::{Gate, LinearAttentionSpec};

/// What linear attention reads; layouts as in [`LinearAttentionSpec`].
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names are the spec's")]
pub struct LinearAttentionValues<'a> {
    pub q: &'a [f64],
    pub k: &'a [f64],
    pub v: &'a [f64],
    pub g: &'a [f64],
    pub initial: Option<&'a [f64]>,
}

/// What it computes; layouts as in [`LinearAttentionSpec`].
#[derive(Clone, Debug)]
pub struct LinearAttentionResult {
    /// The result of every step.
    pub o: Vec<f64>,
    /// The states after the last steps.
    pub last: Vec<f64>,
}

/// The gradients; layouts as of what they belong to.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are the spec's")]
pub struct LinearAttentionGradient {
    pub q: Vec<f64>,
    pub k: Vec<f64>,
    pub v: Vec<f64>,
    pub g: Vec<f64>,
    pub initial: Vec<f64>,
}

/// The recurrence, a step at a time.
pub fn linear_attention(
    spec: &LinearAttentionSpec,
    precision: Precision,
    values: &LinearAttentionValues<'_>,
) -> LinearAttentionResult {
    let (o, last) = recurrence(spec, precision, values).forward();
    let scale = f64::from(spec.scale_value());
    LinearAttentionResult { o: o.into_iter().map(|o| precision.store(scale * o)).collect(), last }
}

/// The gradients, given those of `o` and, if anything follows, of the last states.
pub fn linear_attention_backward(
    spec: &LinearAttentionSpec,
    precision: Precision,
    values: &LinearAttentionValues<'_>,
    do_: &[f64],
    dlast: Option<&[f64]>,
) -> LinearAttentionGradient {
    let scale = f64::from(spec.scale_value());
    let scaled: Vec<_> = do_.iter().map(|&do_| precision.sum(scale * do_)).collect();
    let adjoint = recurrence(spec, precision, values).backward(&scaled, dlast);
    let store = |values: &[f64]| values.iter().map(|&value| precision.store(value)).collect();
    let mut g = vec![0.0; spec.g_shape().iter().product()];
    for (i, &log) in adjoint.log_decay.iter().enumerate() {
        let at = gate_at(spec, i);
        g[at] = precision.sum(g[at] + log);
    }
    LinearAttentionGradient {
        q: store(&adjoint.c),
        k: store(&adjoint.b),
        v: store(&adjoint.x),
        g,
        initial: adjoint.initial,
    }
}

/// Which gate an element of a step's keys has.
fn gate_at(spec: &LinearAttentionSpec, element: usize) -> usize {
    let step = element / spec.key_dim;
    match spec.gate {
        Gate::Constant => step % spec.heads,
        Gate::PerStep => step,
        Gate::PerKey => element,
    }
}

fn recurrence<'a>(
    spec: &LinearAttentionSpec,
    precision: Precision,
    values: &LinearAttentionValues<'a>,
) -> Recurrence<'a> {
    let steps = spec.batch * spec.length * spec.heads;
    let decay = |i| precision.sum(values.g[gate_at(spec, i)].exp());
    Recurrence {
        precision,
        runs: spec.sequences.runs(spec.batch, spec.length),
        heads: spec.heads,
        groups: spec.heads,
        rows: spec.value_dim,
        columns: spec.key_dim,
        x: values.v,
        b: values.k,
        c: values.q,
        decay: (0..steps * spec.key_dim).map(decay).collect(),
        weight: vec![1.0; steps],
        initial: values.initial,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    /// Halving states, read at half scale: S = 3·1, then 3/2 + 1·2 = 3.5.
    #[test]
    fn two_steps_by_hand() {
        let spec = LinearAttentionSpec::new(DType::F32, 1, 2, 1, (1, 1), Gate::Constant).scale(0.5);
        let g = [-std::f64::consts::LN_2];
        let values =
            LinearAttentionValues { q: &[1.0, 10.0], k: &[1.0, 2.0], v: &[3.0, 1.0], g: &g, initial: None };
        let result = linear_attention(&spec, Precision::Exact, &values);
        assert_eq!((result.o, result.last), (vec![1.5, 17.5], vec![3.5]));
        let gradient = linear_attention_backward(&spec, Precision::Exact, &values, &[0.0, 2.0], None);
        // dS = 0.5 · 2 · 10 after the last step, half of it before.
        assert_eq!(gradient.q, [0.0, 3.5]);
        assert_eq!(gradient.k, [15.0, 10.0]);
        assert_eq!(gradient.v, [5.0, 20.0]);
        assert_eq!(gradient.g, [10.0 * 1.5]);
        assert_eq!(gradient.initial, [2.5]);
    }

    /// One element of the key forgets half, the other nothing.
    #[test]
    fn elements_of_keys_decay_each_on_its_own() {
        let spec = LinearAttentionSpec::new(DType::F32, 1, 2, 1, (2, 1), Gate::PerKey).scale(1.0);
        let g = [-1.0, -1.0, -std::f64::consts::LN_2, 0.0];
        let (q, k) = ([0.0, 0.0, 1.0, 1.0], [4.0, 6.0, 0.0, 1.0]);
        let values = LinearAttentionValues { q: &q, k: &k, v: &[1.0, 3.0], g: &g, initial: None };
        let result = linear_attention(&spec, Precision::Exact, &values);
        assert_eq!((result.o, result.last), (vec![0.0, 11.0], vec![2.0, 9.0]));
        let gradient = linear_attention_backward(&spec, Precision::Exact, &values, &[0.0, 1.0], None);
        assert_eq!(gradient.g, [0.0, 0.0, 2.0, 6.0]);
        assert_eq!(gradient.k, [0.5, 1.0, 3.0, 3.0]);
        assert_eq!(gradient.q, [0.0, 0.0, 2.0, 9.0]);
        assert_eq!(gradient.v, [0.5 * 4.0 + 6.0, 1.0]);
    }
}
