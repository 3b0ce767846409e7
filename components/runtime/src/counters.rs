//! The component's page of named numbers.

use monitor_api::CounterPage;
use spin::Once;
use system_description::{Protocol, Role};

use crate::Component;
use crate::component::PLACES;

/// By place of the component in the start-up page.
static PAGES: [Once<Option<CounterPage>>; PLACES] = [const { Once::new() }; PLACES];

/// The component's counter page, created on first use; `None` without a
/// monitor link.
pub fn counters(component: &Component) -> Option<CounterPage> {
    *PAGES[component.place()].call_once(|| {
        let region = component.link(Protocol::Monitor, Role::Client)?.control?;
        CounterPage::create(region).ok()
    })
}
