//! `tilewise run attention` with mods and masks of blocks, as a user would call it.

mod common;

use std::path::Path;

use common::{Named, adapter, file, stderr, tensor, tilewise};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype::{BOOL, F32, U32};

const CAUSAL: &str = "fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool { return j <= i; }\n";
const DOCUMENTS: &str = "
fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool {
    return document(i) == document(j);
}
";
const DOUBLED: &str = "
fn score_mod(score: f32, b: u32, h: u32, i: u32, j: u32) -> f32 { return 2.0 * score; }
fn score_mod_bwd(d: f32, score: f32, b: u32, h: u32, i: u32, j: u32) -> f32 { return 2.0 * d; }
";

/// Queries, keys, values and the output's gradient, 40 of each, and documents of 20 of them.
fn tensors() -> Vec<Named<'static>> {
    const SHAPE: &[usize] = &[1, 40, 2, 8];
    let documents = (0..40_u32).flat_map(|i| (i / 20).to_le_bytes()).collect();
    let mut all: Vec<_> = ["q", "k", "v", "do"].map(|name| tensor(name, F32, SHAPE)).into();
    all.push(("document", U32, &[40], documents));
    all
}

/// A mask of blocks of ones and zeros.
fn block_mask<'a>(shape: &'a [usize], blocks: &[f32]) -> Named<'a> {
    ("block_mask", F32, shape, blocks.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// Runs attention on these tensors in that folder, and returns what it wrote.
fn run(folder: &Path, tensors: &[Named<'_>], options: &[&str]) -> std::process::Output {
    for (name, text) in [("causal", CAUSAL), ("documents", DOCUMENTS), ("doubled", DOUBLED)] {
        std::fs::write(folder.join(name).with_extension("wgsl"), text).expect("written");
    }
    std::fs::write(folder.join("in.safetensors"), file(tensors)).expect("written");
    let path = |name: &str| folder.join(name).display().to_string();
    let mut args = vec!["run".to_owned(), "attention".to_owned(), path("in.safetensors")];
    args.extend(["-o".to_owned(), path("out.safetensors")]);
    args.extend(options.iter().map(|option| {
        if Path::new(option).extension().is_some_and(|end| end == "wgsl") {
            path(option)
        } else {
            (*option).to_owned()
        }
    }));
    tilewise(args)
}

/// The tensors that were written, by name.
fn written(tensors: &[Named<'_>], options: &[&str]) -> Vec<(String, Vec<f32>)> {
    let folder = tempfile::tempdir().expect("a folder");
    let ran = run(folder.path(), tensors, options);
    assert!(ran.status.success(), "{options:?}: {}", stderr(&ran));
    let bytes = std::fs::read(folder.path().join("out.safetensors")).expect("the output");
    let ours = SafeTensors::deserialize(&bytes).expect("a whole file");
    let values = |data: &[u8]| {
        data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect::<Vec<_>>()
    };
    let mut all: Vec<_> =
        ours.tensors().into_iter().map(|(name, view)| (name, values(view.data()))).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["dk", "dq", "dv", "lse", "o"]);
    all
}

fn close(ours: &[(String, Vec<f32>)], expected: &[(String, Vec<f32>)]) {
    for ((name, ours), (_, expected)) in ours.iter().zip(expected) {
        let same =
            |(x, y): (&f32, &f32)| x.to_bits() == y.to_bits() || (x - y).abs() <= 1e-5 * y.abs().max(1.0);
        assert!(ours.iter().zip(expected).all(same), "{name}: {ours:?} against {expected:?}");
    }
}

#[test]
fn mods_do_what_the_built_in_options_do() {
    if !adapter() {
        return;
    }
    let all = tensors();
    close(&written(&all, &["--mask-mod", "causal.wgsl"]), &written(&all, &["--causal"]));
    // The default scale of heads of 8, twice.
    let twice = (2.0 / 8.0_f64.sqrt()).to_string();
    close(&written(&all, &["--score-mod", "doubled.wgsl"]), &written(&all, &["--scale", &twice]));

    let by_document = written(&all, &["--mask-mod", "documents.wgsl", "--buffer", "document"]);
    let mut blocked = all.clone();
    blocked.push(block_mask(&[2, 2], &[1.0, 0.0, 0.0, 1.0]));
    close(&written(&blocked, &["--block", "20,20"]), &by_document);
    let both = ["--mask-mod", "documents.wgsl", "--mask-mod", "causal.wgsl", "--buffer", "document"];
    close(&written(&all, &both), &written(&blocked, &["--block", "20,20", "--causal"]));
}

/// What a block is follows from the shape where only one size comes into question; booleans are as good as numbers.
#[test]
fn blocks_are_as_large_as_their_shape_says() {
    if !adapter() {
        return;
    }
    let blocks = [1, 0, 1, 0, 1, 1, 1, 0, 0_u8];
    let mut numbers = tensors();
    numbers.push(block_mask(&[3, 3], &blocks.map(f32::from)));
    let mut booleans = tensors();
    booleans.push(("block_mask", BOOL, &[3, 3], blocks.to_vec()));
    let expected = written(&numbers, &["--block", "16,16"]);
    assert!(written(&numbers, &[]) == expected && written(&booleans, &[]) == expected);
    assert!(written(&tensors(), &[]) != expected, "the mask does something");
}

#[test]
fn probabilities_are_those_of_the_mods() {
    if !adapter() {
        return;
    }
    let probabilities = |tensors: &[Named<'_>], options: &[&str]| {
        let folder = tempfile::tempdir().expect("a folder");
        let ran = run(folder.path(), tensors, &[&["--probabilities"], options].concat());
        assert!(ran.status.success(), "{options:?}: {}", stderr(&ran));
        let bytes = std::fs::read(folder.path().join("out.safetensors")).expect("the output");
        let ours = SafeTensors::deserialize(&bytes).expect("a whole file");
        let p = ours.tensor("p").expect("the probabilities");
        assert_eq!(p.shape(), [1, 2, 40, 40]);
        p.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect::<Vec<_>>()
    };
    let all = tensors();
    let twice = (2.0 / 8.0_f64.sqrt()).to_string();
    let found = probabilities(&all, &["--mask-mod", "causal.wgsl", "--score-mod", "doubled.wgsl"]);
    let expected = probabilities(&all, &["--causal", "--scale", &twice]);
    assert!(found.iter().zip(&expected).all(|(x, y)| (x - y).abs() < 1e-5), "{found:?}");
    assert!(found.iter().zip(&expected).all(|(x, y)| (*x == 0.0) == (*y == 0.0)), "the same keys are hidden");
    let mut blocked = all.clone();
    blocked.push(block_mask(&[2, 2], &[1.0, 0.0, 0.0, 1.0]));
    let by_block = probabilities(&blocked, &["--block", "20,20"]);
    let by_document = probabilities(&all, &["--mask-mod", "documents.wgsl", "--buffer", "document"]);
    assert!(by_block == by_document && by_block != expected);
}

#[test]
fn what_is_wrong_is_said_with_the_users_own_line() {
    if !adapter() {
        return;
    }
    let all = tensors();
    let mut blocked = all.clone();
    blocked.push(block_mask(&[2, 2], &[1.0, 0.0, 0.5, 1.0]));
    let mut halves = all.clone();
    halves.push(block_mask(&[2, 2], &[1.0, 0.0, 0.0, 1.0]));
    let mut short = all.clone();
    short.push(block_mask(&[2, 1], &[1.0, 0.0]));
    let bad = |text: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("bad.wgsl"), text).expect("written");
        let ran = run(folder.path(), &all, &["--mask-mod", "bad.wgsl"]);
        (ran.status.code(), stderr(&ran))
    };
    let (code, message) =
        bad("fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool {\n    return i <= width;\n}\n");
    assert_eq!(code, Some(2), "{message}");
    assert!(message.contains("bad.wgsl, line 2, `return i <= width;`"), "{message}");
    let (code, message) = bad("fn mask_mod() {}\n");
    assert!(code == Some(2) && message.contains("`fn mask_mod(u32, u32, u32, u32) -> bool`"), "{message}");

    for (tensors, options, words) in [
        (&all, &["--mask-mod", "absent.wgsl"][..], "cannot read"),
        (&all, &["--mask-mod", "documents.wgsl"], "document"),
        (&all, &["--mask-mod", "causal.wgsl", "--buffer", "document"], "no mod reads document(index)"),
        (&all, &["--mask-mod", "causal.wgsl", "--buffer", "absent"], "no tensor \"absent\""),
        (&all, &["--block", "20,20"], "no block_mask"),
        (&halves, &[], "[20, 32] would do; it needs --block QUERIES,KEYS"),
        (&blocked, &["--block", "20,20"], "holds 0.5"),
        (&short, &["--block", "20,20"], "expected [2, 2]"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let ran = run(folder.path(), tensors, options);
        let message = stderr(&ran);
        assert_eq!(ran.status.code(), Some(2), "{options:?}: {message}");
        assert!(message.contains(words), "{options:?}: {message}");
        assert!(!folder.path().join("out.safetensors").exists(), "{options:?}");
    }
}
