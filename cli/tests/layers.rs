//! `tilewise run` on recurrences and layers that have no goldens: results against the oracles, and gradients against
//! differences of these.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{Named, adapter, file, stderr, stdout, tilewise};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use tilewise::oracle::{
    self, Conv1dTensors, DeltaRuleValues, H3Operands, LinearAttentionValues, Precision, SelectiveScanTensors,
    SsdValues,
};
use tilewise::verify::Inputs;
use tilewise::{
    Conv1dSpec, DType, DeltaRuleSpec, Gate, H3Spec, LinearAttentionSpec, LongConvSpec, Mamba2Spec, MambaSpec,
    S4dParameters, S4dSpec, SelectiveScanSpec, Skip, SsdSpec,
};

const EXACT: Precision = Precision::Exact;

/// Tensors by name, with their shapes.
#[derive(Clone, Default)]
struct Tensors(BTreeMap<&'static str, (Vec<usize>, Vec<f64>)>);

impl Tensors {
    /// Adds values that f32 holds, between two limits.
    fn add(mut self, name: &'static str, shape: &[usize], [low, high]: [f64; 2]) -> Self {
        let mut inputs = Inputs::new(name.bytes().map(u64::from).sum());
        let values = inputs.uniform(shape.iter().product(), low, high);
        let values = values.into_iter().map(|x| f64::from(x as f32)).collect();
        self.0.insert(name, (shape.to_vec(), values));
        self
    }

    fn of(&self, name: &str) -> &[f64] {
        &self.0[name].1
    }

    fn named(&self) -> Vec<Named<'_>> {
        let bytes = |values: &[f64]| values.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect();
        let named =
            self.0.iter().map(|(name, (shape, values))| (*name, Dtype::F32, &shape[..], bytes(values)));
        named.collect()
    }
}

fn read(path: &Path, name: &str) -> Vec<f64> {
    let bytes = std::fs::read(path).expect("the output");
    let tensors = SafeTensors::deserialize(&bytes).expect("a whole file");
    let data = tensors.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).data().to_vec();
    data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into()).collect()
}

fn close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
    assert!(largest > 1e-3, "{what}: zeros check nothing");
    for (i, (x, y)) in found.iter().zip(expected).enumerate() {
        assert!((x - y).abs() <= 1e-4 * largest, "{what}, element {i}: {x} for {y}");
    }
}

/// Runs an operation on tensors, among them the gradient `d` + `result` of its result, and compares the result with what is
/// expected, and the gradient of every other tensor with differences.
fn check(args: &[&str], result: &str, tensors: &Tensors, expected: impl Fn(&Tensors) -> Vec<f64>) {
    if !adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let [input, output] = ["in", "out"].map(|name| folder.path().join(name));
    std::fs::write(&input, file(&tensors.named())).expect("written");
    let paths = [input.to_str().expect("text"), "-o", output.to_str().expect("text")];
    stdout([&["run"], args, &paths].concat());
    close(result, &read(&output, result), &expected(tensors));
    let given = format!("d{result}");
    let loss = |tensors: &Tensors| -> f64 {
        expected(tensors).iter().zip(tensors.of(&given)).map(|(out, by)| out * by).sum()
    };
    for name in tensors.0.keys().filter(|name| **name != given) {
        let mut moved = tensors.clone();
        let differences: Vec<f64> = (0..tensors.of(name).len())
            .map(|i| {
                let mut at = |change: f64| {
                    moved.0.get_mut(name).expect("it is there").1[i] = tensors.of(name)[i] + change;
                    loss(&moved)
                };
                let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
                at(0.0);
                difference
            })
            .collect();
        close(&format!("d{name}"), &read(&output, &format!("d{name}")), &differences);
    }
}

const AROUND: [f64; 2] = [-1.0, 1.0];

#[test]
fn the_delta_rule_and_its_gradients() {
    let spec = DeltaRuleSpec::new(DType::F32, 1, 20, 2, (3, 5)).gated().initial().scale(0.7);
    let tensors = Tensors::default()
        .add("q", &spec.q_shape(), AROUND)
        .add("k", &spec.q_shape(), [-0.7, 0.7])
        .add("v", &spec.v_shape(), AROUND)
        .add("beta", &spec.beta_shape(), [0.1, 0.9])
        .add("g", &spec.beta_shape(), [-0.5, 0.0])
        .add("initial_states", &spec.state_shape(), AROUND)
        .add("do", &spec.v_shape(), AROUND);
    check(&["delta-rule", "--chunk", "8", "--scale", "0.7"], "o", &tensors, |given| {
        let values = DeltaRuleValues {
            q: given.of("q"),
            k: given.of("k"),
            v: given.of("v"),
            beta: given.of("beta"),
            g: Some(given.of("g")),
            initial: Some(given.of("initial_states")),
        };
        oracle::delta_rule(&spec, EXACT, &values).o
    });
}

#[test]
fn attention_with_gated_keys_and_its_gradients() {
    let spec = LinearAttentionSpec::new(DType::F32, 1, 20, 2, (3, 5), Gate::PerKey).initial().scale(0.7);
    let tensors = Tensors::default()
        .add("q", &spec.q_shape(), AROUND)
        .add("k", &spec.q_shape(), AROUND)
        .add("v", &spec.v_shape(), AROUND)
        .add("g", &spec.g_shape(), [-0.5, 0.0])
        .add("initial_states", &spec.state_shape(), AROUND)
        .add("do", &spec.v_shape(), AROUND);
    check(&["gla", "--chunk", "8", "--scale", "0.7"], "o", &tensors, |given| {
        let values = LinearAttentionValues {
            q: given.of("q"),
            k: given.of("k"),
            v: given.of("v"),
            g: given.of("g"),
            initial: Some(given.of("initial_states")),
        };
        oracle::linear_attention(&spec, EXACT, &values).o
    });
}

/// The convolution of a core.
fn conv(given: &Tensors, x: &str) -> [Vec<f64>; 4] {
    [x, "weight", "bias", "conv_initial_state"].map(|name| given.of(name).to_vec())
}

fn conv_tensors([x, weight, bias, initial]: &[Vec<f64>; 4]) -> Conv1dTensors<'_> {
    Conv1dTensors { x, weight, bias: Some(bias), sequences: None, initial: Some(initial) }
}

#[test]
fn the_core_of_mamba_and_its_gradients() {
    let spec = MambaSpec::new(DType::F32, 1, 2, 9, 3);
    let spec = MambaSpec { scan: spec.scan.initial(), width: 3, ..spec };
    let (scan, front) = (spec.scan, spec.conv());
    let tensors = Tensors::default()
        .add("x", &scan.shape(), AROUND)
        .add("weight", &front.weight_shape(), AROUND)
        .add("bias", &front.bias_shape(), AROUND)
        .add("conv_initial_state", &front.state_shape(), AROUND)
        .add("delta", &scan.shape(), AROUND)
        .add("A", &scan.a_shape(), [-1.5, -0.2])
        .add("B", &scan.b_shape(), AROUND)
        .add("C", &scan.c_shape(), AROUND)
        .add("D", &scan.channel_shape(), AROUND)
        .add("z", &scan.shape(), AROUND)
        .add("delta_bias", &scan.channel_shape(), AROUND)
        .add("initial_state", &scan.state_shape(), AROUND)
        .add("dout", &scan.shape(), AROUND);
    check(&["mamba", "--delta-softplus"], "out", &tensors, |given| {
        let of_scan = SelectiveScanTensors {
            u: &[],
            delta: given.of("delta"),
            a: given.of("A"),
            b: given.of("B"),
            c: given.of("C"),
            skip: Some(given.of("D")),
            z: Some(given.of("z")),
            delta_bias: Some(given.of("delta_bias")),
            initial: Some(given.of("initial_state")),
        };
        oracle::mamba(&spec, EXACT, conv_tensors(&conv(given, "x")), of_scan).0.out
    });
}

#[test]
fn the_core_of_mamba2_and_its_gradients() {
    let spec = Mamba2Spec::new(DType::F32, 1, 9, (2, 3), 4);
    let spec = Mamba2Spec { ssd: SsdSpec { skip: Skip::PerChannel, initial: true, ..spec.ssd }, ..spec };
    let (ssd, front) = (&spec.ssd, spec.conv());
    let tensors = Tensors::default()
        .add("xBC", &front.shape(), AROUND)
        .add("weight", &front.weight_shape(), AROUND)
        .add("bias", &front.bias_shape(), AROUND)
        .add("conv_initial_state", &front.state_shape(), AROUND)
        .add("dt", &ssd.dt_shape(), AROUND)
        .add("A", &ssd.head_shape(), [-1.5, -0.2])
        .add("D", &ssd.d_shape(), AROUND)
        .add("z", &ssd.x_shape(), AROUND)
        .add("dt_bias", &ssd.head_shape(), AROUND)
        .add("initial_states", &ssd.state_shape(), AROUND)
        .add("dout", &ssd.x_shape(), AROUND);
    check(&["mamba2", "--state-dim", "4", "--dt-softplus"], "out", &tensors, |given| {
        let values = SsdValues {
            x: &[],
            dt: given.of("dt"),
            a: given.of("A"),
            b: &[],
            c: &[],
            d: Some(given.of("D")),
            z: Some(given.of("z")),
            dt_bias: Some(given.of("dt_bias")),
            initial: Some(given.of("initial_states")),
        };
        oracle::mamba2(&spec, EXACT, conv_tensors(&conv(given, "xBC")), &values).0.out
    });
}

/// The parameters of a diagonal model.
fn with_modes(tensors: Tensors, channels: usize, pairs: usize) -> Tensors {
    tensors
        .add("log_dt", &[channels], [-2.0, -1.0])
        .add("log_A_real", &[channels, pairs], [-1.0, 0.0])
        .add("A_imag", &[channels, pairs], [0.0, 3.0])
        .add("C", &[channels, pairs, 2], AROUND)
}

fn modes(given: &Tensors) -> S4dParameters {
    let part = |part: usize| given.of("C").iter().skip(part).step_by(2).copied().collect();
    S4dParameters {
        log_dt: given.of("log_dt").to_vec(),
        log_a_re: given.of("log_A_real").to_vec(),
        a_im: given.of("A_imag").to_vec(),
        c_re: part(0),
        c_im: part(1),
    }
}

/// `post (k * v + D v)` of `v = pre u`, channel by channel of one batch.
fn long_conv(u: &[f64], k: &[f64], d: &[f64], channels: usize, gates: [Option<&[f64]>; 2]) -> Vec<f64> {
    let (length, taps) = (u.len() / channels, k.len() / channels);
    let [pre, post] = gates.map(|gate| move |i: usize| gate.map_or(1.0, |gate| gate[i]));
    let value = |i: usize| {
        let (channel, t) = (i / length, i % length);
        let v = |t: usize| pre(channel * length + t) * u[channel * length + t];
        let sum: f64 = (0..taps.min(t + 1)).map(|lag| k[channel * taps + lag] * v(t - lag)).sum();
        post(i) * (sum + d[channel] * v(t))
    };
    (0..u.len()).map(value).collect()
}

#[test]
fn s4d_and_its_gradients() {
    for rule in [&["s4d"][..], &["s4d", "--bilinear"]] {
        let conv = LongConvSpec::new(DType::F32, 1, 2, 12).skip().pre_gate().post_gate();
        let spec = S4dSpec::new(conv, 2);
        let spec = if rule.len() > 1 { spec.bilinear() } else { spec };
        let tensors = Tensors::default()
            .add("u", &conv.shape(), AROUND)
            .add("pre", &conv.shape(), AROUND)
            .add("post", &conv.shape(), AROUND)
            .add("D", &[2], AROUND)
            .add("dy", &conv.shape(), AROUND);
        check(rule, "y", &with_modes(tensors, 2, 2), |given| {
            let k = oracle::s4d_kernel(&spec, &modes(given));
            let gates = [Some(given.of("pre")), Some(given.of("post"))];
            long_conv(given.of("u"), &k, given.of("D"), 2, gates)
        });
    }
}

#[test]
fn h3_and_its_gradients() {
    let spec = H3Spec::new(DType::F32, [1, 2, 12], 3, 2);
    let tensors = Tensors::default()
        .add("q", &spec.shape(), AROUND)
        .add("k", &spec.shape(), AROUND)
        .add("v", &spec.shape(), AROUND)
        .add("shift", &[2, 3], AROUND)
        .add("D_k", &[2], AROUND)
        .add("D", &[2], AROUND)
        .add("dout", &spec.shape(), AROUND);
    check(&["h3"], "out", &with_modes(tensors, 2, 2), |given| {
        let kernel = oracle::s4d_kernel(&spec.diagonal(), &modes(given));
        let operands = H3Operands {
            q: given.of("q"),
            k: given.of("k"),
            v: given.of("v"),
            shift: given.of("shift"),
            shift_skip: given.of("D_k"),
            kernel: &kernel,
            skip: given.of("D"),
        };
        oracle::h3(&spec, EXACT, operands, given.of("dout")).out
    });
}

#[test]
fn hyena_and_its_gradients() {
    let shape = [1, 2, 12];
    let mut tensors =
        Tensors::default().add("h", &[2, 7], AROUND).add("D", &[2], AROUND).add("dy", &shape, AROUND);
    for [x, weight, bias] in PROJECTIONS {
        tensors = tensors.add(x, &shape, AROUND).add(weight, &[2, 3], AROUND).add(bias, &[2], AROUND);
    }
    check(&["hyena"], "y", &tensors, |given| {
        let short = Conv1dSpec::new(DType::F32, 1, 2, 12, 3).bias();
        let [q, k, v] = PROJECTIONS.map(|[x, weight, bias]| {
            let [x, weight, bias] = [x, weight, bias].map(|name| given.of(name));
            let tensors = Conv1dTensors { x, weight, bias: Some(bias), sequences: None, initial: None };
            oracle::conv1d(&short, EXACT, tensors).y
        });
        long_conv(&v, given.of("h"), given.of("D"), 2, [Some(&k), Some(&q)])
    });
}

const PROJECTIONS: [[&str; 3]; 3] =
    [["q", "q_weight", "q_bias"], ["k", "k_weight", "k_bias"], ["v", "v_weight", "v_bias"]];

#[test]
fn what_does_not_go_together_is_refused_with_numbers() {
    let refused = |args: &[&str], tensors: &Tensors, words: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let [input, output] = ["in", "out"].map(|name| folder.path().join(name));
        std::fs::write(&input, file(&tensors.named())).expect("written");
        let paths = [input.to_str().expect("text"), "-o", output.to_str().expect("text")];
        let ran = tilewise([&["run"], args, &paths].concat());
        let message = stderr(&ran);
        assert_eq!(ran.status.code(), Some(2), "{args:?}, expected {words:?}: {message}");
        assert!(message.contains(words), "{args:?}: {words:?} is not in: {message}");
        assert!(!output.exists(), "{args:?} left an output behind");
    };
    let rule = Tensors::default()
        .add("q", &[1, 4, 2, 3], AROUND)
        .add("k", &[1, 4, 2, 3], AROUND)
        .add("v", &[1, 4, 2, 5], AROUND)
        .add("beta", &[1, 4, 2], AROUND);
    refused(&["delta-rule", "--chunk", "0"], &rule, "chunk is 0, expected 1 to 64");
    let alone = rule.clone().add("dfinal_states", &[1, 2, 5, 3], AROUND);
    refused(&["delta-rule"], &alone, "dfinal_states is there without do");
    refused(&["delta-rule"], &rule.add("g", &[2], AROUND), "g has shape [2], expected [1, 4, 2]");

    let core = Tensors::default()
        .add("xBC", &[1, 4, 12], AROUND)
        .add("weight", &[12, 4], AROUND)
        .add("dt", &[1, 4, 2], AROUND)
        .add("A", &[2], AROUND);
    let words = "xBC has 12 channels, expected some for each of the 2 heads of dt and 2 × 1 × 6 for B and C";
    refused(&["mamba2", "--state-dim", "6"], &core, words);
    let groups = ["mamba2", "--state-dim", "1", "--groups", "3"];
    refused(&groups, &core, "groups is 3, expected a divisor of the 2 heads");
    let alone = core.add("initial_states", &[1, 2, 2, 4], AROUND);
    refused(&["mamba2", "--state-dim", "4"], &alone, "initial_states is there alone");

    let scan = SelectiveScanSpec::new(DType::F32, 1, 2, SHORT, 3);
    let core = Tensors::default()
        .add("x", &scan.shape(), AROUND)
        .add("weight", &[2, 5], AROUND)
        .add("delta", &scan.shape(), AROUND)
        .add("A", &scan.a_shape(), AROUND)
        .add("B", &scan.b_shape(), AROUND)
        .add("C", &scan.c_shape(), AROUND);
    refused(&["mamba"], &core, "width is 5, expected 2 to 4");
    let model = Tensors::default().add("u", &[1, 2, SHORT], AROUND);
    let model = with_modes(model, 2, 4).add("log_dt", &[3], AROUND);
    refused(&["s4d"], &model, "log_dt has shape [3], expected [2]");
}

const SHORT: usize = 4;
