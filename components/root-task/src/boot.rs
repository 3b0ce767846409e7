//! First instruction, stack, heap, payload.
//!
//! Invariant: the lowest page of the stack is unmapped before anything else
//! happens, so that an overflow faults instead of overwriting the heap.

use core::ptr::addr_of;
use core::slice;

use object::LittleEndian;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use sel4::init_thread::Slot;
use sel4::{BootInfoPtr, cap_type};
use system_description::payload::{Payload, PayloadError};

use crate::failure::{Context, Failure};

const PAGE: usize = 4096;
const STACK_BYTES: usize = 64 * PAGE;
/// Enough for the records of all slots and a description of hundreds of
/// kilobytes.
const HEAP_BYTES: usize = 4 << 20;

#[repr(C, align(4096))]
struct Pages<const N: usize>([u8; N]);

static mut STACK: Pages<STACK_BYTES> = Pages([0; STACK_BYTES]);
static mut HEAP: Pages<HEAP_BYTES> = Pages([0; HEAP_BYTES]);

unsafe extern "C" {
    /// The file header of this program, by the linker.
    static __ehdr_start: FileHeader64<LittleEndian>;
}

/// The kernel starts here with the boot information's address in `rdi` and no
/// stack.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    core::arch::naked_asm!(
        "lea rsp, [rip + {stack} + {bytes}]",
        "xor ebp, ebp",
        "call {start}",
        "ud2",
        stack = sym STACK,
        bytes = const STACK_BYTES,
        start = sym start,
    )
}

extern "C" fn start(boot_info: *const sel4::BootInfo) -> ! {
    // SAFETY: this is what the kernel passed, and nobody unmaps it.
    crate::main(unsafe { BootInfoPtr::new(boot_info) })
}

/// Gives the allocator its memory. Call once, before anything allocates.
pub fn set_up_heap() {
    // SAFETY: nothing else refers to `HEAP`; the allocator refuses a second
    // call's reference.
    let memory: &'static mut [u8] = unsafe { &mut *(&raw mut HEAP).cast::<[u8; HEAP_BYTES]>() };
    component_runtime::heap::init_with(memory).ok();
}

/// Unmaps the lowest page of the stack.
///
/// # Errors
/// The kernel's.
pub fn guard_stack(boot_info: &BootInfoPtr) -> Result<(), Failure> {
    let first_page = addr_of!(__ehdr_start).addr() / PAGE;
    let page = (&raw const STACK).addr() / PAGE - first_page;
    let frame = boot_info.user_image_frames().index(page);
    let frame: Slot<cap_type::Granule> = frame;
    frame.cap().frame_unmap().context("guarding the stack")
}

/// The payload that the host tool appended.
///
/// # Errors
/// If there is none, or a damaged one.
pub fn payload() -> Result<Payload<'static>, Failure> {
    let header = addr_of!(__ehdr_start).cast::<u8>();
    // SAFETY: file header and program headers lie at the start of the first
    // segment, in the same page.
    let file = unsafe { slice::from_raw_parts(header, PAGE) };
    let headers = FileHeader64::<LittleEndian>::parse(file)
        .and_then(|h| h.program_headers(LittleEndian, file))
        .map_err(|_| PayloadError::Magic)?;
    let loads = |p: &&_| ProgramHeader::p_type(*p, LittleEndian) == PT_LOAD;
    let last = headers.iter().rfind(loads).ok_or(PayloadError::Magic)?;
    let (start, bytes) = (
        last.p_vaddr.get(LittleEndian),
        last.p_memsz.get(LittleEndian),
    );
    // SAFETY: the kernel loaded that segment, and nothing writes to it: it is
    // either the payload or one of ours, which is then refused for its magic.
    let segment = unsafe { slice::from_raw_parts(start as *const u8, bytes as usize) };
    Payload::new(segment).map_err(Failure::from)
}
