//! The selective scan.

use super::number::Number;
use crate::oracle::Precision;
use crate::{Coefficients, SelectiveScanSpec};

/// What a selective scan reads; layouts as in [`SelectiveScanSpec`].
#[derive(Clone, Copy, Debug)]
pub struct SelectiveScanTensors<'a> {
    /// What is scanned.
    pub u: &'a [f64],
    /// Step sizes, before the bias and the softplus.
    pub delta: &'a [f64],
    /// How fast states decay.
    pub a: &'a [f64],
    /// How inputs enter the states.
    pub b: &'a [f64],
    /// How states are read out.
    pub c: &'a [f64],
    /// By which inputs skip the recurrence.
    pub skip: Option<&'a [f64]>,
    /// The gate.
    pub z: Option<&'a [f64]>,
    /// Terms added to the step sizes.
    pub delta_bias: Option<&'a [f64]>,
    /// States before the first step.
    pub initial: Option<&'a [f64]>,
}

/// What a selective scan computes.
#[derive(Clone, Debug)]
pub struct SelectiveScanResult {
    /// Outputs.
    pub out: Vec<f64>,
    /// States after the last step.
    pub last: Vec<f64>,
}

/// The gradients of a selective scan, of the shapes of what they belong to.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each is named after what it belongs to")]
pub struct SelectiveScanDerivatives {
    pub du: Vec<f64>,
    pub ddelta: Vec<f64>,
    pub da: Vec<f64>,
    pub db: Vec<f64>,
    pub dc: Vec<f64>,
    pub dskip: Vec<f64>,
    pub dz: Vec<f64>,
    pub ddelta_bias: Vec<f64>,
    pub dinitial: Vec<f64>,
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// One row's walk through its steps, as both passes take it.
struct Row<'a> {
    spec: &'a SelectiveScanSpec,
    tensors: SelectiveScanTensors<'a>,
    precision: Precision,
    batch: usize,
    channel: usize,
}

impl Row<'_> {
    fn index(&self) -> usize {
        self.batch * self.spec.channels + self.channel
    }

    /// The place of a step in tensors of all rows.
    fn step(&self, t: usize) -> usize {
        self.index() * self.spec.length + t
    }

    fn state(&self, n: usize) -> usize {
        self.index() * self.spec.state_dim + n
    }

    fn own_state(&self, n: usize) -> usize {
        self.channel * self.spec.state_dim + n
    }

    /// The place of a coefficient.
    fn coefficient(&self, coefficients: Coefficients, n: usize, t: usize) -> usize {
        let spec = self.spec;
        let groups = match coefficients {
            Coefficients::PerChannel => return self.own_state(n),
            Coefficients::PerStep => 1,
            Coefficients::PerGroup(groups) => groups,
        };
        let group = self.batch * groups + self.channel / (spec.channels / groups);
        (group * spec.state_dim + n) * spec.length + t
    }

    fn a(&self, n: usize) -> Number {
        Number::load(self.tensors.a, self.own_state(n), self.spec.parts())
    }

    fn b(&self, n: usize, t: usize) -> Number {
        Number::load(self.tensors.b, self.coefficient(self.spec.b, n, t), self.spec.parts())
    }

    fn c(&self, n: usize, t: usize) -> Number {
        Number::load(self.tensors.c, self.coefficient(self.spec.c, n, t), self.spec.parts())
    }

    fn skip(&self) -> f64 {
        self.tensors.skip.map_or(0.0, |skip| skip[self.channel])
    }

    /// A step size before the softplus.
    fn raw(&self, t: usize) -> f64 {
        let bias = self.tensors.delta_bias.map_or(0.0, |bias| bias[self.channel]);
        self.precision.sum(self.tensors.delta[self.step(t)] + bias)
    }

    fn size(&self, t: usize) -> f64 {
        let raw = self.raw(t);
        let soft = self.spec.delta_softplus && raw <= 20.0;
        if soft { self.precision.sum(raw.exp().ln_1p()) } else { raw }
    }

    fn decay(&self, n: usize, t: usize) -> Number {
        self.a(n).by(self.size(t), self.precision).exp(self.precision)
    }

    /// The states of one number before the first step and after each.
    fn states(&self, n: usize) -> Vec<Number> {
        let parts = self.spec.parts();
        let mut state = self
            .tensors
            .initial
            .map_or_else(Number::default, |initial| Number::load(initial, self.state(n), parts));
        let mut states = vec![state];
        for t in 0..self.spec.length {
            let input = self.precision.sum(self.size(t) * self.tensors.u[self.step(t)]);
            let kept = self.decay(n, t).times(state, self.precision);
            state = kept.plus(self.b(n, t).by(input, self.precision), self.precision);
            states.push(state);
        }
        states
    }

    /// What states of one number add to the result of a step.
    fn read_out(&self, n: usize, t: usize, state: Number) -> f64 {
        let product = self.c(n, t).times(state, self.precision).re;
        product * self.spec.parts() as f64
    }

    /// The gradient of one factor of [`read_out`](Self::read_out), given the other.
    fn read_out_slope(&self, other: Number) -> Number {
        other.conjugate().by(self.spec.parts() as f64, self.precision)
    }

    /// The result before the gate.
    fn result(&self, states: &[Vec<Number>], t: usize) -> f64 {
        let sum = states
            .iter()
            .enumerate()
            .fold(0.0, |sum, (n, states)| self.precision.sum(sum + self.read_out(n, t, states[t + 1])));
        self.precision.sum(sum + self.precision.sum(self.skip() * self.tensors.u[self.step(t)]))
    }
}

fn rows<'a>(
    spec: &'a SelectiveScanSpec,
    precision: Precision,
    tensors: SelectiveScanTensors<'a>,
) -> impl Iterator<Item = Row<'a>> {
    let all = (0..spec.batch).flat_map(|batch| (0..spec.channels).map(move |channel| (batch, channel)));
    all.map(move |(batch, channel)| Row { spec, tensors, precision, batch, channel })
}

/// `h_t = exp(δ_t A) h_(t-1) + δ_t B_t u_t` and what is read out of it, a step at a time.
pub fn selective_scan(
    spec: &SelectiveScanSpec,
    precision: Precision,
    tensors: SelectiveScanTensors<'_>,
) -> SelectiveScanResult {
    let mut out = Vec::with_capacity(tensors.u.len());
    let mut last = vec![0.0; spec.rows() * spec.parts()];
    for row in rows(spec, precision, tensors) {
        let states: Vec<_> = (0..spec.state_dim).map(|n| row.states(n)).collect();
        for t in 0..spec.length {
            let gate = tensors.z.map_or(1.0, |z| {
                let z = z[row.step(t)];
                precision.sum(z * sigmoid(z))
            });
            out.push(precision.store(row.result(&states, t) * gate));
        }
        for (n, states) in states.iter().enumerate() {
            states[spec.length].add_to(&mut last, row.state(n), spec.parts(), precision);
        }
    }
    SelectiveScanResult { out, last }
}

/// The gradients for those of the outputs, from the last step back to the first.
pub fn selective_scan_backward(
    spec: &SelectiveScanSpec,
    precision: Precision,
    tensors: SelectiveScanTensors<'_>,
    dout: &[f64],
) -> SelectiveScanDerivatives {
    let parts = spec.parts();
    let zeros = |like: &[f64]| vec![0.0; like.len()];
    let mut result = SelectiveScanDerivatives {
        du: zeros(tensors.u),
        ddelta: zeros(tensors.u),
        da: zeros(tensors.a),
        db: zeros(tensors.b),
        dc: zeros(tensors.c),
        dskip: vec![0.0; spec.channels],
        dz: zeros(tensors.u),
        ddelta_bias: vec![0.0; spec.channels],
        dinitial: vec![0.0; spec.rows() * parts],
    };
    for row in rows(spec, precision, tensors) {
        let states: Vec<_> = (0..spec.state_dim).map(|n| row.states(n)).collect();
        let mut back = vec![Number::default(); spec.state_dim];
        for t in (0..spec.length).rev() {
            let (step, size) = (row.step(t), row.size(t));
            let (u, mut gradient) = (tensors.u[step], dout[step]);
            if let Some(z) = tensors.z {
                let (z, share) = (z[step], sigmoid(z[step]));
                result.dz[step] = gradient * row.result(&states, t) * share * (1.0 + z * (1.0 - share));
                gradient = precision.sum(gradient * z * share);
            }
            let (mut through_b, mut through_a) = (0.0, 0.0);
            for (n, back) in back.iter_mut().enumerate() {
                let dh = row.read_out_slope(row.c(n, t)).by(gradient, precision).plus(*back, precision);
                let kept = row.decay(n, t).times(states[n][t], precision);
                let dc = row.read_out_slope(states[n][t + 1]).by(gradient, precision);
                let db = dh.by(precision.sum(size * u), precision);
                let da = dh.times(kept.conjugate(), precision).by(size, precision);
                dc.add_to(&mut result.dc, row.coefficient(spec.c, n, t), parts, precision);
                db.add_to(&mut result.db, row.coefficient(spec.b, n, t), parts, precision);
                da.add_to(&mut result.da, row.own_state(n), parts, precision);
                let inner = |x: Number| precision.sum(x.re * dh.re + x.im * dh.im);
                through_b = precision.sum(through_b + inner(row.b(n, t)));
                through_a = precision.sum(through_a + inner(row.a(n).times(kept, precision)));
                *back = dh.times(row.decay(n, t).conjugate(), precision);
            }
            result.du[step] = row.skip() * gradient + size * through_b;
            let raw = row.raw(t);
            let slope = if spec.delta_softplus && raw <= 20.0 { sigmoid(raw) } else { 1.0 };
            let ddelta = precision.sum((u * through_b + through_a) * slope);
            result.ddelta[step] = ddelta;
            let channel = |sums: &mut [f64], term: f64| {
                sums[row.channel] = precision.sum(sums[row.channel] + term);
            };
            channel(&mut result.dskip, gradient * u);
            channel(&mut result.ddelta_bias, ddelta);
        }
        for (n, back) in back.into_iter().enumerate() {
            back.add_to(&mut result.dinitial, row.state(n), parts, precision);
        }
    }
    let mut stored = vec![&mut result.du, &mut result.ddelta, &mut result.dz];
    stored.extend(spec.b.vary().then_some(&mut result.db));
    stored.extend(spec.c.vary().then_some(&mut result.dc));
    stored.into_iter().flatten().for_each(|value| *value = precision.store(*value));
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::verify::Inputs;

    #[test]
    fn one_state_decays_by_halves() {
        let half = -std::f64::consts::LN_2;
        let spec = SelectiveScanSpec::new(DType::F32, 1, 1, 3, 1).skip().initial();
        let tensors = SelectiveScanTensors {
            u: &[1.0, 2.0, 0.0],
            delta: &[1.0, 1.0, 2.0],
            a: &[half],
            b: &[1.0, 3.0, 1.0],
            c: &[1.0, 1.0, 2.0],
            skip: Some(&[10.0]),
            z: None,
            delta_bias: None,
            initial: Some(&[8.0]),
        };
        let found = selective_scan(&spec, Precision::Exact, tensors);
        // 8/2 + 1 = 5, 5/2 + 6 = 8.5, 8.5/4 = 2.125
        let expected = [5.0 + 10.0, 8.5 + 20.0, 2.0 * 2.125];
        assert!(found.out.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-12), "{found:?}");
        assert!((found.last[0] - 2.125).abs() < 1e-12);
    }

    /// A complex decay by a quarter turn: 1, i, -1, read out as twice the real part.
    #[test]
    fn complex_states_turn() {
        let spec = SelectiveScanSpec::new(DType::F32, 1, 1, 3, 1).complex();
        let tensors = SelectiveScanTensors {
            u: &[1.0, 0.0, 0.0],
            delta: &[1.0; 3],
            a: &[0.0, std::f64::consts::FRAC_PI_2],
            b: &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            c: &[1.0, 0.0, 0.0, -1.0, 1.0, 0.0],
            skip: None,
            z: None,
            delta_bias: None,
            initial: None,
        };
        let found = selective_scan(&spec, Precision::Exact, tensors).out;
        assert!(found.iter().zip([2.0, 2.0, -2.0]).all(|(x, y)| (x - y).abs() < 1e-12), "{found:?}");
    }

    /// Every gradient against differences of a sum of weighted outputs.
    #[test]
    fn gradients_are_slopes() {
        let (b, c) = (Coefficients::PerGroup(2), Coefficients::PerChannel);
        let real = SelectiveScanSpec::new(DType::F32, 2, 4, 5, 3).coefficients(b, c);
        let real = real.skip().gated().delta_bias().delta_softplus().initial();
        for spec in [real, real.complex(), real.complex().coefficients(c, b)] {
            let mut inputs = Inputs::new(3);
            let mut values = |shape: &[usize]| inputs.normal(shape.iter().product(), 0.7);
            let shape = spec.shape();
            let names = ["u", "delta", "a", "b", "c", "skip", "z", "bias", "initial"];
            let mut tensors = [
                values(&shape),
                values(&shape),
                values(&spec.a_shape()),
                values(&spec.b_shape()),
                values(&spec.c_shape()),
                values(&spec.channel_shape()),
                values(&shape),
                values(&spec.channel_shape()),
                values(&spec.state_shape()),
            ];
            let dout = values(&shape);
            let loss = |tensors: &[Vec<f64>; 9]| {
                let out = selective_scan(&spec, Precision::Exact, given(tensors)).out;
                out.iter().zip(&dout).map(|(x, y)| x * y).sum::<f64>()
            };
            let found = selective_scan_backward(&spec, Precision::Exact, given(&tensors), &dout);
            let found = [
                found.du,
                found.ddelta,
                found.da,
                found.db,
                found.dc,
                found.dskip,
                found.dz,
                found.ddelta_bias,
                found.dinitial,
            ];
            for (k, name) in names.iter().enumerate() {
                for i in (0..tensors[k].len()).step_by(3) {
                    let value = tensors[k][i];
                    let mut at = |x: f64| {
                        tensors[k][i] = x;
                        loss(&tensors)
                    };
                    let slope = (at(value + 1e-5) - at(value - 1e-5)) / 2e-5;
                    at(value);
                    let ours = found[k][i];
                    assert!(
                        (ours - slope).abs() < 1e-6 * slope.abs().max(1.0),
                        "{spec}, {name}[{i}]: {ours} for {slope}"
                    );
                }
            }
        }
    }

    fn given(tensors: &[Vec<f64>; 9]) -> SelectiveScanTensors<'_> {
        let [u, delta, a, b, c, skip, z, bias, initial] = tensors;
        let (skip, z, delta_bias, initial) = (Some(&**skip), Some(&**z), Some(&**bias), Some(&**initial));
        SelectiveScanTensors { u, delta, a, b, c, skip, z, delta_bias, initial }
    }
}
