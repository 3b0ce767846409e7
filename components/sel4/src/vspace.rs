//! Address spaces: frames, page tables and address space numbers.
//!
//! Kernel 5.0.0 keeps one mapping per frame *capability*: a capability that is
//! mapped cannot be mapped elsewhere, so every mapping needs a copy of its own.
//! It does not tell where a capability is mapped, nor unmap when a copy is
//! deleted or revoked: keep your own record, and unmap explicitly. It never sets
//! no-execute, and knows no frame that can be split.

use crate::{
    AbsoluteCPtr, CapRights, Error, Result, Word,
    capability::{Cap, CapTypeForFrame, cap},
    invoke::{invoke, invoke_detailed},
};
use sel4_bindings::{label, request, seL4_NumErrors};

// No error has the label that `frame_unmap` takes for success.
const _: () = assert!(label::X86PageUnmap >= seL4_NumErrors);

/// Corresponds to `seL4_X86_VMAttributes`: how a mapping is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmAttributes(Word);

impl VmAttributes {
    /// No attribute.
    pub const NONE: Self = Self(0);
    /// Cached, written back.
    pub const DEFAULT: Self = Self(sel4_bindings::seL4_X86_Default_VMAttributes);
    /// Cached, written through.
    pub const WRITE_THROUGH: Self = Self(sel4_bindings::seL4_X86_WriteThrough);
    /// Not cached, for the registers of devices.
    pub const CACHE_DISABLED: Self = Self(sel4_bindings::seL4_X86_CacheDisabled);
    /// Not cached, writes combined.
    pub const WRITE_COMBINING: Self = Self(sel4_bindings::seL4_X86_WriteCombining);

    /// The kernel's form.
    pub const fn into_inner(self) -> Word {
        self.0
    }
}

impl Default for VmAttributes {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl<T: CapTypeForFrame> Cap<T> {
    /// Corresponds to `seL4_X86_Page_Map`, and to `seL4_X86_Page_Remap` for a
    /// capability that is already mapped in `vspace`, so that mapping again
    /// changes the rights as on newer kernels.
    ///
    /// In the second case 5.0.0 cannot check `vaddr`: pass the address at which
    /// the frame is mapped. What [`Self::frame_remap`] says applies then.
    ///
    /// # Errors
    /// [`Error::FailedLookup`] if a page table is missing,
    /// [`Error::DeleteFirst`] if something else is mapped there,
    /// [`Error::InvalidCapability`] if the capability is mapped in another
    /// address space.
    pub fn frame_map(
        self,
        vspace: cap::VSpace,
        vaddr: usize,
        rights: CapRights,
        attrs: VmAttributes,
    ) -> Result<()> {
        let message = request::X86_Page_Map(
            vspace.bits(),
            vaddr as Word,
            rights.into_inner().0,
            attrs.into_inner(),
        );
        match invoke_detailed(self.cptr(), message) {
            Ok(_) => Ok(()),
            // Capability 0 is the frame's: the only thing wrong with it is that
            // it is mapped.
            Err(failure) if failure.error == Error::InvalidCapability && failure.detail == 0 => {
                self.frame_remap(vspace, rights, attrs)
            }
            Err(failure) => Err(failure.error),
        }
    }

    /// Corresponds to `seL4_X86_Page_Remap`: changes rights and attributes where
    /// the frame is mapped, in one system call. Newer kernels map again instead.
    ///
    /// Kernel 5.0.0 does not flush the entry from the TLB of the *calling*
    /// thread's address space: change rights from another address space, or
    /// unmap and map.
    ///
    /// # Errors
    /// [`Error::IllegalOperation`] if the capability is not mapped,
    /// [`Error::InvalidCapability`] if it is mapped in another address space.
    pub fn frame_remap(
        self,
        vspace: cap::VSpace,
        rights: CapRights,
        attrs: VmAttributes,
    ) -> Result<()> {
        let message =
            request::X86_Page_Remap(vspace.bits(), rights.into_inner().0, attrs.into_inner());
        invoke(self.cptr(), message).map(drop)
    }

    /// Corresponds to `seL4_X86_Page_Unmap`. Nothing happens if it is not mapped.
    pub fn frame_unmap(self) -> Result<()> {
        let message = request::X86_Page_Unmap();
        match invoke_detailed(self.cptr(), message) {
            Ok(_) => Ok(()),
            // Kernel 5.0.0 forgets to reply when there is nothing to unmap, so
            // that the request's own label comes back.
            Err(failure) if failure.label == message.label => Ok(()),
            Err(failure) => Err(failure.error),
        }
    }

    /// Corresponds to `seL4_X86_Page_GetAddress`: the frame's physical address.
    pub fn frame_get_address(self) -> Result<usize> {
        let words = invoke(self.cptr(), request::X86_Page_GetAddress())?;
        Ok(words[0] as usize)
    }
}

impl cap::PDPT {
    /// Corresponds to `seL4_X86_PDPT_Map`.
    pub fn pdpt_map(self, vspace: cap::VSpace, vaddr: usize, attr: VmAttributes) -> Result<()> {
        let message = request::X86_PDPT_Map(vspace.bits(), vaddr as Word, attr.into_inner());
        invoke(self.cptr(), message).map(drop)
    }

    /// Corresponds to `seL4_X86_PDPT_Unmap`.
    pub fn pdpt_unmap(self) -> Result<()> {
        invoke(self.cptr(), request::X86_PDPT_Unmap()).map(drop)
    }
}

impl cap::PageDirectory {
    /// Corresponds to `seL4_X86_PageDirectory_Map`.
    pub fn page_directory_map(
        self,
        vspace: cap::VSpace,
        vaddr: usize,
        attr: VmAttributes,
    ) -> Result<()> {
        let message =
            request::X86_PageDirectory_Map(vspace.bits(), vaddr as Word, attr.into_inner());
        invoke(self.cptr(), message).map(drop)
    }

    /// Corresponds to `seL4_X86_PageDirectory_Unmap`.
    pub fn page_directory_unmap(self) -> Result<()> {
        invoke(self.cptr(), request::X86_PageDirectory_Unmap()).map(drop)
    }
}

impl cap::PageTable {
    /// Corresponds to `seL4_X86_PageTable_Map`.
    pub fn page_table_map(
        self,
        vspace: cap::VSpace,
        vaddr: usize,
        attr: VmAttributes,
    ) -> Result<()> {
        let message = request::X86_PageTable_Map(vspace.bits(), vaddr as Word, attr.into_inner());
        invoke(self.cptr(), message).map(drop)
    }

    /// Corresponds to `seL4_X86_PageTable_Unmap`.
    pub fn page_table_unmap(self) -> Result<()> {
        invoke(self.cptr(), request::X86_PageTable_Unmap()).map(drop)
    }
}

impl cap::AsidControl {
    /// Corresponds to `seL4_X86_ASIDControl_MakePool`: makes a pool of 4 KiB of
    /// untyped memory and puts its capability into `dst`.
    pub fn asid_control_make_pool(self, untyped: cap::Untyped, dst: &AbsoluteCPtr) -> Result<()> {
        let message = request::X86_ASIDControl_MakePool(
            untyped.bits(),
            dst.root().bits(),
            dst.path().bits(),
            dst.path().depth_u8(),
        );
        invoke(self.cptr(), message).map(drop)
    }
}

impl cap::AsidPool {
    /// Corresponds to `seL4_X86_ASIDPool_Assign`: makes `vspace` usable.
    pub fn asid_pool_assign(self, vspace: cap::VSpace) -> Result<()> {
        let message = request::X86_ASIDPool_Assign(vspace.bits());
        invoke(self.cptr(), message).map(drop)
    }
}
