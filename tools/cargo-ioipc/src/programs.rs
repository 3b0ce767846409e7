//! Writes the thin programs around servers that are libraries.
//!
//! Problem: one library is to run as a component of its own or inside an I/O
//! manager, which is a question of what is linked with what; and neither the
//! server's package nor the manager's should know. So a package says in its
//! `[package.metadata.ioipc]` which type is its `server`, or which function is a
//! `host`, and the program that names both is written here, under `target/`.
//!
//! Invariant: a program has the dependencies of the workspace that its server
//! comes from, version for version: it starts from a copy of that lock file. It
//! is written anew each time, so nothing is ever left of another system's.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::components::{PROGRAM, Package};
use crate::launch::write_atomically;
use crate::{Error, Home};

/// What a package says of itself in `[package.metadata.ioipc]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Offers {
    /// The path of a type that implements `component_runtime::server::Server`.
    server: Option<String>,
    /// The path of a function that takes a component and what makes its guests.
    host: Option<String>,
}

impl Offers {
    /// Reads cargo's description of a package.
    pub(crate) fn of(package: &Value) -> Self {
        let said = |key: &str| {
            let text = package["metadata"]["ioipc"][key].as_str();
            text.map(str::to_owned)
        };
        Self {
            server: said("server"),
            host: said("host"),
        }
    }

    /// Whether the package is a server.
    pub(crate) const fn is_server(&self) -> bool {
        self.server.is_some()
    }
}

/// The program in which the server `of` is a component of its own.
pub(crate) fn standing(of: &Package, home: &Home) -> Result<Package, Error> {
    let server = server(of)?;
    let main = format!(
        "//! {} as a component of its own.\n#![no_std]\n#![no_main]\n\ncomponent_runtime::serve!({server});\n",
        of.name
    );
    write(&[of], &main, home)
}

/// The program in which `host` gives turns to `guests`.
pub(crate) fn hosting(host: &Package, guests: &[Package], home: &Home) -> Result<Package, Error> {
    let run = host.offers.host.as_ref().ok_or_else(|| {
        lacks(host, "host", "so nothing can be placed inside it: it is the path of a function like io_manager::program::run")
    })?;
    let mut main = format!(
        "//! {} with guests.\n#![no_std]\n#![no_main]\n\nuse component_runtime::Component;\nuse component_runtime::server::{{Start, start}};\n\nconst GUESTS: &[Start] = &[\n",
        host.name
    );
    for guest in guests {
        // Writing to text does not fail.
        let _ = writeln!(main, "    start::<{}>,", server(guest)?);
    }
    main.push_str("];\n\ncomponent_runtime::entry!(main);\n\n");
    main.push_str("fn main(component: &'static Component) -> ! {\n");
    let _ = writeln!(main, "    {run}(component, GUESTS)\n}}");
    let all: Vec<&Package> = [host].into_iter().chain(guests).collect();
    write(&all, &main, home)
}

fn server(of: &Package) -> Result<&str, Error> {
    let server = of.offers.server.as_deref();
    server.ok_or_else(|| {
        lacks(of, "server", "so it can only run as a component of its own: it is the path of a type that implements component_runtime::server::Server")
    })
}

fn lacks(package: &Package, key: &str, why: &str) -> Error {
    let Package { name, manifest, .. } = package;
    Error::Build(format!(
        "package {name} says no `{key}` under [package.metadata.ioipc] in {}, {why}",
        manifest.display()
    ))
}

/// Writes a package with this `main`, which uses `packages`.
fn write(packages: &[&Package], main: &str, home: &Home) -> Result<Package, Error> {
    let dependencies = dependencies(packages, home);
    let name = name(packages, &dependencies, home);
    let directory = home.workspace.products().join("programs").join(&name);
    let source = directory.join("src");
    fs::create_dir_all(&source).map_err(Error::io("create", &source))?;
    put(&source.join("main.rs"), main.as_bytes())?;
    let mut manifest = format!(
        "# Written by cargo ioipc.\n[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n[workspace]\n\n[dependencies]\n"
    );
    for (package, value) in &dependencies {
        let _ = writeln!(manifest, "{package} = {value}");
    }
    let at = directory.join("Cargo.toml");
    put(&at, manifest.as_bytes())?;
    let lock = lock_file(packages, home);
    let bytes = fs::read(&lock).map_err(Error::io("read", &lock))?;
    put(&directory.join("Cargo.lock"), &bytes)?;
    Ok(Package {
        workspace: directory,
        manifest: at,
        name,
        gated: false,
        has_program: true,
        offers: Offers::default(),
        uses: dependencies.into_keys().collect(),
    })
}

/// What the program depends on: names, and where they are, in TOML.
fn dependencies(packages: &[&Package], home: &Home) -> BTreeMap<String, String> {
    let entry = |directory: &Path, gated: bool| {
        let path = toml::Value::String(directory.display().to_string());
        let features = match gated {
            true => format!(", features = [\"{PROGRAM}\"]"),
            false => String::new(),
        };
        format!("{{ path = {path}{features} }}")
    };
    let runtime = home.workspace.root.join("components/runtime");
    let mut list = BTreeMap::from([("component-runtime".to_owned(), entry(&runtime, false))]);
    for package in packages {
        let directory = package.manifest.parent().unwrap_or(&package.workspace);
        list.insert(package.name.clone(), entry(directory, package.gated));
    }
    list
}

/// A name for the program: those of its parts, and where there may be others of
/// the same names, a word that tells them apart.
fn name(packages: &[&Package], dependencies: &BTreeMap<String, String>, home: &Home) -> String {
    let names: Vec<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    let name = names.join("--");
    if packages.iter().all(|p| p.workspace == home.workspace.root) {
        return name;
    }
    let all: String = dependencies.values().cloned().collect();
    let digest = system_description::payload::hash(all.as_bytes());
    let digest: String = digest[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{name}--{digest}")
}

/// The lock file to start from: that of a package outside the project, if it has
/// one.
fn lock_file(packages: &[&Package], home: &Home) -> PathBuf {
    let own = home.workspace.root.join("Cargo.lock");
    let others = packages.iter().map(|p| p.workspace.join("Cargo.lock"));
    let mut others = others.filter(|lock| *lock != own && lock.is_file());
    others.next().unwrap_or(own)
}

/// Writes a file, unless it is like that already: cargo looks at times.
fn put(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    match fs::read(file) {
        Ok(present) if present == bytes => Ok(()),
        _ => write_atomically(file, bytes),
    }
}
