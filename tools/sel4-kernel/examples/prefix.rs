//! Prints the prefix of the kernel to build components against:
//! `export SEL4_PREFIX=$(cargo run -p sel4-kernel --example prefix -- debug TARGET_DIR)`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sel4_kernel::{Progress, Variant, Workspace, ensure};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let variant = match arguments.next().as_deref() {
        Some("release") => Variant::Release,
        _ => Variant::Debug,
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = arguments
        .next()
        .map_or_else(|| root.join("target"), PathBuf::from);
    match ensure(variant, &Workspace { root, target }, &Progress::spinner()) {
        Ok(kernel) => {
            println!("{}", kernel.prefix().display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
