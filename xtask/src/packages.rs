//! What the system's package manager can provide, and running it with the rights that it needs.

use anyhow::{Context, Result, bail};

use crate::shell;

/// Something that Rust's own tools cannot provide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Need {
    /// `libvulkan.so.1`, through which programs find the drivers.
    VulkanLoader,
    /// Mesa's lavapipe: a Vulkan driver that runs on the processor.
    SoftwareVulkan,
    /// A Rust compiler together with the sources of its standard library.
    CompilerWithSources,
    /// Node.js with npm.
    Node,
    /// Chromium, with a software adapter of its own.
    Chromium,
    /// Firefox, which uses the system's Vulkan.
    Firefox,
}

/// A package manager: how it is called, and what it calls the things needed here.
struct Manager {
    program: &'static str,
    /// Brings the list of packages up to date, where installing does not do that by itself.
    refresh: Option<&'static str>,
    install: &'static str,
    vulkan_loader: &'static str,
    software_vulkan: &'static str,
    compiler_with_sources: Option<&'static str>,
    node: &'static str,
    chromium: &'static str,
    firefox: &'static str,
}

const MANAGERS: [Manager; 5] = [
    Manager {
        program: "apt-get",
        refresh: Some("update"),
        // Right after boot other programs hold apt's lock for a while.
        install: "-o DPkg::Lock::Timeout=120 install -y --no-install-recommends",
        vulkan_loader: "libvulkan1",
        software_vulkan: "mesa-vulkan-drivers",
        compiler_with_sources: Some("rustc-web rust-web-src"),
        node: "nodejs npm",
        chromium: "chromium",
        firefox: "firefox-esr",
    },
    Manager {
        program: "dnf",
        refresh: None,
        install: "install -y",
        vulkan_loader: "vulkan-loader",
        software_vulkan: "mesa-vulkan-drivers",
        compiler_with_sources: None,
        node: "nodejs npm",
        chromium: "chromium",
        firefox: "firefox",
    },
    Manager {
        program: "zypper",
        refresh: None,
        install: "--non-interactive install",
        vulkan_loader: "libvulkan1",
        software_vulkan: "libvulkan_lvp",
        compiler_with_sources: None,
        node: "nodejs npm",
        chromium: "chromium",
        firefox: "MozillaFirefox",
    },
    Manager {
        program: "apk",
        refresh: None,
        install: "add --no-cache",
        vulkan_loader: "vulkan-loader",
        software_vulkan: "mesa-vulkan-swrast",
        compiler_with_sources: None,
        node: "nodejs npm",
        chromium: "chromium",
        firefox: "firefox-esr",
    },
    // Last, as other systems have a game of this name.
    Manager {
        program: "pacman",
        refresh: None,
        install: "-Sy --needed --noconfirm",
        vulkan_loader: "vulkan-icd-loader",
        software_vulkan: "vulkan-swrast",
        compiler_with_sources: None,
        node: "nodejs npm",
        chromium: "chromium",
        firefox: "firefox",
    },
];

impl Manager {
    /// The one of this system.
    fn find() -> Option<&'static Self> {
        MANAGERS
            .iter()
            .find(|manager| shell::output(&mut shell::command(manager.program, "--version")).is_ok())
    }

    /// The packages for `need`, where there are any.
    fn packages(&self, need: Need) -> Option<&'static str> {
        match need {
            Need::VulkanLoader => Some(self.vulkan_loader),
            Need::SoftwareVulkan => Some(self.software_vulkan),
            Need::CompilerWithSources => self.compiler_with_sources,
            Need::Node => Some(self.node),
            Need::Chromium => Some(self.chromium),
            Need::Firefox => Some(self.firefox),
        }
    }

    /// The command that brings the list of packages up to date.
    fn refresh_line(&self) -> Option<String> {
        Some(format!("{} {}", self.program, self.refresh?))
    }

    /// The command that installs all of `needs`; `None` where one of them cannot be had.
    fn install_line(&self, needs: &[Need]) -> Option<String> {
        let packages: Option<Vec<&str>> = needs.iter().map(|&need| self.packages(need)).collect();
        // Set by `env`, as sudo does not hand variables on. Without it, packages may stop to ask questions.
        let quiet = if self.program == "apt-get" { "env DEBIAN_FRONTEND=noninteractive " } else { "" };
        Some(format!("{quiet}{} {} {}", self.program, self.install, packages?.join(" ")))
    }
}

/// How this process may change the system.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rights {
    Root,
    Sudo,
    None,
}

impl Rights {
    /// Asks the system; never asks anyone for a password.
    fn find() -> Self {
        if shell::answer(&mut shell::command("id", "-u")).as_deref() == Some("0") {
            Self::Root
        } else if shell::answer(&mut shell::command("sudo", "-n true")).is_some() {
            Self::Sudo
        } else {
            Self::None
        }
    }

    /// What goes before a command that needs to be root.
    fn prefix(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Sudo => "sudo -n ",
            Self::None => "sudo ", // typed by a person, who may be asked for a password
        }
    }
}

/// Installs what is needed, showing each command. Without the rights to, the error has the exact commands.
pub fn install(needs: &[Need]) -> Result<()> {
    let manager = Manager::find().with_context(|| unknown_system(needs))?;
    let install = manager.install_line(needs).with_context(|| unknown_package(manager, needs))?;
    let refresh = manager.refresh_line();

    let rights = Rights::find();
    let with_rights = |line: String| format!("{}{line}", rights.prefix());
    let (refresh, install) = (refresh.map(with_rights), with_rights(install));
    if rights == Rights::None {
        bail!("{}", by_hand(refresh, install));
    }
    if let Some(refresh) = refresh {
        refresh_list(&refresh);
    }
    run_line(&install)
}

fn unknown_package(manager: &Manager, needs: &[Need]) -> String {
    format!("{needs:?} is missing, and no {} package for it is known here", manager.program)
}

fn unknown_system(needs: &[Need]) -> String {
    let known = MANAGERS.map(|manager| manager.program).join(", ");
    format!(
        "{needs:?} is missing, and so is every package manager known here ({known}): please install it by hand"
    )
}

fn by_hand(refresh: Option<String>, install: String) -> String {
    let lines: Vec<String> = refresh.into_iter().chain([install]).collect();
    format!(
        "packages are missing, and this user may not install them; first run\n\n    {}\n",
        lines.join("\n    ")
    )
}

/// A failure is only told: one broken source among many causes it, and what is needed may still be there.
fn refresh_list(line: &str) {
    if let Err(error) = run_line(line) {
        println!("going on although the list of packages is not fresh: {error:#}");
    }
}

fn run_line(line: &str) -> Result<()> {
    let (program, arguments) = line.split_once(' ').unwrap_or((line, ""));
    shell::run(&mut shell::command(program, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VULKAN: [Need; 2] = [Need::VulkanLoader, Need::SoftwareVulkan];

    fn manager(program: &str) -> &'static Manager {
        MANAGERS.iter().find(|manager| manager.program == program).unwrap()
    }

    #[test]
    fn every_manager_can_provide_vulkan() {
        let lines: Vec<String> =
            MANAGERS.iter().filter_map(|manager| manager.install_line(&VULKAN)).collect();
        let expected = [
            "env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y \
             --no-install-recommends libvulkan1 mesa-vulkan-drivers",
            "dnf install -y vulkan-loader mesa-vulkan-drivers",
            "zypper --non-interactive install libvulkan1 libvulkan_lvp",
            "apk add --no-cache vulkan-loader mesa-vulkan-swrast",
            "pacman -Sy --needed --noconfirm vulkan-icd-loader vulkan-swrast",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn only_apt_needs_its_list_refreshed() {
        assert_eq!(manager("apt-get").refresh_line().as_deref(), Some("apt-get update"));
        assert_eq!(MANAGERS.iter().filter(|manager| manager.refresh_line().is_some()).count(), 1);
    }

    #[test]
    fn what_a_manager_lacks_is_not_guessed() {
        assert_eq!(manager("dnf").install_line(&[Need::VulkanLoader, Need::CompilerWithSources]), None);
    }

    #[test]
    fn commands_to_run_by_hand_are_exact() {
        let text = by_hand(manager("apt-get").refresh_line(), "apt-get install libvulkan1".to_string());
        assert!(
            text.ends_with("first run\n\n    apt-get update\n    apt-get install libvulkan1\n"),
            "{text}"
        );
    }

    #[test]
    fn sudo_asks_for_a_password_only_when_a_person_types_it() {
        assert_eq!([Rights::Root, Rights::Sudo, Rights::None].map(Rights::prefix), ["", "sudo -n ", "sudo "]);
    }
}
