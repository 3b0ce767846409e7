//! Instructions by component, on the running system: what the profile says
//! against what the counter says, in both placements.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::collections::BTreeMap;
use std::time::Duration;

use cargo_ioipc::bench::profile::{KERNEL, UNATTRIBUTED};
use cargo_ioipc::bench::{Bench, Counted};
use cargo_ioipc::{Options, Placement, Transport};
use emulator_tests::{options, system};

/// Datagrams that are echoed, one at a time.
const COUNT: u32 = 200;
/// After them, the system comes to rest.
const REST: Duration = Duration::from_millis(100);

/// Instructions of a datagram by component.
fn components(placement: Placement) -> BTreeMap<String, f64> {
    let bench = Bench {
        options: Options {
            placement: Some(placement),
            ..options(system("echo"))
        },
        profile: true,
        ..Bench::default()
    };
    let counted = Counted::prepare(&bench, bench.options.clone()).unwrap();
    let (running, mut counter) = counted.boot().unwrap();
    let mut profiling = counted.profiling().unwrap().unwrap();
    let echo = running.address(Transport::Udp, 7).unwrap();
    // The kernel's tick goes on between two readings, so the profile lies between
    // what was counted inside it and what was counted around it.
    let around = counter.read().unwrap();
    let profile = profiling.start().unwrap();
    let inside = counter.read().unwrap();
    let outcome = echo_load::udp(echo, 64, 1, COUNT).unwrap();
    std::thread::sleep(REST);
    let inside = counter.read().unwrap() - inside;
    let attribution = profile.end().unwrap();
    let around = counter.read().unwrap() - around;
    running.stop();
    assert!(outcome.is_perfect(), "{outcome}");
    let components = attribution.per_component(u64::from(COUNT));
    let between = |said: f64, least: u64, most: u64| {
        let [least, most] = [least, most].map(|n| n as f64 / f64::from(COUNT));
        assert!(
            (0.99 * least..=1.01 * most).contains(&said),
            "{said} not in {least} to {most}: {components:?}"
        );
    };
    between(components.values().sum(), inside.total(), around.total());
    between(components[KERNEL], inside.kernel, around.kernel);
    assert!(!components.contains_key(UNATTRIBUTED), "{components:?}");
    assert!(attribution.shared() < 0.01 * attribution.total());
    components
}

/// Every part of the system that a datagram passes has its share.
fn all_take_part(components: &BTreeMap<String, f64>) {
    for name in [
        KERNEL,
        "io-manager",
        "net-server",
        "virtio-net-driver",
        "echo",
    ] {
        let share = components.get(name).copied().unwrap_or(0.0);
        assert!(share > 300.0, "{name}: {components:?}");
    }
    let idle = components.get("hello").copied().unwrap_or(0.0);
    assert!(idle < 100.0, "{components:?}");
}

#[test]
fn every_instruction_is_some_components() {
    let user = components(Placement::User);
    all_take_part(&user);
    assert!(!user.contains_key("runtime"), "{user:?}");
    // The same parts where server and driver are in the manager's program, and
    // fewer crossings.
    let kernel = components(Placement::Kernel);
    all_take_part(&kernel);
    assert!(kernel[KERNEL] < 0.8 * user[KERNEL], "{kernel:?} {user:?}");
}
