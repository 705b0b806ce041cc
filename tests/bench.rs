//! The measurements themselves: what they report, what they refuse, and that memory is counted.

#[allow(dead_code, reason = "each test uses its own part")]
mod common;

use std::time::Duration;

use pollster::block_on;
use tilewise::bench::{self, Attempt, Backward, Ceilings, Depth, Measured, Pass, Scale, Workload};
use tilewise::timing::Effort;
use tilewise::verify::Family;
use tilewise::{
    AttentionSpec, BlockPattern, BlockSparseMode, BlockSparseSpec, ButterflyLinearSpec, ButterflySpec,
    CacheSpec, CachedAttentionSpec, Caps, Conv1dSpec, DType, DeltaRuleSpec, Error, Gate, H3Spec, HyenaSpec,
    LinearAttentionSpec, LinearScanSpec, LongConvSpec, Mamba2Spec, MambaSpec, MonarchSpec, PixelflyConfig,
    PixelflySpec, S4dSpec, SelectiveScanSpec, Skip, SsdSpec,
};

/// One run each: these tests are about what is reported, not about how fast it is.
const ONCE: Effort = Effort::fixed(Duration::ZERO, 1, Duration::ZERO);

const CEILINGS: Ceilings = Ceilings {
    copy_bytes_per_second: 1e10,
    fma_flops_per_second: 1e11,
    matrix_flops_per_second: None,
    submission_seconds: None,
    dispatch_seconds: None,
};

#[test]
fn ceilings_are_those_of_a_machine() {
    let Some(gpu) = common::open(None) else { return };
    let ceilings = block_on(bench::ceilings(&gpu, ONCE)).unwrap();
    // From a slow core to many times the largest GPU of today.
    assert!((1e8..1e14).contains(&ceilings.copy_bytes_per_second), "{ceilings}");
    assert!((1e8..1e16).contains(&ceilings.fma_flops_per_second), "{ceilings}");
    assert_eq!(ceilings.matrix_flops_per_second.is_some(), gpu.caps().matrix_units().is_some());
    assert!(ceilings.matrix_flops_per_second.is_none_or(|rate| (1e7..1e17).contains(&rate)), "{ceilings}");
    let [submission, dispatch] = [ceilings.submission_seconds, ceilings.dispatch_seconds].map(Option::unwrap);
    assert!((1e-7..1.0).contains(&submission) && (0.0..1e-2).contains(&dispatch), "{ceilings}");
}

/// Arithmetic is held against matrix units only in the type that they take, and against whichever bound is nearer.
#[test]
fn floors_are_the_rooflines() {
    let ceilings = Ceilings { matrix_flops_per_second: Some(1e12), ..CEILINGS };
    let floor = |dtype, flops, bytes| ceilings.floor(dtype, flops, bytes);
    assert!((floor(DType::F32, 1e11, 1) - 1.0).abs() < 1e-9);
    assert!((floor(DType::F16, 1e11, 1) - 0.1).abs() < 1e-9);
    assert!((floor(DType::Bf16, 1e11, 1) - 1.0).abs() < 1e-9);
    assert!((floor(DType::F16, 1e11, 5_000_000_000) - 0.5).abs() < 1e-9);
}

/// Of two measurements the better counts, and shares are said anew.
#[test]
fn reports_are_held_against_the_better_ceilings() {
    let Some(gpu) = common::open(None) else { return };
    let workload = MonarchSpec::square(DType::F32, 33, 12);
    let mut report = block_on(bench::measure(&gpu, &workload, ONCE, &CEILINGS)).unwrap();
    let before = report.clone();
    let faster = Ceilings { copy_bytes_per_second: 4e10, fma_flops_per_second: 4e11, ..CEILINGS };
    let slower = Ceilings { copy_bytes_per_second: 1.0, dispatch_seconds: Some(1e-6), ..CEILINGS };
    let better = slower.or_better(faster);
    assert_eq!(better, Ceilings { dispatch_seconds: Some(1e-6), ..faster });
    report.hold_against(&better);
    for (now, then) in
        [(&report.fused, &before.fused), (report.unfused().unwrap(), before.unfused().unwrap())]
    {
        assert!((now.ceiling_fraction - then.ceiling_fraction / 4.0).abs() < 1e-6 * then.ceiling_fraction);
        assert!((now.copy_fraction - then.copy_fraction / 4.0).abs() < 1e-6 * then.copy_fraction);
    }
}

/// Memory is asked for and given back.
#[test]
fn memory_is_told_as_far_as_it_is_asked_for() {
    let Some(gpu) = common::open(None) else { return };
    let before = gpu.memory().live();
    assert_eq!(block_on(bench::memory(&gpu, 256 << 20)).unwrap(), 256 << 20);
    assert_eq!(gpu.memory().live(), before);
}

#[test]
fn every_family_is_checked_and_measured() {
    let Some(gpu) = common::open(None) else { return };
    for dtype in DType::ALL {
        let workloads: [Box<dyn Workload>; 5] = [
            Box::new(ButterflySpec::new(dtype, 33, 64).nblocks(2)),
            Box::new(AttentionSpec::new(dtype, 2, (65, 130), 4, 40).kv_heads(2).causal()),
            Box::new(MonarchSpec::square(dtype, 33, 12)),
            Box::new(LinearScanSpec::new(dtype, 2, 3, 3001).initial()),
            Box::new(LongConvSpec::new(dtype, 2, 3, 1134).pre_gate().skip()),
        ];
        for workload in workloads {
            let before = gpu.memory().live();
            let report = block_on(bench::measure(&gpu, &*workload, ONCE, &CEILINGS)).unwrap();
            assert_eq!(report.workload, workload.to_string());
            assert!(report.fused.timing.median() > Duration::ZERO, "{workload}");
            assert!(report.fused.flops_per_second > 0.0 && report.fused.ceiling_fraction > 0.0, "{workload}");
            assert!(report.memory_saving().unwrap() > 1.0, "{workload}: {report:?}");
            assert!(report.speed_up().unwrap() > 0.0, "{workload}");
            assert_eq!(gpu.memory().live(), before, "{workload} keeps memory");
        }
    }
}

/// Recurrences and convolutions with options of their blocks, and their gradients, in one type each.
#[test]
fn scans_and_their_gradients_are_checked_and_measured() {
    let Some(gpu) = common::open(None) else { return };
    let scan = SelectiveScanSpec::new(DType::F32, 2, 5, 203, 8).skip().delta_softplus();
    let ssd =
        SsdSpec::new(DType::F16, 1, 192, (2, 16), 16).groups(2).skip(Skip::PerHead).gated().dt_softplus();
    let conv = Conv1dSpec::new(DType::Bf16, 2, 5, 1001, 4).bias().silu();
    let forward: [Box<dyn Workload>; 3] = [Box::new(scan), Box::new(ssd.clone()), Box::new(conv)];
    for workload in forward {
        let report = block_on(bench::measure(&gpu, &*workload, ONCE, &CEILINGS)).unwrap();
        assert!(report.memory_saving().unwrap() > 1.0, "{workload}: {report:?}");
        assert!(report.length.is_some_and(|length| length > 100), "{workload}");
        for name in ["unfused", "sequential"] {
            assert!(report.over(name).unwrap() > 0.0, "{workload} over {name}");
        }
    }
    let long = LongConvSpec::new(DType::F16, 2, 3, 700).pre_gate().post_gate().skip();
    let gated = scan.gated().delta_bias();
    let core = Mamba2Spec { ssd: SsdSpec { batch: 2, ..ssd.clone().dt_bias() }, width: 3, conv_bias: true };
    let linear = |gate| LinearAttentionSpec::new(DType::F16, 2, 150, 2, (8, 12), gate);
    let delta = DeltaRuleSpec::new(DType::F32, 2, 150, 2, (8, 12)).gated();
    let mut against_both: Vec<Box<dyn Workload>> = vec![
        Box::new(MambaSpec { scan: gated, width: 4, conv_bias: true }),
        Box::new(core),
        Box::new(HyenaSpec::new(DType::Bf16, 2, 3, 300)),
        Box::new(S4dSpec::new(LongConvSpec::new(DType::F16, 2, 3, 700).skip(), 4)),
        Box::new(H3Spec::new(DType::F32, [2, 3, 300], 7, 4)),
        Box::new(long),
        Box::new(delta.clone()),
        Box::new(Backward(LinearScanSpec::new(DType::F16, 2, 5, 1203))),
        Box::new(Backward(long)),
        Box::new(Backward(gated)),
        Box::new(Backward(ssd)),
        Box::new(Backward(conv)),
    ];
    for gate in [Gate::Constant, Gate::PerStep, Gate::PerKey] {
        against_both.push(Box::new(linear(gate)));
        against_both.push(Box::new(Backward(linear(gate))));
    }
    for workload in against_both {
        let report = block_on(bench::measure(&gpu, &*workload, ONCE, &CEILINGS)).unwrap();
        assert_eq!(report.yardsticks[0].name, "unfused", "{workload}");
        for name in ["unfused", "sequential"] {
            assert!(report.over(name).unwrap() > 0.0, "{workload} over {name}");
        }
        assert_eq!(report.workload.ends_with(", backward"), workload.pass() == Pass::Backward);
    }
    // A scan of the delta rule's gradients would be one of matrices.
    let report = block_on(bench::measure(&gpu, &Backward(delta), ONCE, &CEILINGS)).unwrap();
    assert!(report.over("sequential").unwrap() > 0.0);
    assert!(
        matches!(&report.yardsticks[0].measured, Measured::Refused(why) if why.contains("matrices of 8 × 8")),
        "{:?}",
        report.yardsticks[0]
    );
}

/// What takes a loop too long is said, with the numbers.
#[test]
fn loops_that_would_not_end_soon_are_refused() {
    let Some(gpu) = common::open(None) else { return };
    let long = LongConvSpec::new(DType::F32, 1, 1, 10_000);
    let workloads: [(Box<dyn Workload>, &str); 3] = [
        (Box::new(long), "50000000 products a lane would take too long"),
        (Box::new(Backward(long)), "50000000 products a lane would take too long"),
        (
            Box::new(LinearScanSpec::new(DType::F16, 1, 1, 1_500_000)),
            "1500000 steps a lane would take too long",
        ),
    ];
    for (workload, words) in workloads {
        let report = block_on(bench::measure(&gpu, &*workload, ONCE, &CEILINGS)).unwrap();
        let sequential = report.yardsticks.iter().find(|one| one.name == "sequential").unwrap();
        assert!(
            matches!(&sequential.measured, Measured::Refused(why) if why.contains(words)),
            "{workload}: {sequential:?}"
        );
    }
}

/// Attention to pages, gradients of attention, and layers: each beside its yardstick, whose answer is checked too.
#[test]
fn what_stands_beside_no_unfused_product_is_measured_too() {
    let Some(gpu) = common::open(None) else { return };
    let attention = AttentionSpec::new(DType::F16, 2, (1, 700), 8, 64).kv_heads(2);
    let pages = CacheSpec::pages(DType::F16, 100, 16, 2, 64);
    let workloads: [(&str, Box<dyn Workload>); 4] = [
        ("contiguous", Box::new(CachedAttentionSpec::new(attention, pages))),
        ("contiguous", Box::new(CachedAttentionSpec::new(attention, pages.int8()))),
        ("dense", Box::new(ButterflyLinearSpec::new(DType::F32, 33, 50, 100))),
        ("dense", Box::new(ButterflyLinearSpec::new(DType::F16, 33, 64, 64).without_bias())),
    ];
    let suite = bench::suite(Family::Attention, Scale::by_arithmetic(&CEILINGS), Depth::Standard).into_iter();
    let backward = suite.filter(|workload| workload.to_string().ends_with("backward"));
    let backward: Vec<_> = backward.map(|workload| ("unfused", workload)).collect();
    assert_eq!(backward.len(), 4);
    for (yardstick, workload) in workloads.into_iter().chain(backward) {
        let report = block_on(bench::measure(&gpu, &*workload, ONCE, &CEILINGS)).unwrap();
        assert_eq!(report.yardsticks[0].name, yardstick, "{workload}");
        assert!(report.yardsticks[0].measured.figures().is_some(), "{workload}: {report:?}");
        assert!(report.fused.copy_fraction > 0.0 && report.fused.flops_per_second > 0.0, "{workload}");
    }
}

/// Sparse layers of the suite, smaller, whose dense yardstick is checked too; and what no row can be compared of.
#[test]
fn sparse_layers_are_measured_beside_dense() {
    let Some(gpu) = common::open(None) else { return };
    let pattern =
        BlockPattern::new(16, [5, 7], &[true, false, false, true, false, true, true].repeat(5)).unwrap();
    let product =
        |dtype| BlockSparseSpec::new(dtype, BlockSparseMode::Dds, pattern.clone(), 33).size([77, 100]);
    let config = PixelflyConfig::new(16, 4, 2, 5);
    let pixelfly = |dtype, size| PixelflySpec::new(dtype, 33, size, &config).unwrap();
    let workloads: [Box<dyn Workload>; 5] = [
        Box::new(product(DType::F32)),
        Box::new(product(DType::F16).b_transposed()),
        Box::new(pixelfly(DType::F32, [64, 64]).gate().bias()),
        Box::new(pixelfly(DType::F16, [97, 70]).bias()),
        Box::new(pixelfly(DType::Bf16, [64, 128]).gate()),
    ];
    for workload in workloads {
        let report = block_on(bench::measure(&gpu, &*workload, ONCE, &CEILINGS)).unwrap();
        assert!(report.over_dense().unwrap() > 0.0, "{workload}: {report:?}");
        assert!(report.fused.flops_per_second > 0.0, "{workload}");
    }
    assert_eq!(Workload::width(&pixelfly(DType::F32, [64, 64])), Some(64));
    assert_eq!(product(DType::F32).kind(), "block-sparse, blocks of 16,");
    let sampled = BlockSparseSpec { mode: BlockSparseMode::Sdd, ..product(DType::F32) };
    let refused = block_on(bench::measure(&gpu, &sampled, ONCE, &CEILINGS)).unwrap_err().to_string();
    assert!(refused.contains("sdd") && refused.contains("expected dds"), "{refused}");
}

/// The widths at which structure is compared with dense are there on every class of adapters, each at as many rows as a
/// dense product takes there.
#[test]
fn every_width_from_256_to_16384_is_measured() {
    for fma_flops_per_second in [4e10, 4e11, 8e12, 4e13] {
        let ceilings = Ceilings { copy_bytes_per_second: 1e10, fma_flops_per_second, ..CEILINGS };
        let suite = bench::suite(Family::Butterfly, Scale::by_arithmetic(&ceilings), Depth::Standard);
        let widths = |kind: &str, dtype| {
            let of = suite.iter().filter(|workload| workload.kind() == kind && workload.dtype() == dtype);
            let mut widths: Vec<_> = of.filter_map(|workload| workload.width()).collect();
            widths.sort_unstable();
            widths.dedup();
            widths
        };
        for dtype in [DType::F32, DType::F16] {
            assert_eq!(widths("butterfly", dtype), [256, 512, 1024, 2048, 4096, 8192, 16_384]);
            assert_eq!(widths("monarch", dtype), [256, 1024, 4096, 16_384]);
            assert!(widths("pixelfly", dtype).contains(&1024));
        }
    }
}

/// Gradients of Monarch products: of which a block is one by itself, and of which none is.
#[test]
fn gradients_of_monarch_products_are_checked_and_measured() {
    let Some(gpu) = common::open(None) else { return };
    for (dtype, w1, w2) in [
        (DType::F32, [5, 8, 7], [4, 9, 10]),
        (DType::F16, [6, 6, 6], [6, 6, 6]),
        (DType::Bf16, [4, 12, 9], [8, 10, 6]),
    ] {
        let workload = Backward(MonarchSpec::new(dtype, 97, w1, w2));
        let report = block_on(bench::measure(&gpu, &workload, ONCE, &CEILINGS)).unwrap();
        assert!(report.workload.ends_with(", backward") && report.yardsticks.is_empty(), "{report:?}");
        assert!(report.fused.flops_per_second > 0.0 && report.width.is_none(), "{workload}");
    }
}

/// What fusing is for: the scores of 2048 queries and keys take 64 times the output.
#[test]
fn fused_attention_takes_a_tenth_of_the_memory_at_2048_keys() {
    let Some(gpu) = common::open(None) else { return };
    let workload = AttentionSpec::new(DType::F32, 1, (2048, 2048), 1, 64);
    let report = block_on(bench::measure(&gpu, &workload, ONCE, &CEILINGS)).unwrap();
    assert!(report.memory_saving().unwrap() >= 10.0, "{report:?}");
}

/// The gradients keep no table of scores either.
#[test]
fn gradients_of_attention_take_a_tenth_of_the_memory_at_1024_keys() {
    let Some(gpu) = common::open(None) else { return };
    let workload = Backward(AttentionSpec::new(DType::F32, 1, (1024, 1024), 1, 32));
    let report = block_on(bench::measure(&gpu, &workload, ONCE, &CEILINGS)).unwrap();
    assert!(report.memory_saving().unwrap() >= 10.0, "{report:?}");
}

#[test]
fn an_unfused_version_that_does_not_fit_is_reported_and_not_a_failure() {
    let Some(gpu) = common::open(None) else { return };
    let ceiling = Caps { binding_bytes: 1 << 20, ..gpu.caps().clone() };
    let Some(small) = common::open(Some(ceiling)) else { return };
    let spec = AttentionSpec::new(DType::F32, 1, (600, 600), 1, 32);
    let report = block_on(bench::measure(&small, &spec, ONCE, &CEILINGS)).unwrap();
    assert!(report.unfused().is_none() && report.memory_saving().is_none());
    let Measured::Refused(reason) = &report.yardsticks[0].measured else { panic!("{report:?}") };
    assert!(reason.starts_with("the score matrix: 1.4 MiB needed"), "{reason}");

    let fused_too_large = AttentionSpec::new(DType::F32, 1, (9000, 9000), 1, 32);
    let refused = block_on(bench::measure(&small, &fused_too_large, ONCE, &CEILINGS));
    assert!(matches!(refused, Err(Error::Plan(_))), "{refused:?}");
}

/// Unfused attention stops where its scores are too large, fused attention where its tensors are; what would take too long is
/// planned and allocated.
#[test]
fn the_longest_lengths_are_found_and_their_reasons() {
    let Some(gpu) = common::open(None) else { return };
    // The scores of four heads take 16 MiB at 1024 keys, a tensor at 32,768; a driver that counts turns has keys split from
    // some length on, whose parts take more.
    let ceiling = Caps { binding_bytes: 16 << 20, ..gpu.caps().clone() };
    let Some(small) = common::open(Some(ceiling)) else { return };
    let reaches = block_on(bench::longest(&small, Duration::ZERO)).unwrap();
    let [first, second, .., last] = reaches.as_slice() else { panic!("{reaches:?}") };
    for attempt in [&first.forward, &first.backward, &first.unfused] {
        assert!(matches!(attempt, Attempt::Ran(seconds) if *seconds > 0.0), "{reaches:?}");
    }
    assert!(second.length == 2 * first.length && matches!(second.forward, Attempt::Fits(_)), "{reaches:?}");
    let Attempt::Refused(reason) = &second.unfused else { panic!("{reaches:?}") };
    assert!(reason.starts_with("the score matrix"), "{reason}");
    assert!(!last.forward.fits() && !last.backward.fits() && !last.unfused.fits(), "{reaches:?}");
    let fused = reaches.iter().filter(|reach| reach.forward.fits() && reach.backward.fits());
    assert!(fused.map(|reach| reach.length).max() >= Some(8192) && last.length <= 65_536, "{reaches:?}");
}
