//! How much work the kernels of attention do, counted by the kernels themselves: on this machine's GPU they run with a
//! counter, which they store in place of their sums. What is hidden, or would be padding, must not be counted.

use crate::plan::{AttentionPath, ForwardPath};
use crate::shader::Shader;
use crate::verify::Inputs;
use crate::{
    Attention, AttentionBackward, AttentionInputs, AttentionSpec, BlockMask, CuSeqlens, DType, Gpu, Mods,
    Snippet, Tensor, mods, ops,
};

#[allow(dead_code, reason = "the rest is for suites of their own")]
#[path = "../../../tests/common/mod.rs"]
mod common;

/// Tiles that a workgroup visits: a call for each.
const VISITS: &str = "fn find_visit(task: Task, visits: Visits, index: u32) -> Visit {\n";

/// Elements about which a lane asks the masks.
const ASKED: &str = "fn shows_key(task: Task, head: u32, query: u32, key: u32) -> bool {\n";

/// From now on this GPU's kernels of these shaders count the calls of a function, and store their number for each row.
fn count(gpu: &Gpu, shaders: &[Shader], calls: &str) {
    const KERNELS: [&str; 3] = ["attention/forward", "attention/backward_queries", "attention/backward_keys"];
    const STORED: &str = ", stored), values);";
    for shader in shaders.iter().filter(|shader| KERNELS.contains(&shader.label)) {
        assert!(shader.source.contains(calls) && shader.source.contains(STORED), "{}", shader.source);
        let source = shader.source.replace(calls, &format!("{calls}    counted += 1.0;\n"));
        let source = source.replace(STORED, ", stored), vec4<f32>(counted));");
        let source = format!("{source}var<private> counted: f32;\n");
        gpu.replace_kernel(shader, &Shader { source, ..shader.clone() });
    }
}

/// What is counted for each query and head, and, where gradients are computed, for each of them and for each key.
struct Counts {
    forward: Vec<f32>,
    queries: Vec<f32>,
    keys: Vec<f32>,
}

/// Runs forward and backward with counters.
fn counts(gpu: &Gpu, spec: AttentionSpec, mods: &Mods, sums: Option<CuSeqlens<'_>>, calls: &str) -> Counts {
    let mut drawn = Inputs::new(3);
    let mut tensor = |shape: &[usize]| {
        let values = drawn.normal(shape.iter().product(), 1.0);
        let values: Vec<_> = values.into_iter().map(|value| value as f32).collect();
        Tensor::from_slice(gpu, shape, &values).unwrap()
    };
    let (q, k, v) = (tensor(&spec.q_shape()), tensor(&spec.k_shape()), tensor(&spec.v_shape()));
    let d_o = tensor(&spec.o_shape());
    let inputs = AttentionInputs::new(&q, &k, &v).cu_seqlens(sums);
    let firsts = |tensor: &Tensor<f32>| -> Vec<f32> {
        let width = *tensor.shape().last().unwrap();
        tensor.read_blocking().unwrap().into_iter().step_by(width).collect()
    };
    // The gradients take an output as it should be.
    let outputs = Attention::with_mods(gpu, spec, mods).unwrap().run(inputs).unwrap();
    let counting = common::open(Some(gpu.caps().clone())).expect("it opened before");
    let moved = |tensor: &Tensor<f32>| {
        Tensor::from_slice(&counting, tensor.shape(), &tensor.read_blocking().unwrap()).unwrap()
    };
    let [q, k, v, d_o, o, lse] = [&q, &k, &v, &d_o, &outputs.o, &outputs.lse].map(moved);
    let inputs = AttentionInputs::new(&q, &k, &v).cu_seqlens(sums);
    let plan = crate::plan::AttentionPlan::with_mods(&spec, mods, counting.caps()).unwrap();
    assert_eq!(plan.splits, 1, "parts of counts do not add up: {plan}");
    count(&counting, &ops::shaders::attention_with_mods(&plan, mods).unwrap(), calls);
    let plan = crate::plan::AttentionBackwardPlan::with_mods(&spec, mods, counting.caps()).unwrap();
    count(&counting, &ops::shaders::attention_backward_with_mods(&plan, mods).unwrap(), calls);
    let counted = Attention::with_mods(&counting, spec, mods).unwrap().run(inputs).unwrap();
    let outputs = crate::AttentionOutputs { o, lse };
    let backward = AttentionBackward::with_mods(&counting, spec, mods).unwrap();
    let found = backward.run(inputs, &outputs, &d_o).unwrap();
    Counts { forward: firsts(&counted.o), queries: firsts(&found.dq), keys: firsts(&found.dk) }
}

/// Whether a query of a sequence sees a key of it.
type Sees<'a> = dyn Fn(usize, usize) -> bool + 'a;

/// Tiles of `across` keys that some query of each tile of `along` queries sees, for each query. Tiles begin at key 0, or where
/// a range begins if `from_first`: at the first key that any of the tile's queries sees, or at the four before it.
fn tiles_seen(
    (along, across): (u32, u32),
    (q_len, k_len): (usize, usize),
    sees: &Sees<'_>,
    fours: Option<usize>,
) -> Vec<f32> {
    let (along, across) = (along as usize, across as usize);
    let of_tile = |tile: usize| {
        let queries = tile * along..((tile + 1) * along).min(q_len);
        let seen: Vec<_> = (0..k_len).filter(|&j| queries.clone().any(|i| sees(i, j))).collect();
        match (fours, seen.first().zip(seen.last())) {
            (_, None) => 0,
            (Some(fours), Some((first, last))) => (last + 1 - first / fours * fours).div_ceil(across),
            (None, _) => {
                (0..k_len.div_ceil(across)).filter(|tile| seen.iter().any(|j| j / across == *tile)).count()
            }
        }
    };
    let of_tiles: Vec<_> = (0..q_len.div_ceil(along)).map(of_tile).collect();
    (0..q_len).map(|i| of_tiles[i / along] as f32).collect()
}

/// The plan's tiles: of queries by keys forward and for queries, and of keys by queries for keys.
fn tiles(gpu: &Gpu, spec: &AttentionSpec, mods: &Mods) -> [(u32, u32); 3] {
    let forward = crate::plan::AttentionPlan::with_mods(spec, mods, gpu.caps()).unwrap();
    let backward = crate::plan::AttentionBackwardPlan::with_mods(spec, mods, gpu.caps()).unwrap();
    let of = |path: AttentionPath| (path.rows(), path.columns());
    [forward.tile_sizes(), of(backward.queries), of(backward.keys)]
}

/// What is counted must be the tiles that are seen, in sequences of these lengths, and no more.
fn check(
    gpu: &Gpu,
    spec: AttentionSpec,
    mods: &Mods,
    lengths: &[(usize, usize)],
    sees: &dyn Fn((usize, usize), usize, usize) -> bool,
) {
    let sums = |side: fn(&(usize, usize)) -> usize| -> Vec<u32> {
        let ends = lengths.iter().scan(0, |sum, lengths| {
            *sum += side(lengths) as u32;
            Some(*sum)
        });
        std::iter::once(0).chain(ends).collect()
    };
    let (q_sums, k_sums) = (sums(|l| l.0), sums(|l| l.1));
    let sums = spec.packed.map(|_| CuSeqlens { q: &q_sums, k: &k_sums });
    let found = counts(gpu, spec, mods, sums, VISITS);
    let [forward, queries, keys] = tiles(gpu, &spec, mods);
    // Ranges of keys begin at fours, ranges of queries anywhere; tables number whole tiles.
    let (by_fours, by_ones) = if mods.is_empty() { (Some(4), Some(1)) } else { (None, None) };
    let group = spec.heads / spec.kv_heads;
    let [mut of_forward, mut of_queries, mut of_keys] = [vec![], vec![], vec![]];
    for &(q_len, k_len) in lengths {
        let sees = |i: usize, j: usize| sees((q_len, k_len), i, j);
        let of_rows = |counts: Vec<f32>, heads: usize, times: usize| -> Vec<f32> {
            counts.into_iter().flat_map(|n| vec![n * times as f32; heads]).collect()
        };
        let seen = tiles_seen(forward, (q_len, k_len), &sees, by_fours);
        of_forward.extend(of_rows(seen, spec.heads, 1));
        let seen = tiles_seen(queries, (q_len, k_len), &sees, by_fours);
        of_queries.extend(of_rows(seen, spec.heads, 1));
        // All heads that share a key head are gone over.
        let seen = tiles_seen(keys, (k_len, q_len), &|j, i| sees(i, j), by_ones);
        of_keys.extend(of_rows(seen, spec.kv_heads, group));
    }
    assert!(of_forward.iter().any(|&n| n > 0.0), "{spec}: nothing is visited");
    assert_eq!(found.forward, of_forward, "{spec}, forward");
    assert_eq!(found.queries, of_queries, "{spec}, backward, of queries");
    assert_eq!(found.keys, of_keys, "{spec}, backward, of keys");
}

fn within(spec: AttentionSpec) -> impl Fn((usize, usize), usize, usize) -> bool {
    move |lengths, i, j| {
        let (first, end) = spec.keys_seen_of(lengths, i);
        (first..end).contains(&j)
    }
}

#[test]
fn packed_sequences_cost_no_more_than_each_alone() {
    let lengths = [(300, 200), (1, 1), (0, 17), (33, 0), (0, 0), (129, 310), (5, 97)];
    let total = |side: fn(&(usize, usize)) -> usize| lengths.iter().map(side).sum::<usize>();
    let spec = AttentionSpec::new(DType::F32, lengths.len(), (300, 310), 4, 8).kv_heads(2);
    let spec = spec.packed(total(|l| l.0), total(|l| l.1));
    for (_, gpu) in common::gpus() {
        for spec in [spec, spec.causal(), spec.window(Some(40), Some(10))] {
            check(&gpu, spec, &Mods::new(), &lengths, &within(spec));
        }
    }
}

#[test]
fn keys_out_of_range_cost_nothing() {
    let spec = AttentionSpec::new(DType::F32, 1, (400, 500), 2, 8);
    for (_, gpu) in common::gpus() {
        for spec in
            [spec.causal(), spec.window(Some(70), Some(0)), AttentionSpec { k_len: 130, ..spec }.causal()]
        {
            check(&gpu, spec, &Mods::new(), &[(spec.q_len, spec.k_len)], &within(spec));
        }
    }
}

/// Blocks that a mask hides, those beyond a causal mask, and what mods hide, which the GPU finds out by asking them.
#[test]
fn hidden_blocks_cost_nothing() {
    let spec = AttentionSpec::new(DType::F32, 1, (512, 700), 4, 8).kv_heads(2);
    let mask = BlockMask::from_fn(&spec, (128, 128), |q, k| (q + 2 * k) % 3 == 0).unwrap();
    let blocks = Mods::new().blocks(mask.clone());
    let text = "fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool { return (i / 128u + 2u * (j / 128u)) % 3u == 0u; }";
    let same = Mods::new().mask(Snippet::new("the same", text));
    for (_, gpu) in common::gpus() {
        let in_range = within(spec.causal());
        let shown =
            |lengths: (usize, usize), i: usize, j: usize| in_range(lengths, i, j) && mask.shows(0, 0, i, j);
        check(&gpu, spec.causal(), &blocks, &[(512, 700)], &shown);
        check(&gpu, spec.causal(), &same, &[(512, 700)], &shown);
        let document = |n: usize| n / 150;
        let text = "fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool { return i / 150u == j / 150u; }";
        let documents = Mods::new().mask(Snippet::new("documents", text));
        check(&gpu, spec, &documents, &[(512, 700)], &|_, i, j| document(i) == document(j));
    }
}

/// Where a whole tile is seen, masks are not asked about its elements.
#[test]
fn full_blocks_skip_the_mod() {
    let spec = AttentionSpec::new(DType::F32, 1, (512, 512), 1, 8);
    let open = "fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool { return b == 0u; }";
    let open = Mods::new().mask(Snippet::new("open", open));
    let causal = Mods::new().mask(mods::causal());
    for (name, gpu) in common::gpus() {
        let asked = counts(&gpu, spec, &open, None, ASKED);
        for counts in [&asked.forward, &asked.queries, &asked.keys] {
            assert!(counts.iter().all(|&n| n == 0.0), "{name}: {counts:?}");
        }
        let asked = counts(&gpu, spec, &causal, None, ASKED).forward;
        let path = crate::plan::AttentionPlan::with_mods(&spec, &causal, gpu.caps()).unwrap().path;
        let ForwardPath::Staged(AttentionPath::Lanes(tile)) = path else { panic!("f32 is for lanes") };
        let (rows, columns) = (tile.rows() as usize, tile.columns() as usize);
        // A lane asks about its own part of each tile across the diagonal.
        let share = (16 * tile.row_fours) as f32;
        let cut = |query: usize| {
            let first = query / rows * rows;
            (first..first + rows).step_by(columns).filter(|&key| key < 512).count() as f32
        };
        let expected: Vec<_> = (0..512).map(|query| share * cut(query)).collect();
        assert_eq!(asked, expected, "{name}");
    }
}
