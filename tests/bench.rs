//! The measurements themselves: what they report, what they refuse, and that memory is counted.

#[allow(dead_code, reason = "each test uses its own part")]
mod common;

use std::time::Duration;

use tilewise::bench::{self, Backward, Ceilings, Depth, Measured, Workload};
use tilewise::timing::Effort;
use tilewise::verify::Family;
use tilewise::{
    AttentionSpec, ButterflyLinearSpec, ButterflySpec, CacheSpec, CachedAttentionSpec, Caps, Conv1dSpec,
    DType, Error, LinearScanSpec, LongConvSpec, MonarchSpec, SelectiveScanSpec, Skip, SsdSpec,
};

/// One run each: these tests are about what is reported, not about how fast it is.
const ONCE: Effort = Effort { warm_up: Duration::ZERO, runs: 1, budget: Duration::from_secs(1) };

const CEILINGS: Ceilings = Ceilings { copy_bytes_per_second: 1e10, fma_flops_per_second: 1e11 };

#[test]
fn ceilings_are_those_of_a_machine() {
    let Some(gpu) = common::open(None) else { return };
    let ceilings = bench::ceilings(&gpu, ONCE).unwrap();
    // From a slow core to many times the largest GPU of today.
    assert!((1e8..1e14).contains(&ceilings.copy_bytes_per_second), "{ceilings}");
    assert!((1e8..1e16).contains(&ceilings.fma_flops_per_second), "{ceilings}");
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
            let report = bench::measure(&gpu, &*workload, ONCE, &CEILINGS).unwrap();
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
        let report = bench::measure(&gpu, &*workload, ONCE, &CEILINGS).unwrap();
        assert!(report.memory_saving().unwrap() > 1.0, "{workload}: {report:?}");
        assert!(report.length.is_some_and(|length| length > 100), "{workload}");
        for name in ["unfused", "sequential"] {
            assert!(report.over(name).unwrap() > 0.0, "{workload} over {name}");
        }
    }
    let linear = Backward(LinearScanSpec::new(DType::F16, 2, 5, 1203));
    let report = bench::measure(&gpu, &linear, ONCE, &CEILINGS).unwrap();
    for name in ["unfused", "sequential"] {
        assert!(report.over(name).unwrap() > 0.0, "{linear} over {name}");
    }
    let gated = scan.gated().delta_bias();
    let backward: [Box<dyn Workload>; 3] =
        [Box::new(Backward(gated)), Box::new(Backward(ssd)), Box::new(Backward(conv))];
    for workload in backward {
        let report = bench::measure(&gpu, &*workload, ONCE, &CEILINGS).unwrap();
        assert!(report.workload.ends_with(", backward") && report.yardsticks.is_empty(), "{report:?}");
        assert!(report.fused.timing.median() > Duration::ZERO, "{workload}");
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
    let suite = bench::suite(Family::Attention, &CEILINGS, Depth::Standard).into_iter();
    let backward = suite.filter(|workload| workload.to_string().ends_with("backward"));
    let backward: Vec<_> = backward.map(|workload| ("unfused", workload)).collect();
    assert_eq!(backward.len(), 2);
    for (yardstick, workload) in workloads.into_iter().chain(backward) {
        let report = bench::measure(&gpu, &*workload, ONCE, &CEILINGS).unwrap();
        assert_eq!(report.yardsticks[0].name, yardstick, "{workload}");
        assert!(report.yardsticks[0].measured.figures().is_some(), "{workload}: {report:?}");
        assert!(report.fused.copy_fraction > 0.0 && report.fused.flops_per_second > 0.0, "{workload}");
    }
}

/// What fusing is for: the scores of 2048 queries and keys take 64 times the output.
#[test]
fn fused_attention_takes_a_tenth_of_the_memory_at_2048_keys() {
    let Some(gpu) = common::open(None) else { return };
    let workload = AttentionSpec::new(DType::F32, 1, (2048, 2048), 1, 64);
    let report = bench::measure(&gpu, &workload, ONCE, &CEILINGS).unwrap();
    assert!(report.memory_saving().unwrap() >= 10.0, "{report:?}");
}

#[test]
fn an_unfused_version_that_does_not_fit_is_reported_and_not_a_failure() {
    let Some(gpu) = common::open(None) else { return };
    let ceiling = Caps { binding_bytes: 1 << 20, ..gpu.caps().clone() };
    let Some(small) = common::open(Some(ceiling)) else { return };
    let spec = AttentionSpec::new(DType::F32, 1, (600, 600), 1, 32);
    let report = bench::measure(&small, &spec, ONCE, &CEILINGS).unwrap();
    assert!(report.unfused().is_none() && report.memory_saving().is_none());
    let Measured::Refused(reason) = &report.yardsticks[0].measured else { panic!("{report:?}") };
    assert!(reason.starts_with("the score matrix: 1.4 MiB needed"), "{reason}");

    let fused_too_large = AttentionSpec::new(DType::F32, 1, (9000, 9000), 1, 32);
    let refused = bench::measure(&small, &fused_too_large, ONCE, &CEILINGS);
    assert!(matches!(refused, Err(Error::Plan(_))), "{refused:?}");
}
