//! The recurrence of decaying outer products that state-space duality and linear attention have in common, a step at a
//! time: `S_t = S_(t-1) diag(decay_t) + weight_t x_t ⊗ b_t`, `y_t = S_t c_t`.

use crate::oracle::Precision;
use crate::spec::Run;

/// The sizes of a recurrence, and its factors at each step.
pub(super) struct Recurrence<'a> {
    pub precision: Precision,
    pub runs: Vec<Run>,
    pub heads: usize,
    /// Groups of heads that share `b` and `c`.
    pub groups: usize,
    /// Elements of `x`: rows of a state.
    pub rows: usize,
    /// Elements of `b` and `c`: columns of a state.
    pub columns: usize,
    /// (tokens, heads, rows).
    pub x: &'a [f64],
    /// (tokens, groups, columns).
    pub b: &'a [f64],
    /// (tokens, groups, columns).
    pub c: &'a [f64],
    /// (tokens, heads, columns).
    pub decay: Vec<f64>,
    /// (tokens, heads).
    pub weight: Vec<f64>,
    /// (states, heads, rows, columns).
    pub initial: Option<&'a [f64]>,
}

/// Accumulators of the gradients, not yet rounded to storage.
pub(super) struct Adjoint {
    pub x: Vec<f64>,
    pub b: Vec<f64>,
    pub c: Vec<f64>,
    /// With respect to the logarithm of the decay.
    pub log_decay: Vec<f64>,
    pub weight: Vec<f64>,
    pub initial: Vec<f64>,
}

impl Recurrence<'_> {
    fn states(&self) -> usize {
        self.runs.iter().filter(|run| run.initial.is_some()).count()
    }

    fn state_len(&self) -> usize {
        self.rows * self.columns
    }

    fn initial_state(&self, run: &Run, head: usize) -> Vec<f64> {
        let len = self.state_len();
        match (self.initial, run.initial) {
            (Some(initial), Some(i)) => initial[(i * self.heads + head) * len..][..len].to_vec(),
            _ => vec![0.0; len],
        }
    }

    /// What a head reads at a step: `x`, `b`, `c`, the decays and the weight.
    fn step(&self, token: usize, head: usize) -> (&[f64], &[f64], &[f64], &[f64], f64) {
        let at = token * self.heads + head;
        let shared = token * self.groups + head / (self.heads / self.groups);
        (
            &self.x[at * self.rows..][..self.rows],
            &self.b[shared * self.columns..][..self.columns],
            &self.c[shared * self.columns..][..self.columns],
            &self.decay[at * self.columns..][..self.columns],
            self.weight[at],
        )
    }

    fn advance(&self, state: &mut [f64], token: usize, head: usize) {
        let (x, b, _, decay, weight) = self.step(token, head);
        let sum = |value| self.precision.sum(value);
        for (p, row) in state.chunks_exact_mut(self.columns).enumerate() {
            let scaled = sum(weight * x[p]);
            for (n, value) in row.iter_mut().enumerate() {
                *value = sum(sum(decay[n] * *value) + sum(scaled * b[n]));
            }
        }
    }

    /// `y` of shape (tokens, heads, rows) and the states after each sequence.
    pub fn forward(&self) -> (Vec<f64>, Vec<f64>) {
        let mut y = vec![0.0; self.x.len()];
        let mut last = vec![0.0; self.states() * self.heads * self.state_len()];
        for run in &self.runs {
            for head in 0..self.heads {
                let mut state = self.initial_state(run, head);
                for token in run.first..run.first + run.steps {
                    self.advance(&mut state, token, head);
                    let c = self.step(token, head).2;
                    for (p, row) in state.chunks_exact(self.columns).enumerate() {
                        let pairs = row.iter().copied().zip(c.iter().copied());
                        y[(token * self.heads + head) * self.rows + p] = self.precision.dot(pairs);
                    }
                }
                if let Some(i) = run.last {
                    last[(i * self.heads + head) * self.state_len()..][..self.state_len()]
                        .copy_from_slice(&state);
                }
            }
        }
        (y, last)
    }

    /// The gradients, given those of `y` and of the last states: the same recurrence the other way round.
    pub fn backward(&self, dy: &[f64], dlast: Option<&[f64]>) -> Adjoint {
        let mut adjoint = Adjoint {
            x: vec![0.0; self.x.len()],
            b: vec![0.0; self.b.len()],
            c: vec![0.0; self.c.len()],
            log_decay: vec![0.0; self.decay.len()],
            weight: vec![0.0; self.weight.len()],
            initial: vec![0.0; self.states() * self.heads * self.state_len()],
        };
        for run in &self.runs {
            for head in 0..self.heads {
                self.backward_run(run, head, dy, dlast, &mut adjoint);
            }
        }
        adjoint
    }

    fn backward_run(&self, run: &Run, head: usize, dy: &[f64], dlast: Option<&[f64]>, adjoint: &mut Adjoint) {
        let (rows, columns, len) = (self.rows, self.columns, self.state_len());
        let precision = self.precision;
        let sum = |value| precision.sum(value);
        let add = |to: &mut f64, value| *to = sum(*to + sum(value));
        let mut states = vec![self.initial_state(run, head)];
        for token in run.first..run.first + run.steps {
            let mut next = states[states.len() - 1].clone();
            self.advance(&mut next, token, head);
            states.push(next);
        }
        let mut ds = match (dlast, run.last) {
            (Some(dlast), Some(i)) => dlast[(i * self.heads + head) * len..][..len].to_vec(),
            _ => vec![0.0; len],
        };
        for (i, token) in (run.first..run.first + run.steps).enumerate().rev() {
            let (x, b, c, decay, weight) = self.step(token, head);
            let at = token * self.heads + head;
            let shared = (token * self.groups + head / (self.heads / self.groups)) * columns;
            let (before, state) = (&states[i], &states[i + 1]);
            for p in 0..rows {
                let dy = dy[at * rows + p];
                for n in 0..columns {
                    let cell = p * columns + n;
                    add(&mut adjoint.c[shared + n], dy * state[cell]);
                    add(&mut ds[cell], dy * c[n]);
                    let grown = ds[cell];
                    add(&mut adjoint.x[at * rows + p], weight * sum(grown * b[n]));
                    add(&mut adjoint.b[shared + n], weight * sum(grown * x[p]));
                    add(&mut adjoint.weight[at], x[p] * sum(grown * b[n]));
                    add(&mut adjoint.log_decay[at * columns + n], grown * sum(decay[n] * before[cell]));
                    ds[cell] = sum(grown * decay[n]);
                }
            }
        }
        if let Some(i) = run.initial {
            adjoint.initial[(i * self.heads + head) * len..][..len].copy_from_slice(&ds);
        }
    }
}
