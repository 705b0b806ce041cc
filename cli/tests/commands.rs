//! Commands that compute nothing new: what they print can be read, by people and by programs.

mod common;

use common::{adapter, stderr, stdout, tilewise};
use serde_json::Value;

/// Every operation that can be planned.
const OPS: [&str; 21] = [
    "attention",
    "merge",
    "butterfly",
    "butterfly-linear",
    "monarch",
    "block-sparse",
    "pixelfly",
    "linear-scan",
    "associative-scan",
    "long-conv",
    "ssd",
    "gla",
    "retnet",
    "delta-rule",
    "s4d",
    "h3",
    "hyena",
    "mamba",
    "mamba2",
    "conv1d",
    "selective-scan",
];

/// Those whose workgroups are of one size everywhere, so that no limit bounds them.
const OF_ONE_SIZE: [&str; 4] = ["merge", "conv1d", "selective-scan", "mamba"];

fn json(line: &str) -> Value {
    let text = stdout(line.split_whitespace().chain(["--json"]));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"))
}

fn profiles() -> Vec<String> {
    let listed = json("plan list");
    let names =
        listed.as_array().expect("a list").iter().map(|p| p["name"].as_str().expect("a name").to_owned());
    names.collect()
}

#[test]
fn help_is_there_for_every_command() {
    for command in ["", "tour", "info", "plan", "shader", "verify", "bench", "run"] {
        let text = stdout(command.split_whitespace().chain(["--help"]));
        assert!(text.contains("Usage: tilewise"), "{text}");
        assert!(text.contains("--adapter"), "{text}");
    }
    let text = stdout(["--help"]);
    assert!(text.contains("Exit codes") && text.contains("no adapter"), "{text}");
    assert!(stdout(["--version"]).starts_with("tilewise "));
}

#[test]
fn profiles_are_listed_alike_everywhere() {
    let names = profiles();
    assert!(names.len() > 8 && names.contains(&"webgpu-baseline".to_owned()), "{names:?}");
    let list = stdout(["plan", "list"]);
    for name in &names {
        assert!(list.contains(name.as_str()), "{name} is not in {list}");
    }
    for line in [
        "shader list",
        "plan --profile list",
        "shader --profile list",
        "plan attention --profile list",
        "shader monarch --profile list",
    ] {
        assert_eq!(stdout(line.split_whitespace()), list, "{line}");
    }
}

#[test]
fn every_operation_is_planned_for_every_profile() {
    for profile in profiles() {
        for op in OPS {
            for dtype in ["f32", "f16", "bf16"] {
                let plan = json(&format!("plan {op} --dtype {dtype} --profile {profile}"));
                let caps = &plan["caps"];
                let plans = plan["plans"].as_array().expect("plans");
                let kernels: Vec<_> =
                    plans.iter().flat_map(|plan| plan["kernels"].as_array().expect("kernels")).collect();
                assert!(!kernels.is_empty());
                for kernel in kernels {
                    for limit in ["workgroup_bytes", "storage_buffers"] {
                        assert!(kernel[limit].as_u64() <= caps[limit].as_u64(), "{profile} {op}: {kernel}");
                    }
                    assert!(
                        kernel["lanes"].as_u64() <= caps["workgroup_lanes"].as_u64(),
                        "{profile} {op}: {kernel}"
                    );
                }
                assert_eq!(plan["op"], op);
                assert_eq!(plan["spec"]["dtype"], dtype);
                let explained: Vec<_> =
                    plans.iter().map(|plan| plan["explanation"].as_str().expect("words")).collect();
                assert!(explained.iter().all(|words| !words.is_empty()));
                let chosen = explained.iter().any(|words| words.contains("bound by"));
                assert!(chosen || OF_ONE_SIZE.contains(&op), "{profile} {op}: {explained:?}");
            }
        }
    }
    let text =
        stdout("plan attention --causal --window 17, --softcap 5 --alibi --profile mali".split_whitespace());
    for word in ["causal", "window (17, ∞)", "softcap 5", "ALiBi", "mali", "attention/", "of 8", "bound by"]
    {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    let text = stdout(
        "plan attention --cache --page-len 16 --int8 --rotary 32 --q-len 1 --k-len 9000 --alibi --sinks \
         --profile webgpu-baseline"
            .split_whitespace(),
    );
    for word in [
        "563 pages of 16 keys in i8",
        "1 keys appended",
        "rotary 32 in halves",
        "append: ",
        "rotate: ",
        "forward: ",
        "through the block table",
        "what heads have bound together",
        "of 8",
    ] {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    let text = stdout("shader attention --cache --append 0 --q-len 1 --profile mali".split_whitespace());
    assert!(text.contains("attention/cache_slots.wgsl") && !text.contains("attention/append.wgsl"), "{text}");
    let text =
        stdout("plan linear-scan --length 1000000 --channels 1 --profile webgpu-baseline".split_whitespace());
    for word in ["scan/chunk_reduce", "scan/carry", "scan/chunk_scan", "of 256", "of 16 KiB", "of 8"] {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
}

/// Whether a kernel of the operation's is one that HLSL has no words for.
fn on_matrix_units(op: &str, profile: &str) -> bool {
    let text = stdout(format!("shader {op} --profile {profile}").split_whitespace());
    text.contains("enable wgpu_cooperative_matrix;")
}

#[test]
fn every_shader_is_written_in_every_language() {
    for profile in profiles() {
        for op in OPS {
            for (target, word) in [
                ("wgsl", "fn main"),
                ("msl", "kernel void main_"),
                ("hlsl", "[numthreads("),
                ("spirv", "07230203"),
            ] {
                let line = format!("shader {op} --target {target} --profile {profile}");
                if target == "hlsl" && on_matrix_units(op, &profile) {
                    let refused = tilewise(line.split_whitespace());
                    assert_eq!(refused.status.code(), Some(2), "{line}: {}", stderr(&refused));
                    assert!(stderr(&refused).contains("matrix units"), "{line}: {}", stderr(&refused));
                    continue;
                }
                let text = stdout(line.split_whitespace());
                assert!(text.starts_with("// ==== "), "{line}: {text}");
                assert!(text.contains(word), "{line}: {word:?} is not in {text}");
            }
        }
    }
    let checked =
        stdout("shader linear-scan --target hlsl --profile mali --shader-checks".split_whitespace());
    assert_ne!(checked, stdout("shader linear-scan --target hlsl --profile mali".split_whitespace()));
}

#[test]
fn shaders_of_many_kernels_are_told_apart() {
    let long = "shader linear-scan --pass forward --channels 1 --length 1000000 --profile webgpu-baseline";
    let text = stdout(long.split_whitespace());
    assert_eq!(text.matches("// ==== ").count(), 3, "{text}");
    let one = stdout(format!("{long} --kernel scan/carry").split_whitespace());
    assert!(one.starts_with("// ==== scan/carry, 1 of 1") && text.len() > one.len(), "{one}");
    let listed = json(&format!("{long} --target spirv"));
    assert_eq!(listed.as_array().map(Vec::len), Some(3));
    assert_eq!(listed[1]["words"][0], 0x0723_0203);
    assert!(json(long)[0]["source"].as_str().is_some_and(|source| source.contains("fn main")));
}

#[test]
fn spirv_goes_to_a_file_in_binary() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("scan.spv");
    let path = path.to_str().expect("text");
    let one = ["shader", "linear-scan", "--pass", "forward", "--profile", "mali", "--target", "spirv", "-o"];
    assert!(stdout([&one[..], &[path]].concat()).is_empty());
    let bytes = std::fs::read(path).expect("the file");
    assert_eq!(bytes[..4], 0x0723_0203_u32.to_le_bytes());
    assert_eq!(bytes.len() % 4, 0);
    let piped = tilewise([&one[..], &["-"]].concat());
    assert_eq!(piped.stdout, bytes);
    let many = tilewise([&one[..], &[path, "--channels", "1", "--length", "1000000"]].concat());
    assert_eq!(many.status.code(), Some(2));
    assert!(
        stderr(&many).contains("--kernel: scan/chunk_reduce, scan/carry, scan/chunk_scan"),
        "{}",
        stderr(&many)
    );
}

#[test]
fn json_goes_to_the_file_that_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("scan.json");
    let path = path.to_str().expect("text");
    for target in ["wgsl", "spirv"] {
        // Of three kernels, which SPIR-V in binary could not hold.
        let line =
            format!("shader linear-scan --channels 1 --length 1000000 --profile mali --target {target}");
        assert!(stdout(format!("{line} --json -o {path}").split_whitespace()).is_empty());
        let written = std::fs::read_to_string(path).expect("the file");
        assert_eq!(written, stdout(format!("{line} --json").split_whitespace()));
        assert_eq!(written, stdout(format!("{line} --json -o -").split_whitespace()));
        assert_eq!(serde_json::from_str::<Value>(&written).expect("JSON")[0]["target"], target);
    }
}

/// As `tilewise shader … | head -1` does.
#[test]
fn a_closed_pipe_is_no_failure() {
    use std::io::Read as _;
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_tilewise"))
        .args(["shader", "attention", "--target", "spirv", "--profile", "mali"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut first = [0; 1];
    let mut pipe = child.stdout.take().expect("a pipe");
    pipe.read_exact(&mut first).expect("a byte");
    drop(pipe);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{:?}: {}", output.status, stderr(&output));
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
}

#[test]
fn nothing_but_words_goes_into_a_pipe() {
    let text = stdout(["plan", "list"]);
    assert!(!text.contains('\u{1b}'), "colours go to terminals alone: {text:?}");
}

#[test]
fn info_tells_what_each_adapter_can_do() {
    if !adapter() {
        return;
    }
    let adapters = json("info");
    let adapters = adapters.as_array().expect("a list");
    assert_eq!(adapters.iter().filter(|a| a["chosen"] == true).count(), 1, "{adapters:?}");
    for adapter in adapters {
        assert!(adapter["caps"]["workgroup_bytes"].as_u64() >= Some(16 << 10), "{adapter}");
        assert_eq!(adapter["features"].as_array().map(Vec::len), Some(4), "{adapter}");
    }
    let name = adapters[0]["name"].as_str().expect("a name");
    let text = stdout(["info"]);
    for word in [name, "workgroup memory", "shader-f16", "subgroups", "timestamps", "cooperative matrices"] {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    let least = json("info --as webgpu-baseline");
    assert_eq!(least[0]["caps"]["workgroup_bytes"], 16 << 10);
}

#[test]
fn this_adapter_is_planned_for() {
    if !adapter() {
        return;
    }
    for op in OPS {
        let here = json(&format!("plan {op}"));
        assert!(here["machine"].as_str().is_some_and(|name| !name.is_empty()), "{here}");
        let least = json(&format!("plan {op} --as webgpu-baseline"));
        assert_eq!(least["caps"]["workgroup_lanes"], 256);
    }
}
