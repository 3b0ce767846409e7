//! Making objects of untyped memory.

use crate::{AbsoluteCPtr, ObjectBlueprint, Result, Word, cap, invoke::invoke};
use sel4_bindings::request;

impl cap::Untyped {
    /// Corresponds to `seL4_Untyped_Retype`: makes `num_objects` objects and puts
    /// their capabilities into the CNode at `dst`, from slot `dst_offset` on.
    ///
    /// `dst` names the CNode, not a slot of it; the caller's own root CNode is
    /// [`absolute_cptr_for_self`](cap::CNode::absolute_cptr_for_self). The memory
    /// is zeroed, except that of devices. At most
    /// [`RETYPE_FAN_OUT_LIMIT`](crate::config::RETYPE_FAN_OUT_LIMIT) objects are
    /// made at a time.
    pub fn untyped_retype(
        self,
        blueprint: &ObjectBlueprint,
        dst: &AbsoluteCPtr,
        dst_offset: usize,
        num_objects: usize,
    ) -> Result<()> {
        let message = request::Untyped_Retype(
            blueprint.type_number(),
            blueprint.api_size_bits(),
            dst.root().bits(),
            dst.path().bits(),
            dst.path().depth() as Word,
            dst_offset as Word,
            num_objects as Word,
        );
        invoke(self.cptr(), message).map(drop)
    }
}
