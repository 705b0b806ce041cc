//! Running commands. Each is shown before it runs, so that anyone can repeat it by hand.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The root of the repository, where every command runs.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in a folder of the repository")
}

/// The folder that cargo builds into, in which each profile has a folder of its own.
pub fn target_dir() -> Result<PathBuf> {
    if let Some(set_by_user) = std::env::var_os("CARGO_TARGET_DIR") {
        return Ok(root().join(set_by_user));
    }
    // Cargo's configuration may name it too. This program was built into it, and so tells without reading that.
    let program = std::env::current_exe().context("cannot tell where xtask was built")?;
    let folder = program.parent().and_then(Path::parent);
    Ok(folder.context("xtask does not lie in a target folder")?.to_path_buf())
}

/// The command line `tilewise` as built in a profile's folder, `debug` or `release`.
pub fn tilewise(profile: &str, arguments: &str) -> Result<Command> {
    built(profile, "tilewise", arguments)
}

/// A program of this repository as built in a profile's folder.
pub fn built(profile: &str, program: &str, arguments: &str) -> Result<Command> {
    let name = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    Ok(command(target_dir()?.join(profile).join(name), arguments))
}

/// The cargo that runs this program.
pub fn cargo(arguments: &str) -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), arguments)
}

/// A command in the root of the repository, its arguments separated by blanks.
pub fn command(program: impl AsRef<OsStr>, arguments: &str) -> Command {
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace()).current_dir(root());
    command
}

/// Shows a command and runs it. Anything but success is an error that says how to repeat it.
pub fn run(command: &mut Command) -> Result<()> {
    let status = start(command)?.wait()?;
    judge(command, status)
}

/// Like [`run`], but ends the command when it takes longer than `limit`.
pub fn run_within(limit: Duration, command: &mut Command) -> Result<()> {
    let mut child = start(command)?;
    match wait_within(limit, &mut child)? {
        Some(status) => judge(command, status),
        None => bail!("ended after {} s without a result: {}", limit.as_secs(), describe(command)),
    }
}

/// Runs a command unseen and keeps what it prints. Only a command that cannot be started is an error.
pub fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", describe(command)))
}

/// What a command printed, or `None` where it cannot be started or fails.
pub fn answer(command: &mut Command) -> Option<String> {
    let output = output(command).ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// The command as one types it, with the variables set for it in front.
pub fn describe(command: &Command) -> String {
    let set = |(name, value): (&OsStr, Option<&OsStr>)| Some(format!("{}={}", quote(name), quote(value?)));
    let mut words: Vec<String> = command.get_envs().filter_map(set).collect();
    words.push(quote(typed_name(command.get_program())));
    words.extend(command.get_args().map(quote));
    words.join(" ")
}

fn start(command: &mut Command) -> Result<Child> {
    let line = describe(command);
    println!("$ {line}");
    command.spawn().with_context(|| format!("cannot run {line}"))
}

fn judge(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("{status}; repeat it with: {}", describe(command));
    }
    Ok(())
}

/// Waits for a process; `None` when it had to be ended.
fn wait_within(limit: Duration, child: &mut Child) -> Result<Option<ExitStatus>> {
    let begin = Instant::now();
    while begin.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// Cargo hands down the full path of itself, which nobody types.
fn typed_name(program: &OsStr) -> &OsStr {
    match Path::new(program).file_stem() {
        Some(stem) if stem == "cargo" => stem,
        _ => program,
    }
}

/// Quotes a word where a POSIX shell would need it.
fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,./:@%\\".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_described_as_one_types_it() {
        let mut tests = command("/opt/rust/bin/cargo", "test --test attention");
        tests.env("TILEWISE_FULL", "1").env("RUSTDOCFLAGS", "-D warnings").env_remove("RUSTC").arg("it's");
        let line = r"RUSTDOCFLAGS='-D warnings' TILEWISE_FULL=1 cargo test --test attention 'it'\''s'";
        assert_eq!(describe(&tests), line);
    }

    #[test]
    fn a_failure_says_how_to_repeat_it() {
        let error = run(cargo("no-such-subcommand").stderr(Stdio::null())).unwrap_err().to_string();
        assert!(error.ends_with("; repeat it with: cargo no-such-subcommand"), "{error}");
    }

    #[test]
    fn a_command_that_is_not_there_has_no_answer() {
        assert_eq!(answer(&mut command("no-such-program", "")), None);
    }

    #[test]
    fn a_command_that_succeeds_within_its_limit_is_no_error() {
        run_within(Duration::from_mins(1), &mut cargo("--version")).unwrap();
    }

    #[test]
    fn a_command_past_its_limit_is_ended() {
        let error = run_within(Duration::ZERO, &mut cargo("--version")).unwrap_err().to_string();
        assert_eq!(error, "ended after 0 s without a result: cargo --version");
    }
}
