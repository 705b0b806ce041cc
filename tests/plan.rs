//! The planner, for machines that are not here: no plan exceeds what its adapter has, whatever is asked.

mod plans;

use proptest::prelude::*;
use tilewise::caps::{PROFILES, Subgroups};
use tilewise::plan::{
    AttentionBackwardPlan, AttentionPath, AttentionPlan, AttentionProbabilitiesPlan, AttentionTile,
    BlockSparsePlan, ButterflyBackwardPlan, ButterflyPass, ButterflyPlan, ChunkedBackwardPlan,
    Conv1dBackwardPlan, Conv1dPlan, Conv1dStepPlan, DeltaRuleBackwardPlan, DirectTile, Exchange, ForwardPath,
    LinearAttentionBackwardPlan, LinearAttentionPlan, LongConvBackwardPlan, MatrixTile, MonarchBackwardPlan,
    MonarchPlan, PixelflyBackwardPlan, PixelflyPlan, Plan, RowScanBackwardPlan, RowScanPlan,
    SelectiveScanBackwardPlan, SelectiveScanPlan, SelectiveScanSlice,
};
use tilewise::{
    Alibi, AssociativeOperator, AssociativeScanSpec, AttentionSpec, BlockMask, BlockPattern, BlockSparseMode,
    BlockSparseSpec, ButterflySpec, CacheSpec, CachedAttentionSpec, Caps, Coefficients, Conv1dSpec, DType,
    DeltaRuleSpec, Gate, LinearAttentionSpec, LinearScanSpec, LongConvSpec, Mods, MonarchSpec, PixelflySpec,
    PlanError, SelectiveScanSpec, SpecError, SsdSpec, mods,
};

fn dtype() -> impl Strategy<Value = DType> {
    prop::sample::select(&DType::ALL[..])
}

/// Named machines, and machines in between and below them.
fn machine() -> impl Strategy<Value = Caps> {
    let named = prop::sample::select(PROFILES).prop_map(|profile| profile.caps.clone());
    let drawn = (named.clone(), 14_u32..=17, 6_u32..=10, 2_u32..=7, any::<bool>());
    let drawn = drawn.prop_map(|(caps, bytes, lanes, subgroup, f16)| Caps {
        workgroup_bytes: 1 << bytes,
        workgroup_lanes: (1 << lanes).max(128),
        subgroups: caps.subgroups.map(|_| Subgroups { min: 4.max(1 << (subgroup - 1)), max: 1 << subgroup }),
        f16,
        ..caps
    });
    prop_oneof![named, drawn]
}

/// Sizes from 1 to about `max`, small and odd ones as likely as large ones.
fn size(max: usize) -> impl Strategy<Value = usize> {
    prop_oneof![
        1..=max.min(9),
        1..=max,
        prop::sample::select(vec![1, 97, 113, 203, 1025]).prop_map(move |n| n.min(max))
    ]
}

fn fits(plan: &impl Plan, caps: &Caps) -> Result<(), TestCaseError> {
    for footprint in plan.footprints() {
        prop_assert!(footprint.fits(caps), "{plan} needs {footprint:?} of {caps:?}");
        prop_assert!(footprint.lanes > 0);
    }
    prop_assert!(!plan.to_string().is_empty());
    Ok(())
}

fn tiles_well(plan: &impl Plan, tile: &AttentionTile, rows: usize, caps: &Caps) -> Result<(), TestCaseError> {
    prop_assert!(tile.columns().is_multiple_of(tile.column_slice), "{plan} stages whole slices");
    prop_assert!(tile.rows() as usize <= (2 * rows).max(4), "{plan} wastes half its rows");
    if let (Exchange::Subgroup, Some(sizes)) = (tile.exchange, caps.subgroups) {
        prop_assert!(
            sizes.min >= tile.column_lanes,
            "{plan}: lanes that exchange straddle subgroups of {}",
            sizes.min
        );
        prop_assert!(tile.lanes().is_multiple_of(sizes.max), "{plan}: a subgroup is part-filled");
    }
    Ok(())
}

/// No row is wasted, and lanes that exchange are of one whole subgroup.
fn goes_well(plan: &impl Plan, tile: &DirectTile, rows: usize, caps: &Caps) -> Result<(), TestCaseError> {
    prop_assert_eq!(tile.rows as usize, rows.max(1));
    let Some(sizes) = caps.subgroups else { return Err(TestCaseError::fail("there are no shuffles")) };
    prop_assert!(sizes.min >= tile.part_lanes, "{plan}: lanes straddle subgroups of {}", sizes.min);
    prop_assert!(tile.lanes().is_multiple_of(sizes.max), "{plan}: a subgroup is part-filled");
    Ok(())
}

/// Matrices are ones that the adapter has, whole, and mostly of what is there.
fn tiles_matrices_well(
    plan: &impl Plan,
    tile: &MatrixTile,
    rows: usize,
    caps: &Caps,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(Some(tile.units), caps.matrix_units());
    let side = tile.units.side;
    for width in [tile.columns, tile.key_columns, tile.value_columns, tile.units.subgroup_lanes] {
        prop_assert!(width.is_multiple_of(side), "{plan}: {width} is no multiple of {side}");
    }
    prop_assert!((tile.rows() as usize) < 2 * rows, "{plan} wastes half its rows");
    Ok(())
}

/// A plan fits, or what it says it lacks is lacking.
fn fits_or_is_refused<P: Plan>(plan: Result<P, PlanError>, caps: &Caps) -> Result<(), TestCaseError> {
    match plan {
        Ok(plan) => fits(&plan, caps)?,
        Err(PlanError::Binding { bytes, limit, .. } | PlanError::Buffer { bytes, limit, .. }) => {
            prop_assert!(bytes > limit);
        }
        Err(PlanError::TooSmall { resource: "turns of a kernel's loops", needed, limit, .. }) => {
            prop_assert!(caps.loop_turns == Some(limit as u32) && needed > limit);
        }
        Err(error) => prop_assert!(false, "{error}"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn attention_plans_fit(
        dtype in dtype(), caps in machine(), batch in size(4), q_len in size(3000), k_len in size(3000),
        kv_heads in size(8), group in size(8), head_dim in size(256), value_dim in size(256),
    ) {
        let spec = AttentionSpec::new(dtype, batch, (q_len, k_len), kv_heads * group, head_dim);
        let spec = spec.kv_heads(kv_heads).value_dim(value_dim);
        match AttentionPlan::new(&spec, &caps) {
            Ok(plan) => {
                fits(&plan, &caps)?;
                let rows = if plan.grouped { q_len * group } else { q_len };
                match &plan.path {
                    ForwardPath::Staged(AttentionPath::Lanes(tile)) => tiles_well(&plan, tile, rows, &caps)?,
                    ForwardPath::Staged(AttentionPath::Matrices(tile)) => {
                        tiles_matrices_well(&plan, tile, rows, &caps)?;
                    }
                    ForwardPath::Direct(tile) => goes_well(&plan, tile, rows, &caps)?,
                }
            }
            Err(PlanError::Binding { bytes, limit, .. }) => prop_assert!(bytes > limit),
            Err(PlanError::TooSmall { resource: "turns of a kernel's loops", needed, limit, .. }) => {
                prop_assert!(caps.loop_turns == Some(limit as u32) && needed > limit);
            }
            Err(error) => prop_assert!(false, "{spec:?}: {error}"),
        }
    }

    /// Whatever options come together, the eight buffers that WebGPU guarantees are enough.
    #[test]
    fn options_of_attention_are_never_too_many(
        dtype in dtype(), caps in machine(), batch in size(4), q_len in size(300), k_len in size(3000),
        kv_heads in size(4), group in size(4), head_dim in size(128), page in prop::option::of(size(300)),
        int8 in any::<bool>(), sinks in any::<bool>(), alibi in any::<bool>(), scores in any::<bool>(),
        masks in any::<bool>(), blocks in any::<bool>(),
    ) {
        let spec = AttentionSpec::new(dtype, batch, (q_len, k_len), kv_heads * group, head_dim);
        let spec = spec.kv_heads(kv_heads).alibi(if alibi { Alibi::PerBatchHead } else { Alibi::None });
        let spec = AttentionSpec { sinks, ..spec };
        let mods = Mods::new();
        let mods = if scores { mods.score(mods::relative_bias(3)).score(mods::alibi()) } else { mods };
        let mods = if masks { mods.mask(mods::documents()).mask(mods::prefix_lm()) } else { mods };
        let cache = match page {
            None => CacheSpec::slots(dtype, batch, k_len, kv_heads, head_dim),
            Some(page) => CacheSpec::pages(dtype, batch * k_len.div_ceil(page), page, kv_heads, head_dim),
        };
        let cached = CachedAttentionSpec::new(spec, if int8 { cache.int8() } else { cache });
        fits_or_is_refused(AttentionPlan::cached_with_mods(&cached, &mods, &caps), &caps)?;
        let packed = spec.packed(batch * q_len, batch * k_len);
        let mask = BlockMask::from_fn(&spec, (20, 30), |q, k| (q + k) % 2 == 0).unwrap();
        let blocked = if blocks { mods.clone().blocks(mask) } else { mods.clone() };
        for (spec, mods) in [(packed, &mods), (spec, &blocked)] {
            fits_or_is_refused(AttentionPlan::with_mods(&spec, mods, &caps), &caps)?;
            fits_or_is_refused(AttentionBackwardPlan::with_mods(&spec, mods, &caps), &caps)?;
            fits_or_is_refused(AttentionProbabilitiesPlan::with_mods(&spec, mods, &caps), &caps)?;
        }
    }

    #[test]
    fn linear_scan_plans_fit(
        dtype in dtype(), caps in machine(), batch in size(8), channels in size(3000), length in size(1 << 20),
        complex in any::<bool>(),
    ) {
        let spec = LinearScanSpec { complex, ..LinearScanSpec::new(dtype, batch, channels, length) };
        let Ok(plan) = RowScanPlan::linear(&spec, &caps) else {
            let bytes = (spec.rows() * length * spec.parts() * dtype.bytes()) as u64;
            prop_assert!(spec.check().is_err() || bytes > caps.binding_bytes.min(caps.buffer_bytes), "refused without need");
            return Ok(());
        };
        fits(&plan, &caps)?;
        prop_assert!(u64::from(plan.chunk) * u64::from(plan.chunks) >= length as u64, "{plan} covers the row");
        prop_assert!(u64::from(plan.chunk) * u64::from(plan.chunks - 1) < length as u64, "{plan} has no empty chunk");
        prop_assert!(plan.lanes.is_multiple_of(plan.row_lanes), "{plan} has whole rows");
        let together = plan.row_lanes == plan.lanes || (plan.chunks == 1 && plan.row_lanes * plan.items >= length as u32);
        prop_assert!(together, "{plan} takes short rows in a tile");
        fits(&RowScanBackwardPlan::linear(&spec, &caps).unwrap(), &caps)?;
        for operator in AssociativeOperator::ALL {
            let spec = AssociativeScanSpec::new(dtype, operator, batch, channels, length);
            fits(&RowScanPlan::associative(&spec, &caps).unwrap(), &caps)?;
            fits(&RowScanBackwardPlan::associative(&spec, &caps).unwrap(), &caps)?;
        }
    }

    #[test]
    fn selective_scan_plans_fit(
        dtype in dtype(), caps in machine(), batch in size(9), length in size(1 << 18), states in size(256),
        groups in size(4), share in size(600), vary in 0..3_usize, complex in any::<bool>(), gated in any::<bool>(),
    ) {
        let spec = SelectiveScanSpec::new(dtype, batch, groups * share, length, states);
        let forms = [Coefficients::PerGroup(groups), Coefficients::PerStep, Coefficients::PerChannel];
        // Where B is constant, C may still vary.
        let spec = spec.coefficients(forms[vary], forms[vary.min(1)]);
        let spec = SelectiveScanSpec { complex, gated, ..spec };
        let covers = |chunk: u32, chunks: u32| {
            let (chunk, chunks, length) = (u64::from(chunk), u64::from(chunks), length as u64);
            chunk * chunks >= length && chunk * (chunks - 1) < length
        };
        let fits_here = |plan: Result<SelectiveScanPlan, PlanError>| match plan {
            Ok(plan) => {
                prop_assert!(covers(plan.chunk, plan.chunks), "{plan} covers the row");
                fits(&plan, &caps)
            }
            Err(PlanError::Spec(SpecError::Elements { .. })) => Ok(()),
            refused => fits_or_is_refused(refused, &caps),
        };
        fits_here(SelectiveScanPlan::new(&spec, &caps))?;
        match SelectiveScanBackwardPlan::new(&spec, &caps) {
            Ok(plan) => {
                fits(&plan, &caps)?;
                prop_assert!(covers(plan.forward.chunk, plan.forward.chunks), "{plan} covers the row");
                let SelectiveScanSlice { batches, groups: groups_of, chunks, .. } = plan.slice;
                let axes = [
                    (spec.batch as u32, batches, plan.slices.batches),
                    (spec.groups() as u32, groups_of, plan.slices.groups),
                    (plan.forward.chunks, chunks, plan.slices.chunks),
                ];
                for (whole, size, count) in axes {
                    prop_assert!(size * count >= whole && size * (count - 1) < whole, "{plan} covers {whole}");
                }
            }
            Err(PlanError::Spec(SpecError::Elements { .. })) => {}
            refused => fits_or_is_refused(refused, &caps)?,
        }
    }

    #[test]
    fn conv1d_plans_fit(
        dtype in dtype(), caps in machine(), batch in size(99), channels in size(3000), length in size(1 << 20),
        width in 2..=4_usize, sequences in any::<bool>(), initial in any::<bool>(),
    ) {
        let spec = Conv1dSpec::new(dtype, batch, channels, length, width).bias().silu();
        let spec = Conv1dSpec { sequences, initial, ..spec };
        prop_assume!(spec.check().is_ok());
        fits_or_is_refused(Conv1dPlan::new(&spec, &caps), &caps)?;
        fits_or_is_refused(Conv1dStepPlan::new(&spec, &caps), &caps)?;
        if let Ok(plan) = Conv1dBackwardPlan::new(&spec, &caps) {
            let (chunk, chunks) = (u64::from(plan.chunk), u64::from(plan.chunks));
            prop_assert!(chunk * chunks >= length as u64, "{plan} covers the row");
            prop_assert!(chunk * (chunks - 1) < length as u64, "{plan} has no empty chunk");
        }
        fits_or_is_refused(Conv1dBackwardPlan::new(&spec, &caps), &caps)?;
    }

    #[test]
    fn butterfly_plans_fit(
        dtype in dtype(), caps in machine(), batch in size(3000), log_n in 1_u32..=16, nblocks in size(4),
        nstacks in size(3), entry in prop_oneof![4 => Just(1), 1 => size(40)], n_in in size(5000),
        complex in any::<bool>(), increasing_stride in any::<bool>(), transposed in any::<bool>(),
    ) {
        let spec = ButterflySpec::new(dtype, batch, 1 << log_n).nblocks(nblocks).nstacks(nstacks).entry(entry);
        let spec = ButterflySpec { n_in, complex, increasing_stride, transposed, ..spec };
        let covers = |passes: &[ButterflyPass], nodes: u32| {
            let next = passes.iter().try_fold(0, |next, pass| {
                let whole = pass.first == next && pass.factors > 0 && pass.run <= pass.low;
                (whole && 1 << (pass.bits + pass.run) <= nodes).then_some(next + pass.factors)
            });
            next == Some(nblocks as u32 * log_n)
        };
        let refused = |error: PlanError| match error {
            PlanError::Binding { bytes, limit, .. } | PlanError::Buffer { bytes, limit, .. } => bytes > limit,
            PlanError::TooSmall { needed, limit, .. } => needed > limit,
            PlanError::Spec(SpecError::Elements { .. }) => true,
            _ => false,
        };
        match ButterflyPlan::new(&spec, &caps) {
            Ok(plan) => {
                fits(&plan, &caps)?;
                prop_assert!(covers(&plan.passes, plan.tile.nodes), "{spec}: {plan:?}");
            }
            Err(error) => prop_assert!(refused(error.clone()), "{spec}: {error}"),
        }
        match ButterflyBackwardPlan::new(&spec, &caps) {
            Ok(plan) => {
                fits(&plan, &caps)?;
                prop_assert!(covers(&plan.passes, plan.tile.nodes), "{spec}: {plan:?}");
            }
            Err(error) => prop_assert!(refused(error.clone()), "{spec}: {error}"),
        }
    }

    #[test]
    fn long_conv_plans_fit(
        dtype in dtype(), caps in machine(), batch in size(99), channels in size(3000), length in size(1 << 22),
    ) {
        let spec = LongConvSpec::new(dtype, batch, channels, length).pre_gate();
        match LongConvBackwardPlan::new(&spec, &caps) {
            Ok(plan) => {
                fits(&plan, &caps)?;
                fits(&plan.conv, &caps)?;
                let conv = plan.conv;
                let (points, chunks) = (conv.points as usize, conv.chunks as usize);
                prop_assert!(points * chunks >= length && points * (chunks - 1) < length, "{plan} covers a sequence");
                prop_assert!((1..=conv.chunks).contains(&conv.block), "{plan} binds some chunks");
                prop_assert!(u64::from(conv.block * conv.points) * 8 <= caps.binding_bytes, "{plan} fits a binding");
                prop_assert!(conv.slice_batch.is_multiple_of(plan.share), "{plan} sums whole shares");
                prop_assert!((plan.share * plan.parts) as usize >= batch, "{plan} sums every batch");
            }
            Err(PlanError::Binding { bytes, limit, .. } | PlanError::Buffer { bytes, limit, .. }) => {
                prop_assert!(bytes > limit);
            }
            Err(PlanError::TooSmall { resource: "turns of a kernel's loops", needed, limit, .. }) => {
                prop_assert!(caps.loop_turns == Some(limit as u32) && needed > limit);
            }
            // 3000 channels of a million samples are more than a kernel can address.
            Err(PlanError::Spec(_)) => prop_assert!(batch * channels * length > i32::MAX as usize),
            Err(error) => prop_assert!(false, "{spec}: {error}"),
        }
    }

    #[test]
    fn chunked_plans_fit(
        dtype in dtype(), caps in machine(), batch in size(4), length in size(20_000), groups in size(4),
        share in size(8), head_dim in size(130), state_dim in size(260), chunk in 0_usize..=256,
    ) {
        let spec = SsdSpec::new(dtype, batch, length, (groups * share, head_dim), state_dim).groups(groups);
        let spec = SsdSpec { chunk: (chunk > 0).then_some(chunk), ..spec };
        match ChunkedBackwardPlan::ssd(&spec, &caps) {
            Ok(plan) => {
                fits(&plan, &caps)?;
                fits(&plan.forward, &caps)?;
                let steps = u64::from(plan.forward.chunk) * u64::from(plan.forward.chunks);
                prop_assert!(steps >= spec.tokens() as u64, "{plan} covers every step");
                prop_assert!(plan.forward.chunk <= plan.forward.room, "{plan} has room for its chunks");
                prop_assert!((1..=plan.forward.chunks).contains(&plan.forward.window), "{plan} binds some chunks");
                prop_assert!(plan.forward.state_bytes <= caps.binding_bytes, "{plan} fits a binding");
                prop_assert!(chunk == 0 || plan.forward.chunk as usize == chunk, "{plan} takes the given chunk");
            }
            Err(PlanError::Binding { bytes, limit, .. } | PlanError::Buffer { bytes, limit, .. }) => {
                prop_assert!(bytes > limit);
            }
            Err(PlanError::TooSmall { resource: "turns of a kernel's loops", needed, limit, .. }) => {
                prop_assert!(caps.loop_turns == Some(limit as u32) && needed > limit);
            }
            Err(PlanError::Spec(SpecError::Elements { shape, .. })) => {
                prop_assert!(shape.iter().map(|&size| size as u128).product::<u128>() > i32::MAX as u128);
            }
            Err(error) => prop_assert!(false, "{spec:?}: {error}"),
        }
    }

    #[test]
    fn short_convolution_plans_fit(
        dtype in dtype(), caps in machine(), batch in size(99), channels in size(9000), length in size(1 << 18),
        width in 2_usize..=4, channels_last in any::<bool>(),
    ) {
        let spec = Conv1dSpec::new(dtype, batch, channels, length, width);
        let spec = Conv1dSpec { channels_last, ..spec };
        match Conv1dBackwardPlan::new(&spec, &caps) {
            Err(PlanError::Spec(_)) => prop_assert!(batch * channels * length > i32::MAX as usize),
            plan => {
                if let Ok(plan) = &plan {
                    fits(&plan.forward, &caps)?;
                    let (chunk, chunks) = (plan.chunk as usize, plan.chunks as usize);
                    prop_assert!(chunk * chunks >= length && chunk * (chunks - 1) < length, "{plan} covers a row");
                }
                fits_or_is_refused(plan, &caps)?;
            }
        }
    }

    #[test]
    fn linear_attention_plans_fit(
        dtype in dtype(), caps in machine(), batch in size(4), length in size(20_000), heads in size(20),
        key_dim in size(300), value_dim in size(300), chunk in 0_usize..=64, per_key in any::<bool>(),
    ) {
        let gate = if per_key { Gate::PerKey } else { Gate::PerStep };
        let spec = LinearAttentionSpec::new(dtype, batch, length, heads, (key_dim, value_dim), gate);
        let spec = LinearAttentionSpec { chunk: (chunk > 0).then_some(chunk), ..spec };
        if let Ok(LinearAttentionPlan::Keys(plan)) = LinearAttentionPlan::new(&spec, &caps) {
            fits(&plan, &caps)?;
            prop_assert!(per_key && plan.chunked.chunk <= 64, "{plan}");
        }
        match LinearAttentionBackwardPlan::new(&spec, &caps) {
            Err(PlanError::Spec(SpecError::Elements { shape, .. })) => {
                prop_assert!(shape.iter().map(|&size| size as u128).product::<u128>() > i32::MAX as u128);
            }
            plan => fits_or_is_refused(plan, &caps)?,
        }
    }

    #[test]
    fn delta_rule_plans_fit(
        dtype in dtype(), caps in machine(), batch in size(4), length in size(20_000), heads in size(20),
        key_dim in size(512), value_dim in size(300), chunk in 0_usize..=64, gated in any::<bool>(),
    ) {
        let spec = DeltaRuleSpec::new(dtype, batch, length, heads, (key_dim, value_dim));
        let spec = DeltaRuleSpec { chunk: (chunk > 0).then_some(chunk), gated, ..spec };
        let plan = DeltaRuleBackwardPlan::new(&spec, &caps);
        if let Ok(plan) = &plan {
            fits(&plan.forward, &caps)?;
            let (chunked, pairs) = (plan.forward.chunked, plan.pairs.forward);
            prop_assert!(chunked.chunk <= 64 && pairs.chunk == 2 * chunked.chunk, "{plan}");
            prop_assert_eq!(chunked.chunks, pairs.chunks, "states lie between the same chunks");
            prop_assert!(chunked.chunk as usize * chunked.chunks as usize >= batch * length, "{plan}");
        }
        match plan {
            Err(PlanError::Spec(SpecError::Elements { shape, .. })) => {
                prop_assert!(shape.iter().map(|&size| size as u128).product::<u128>() > i32::MAX as u128);
            }
            plan => fits_or_is_refused(plan, &caps)?,
        }
    }

    #[test]
    fn monarch_plans_fit(
        dtype in dtype(), caps in machine(), batch in size(3000),
        k in size(130), q in size(130), p in size(130), l in size(16), s in size(130),
    ) {
        // k q = l r: the second factor takes as many inputs as the first gives.
        let spec = MonarchSpec::new(dtype, batch, [k, q * l, p], [l, s, k * q]);
        fits_or_is_refused(MonarchPlan::new(&spec, &caps), &caps)?;
        fits_or_is_refused(MonarchBackwardPlan::new(&spec, &caps), &caps)?;
    }

    #[test]
    fn block_sparse_plans_fit(
        dtype in dtype(), caps in machine(), side in prop::sample::select(vec![8, 16, 32, 64]),
        rows in size(900), columns in size(900), dense in size(9000), rank in size(200), mode in 0..3_usize,
        a_transposed in any::<bool>(), b_transposed in any::<bool>(),
    ) {
        let sizes = [rows.div_ceil(side), columns.div_ceil(side)];
        let there: Vec<bool> = (0..sizes[0] * sizes[1]).map(|at| at % 3 == 0).collect();
        let mask = BlockPattern::new(side, sizes, &there).unwrap();
        let mode = [BlockSparseMode::Dsd, BlockSparseMode::Dds, BlockSparseMode::Sdd][mode];
        let spec = BlockSparseSpec::new(dtype, mode, mask.clone(), dense).size([rows, columns]);
        let spec = BlockSparseSpec { a_transposed, b_transposed, ..spec };
        fits_or_is_refused(BlockSparsePlan::new(&spec, &caps), &caps)?;
        let size = [rows, columns];
        let layer = PixelflySpec { dtype, batch: dense, mask, size, rank, gate: true, bias: true };
        fits_or_is_refused(PixelflyPlan::new(&layer, &caps), &caps)?;
        fits_or_is_refused(PixelflyBackwardPlan::new(&layer, &caps), &caps)?;
    }
}

#[test]
fn every_profile_has_a_plan_for_every_family() {
    for profile in PROFILES {
        for planned in plans::samples(profile.caps) {
            assert!(planned.shaders.is_ok(), "{} on {}: {:?}", planned.name, profile.name, planned.shaders);
        }
    }
}

#[test]
fn tensors_past_a_buffer_are_refused_by_name() {
    let caps = tilewise::caps::WEBGPU_BASELINE;
    let error = RowScanPlan::linear(&LinearScanSpec::new(DType::F32, 1, 1, 80 << 20), &caps).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a: 320 MiB needed (335544320 bytes), a buffer of this adapter holds at most 256 MiB (268435456 bytes)"
    );
}

/// A hundred million steps, wherever there is room for them: bound whole, or in windows where that is too much at once.
#[test]
fn scans_of_a_hundred_million_steps_are_planned() {
    let least = tilewise::caps::WEBGPU_BASELINE;
    let large = tilewise::caps::profile("nvidia-h100").unwrap().caps;
    let spec = |dtype| LinearScanSpec::new(dtype, 1, 1, 100_000_000);
    for spec in [spec(DType::F32), spec(DType::F16).complex(), spec(DType::F32).complex()] {
        let plan = RowScanPlan::linear(&spec, large).unwrap();
        assert_eq!(plan.window, plan.chunks, "{spec}: {plan}");
        RowScanBackwardPlan::linear(&spec, large).unwrap();
    }
    for dtype in [DType::F16, DType::Bf16] {
        let plan = RowScanPlan::linear(&spec(dtype), &least).unwrap();
        assert!(plan.window < plan.chunks, "{plan}");
        RowScanBackwardPlan::linear(&spec(dtype), &least).unwrap();
        for operator in AssociativeOperator::ALL {
            let spec = AssociativeScanSpec::new(dtype, operator, 1, 1, 100_000_000);
            RowScanBackwardPlan::associative(&spec, &least).unwrap();
        }
    }
}

#[test]
fn sizes_whose_product_overflows_are_refused() {
    let caps = tilewise::caps::WEBGPU_BASELINE;
    let spec = LinearScanSpec::new(DType::F32, usize::MAX, 2, usize::MAX);
    let error = RowScanPlan::linear(&spec, &caps).unwrap_err();
    assert!(error.to_string().contains("has too many elements"), "{error}");
}

#[test]
fn empty_and_boundless_convolutions_are_refused() {
    let caps = tilewise::caps::WEBGPU_BASELINE;
    let refused = |spec: LongConvSpec| LongConvBackwardPlan::new(&spec, &caps).unwrap_err().to_string();
    assert_eq!(refused(LongConvSpec::new(DType::F32, 1, 1, 0)), "length is 0, expected at least 1");
    assert_eq!(refused(LongConvSpec::new(DType::F32, 1, 0, 5)), "channels is 0, expected at least 1");
    let vast = LongConvSpec::new(DType::F32, usize::MAX, 2, usize::MAX);
    assert!(refused(vast).contains("has too many elements"));
    // Past a binding sequences are taken window by window; past a buffer there is nowhere to keep them.
    let of_length = |length| LongConvSpec::new(DType::F32, 1, 1, length);
    LongConvBackwardPlan::new(&of_length(20 << 20), &caps).unwrap();
    let error = refused(of_length(100 << 20));
    assert!(error.contains("400 MiB needed") && error.contains("256 MiB"), "{error}");
}

/// What a selective scan's backward pass shares between its kernels grows with the steps; it goes by slices, wherever the
/// tensors can be bound.
#[test]
fn selective_scans_have_gradients_wherever_their_tensors_fit() {
    let caps = tilewise::caps::WEBGPU_BASELINE;
    let plan = |batch, channels, length, states| {
        let spec = SelectiveScanSpec::new(DType::F32, batch, channels, length, states).gated().initial();
        SelectiveScanBackwardPlan::new(&spec, &caps).unwrap_or_else(|error| panic!("{spec}: {error}"))
    };
    assert_eq!(plan(1, 2048, 4096, 16).slices.count(), 1);
    let batches = plan(8, 2048, 2048, 16);
    assert!(batches.slices.batches > 1 && batches.slices.count() == batches.slices.batches, "{batches}");
    let tiles = plan(1, 2048, 8192, 16);
    assert!(tiles.slices.tiles > 1 && tiles.slices.count() == tiles.slices.tiles, "{tiles}");
    // As long as `u` can be bound, with as many states as there may be.
    let many = plan(1, 2048, 16_384, 256);
    assert!(many.slices.tiles > 1 && many.slices.chunks == 1 && many.step_tiles == 8, "{many}");
    // As long as `B` can be.
    let long = plan(1, 256, 131_072, 256);
    assert!(long.slices.tiles == 256 && long.slices.chunks > 1, "{long}");
    plan(1, 16, 2_000_000, 16);
    plan(4, 8192, 1024, 256);
    let spec = SelectiveScanSpec::new(DType::F32, 1, 16_384, 8, 256);
    let alone = spec.coefficients(Coefficients::PerGroup(16_384), Coefficients::PerGroup(16_384));
    let alone = SelectiveScanBackwardPlan::new(&alone, &caps).unwrap();
    assert!(alone.slices.groups > 1 && alone.slices.chunks == 1, "{alone}");
}

/// Plans must be possible, and oracles right, where there is no GPU at all.
#[test]
fn specs_plans_and_oracles_never_mention_wgpu() {
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = ["spec", "plan", "oracle"].map(|folder| src.join(folder)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let mention = code.into_iter().find(|line| line.contains("wgpu") || line.contains("Gpu"));
            assert_eq!(mention, None, "{}", path.display());
        }
    }
}

/// Capabilities are public numbers: some that no adapter has must not end the process.
#[test]
fn impossible_capabilities_are_refused() {
    let least = tilewise::caps::WEBGPU_BASELINE;
    for caps in [
        Caps { workgroup_lanes: 0, ..least.clone() },
        Caps { workgroup_bytes: 0, ..least.clone() },
        Caps { groups_per_dim: 0, ..least.clone() },
        Caps { storage_buffers: 1, ..least.clone() },
    ] {
        let attention = AttentionPlan::new(&AttentionSpec::new(DType::F32, 1, (9, 9), 1, 9), &caps);
        let monarch = MonarchPlan::new(&MonarchSpec::square(DType::F32, 3, 5), &caps);
        let scan = RowScanPlan::linear(&LinearScanSpec::new(DType::F32, 1, 1, 9), &caps);
        let spec = ButterflySpec::new(DType::F32, 3, 8);
        let butterfly = ButterflyPlan::new(&spec, &caps);
        let backward = ButterflyBackwardPlan::new(&spec, &caps);
        let conv = LongConvBackwardPlan::new(&LongConvSpec::new(DType::F32, 1, 1, 9), &caps);
        let errors =
            [attention.err(), monarch.err(), scan.err(), butterfly.err(), backward.err(), conv.err()];
        for error in errors {
            assert!(matches!(error, Some(PlanError::TooSmall { .. })), "{error:?} on {caps:?}");
        }
    }
    // Subgroups of one or two lanes are more than the shuffling scan has room for.
    let tiny = Caps { subgroups: Some(Subgroups { min: 1, max: 2 }), ..least };
    let plan = RowScanPlan::linear(&LinearScanSpec::new(DType::F32, 1, 1, 99), &tiny).unwrap();
    assert_eq!(plan.exchange, Exchange::Workgroup);
}
