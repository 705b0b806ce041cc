//! The causal depthwise convolution.

use crate::Conv1dSpec;
use crate::oracle::Precision;

/// What a causal depthwise convolution reads; layouts as in [`Conv1dSpec`].
#[derive(Clone, Copy, Debug)]
pub struct Conv1dTensors<'a> {
    /// Inputs.
    pub x: &'a [f64],
    /// Taps.
    pub weight: &'a [f64],
    /// Terms added to every output of a channel.
    pub bias: Option<&'a [f64]>,
    /// The sequence of each step; packed ones are counted from 0 in their order.
    pub sequences: Option<&'a [i32]>,
    /// Inputs before the first step.
    pub initial: Option<&'a [f64]>,
}

/// What a causal depthwise convolution computes.
#[derive(Clone, Debug)]
pub struct Conv1dResult {
    /// Outputs.
    pub y: Vec<f64>,
    /// The inputs of the last steps.
    pub last: Vec<f64>,
}

/// The gradients of a causal depthwise convolution.
#[derive(Clone, Debug)]
pub struct Conv1dDerivatives {
    /// Of the inputs.
    pub dx: Vec<f64>,
    /// Of the taps.
    pub dweight: Vec<f64>,
    /// Of the bias.
    pub dbias: Vec<f64>,
    /// Of the initial state.
    pub dinitial: Vec<f64>,
}

impl Conv1dTensors<'_> {
    /// Where the input `lag` steps before step `t` of a row lies, in `x` or in the initial state, and what it is; none
    /// if it belongs to another sequence.
    fn tap(&self, spec: &Conv1dSpec, row: usize, t: usize, lag: usize) -> Option<(Place, f64)> {
        if spec.packed.is_some() {
            return self.packed_tap(spec, row, t, lag);
        }
        let width = spec.width;
        let sequence = |t: usize| self.sequences.map(|all| all[row / spec.channels * spec.length + t]);
        if sequence(t) != sequence(t.saturating_sub(lag)) {
            return None;
        }
        if lag <= t {
            let place = place(spec, row, t - lag);
            return Some((Place::X(place), self.x[place]));
        }
        self.state(spec, row, width - 1 + t - lag)
    }

    /// An input of an initial state, if there is any.
    fn state(&self, spec: &Conv1dSpec, row: usize, k: usize) -> Option<(Place, f64)> {
        let place = row * (spec.width - 1) + k;
        self.initial.map(|initial| (Place::Initial(place), initial[place]))
    }

    /// The first step of a packed sequence, and the one after its last.
    fn bounds(&self, sequence: usize) -> [usize; 2] {
        let all = self.sequences.expect("packed sequences are told");
        [sequence, sequence + 1].map(|number| all.partition_point(|&of| (of as usize) < number))
    }

    /// The same as `tap` where sequences are packed: what lies before one is in a state of its own.
    fn packed_tap(&self, spec: &Conv1dSpec, row: usize, t: usize, lag: usize) -> Option<(Place, f64)> {
        let sequence = self.sequences.expect("packed sequences are told")[t] as usize;
        self.input_of(spec, [sequence, row], t + spec.width - 1, lag)
    }

    /// The input `lag` steps before a step of a packed sequence. Steps are counted with those of a state in front.
    fn input_of(
        &self,
        spec: &Conv1dSpec,
        [sequence, channel]: [usize; 2],
        step: usize,
        lag: usize,
    ) -> Option<(Place, f64)> {
        let [first, _] = self.bounds(sequence);
        let at = step - lag;
        if at >= first + spec.width - 1 {
            let place = place(spec, channel, at + 1 - spec.width);
            return Some((Place::X(place), self.x[place]));
        }
        self.state(spec, sequence * spec.channels + channel, at - first)
    }

    /// A sum before its activation.
    fn sum(&self, spec: &Conv1dSpec, precision: Precision, row: usize, t: usize) -> f64 {
        let channel = row % spec.channels;
        (0..spec.width).fold(self.bias.map_or(0.0, |bias| bias[channel]), |sum, k| {
            let input = self.tap(spec, row, t, spec.width - 1 - k).map_or(0.0, |(_, input)| input);
            precision.sum(sum + precision.sum(self.weight[channel * spec.width + k] * input))
        })
    }
}

/// Where a step of a row lies in `x` and `y`.
fn place(spec: &Conv1dSpec, row: usize, t: usize) -> usize {
    if spec.channels_last {
        (row / spec.channels * spec.length + t) * spec.channels + row % spec.channels
    } else {
        row * spec.length + t
    }
}

#[derive(Clone, Copy)]
enum Place {
    X(usize),
    Initial(usize),
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `y_t = act(bias + Σ_k weight_k x_(t - width + 1 + k))`, an output at a time.
pub fn conv1d(spec: &Conv1dSpec, precision: Precision, tensors: Conv1dTensors<'_>) -> Conv1dResult {
    let mut y = vec![0.0; tensors.x.len()];
    let mut last = Vec::with_capacity(spec.state_shape().iter().product());
    for row in 0..spec.rows() {
        for t in 0..spec.length {
            let sum = tensors.sum(spec, precision, row, t);
            let active = if spec.silu { sum * precision.sum(sigmoid(sum)) } else { sum };
            y[place(spec, row, t)] = precision.store(active);
        }
        if spec.packed.is_none() {
            let lags = (0..spec.width - 1).rev();
            last.extend(lags.map(|lag| tensors.tap(spec, row, spec.length - 1, lag).map_or(0.0, |(_, x)| x)));
        }
    }
    for sequence in 0..spec.packed.unwrap_or(0) {
        let [_, end] = tensors.bounds(sequence);
        for channel in 0..spec.channels {
            // The step before the end, counted with those of the state.
            let input = |lag| tensors.input_of(spec, [sequence, channel], end + spec.width - 2, lag);
            last.extend((0..spec.width - 1).rev().map(|lag| input(lag).map_or(0.0, |(_, x)| x)));
        }
    }
    Conv1dResult { y, last }
}

/// The gradients for those of the outputs: each output passes its own on to the inputs that it took in.
pub fn conv1d_backward(
    spec: &Conv1dSpec,
    precision: Precision,
    tensors: Conv1dTensors<'_>,
    dy: &[f64],
) -> Conv1dDerivatives {
    let mut result = Conv1dDerivatives {
        dx: vec![0.0; dy.len()],
        dweight: vec![0.0; spec.channels * spec.width],
        dbias: vec![0.0; spec.channels],
        dinitial: vec![0.0; spec.state_shape().iter().product()],
    };
    let add = |sum: &mut f64, term: f64| *sum = precision.sum(*sum + precision.sum(term));
    for row in 0..spec.rows() {
        let channel = row % spec.channels;
        for t in 0..spec.length {
            let sum = tensors.sum(spec, precision, row, t);
            let share = sigmoid(sum);
            let slope = if spec.silu { share * (1.0 + sum * (1.0 - share)) } else { 1.0 };
            let dsum = precision.sum(dy[place(spec, row, t)] * slope);
            add(&mut result.dbias[channel], dsum);
            for k in 0..spec.width {
                let Some((place, input)) = tensors.tap(spec, row, t, spec.width - 1 - k) else { continue };
                let tap = channel * spec.width + k;
                add(&mut result.dweight[tap], dsum * input);
                match place {
                    Place::X(place) => add(&mut result.dx[place], dsum * tensors.weight[tap]),
                    Place::Initial(place) => add(&mut result.dinitial[place], dsum * tensors.weight[tap]),
                }
            }
        }
    }
    result.dx.iter_mut().for_each(|value| *value = precision.store(*value));
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    const X: [f64; 4] = [1.0, 2.0, 3.0, 4.0];
    const TENSORS: Conv1dTensors<'static> = Conv1dTensors {
        x: &X,
        weight: &[100.0, 10.0, 1.0],
        bias: Some(&[0.5]),
        sequences: None,
        initial: None,
    };

    #[test]
    fn taps_reach_back_and_sequences_stop_them() {
        let spec = Conv1dSpec::new(DType::F32, 1, 1, 4, 3).bias();
        let run = |spec: Conv1dSpec, tensors| {
            let Conv1dResult { y, last } = conv1d(&spec, Precision::Exact, tensors);
            (y, last)
        };
        assert_eq!(run(spec, TENSORS), (vec![1.5, 12.5, 123.5, 234.5], vec![3.0, 4.0]));
        let begun = Conv1dTensors { initial: Some(&[8.0, 9.0]), ..TENSORS };
        assert_eq!(run(spec.initial(), begun).0, [891.5, 912.5, 123.5, 234.5]);
        let split = Conv1dTensors { sequences: Some(&[5, 5, 5, 2]), ..begun };
        let expected = (vec![891.5, 912.5, 123.5, 4.5], vec![0.0, 4.0]);
        assert_eq!(run(spec.initial().sequences(), split), expected);
        let one = Conv1dTensors { sequences: None, x: &[4.0], ..begun };
        assert_eq!(run(Conv1dSpec { length: 1, ..spec.initial() }, one), (vec![894.5], vec![9.0, 4.0]));
    }

    /// The second of three sequences has no steps: what it begins with is what it leaves.
    #[test]
    fn packed_sequences_have_states_of_their_own() {
        let spec = Conv1dSpec::new(DType::F32, 1, 1, 4, 3).bias().channels_last().packed(3).initial();
        let states = [8.0, 9.0, 6.0, 7.0, 5.0, 4.0];
        let tensors = Conv1dTensors { sequences: Some(&[0, 2, 2, 2]), initial: Some(&states), ..TENSORS };
        let found = conv1d(&spec, Precision::Exact, tensors);
        assert_eq!(found.y, [891.5, 542.5, 423.5, 234.5]);
        assert_eq!(found.last, [9.0, 1.0, 6.0, 7.0, 3.0, 4.0]);
        let gradients = conv1d_backward(&spec, Precision::Exact, tensors, &[1.0; 4]);
        assert_eq!(gradients.dx, [1.0, 111.0, 11.0, 1.0]);
        assert_eq!(gradients.dinitial, [100.0, 10.0, 0.0, 0.0, 100.0, 110.0]);
        let zeros = conv1d(&spec, Precision::Exact, Conv1dTensors { initial: None, ..tensors });
        assert_eq!((zeros.y[1], &zeros.last[..4]), (2.5, &[0.0, 1.0, 0.0, 0.0][..]));
    }

    /// Two channels side by side are the two one after the other.
    #[test]
    fn channels_may_lie_innermost() {
        let spec = Conv1dSpec::new(DType::F32, 1, 2, 3, 2).channels_last();
        let tensors = Conv1dTensors {
            x: &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0],
            weight: &[1.0, 2.0, 0.0, 1.0],
            bias: None,
            ..TENSORS
        };
        let found = conv1d(&spec, Precision::Exact, tensors);
        assert_eq!(found.y, [2.0, 10.0, 5.0, 20.0, 8.0, 30.0]);
        assert_eq!(found.last, [3.0, 30.0]);
        let gradients = conv1d_backward(&spec, Precision::Exact, tensors, &[0.0, 0.0, 1.0, 0.0, 0.0, 7.0]);
        assert_eq!(gradients.dx, [1.0, 0.0, 2.0, 0.0, 0.0, 7.0]);
        assert_eq!(gradients.dweight, [1.0, 2.0, 7.0 * 20.0, 7.0 * 30.0]);
    }

    #[test]
    fn gradients_follow_the_taps_back() {
        let spec = Conv1dSpec::new(DType::F32, 1, 1, 4, 3).bias().initial();
        let begun = Conv1dTensors { initial: Some(&[8.0, 9.0]), ..TENSORS };
        let found = conv1d_backward(&spec, Precision::Exact, begun, &[1.0, 0.0, 0.0, 2.0]);
        assert_eq!(found.dx, [1.0, 200.0, 20.0, 2.0]);
        assert_eq!(found.dweight, [8.0 + 2.0 * 2.0, 9.0 + 2.0 * 3.0, 1.0 + 2.0 * 4.0]);
        assert_eq!(found.dbias, [3.0]);
        assert_eq!(found.dinitial, [100.0, 10.0]);
    }

    /// The derivative of silu, against a difference of its values.
    #[test]
    fn silu_has_its_slope() {
        fn tensors(x: &[f64]) -> Conv1dTensors<'_> {
            Conv1dTensors { x, weight: &[0.0, 1.0], bias: None, ..TENSORS }
        }
        let spec = Conv1dSpec::new(DType::F32, 1, 1, 1, 2).silu();
        let value = |x: f64| conv1d(&spec, Precision::Exact, tensors(&[x])).y[0];
        assert!(value(0.0).abs() < 1e-300);
        for x in [-3.0, -0.5, 0.0, 2.0] {
            let slope = conv1d_backward(&spec, Precision::Exact, tensors(&[x]), &[1.0]).dx[0];
            let difference = (value(x + 1e-6) - value(x - 1e-6)) / 2e-6;
            assert!((slope - difference).abs() < 1e-8, "{slope} against {difference} at {x}");
        }
    }
}
