//! `tilewise plan`: how an operation would run, and why.

use std::fmt::Write as _;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde::Serialize;
use tilewise::caps::{self, PROFILES, Profile};
use tilewise::plan::Footprint;
use tilewise::{Bytes, Caps};

use crate::args::Global;
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::table::{Cell, Column, Table};
use tilewise_named::adapter::Adapter;
use tilewise_named::ops::{Planned, SizedOp, names};

/// How an operation would run here or on another machine, and which limit bounds it
///
/// With --profile no GPU is needed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tilewise plan attention --causal --head-dim 128
  tilewise plan attention --profile webgpu-baseline --dtype f32 --q-len 1 --k-len 4096
  tilewise plan monarch --w1 8,192,96 --w2 24,16,64 --profile apple-m1
  tilewise plan list")]
pub struct Plan {
    #[command(flatten)]
    machine: Machine,
    #[command(subcommand)]
    op: Option<PlanOp>,
}

/// What to plan, or to write the shaders of.
#[allow(clippy::large_enum_variant, reason = "there is one of it, for as long as a command runs")]
#[derive(Debug, Subcommand)]
pub enum PlanOp {
    #[command(flatten)]
    Op(SizedOp),
    /// List the profiles
    List,
}

/// The machine to plan for.
#[derive(Debug, Args)]
pub struct Machine {
    /// Plan for this class of machines instead of this machine's adapter; `list` lists them
    #[arg(long, global = true, hide_possible_values = true, value_parser = choice_parser())]
    profile: Option<Choice>,
}

#[derive(Clone, Copy, Debug)]
enum Choice {
    List,
    Named(&'static Profile),
}

fn choice_parser() -> impl TypedValueParser<Value = Choice> {
    let names = PROFILES.iter().map(|profile| PossibleValue::new(profile.name));
    PossibleValuesParser::new(names.chain([PossibleValue::new("list")])).try_map(|name| {
        let named = caps::profile(&name).map(Choice::Named);
        named
            .or((name == "list").then_some(Choice::List))
            .ok_or_else(|| format!("there is no profile {name}"))
    })
}

impl Machine {
    /// Whether the profiles are to be listed instead.
    pub fn lists(&self) -> bool {
        matches!(self.profile, Some(Choice::List))
    }

    /// A plan for a profile compiles nothing that could be checked.
    fn expect_no_shader_checks(&self, global: &Global) -> Result<(), Failure> {
        if self.profile.is_none() || !global.shader_checks {
            return Ok(());
        }
        Err(Failure::Input(
            "plan --profile and --shader-checks exclude each other: no shader is compiled; `tilewise shader` writes \
             one with its checks"
                .to_owned(),
        ))
    }

    /// The machine's name and capabilities. Opens the adapter only if no profile is named, and refuses options that
    /// say something about an adapter if one is.
    pub fn caps(&self, global: &Global) -> Result<(String, Caps), Failure> {
        if let Some(Choice::Named(Profile { name, about, caps })) = self.profile {
            let options = [("--adapter", global.adapter.is_some()), ("--as", global.ceiling.is_some())];
            if let Some((option, _)) = options.into_iter().find(|(_, given)| *given) {
                return Err(Failure::Input(format!(
                    "--profile {name} and {option} exclude each other: with a profile no adapter is opened"
                )));
            }
            return Ok((format!("{name} ({about})"), (*caps).clone()));
        }
        let gpu = global.open()?;
        Ok((Adapter::of(&gpu).name, gpu.caps().clone()))
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    machine: &'a str,
    caps: &'a Caps,
    op: &'static str,
    spec: serde_json::Value,
    plans: &'a [Planned],
}

impl Plan {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let op = match self.op {
            _ if self.machine.lists() => return list_profiles(global),
            Some(PlanOp::List) => return list_profiles(global),
            Some(PlanOp::Op(op)) => op,
            None => return Err(nothing_named("plan what?")),
        };
        let operation = op.operation()?;
        self.machine.expect_no_shader_checks(global)?;
        let (machine, caps) = self.machine.caps(global)?;
        let plans = operation.plans(&caps)?;
        if global.json {
            let (op, spec) = (op.name(), operation.fields());
            return print_json(&Report { machine: &machine, caps: &caps, op, spec, plans: &plans });
        }
        let mut text = format!("{operation}\non {machine}\n");
        if let Some(note) = operation.note() {
            let _ = writeln!(text, "{note}");
        }
        for Planned { pass, explanation, kernels, .. } in &plans {
            let _ = write!(text, "\n{pass}: {explanation}\n\n{}", footprints(kernels, &caps));
        }
        print(&text)
    }
}

/// The refusal of a line that names no operation.
pub fn nothing_named(question: &str) -> Failure {
    Failure::Input(format!("{question} Name an operation: {} (or list, for the profiles)", names()))
}

/// What each kernel takes of what the machine has.
fn footprints(kernels: &[Footprint], caps: &Caps) -> Table {
    let mut table = Table::new(&[
        Column::Left("kernel"),
        Column::Right("lanes"),
        Column::Right("workgroup memory"),
        Column::Right("storage buffers"),
    ]);
    for kernel in kernels {
        let cell = |takes: String, has: String, fits: bool| {
            let text = format!("{takes} of {has}");
            if fits { Cell::from(text) } else { Cell::bad(text) }
        };
        let bytes = |bytes: u32| Bytes(bytes.into()).to_string();
        table.row([
            kernel.kernel.into(),
            cell(
                kernel.lanes.to_string(),
                caps.workgroup_lanes.to_string(),
                kernel.lanes <= caps.workgroup_lanes,
            ),
            cell(
                bytes(kernel.workgroup_bytes),
                bytes(caps.workgroup_bytes),
                kernel.workgroup_bytes <= caps.workgroup_bytes,
            ),
            cell(
                kernel.storage_buffers.to_string(),
                caps.storage_buffers.to_string(),
                kernel.storage_buffers <= caps.storage_buffers,
            ),
        ]);
    }
    table
}

/// One profile, for `--json`.
#[derive(Debug, Serialize)]
struct Listed {
    name: &'static str,
    about: &'static str,
    caps: &'static Caps,
}

/// Prints the named profiles.
pub fn list_profiles(global: &Global) -> Result<(), Failure> {
    if global.json {
        let listed = |&Profile { name, about, caps }: &_| Listed { name, about, caps };
        return print_json(&PROFILES.iter().map(listed).collect::<Vec<_>>());
    }
    let mut table = Table::new(&[
        Column::Left("profile"),
        Column::Right("workgroup memory"),
        Column::Right("lanes"),
        Column::Right("buffers"),
        Column::Right("binding"),
        Column::Right("subgroups"),
        Column::Left("f16"),
        Column::Left("stands for"),
    ]);
    for profile in PROFILES {
        let caps = profile.caps;
        let mut subgroups = String::new();
        if let Some(sizes) = caps.subgroups {
            let _ = write!(subgroups, "{}", sizes.min);
            if sizes.max != sizes.min {
                let _ = write!(subgroups, "-{}", sizes.max);
            }
        }
        table.row([
            profile.name.into(),
            Bytes(caps.workgroup_bytes.into()).into(),
            caps.workgroup_lanes.into(),
            caps.storage_buffers.into(),
            Bytes(caps.binding_bytes).into(),
            subgroups.into(),
            if caps.f16 { "yes" } else { "no" }.into(),
            profile.about.into(),
        ]);
    }
    print(&table.to_string())
}
