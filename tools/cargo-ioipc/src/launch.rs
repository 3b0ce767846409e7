//! From a system.toml to a running system.

use std::ffi::OsString;
use std::fs;
use std::io::IsTerminal;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use frame_peer::relay::Conditions;
use sel4_kernel::{Kernel, Progress, Variant, host_packages};

use crate::components::{self, Built, Source};
use crate::image::{self, Image};
use crate::machine::{Accel, Machine, Net};
use crate::plan::{self, Changes, Plan};
use crate::{Address, Error, Home, Placement, Running};

/// Images that no run used for this long are removed.
const KEEP_IMAGES: Duration = Duration::from_secs(24 * 3600);

/// What to boot, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The system description.
    pub system: PathBuf,
    /// Use the release kernel: no debug output, no assertions.
    pub release: bool,
    /// How instructions are executed.
    pub accel: Accel,
    /// What is at the other end of the network device's wire.
    pub net: Net,
    /// The system's address, in place of what its description says.
    pub address: Option<Address>,
    /// The system's gateway, likewise.
    pub gateway: Option<Ipv4Addr>,
    /// The system's name servers, likewise, if any are named.
    pub dns: Vec<Ipv4Addr>,
    /// Where servers and drivers run, in place of what its description says.
    pub placement: Option<Placement>,
    /// File that every frame is recorded in.
    pub pcap: Option<PathBuf>,
    /// What the wire does to frames; nothing if there is none.
    pub wire: Option<Conditions>,
    /// Further arguments for QEMU.
    pub qemu_args: Vec<OsString>,
    /// Features of the project's components to switch on (`PACKAGE/FEATURE`).
    pub features: Vec<String>,
    /// Copy the serial port to standard output.
    pub echo_serial: bool,
    /// Show progress on standard error.
    pub progress: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            system: "system.toml".into(),
            release: false,
            accel: Accel::default(),
            net: Net::default(),
            address: None,
            gateway: None,
            dns: Vec::new(),
            placement: None,
            pcap: None,
            wire: None,
            qemu_args: Vec::new(),
            features: Vec::new(),
            echo_serial: false,
            progress: false,
        }
    }
}

impl Options {
    /// The kernel variant asked for.
    #[must_use]
    pub fn variant(&self) -> Variant {
        if self.release {
            Variant::Release
        } else {
            Variant::Debug
        }
    }

    fn show(&self) -> Progress {
        if self.progress {
            Progress::spinner()
        } else {
            Progress::hidden()
        }
    }
}

/// A system that is built and can be booted, as often as wanted.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What the description says.
    pub plan: Plan,
    /// The kernel.
    pub kernel: Kernel,
    /// The root task's program.
    pub root_task: Built,
    /// The components' programs, as numbered by the description.
    pub programs: Vec<Built>,
    /// The image.
    pub image: Image,
    /// The file it is in.
    pub file: PathBuf,
    machine: Machine,
    echo_serial: bool,
}

/// Boots a system: [`prepare`] and [`Prepared::boot`].
///
/// # Errors
/// Those of both.
pub fn launch(options: &Options) -> Result<Running, Error> {
    prepare(options)?.boot()
}

/// Builds kernel, components and image.
///
/// # Errors
/// Mistakes in the description, failed builds, or missing programs on this
/// machine.
pub fn prepare(options: &Options) -> Result<Prepared, Error> {
    let home = Home::find()?;
    let changes = Changes {
        address: options.address,
        gateway: options.gateway,
        dns: options.dns.clone(),
        placement: options.placement,
    };
    let plan = plan::load_with(&options.system, changes)?;
    let wire_notes = plan.wire_notes(&options.net);
    if options.progress {
        eprint!(
            "{}",
            plan.system.warnings.render(std::io::stderr().is_terminal())
        );
        let notes = plan.notes.iter().chain(&wire_notes);
        notes.for_each(|note| eprintln!("note: {note}"));
    }
    plan.check_wire(&options.system, &options.net)?;
    let progress = options.show();
    let logs = home.workspace.products();
    let needs = sel4_kernel::needs(options.variant(), &home.workspace);
    let wire = match options.net {
        Net::Passt => host_packages::PASST,
        _ => &[],
    };
    let needs = [host_packages::EMULATOR, wire, needs].concat();
    host_packages::ensure(&needs, &logs, &progress)?;
    let kernel = sel4_kernel::ensure(options.variant(), &home.workspace, &progress)?;
    drop(progress);
    let mut sources = vec![Source::Package("root-task".to_owned())];
    sources.extend(plan.programs.iter().cloned());
    let mut programs = components::build(
        &sources,
        &options.features,
        &kernel,
        &home,
        options.progress,
    )?;
    let root_task = programs.remove(0);
    let bytes: Vec<Vec<u8>> = programs.iter().map(|built| built.bytes.clone()).collect();
    let image = image::build(&root_task.bytes, &plan.encoded, &bytes)?;
    let file = store(&image, &plan.name, &kernel, &home)?;
    Ok(Prepared {
        machine: Machine {
            memory_mib: plan.memory_mib,
            accel: options.accel,
            net: match plan.mac {
                Some(_) => options.net.clone(),
                None => Net::None,
            },
            mac: plan.mac.unwrap_or_default(),
            address: plan.address,
            subnet: plan.subnet,
            socket: None,
            forwards: plan.forwards.clone(),
            pcap: options.pcap.clone(),
            wire: options.wire,
            extra: options.qemu_args.clone(),
        },
        plan,
        kernel,
        root_task,
        programs,
        image,
        file,
        echo_serial: options.echo_serial,
    })
}

impl Prepared {
    /// Boots the system in a new emulator.
    ///
    /// # Errors
    /// [`Error::Io`] when the emulator does not start.
    pub fn boot(&self) -> Result<Running, Error> {
        let kernel = self.kernel.boot_elf();
        Running::start(&self.machine, kernel, &self.file, self.echo_serial)
    }

    /// The machine it boots on, to be changed before booting.
    pub fn machine_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }
}

/// Writes the image under a name that holds its hash, so that concurrent runs
/// of different systems never load each other's, and removes stale ones.
fn store(image: &Image, name: &str, kernel: &Kernel, home: &Home) -> Result<PathBuf, Error> {
    let directory = home.workspace.products().join("image");
    fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
    remove_stale(&directory);
    let variant = if kernel.is_debug() {
        "debug"
    } else {
        "release"
    };
    let digest = system_description::payload::hash(&image.bytes);
    let digest: String = digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let file = directory.join(format!("{name}-{variant}-{digest}.elf"));
    write_atomically(&file, &image.bytes)?;
    Ok(file)
}

/// Removes images that were not written lately. Failing to is no error.
fn remove_stale(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let age = entry
            .metadata()
            .and_then(|meta| meta.modified())
            .map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
        if age.is_ok_and(|age| age > KEEP_IMAGES) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Replaces a file in one step: readers see the old or the new content.
pub(crate) fn write_atomically(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    use std::io::Write;
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut scratch =
        tempfile::NamedTempFile::new_in(directory).map_err(Error::io("write", file))?;
    scratch.write_all(bytes).map_err(Error::io("write", file))?;
    let written = scratch.persist(file);
    written.map_err(|error| Error::io("write", file)(error.error))?;
    Ok(())
}
