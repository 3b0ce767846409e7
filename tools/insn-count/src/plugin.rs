//! The half that QEMU loads.
//!
//! QEMU calls [`qemu_plugin_install`] once, and then [`on_translate`] for each
//! block it translates; there, additions to mapped words are compiled into the
//! block, so that counting needs no call at run time. Every instruction adds on
//! its own: a block may be left in the middle by a fault.
//!
//! With `profile=`, a thread looks every few milliseconds whether a profile was
//! asked for, and writes it beside the running guest.
//!
//! QEMU's functions are looked up by name when the plugin is installed and not
//! linked against, so that the reader half links into ordinary programs and a
//! QEMU that lacks one is refused with its name.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::counts::{
    ANSWERED, ASKED, FILE_SIZE, HALTS, KERNEL, KERNEL_FLOOR, MAGIC, MAGIC_AT, SYSCALLS, USER,
};
use crate::profile::{BlockCount, CODE, format_profile};

/// QEMU's opaque types.
type PluginId = u64;
type Block = *mut c_void;
type Insn = *mut c_void;
/// Bytes of a page of guest memory.
const PAGE: usize = 4096;
/// How often the plugin looks whether a profile was asked for.
const LOOK: Duration = Duration::from_millis(2);
/// Corresponds to QEMU_PLUGIN_INLINE_ADD_U64.
const INLINE_ADD_U64: c_int = 0;

/// The plugin interface version that this is written for; QEMU looks for it.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "the name is QEMU's")]
pub static qemu_plugin_version: c_int = 1;

/// The functions of QEMU that are used here.
struct Qemu {
    on_translate: unsafe extern "C" fn(PluginId, unsafe extern "C" fn(PluginId, Block)),
    at_exit:
        unsafe extern "C" fn(PluginId, unsafe extern "C" fn(PluginId, *mut c_void), *mut c_void),
    block_len: unsafe extern "C" fn(Block) -> usize,
    block_insn: unsafe extern "C" fn(Block, usize) -> Insn,
    insn_address: unsafe extern "C" fn(Insn) -> u64,
    insn_data: unsafe extern "C" fn(Insn) -> *const u8,
    insn_size: unsafe extern "C" fn(Insn) -> usize,
    insn_memory: unsafe extern "C" fn(Insn) -> *const c_void,
    insn_add: unsafe extern "C" fn(Insn, c_int, *mut c_void, u64),
    block_add: unsafe extern "C" fn(Block, c_int, *mut c_void, u64),
}

/// Looks a function of QEMU up.
///
/// # Safety
/// `F` must be the function pointer type of `name` in QEMU's interface.
unsafe fn lookup<F: Copy>(name: &CStr) -> Result<F, String> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: the name is a C string; the default handle needs no opening.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    if symbol.is_null() {
        return Err(format!("this QEMU has no {name:?}"));
    }
    // SAFETY: not null, the sizes agree, and the type is the caller's promise.
    Ok(unsafe { std::mem::transmute_copy(&symbol) })
}

impl Qemu {
    fn find() -> Result<Self, String> {
        // SAFETY: the fields have the types of QEMU 7.2's plugin header.
        unsafe {
            Ok(Self {
                on_translate: lookup(c"qemu_plugin_register_vcpu_tb_trans_cb")?,
                at_exit: lookup(c"qemu_plugin_register_atexit_cb")?,
                block_len: lookup(c"qemu_plugin_tb_n_insns")?,
                block_insn: lookup(c"qemu_plugin_tb_get_insn")?,
                insn_address: lookup(c"qemu_plugin_insn_vaddr")?,
                insn_data: lookup(c"qemu_plugin_insn_data")?,
                insn_size: lookup(c"qemu_plugin_insn_size")?,
                insn_memory: lookup(c"qemu_plugin_insn_haddr")?,
                insn_add: lookup(c"qemu_plugin_register_vcpu_insn_exec_inline")?,
                block_add: lookup(c"qemu_plugin_register_vcpu_tb_exec_inline")?,
            })
        }
    }
}

/// A translated block in the profile, with the word that counts its runs.
struct Profiled {
    start: u64,
    instructions: u64,
    code: Vec<u8>,
    page: Option<u32>,
    executions: &'static AtomicU64,
}

/// The blocks translated so far, and the pages that they were found in.
#[derive(Default)]
struct Blocks {
    list: Vec<Profiled>,
    /// Numbers by the place of the page in QEMU's own memory.
    pages: HashMap<usize, u32>,
}

struct Plugin {
    qemu: Qemu,
    counters: &'static [AtomicU64; FILE_SIZE / 8],
    profile: Option<PathBuf>,
    blocks: Mutex<Blocks>,
}

impl Plugin {
    /// A panic cannot leave the list half changed.
    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static PLUGIN: OnceLock<Plugin> = OnceLock::new();

/// Called by QEMU when it loads the plugin; 0 means success.
///
/// # Safety
/// `argv` must point to `argc` C strings, as QEMU's interface promises.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: PluginId,
    _info: *const c_void,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    let count = usize::try_from(argc).unwrap_or(0);
    let arguments = (0..count).map(|at| {
        // SAFETY: the caller's promise.
        unsafe { CStr::from_ptr(*argv.add(at)) }.to_bytes()
    });
    match install(id, arguments) {
        Ok(()) => 0,
        Err(why) => {
            eprintln!("insn-count: {why}");
            -1
        }
    }
}

fn install<'a>(id: PluginId, arguments: impl Iterator<Item = &'a [u8]>) -> Result<(), String> {
    let (mut file, mut profile) = (PathBuf::from("insn.bin"), None);
    for argument in arguments {
        if let Some(path) = argument.strip_prefix(b"counts=") {
            file = OsStr::from_bytes(path).into();
        } else if let Some(path) = argument.strip_prefix(b"profile=") {
            profile = Some(OsStr::from_bytes(path).into());
        } else {
            return Err(format!(
                "unknown argument {:?}",
                String::from_utf8_lossy(argument)
            ));
        }
    }
    let counters = map(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    // Relaxed throughout: words are independent and each has one writer.
    counters[MAGIC_AT].store(MAGIC, Ordering::Relaxed);
    let plugin = Plugin {
        qemu: Qemu::find()?,
        counters,
        profile,
        blocks: Mutex::default(),
    };
    let plugin = PLUGIN.get_or_init(|| plugin);
    // SAFETY: QEMU's own functions, called while it installs the plugin `id`;
    // the callbacks stay valid since a plugin is never unloaded before exit.
    unsafe {
        (plugin.qemu.on_translate)(id, on_translate);
        if plugin.profile.is_some() {
            (plugin.qemu.at_exit)(id, on_exit, std::ptr::null_mut());
        }
    }
    if plugin.profile.is_some() {
        answer_in_background(plugin).map_err(|e| format!("no thread: {e}"))?;
    }
    Ok(())
}

/// Creates the counter file and maps it for good.
fn map(path: &Path) -> std::io::Result<&'static [AtomicU64; FILE_SIZE / 8]> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.set_len(FILE_SIZE as u64)?;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            FILE_SIZE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: page-aligned, FILE_SIZE bytes long, never unmapped, zero-filled;
    // any bit pattern is an AtomicU64.
    Ok(unsafe { &*base.cast() })
}

/// Compiles the additions into a block.
unsafe extern "C" fn on_translate(_id: PluginId, block: Block) {
    let Some(plugin) = PLUGIN.get() else { return };
    let (qemu, counters) = (&plugin.qemu, plugin.counters);
    let add = |insn: Insn, word: usize| {
        let word = counters[word].as_ptr().cast();
        // SAFETY: `insn` is of this block; the word is mapped for good.
        unsafe { (qemu.insn_add)(insn, INLINE_ADD_U64, word, 1) }
    };
    // SAFETY: QEMU hands out a block that is valid during this call, and `at`
    // stays below its length.
    let insns = || unsafe { (0..(qemu.block_len)(block)).map(|at| (qemu.block_insn)(block, at)) };
    for insn in insns() {
        let (address, code) = inspect(qemu, insn);
        let kernel = address >= KERNEL_FLOOR;
        add(insn, if kernel { KERNEL } else { USER });
        match (kernel, code) {
            // syscall, sysenter
            (false, [0x0f, 0x05 | 0x34]) => add(insn, SYSCALLS),
            // hlt
            (true, [0xf4]) => add(insn, HALTS),
            _ => {}
        }
    }
    if plugin.profile.is_some() {
        let listed: Vec<_> = insns().map(|insn| inspect(qemu, insn)).collect();
        let memory = insns().next().map_or(0, |insn| {
            // SAFETY: `insn` is of this block.
            unsafe { (qemu.insn_memory)(insn) }.addr()
        });
        let executions = record(plugin, &listed, memory);
        // SAFETY: as for `insn_add`; the word is leaked, so it stays.
        unsafe { (qemu.block_add)(block, INLINE_ADD_U64, executions.as_ptr().cast(), 1) };
    }
}

/// Address and bytes of an instruction, valid while its block is translated.
fn inspect<'a>(qemu: &Qemu, insn: Insn) -> (u64, &'a [u8]) {
    // SAFETY: `insn` is of the block being translated; QEMU keeps its bytes
    // until the translation ends, and the callers drop them before that.
    unsafe {
        let (data, size) = ((qemu.insn_data)(insn), (qemu.insn_size)(insn));
        let code = if data.is_null() {
            &[]
        } else {
            std::slice::from_raw_parts(data, size)
        };
        ((qemu.insn_address)(insn), code)
    }
}

/// Lists a block whose first instruction QEMU has at `memory` in its own
/// memory, 0 if nowhere; returns the word that counts its runs.
fn record(plugin: &Plugin, insns: &[(u64, &[u8])], memory: usize) -> &'static AtomicU64 {
    let executions: &'static AtomicU64 = Box::leak(Box::default());
    let code = insns
        .iter()
        .flat_map(|(_, code)| code.iter().copied())
        .take(CODE)
        .collect();
    let mut blocks = plugin.blocks();
    let next = blocks.pages.len() as u32;
    let page = (memory != 0).then(|| *blocks.pages.entry(memory / PAGE).or_insert(next));
    blocks.list.push(Profiled {
        start: insns.first().map_or(0, |(address, _)| *address),
        instructions: insns.len() as u64,
        code,
        page,
        executions,
    });
    executions
}

/// Writes a profile whenever a reader has asked for one. The thread takes no
/// signals: they are QEMU's.
fn answer_in_background(plugin: &'static Plugin) -> std::io::Result<()> {
    let look = move || {
        block_signals();
        loop {
            // Acquire and Release: who sees the answer sees the file.
            let asked = plugin.counters[ASKED].load(Ordering::Acquire);
            if asked != plugin.counters[ANSWERED].load(Ordering::Relaxed) {
                write_profile(plugin);
                plugin.counters[ANSWERED].store(asked, Ordering::Release);
            }
            std::thread::sleep(LOOK);
        }
    };
    let thread = std::thread::Builder::new().name("insn-count".to_owned());
    thread.spawn(look).map(drop)
}

fn block_signals() {
    // SAFETY: the set is initialised by `sigfillset`, and is this thread's own.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
    }
}

/// Writes the profile when QEMU ends.
unsafe extern "C" fn on_exit(_id: PluginId, _data: *mut c_void) {
    if let Some(plugin) = PLUGIN.get() {
        write_profile(plugin);
    }
}

/// Writes what was executed up to now. The list is held meanwhile, so that the
/// file is one writer's; the guest goes on as far as it is translated.
fn write_profile(plugin: &Plugin) {
    let Some(path) = &plugin.profile else { return };
    let blocks = plugin.blocks();
    let counts = blocks.list.iter().map(|block| BlockCount {
        start: block.start,
        instructions: block.instructions,
        executions: block.executions.load(Ordering::Relaxed),
        code: block.code.clone(),
        page: block.page,
    });
    if let Err(error) = std::fs::write(path, format_profile(counts)) {
        eprintln!("insn-count: {}: {error}", path.display());
    }
}
