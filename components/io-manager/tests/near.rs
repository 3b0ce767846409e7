//! Servers and drivers in the manager's thread: it hears them by looking, and
//! gives them no signals.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use nic_api::{NicInfo, Sent};
use socket_api::{Release, kind};

mod parties;

use parties::{MTU, Parties, Setup};

fn near() -> Parties {
    Parties::with(Setup {
        near: true,
        ready: false,
        ..Setup::ONE
    })
}

fn info(mtu: u32) -> NicInfo {
    NicInfo {
        mac: [2, 0, 0, 0, 0, 1],
        mtu,
        features: 0,
    }
}

#[test]
fn whatever_a_guest_says_is_heard_until_it_is_taken() {
    let mut parties = near();
    assert!(!parties.manager.hears_near());
    info(MTU).publish(&parties.drivers[0].control).unwrap();
    assert!(parties.manager.hears_near(), "what the NIC is");
    parties.run();
    assert!(!parties.manager.hears_near());
    parties.drivers[0].take();
    let release = Release {
        kind: kind::RELEASE,
        ..Release::default()
    };
    parties.servers[0].say(release);
    assert!(parties.manager.hears_near(), "an entry of the server");
    parties.run();
    assert!(!parties.manager.hears_near());
    // Also what is no reason to wake anybody elsewhere.
    let sent = Sent { id: 9, reserved: 0 };
    parties.drivers[0].done.push_quietly(&sent).unwrap();
    assert!(!parties.drivers[0].done.publish());
    assert!(parties.manager.hears_near(), "an entry of the driver");
    parties.run();
    assert!(!parties.manager.hears_near());
    let frame = [0xff; 60];
    parties.drivers[0].receive(&frame, 0);
    assert!(parties.manager.hears_near(), "a frame");
    parties.run();
    assert!(!parties.manager.hears_near());
}

/// Neither side asks for signals, and none is counted that nobody gives; the
/// bells ring all the same for what no ring shows.
#[test]
fn nobody_within_the_thread_is_signalled() {
    let mut parties = near();
    info(MTU).publish(&parties.drivers[0].control).unwrap();
    parties.run();
    parties.drivers[0].take();
    assert_eq!(
        parties.rung.servers,
        [0],
        "the server hears what the NIC is"
    );
    // The manager has asked for anything, and sleeps.
    let frame = [0xff; 60];
    parties.drivers[0].receive(&frame, 0);
    parties.run();
    parties.servers[0].say(Release {
        kind: kind::RELEASE,
        ..Release::default()
    });
    parties.run();
    for counter in ["signals.server", "signals.driver"] {
        assert_eq!(parties.count(counter), 0, "{counter}");
    }
}

/// Elsewhere nothing is heard but by signals.
#[test]
fn who_runs_elsewhere_is_not_looked_at() {
    let mut parties = Parties::one();
    parties.servers[0].say(Release {
        kind: kind::RELEASE,
        ..Release::default()
    });
    assert!(!parties.manager.hears_near());
    parties.run();
    for (counter, rung) in [
        ("signals.server", &parties.rung.servers),
        ("signals.driver", &parties.rung.drivers),
    ] {
        assert_eq!(parties.count(counter), rung.len() as u64, "{counter}");
        assert!(!rung.is_empty(), "{counter}");
    }
}
