//! State-space duality, as the recurrence it is.

use super::recurrence::Recurrence;
use crate::oracle::Precision;
use crate::{Skip, SsdSpec};

/// What a state-space recurrence reads; layouts as in [`SsdSpec`].
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names are the spec's")]
pub struct SsdValues<'a> {
    pub x: &'a [f64],
    pub dt: &'a [f64],
    pub a: &'a [f64],
    pub b: &'a [f64],
    pub c: &'a [f64],
    pub d: Option<&'a [f64]>,
    pub z: Option<&'a [f64]>,
    pub dt_bias: Option<&'a [f64]>,
    pub initial: Option<&'a [f64]>,
}

/// What it computes; layouts as in [`SsdSpec`].
#[derive(Clone, Debug)]
pub struct SsdResult {
    /// The gated result of every step.
    pub out: Vec<f64>,
    /// The states after the last steps.
    pub last: Vec<f64>,
}

/// The gradients; layouts as of what they belong to.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are the spec's")]
pub struct SsdGradient {
    pub x: Vec<f64>,
    pub dt: Vec<f64>,
    pub a: Vec<f64>,
    pub b: Vec<f64>,
    pub c: Vec<f64>,
    pub d: Option<Vec<f64>>,
    pub z: Option<Vec<f64>>,
    pub dt_bias: Option<Vec<f64>>,
    pub initial: Vec<f64>,
}

/// The recurrence, a step at a time.
pub fn ssd(spec: &SsdSpec, precision: Precision, values: &SsdValues<'_>) -> SsdResult {
    let (delta, _) = deltas(spec, precision, values);
    let (y, last) = recurrence(spec, precision, values, delta).forward();
    let out = skipped(spec, precision, values, y).into_iter().enumerate().map(|(i, y)| {
        let gated = values.z.map_or(y, |z| precision.sum(y * silu(precision, z[i]).0));
        precision.store(gated)
    });
    SsdResult { out: out.collect(), last }
}

/// The gradients, given those of `out` and, if anything follows, of the last states.
pub fn ssd_backward(
    spec: &SsdSpec,
    precision: Precision,
    values: &SsdValues<'_>,
    dout: &[f64],
    dlast: Option<&[f64]>,
) -> SsdGradient {
    let sum = |value| precision.sum(value);
    let store = |values: &[f64]| values.iter().map(|&value| precision.store(value)).collect();
    let (delta, slope) = deltas(spec, precision, values);
    let recurrence = recurrence(spec, precision, values, delta.clone());

    let (dy, dz) = match values.z {
        None => (dout.to_vec(), None),
        Some(z) => {
            let y = skipped(spec, precision, values, recurrence.forward().0);
            let gate: Vec<_> = z.iter().map(|&z| silu(precision, z)).collect();
            let dy = dout.iter().zip(&gate).map(|(&dout, gate)| sum(dout * gate.0)).collect();
            let dz = dout.iter().zip(&gate).zip(&y).map(|((&dout, gate), &y)| sum(sum(dout * y) * gate.1));
            (dy, Some(dz.map(|dz| precision.store(dz)).collect()))
        }
    };
    let mut adjoint = recurrence.backward(&dy, dlast);

    let mut dd = vec![0.0; spec.d_shape().iter().product()];
    if let Some(d) = values.d {
        for (i, (&dy, &x)) in dy.iter().zip(values.x).enumerate() {
            let at = skip_index(spec, i);
            dd[at] = sum(dd[at] + sum(dy * x));
            adjoint.x[i] = sum(adjoint.x[i] + sum(dy * d[at]));
        }
    }
    let (mut da, mut dbias) = (vec![0.0; spec.heads], vec![0.0; spec.heads]);
    let mut ddt = Vec::with_capacity(delta.len());
    for (i, (&delta, &slope)) in delta.iter().zip(&slope).enumerate() {
        let head = i % spec.heads;
        let logs = &adjoint.log_decay[i * spec.state_dim..][..spec.state_dim];
        let log = logs.iter().fold(0.0, |total, &part| sum(total + part));
        da[head] = sum(da[head] + sum(delta * log));
        let raw = sum(sum(adjoint.weight[i] + sum(values.a[head] * log)) * slope);
        dbias[head] = sum(dbias[head] + raw);
        ddt.push(precision.store(raw));
    }
    SsdGradient {
        x: store(&adjoint.x),
        dt: ddt,
        a: da,
        b: store(&adjoint.b),
        c: store(&adjoint.c),
        d: values.d.map(|_| dd),
        z: dz,
        dt_bias: values.dt_bias.map(|_| dbias),
        initial: adjoint.initial,
    }
}

fn recurrence<'a>(
    spec: &SsdSpec,
    precision: Precision,
    values: &SsdValues<'a>,
    delta: Vec<f64>,
) -> Recurrence<'a> {
    let log = |(i, &delta): (usize, &f64)| precision.sum(delta * values.a[i % spec.heads]);
    let decays = delta.iter().enumerate().map(log).map(|log| precision.sum(log.exp()));
    Recurrence {
        precision,
        runs: spec.sequences.runs(spec.batch, spec.length),
        heads: spec.heads,
        groups: spec.groups,
        rows: spec.head_dim,
        columns: spec.state_dim,
        x: values.x,
        b: values.b,
        c: values.c,
        decay: decays.flat_map(|decay| vec![decay; spec.state_dim]).collect(),
        weight: delta,
        initial: values.initial,
    }
}

/// δ of every step and head, and its derivative with respect to `dt`.
fn deltas(spec: &SsdSpec, precision: Precision, values: &SsdValues<'_>) -> (Vec<f64>, Vec<f64>) {
    let delta = |(i, &dt): (usize, &f64)| {
        let raw = precision.sum(dt + values.dt_bias.map_or(0.0, |bias| bias[i % spec.heads]));
        let (delta, slope) = if spec.dt_softplus && raw <= 20.0 {
            (precision.sum(raw.exp().ln_1p()), precision.sum(sigmoid(raw)))
        } else {
            (raw, 1.0)
        };
        match spec.dt_limits.map(|limits| limits.map(f64::from)) {
            Some([low, _]) if delta < low => (low, 0.0),
            Some([_, high]) if delta > high => (high, 0.0),
            _ => (delta, slope),
        }
    };
    values.dt.iter().enumerate().map(delta).unzip()
}

fn skipped(spec: &SsdSpec, precision: Precision, values: &SsdValues<'_>, y: Vec<f64>) -> Vec<f64> {
    let Some(d) = values.d else { return y };
    let add = |(i, y): (usize, f64)| precision.sum(y + precision.sum(d[skip_index(spec, i)] * values.x[i]));
    y.into_iter().enumerate().map(add).collect()
}

/// Which element of `d` belongs to an element of `x`.
fn skip_index(spec: &SsdSpec, i: usize) -> usize {
    match spec.skip {
        Skip::PerChannel => i % (spec.heads * spec.head_dim),
        Skip::None | Skip::PerHead => i / spec.head_dim % spec.heads,
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `x σ(x)` and its derivative.
fn silu(precision: Precision, x: f64) -> (f64, f64) {
    let sigmoid = precision.sum(sigmoid(x));
    (precision.sum(x * sigmoid), precision.sum(sigmoid * (1.0 + x * (1.0 - sigmoid))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Sequences};

    const LN_2: f64 = std::f64::consts::LN_2;

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (x, y) in found.iter().zip(expected) {
            assert!((x - y).abs() < 1e-12, "{found:?} for {expected:?}");
        }
    }

    /// Halving states: S = 8/2 + 2·3·1 = 10, then 10/2 + 1·1·2 = 7.
    #[test]
    fn two_steps_by_hand() {
        let spec = SsdSpec::new(DType::F32, 1, 2, (1, 1), 1).initial().skip(Skip::PerHead);
        let values = SsdValues {
            x: &[3.0, 1.0],
            dt: &[2.0, 1.0],
            a: &[-LN_2],
            b: &[1.0, 2.0],
            c: &[1.0, 10.0],
            d: Some(&[100.0]),
            z: None,
            dt_bias: None,
            initial: Some(&[16.0]),
        };
        let result = ssd(&spec, Precision::Exact, &values);
        close(&result.last, &[7.0]);
        close(&result.out, &[10.0 + 300.0, 70.0 + 100.0]);
        let gradient = ssd_backward(&spec, Precision::Exact, &values, &[0.0, 1.0], Some(&[1.0]));
        // dS = 10 + 1 after the last step, half of it before.
        close(&gradient.c, &[0.0, 7.0]);
        close(&gradient.b, &[5.5 * 2.0 * 3.0, 11.0]);
        close(&gradient.x, &[5.5 * 2.0, 22.0 + 100.0]);
        close(&gradient.initial, &[5.5 / 4.0]);
        close(gradient.d.as_ref().unwrap(), &[1.0]);
        close(&gradient.dt, &[5.5 * 3.0 - LN_2 * 5.5 * 4.0, 11.0 * 2.0 - LN_2 * 11.0 * 5.0]);
        close(&gradient.a, &[2.0 * 5.5 * 4.0 + 11.0 * 5.0]);
    }

    fn values(given: &[Vec<f64>; 9]) -> SsdValues<'_> {
        let [x, dt, a, b, c, d, z, bias, initial] = given;
        SsdValues { x, dt, a, b, c, d: Some(d), z: Some(z), dt_bias: Some(bias), initial: Some(initial) }
    }

    #[test]
    fn every_gradient_agrees_with_differences() {
        let sequences = Sequences::Packed(vec![0, 2, 2, 5]);
        let spec =
            SsdSpec::new(DType::F32, 1, 5, (2, 2), 2).groups(1).initial().skip(Skip::PerChannel).gated();
        let spec = spec.dt_bias().dt_softplus().dt_limits(0.2, 0.9).sequences(sequences);
        let wave = |count: usize, phase: f64| -> Vec<f64> {
            (0..count).map(|i| (1.3 * i as f64 + phase).sin()).collect()
        };
        // x, dt, a, b, c, d, z, the bias, the initial states.
        let mut given =
            [(20, 0.1), (10, 0.2), (2, 4.0), (10, 0.4), (10, 0.5), (4, 0.6), (20, 0.7), (2, 0.8), (24, 0.9)]
                .map(|(count, phase)| wave(count, phase));
        let (dout, dlast) = (wave(20, 1.0), wave(24, 1.1));
        let loss = |given: &[Vec<f64>; 9]| {
            let result = ssd(&spec, Precision::Exact, &values(given));
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            dot(&result.out, &dout) + dot(&result.last, &dlast)
        };
        let gradient = ssd_backward(&spec, Precision::Exact, &values(&given), &dout, Some(&dlast));
        let found = [
            gradient.x,
            gradient.dt,
            gradient.a,
            gradient.b,
            gradient.c,
            gradient.d.unwrap(),
            gradient.z.unwrap(),
            gradient.dt_bias.unwrap(),
            gradient.initial,
        ];
        for tensor in 0..given.len() {
            for i in 0..given[tensor].len() {
                let at = given[tensor][i];
                let mut shifted = |by: f64| {
                    given[tensor][i] = at + by;
                    loss(&given)
                };
                let slope = (shifted(1e-6) - shifted(-1e-6)) / 2e-6;
                given[tensor][i] = at;
                let ours = found[tensor][i];
                assert!((slope - ours).abs() < 1e-7, "tensor {tensor}, element {i}: {ours} for {slope}");
            }
        }
    }
}
