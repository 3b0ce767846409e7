//! Components that are linked into one program, told apart by their crates.
//!
//! Problem: where a protocol server and a driver run inside the I/O manager,
//! one program is three components. Invariant: a function of such a program
//! counts to the component whose package alone needs the function's crate; what
//! several need, and the standard library, is [`RUNTIME`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::programs::Text;
use super::{RUNTIME, names};
use crate::components::TARGET;
use crate::{Error, Home};

/// Crates by package, a package's own and those that it needs.
type Needs = BTreeMap<String, BTreeSet<String>>;

/// Names the component of each function in programs of several components.
pub(super) fn divide(texts: &mut [Text], home: &Home) -> Result<(), Error> {
    let mut needs = None;
    for text in texts {
        let crates: BTreeSet<String> = text
            .functions
            .iter()
            .filter_map(|function| names::crate_of(&function.name))
            .map(str::to_owned)
            .collect();
        let packages = match &needs {
            Some(needs) => needs,
            None => needs.insert(needed(&metadata(home)?)),
        };
        let parts: BTreeMap<&str, &BTreeSet<String>> = packages
            .iter()
            .filter(|(package, _)| crates.contains(&crate_name(package)))
            .map(|(package, needs)| (package.as_str(), needs))
            .collect();
        if parts.len() > 1 {
            assign(text, &parts);
        }
    }
    Ok(())
}

/// Assigns the functions of a program to its parts.
fn assign(text: &mut Text, parts: &BTreeMap<&str, &BTreeSet<String>>) {
    for function in &mut text.functions {
        let component = match names::crate_of(&function.name) {
            Some(name) => component(name, parts),
            None => RUNTIME.to_owned(),
        };
        function.component = Some(component);
    }
}

/// The part that a crate is of. A crate that no part needs is a part that is
/// not of this workspace, and goes by its own name.
fn component(name: &str, parts: &BTreeMap<&str, &BTreeSet<String>>) -> String {
    let own = |part: &&&str| crate_name(part) == name;
    if let Some(part) = parts.keys().find(own) {
        return (*part).to_owned();
    }
    let users: Vec<&&str> = parts
        .iter()
        .filter(|(_, needs)| needs.contains(name))
        .map(|(part, _)| part)
        .collect();
    match users[..] {
        [] => name.replace('_', "-"),
        [part] => (*part).to_owned(),
        _ => RUNTIME.to_owned(),
    }
}

fn crate_name(package: &str) -> String {
    package.replace('-', "_")
}

/// What cargo says of the workspace and of what it depends on.
fn metadata(home: &Home) -> Result<Value, Error> {
    let manifest = home.workspace.root.join("Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1"])
        .args(["--filter-platform", TARGET])
        .arg("--manifest-path")
        .arg(&manifest)
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io("run cargo metadata for", &manifest))?;
    match serde_json::from_slice(&output.stdout) {
        Ok(metadata) if output.status.success() => Ok(metadata),
        _ => Err(Error::Build(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )),
    }
}

/// The packages that can be a component, server or driver, and the crates that
/// each needs: those of the workspace with a feature `program`.
fn needed(metadata: &Value) -> Needs {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut direct: HashMap<String, Vec<(String, String)>> = HashMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let at_run_time = |dependency: &Value| {
            let kinds = list(&dependency["dep_kinds"]);
            kinds.iter().any(|kind| kind["kind"].is_null())
        };
        let deps = list(&node["deps"]);
        let deps = deps.iter().filter(|dependency| at_run_time(dependency));
        let deps = deps.map(|dependency| (text(&dependency["name"]), text(&dependency["pkg"])));
        direct.insert(text(&node["id"]), deps.collect());
    }
    list(&metadata["packages"])
        .iter()
        .filter(|package| package["features"].get("program").is_some())
        .map(|package| {
            (
                text(&package["name"]),
                reach(&text(&package["id"]), &direct),
            )
        })
        .collect()
}

/// The crates that a package reaches.
fn reach(package: &str, direct: &HashMap<String, Vec<(String, String)>>) -> BTreeSet<String> {
    let (mut crates, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut open = vec![package.to_owned()];
    while let Some(package) = open.pop() {
        for (name, dependency) in direct.get(&package).into_iter().flatten() {
            crates.insert(name.clone());
            if seen.insert(dependency.clone()) {
                open.push(dependency.clone());
            }
        }
    }
    crates
}

#[cfg(test)]
mod tests {
    use super::super::programs::Function;
    use super::*;

    fn text(functions: &[&str]) -> Text {
        let functions = functions.iter().zip(0..).map(|(name, at)| Function {
            start: at * 16,
            end: at * 16 + 16,
            name: (*name).to_owned(),
            component: None,
        });
        Text {
            component: "io-manager".to_owned(),
            segments: Vec::new(),
            functions: functions.collect(),
        }
    }

    fn components(text: &Text) -> Vec<&str> {
        let at = 0..text.functions.len() as u64;
        at.map(|at| text.function(at * 16).1).collect()
    }

    #[test]
    fn the_projects_own_server_and_driver_are_told_apart() {
        let mut texts = [
            text(&[
                "io_manager::serve",
                "net_server::server::Server::poll",
                "virtio_net_driver::Driver::poll",
                "smoltcp::iface::Interface::poll",
                "shared_ring::Ring::push",
                "core::fmt::write",
                "elsewhere::Server::poll",
            ]),
            text(&["io_manager::serve", "shared_ring::Ring::push"]),
        ];
        divide(&mut texts, &Home::find().unwrap()).unwrap();
        assert_eq!(
            components(&texts[0]),
            [
                "io-manager",
                "net-server",
                "virtio-net-driver",
                "net-server",
                RUNTIME,
                RUNTIME,
                "elsewhere",
            ]
        );
        // Alone in its program, everything is the manager's.
        assert_eq!(components(&texts[1]), ["io-manager", "io-manager"]);
    }
}
