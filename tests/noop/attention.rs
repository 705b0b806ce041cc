//! Operations of the attention family.

use super::zeros;
use tilewise::{
    Attention, AttentionInputs, AttentionSpec, BlockMask, DType, Element, Gpu, Mods, Table, Tensor, by_dtype,
    mods,
};

pub fn attention<T: Element>(gpu: &Gpu, spec: AttentionSpec) {
    let (q, k, v) =
        (zeros::<T>(gpu, &spec.q_shape()), zeros(gpu, &spec.k_shape()), zeros(gpu, &spec.v_shape()));
    let inputs = AttentionInputs::new(&q, &k, &v);
    Attention::new(gpu, spec).unwrap().run(inputs).unwrap();
}

/// With more buffers than some profiles bind.
fn modified(gpu: &Gpu) {
    let spec = AttentionSpec::new(DType::F32, 2, (97, 113), 6, 64).kv_heads(2);
    let mods = Mods::new()
        .score(mods::alibi())
        .score(mods::relative_bias(4))
        .mask(mods::documents())
        .mask(mods::prefix_lm())
        .blocks(BlockMask::from_fn(&spec, (20, 30), |q, k| q != k).unwrap());
    let (slopes, bias) = (zeros::<f32>(gpu, &[6]), zeros::<f32>(gpu, &[6, 9]));
    let documents = Tensor::from_slice(gpu, &[2, 113], &[0_u32; 226]).unwrap();
    let prefix = Tensor::from_slice(gpu, &[2], &[5_u32, 7]).unwrap();
    let tables = [
        ("documents", Table::from(&documents)),
        ("prefix", Table::from(&prefix)),
        ("slopes", Table::from(&slopes)),
        ("bias", Table::from(&bias)),
    ];
    let (q, k, v) =
        (zeros::<f32>(gpu, &spec.q_shape()), zeros(gpu, &spec.k_shape()), zeros(gpu, &spec.v_shape()));
    let attention = Attention::with_mods(gpu, spec, &mods).unwrap();
    attention.run(AttentionInputs::new(&q, &k, &v).tables(&tables)).unwrap();
}

pub fn run_all(gpu: &Gpu) {
    for dtype in DType::ALL {
        for (head_dim, q_len) in [(64, 97), (111, 1), (256, 203)] {
            let spec = AttentionSpec::new(dtype, 2, (q_len, 113), 6, head_dim).kv_heads(2).causal();
            by_dtype!(dtype, T => attention::<T>(gpu, spec));
        }
    }
    modified(gpu);
}
