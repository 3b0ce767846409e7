//! Where the project's own sources are, and where build products go.
//!
//! Problem: the command also serves systems outside this repository, and is
//! installed with `cargo install --path`; the root task and the components of
//! the project are then still built from their sources. Their place is the one
//! this program was compiled from, unless `IOIPC_HOME` says otherwise.

use std::path::PathBuf;

use sel4_kernel::Workspace;

use crate::Error;

/// Environment variable that names the project's workspace.
const HOME_VARIABLE: &str = "IOIPC_HOME";

/// The project's workspace and its build directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Sources and products.
    pub workspace: Workspace,
}

impl Home {
    /// Finds the workspace: `IOIPC_HOME`, or where this program came from.
    /// Products go to `CARGO_TARGET_DIR`, or `target` in the workspace.
    ///
    /// # Errors
    /// When there is no workspace at that place.
    pub fn find() -> Result<Self, Error> {
        let root = match std::env::var_os(HOME_VARIABLE) {
            Some(path) if !path.is_empty() => PathBuf::from(path),
            _ => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.."),
        };
        let root = root.canonicalize().map_err(Error::io(
            "find the ioipc sources (set IOIPC_HOME) at",
            &root,
        ))?;
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(path) if !path.is_empty() => std::path::absolute(&path)
                .map_err(Error::io("find the target directory", PathBuf::from(&path)))?,
            _ => root.join("target"),
        };
        Ok(Self {
            workspace: Workspace { root, target },
        })
    }
}
