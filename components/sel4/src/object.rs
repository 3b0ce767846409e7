//! Objects that untyped memory can become, and their sizes.

use crate::{
    Word,
    capability::{CapType, cap_type},
};
use sel4_bindings as kernel;

/// What to make of untyped memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectBlueprint {
    /// Untyped memory of 2^`size_bits` bytes.
    Untyped {
        /// At least 4.
        size_bits: usize,
    },
    /// An endpoint.
    Endpoint,
    /// A notification.
    Notification,
    /// A CNode of 2^`size_bits` slots.
    CNode {
        /// At least 1.
        size_bits: usize,
    },
    /// A thread.
    Tcb,
    /// An object of the architecture.
    Arch(ObjectBlueprintX86),
}

/// Objects of x86.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectBlueprintX86 {
    /// A frame of 4 KiB.
    _4k,
    /// A frame of 2 MiB.
    LargePage,
    /// A page table.
    PageTable,
    /// A page directory.
    PageDirectory,
    /// An object of x86_64.
    SeL4Arch(ObjectBlueprintX64),
}

/// Objects of x86_64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::upper_case_acronyms, reason = "names are rust-sel4's")]
pub enum ObjectBlueprintX64 {
    /// A page directory pointer table.
    PDPT,
    /// The root of an address space.
    PML4,
}

/// Objects of the architecture.
pub type ObjectBlueprintArch = ObjectBlueprintX86;
/// Objects of the architecture's variant.
pub type ObjectBlueprintSeL4Arch = ObjectBlueprintX64;

impl From<ObjectBlueprintX86> for ObjectBlueprint {
    fn from(blueprint: ObjectBlueprintX86) -> Self {
        Self::Arch(blueprint)
    }
}

impl From<ObjectBlueprintX64> for ObjectBlueprint {
    fn from(blueprint: ObjectBlueprintX64) -> Self {
        Self::Arch(ObjectBlueprintX86::SeL4Arch(blueprint))
    }
}

impl ObjectBlueprint {
    /// The kernel's number of the object type.
    pub(crate) const fn type_number(self) -> Word {
        use ObjectBlueprintX64 as X64;
        use ObjectBlueprintX86 as X86;
        match self {
            Self::Untyped { .. } => kernel::seL4_UntypedObject,
            Self::Endpoint => kernel::seL4_EndpointObject,
            Self::Notification => kernel::seL4_NotificationObject,
            Self::CNode { .. } => kernel::seL4_CapTableObject,
            Self::Tcb => kernel::seL4_TCBObject,
            Self::Arch(X86::_4k) => kernel::seL4_X86_4K,
            Self::Arch(X86::LargePage) => kernel::seL4_X86_LargePageObject,
            Self::Arch(X86::PageTable) => kernel::seL4_X86_PageTableObject,
            Self::Arch(X86::PageDirectory) => kernel::seL4_X86_PageDirectoryObject,
            Self::Arch(X86::SeL4Arch(X64::PDPT)) => kernel::seL4_X86_PDPTObject,
            Self::Arch(X86::SeL4Arch(X64::PML4)) => kernel::seL4_X64_PML4Object,
        }
    }

    /// The size that the kernel wants to be told: zero for fixed sizes.
    pub(crate) const fn api_size_bits(self) -> Word {
        match self {
            Self::Untyped { size_bits } | Self::CNode { size_bits } => size_bits as Word,
            _ => 0,
        }
    }

    /// The object takes 2^that many bytes of memory.
    pub const fn physical_size_bits(self) -> usize {
        use ObjectBlueprintX64 as X64;
        use ObjectBlueprintX86 as X86;
        let bits = match self {
            Self::Untyped { size_bits } => return size_bits,
            Self::CNode { size_bits } => return kernel::seL4_SlotBits as usize + size_bits,
            Self::Endpoint => kernel::seL4_EndpointBits,
            Self::Notification => kernel::seL4_NotificationBits,
            Self::Tcb => kernel::seL4_TCBBits,
            Self::Arch(X86::_4k) => kernel::seL4_PageBits,
            Self::Arch(X86::LargePage) => kernel::seL4_LargePageBits,
            Self::Arch(X86::PageTable) => kernel::seL4_PageTableBits,
            Self::Arch(X86::PageDirectory) => kernel::seL4_PageDirBits,
            Self::Arch(X86::SeL4Arch(X64::PDPT)) => kernel::seL4_PDPTBits,
            Self::Arch(X86::SeL4Arch(X64::PML4)) => kernel::seL4_PML4Bits,
        };
        bits as usize
    }
}

/// Kinds of object that have one size.
pub trait CapTypeForObjectOfFixedSize: CapType {
    /// How to make one.
    fn object_blueprint() -> ObjectBlueprint;
}

/// Kinds of object whose size is chosen when they are made.
pub trait CapTypeForObjectOfVariableSize: CapType {
    /// How to make one of 2^`size_bits` bytes or slots.
    fn object_blueprint(size_bits: usize) -> ObjectBlueprint;
}

macro_rules! fixed_size {
    ($($name:ident => $blueprint:expr,)*) => {$(
        impl CapTypeForObjectOfFixedSize for cap_type::$name {
            fn object_blueprint() -> ObjectBlueprint {
                $blueprint.into()
            }
        }
    )*};
}

fixed_size! {
    Endpoint => ObjectBlueprint::Endpoint,
    Notification => ObjectBlueprint::Notification,
    Tcb => ObjectBlueprint::Tcb,
    _4k => ObjectBlueprintX86::_4k,
    LargePage => ObjectBlueprintX86::LargePage,
    PageTable => ObjectBlueprintX86::PageTable,
    PageDirectory => ObjectBlueprintX86::PageDirectory,
    PDPT => ObjectBlueprintX64::PDPT,
    PML4 => ObjectBlueprintX64::PML4,
}

impl CapTypeForObjectOfVariableSize for cap_type::Untyped {
    fn object_blueprint(size_bits: usize) -> ObjectBlueprint {
        ObjectBlueprint::Untyped { size_bits }
    }
}

impl CapTypeForObjectOfVariableSize for cap_type::CNode {
    fn object_blueprint(size_bits: usize) -> ObjectBlueprint {
        ObjectBlueprint::CNode { size_bits }
    }
}

/// Sizes of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameObjectType {
    /// 4 KiB.
    _4k,
    /// 2 MiB.
    LargePage,
}

impl FrameObjectType {
    /// The smallest frame.
    pub const GRANULE: Self = Self::_4k;

    /// How to make one.
    pub const fn blueprint(self) -> ObjectBlueprint {
        ObjectBlueprint::Arch(match self {
            Self::_4k => ObjectBlueprintX86::_4k,
            Self::LargePage => ObjectBlueprintX86::LargePage,
        })
    }

    /// The frame has 2^that many bytes.
    pub const fn bits(self) -> usize {
        self.blueprint().physical_size_bits()
    }

    /// Bytes in the frame.
    pub const fn bytes(self) -> usize {
        1 << self.bits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_manual() {
        assert_eq!(FrameObjectType::_4k.bytes(), 4096);
        assert_eq!(FrameObjectType::LargePage.bytes(), 2 << 20);
        assert_eq!(
            ObjectBlueprint::CNode { size_bits: 7 }.physical_size_bits(),
            12
        );
        assert_eq!(ObjectBlueprint::Tcb.physical_size_bits(), 11);
    }
}
