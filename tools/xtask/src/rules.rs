//! Rules of the repository that no compiler checks.
//!
//! * Nothing in `components/` depends on anything in `tools/` or `tests/`.
//! * The top level holds what it should and nothing else.
//! * Every file of emulator tests is in exactly one suite.
//! * Every source file opens with `//!`, so that it says what it is for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::suites::{COUNTED, EMULATED};

/// What may stand at the top level.
const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".git",
    ".gitignore",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "components",
    "docs",
    "rust-toolchain.toml",
    "system.toml",
    "target",
    "tests",
    "tools",
];

/// Runs every rule; counts of passed and failed rules.
pub fn check(root: &Path) -> Result<(usize, usize, &'static str)> {
    let findings = [
        components_depend_on_components(root)?,
        top_level(root)?,
        emulator_tests_are_in_a_suite(root)?,
        files_say_what_they_are(root)?,
    ];
    let failed = findings.iter().filter(|f| !f.is_empty()).count();
    for finding in findings.iter().flatten() {
        println!("{finding}");
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    Ok((findings.len() - failed, failed, verdict))
}

fn components_depend_on_components(root: &Path) -> Result<Vec<String>> {
    let metadata = metadata(root)?;
    let packages = metadata["packages"]
        .as_array()
        .context("metadata has no packages")?;
    let folder_of = |p: &Value| -> Option<PathBuf> {
        let manifest = Path::new(p["manifest_path"].as_str()?).parent()?;
        Some(manifest.strip_prefix(root).ok()?.to_path_buf())
    };
    let folders: HashMap<&str, PathBuf> = packages
        .iter()
        .filter_map(|p| Some((p["name"].as_str()?, folder_of(p)?)))
        .collect();
    let mut findings = Vec::new();
    for package in packages {
        let Some(folder) = folder_of(package).filter(|f| f.starts_with("components")) else {
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let is_path = dependency["path"].is_string();
            let target = dependency["name"]
                .as_str()
                .and_then(|name| folders.get(name));
            if let Some(target) = target.filter(|t| is_path && !t.starts_with("components")) {
                findings.push(format!(
                    "{} depends on {}: components depend on components only",
                    folder.display(),
                    target.display()
                ));
            }
        }
    }
    Ok(findings)
}

fn metadata(root: &Path) -> Result<Value> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root)
        .output()?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn top_level(root: &Path) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for entry in root.read_dir()? {
        let name = entry?.file_name();
        if !TOP_LEVEL.iter().any(|known| name == *known) {
            findings.push(format!(
                "{} does not belong at the top level",
                name.display()
            ));
        }
    }
    Ok(findings)
}

fn emulator_tests_are_in_a_suite(root: &Path) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for entry in root.join("tests/tests").read_dir()? {
        let file = entry?.path();
        let name = file.file_stem().context("a file has a name")?;
        let suites = EMULATED.iter().chain(COUNTED).filter(|f| name == **f);
        let suites = suites.count();
        if suites != 1 {
            findings.push(format!(
                "tests/tests/{}.rs is in {suites} suites of tools/xtask/src/suites.rs",
                name.display()
            ));
        }
    }
    Ok(findings)
}

fn files_say_what_they_are(root: &Path) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let mut folders = vec![
        root.join("components"),
        root.join("tools"),
        root.join("tests"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir()? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs")
                && !std::fs::read_to_string(&path)?.starts_with("//!")
            {
                let path = path.strip_prefix(root)?.display().to_string();
                findings.push(format!("{path} does not open with `//!`"));
            }
        }
    }
    Ok(findings)
}
