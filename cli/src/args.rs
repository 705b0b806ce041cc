//! The command line's grammar: what all commands share, and how a wrong line is refused.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use tilewise::caps::{self, Profile};
use tilewise::verify::Family;
use tilewise::{Gpu, GpuOptions};

use crate::commands::{bench, compare, plan, project, report, run, shader, verify};
use crate::failure::{EXIT_CODES, Failure};
use tilewise_named::ops::OPERATIONS;

/// Hardware-aware machine-learning kernels for every GPU: FlashAttention, Monarch products and chunked scans.
///
/// Without a command it gives a tour: for each family of kernels how it would run on this machine, whether the
/// answer is right, and what fusing gains in time and memory.
#[derive(Debug, Parser)]
#[command(name = "tilewise", version, max_term_width = 110, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Use the adapter whose name contains NAME, in any case; `tilewise info` lists them
    #[arg(long, global = true, value_name = "NAME")]
    pub adapter: Option<String>,
    /// Plan as if the adapter had no more than this profile; `tilewise plan list` lists them
    #[arg(long = "as", global = true, value_name = "PROFILE", hide_possible_values = true, value_parser = profile_parser())]
    pub ceiling: Option<&'static Profile>,
    /// Keep the driver's bounds checks in shaders: slower, and a second opinion on the kernels' own
    #[arg(long, global = true)]
    pub shader_checks: bool,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    pub json: bool,
    /// Log what happens, and print more detail; twice for everything. `RUST_LOG` takes precedence
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Default, Subcommand)]
pub enum Command {
    /// For each family: how it runs here, whether the answer is right, and what fusing gains
    ///
    /// Each family is checked against its oracle on as much of the acceptance grid as a few seconds allow, then
    /// measured beside an unfused version on the same adapter. It takes under two minutes on two processor cores.
    #[default]
    Tour,
    /// Every adapter of this machine, what it can do, and what each feature is used for
    Info,
    Plan(plan::Plan),
    Shader(shader::Shader),
    Verify(verify::Verify),
    Bench(bench::Bench),
    Report(report::Report),
    Compare(compare::Compare),
    Run(run::Run),
    Project(project::Project),
}

impl Global {
    /// Opens the adapter that the options ask for.
    pub fn open(&self) -> Result<Gpu, Failure> {
        let options = GpuOptions {
            adapter: self.adapter.clone(),
            ceiling: self.ceiling.map(|profile| profile.caps.clone()),
            shader_checks: self.shader_checks,
        };
        Ok(pollster::block_on(Gpu::request_with(options))?)
    }

    /// Drivers and wgpu tell much that is of no concern here, so nothing is logged unless it is asked for; what goes
    /// wrong is an error and is reported as one.
    pub fn start_logging(&self) {
        let filter = ["off", "warn,tilewise=debug", "debug,naga=info"][usize::from(self.verbose.min(2))];
        env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(filter)).init();
    }
}

/// Takes the name of a profile; any other is refused with the list of them.
pub fn profile_parser() -> impl TypedValueParser<Value = &'static Profile> {
    let names = caps::PROFILES.iter().map(|profile| PossibleValue::new(profile.name).help(profile.about));
    PossibleValuesParser::new(names)
        .try_map(|name| caps::profile(&name).ok_or_else(|| format!("there is no profile {name}")))
}

/// Takes the name of a family, or of an operation of the family.
pub fn family_parser() -> impl TypedValueParser<Value = Family> {
    let of = |family: Family| OPERATIONS.iter().filter(move |(_, its)| *its == family).map(|(name, _)| *name);
    let named = move |family: Family| PossibleValue::new(family.name()).aliases(of(family));
    PossibleValuesParser::new(Family::ALL.map(named)).try_map(|name| {
        let operation =
            OPERATIONS.iter().find(|(operation, _)| *operation == name).map(|(_, family)| *family);
        let family = Family::ALL.into_iter().find(|family| family.name() == name);
        family.or(operation).ok_or_else(|| format!("there is no family {name}"))
    })
}

/// The families to work on: the one that was named, or all.
pub fn families(named: Option<Family>) -> Vec<Family> {
    named.map_or_else(|| Family::ALL.to_vec(), |family| vec![family])
}

/// Ends the process on a line that clap refused, or that asked for help. An unknown command or operation is
/// answered with the list of those that exist.
pub fn refuse(mut error: clap::Error) -> ! {
    if error.kind() == ErrorKind::InvalidSubcommand
        && let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidSubcommand).cloned()
    {
        let mut command = Cli::command();
        for word in std::env::args().skip(1).take_while(|word| *word != unknown) {
            if let Some(inner) = command.find_subcommand(&word) {
                command = inner.clone();
            }
        }
        let names = command.get_subcommands().map(clap::Command::get_name).filter(|name| *name != "help");
        let choices = format!("there are: {}", names.collect::<Vec<_>>().join(", "));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![choices.into()]));
    }
    error.exit()
}
