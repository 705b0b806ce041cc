//! Mods of attention and masks of blocks on this machine's GPU: what verify's grid does not show.

#[allow(dead_code, reason = "the grid of the family is attention's")]
mod common;

use tilewise::verify::Inputs;
use tilewise::{
    Alibi, Attention, AttentionBackward, AttentionInputs, AttentionProbabilities, AttentionSpec, BlockMask,
    Caps, CuSeqlens, DType, Error, Gpu, Mods, PlanError, Snippet, Table, Tensor, Word, caps, mods,
};

/// Queries, keys and values that follow from the spec.
fn operands(gpu: &Gpu, spec: &AttentionSpec) -> [Tensor<f32>; 3] {
    let mut inputs = Inputs::new(7);
    [spec.q_shape(), spec.k_shape(), spec.v_shape()].map(|shape| {
        let values = inputs.normal(shape.iter().product(), 1.0);
        let values: Vec<_> = values.into_iter().map(|value| value as f32).collect();
        Tensor::from_slice(gpu, &shape, &values).unwrap()
    })
}

/// Output and log-sum-exp.
fn run(gpu: &Gpu, spec: AttentionSpec, mods: &Mods, tables: &[(&str, Table<'_>)]) -> (Vec<f32>, Vec<f32>) {
    let [q, k, v] = operands(gpu, &spec);
    run_on(gpu, spec, mods, AttentionInputs::new(&q, &k, &v).tables(tables))
}

fn run_on(
    gpu: &Gpu,
    spec: AttentionSpec,
    mods: &Mods,
    inputs: AttentionInputs<'_, f32>,
) -> (Vec<f32>, Vec<f32>) {
    let outputs = Attention::with_mods(gpu, spec, mods).unwrap().run(inputs).unwrap();
    (outputs.o.read_blocking().unwrap(), outputs.lse.read_blocking().unwrap())
}

fn spec() -> AttentionSpec {
    AttentionSpec::new(DType::F32, 2, (113, 203), 4, 40).kv_heads(2)
}

#[test]
fn masks_of_mods_agree_with_the_built_in_ones_bit_for_bit() {
    for (name, gpu) in common::gpus() {
        for spec in [spec(), AttentionSpec { q_len: 203, k_len: 113, ..spec() }] {
            let causal = run(&gpu, spec, &Mods::new().mask(mods::causal()), &[]);
            assert!(causal == run(&gpu, spec.causal(), &Mods::new(), &[]), "{spec}: causal ({name})");
            let window = run(&gpu, spec, &Mods::new().mask(mods::window(17, 5)), &[]);
            let built_in = spec.window(Some(17), Some(5));
            // The built-in window begins its first tile at the first key that is seen: other sums, in another order.
            close(
                &window,
                &run(&gpu, built_in, &Mods::new(), &[]),
                2e-6,
                &format!("{spec}: window ({name})"),
            );
        }
    }
}

#[test]
fn changes_of_scores_agree_with_the_built_in_ones() {
    for (name, gpu) in common::gpus() {
        let plain = run(&gpu, spec(), &Mods::new(), &[]);
        close(&run(&gpu, spec(), &Mods::new().score(mods::identity()), &[]), &plain, 2e-6, name);
        let capped = run(&gpu, spec().softcap(2.0), &Mods::new(), &[]);
        close(&run(&gpu, spec(), &Mods::new().score(mods::softcap(2.0)), &[]), &capped, 4e-6, name);

        let slopes = Tensor::from_slice(&gpu, &[4], &[0.3_f32, 0.2, 0.1, 0.05]).unwrap();
        let [q, k, v] = operands(&gpu, &spec());
        let inputs = AttentionInputs::new(&q, &k, &v);
        let built_in = spec().alibi(Alibi::PerHead);
        let biased = run_on(&gpu, built_in, &Mods::new(), inputs.alibi(&slopes));
        let tables = [("slopes", Table::from(&slopes))];
        close(&run(&gpu, spec(), &Mods::new().score(mods::alibi()), &tables), &biased, 4e-6, name);
        assert!(plain != capped && plain != biased, "the options do something");
    }
}

fn close(ours: &(Vec<f32>, Vec<f32>), expected: &(Vec<f32>, Vec<f32>), tolerance: f32, what: &str) {
    for (ours, expected) in [(&ours.0, &expected.0), (&ours.1, &expected.1)] {
        for (x, y) in ours.iter().zip(expected) {
            let same = x.to_bits() == y.to_bits();
            assert!(same || (x - y).abs() <= tolerance * y.abs().max(1.0), "{what}: {x} against {y}");
        }
    }
}

/// What is said of a snippet names its own line and text, in the compiler's words; and the device goes on.
#[test]
fn bad_snippets_are_refused_with_the_compilers_words_and_their_own_line() {
    let score = |body: &str| {
        let head =
            "// A comment before it.\n\nfn score_mod(score: f32, b: u32, h: u32, i: u32, j: u32) -> f32 {\n";
        Mods::new().score(Snippet::new("mine.wgsl", format!("{head}{body}\n}}\n")))
    };
    for (name, gpu) in common::gpus() {
        for (mods, line, text, words) in [
            (score("    return score + slope;"), 4, "return score + slope;", "slope"),
            (score("    let x = 1.0;\n    return score + j;"), 5, "return score + j;", "u32"),
            (score("    return scores(score)"), 5, "}", "expected `;`"),
            (score("    return score score;"), 4, "return score score;", "expected"),
            (score("    let x = score;"), 3, "fn score_mod", ""),
            (score("    return left[0].x;"), 4, "return left[0].x;", "left"),
            (score("    return params.scale;"), 4, "return params.scale;", "params"),
            (score("    q[0] = 1.0;\n return score;"), 4, "q[0] = 1.0;", "q"),
            (score("    return score; }\n fn f() { return; } }"), 5, "}", "closes nothing"),
            (
                Mods::new().mask(Snippet::new("m", "fn mask_mod() -> bool {\n return true;\n}")),
                1,
                "fn mask_mod",
                "u32",
            ),
        ] {
            let error = Attention::with_mods(&gpu, spec(), &mods).expect_err(text);
            let Error::Plan(PlanError::Snippet(error)) = error else { panic!("{name}: {error}") };
            assert_eq!(error.line, Some(line), "{name}: {error}");
            assert!(error.text.contains(text) && error.message.contains(words), "{name}: {error}");
        }
        let buffer =
            Snippet::new("m", "fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool { return true; }");
        let error = Attention::with_mods(&gpu, spec(), &Mods::new().mask(buffer.buffer("while", Word::U32)))
            .expect_err("no name of a buffer");
        assert!(matches!(error, Error::Plan(PlanError::Snippet(_))), "{error}");
        let (o, _) = run(&gpu, spec(), &score("    return score;"), &[]);
        assert!(o.iter().all(|x| x.is_finite()), "the device goes on ({name})");
    }
}

#[test]
fn buffers_must_be_those_that_the_mods_read() {
    for (_, gpu) in common::gpus() {
        let [q, k, v] = operands(&gpu, &spec());
        let documents = Tensor::from_slice(&gpu, &[2, 203], &[0_u32; 406]).unwrap();
        let wrong = Tensor::from_slice(&gpu, &[2, 203], &[0_i32; 406]).unwrap();
        let attention = Attention::with_mods(&gpu, spec(), &Mods::new().mask(mods::documents())).unwrap();
        let refused = |tables: &[(&str, Table<'_>)]| {
            attention.run(AttentionInputs::new(&q, &k, &v).tables(tables)).unwrap_err().to_string()
        };
        assert_eq!(refused(&[]), "the mods' buffer \"documents\" is missing");
        let error = refused(&[("documents", (&wrong).into())]);
        assert_eq!(error, "the mods' buffer \"documents\" holds i32, expected u32");
        let error = refused(&[("documents", (&documents).into()), ("bias", (&wrong).into())]);
        assert_eq!(error, "the mods' buffer \"bias\" is given, but no mod reads it");
        attention
            .run(AttentionInputs::new(&q, &k, &v).tables(&[("documents", (&documents).into())]))
            .unwrap();
    }
    // One name, two types.
    let two = Mods::new().mask(mods::documents()).score(
        Snippet::new("s", "fn score_mod(s: f32, b: u32, h: u32, i: u32, j: u32) -> f32 { return s; }")
            .buffer("documents", Word::F32),
    );
    assert!(two.check().unwrap_err().to_string().contains("documents holds"), "{:?}", two.check());
}

/// WebGPU guarantees eight storage buffers, of which attention itself takes five.
#[test]
fn more_buffers_than_a_kernel_can_bind_are_bound_together() {
    let Some(gpu) = common::open(Some(caps::WEBGPU_BASELINE)) else { return };
    let weight = |count: usize| (0..count).map(|n| format!(" + b{n}(j) / 16.0")).collect::<Vec<_>>().concat();
    let reading = |count: usize| {
        let text = format!(
            "fn score_mod(s: f32, b: u32, h: u32, i: u32, j: u32) -> f32 {{ return s{}; }}",
            weight(count)
        );
        (0..count).fold(Snippet::new("s", text), |s, n| s.buffer(format!("b{n}"), Word::F32))
    };
    let tensors: Vec<_> = (0..12)
        .map(|n| {
            let values: Vec<_> = (0..100 + 10 * n).map(|j| ((j * 7 + n) % 16) as f32).collect();
            Tensor::from_slice(&gpu, &[values.len()], &values).unwrap()
        })
        .collect();
    let names: Vec<_> = (0..12).map(|n| format!("b{n}")).collect();
    let tables: Vec<_> = names.iter().map(String::as_str).zip(tensors.iter().map(Table::from)).collect();
    let words: Vec<_> = (0..406_u32).map(|n| n % 203 / 60).collect();
    let documents = Tensor::from_slice(&gpu, &[2, 203], &words).unwrap();
    let blocks = BlockMask::from_fn(&spec(), (48, 40), |q, k| (q + k) % 3 != 0).unwrap();

    // The buffers' sum, exact in f32, as one buffer: few enough to be bound singly.
    let sums: Vec<_> = (0..203)
        .map(|j| {
            tensors.iter().map(|t| t.read_blocking().unwrap().get(j).unwrap_or(&0.0) / 16.0).sum::<f32>()
        })
        .collect();
    let sum = Tensor::from_slice(&gpu, &[203], &sums).unwrap();
    let one = "fn score_mod(s: f32, b: u32, h: u32, i: u32, j: u32) -> f32 { return s + sum(j); }";
    let one = Snippet::new("one", one).buffer("sum", Word::F32);

    for masked in [false, true] {
        let with =
            |mods: Mods| if masked { mods.mask(mods::documents()).blocks(blocks.clone()) } else { mods };
        let table = ("documents", Table::from(&documents));
        let documents = if masked { vec![table] } else { vec![] };
        let together = Mods::new().score(reading(12));
        let plan = Attention::with_mods(&gpu, spec(), &with(together.clone())).unwrap();
        assert!(plan.plan().structure.mods.together, "{}", plan.plan());
        let ours = run(&gpu, spec(), &with(together), &[tables.clone(), documents.clone()].concat());

        let own = common::open(None).expect("it opened before");
        let upload = |tensor: &Tensor<f32>| {
            Tensor::from_slice(&own, tensor.shape(), &tensor.read_blocking().unwrap()).unwrap()
        };
        let sum = upload(&sum);
        let documents = Tensor::from_slice(&own, &[2, 203], &words).unwrap();
        let mut singly = vec![("sum", Table::from(&sum))];
        if masked {
            singly.push(("documents", Table::from(&documents)));
        }
        let expected = run(&own, spec(), &with(Mods::new().score(one.clone())), &singly);
        close(&ours, &expected, 1e-5, if masked { "together, masked" } else { "together" });
    }
}

#[test]
fn a_buffer_reads_0_past_its_end() {
    let text = "fn score_mod(s: f32, b: u32, h: u32, i: u32, j: u32) -> f32 {\n\
                return s + bias(j) + bias(4000000000u + j) / f32(order(j + 1000u)); }";
    for (name, gpu) in common::gpus() {
        let snippet = Snippet::new("s", text).buffer("bias", Word::F32).buffer("order", Word::I32);
        let bias = Tensor::from_slice(&gpu, &[8], &[0.0_f32; 8]).unwrap();
        let order = Tensor::from_slice(&gpu, &[4], &[1_i32; 4]).unwrap();
        let text = "fn score_mod(s: f32, b: u32, h: u32, i: u32, j: u32) -> f32 { return s + bias(j) + bias(0u - 1u - j); }";
        let safe = Snippet::new("s", text).buffer("bias", Word::F32);
        let ours = run(&gpu, spec(), &Mods::new().score(safe), &[("bias", (&bias).into())]);
        close(&ours, &run(&gpu, spec(), &Mods::new(), &[]), 2e-6, name);
        // 0 / 0 is the snippet's own affair: it ends in an answer, whatever it is.
        run(
            &gpu,
            spec(),
            &Mods::new().score(snippet),
            &[("bias", (&bias).into()), ("order", (&order).into())],
        );
    }
}

/// What tiles to visit follows from what the buffers hold at each call.
#[test]
fn new_contents_of_a_buffer_are_seen() {
    for (name, gpu) in common::gpus() {
        let [q, k, v] = operands(&gpu, &spec());
        let attention = Attention::with_mods(&gpu, spec(), &Mods::new().mask(mods::documents())).unwrap();
        let with = |cut: usize| {
            let documents: Vec<_> = (0..406).map(|n| u32::from(n % 203 >= cut)).collect();
            let documents = Tensor::from_slice(&gpu, &[2, 203], &documents).unwrap();
            let tables = [("documents", Table::from(&documents))];
            attention
                .run(AttentionInputs::new(&q, &k, &v).tables(&tables))
                .unwrap()
                .lse
                .read_blocking()
                .unwrap()
        };
        let (whole, cut) = (with(0), with(150));
        let plain = run(&gpu, spec(), &Mods::new(), &[]).1;
        assert!(whole == plain && cut != plain && cut == with(150), "{name}");
    }
}

/// Gradients of queries, keys and values.
fn gradients(gpu: &Gpu, spec: AttentionSpec, mods: &Mods, inputs: AttentionInputs<'_, f32>) -> [Vec<f32>; 3] {
    let outputs = Attention::with_mods(gpu, spec, mods).unwrap().run(inputs).unwrap();
    let values = Inputs::new(9).normal(spec.o_shape().iter().product(), 1.0);
    let values: Vec<_> = values.into_iter().map(|value| value as f32).collect();
    let d_o = Tensor::from_slice(gpu, &spec.o_shape(), &values).unwrap();
    let found = AttentionBackward::with_mods(gpu, spec, mods).unwrap().run(inputs, &outputs, &d_o).unwrap();
    [found.dq, found.dk, found.dv].map(|tensor| tensor.read_blocking().unwrap())
}

#[test]
fn gradients_with_mods_are_those_of_the_built_in_options() {
    for (name, gpu) in common::gpus() {
        let spec = AttentionSpec { head_dim: 8, value_dim: 8, ..spec() };
        let [q, k, v] = operands(&gpu, &spec);
        let inputs = AttentionInputs::new(&q, &k, &v);
        let close = |ours: &[Vec<f32>; 3], built_in: &[Vec<f32>; 3], tolerance: f32| {
            for (ours, built_in) in ours.iter().zip(built_in) {
                for (x, y) in ours.iter().zip(built_in) {
                    assert!((x - y).abs() <= tolerance * y.abs().max(1.0), "{name}: {x} against {y}");
                }
            }
        };
        let ours = gradients(&gpu, spec, &Mods::new().mask(mods::causal()), inputs);
        let built_in = gradients(&gpu, spec.causal(), &Mods::new(), inputs);
        // The built-in pass over keys begins its tiles at the first query that sees one: other sums.
        close(&ours, &built_in, 4e-6);
        assert!(ours[0] == built_in[0], "{name}: the pass over queries visits the same tiles");

        let slopes = Tensor::from_slice(&gpu, &[4], &[0.3_f32, 0.2, 0.1, 0.05]).unwrap();
        let tables = [("slopes", Table::from(&slopes))];
        let mods = Mods::new().score(mods::softcap(2.0)).score(mods::alibi()).mask(mods::window(17, 5));
        let ours = gradients(&gpu, spec, &mods, inputs.tables(&tables));
        let options = spec.softcap(2.0).alibi(Alibi::PerHead).window(Some(17), Some(5));
        let built_in = gradients(&gpu, options, &Mods::new(), inputs.alibi(&slopes));
        close(&ours, &built_in, 1e-5);
    }
}

/// Documents that follow one another are packed sequences.
#[test]
fn documents_agree_with_packed_sequences() {
    for (name, gpu) in common::gpus() {
        let packed = AttentionSpec::new(DType::F32, 3, (56, 56), 4, 40).kv_heads(2).packed(97, 97);
        let whole = AttentionSpec { batch: 1, q_len: 97, k_len: 97, packed: None, ..packed };
        let sums = [0, 40, 41, 97];
        let document = |position: u32| sums[1..].iter().filter(|&&end| position >= end).count() as u32;
        let documents: Vec<_> = (0..97).map(document).collect();
        let documents = Tensor::from_slice(&gpu, &[1, 97], &documents).unwrap();
        let tables = [("documents", Table::from(&documents))];
        let [q, k, v] = operands(&gpu, &packed);
        let inputs = AttentionInputs::new(&q, &k, &v).cu_seqlens(CuSeqlens { q: &sums, k: &sums });
        let expected = run_on(&gpu, packed, &Mods::new(), inputs);
        let [q, k, v] = operands(&gpu, &whole);
        let inputs = AttentionInputs::new(&q, &k, &v).tables(&tables);
        let found = run_on(&gpu, whole, &Mods::new().mask(mods::documents()), inputs);
        // (heads, queries) in both.
        close(&found, &expected, 2e-6, name);
    }
}

#[test]
fn a_score_mod_without_its_gradient_has_no_backward_pass() {
    let Some(gpu) = common::open(None) else { return };
    let text = "fn score_mod(s: f32, b: u32, h: u32, i: u32, j: u32) -> f32 { return s; }";
    let mods = Mods::new().score(Snippet::new("half", text));
    let error = AttentionBackward::with_mods(&gpu, spec(), &mods).unwrap_err().to_string();
    assert!(error.contains("score_mod_bwd is missing") && error.contains("half"), "{error}");
}

/// What a hidden block holds reaches no gradient, and its own are zeros.
#[test]
fn hidden_blocks_have_no_part_in_gradients() {
    for (name, gpu) in common::gpus() {
        let spec = AttentionSpec::new(DType::F32, 1, (256, 256), 2, 8);
        let mask = BlockMask::from_fn(&spec, (128, 128), |q, k| q == 0 && k == 1).unwrap();
        let [q, k, v] = operands(&gpu, &spec);
        let spoilt = |tensor: &Tensor<f32>, from: usize| {
            let mut values = tensor.read_blocking().unwrap();
            values[from..][..128 * 2 * 8].fill(f32::NAN);
            Tensor::from_slice(&gpu, tensor.shape(), &values).unwrap()
        };
        let half = 128 * 16;
        let clean =
            gradients(&gpu, spec, &Mods::new().blocks(mask.clone()), AttentionInputs::new(&q, &k, &v));
        let (k, v) = (spoilt(&k, 0), spoilt(&v, 0));
        let found = gradients(&gpu, spec, &Mods::new().blocks(mask), AttentionInputs::new(&q, &k, &v));
        assert!(found == clean, "{name}");
        let [dq, dk, dv] = found;
        assert!(dq[half..].iter().chain(&dk[..half]).chain(&dv[..half]).all(|&x| x == 0.0), "{name}");
        for seen in [&dq[..half], &dk[half..], &dv[half..]] {
            assert!(seen.iter().all(|x| x.is_finite()) && seen.iter().any(|&x| x != 0.0), "{name}");
        }
    }
}

/// Blocks that are not seen are not even read: what they hold cannot reach the output. Rows that see nothing are exact.
#[test]
fn hidden_blocks_are_not_visited() {
    for (name, gpu) in common::gpus() {
        let spec = AttentionSpec::new(DType::F32, 1, (256, 256), 2, 32);
        let mask = BlockMask::from_fn(&spec, (128, 128), |q, k| q == 0 && k == 1).unwrap();
        let [q, k, v] = operands(&gpu, &spec);
        let clean = run(&gpu, spec, &Mods::new().blocks(mask.clone()), &[]);
        let spoilt = |tensor: &Tensor<f32>| {
            let mut values = tensor.read_blocking().unwrap();
            values[..128 * 2 * 32].fill(f32::NAN);
            Tensor::from_slice(&gpu, tensor.shape(), &values).unwrap()
        };
        let (k, v) = (spoilt(&k), spoilt(&v));
        let (o, lse) = run_on(&gpu, spec, &Mods::new().blocks(mask), AttentionInputs::new(&q, &k, &v));
        assert!((&o, &lse) == (&clean.0, &clean.1), "{name}");
        assert!(o[..128 * 64].iter().all(|x| x.is_finite() && *x != 0.0), "{name}");
        assert!(o[128 * 64..].iter().all(|&x| x == 0.0), "{name}");
        for head in 0..2 {
            let lse = &lse[head * 256..][..256];
            assert!(lse[..128].iter().all(|x| x.is_finite()), "{name}");
            assert!(lse[128..].iter().all(|&x| x == f32::NEG_INFINITY), "{name}");
        }
        // The same by a mask mod whose tiles the GPU finds.
        let text = "fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool { return i < 128u && j >= 128u; }";
        let found = Mods::new().mask(Snippet::new("corner", text));
        assert!(run_on(&gpu, spec, &found, AttentionInputs::new(&q, &k, &v)) == (o, lse), "{name}");
    }
}

#[test]
fn a_mask_of_the_wrong_shape_is_refused_with_numbers() {
    let Some(gpu) = common::open(None) else { return };
    let mask = BlockMask::new((64, 64), &[2, 3], &[true; 6]).unwrap();
    let error = Attention::with_mods(&gpu, spec(), &Mods::new().blocks(mask)).unwrap_err().to_string();
    assert_eq!(
        error,
        "block_mask is of shape [1, 1, 2, 3], expected [2, 4] after at most 2 batches and 4 heads, for blocks of 64 × 64 \
         in 113 × 203"
    );
}

/// Packed sequences have lengths of their own, for which a mask of blocks has no shape; mods know their lengths.
#[test]
fn masks_of_blocks_are_refused_where_sequences_are_packed() {
    let Some(gpu) = common::open(None) else { return };
    let packed = spec().packed(150, 230);
    let mods = Mods::new().blocks(BlockMask::from_fn(&packed, (48, 40), |q, k| q == k).unwrap());
    let refused = [
        Attention::with_mods(&gpu, packed, &mods).err(),
        AttentionBackward::with_mods(&gpu, packed, &mods).err(),
        AttentionProbabilities::with_mods(&gpu, packed, &mods).err(),
    ];
    for error in refused {
        let error = error.expect("refused").to_string();
        assert_eq!(error, "block_mask is given, expected none where sequences are packed");
    }
}

/// Few keys a lane may go over, and many keys: lists are shared out among splits as ranges are.
#[test]
fn lists_are_split_like_ranges() {
    let Some(gpu) = common::open(Some(Caps { loop_turns: Some(2000), ..caps::WEBGPU_BASELINE })) else {
        return;
    };
    let spec = AttentionSpec::new(DType::F32, 1, (3, 3000), 2, 32);
    let mods = Mods::new().mask(mods::dilated(2));
    let attention = Attention::with_mods(&gpu, spec, &mods).unwrap();
    assert!(attention.plan().splits > 2, "{}", attention.plan());
    let whole = AttentionSpec::new(DType::F32, 1, (3, 3000), 2, 32);
    let (o, lse) = run(&gpu, spec, &mods, &[]);
    // Every second key, counted from the query's own.
    let [q, k, v] = operands(&gpu, &whole);
    let [q, k, v] = [&q, &k, &v].map(|tensor| tensor.read_blocking().unwrap());
    let half = AttentionSpec { q_len: 1, k_len: 1500, ..whole };
    for (query, first) in [(0, 1), (1, 0), (2, 1)] {
        let every_second = |values: &[f32]| -> Vec<f32> {
            values.chunks(64).skip(first).step_by(2).flatten().copied().collect()
        };
        let upload = |shape: &[usize], values: &[f32]| Tensor::from_slice(&gpu, shape, values).unwrap();
        let q = upload(&half.q_shape(), &q[query * 64..][..64]);
        let (k, v) = (upload(&half.k_shape(), &every_second(&k)), upload(&half.v_shape(), &every_second(&v)));
        let (o_alone, lse_alone) = run_on(&gpu, half, &Mods::new(), AttentionInputs::new(&q, &k, &v));
        let ours = (o[query * 64..][..64].to_vec(), vec![lse[query], lse[3 + query]]);
        close(&ours, &(o_alone, lse_alone), 1e-5, "dilated by splits");
    }
}
