//! A bad wire between the emulator and whatever is at its other end.
//!
//! Problem: each kind of wire ends somewhere else (in the emulator itself, at a
//! socket, at a device), and frames have to be caught between. What the
//! emulator would have connected to, the relay connects to, and the emulator to
//! the relay; the user network, which is inside the emulator, is cut open with
//! two redirecting filters, one each way (QEMU, `filter-redirector`).
//!
//! Invariant: the system and its device are the same as without; only frames
//! are lost, late or changed, and on a TAP device offloads are gone, since what
//! was left to a device would be wrong on a wire.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use frame_peer::relay::{Conditions, End, Relay, Tally};
use tap_device::Tap;
use tempfile::TempDir;

use crate::machine::escaped;
use crate::{Error, Machine, Net};

/// How long the emulator may take to find its sockets.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether it still runs meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// A relay, and the machine that the emulator has to be for it.
#[derive(Debug)]
pub(crate) struct Wire {
    relay: Relay,
    folder: Option<TempDir>,
}

/// Whether frames can be lost at all on the wire to `net`.
///
/// # Errors
/// [`Error::Wire`] with the reason.
pub(crate) fn check(net: &Net) -> Result<(), Error> {
    match net {
        Net::None => Err(Error::Wire(
            "--wire: the machine has no network device, so there is no wire".to_owned(),
        )),
        Net::Passt => Err(Error::Wire(
            "--wire: frames are not lost on the way to passt; use --net user".to_owned(),
        )),
        Net::User | Net::Socket(_) | Net::Unix(_) | Net::Tap(_) => Ok(()),
    }
}

impl Wire {
    /// Puts a relay before the other end of `machine`'s wire. Also the machine
    /// as it has to be started then.
    ///
    /// # Errors
    /// [`Error::Wire`] if there is no wire, [`Error::Io`] if the other end
    /// cannot be reached.
    pub(crate) fn join(
        machine: &Machine,
        conditions: &Conditions,
    ) -> Result<(Self, Machine), Error> {
        check(&machine.net)?;
        let folder = tempfile::tempdir().map_err(Error::io("make", "a scratch directory"))?;
        let at = |name: &str| folder.path().join(name);
        let mut changed = machine.clone();
        let listening = || Error::io("listen in", folder.path());
        let (outside, guest) = match outside(&machine.net)? {
            Some(outside) => {
                let socket = at("wire");
                let guest = End::listen(&socket).map_err(listening())?;
                changed.net = Net::Unix(socket);
                (outside, guest)
            }
            None => {
                let cut = Cut::new(at);
                changed.extra.extend(cut.arguments().map(Into::into));
                cut.ends().map_err(listening())?
            }
        };
        let relay = Relay::start(outside, guest, conditions);
        let wire = Self {
            relay: relay.map_err(Error::io("start the relay in", folder.path()))?,
            folder: Some(folder),
        };
        Ok((wire, changed))
    }

    /// Waits until the emulator is connected, or is not there any more. Nothing
    /// of the wire is in the file system from then on.
    pub(crate) fn settle(&mut self, mut is_running: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !self.relay.wait_up(LOOK) && is_running() && Instant::now() < deadline {}
        self.folder = None;
    }

    /// What became of the frames: there is to the system.
    pub(crate) fn tally(&self) -> Tally {
        self.relay.tally()
    }
}

/// The end that the emulator would have connected to; none if it is inside.
fn outside(net: &Net) -> Result<Option<End>, Error> {
    let end = match net {
        Net::User | Net::Passt | Net::None => return Ok(None),
        Net::Unix(path) => UnixStream::connect(path)
            .and_then(End::unix)
            .map_err(Error::io("connect to", path)),
        Net::Socket(peer) => TcpStream::connect(peer)
            .and_then(End::tcp)
            .map_err(Error::io("connect to", peer)),
        Net::Tap(name) => Tap::open(name)
            .map(End::tap)
            .map_err(Error::io("open the TAP device", name)),
    };
    end.map(Some)
}

/// The user network, cut open: sockets for frames from and to either side.
struct Cut {
    from_net: PathBuf,
    to_net: PathBuf,
    from_guest: PathBuf,
    to_guest: PathBuf,
}

impl Cut {
    fn new(at: impl Fn(&str) -> PathBuf) -> Self {
        Self {
            from_net: at("from-net"),
            to_net: at("to-net"),
            from_guest: at("from-guest"),
            to_guest: at("to-guest"),
        }
    }

    /// The user network's end and the guest's.
    fn ends(&self) -> std::io::Result<(End, End)> {
        Ok((
            End::listen_apart(&self.from_net, &self.to_net)?,
            End::listen_apart(&self.from_guest, &self.to_guest)?,
        ))
    }

    /// What the emulator needs. `tx` is what the network sends, `rx` what it is
    /// sent. First in the list, filters are next to the network, so that a
    /// capture shows what the guest sees.
    fn arguments(&self) -> [String; 12] {
        let socket = |id: &str, path: &Path| {
            let path = escaped(&path.to_string_lossy());
            ["-chardev".to_owned(), format!("socket,id={id},path={path}")]
        };
        let filter = |queue: &str, takes: &str, gives: &str| {
            let ends = format!("outdev={takes},indev={gives}");
            let filter = "filter-redirector,netdev=n0,position=head";
            let object = format!("{filter},id=wire-{queue},queue={queue},{ends}");
            ["-object".to_owned(), object]
        };
        let [a, b] = socket("wire-from-net", &self.from_net);
        let [c, d] = socket("wire-to-net", &self.to_net);
        let [e, f] = socket("wire-from-guest", &self.from_guest);
        let [g, h] = socket("wire-to-guest", &self.to_guest);
        let [i, j] = filter("tx", "wire-from-net", "wire-to-guest");
        let [k, l] = filter("rx", "wire-from-guest", "wire-to-net");
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Accel;

    fn machine(net: Net) -> Machine {
        Machine {
            memory_mib: 64,
            accel: Accel::Tcg,
            net,
            mac: [2, 0, 0, 0, 0, 1],
            address: None,
            subnet: crate::Subnet::default(),
            socket: None,
            forwards: Vec::new(),
            pcap: None,
            wire: None,
            extra: vec!["-S".into()],
        }
    }

    fn refused(net: Net) -> String {
        let joined = Wire::join(&machine(net), &Conditions::default());
        joined.unwrap_err().to_string()
    }

    #[test]
    fn the_user_network_is_cut_and_everything_else_gets_between() {
        let (wire, changed) = Wire::join(&machine(Net::User), &Conditions::default()).unwrap();
        let folder = wire.folder.as_ref().unwrap().path().to_owned();
        assert_eq!(changed.net, Net::User);
        assert_eq!(changed.extra.len(), 13);
        let listens = |name: &str| UnixStream::connect(folder.join(name)).is_ok();
        assert!(
            ["from-net", "to-net", "from-guest", "to-guest"]
                .iter()
                .all(|n| listens(n))
        );
        drop(wire);
        assert!(!folder.exists());
        let other = tempfile::tempdir().unwrap();
        let peer = std::os::unix::net::UnixListener::bind(other.path().join("peer")).unwrap();
        let net = Net::Unix(other.path().join("peer"));
        let (wire, changed) = Wire::join(&machine(net.clone()), &Conditions::default()).unwrap();
        assert!(peer.accept().is_ok(), "the relay is the peer's");
        assert!(matches!(&changed.net, Net::Unix(path) if Net::Unix(path.clone()) != net));
        assert_eq!(changed.extra, machine(Net::User).extra);
        drop(wire);
    }

    #[test]
    fn where_there_is_no_wire_or_nobody_it_says_so() {
        let none = refused(Net::None);
        assert_eq!(
            none,
            "--wire: the machine has no network device, so there is no wire"
        );
        let nobody = refused(Net::Unix("/no/such/socket".into()));
        assert!(
            nobody.starts_with("cannot connect to /no/such/socket: "),
            "{nobody}"
        );
        let nobody = refused(Net::Socket("127.0.0.1:1".to_owned()));
        assert!(
            nobody.starts_with("cannot connect to 127.0.0.1:1: "),
            "{nobody}"
        );
    }
}
