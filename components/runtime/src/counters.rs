//! The component's page of named numbers.

use monitor_api::CounterPage;
use spin::Once;
use system_description::{Protocol, Role};

use crate::Component;

static PAGE: Once<Option<CounterPage>> = Once::new();

/// The component's counter page, created on first use; `None` without a
/// monitor link.
pub fn counters(component: &Component) -> Option<CounterPage> {
    *PAGE.call_once(|| {
        let region = component.link(Protocol::Monitor, Role::Client)?.control?;
        CounterPage::create(region).ok()
    })
}
