//! Components that are linked into one program, told apart by their crates.
//!
//! Problem: where a protocol server and a driver run inside the I/O manager,
//! one program is three components. Invariant: a function of such a program
//! counts to the component whose package alone needs one of the function's
//! crates; what several need, and the standard library, is [`RUNTIME`].

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
            .flat_map(|function| names::crates(&function.name))
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

/// Assigns the functions of a program to its parts. What is the program's own,
/// or what the compiler made part of it, is its first part's: the host's.
fn assign(text: &mut Text, parts: &BTreeMap<&str, &BTreeSet<String>>) {
    let own = crate_name(&text.component);
    let host = text.component.split("--").next().unwrap_or_default();
    for function in &mut text.functions {
        let crates: Vec<&str> = names::crates(&function.name).collect();
        let component = match crates.first() {
            Some(first) if *first == own => host.to_owned(),
            _ => component(&crates, parts),
        };
        function.component = Some(component);
    }
}

/// The part that a function with these crates is of. Crates that no part needs
/// are those of a part that is not of this workspace, and goes by its own name.
fn component(crates: &[&str], parts: &BTreeMap<&str, &BTreeSet<String>>) -> String {
    let users = |name: &str| -> Vec<&str> {
        if let Some(part) = parts.keys().find(|part| crate_name(part) == name) {
            return vec![part];
        }
        let users = parts.iter().filter(|(_, needs)| needs.contains(name));
        users.map(|(part, _)| *part).collect()
    };
    let of_one = |name: &&str| match users(name)[..] {
        [part] => Some(part.to_owned()),
        _ => None,
    };
    let foreign = |name: &&str| users(name).is_empty().then(|| name.replace('_', "-"));
    let of_part = crates.iter().find_map(of_one);
    let of_other = || crates.first().and_then(foreign);
    of_part.or_else(of_other).unwrap_or(RUNTIME.to_owned())
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
        .args(["--all-features", "--filter-platform", TARGET])
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

    fn text(program: &str, functions: &[&str]) -> Text {
        let functions = functions.iter().zip(0..).map(|(name, at)| Function {
            start: at * 16,
            end: at * 16 + 16,
            name: (*name).to_owned(),
            component: None,
        });
        Text {
            component: program.to_owned(),
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
        let functions = [
            ("io_manager::serve", "io-manager"),
            (
                "io_manager__net_server__virtio_net_driver::main",
                "io-manager",
            ),
            ("net_server::server::Server::poll", "net-server"),
            ("virtio_net_driver::Driver::poll", "virtio-net-driver"),
            ("smoltcp::iface::Interface::poll", "net-server"),
            (
                "<net_server::NetServer as component_runtime::server::Turns>::turn",
                "net-server",
            ),
            (
                "<component_runtime::Slot<virtio_net_driver::Driver>>::turn",
                "virtio-net-driver",
            ),
            ("component_runtime::log::write", RUNTIME),
            ("shared_ring::Ring::push", RUNTIME),
            ("core::fmt::write", RUNTIME),
            ("elsewhere::Server::poll", "elsewhere"),
        ];
        let names = functions.map(|(name, _)| name);
        let mut texts = [
            text("io-manager--net-server--virtio-net-driver", &names),
            text(
                "io-manager",
                &["io_manager::serve", "shared_ring::Ring::push"],
            ),
        ];
        divide(&mut texts, &Home::find().unwrap()).unwrap();
        assert_eq!(
            components(&texts[0]),
            functions.map(|(_, component)| component)
        );
        // Alone in its program, everything is the manager's.
        assert_eq!(components(&texts[1]), ["io-manager", "io-manager"]);
    }
}
