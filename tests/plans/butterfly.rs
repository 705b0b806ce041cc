//! Plans of the butterfly family.

use tilewise::baseline::{self, UnfusedButterflyPlan, UnfusedMonarchPlan};
use tilewise::plan::{
    BlockSoftmaxPlan, BlockSparsePlan, ButterflyBackwardPlan, ButterflyLinearPlan, ButterflyPlan,
    MonarchBackwardPlan, MonarchLinearPlan, MonarchPlan, PixelflyBackwardPlan, PixelflyPlan,
};
use tilewise::{
    BlockPattern, BlockSoftmaxSpec, BlockSparseMode, BlockSparseSpec, ButterflyLinearSpec, ButterflySpec,
    Caps, DType, MonarchLinearSpec, MonarchSpec, PixelflyConfig, PixelflySpec, ops,
};

use super::Planned;

/// Shapes (k, q, p) and (l, s, r) with rows by fours and by ones on each side, small and large.
const MONARCHS: [([usize; 3], [usize; 3]); 6] = [
    ([1, 1, 1], [1, 1, 1]),
    ([4, 12, 9], [6, 10, 8]),
    ([3, 5, 7], [5, 2, 3]),
    ([32, 32, 32], [32, 32, 32]),
    ([8, 192, 96], [24, 16, 64]),
    ([128, 128, 128], [128, 128, 128]),
];

pub fn monarch(name: &str, spec: MonarchSpec, caps: &Caps) -> Planned {
    Planned::new(name, MonarchPlan::new(&spec, caps), ops::shaders::monarch)
}

pub fn butterfly(name: &str, spec: ButterflySpec, caps: &Caps) -> Planned {
    Planned::new(name, ButterflyPlan::new(&spec, caps), ops::shaders::butterfly)
}

pub fn butterfly_backward(name: &str, spec: ButterflySpec, caps: &Caps) -> Planned {
    Planned::new(name, ButterflyBackwardPlan::new(&spec, caps), ops::shaders::butterfly_backward)
}

/// Products of every kind of element and entry, in one set of rows and in several, fused and in passes.
fn butterflies(dtype: DType) -> Vec<ButterflySpec> {
    let new = |batch, n| ButterflySpec::new(dtype, batch, n);
    vec![
        new(1, 2).nblocks(3),
        new(2, 32).nstacks(2).n_in(27),
        new(1000, 1024).transposed(),
        new(1000, 4096).complex().nblocks(2),
        new(1, 1 << 16),
        new(9, 16).entry(3).increasing_stride(),
        new(9, 64).entry(32).complex().transposed(),
    ]
}

/// Every mode with every transpose that is a kernel of its own, each block side once, whole and overhung.
fn block_sparse(dtype: DType) -> Vec<BlockSparseSpec> {
    use BlockSparseMode::{Dds, Dsd, Sdd};
    let spec = |mode, side: usize, size: [usize; 2], dense| {
        let sizes = size.map(|size| size.div_ceil(side));
        let pattern = BlockPattern::new(side, sizes, &vec![true; sizes[0] * sizes[1]]).unwrap();
        BlockSparseSpec::new(dtype, mode, pattern, dense).size(size)
    };
    vec![
        spec(Dds, 8, [64, 64], 100),
        spec(Dds, 16, [33, 50], 1).b_transposed(),
        spec(Dds, 32, [64, 64], 1000).a_transposed(),
        spec(Dsd, 64, [128, 64], 100),
        spec(Dsd, 32, [128, 70], 7).a_transposed().b_transposed(),
        spec(Sdd, 8, [64, 64], 99),
        spec(Sdd, 32, [64, 64], 1000).a_transposed().b_transposed(),
        spec(Sdd, 64, [100, 203], 5000).a_transposed(),
    ]
}

/// With and without gate and bias, by fours and by ones.
fn pixelflies(dtype: DType) -> [PixelflySpec; 2] {
    let spec = |batch, size, config| PixelflySpec::new(dtype, batch, size, &config).unwrap();
    let published = PixelflyConfig::named("standard").unwrap();
    [spec(1000, [512, 256], published).gate().bias(), spec(5, [97, 70], PixelflyConfig::new(16, 2, 1, 3))]
}

/// Everything that sums products of blocks.
fn of_blocks(dtype: DType, caps: &Caps) -> Vec<Planned> {
    let mut planned = Vec::new();
    for (w1, w2) in MONARCHS {
        let spec = MonarchSpec::new(dtype, 1000, w1, w2);
        let plan = MonarchBackwardPlan::new(&spec, caps);
        planned.push(Planned::new(&format!("{spec:?}, backward"), plan, ops::shaders::monarch_backward));
        let layer = MonarchLinearSpec::new(spec).bias();
        let plan = MonarchLinearPlan::new(&layer, caps);
        planned.push(Planned::new(&layer.to_string(), plan, ops::shaders::monarch_linear));
    }
    for spec in block_sparse(dtype) {
        let plan = BlockSparsePlan::new(&spec, caps);
        planned.push(Planned::new(&format!("{spec:?}"), plan, ops::shaders::block_sparse));
    }
    for side in [8, 64] {
        let pattern = BlockPattern::new(side, [1, 2], &[true; 2]).unwrap();
        let plan = BlockSoftmaxPlan::new(&BlockSoftmaxSpec::new(dtype, pattern), caps);
        planned.push(Planned::new(&format!("softmax, {side}"), plan, ops::shaders::block_softmax));
    }
    for spec in pixelflies(dtype) {
        let name = format!("{spec:?}");
        planned.push(Planned::new(&name, PixelflyPlan::new(&spec, caps), ops::shaders::pixelfly));
        let plan = PixelflyBackwardPlan::new(&spec, caps);
        planned.push(Planned::new(&format!("{name}, backward"), plan, ops::shaders::pixelfly_backward));
    }
    planned
}

pub fn samples(dtype: DType, caps: &Caps) -> Vec<Planned> {
    let mut planned = of_blocks(dtype, caps);
    let unfused = UnfusedButterflyPlan::new(&ButterflySpec::new(dtype, 7, 64), caps);
    planned.push(Planned::new("a butterfly product, unfused", unfused, baseline::shaders::butterfly));
    for spec in butterflies(dtype) {
        planned.push(butterfly(&format!("{spec:?}"), spec, caps));
        planned.push(butterfly_backward(&format!("{spec:?}, backward"), spec, caps));
    }
    for spec in [
        ButterflyLinearSpec::new(dtype, 7, 100, 203),
        ButterflyLinearSpec::new(dtype, 7, 64, 64).without_bias(),
    ] {
        let plan = ButterflyLinearPlan::new(&spec, caps);
        planned.push(Planned::new(&format!("{spec:?}"), plan, ops::shaders::butterfly_linear));
    }
    for (w1, w2) in MONARCHS {
        for batch in [1, 7, 1000] {
            let spec = MonarchSpec::new(dtype, batch, w1, w2);
            planned.push(monarch(&format!("{spec:?}"), spec, caps));
            let two_pass = MonarchPlan::two_pass(&spec, caps);
            planned.push(Planned::new(&format!("{spec:?}, two passes"), two_pass, ops::shaders::monarch));
        }
        let spec = MonarchSpec::new(dtype, 7, w1, w2);
        let plan = UnfusedMonarchPlan::new(&spec, caps);
        planned.push(Planned::new(&format!("{spec:?}, unfused"), plan, baseline::shaders::monarch));
    }
    planned
}
