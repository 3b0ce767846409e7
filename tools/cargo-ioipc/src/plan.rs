//! What the host tool needs of a system description.

use std::path::Path;

use crate::Error;
use crate::components::Source;
use crate::machine::Forward;

/// A validated system, reduced to what building and booting it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The system's name.
    pub name: String,
    /// The programs, as the description numbers them.
    pub programs: Vec<Source>,
    /// The encoded description, for the payload.
    pub encoded: Vec<u8>,
    /// Memory of the machine in MiB.
    pub memory_mib: u32,
    /// Hardware address of the network device.
    pub mac: [u8; 6],
    /// Ports that lead into the system.
    pub forwards: Vec<Forward>,
}

/// Reads, checks and reduces a system description.
///
/// # Errors
/// [`Error::System`] with every mistake in it.
pub fn load(path: &Path) -> Result<Plan, Error> {
    Err(Error::System(path.display().to_string()))
}
