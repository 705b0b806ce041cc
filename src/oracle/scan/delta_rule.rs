//! The delta rule, a step at a time.

use crate::DeltaRuleSpec;
use crate::oracle::Precision;
use crate::spec::Run;

/// What the delta rule reads; layouts as in [`DeltaRuleSpec`].
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names are the spec's")]
pub struct DeltaRuleValues<'a> {
    pub q: &'a [f64],
    pub k: &'a [f64],
    pub v: &'a [f64],
    pub beta: &'a [f64],
    pub g: Option<&'a [f64]>,
    pub initial: Option<&'a [f64]>,
}

/// What it computes; layouts as in [`DeltaRuleSpec`].
#[derive(Clone, Debug)]
pub struct DeltaRuleResult {
    /// The result of every step.
    pub o: Vec<f64>,
    /// The states after the last steps.
    pub last: Vec<f64>,
}

/// The gradients; layouts as of what they belong to.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are the spec's")]
pub struct DeltaRuleGradient {
    pub q: Vec<f64>,
    pub k: Vec<f64>,
    pub v: Vec<f64>,
    pub beta: Vec<f64>,
    /// 0 where states do not decay.
    pub g: Vec<f64>,
    pub initial: Vec<f64>,
}

/// The recurrence, a step at a time.
pub fn delta_rule(
    spec: &DeltaRuleSpec,
    precision: Precision,
    values: &DeltaRuleValues<'_>,
) -> DeltaRuleResult {
    let rule = Rule { spec, precision, values };
    let (scale, rows) = (f64::from(spec.scale_value()), spec.value_dim);
    let mut result = DeltaRuleResult {
        o: vec![0.0; values.v.len()],
        last: vec![0.0; spec.state_shape().iter().product()],
    };
    for (run, head) in rule.heads() {
        let mut state = rule.initial(&run, head);
        for token in run.first..run.first + run.steps {
            let at = token * spec.heads + head;
            state = rule.advance(&state, at).0;
            let q = row(values.q, at, spec.key_dim);
            for (p, row) in state.chunks_exact(spec.key_dim).enumerate() {
                let read = precision.dot(row.iter().copied().zip(q.iter().copied()));
                result.o[at * rows + p] = precision.store(scale * read);
            }
        }
        if let Some(last) = run.last {
            rule.state_of(&mut result.last, last, head).copy_from_slice(&state);
        }
    }
    result
}

/// The gradients, given those of `o` and, if anything follows, of the last states.
pub fn delta_rule_backward(
    spec: &DeltaRuleSpec,
    precision: Precision,
    values: &DeltaRuleValues<'_>,
    do_: &[f64],
    dlast: Option<&[f64]>,
) -> DeltaRuleGradient {
    let rule = Rule { spec, precision, values };
    let mut gradient = DeltaRuleGradient {
        q: vec![0.0; values.q.len()],
        k: vec![0.0; values.k.len()],
        v: vec![0.0; values.v.len()],
        beta: vec![0.0; values.beta.len()],
        g: vec![0.0; values.beta.len()],
        initial: vec![0.0; spec.state_shape().iter().product()],
    };
    for (run, head) in rule.heads() {
        let mut states = vec![rule.initial(&run, head)];
        for token in run.first..run.first + run.steps {
            let next = rule.advance(&states[states.len() - 1], token * spec.heads + head).0;
            states.push(next);
        }
        let mut ds = match (dlast, run.last) {
            (Some(dlast), Some(i)) => row(dlast, i * spec.heads + head, rule.cells()).to_vec(),
            _ => vec![0.0; rule.cells()],
        };
        for i in (0..run.steps).rev() {
            let at = (run.first + i) * spec.heads + head;
            ds = rule.retreat(&states[i..i + 2], &ds, at, do_, &mut gradient);
        }
        if let Some(i) = run.initial {
            rule.state_of(&mut gradient.initial, i, head).copy_from_slice(&ds);
        }
    }
    gradient
}

/// One row of a tensor.
fn row(tensor: &[f64], at: usize, width: usize) -> &[f64] {
    &tensor[at * width..][..width]
}

/// One call of the oracle.
struct Rule<'a> {
    spec: &'a DeltaRuleSpec,
    precision: Precision,
    values: &'a DeltaRuleValues<'a>,
}

impl Rule<'_> {
    fn cells(&self) -> usize {
        self.spec.value_dim * self.spec.key_dim
    }

    fn heads(&self) -> impl Iterator<Item = (Run, usize)> {
        let heads = self.spec.heads;
        let runs = self.spec.sequences.runs(self.spec.batch, self.spec.length);
        runs.into_iter().flat_map(move |run| (0..heads).map(move |head| (run, head)))
    }

    fn state_of<'b>(&self, states: &'b mut [f64], state: usize, head: usize) -> &'b mut [f64] {
        &mut states[(state * self.spec.heads + head) * self.cells()..][..self.cells()]
    }

    fn initial(&self, run: &Run, head: usize) -> Vec<f64> {
        match (self.values.initial, run.initial) {
            (Some(initial), Some(i)) => row(initial, i * self.spec.heads + head, self.cells()).to_vec(),
            _ => vec![0.0; self.cells()],
        }
    }

    fn decay(&self, at: usize) -> f64 {
        self.precision.sum(self.values.g.map_or(0.0, |g| g[at]).exp())
    }

    /// The state after a step, and what the decayed state before it held under the key.
    fn advance(&self, state: &[f64], at: usize) -> (Vec<f64>, Vec<f64>) {
        let sum = |value| self.precision.sum(value);
        let columns = self.spec.key_dim;
        let (k, v) = (row(self.values.k, at, columns), row(self.values.v, at, self.spec.value_dim));
        let decayed: Vec<_> = state.iter().map(|&value| sum(self.decay(at) * value)).collect();
        let held: Vec<_> = decayed
            .chunks_exact(columns)
            .map(|row| self.precision.dot(row.iter().copied().zip(k.iter().copied())))
            .collect();
        let cell = |(i, &value): (usize, &f64)| {
            let lacking = sum(v[i / columns] - held[i / columns]);
            sum(value + sum(sum(self.values.beta[at] * lacking) * k[i % columns]))
        };
        (decayed.iter().enumerate().map(cell).collect(), held)
    }

    /// The gradient of the state before a step, given that of the state after it as later steps have it; `states` are
    /// those two.
    fn retreat(
        &self,
        states: &[Vec<f64>],
        later: &[f64],
        at: usize,
        do_: &[f64],
        gradient: &mut DeltaRuleGradient,
    ) -> Vec<f64> {
        let (rows, columns) = (self.spec.value_dim, self.spec.key_dim);
        let (sum, store) = (|value| self.precision.sum(value), |value| self.precision.store(value));
        let (beta, decay) = (self.values.beta[at], self.decay(at));
        let [q, k] = [self.values.q, self.values.k].map(|tensor| row(tensor, at, columns));
        let v = row(self.values.v, at, rows);
        let scale = f64::from(self.spec.scale_value());
        let dy: Vec<_> = row(do_, at, rows).iter().map(|&d| sum(scale * d)).collect();
        let held = self.advance(&states[0], at).1;
        let ds: Vec<_> =
            later.iter().enumerate().map(|(i, &d)| sum(d + sum(dy[i / columns] * q[i % columns]))).collect();
        // Of the difference between the value and what the state held.
        let along_key = |line: &[f64]| self.precision.dot(line.iter().copied().zip(k.iter().copied()));
        let taken: Vec<_> = ds.chunks_exact(columns).map(along_key).collect();
        let difference: Vec<_> = taken.iter().map(|&d| sum(beta * d)).collect();

        for n in 0..columns {
            let column = |matrix: &[f64], by: &[f64]| {
                self.precision.dot((0..rows).map(|p| (matrix[p * columns + n], by[p])))
            };
            let lacking: Vec<_> = (0..rows).map(|p| sum(beta * sum(v[p] - held[p]))).collect();
            gradient.q[at * columns + n] = store(column(&states[1], &dy));
            let under_key = sum(decay * column(&states[0], &difference));
            gradient.k[at * columns + n] = store(sum(column(&ds, &lacking) - under_key));
        }
        for (to, &d) in gradient.v[at * rows..][..rows].iter_mut().zip(&difference) {
            *to = store(d);
        }
        gradient.beta[at] = self.precision.dot((0..rows).map(|p| (taken[p], sum(v[p] - held[p]))));
        let before: Vec<_> = ds
            .iter()
            .enumerate()
            .map(|(i, &d)| sum(decay * sum(d - sum(difference[i / columns] * k[i % columns]))))
            .collect();
        if self.values.g.is_some() {
            gradient.g[at] = self.precision.dot(before.iter().copied().zip(states[0].iter().copied()));
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Inputs;
    use crate::{DType, Sequences};

    /// A quarter of 4 under a key of 2 makes S = 2; half of that decays, and the 1 left lacks 3 of 4 under a key of 1, of
    /// which half is added.
    #[test]
    fn two_steps_by_hand() {
        let spec = DeltaRuleSpec::new(DType::F32, 1, 2, 1, (1, 1)).gated().scale(0.5);
        let g = [0.0, -std::f64::consts::LN_2];
        let values = DeltaRuleValues {
            q: &[1.0, 10.0],
            k: &[2.0, 1.0],
            v: &[4.0, 4.0],
            beta: &[0.25, 0.5],
            g: Some(&g),
            initial: None,
        };
        let result = delta_rule(&spec, Precision::Exact, &values);
        assert_eq!((result.o, result.last), (vec![1.0, 12.5], vec![2.5]));
        let gradient = delta_rule_backward(&spec, Precision::Exact, &values, &[0.0, 2.0], None);
        // dS = 0.5 · 2 · 10 after the last step. Its value has half of that; the state before it, decayed by half, the
        // other half.
        assert_eq!(gradient.q, [0.0, 2.5]);
        assert_eq!(gradient.v, [2.5 * 0.25 * 2.0, 5.0]);
        assert_eq!(gradient.beta, [2.5 * 4.0 * 2.0, 10.0 * 3.0]);
        assert_eq!(gradient.g, [0.0, 2.5 * 2.0]);
        // A key both adds and takes away: 10 (0.5 · 3) - 0.5 · 10 · 1; and 2.5 (0.25 · 4).
        assert_eq!(gradient.k, [2.5, 10.0]);
        assert_eq!(gradient.initial, [0.0]);
    }

    /// Writing twice under orthonormal keys at full rate replaces, and leaves the other key alone.
    #[test]
    fn a_full_rate_replaces_what_is_under_a_key() {
        let spec = DeltaRuleSpec::new(DType::F32, 1, 3, 1, (2, 1)).scale(1.0);
        let values = DeltaRuleValues {
            q: &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
            k: &[1.0, 0.0, 0.0, 1.0, 1.0, 0.0],
            v: &[3.0, 5.0, 7.0],
            beta: &[1.0; 3],
            g: None,
            initial: Some(&[100.0, 0.0]),
        };
        let result = delta_rule(&spec, Precision::Exact, &values);
        assert_eq!((result.o, result.last), (vec![3.0, 8.0, 12.0], vec![7.0, 5.0]));
    }

    /// Every gradient is what a small change of its input makes.
    #[test]
    fn gradients_are_differences() {
        let spec = DeltaRuleSpec::new(DType::F32, 1, 5, 2, (3, 2)).gated().initial();
        let spec = spec.sequences(Sequences::Packed(vec![0, 2, 5]));
        let mut inputs = Inputs::new(5);
        let shapes: [Vec<usize>; 6] = [
            spec.q_shape().to_vec(),
            spec.q_shape().to_vec(),
            spec.v_shape().to_vec(),
            spec.beta_shape().to_vec(),
            spec.beta_shape().to_vec(),
            spec.state_shape().to_vec(),
        ];
        let mut tensors = shapes.map(|shape| inputs.normal(shape.iter().product(), 0.5));
        let do_ = inputs.normal(tensors[2].len(), 1.0);
        let dlast = inputs.normal(tensors[5].len(), 1.0);
        let loss = |tensors: &[Vec<f64>; 6]| {
            let found = delta_rule(&spec, Precision::Exact, &values(tensors));
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            dot(&found.o, &do_) + dot(&found.last, &dlast)
        };
        let found = delta_rule_backward(&spec, Precision::Exact, &values(&tensors), &do_, Some(&dlast));
        let gradients = [found.q, found.k, found.v, found.beta, found.g, found.initial];
        for (which, gradient) in gradients.iter().enumerate() {
            for (i, &expected) in gradient.iter().enumerate() {
                let value = tensors[which][i];
                tensors[which][i] = value + 1e-5;
                let above = loss(&tensors);
                tensors[which][i] = value - 1e-5;
                let below = loss(&tensors);
                tensors[which][i] = value;
                let difference = (above - below) / 2e-5;
                let error = (difference - expected).abs();
                assert!(error < 1e-7 * (1.0 + expected.abs()), "{which}, {i}: {difference} for {expected}");
            }
            assert!(gradient.iter().any(|d| d.abs() > 0.1), "a gradient of zeros checks nothing");
        }
    }

    fn values(tensors: &[Vec<f64>; 6]) -> DeltaRuleValues<'_> {
        let [q, k, v, beta, g, initial] = tensors;
        DeltaRuleValues { q, k, v, beta, g: Some(g), initial: Some(initial) }
    }
}
