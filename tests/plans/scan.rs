//! Plans of the scan family.

use tilewise::baseline::{
    self, DirectLongConvPlan, PlainConv1dBackwardPlan, PlainConv1dPlan, PlainRecurrenceBackwardPlan,
    PlainWay, SequentialAttentionPlan, SequentialLinearScanBackwardPlan, SequentialLinearScanPlan,
    SequentialLongConvBackwardPlan, SequentialLongConvPlan, SequentialRecurrencePlan, SequentialS4dPlan,
    UnfusedDeltaRulePlan, UnfusedLinearScanBackwardPlan, UnfusedLinearScanPlan, UnfusedLongConvBackwardPlan,
    UnfusedLongConvPlan, UnfusedRecurrencePlan, UnfusedSsdPlan,
};
use tilewise::plan::{
    ChunkedBackwardPlan, ChunkedPlan, Conv1dBackwardPlan, Conv1dPlan, Conv1dStepPlan, DeltaRuleBackwardPlan,
    DeltaRulePlan, LinearAttentionBackwardPlan, LinearAttentionPlan, LongConvBackwardPlan, LongConvPlan,
    LongConvStepPlan, RowScanBackwardPlan, RowScanPlan, S4dPlan, SelectiveScanBackwardPlan,
    SelectiveScanPlan, TokenPlan,
};
use tilewise::{
    AssociativeOperator, AssociativeScanSpec, Caps, Coefficients, Conv1dSpec, DType, DeltaRuleSpec, Gate,
    LinearAttentionSpec, LinearScanSpec, LongConvSpec, S4dSpec, SelectiveScanSpec, Skip, SsdSpec, ops,
};

use super::Planned;

pub fn linear_scan(name: &str, spec: LinearScanSpec, caps: &Caps) -> Planned {
    Planned::new(name, RowScanPlan::linear(&spec, caps), ops::shaders::row_scan)
}

pub fn long_conv(name: &str, spec: LongConvSpec, caps: &Caps) -> Planned {
    Planned::new(name, LongConvPlan::new(&spec, caps), ops::shaders::long_conv)
}

/// One pass by ones and by fours, and two passes, with and without what is optional.
fn long_convs(dtype: DType, caps: &Caps) -> Vec<Planned> {
    let spec = |channels, length| LongConvSpec::new(dtype, 2, channels, length);
    let whole = |spec: LongConvSpec| spec.pre_gate().post_gate().skip();
    let specs = [whole(spec(3, 13)), spec(300, 1000), whole(spec(2, 100_000)), spec(1, 8191).post_gate()];
    let mut planned = Vec::new();
    for spec in [whole(spec(3, 13)), spec(300, 1000)] {
        let spec = S4dSpec::new(spec, 16);
        planned.push(Planned::new(&spec.to_string(), S4dPlan::new(&spec, caps), ops::shaders::s4d));
    }
    for spec in specs {
        planned.push(long_conv(&spec.to_string(), spec, caps));
        let backward = LongConvBackwardPlan::new(&spec, caps);
        planned.push(Planned::new(&format!("{spec}, backward"), backward, ops::shaders::long_conv_backward));
        let step = LongConvStepPlan::new(&spec, caps);
        planned.push(Planned::new(&format!("{spec}, step"), step, ops::shaders::long_conv_step));
        let unfused = UnfusedLongConvPlan::new(&spec, caps);
        planned.push(Planned::new(&format!("{spec}, unfused"), unfused, baseline::shaders::long_conv));
        let unfused = UnfusedLongConvBackwardPlan::new(&spec, caps);
        let name = format!("{spec}, backward, unfused");
        planned.push(Planned::new(&name, unfused, baseline::shaders::long_conv_backward));
        // More samples are more turns than loops have everywhere.
        if spec.length < 1 << 14 {
            let (name, shaders) = (format!("{spec}, loop"), baseline::shaders::sequential_long_conv);
            planned.push(Planned::new(&name, SequentialLongConvPlan::new(&spec, caps), shaders));
            let (name, shaders) =
                (format!("{spec}, backward, loop"), baseline::shaders::sequential_long_conv_backward);
            planned.push(Planned::new(&name, SequentialLongConvBackwardPlan::new(&spec, caps), shaders));
        }
        let direct = DirectLongConvPlan::new(&spec, caps);
        planned.push(Planned::new(&format!("{spec}, direct"), direct, baseline::shaders::direct_long_conv));
    }
    planned
}

/// Sums and maxima by ones and by fours, in one pass and in three phases.
fn associative_scans(dtype: DType, caps: &Caps) -> Vec<Planned> {
    let mut planned = Vec::new();
    for (operator, length) in AssociativeOperator::ALL.into_iter().flat_map(|op| [(op, 97), (op, 100_000)]) {
        let spec = AssociativeScanSpec::new(dtype, operator, 1, 2, length);
        for spec in [spec, spec.initial().reverse(), spec.exclusive()] {
            let (plan, shaders) = (RowScanPlan::associative(&spec, caps), ops::shaders::row_scan);
            planned.push(Planned::new(&format!("{spec:?}"), plan, shaders));
            let (plan, shaders) =
                (RowScanBackwardPlan::associative(&spec, caps), ops::shaders::row_scan_backward);
            planned.push(Planned::new(&format!("{spec:?}, backward"), plan, shaders));
        }
    }
    planned
}

/// The backward pass of maxima of many rows.
pub fn running_max_backward(name: &str, caps: &Caps) -> Planned {
    let spec = AssociativeScanSpec::new(DType::F16, AssociativeOperator::Max, 1, 2000, 4096).initial();
    let plan = RowScanBackwardPlan::associative(&spec, caps);
    Planned::new(name, plan, ops::shaders::row_scan_backward)
}

/// A convolution, its backward pass and its step.
fn conv1d(spec: Conv1dSpec, caps: &Caps) -> [Planned; 3] {
    let name = |pass| format!("{spec:?}, {pass}");
    [
        Planned::new(&name("forward"), Conv1dPlan::new(&spec, caps), ops::shaders::conv1d),
        Planned::new(&name("backward"), Conv1dBackwardPlan::new(&spec, caps), ops::shaders::conv1d_backward),
        Planned::new(&name("step"), Conv1dStepPlan::new(&spec, caps), ops::shaders::conv1d_step),
    ]
}

/// A selective scan and its backward pass.
fn selective_scan(spec: SelectiveScanSpec, caps: &Caps) -> [Planned; 2] {
    let (forward, backward) =
        (SelectiveScanPlan::new(&spec, caps), SelectiveScanBackwardPlan::new(&spec, caps));
    [
        Planned::new(&format!("{spec:?}"), forward, ops::shaders::selective_scan),
        Planned::new(&format!("{spec:?}, backward"), backward, ops::shaders::selective_scan_backward),
    ]
}

/// The loops and array operations that the family is measured against.
fn yardsticks(dtype: DType, caps: &Caps) -> Vec<Planned> {
    let conv = Conv1dSpec::new(dtype, 2, 3, 96, 3);
    let scan = SelectiveScanSpec::new(dtype, 2, 6, 97, 16);
    let ssd = SsdSpec::new(dtype, 2, 96, (4, 13), 7).groups(2);
    let mut planned = Vec::new();
    for spec in [conv, conv.bias().silu().initial(), conv.channels_last()] {
        for plan in [PlainConv1dPlan::unfused(&spec, caps), PlainConv1dPlan::sequential(&spec, caps)] {
            let name = format!(
                "{spec}, {}",
                if plan.as_ref().is_ok_and(|p| p.sequential) { "loop" } else { "unfused" }
            );
            planned.push(Planned::new(&name, plan, baseline::shaders::conv1d));
        }
    }
    for spec in [conv, conv.bias().silu().initial()] {
        let plan = PlainConv1dBackwardPlan::sequential(&spec, caps);
        let (name, shaders) = (format!("{spec}, backward, loop"), baseline::shaders::conv1d_backward);
        planned.push(Planned::new(&name, plan, shaders));
    }
    for spec in [conv, conv.bias().silu()] {
        let plan = PlainConv1dBackwardPlan::unfused(&spec, caps);
        let (name, shaders) = (format!("{spec}, backward, unfused"), baseline::shaders::conv1d_backward);
        planned.push(Planned::new(&name, plan, shaders));
    }
    let linear = |gate| LinearAttentionSpec::new(dtype, 2, 33, 2, (8, 12), gate);
    for spec in [linear(Gate::Constant), linear(Gate::PerStep), linear(Gate::PerKey)] {
        let plan = SequentialAttentionPlan::linear_attention(&spec, caps);
        let name = format!("{spec}, loop");
        planned.push(Planned::new(&name, plan, baseline::shaders::sequential_attention));
        let plan = UnfusedRecurrencePlan::linear_attention(&spec, caps);
        planned.push(Planned::new(&format!("{spec}, unfused"), plan, baseline::shaders::recurrence));
        for way in [PlainWay::Loop, PlainWay::Arrays] {
            let plan = PlainRecurrenceBackwardPlan::linear_attention(&spec, way, caps);
            let name = format!("{spec}, backward, {way:?}");
            planned.push(Planned::new(&name, plan, baseline::shaders::recurrence_backward));
        }
    }
    let spec = DeltaRuleSpec::new(dtype, 2, 33, 2, (8, 12));
    for spec in [spec.clone(), spec.gated()] {
        let plan = SequentialAttentionPlan::delta_rule(&spec, caps);
        let name = format!("{spec}, loop");
        planned.push(Planned::new(&name, plan, baseline::shaders::sequential_attention));
        let plan = UnfusedDeltaRulePlan::new(&spec, caps);
        planned.push(Planned::new(&format!("{spec}, unfused"), plan, baseline::shaders::delta_rule));
        let plan = PlainRecurrenceBackwardPlan::delta_rule(&spec, PlainWay::Loop, caps);
        let name = format!("{spec}, backward, loop");
        planned.push(Planned::new(&name, plan, baseline::shaders::recurrence_backward));
    }
    let model = S4dSpec::new(LongConvSpec::new(dtype, 2, 3, 97).skip().post_gate(), 5);
    let plan = SequentialS4dPlan::new(&model, caps);
    planned.push(Planned::new(&format!("{model}, loop"), plan, baseline::shaders::sequential_s4d));
    let sequential = baseline::shaders::sequential_recurrence;
    let backward = baseline::shaders::recurrence_backward;
    for spec in [scan, scan.skip().gated().delta_bias().delta_softplus().initial()] {
        let plan = UnfusedRecurrencePlan::selective_scan(&spec, caps);
        planned.push(Planned::new(&format!("{spec}, unfused"), plan, baseline::shaders::recurrence));
        let plan = SequentialRecurrencePlan::selective_scan(&spec, caps);
        planned.push(Planned::new(&format!("{spec}, loop"), plan, sequential));
        for way in [PlainWay::Loop, PlainWay::Arrays] {
            let plan = PlainRecurrenceBackwardPlan::selective_scan(&spec, way, caps);
            planned.push(Planned::new(&format!("{spec}, backward, {way:?}"), plan, backward));
        }
    }
    for spec in [ssd.clone(), ssd.skip(Skip::PerChannel).gated().dt_bias().dt_softplus().initial()] {
        let plan = UnfusedSsdPlan::new(&spec, caps);
        planned.push(Planned::new(&format!("{spec}, unfused"), plan, baseline::shaders::ssd));
        let plan = SequentialRecurrencePlan::ssd(&spec, caps);
        planned.push(Planned::new(&format!("{spec}, loop"), plan, sequential));
        for way in [PlainWay::Loop, PlainWay::Arrays] {
            let plan = PlainRecurrenceBackwardPlan::ssd(&spec, way, caps);
            planned.push(Planned::new(&format!("{spec}, backward, {way:?}"), plan, backward));
        }
    }
    planned
}

/// Chunked recurrences with their gradients and steps: widths by fours and by ones, of one tile and of two, and every
/// option with and without the others.
fn chunked(dtype: DType, caps: &Caps) -> Vec<Planned> {
    let odd = SsdSpec::new(dtype, 1, 97, (4, 13), 7).groups(2).skip(Skip::PerHead).gated().chunk(64);
    let specs = [
        SsdSpec::new(dtype, 1, 20, (2, 16), 16),
        SsdSpec::new(dtype, 1, 1000, (2, 64), 128).skip(Skip::PerChannel).chunk(256),
        odd.dt_bias().dt_softplus().dt_limits(0.1, 1.0),
    ];
    let mut planned = Vec::new();
    for spec in specs {
        planned.push(Planned::new(&spec.to_string(), ChunkedPlan::ssd(&spec, caps), ops::shaders::chunked));
        let backward = ChunkedBackwardPlan::ssd(&spec, caps);
        planned.push(Planned::new(&format!("{spec}, backward"), backward, ops::shaders::chunked_backward));
        planned.push(Planned::new(
            &format!("{spec}, step"),
            TokenPlan::ssd(&spec, caps),
            ops::shaders::token,
        ));
    }
    for gate in [Gate::Constant, Gate::PerStep, Gate::PerKey] {
        let spec = LinearAttentionSpec::new(dtype, 1, 97, 2, (8, 20), gate);
        let plan = LinearAttentionPlan::new(&spec, caps);
        planned.push(Planned::new(&spec.to_string(), plan, ops::shaders::linear_attention));
        let backward = LinearAttentionBackwardPlan::new(&spec, caps);
        let shaders = ops::shaders::linear_attention_backward;
        planned.push(Planned::new(&format!("{spec}, backward"), backward, shaders));
        let step = TokenPlan::linear_attention(&spec, caps);
        planned.push(Planned::new(&format!("{spec}, step"), step, ops::shaders::token));
    }
    planned
}

/// The delta rule with its gradients and its step: widths by fours and by ones, states whose rows one lane's fours hold and
/// such that take several, with and without decays.
fn delta_rule(dtype: DType, caps: &Caps) -> Vec<Planned> {
    let specs = [
        DeltaRuleSpec::new(dtype, 1, 97, 2, (16, 8)).chunk(20),
        DeltaRuleSpec::new(dtype, 1, 97, 2, (128, 64)).gated(),
        DeltaRuleSpec::new(dtype, 1, 203, 2, (13, 7)).gated(),
        DeltaRuleSpec::new(dtype, 1, 97, 2, (500, 130)),
    ];
    let mut planned = Vec::new();
    for spec in specs {
        let plan = DeltaRulePlan::new(&spec, caps);
        planned.push(Planned::new(&spec.to_string(), plan, ops::shaders::delta_rule));
        let backward = DeltaRuleBackwardPlan::new(&spec, caps);
        planned.push(Planned::new(&format!("{spec}, backward"), backward, ops::shaders::delta_rule_backward));
        let step = TokenPlan::delta_rule(&spec, caps);
        planned.push(Planned::new(&format!("{spec}, step"), step, ops::shaders::token));
    }
    planned
}

pub fn samples(dtype: DType, caps: &Caps) -> Vec<Planned> {
    let mut planned = Vec::new();
    for (channels, length) in [(1, 5), (5, 50), (1, 100), (1, 100_000), (2000, 1), (2000, 4096), (3, 99_999)]
    {
        let spec = LinearScanSpec::new(dtype, 1, channels, length);
        planned.push(linear_scan(&format!("{spec:?}"), spec, caps));
        planned.push(linear_scan(&format!("{spec:?}, initial"), spec.initial(), caps));
        planned.push(linear_scan(&format!("{spec:?}, reverse"), spec.reverse(), caps));
        planned.push(linear_scan(&format!("{spec:?}, complex"), spec.complex().exclusive(), caps));
        for spec in [spec, spec.initial().reverse(), spec.exclusive(), spec.complex().initial()] {
            let backward = RowScanBackwardPlan::linear(&spec, caps);
            let shaders = ops::shaders::row_scan_backward;
            planned.push(Planned::new(&format!("{spec:?}, backward"), backward, shaders));
        }
    }
    planned.extend(associative_scans(dtype, caps));
    planned.extend(long_convs(dtype, caps));
    planned.extend(chunked(dtype, caps));
    planned.extend(delta_rule(dtype, caps));
    for spec in [LinearScanSpec::new(dtype, 1, 3, 99), LinearScanSpec::new(dtype, 1, 3, 100).initial()] {
        let plan = UnfusedLinearScanPlan::new(&spec, caps);
        planned.push(Planned::new(&format!("{spec:?}, unfused"), plan, baseline::shaders::linear_scan));
        let plan = SequentialLinearScanPlan::new(&spec, caps);
        let shaders = baseline::shaders::sequential_linear_scan;
        planned.push(Planned::new(&format!("{spec:?}, sequential"), plan, shaders));
        let plan = UnfusedLinearScanBackwardPlan::new(&spec, caps);
        let shaders = baseline::shaders::linear_scan_backward;
        planned.push(Planned::new(&format!("{spec:?}, backward, unfused"), plan, shaders));
        let plan = SequentialLinearScanBackwardPlan::new(&spec, caps);
        let shaders = baseline::shaders::sequential_linear_scan_backward;
        planned.push(Planned::new(&format!("{spec:?}, backward, sequential"), plan, shaders));
    }
    planned.extend(yardsticks(dtype, caps));
    let conv = Conv1dSpec::new(dtype, 2, 3, 96, 2);
    planned.extend(conv1d(conv, caps));
    planned.extend(conv1d(Conv1dSpec { length: 97, width: 3, ..conv }.bias().silu(), caps));
    planned.extend(conv1d(Conv1dSpec { width: 4, ..conv }.bias().silu().sequences().initial(), caps));
    planned.extend(conv1d(Conv1dSpec { width: 3, channels: 8, ..conv }.silu().channels_last(), caps));
    planned.extend(conv1d(conv.bias().sequences().initial().channels_last(), caps));
    planned.extend(conv1d(Conv1dSpec { batch: 1, ..conv.initial() }.channels_last().packed(3), caps));
    let plain = SelectiveScanSpec::new(dtype, 1, 6, 64, 1);
    planned.extend(selective_scan(plain, caps));
    let all = plain.skip().gated().delta_bias().delta_softplus().initial();
    let all = all.coefficients(Coefficients::PerGroup(2), Coefficients::PerChannel);
    planned.extend(selective_scan(SelectiveScanSpec { length: 1001, state_dim: 16, ..all }, caps));
    let complex = SelectiveScanSpec { length: 2000, state_dim: 256, ..plain }.complex();
    let complex = complex.coefficients(Coefficients::PerChannel, Coefficients::PerStep);
    planned.extend(selective_scan(complex, caps));
    // More than can be bound at once: the backward pass goes by tiles of channels.
    let length = usize::try_from(caps.binding_bytes >> 14).expect("a length");
    planned.extend(selective_scan(SelectiveScanSpec::new(dtype, 1, 16, length, 256), caps));
    planned
}
