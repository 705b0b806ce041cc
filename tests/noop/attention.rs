//! Operations of the attention family.

use super::zeros;
use tilewise::{
    Attention, AttentionInputs, AttentionOutputs, AttentionSpec, DType, Element, Gpu, Merge, MergeSpec,
    by_dtype,
};

pub fn attention<T: Element>(gpu: &Gpu, spec: AttentionSpec) {
    let (q, k, v) =
        (zeros::<T>(gpu, &spec.q_shape()), zeros(gpu, &spec.k_shape()), zeros(gpu, &spec.v_shape()));
    let inputs = AttentionInputs { q: &q, k: &k, v: &v, alibi: None };
    Attention::new(gpu, spec).unwrap().run(inputs).unwrap();
}

fn merge<T: Element>(gpu: &Gpu, spec: MergeSpec) {
    let part = AttentionOutputs { o: zeros::<T>(gpu, &spec.o_shape()), lse: zeros(gpu, &spec.lse_shape()) };
    Merge::new(gpu, spec).unwrap().run(&part, &part).unwrap();
}

pub fn run_all(gpu: &Gpu) {
    for dtype in DType::ALL {
        for (head_dim, q_len) in [(64, 97), (111, 1), (256, 203)] {
            let spec = AttentionSpec::new(dtype, 2, (q_len, 113), 6, head_dim).kv_heads(2).causal();
            by_dtype!(dtype, T => attention::<T>(gpu, spec));
            by_dtype!(dtype, T => merge::<T>(gpu, MergeSpec::of(&spec)));
        }
    }
}
