//! Debian packages that the tools run programs of.
//!
//! Problem: a fresh machine has neither QEMU nor the kernel's build tools.
//! What is missing is found by looking for the programs themselves, so that a
//! hand-installed QEMU counts; root on a Debian system gets them installed,
//! after being told, and everybody else gets one line to paste.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::progress::Progress;
use crate::step;

/// The interpreter that the kernel's generators run with: the system's, since
/// its modules are Debian packages.
pub const PYTHON: &str = "/usr/bin/python3";

/// How the presence of a package is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence {
    /// A program of this name on the `PATH`.
    Program(&'static str),
    /// A file.
    File(&'static str),
    /// A module that the system's Python can import.
    Module(&'static str),
}

/// A Debian package and how its presence is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    package: &'static str,
    evidence: Evidence,
}

const fn program(package: &'static str, name: &'static str) -> Need {
    Need {
        package,
        evidence: Evidence::Program(name),
    }
}

const fn module(package: &'static str, name: &'static str) -> Need {
    Need {
        package,
        evidence: Evidence::Module(name),
    }
}

/// What building the kernel needs.
pub const KERNEL_BUILD: &[Need] = &[
    Need {
        package: "python3",
        evidence: Evidence::File(PYTHON),
    },
    module("python3-six", "six"),
    module("python3-ply", "ply"),
    module("python3-tempita", "tempita"),
    program("libxml2-utils", "xmllint"),
    program("make", "make"),
    program("gcc", "gcc"),
    program("binutils", "objcopy"),
    program("findutils", "find"),
    program("bash", "bash"),
];

/// What running an image needs.
pub const EMULATOR: &[Need] = &[program("qemu-system-x86", "qemu-system-x86_64")];

/// What the wire of the same name needs.
pub const PASST: &[Need] = &[program("passt", "passt")];

/// What making a network namespace with a TAP device needs.
pub const NAMESPACE: &[Need] = &[program("iproute2", "ip")];

/// What looking at a page, as the tests do, needs.
pub const BROWSER: &[Need] = &[program("chromium", "chromium")];

/// Packages that are missing and could not be installed.
#[derive(Debug, PartialEq, Eq)]
pub struct MissingPackages {
    /// Names of the Debian packages.
    pub packages: Vec<&'static str>,
    /// Why they were not installed; empty when that was not tried.
    pub why: String,
}

impl MissingPackages {
    /// The line to paste into a shell.
    #[must_use]
    pub fn command(&self) -> String {
        format!(
            "sudo apt-get update && sudo apt-get install -y --no-install-recommends {}",
            self.packages.join(" ")
        )
    }
}

impl fmt::Display for MissingPackages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.why.is_empty() {
            writeln!(f, "{}", self.why)?;
        }
        write!(
            f,
            "some programs are missing on this machine; install them with\n\n    {}\n",
            self.command()
        )
    }
}

impl core::error::Error for MissingPackages {}

/// Makes the programs of `needs` available, installing Debian packages when
/// running as root and saying so first. `logs` is where apt-get's output goes.
///
/// # Errors
/// Names the packages when they are missing and cannot be installed.
pub fn ensure(needs: &[Need], logs: &Path, progress: &Progress) -> Result<(), MissingPackages> {
    let packages = missing(needs);
    if packages.is_empty() {
        return Ok(());
    }
    let refuse = |why: String| MissingPackages {
        packages: packages.clone(),
        why,
    };
    if !is_root() || find_program("apt-get").is_none() {
        return Err(refuse(String::new()));
    }
    progress.note(&format!(
        "Installing Debian packages that are missing: {}",
        packages.join(" ")
    ));
    install(&packages, logs, progress).map_err(refuse)?;
    let still = missing(needs);
    if still.is_empty() {
        return Ok(());
    }
    Err(MissingPackages {
        packages: still,
        why: "apt-get reported success, yet the programs are not found.".to_owned(),
    })
}

/// Packages of `needs` whose evidence is absent, in order.
#[must_use]
pub fn missing(needs: &[Need]) -> Vec<&'static str> {
    let modules: Vec<&str> = needs
        .iter()
        .filter_map(|need| match need.evidence {
            Evidence::Module(name) => Some(name),
            _ => None,
        })
        .collect();
    let absent = absent_modules(&modules);
    needs
        .iter()
        .filter(|need| match need.evidence {
            Evidence::Program(name) => find_program(name).is_none(),
            Evidence::File(path) => !Path::new(path).exists(),
            Evidence::Module(name) => absent.iter().any(|module| module == name),
        })
        .map(|need| need.package)
        .collect()
}

/// The first executable file of this name on the `PATH`.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|file| {
            std::fs::metadata(file)
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
}

/// Those of `modules` that the system's Python does not find; all of them
/// when there is no such Python.
fn absent_modules(modules: &[&str]) -> Vec<String> {
    if modules.is_empty() {
        return Vec::new();
    }
    let script = "import sys, importlib.util as u\n\
                  print(*[m for m in sys.argv[1:] if u.find_spec(m) is None])";
    let output = Command::new(PYTHON)
        .args(["-I", "-c", script])
        .args(modules)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        _ => modules.iter().map(|&module| module.to_owned()).collect(),
    }
}

fn install(packages: &[&str], logs: &Path, progress: &Progress) -> Result<(), String> {
    let log = logs.join("apt-get.log");
    std::fs::create_dir_all(logs)
        .map_err(|error| format!("cannot create {}: {error}", logs.display()))?;
    progress.step("apt-get update");
    let updated = step::run("apt-get update", apt().arg("update"), &log);
    progress.step("apt-get install");
    let mut command = apt();
    command
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages);
    // Stale lists may still do; if not, the failed update is the reason to tell.
    step::run("apt-get install", &mut command, &log).map_err(|error| match updated {
        Ok(()) => error.to_string(),
        Err(update) => format!("{update}\n{error}"),
    })
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .and_then(|ids| ids.split_whitespace().nth(1))
            .is_some_and(|effective| effective == "0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_by_package() {
        let needs = [
            program("coreutils", "ls"),
            program("no-such-package", "no-such-program-anywhere"),
            module("python3-no-such", "no_such_module_anywhere"),
        ];
        assert_eq!(missing(&needs), ["no-such-package", "python3-no-such"]);
    }

    #[test]
    fn the_error_is_one_line_to_paste() {
        let error = MissingPackages {
            packages: vec!["make", "gcc"],
            why: String::new(),
        };
        assert!(error.to_string().contains(
            "\n    sudo apt-get update && sudo apt-get install -y --no-install-recommends make gcc\n"
        ));
    }
}
