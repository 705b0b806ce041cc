//! `tilewise shader`: the linked, specialised shaders of a plan.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use serde::Serialize;

use super::plan::{Machine, PlanOp, list_profiles, nothing_named};
use crate::args::Global;
use crate::draft::Draft;
use crate::failure::Failure;
use crate::output::{json, note, print};

/// The linked, specialised shaders of an operation, in the language of your choice
///
/// With --profile no GPU is needed. SPIR-V is binary: it goes to a file with -o, and to standard output as
/// hexadecimal words.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tilewise shader attention --causal --profile webgpu-baseline
  tilewise shader linear-scan --target msl --profile apple-m1 --kernel scan/carry
  tilewise shader linear-scan --target spirv --pass forward --kernel scan/chunk_scan -o scan.spv")]
pub struct Shader {
    /// Language to print
    #[arg(long, value_enum, default_value_t, global = true)]
    target: Target,
    /// Only this pass of the operation, such as forward or backward
    #[arg(long, global = true)]
    pass: Option<String>,
    /// Only this kernel of the plan, such as scan/carry
    #[arg(long, global = true)]
    kernel: Option<String>,
    /// Write to this file instead; - is standard output, in binary for SPIR-V
    #[arg(short, long, global = true, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    machine: Machine,
    #[command(subcommand)]
    op: Option<PlanOp>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Target {
    #[default]
    Wgsl,
    Spirv,
    Msl,
    Hlsl,
}

/// One kernel in the target language.
#[derive(Debug, Serialize)]
struct Translated {
    kernel: &'static str,
    target: Target,
    #[serde(flatten)]
    code: Code,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Code {
    Source(String),
    Words(Vec<u32>),
}

impl Shader {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let op = match &self.op {
            _ if self.machine.lists() => return list_profiles(global),
            Some(PlanOp::List) => return list_profiles(global),
            Some(PlanOp::Op(op)) => op,
            None => return Err(nothing_named("shaders of what?")),
        };
        let operation = op.operation()?;
        let (machine, caps) = self.machine.caps(global)?;
        let mut plans = operation.plans(&caps)?;
        if let Some(pass) = &self.pass {
            let passes: Vec<_> = plans.iter().map(|planned| planned.pass).collect();
            plans.retain(|planned| planned.pass == pass);
            if plans.is_empty() {
                let passes = passes.join(", ");
                return Err(Failure::Input(format!("there is no pass {pass:?}; there are: {passes}")));
            }
        }
        let mut shaders: Vec<_> = plans.into_iter().flat_map(|planned| planned.shaders).collect();
        if let Some(kernel) = &self.kernel {
            let labels: Vec<_> = shaders.iter().map(|shader| shader.label).collect();
            shaders.retain(|shader| shader.label == kernel);
            if shaders.is_empty() {
                let labels = labels.join(", ");
                return Err(Failure::Input(format!("the plan has no kernel {kernel:?}; it has: {labels}")));
            }
        }
        let translated: Vec<_> = shaders
            .iter()
            .map(|shader| translate(shader, self.target, global.shader_checks))
            .collect::<Result<_, _>>()?;
        match &self.output {
            Some(path) if global.json && path != Path::new("-") => {
                Draft::reserve(path)?.write(json(&translated)?.as_bytes())
            }
            _ if global.json => print(&json(&translated)?),
            Some(path) if self.target == Target::Spirv => write_binary(path, &translated),
            Some(path) if path != Path::new("-") => {
                Draft::reserve(path)?.write(text(&translated, &machine).as_bytes())
            }
            _ => {
                if self.target == Target::Spirv {
                    note(
                        "SPIR-V as hexadecimal words, little-endian in a file; -o FILE writes it in binary.",
                    );
                }
                print(&text(&translated, &machine))
            }
        }
    }
}

/// All kernels, each under a header that names it.
fn text(translated: &[Translated], machine: &str) -> String {
    let mut text = String::new();
    for (i, Translated { kernel, code, .. }) in translated.iter().enumerate() {
        let gap = if i > 0 { "\n" } else { "" };
        let _ =
            writeln!(text, "{gap}// ==== {kernel}, {} of {}, for {machine} ====", i + 1, translated.len());
        match code {
            Code::Source(source) => text.push_str(source.trim_end()),
            Code::Words(words) => {
                let line = |words: &[u32]| {
                    words.iter().map(|word| format!("{word:08x}")).collect::<Vec<_>>().join(" ")
                };
                text.push_str(&words.chunks(8).map(line).collect::<Vec<_>>().join("\n"));
            }
        }
        text.push('\n');
    }
    text
}

fn write_binary(path: &Path, translated: &[Translated]) -> Result<(), Failure> {
    let [Translated { code: Code::Words(words), .. }] = translated else {
        let kernels = translated.iter().map(|t| t.kernel).collect::<Vec<_>>().join(", ");
        return Err(Failure::Input(format!(
            "a SPIR-V file holds one kernel, here are {}; choose one with --pass and --kernel: {kernels}",
            translated.len()
        )));
    };
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    if path != Path::new("-") {
        return Draft::reserve(path)?.write(&bytes);
    }
    if io::stdout().is_terminal() {
        return Err(Failure::Input(
            "SPIR-V is binary and standard output is a terminal: give -o FILE".to_owned(),
        ));
    }
    let mut out = io::stdout().lock();
    out.write_all(&bytes)?;
    Ok(out.flush()?)
}

/// Translates with the settings that [`tilewise::Gpu`] compiles with: unchecked unless checks are asked for.
fn translate(shader: &tilewise::shader::Shader, target: Target, checks: bool) -> Result<Translated, Failure> {
    let kernel = shader.label;
    let code = match target {
        Target::Wgsl => Code::Source(shader.source.clone()),
        Target::Spirv => Code::Words(spirv(shader, checks).map_err(|error| bug(kernel, target, &error))?),
        Target::Msl => Code::Source(metal(shader, checks).map_err(|error| bug(kernel, target, &error))?),
        // Nor does any DX12 adapter report matrix units to wgpu.
        Target::Hlsl if shader.source.contains("coop_mat") => {
            return Err(Failure::Input(format!(
                "{kernel} runs on matrix units, which naga does not write in HLSL; plan for a machine without, such as \
                 --profile webgpu-baseline"
            )));
        }
        Target::Hlsl => Code::Source(hlsl(shader, checks).map_err(|error| bug(kernel, target, &error))?),
    };
    Ok(Translated { kernel, target, code })
}

fn bug(kernel: &str, target: Target, error: &str) -> Failure {
    Failure::Check(format!("a bug of tilewise: {kernel} does not translate to {target:?}: {error}"))
}

fn parse(shader: &tilewise::shader::Shader) -> Result<(naga::Module, ModuleInfo), String> {
    let source = &shader.source;
    let module = naga::front::wgsl::parse_str(source).map_err(|error| error.emit_to_string(source))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .map_err(|error| error.emit_to_string(source))?;
    Ok((module, info))
}

fn policies(checks: bool) -> BoundsCheckPolicies {
    let policy = if checks { BoundsCheckPolicy::Restrict } else { BoundsCheckPolicy::Unchecked };
    BoundsCheckPolicies { index: policy, buffer: policy, image_load: policy, binding_array: policy }
}

fn spirv(shader: &tilewise::shader::Shader, checks: bool) -> Result<Vec<u32>, String> {
    let (module, info) = parse(shader)?;
    let zero = if checks {
        spv::ZeroInitializeWorkgroupMemoryMode::Polyfill
    } else {
        spv::ZeroInitializeWorkgroupMemoryMode::None
    };
    let options = spv::Options {
        // The least version in which subgroup operations are core.
        lang_version: (1, 3),
        bounds_check_policies: policies(checks),
        zero_initialize_workgroup_memory: zero,
        force_loop_bounding: checks,
        ..Default::default()
    };
    spv::write_vec(&module, &info, &options, None).map_err(|error| error.to_string())
}

fn metal(shader: &tilewise::shader::Shader, checks: bool) -> Result<String, String> {
    let (module, info) = parse(shader)?;
    let slots = (0..).zip(&shader.bindings).map(|(slot, binding)| {
        let resource = naga::ResourceBinding { group: 0, binding: slot.into() };
        let mutable = binding.access == tilewise::shader::Access::Write;
        (resource, msl::BindTarget { buffer: Some(slot), mutable, ..Default::default() })
    });
    let resources = msl::EntryPointResources {
        resources: slots.collect(),
        immediates_buffer: None,
        // The lengths of the buffers, after the buffers themselves.
        sizes_buffer: u8::try_from(shader.bindings.len()).ok(),
    };
    let options = msl::Options {
        lang_version: (2, 4),
        per_entry_point_map: [("main".to_owned(), resources)].into(),
        fake_missing_bindings: false,
        bounds_check_policies: policies(checks),
        zero_initialize_workgroup_memory: checks,
        force_loop_bounding: checks,
        ..Default::default()
    };
    let pipeline = msl::PipelineOptions::default();
    let written = msl::write_string(&module, &info, &options, &pipeline);
    written.map(|(source, _)| source).map_err(|error| error.to_string())
}

fn hlsl(shader: &tilewise::shader::Shader, checks: bool) -> Result<String, String> {
    let (module, info) = parse(shader)?;
    let options = hlsl::Options {
        // The least model with native 16-bit types.
        shader_model: hlsl::ShaderModel::V6_2,
        // Registers are numbered as the bindings are: classes b, t and u have numbers of their own.
        fake_missing_bindings: true,
        restrict_indexing: checks,
        zero_initialize_workgroup_memory: checks,
        force_loop_bounding: checks,
        ..Default::default()
    };
    let mut source = String::new();
    let pipeline = hlsl::PipelineOptions::default();
    hlsl::Writer::new(&mut source, &options, &pipeline)
        .write(&module, &info, None)
        .map_err(|error| error.to_string())?;
    Ok(source)
}
