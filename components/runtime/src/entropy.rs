//! The client's side of the entropy service.

use service_api::entropy::{LABEL_SEED, REPLY_OK, seed_bytes};
use system_description::{Protocol, Role};

use crate::Component;

/// 32 fresh random bytes from the entropy service; `None` if the component
/// may not ask, or if the service is dead.
#[must_use]
pub fn seed(component: &Component) -> Option<[u8; 32]> {
    let link = component.link(Protocol::Entropy, Role::Client)?;
    match link.call(LABEL_SEED, [0; 4])? {
        (REPLY_OK, words) => Some(seed_bytes(words)),
        _ => None,
    }
}
