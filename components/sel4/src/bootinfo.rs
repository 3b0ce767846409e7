//! What the kernel tells the initial thread about the machine.
//!
//! On kernel 5.0.0 the structure is packed, with descriptors of 12 bytes, so
//! none of its fields can be borrowed. Everything is copied out here.

use crate::{IpcBuffer, cap_type, init_thread::SlotRegion};
use core::{fmt, ops::Deref, ops::Range, ptr, slice};
use sel4_bindings::{
    seL4_BootInfo, seL4_BootInfoHeader, seL4_PageBits, seL4_SlotRegion, seL4_UntypedDesc,
};

/// Corresponds to `seL4_BootInfo`.
#[repr(transparent)]
pub struct BootInfo(seL4_BootInfo);

/// The address at which the kernel put the [`BootInfo`], in rdi when the initial
/// thread starts.
#[derive(Debug, Clone, Copy)]
pub struct BootInfoPtr(*const BootInfo);

impl BootInfoPtr {
    /// Takes the boot information to be at `ptr`.
    ///
    /// # Safety
    /// `ptr` must be what the kernel passed to the initial thread, and the
    /// frames there must stay mapped and unchanged.
    pub const unsafe fn new(ptr: *const BootInfo) -> Self {
        Self(ptr)
    }

    /// The address.
    pub const fn ptr(self) -> *const BootInfo {
        self.0
    }

    /// Bytes that the boot information takes, the additional one included.
    pub fn footprint_size(self) -> usize {
        (1 << seL4_PageBits) + self.extra_len()
    }

    /// The chunks of additional boot information.
    pub fn extra(self) -> BootInfoExtra {
        let start = self.0.cast::<u8>().wrapping_add(1 << seL4_PageBits);
        // SAFETY: the kernel maps that many bytes one page after the start.
        let rest = unsafe { slice::from_raw_parts(start, self.extra_len()) };
        BootInfoExtra { rest }
    }
}

impl Deref for BootInfoPtr {
    type Target = BootInfo;

    fn deref(&self) -> &BootInfo {
        // SAFETY: the promise made to `new`.
        unsafe { &*self.0 }
    }
}

/// Iterates over additional boot information: a chunk's number and contents.
#[derive(Debug, Clone)]
pub struct BootInfoExtra {
    rest: &'static [u8],
}

impl Iterator for BootInfoExtra {
    type Item = (u64, &'static [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        const HEADER: usize = size_of::<seL4_BootInfoHeader>();
        let (header, _) = self.rest.split_at_checked(HEADER)?;
        // SAFETY: the slice is long enough; the structure is packed words.
        let header = unsafe {
            header
                .as_ptr()
                .cast::<seL4_BootInfoHeader>()
                .read_unaligned()
        };
        let length = usize::try_from(header.len).ok()?;
        let (chunk, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some((header.id, chunk.get(HEADER..)?))
    }
}

fn region<T: crate::CapType>(region: seL4_SlotRegion) -> SlotRegion<T> {
    SlotRegion::from_range(region.start as usize..region.end as usize)
}

impl BootInfo {
    /// Bytes of additional boot information.
    pub const fn extra_len(&self) -> usize {
        self.0.extraLen as usize
    }

    /// The initial thread's IPC buffer.
    pub fn ipc_buffer(&self) -> *mut IpcBuffer {
        ptr::with_exposed_provenance_mut(self.0.ipcBuffer as usize)
    }

    /// Slots that are free.
    pub fn empty(&self) -> SlotRegion<cap_type::Null> {
        region(self.0.empty)
    }

    /// Frames of the initial thread's image, in order of address.
    pub fn user_image_frames(&self) -> SlotRegion<cap_type::Granule> {
        region(self.0.userImageFrames)
    }

    /// Page tables of the initial thread's image.
    pub fn user_image_paging(&self) -> SlotRegion<cap_type::Unspecified> {
        region(self.0.userImagePaging)
    }

    /// Frames of the additional boot information.
    pub fn extra_bi_pages(&self) -> SlotRegion<cap_type::Granule> {
        region(self.0.extraBIPages)
    }

    /// The initial thread's CNode has 2^that many slots.
    pub const fn init_thread_cnode_size_bits(&self) -> usize {
        self.0.initThreadCNodeSizeBits as usize
    }

    /// Frequency of the time-stamp counter in MHz, as the kernel measured it.
    pub const fn tsc_mhz(&self) -> u64 {
        self.0.archInfo
    }

    /// Untyped memory, that of devices included.
    pub fn untyped(&self) -> SlotRegion<cap_type::Untyped> {
        region(self.0.untyped)
    }

    /// Describes the untyped memory: entry `i` belongs to slot `i` of
    /// [`Self::untyped`].
    pub fn untyped_list(&self) -> &[UntypedDesc] {
        let list = &raw const self.0.untypedList;
        let capacity = sel4_bindings::CONFIG_MAX_NUM_BOOTINFO_UNTYPED_CAPS as usize;
        let count = self.untyped().len().min(capacity);
        // SAFETY: the list is inside `self`, has at least `count` entries, and
        // they have no alignment.
        unsafe { slice::from_raw_parts(list.cast::<UntypedDesc>(), count) }
    }

    /// Indices of device memory in [`Self::untyped_list`].
    pub fn device_untyped_range(&self) -> Range<usize> {
        range_where(self.untyped_list(), UntypedDesc::is_device)
    }

    /// Indices of ordinary memory in [`Self::untyped_list`].
    pub fn kernel_untyped_range(&self) -> Range<usize> {
        range_where(self.untyped_list(), |desc| !desc.is_device())
    }
}

/// The first run of descriptors with a property.
///
/// Kernel 5.0.0 lists ordinary memory first, newer ones devices.
fn range_where(list: &[UntypedDesc], holds: impl Fn(&UntypedDesc) -> bool) -> Range<usize> {
    let start = list.iter().position(&holds).unwrap_or(list.len());
    let run = list[start..].iter().take_while(|&desc| holds(desc));
    start..start + run.count()
}

impl fmt::Debug for BootInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootInfo")
            .field("ipc_buffer", &self.ipc_buffer())
            .field("empty", &self.empty().range())
            .field("user_image_frames", &self.user_image_frames().range())
            .field("untyped", &self.untyped().range())
            .finish_non_exhaustive()
    }
}

/// Corresponds to `seL4_UntypedDesc`: 12 bytes on kernel 5.0.0.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct UntypedDesc(seL4_UntypedDesc);

impl UntypedDesc {
    /// The physical address.
    pub const fn paddr(&self) -> usize {
        self.0.paddr as usize
    }

    /// There are 2^that many bytes.
    pub const fn size_bits(&self) -> usize {
        self.0.sizeBits as usize
    }

    /// Whether it is a device's; the kernel does not touch its contents.
    pub const fn is_device(&self) -> bool {
        self.0.isDevice != 0
    }
}

impl fmt::Debug for UntypedDesc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_device() { "device" } else { "memory" };
        write!(f, "{kind} {:#x} 2^{}", self.paddr(), self.size_bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desc(device: bool) -> UntypedDesc {
        UntypedDesc(seL4_UntypedDesc {
            paddr: 0,
            padding1: 0,
            padding2: 0,
            sizeBits: 12,
            isDevice: device.into(),
        })
    }

    #[test]
    fn ranges_do_not_depend_on_what_the_kernel_lists_first() {
        let (memory, device) = (desc(false), desc(true));
        let old = [memory, memory, device];
        assert_eq!(range_where(&old, UntypedDesc::is_device), 2..3);
        assert_eq!(range_where(&old, |desc| !desc.is_device()), 0..2);
        let new = [device, memory, memory];
        assert_eq!(range_where(&new, UntypedDesc::is_device), 0..1);
        assert_eq!(range_where(&new, |desc| !desc.is_device()), 1..3);
        assert_eq!(range_where(&[device], |desc| !desc.is_device()), 1..1);
    }
}
