//! Builds the component programs with cargo.
//!
//! Problem: a component is an ordinary Rust program for an ordinary Linux
//! target, but linked without start files and libraries, at fixed addresses,
//! against one kernel's interface. The flags are given here and nowhere else,
//! so that a plain `cargo build` of the workspace is not disturbed, and so
//! that components outside it are built the same way.
//!
//! Invariant: what is returned passed [`check`](crate::image): static, below
//! the image bound, no writable code.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sel4_kernel::{Kernel, PREFIX_VARIABLE, Progress};
use serde_json::Value;

use crate::elf_check::{self, Program};
use crate::programs::{self, Offers};
use crate::{Error, Home, image};

/// The target whose prebuilt `core` and `alloc` are used.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Compiler flags of components.
const FLAGS: &[&str] = &[
    "-Crelocation-model=static",
    "-Cpanic=abort",
    // Names say of which types a generic function is: profiles need that.
    "-Csymbol-mangling-version=v0",
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-nostdlib",
    "-Clink-arg=-static",
    "-Clink-arg=-Wl,--build-id=none",
    "-Clink-arg=-Wl,-z,norelro",
    "-Clink-arg=-Wl,-z,max-page-size=4096",
];

/// The profile `component`, for workspaces that do not define it.
const PROFILE: &[&str] = &[
    "profile.component.inherits='release'",
    "profile.component.opt-level=3",
    "profile.component.lto='fat'",
    "profile.component.codegen-units=1",
    "profile.component.panic='abort'",
    "profile.component.debug='line-tables-only'",
];

/// Feature that components whose library is also tested on the host put their
/// program behind; switched on where a package has it.
pub(crate) const PROGRAM: &str = "program";

/// Where a program's source is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A package of the project's workspace, by name.
    Package(String),
    /// A package anywhere.
    Path {
        /// Its directory, or a directory of its workspace.
        directory: PathBuf,
        /// Its name; without it, the package in that very directory.
        package: Option<String>,
    },
    /// An I/O manager together with servers and drivers that run in its thread.
    Hosting {
        /// The manager.
        host: Box<Self>,
        /// The others, in order of start.
        guests: Vec<Self>,
    },
}

/// A built program.
#[derive(Clone, Debug)]
pub struct Built {
    /// The file that cargo made, with symbols.
    pub path: PathBuf,
    /// What of it is loaded: the file without symbols.
    pub bytes: Vec<u8>,
    /// Its segments.
    pub program: Program,
}

/// Builds `sources` against `kernel` and returns the programs in that order.
/// A source that occurs twice is built once. `features` are switched on beside
/// the usual ones (`PACKAGE/FEATURE`, where the package is a component's or
/// linked into one as a server). Compiler messages are shown on standard error
/// in any case.
///
/// # Errors
/// [`Error::Build`] when cargo fails, having said why; [`Error::Program`] when
/// the result cannot be loaded.
pub fn build(
    sources: &[Source],
    features: &[String],
    kernel: &Kernel,
    home: &Home,
    show_progress: bool,
) -> Result<Vec<Built>, Error> {
    let _lock = lock(&directory(kernel, home))?;
    let packages = packages(sources, home)?;
    let mut distinct: Vec<&Package> = packages.iter().collect();
    distinct.sort();
    distinct.dedup();
    let progress = match show_progress {
        true => Progress::steps(distinct.len() as u64),
        false => Progress::hidden(),
    };
    progress.step("compiling components");
    if let Some(feature) = features
        .iter()
        .find(|f| !distinct.iter().any(|p| p.contains(f)))
    {
        return Err(Error::Build(format!(
            "no program has the feature {feature}"
        )));
    }
    let mut executables = BTreeMap::new();
    let mut workspaces: BTreeMap<&Path, Vec<&Package>> = BTreeMap::new();
    for package in distinct {
        workspaces
            .entry(&package.workspace)
            .or_default()
            .push(package);
    }
    for (workspace, packages) in workspaces {
        let mut command = command(workspace, &packages, kernel, home);
        let features = features.iter();
        let features = features.filter(|f| packages.iter().any(|p| p.contains(f)));
        command.args(features.map(|feature| format!("--features={feature}")));
        executables.extend(run(&mut command, &progress)?);
    }
    packages
        .iter()
        .map(|package| {
            let path = executables.get(&package.manifest).ok_or_else(|| {
                Error::Build(format!(
                    "package {} has no program (src/main.rs)",
                    package.name
                ))
            })?;
            load(path)
        })
        .collect()
}

/// Where cargo builds for a kernel. One directory for each variant: its
/// interface differs, so that sharing one would build everything anew at every
/// change of variant.
fn directory(kernel: &Kernel, home: &Home) -> PathBuf {
    let variant = if kernel.is_debug() {
        "debug"
    } else {
        "release"
    };
    home.workspace.products().join("components").join(variant)
}

/// Keeps other processes from replacing a program between its being built and
/// its being read. Ends with the file.
fn lock(directory: &Path) -> Result<File, Error> {
    std::fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
    let path = directory.join(".ioipc-lock");
    let file = File::create(&path).map_err(Error::io("create", &path))?;
    file.lock().map_err(Error::io("lock", &path))?;
    Ok(file)
}

/// Reads and checks a built program.
fn load(path: &Path) -> Result<Built, Error> {
    let whole = std::fs::read(path).map_err(Error::io("read", path))?;
    let program = elf_check::check(&whole).map_err(|problem| Error::Program {
        path: path.to_path_buf(),
        problem,
    })?;
    Ok(Built {
        path: path.to_path_buf(),
        bytes: image::stripped(&whole, &program),
        program,
    })
}

/// A package to build.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    pub(crate) workspace: PathBuf,
    pub(crate) manifest: PathBuf,
    pub(crate) name: String,
    /// Whether its program, and what it offers, is only built with the feature
    /// [`PROGRAM`].
    pub(crate) gated: bool,
    /// Whether it has a program.
    pub(crate) has_program: bool,
    pub(crate) offers: Offers,
    /// Of a program that was written here: the packages that it uses.
    pub(crate) uses: Vec<String>,
}

impl Package {
    /// Whether `feature` (`PACKAGE/FEATURE`) is one of the package, or of one
    /// that was linked into it here.
    fn contains(&self, feature: &str) -> bool {
        let of = feature.split_once('/').map(|(package, _)| package);
        of.is_some_and(|of| self.name == of || self.uses.iter().any(|used| used == of))
    }
}

/// Asks cargo where the packages of `sources` are, and writes those that are
/// missing.
fn packages(sources: &[Source], home: &Home) -> Result<Vec<Package>, Error> {
    let mut known = Known {
        home,
        members: BTreeMap::new(),
    };
    sources.iter().map(|source| known.program(source)).collect()
}

/// The packages of all workspaces that were asked about.
struct Known<'a> {
    home: &'a Home,
    members: BTreeMap<PathBuf, Vec<Package>>,
}

impl Known<'_> {
    /// The package whose program `source` is.
    fn program(&mut self, source: &Source) -> Result<Package, Error> {
        if let Source::Hosting { host, guests } = source {
            let host = self.package(host)?;
            let guests: Result<Vec<_>, _> = guests.iter().map(|g| self.package(g)).collect();
            return programs::hosting(&host, &guests?, self.home);
        }
        let package = self.package(source)?;
        match !package.has_program && package.offers.is_server() {
            true => programs::standing(&package, self.home),
            false => Ok(package),
        }
    }

    /// The package that `source` names.
    fn package(&mut self, source: &Source) -> Result<Package, Error> {
        let (directory, name) = match source {
            Source::Package(name) => (&self.home.workspace.root, Some(name)),
            Source::Path { directory, package } => (directory, package.as_ref()),
            Source::Hosting { .. } => {
                return Err(Error::Build("a host cannot be a guest".to_owned()));
            }
        };
        let directory = directory
            .canonicalize()
            .map_err(Error::io("find the component at", directory))?;
        if !self.members.contains_key(&directory) {
            self.members.insert(directory.clone(), members(&directory)?);
        }
        let wanted = |package: &&Package| match name {
            Some(name) => package.name == *name,
            None => package.manifest.parent() == Some(directory.as_path()),
        };
        let package = self.members[&directory].iter().find(wanted);
        package.cloned().ok_or_else(|| {
            let place = directory.display();
            Error::Build(match name {
                Some(name) => format!("there is no package {name} in the workspace at {place}"),
                None => format!("{place} is not the directory of a package"),
            })
        })
    }
}

/// The members of the workspace that `directory` belongs to.
fn members(directory: &Path) -> Result<Vec<Package>, Error> {
    let manifest = directory.join("Cargo.toml");
    let output = cargo(directory)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .arg("--manifest-path")
        .arg(&manifest)
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io("run cargo metadata for", &manifest))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata: Value = match serde_json::from_slice(&output.stdout) {
        Ok(metadata) if output.status.success() => metadata,
        _ => {
            return Err(Error::Build(
                String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            ));
        }
    };
    let list = metadata["packages"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    Ok(list
        .iter()
        .map(|package| Package {
            workspace: text(&metadata["workspace_root"]).into(),
            manifest: text(&package["manifest_path"]).into(),
            name: text(&package["name"]),
            gated: package["features"].get(PROGRAM).is_some(),
            has_program: has_program(package),
            offers: Offers::of(package),
            uses: Vec::new(),
        })
        .collect())
}

fn has_program(package: &Value) -> bool {
    let targets = package["targets"].as_array();
    let mut targets = targets.into_iter().flatten();
    targets.any(|target| {
        target["kind"]
            .as_array()
            .is_some_and(|k| k.contains(&"bin".into()))
    })
}

/// The invocation of cargo that builds `packages` of one workspace.
fn command(workspace: &Path, packages: &[&Package], kernel: &Kernel, home: &Home) -> Command {
    let mut command = cargo(workspace);
    command
        .args(["build", "--quiet", "--profile", "component"])
        .args(["--target", TARGET])
        .args(["--message-format", "json-render-diagnostics"])
        .arg("--target-dir")
        .arg(directory(kernel, home))
        .arg("--manifest-path")
        .arg(workspace.join("Cargo.toml"))
        .env(PREFIX_VARIABLE, kernel.prefix())
        .env("CARGO_ENCODED_RUSTFLAGS", flags(home))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for setting in PROFILE {
        command.args(["--config", setting]);
    }
    for package in packages {
        command.args(["--package", &package.name]);
        if package.gated {
            command.arg(format!("--features={}/{PROGRAM}", package.name));
        }
    }
    if std::io::stderr().is_terminal() {
        command.args(["--color", "always"]);
    }
    command
}

/// The compiler flags, in cargo's encoding. Source paths of this machine are
/// kept out of the programs, so that the same sources give the same image.
fn flags(home: &Home) -> OsString {
    let mut flags: OsString = FLAGS.join("\u{1f}").into();
    let mut map = |from: &Path, to: &str| {
        flags.push("\u{1f}--remap-path-prefix=");
        flags.push(from);
        flags.push(format!("={to}"));
    };
    map(&home.workspace.root, "/ioipc");
    if let Some(cargo_home) = cargo_home() {
        map(&cargo_home.join("registry/src"), "/registry");
    }
    flags
}

fn cargo_home() -> Option<PathBuf> {
    let set = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    set.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
}

/// Cargo in `directory`, without what an outer cargo passes to its programs.
fn cargo(directory: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(directory);
    for name in [
        "RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_MAKEFLAGS",
        "MAKEFLAGS",
    ] {
        command.env_remove(name);
    }
    command
}

/// Runs a build; returns the program of each package, by manifest.
fn run(command: &mut Command, progress: &Progress) -> Result<BTreeMap<PathBuf, PathBuf>, Error> {
    let mut child = command.spawn().map_err(Error::io("run", "cargo"))?;
    let errors = child.stderr.take();
    let mut executables = BTreeMap::new();
    let diagnostics = std::thread::scope(|scope| {
        let diagnostics = scope.spawn(move || {
            let mut text = Vec::new();
            // What was read before an error is still worth showing.
            let _ = errors.map(|mut pipe| pipe.read_to_end(&mut text));
            String::from_utf8_lossy(&text).trim_end().to_owned()
        });
        let messages = child.stdout.take().map(BufReader::new);
        for line in messages
            .into_iter()
            .flat_map(BufRead::lines)
            .map_while(Result::ok)
        {
            if let Some((manifest, executable)) = artifact(&line, progress) {
                executables.insert(manifest, executable);
            }
        }
        diagnostics.join().unwrap_or_default()
    });
    let status = child.wait().map_err(Error::io("wait for", "cargo"))?;
    if !diagnostics.is_empty() {
        progress.pause(|| eprintln!("{diagnostics}"));
    }
    if status.success() {
        return Ok(executables);
    }
    Err(Error::Build(format!(
        "cargo could not build the components ({status}); it says why above"
    )))
}

/// Shows what was compiled; returns manifest and program if it is a program.
fn artifact(line: &str, progress: &Progress) -> Option<(PathBuf, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let fresh = message["fresh"].as_bool() == Some(true);
    if let (false, Some(name)) = (fresh, message["target"]["name"].as_str()) {
        progress.detail(&format!("compiled {name}"));
    }
    let executable = message["executable"].as_str()?;
    let manifest = message["manifest_path"].as_str()?;
    progress.advance();
    Some((manifest.into(), executable.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_from_libraries() {
        let progress = Progress::hidden();
        let program = r#"{"reason":"compiler-artifact","manifest_path":"/a/Cargo.toml",
            "target":{"name":"a","kind":["bin"]},"executable":"/t/a","fresh":false}"#;
        let library = program.replace("\"/t/a\"", "null");
        assert_eq!(
            artifact(program, &progress),
            Some(("/a/Cargo.toml".into(), "/t/a".into()))
        );
        assert_eq!(artifact(&library, &progress), None);
        assert_eq!(artifact("warning: something", &progress), None);
    }
}
