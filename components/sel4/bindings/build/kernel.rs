//! What is known of each kernel version, and reading one kernel with it.
//!
//! Everything that depends on the version is in [`layout`]: where the interface
//! files lie, in which order labels are numbered, how types travel. To add a
//! version, add a [`Layout`] there and the version to `prefix::SUPPORTED`.

use crate::{
    bitfield::Bitfields,
    cexpr::Scope,
    cheader::{self, Struct},
    error::Error,
    interface::{self, Method, Types},
    prefix::Prefix,
    syscalls,
    text::preprocess,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where a kernel version keeps its interface, and how its types travel.
struct Layout {
    /// The configuration header, wherever the kernel was installed from.
    config: &'static [&'static str],
    /// Headers in the order in which their constants build on each other.
    headers: &'static [&'static str],
    /// Bit field files, and directories of such.
    bitfields: &'static [&'static str],
    /// Interface files in the order in which labels are numbered.
    interfaces: &'static [&'static str],
    /// The list of system calls.
    syscalls: &'static [&'static str],
    /// How parameter types travel.
    types: Types<'static>,
    /// Configuration that must be on.
    needs: &'static [&'static str],
    /// Configuration that must be off.
    forbids: &'static [&'static str],
}

/// The layout of `version`, which is one of `prefix::SUPPORTED`.
fn layout(version: &str) -> Option<&'static Layout> {
    (version == "5.0.0").then_some(&V5)
}

/// 5.0.0: the source tree's own `libsel4`, copied beside the kernel.
static V5: Layout = Layout {
    config: &["libsel4/autoconf.h", "libsel4/include/autoconf.h"],
    headers: &[
        "libsel4/sel4_arch_include/x86_64/sel4/sel4_arch/constants.h",
        "libsel4/sel4_arch_include/x86_64/sel4/sel4_arch/types.h",
        "libsel4/include/sel4/errors.h",
        "libsel4/include/sel4/constants.h",
        "libsel4/include/sel4/types.h",
        "libsel4/include/sel4/objecttype.h",
        "libsel4/sel4_arch_include/x86_64/sel4/sel4_arch/objecttype.h",
        "libsel4/arch_include/x86/sel4/arch/objecttype.h",
        "libsel4/arch_include/x86/sel4/arch/constants.h",
        "libsel4/arch_include/x86/sel4/arch/types.h",
        "libsel4/include/sel4/shared_types.h",
        "libsel4/include/sel4/bootinfo_types.h",
    ],
    bitfields: &[
        "libsel4/include/sel4/shared_types_64.bf",
        "libsel4/include/sel4/types_64.bf",
        "libsel4/sel4_arch_include/x86_64/sel4/sel4_arch/types.bf",
        "libsel4/arch_include/x86/sel4/arch/shared_types.bf",
        "kernel-bitfields",
    ],
    interfaces: &[
        "libsel4/include/interfaces/sel4.xml",
        "libsel4/sel4_arch_include/x86_64/interfaces/sel4arch.xml",
        "libsel4/arch_include/x86/interfaces/sel4arch.xml",
    ],
    syscalls: &["api/syscall.xml", "libsel4/include/api/syscall.xml"],
    types: Types {
        caps: &[
            "seL4_CPtr",
            "seL4_CNode",
            "seL4_IRQHandler",
            "seL4_IRQControl",
            "seL4_TCB",
            "seL4_Untyped",
            "seL4_DomainSet",
            "seL4_X64_PML4",
            "seL4_X86_IOSpace",
        ],
        words: &[
            "seL4_CapData_t",
            "seL4_PrioProps_t",
            "seL4_CapRights_t",
            "seL4_X86_VMAttributes",
        ],
        structs: &[("seL4_UserContext", 19)],
    },
    needs: &[
        "CONFIG_ARCH_X86_64",
        "CONFIG_SYSCALL",
        "CONFIG_FSGSBASE_INST",
    ],
    forbids: &["CONFIG_VTX", "CONFIG_HARDWARE_DEBUG_API"],
};

/// Everything that the bindings are made from.
pub struct Kernel {
    /// The version.
    pub version: String,
    /// Files that were read.
    pub files: Vec<PathBuf>,
    /// Configuration and interface constants by name.
    pub constants: Scope,
    /// Structures of the headers.
    pub structs: Vec<Struct>,
    /// Simple typedefs, new name first.
    pub typedefs: Vec<(String, String)>,
    /// Bit field blocks and tagged unions.
    pub bitfields: Bitfields,
    /// Invocations in order of their labels.
    pub methods: Vec<Method>,
    /// System calls with their numbers.
    pub syscalls: Vec<(String, i64)>,
    /// Whether it is a debug build.
    pub debug: bool,
}

/// Reads the kernel's interface.
pub fn read(prefix: &Prefix) -> Result<Kernel, Error> {
    let layout = layout(&prefix.version).ok_or_else(|| Error::Missing {
        what: format!("a layout for {}", prefix.version),
    })?;
    let mut files = vec![prefix.root.join("version"), prefix.root.join("debug")];
    let mut load = |path: PathBuf| -> Result<(PathBuf, String), Error> {
        let text = fs::read_to_string(&path).map_err(|cause| Error::Io {
            path: path.clone(),
            cause,
        })?;
        files.push(path.clone());
        Ok((path, text))
    };

    let mut config = Scope::default();
    let (_, text) = load(prefix.find(layout.config)?)?;
    preprocess(&text, &mut config);
    let debug = check_config(prefix, layout, &mut config)?;

    let mut constants = config.clone();
    let (mut structs, mut typedefs) = (Vec::new(), Vec::new());
    for header in layout.headers {
        let (_, text) = load(prefix.root.join(header))?;
        let plain = preprocess(&text, &mut constants);
        cheader::enums(&plain, &mut constants);
        structs.extend(cheader::structs(&plain, &constants));
        typedefs.extend(cheader::typedefs(&plain));
    }
    let mut bitfields = Bitfields::default();
    for path in files_of(prefix, layout.bitfields)? {
        let (path, text) = load(path)?;
        bitfields.parse(&path, &preprocess(&text, &mut config.clone()))?;
    }
    let mut methods = Vec::new();
    for file in layout.interfaces {
        let (path, text) = load(prefix.root.join(file))?;
        interface::read(&path, &text, &config, &layout.types, &mut methods)?;
    }
    let (path, text) = load(prefix.find(layout.syscalls)?)?;
    Ok(Kernel {
        version: prefix.version.clone(),
        syscalls: syscalls::numbers(&path, &text, &config)?,
        files,
        constants,
        structs,
        typedefs,
        bitfields,
        methods,
        debug,
    })
}

/// Checks what the bindings rely on; returns whether it is a debug kernel.
///
/// The `debug` file, where there is one, says how the kernel was built: the
/// makefile of 5.0.0 can turn debugging on behind the configuration's back.
fn check_config(prefix: &Prefix, layout: &Layout, config: &mut Scope) -> Result<bool, Error> {
    let unsupported = |what: String| Error::UnsupportedConfig {
        prefix: prefix.root.clone(),
        what,
    };
    if let Some(name) = layout.needs.iter().find(|name| !config.is_defined(name)) {
        return Err(unsupported(format!("{name} is needed")));
    }
    if let Some(name) = layout.forbids.iter().find(|name| config.is_defined(name)) {
        return Err(unsupported(format!("{name} is not covered")));
    }
    let configured = config.is_defined("CONFIG_DEBUG_BUILD");
    let stated = fs::read_to_string(prefix.root.join("debug")).ok();
    match stated.as_deref().map(str::trim) {
        Some("0") if configured => Err(unsupported(
            "the file `debug` says 0, but the configuration has CONFIG_DEBUG_BUILD".to_owned(),
        )),
        Some("1") => {
            config.define("CONFIG_DEBUG_BUILD", Some(1));
            Ok(true)
        }
        _ => Ok(configured),
    }
}

/// The files of `paths`, directories replaced by the `*.bf` files in them.
fn files_of(prefix: &Prefix, paths: &[&str]) -> Result<Vec<PathBuf>, Error> {
    let mut out = Vec::new();
    for path in paths {
        collect(&prefix.root.join(path), &mut out)?;
    }
    Ok(out)
}

fn collect(path: &Path, out: &mut Vec<PathBuf>) -> Result<(), Error> {
    if !path.is_dir() {
        out.push(path.to_owned());
        return Ok(());
    }
    let failed = |cause| Error::Io {
        path: path.to_owned(),
        cause,
    };
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        entries.push(entry.map_err(failed)?.path());
    }
    entries.sort();
    for entry in entries {
        if entry.is_dir() || entry.extension().is_some_and(|ext| ext == "bf") {
            collect(&entry, out)?;
        }
    }
    Ok(())
}
