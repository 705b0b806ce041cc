//! The cores of Mamba's blocks: the oracles of their parts, one after the other.

use super::{
    Conv1dDerivatives, Conv1dTensors, SelectiveScanDerivatives, SelectiveScanResult, SelectiveScanTensors,
    SsdGradient, SsdResult, SsdValues, conv1d, conv1d_backward, selective_scan, selective_scan_backward, ssd,
    ssd_backward,
};
use crate::oracle::Precision;
use crate::{Mamba2Spec, MambaSpec};

/// The core of a Mamba block: what the scan gives, and the convolution's last inputs. The scan's `u` is not read.
pub fn mamba(
    spec: &MambaSpec,
    precision: Precision,
    conv: Conv1dTensors<'_>,
    scan: SelectiveScanTensors<'_>,
) -> (SelectiveScanResult, Vec<f64>) {
    let convolved = conv1d(&spec.conv(), precision, conv);
    let scan = SelectiveScanTensors { u: &convolved.y, ..scan };
    (selective_scan(&spec.scan, precision, scan), convolved.last)
}

/// The gradients of both parts, given that of the result; `du` is of what the convolution gave.
pub fn mamba_backward(
    spec: &MambaSpec,
    precision: Precision,
    conv: Conv1dTensors<'_>,
    scan: SelectiveScanTensors<'_>,
    dout: &[f64],
) -> (SelectiveScanDerivatives, Conv1dDerivatives) {
    let u = conv1d(&spec.conv(), precision, conv).y;
    let of_scan =
        selective_scan_backward(&spec.scan, precision, SelectiveScanTensors { u: &u, ..scan }, dout);
    let of_conv = conv1d_backward(&spec.conv(), precision, conv, &of_scan.du);
    (of_scan, of_conv)
}

/// The core of a Mamba-2 block: what the recurrence gives, and the convolution's last inputs. The recurrence's `x`, `b` and
/// `c` are not read.
pub fn mamba2(
    spec: &Mamba2Spec,
    precision: Precision,
    conv: Conv1dTensors<'_>,
    values: &SsdValues<'_>,
) -> (SsdResult, Vec<f64>) {
    let convolved = conv1d(&spec.conv(), precision, conv);
    let [x, b, c] = split(spec, &convolved.y);
    (ssd(&spec.ssd, precision, &SsdValues { x: &x, b: &b, c: &c, ..*values }), convolved.last)
}

/// The gradients of both parts, given those of the result and, if anything follows, of the last states; those of `x`, `b`
/// and `c` are of what the convolution gave.
pub fn mamba2_backward(
    spec: &Mamba2Spec,
    precision: Precision,
    conv: Conv1dTensors<'_>,
    values: &SsdValues<'_>,
    dout: &[f64],
    dlast: Option<&[f64]>,
) -> (SsdGradient, Conv1dDerivatives) {
    let [x, b, c] = split(spec, &conv1d(&spec.conv(), precision, conv).y);
    let values = SsdValues { x: &x, b: &b, c: &c, ..*values };
    let of_ssd = ssd_backward(&spec.ssd, precision, &values, dout, dlast);
    let dy = join(spec, [&of_ssd.x, &of_ssd.b, &of_ssd.c]);
    let of_conv = conv1d_backward(&spec.conv(), precision, conv, &dy);
    (of_ssd, of_conv)
}

/// The channels of `x`, of `B` and of `C`.
fn split(spec: &Mamba2Spec, all: &[f64]) -> [Vec<f64>; 3] {
    let mut first = 0;
    spec.parts().map(|part| {
        let channels = first..first + part;
        first += part;
        all.chunks_exact(spec.conv().channels).flat_map(|step| step[channels.clone()].to_vec()).collect()
    })
}

fn join(spec: &Mamba2Spec, tensors: [&[f64]; 3]) -> Vec<f64> {
    let parts = spec.parts();
    let step = |t: usize| {
        let of_part = move |(tensor, part): (&'_ [f64], usize)| tensor[t * part..][..part].to_vec();
        tensors.into_iter().zip(parts).flat_map(of_part)
    };
    (0..spec.ssd.tokens()).flat_map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, SelectiveScanSpec, Skip, SsdSpec};

    /// A step passes the convolution, silu, the recurrence and the gate: 3 is 1 · 1 + 2 · 1, and silu(3) · 5 is read.
    #[test]
    fn one_step_by_hand() {
        let silu = |x: f64| x / (1.0 + (-x).exp());
        let spec = MambaSpec {
            scan: SelectiveScanSpec::new(DType::F32, 1, 1, 1, 1).gated().initial(),
            width: 2,
            conv_bias: false,
        };
        let conv = Conv1dTensors {
            x: &[1.0],
            weight: &[2.0, 1.0],
            bias: None,
            sequences: None,
            initial: Some(&[1.0]),
        };
        let scan = SelectiveScanTensors {
            u: &[],
            delta: &[0.5],
            a: &[0.0],
            b: &[2.0],
            c: &[5.0],
            skip: None,
            z: Some(&[-1.0]),
            delta_bias: None,
            initial: Some(&[0.0]),
        };
        let (found, last) = mamba(&spec, Precision::Exact, conv, scan);
        assert!((found.out[0] - silu(3.0) * 5.0 * silu(-1.0)).abs() < 1e-12, "{found:?}");
        assert_eq!(last, [1.0]);
        assert!((found.last[0] - silu(3.0)).abs() < 1e-12);
        let (of_scan, of_conv) = mamba_backward(&spec, Precision::Exact, conv, scan, &[1.0]);
        let slope = (silu(3.0 + 1e-6) - silu(3.0 - 1e-6)) / 2e-6;
        assert!((of_scan.du[0] - 5.0 * silu(-1.0)).abs() < 1e-12);
        assert!((of_conv.dx[0] - 5.0 * silu(-1.0) * slope).abs() < 1e-8);
    }

    /// Channels of x, B and C lie side by side: with unit taps and no decay two steps are 1·2·3 and 1·2·3 + 4·5·6.
    #[test]
    fn two_steps_of_the_second_by_hand() {
        let silu = |x: f64| x / (1.0 + (-x).exp());
        let ssd = SsdSpec::new(DType::F32, 1, 2, (1, 1), 1);
        let spec = Mamba2Spec { ssd: SsdSpec { skip: Skip::None, ..ssd }, width: 2, conv_bias: false };
        let conv = Conv1dTensors {
            x: &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            weight: &[0.0, 1.0, 0.0, 1.0, 0.0, 1.0],
            bias: None,
            sequences: None,
            initial: None,
        };
        let values = SsdValues {
            x: &[],
            dt: &[1.0, 1.0],
            a: &[0.0],
            b: &[],
            c: &[],
            d: None,
            z: None,
            dt_bias: None,
            initial: None,
        };
        let (found, last) = mamba2(&spec, Precision::Exact, conv, &values);
        let (one, two) = (silu(1.0) * silu(2.0), silu(4.0) * silu(5.0));
        assert!((found.out[0] - one * silu(3.0)).abs() < 1e-12, "{found:?}");
        assert!((found.out[1] - (one + two) * silu(6.0)).abs() < 1e-12, "{found:?}");
        assert_eq!(last, [4.0, 5.0, 6.0]);
        let loss = |x: &[f64]| {
            let conv = Conv1dTensors { x, ..conv };
            let found = mamba2(&spec, Precision::Exact, conv, &values).0;
            found.out[0] + 2.0 * found.out[1]
        };
        let gradient = mamba2_backward(&spec, Precision::Exact, conv, &values, &[1.0, 2.0], None).1;
        for (i, &slope) in gradient.dx.iter().enumerate() {
            let at = |change: f64| {
                let mut x = conv.x.to_vec();
                x[i] += change;
                loss(&x)
            };
            assert!(((at(1e-6) - at(-1e-6)) / 2e-6 - slope).abs() < 1e-7, "{i}: {slope}");
        }
    }
}
