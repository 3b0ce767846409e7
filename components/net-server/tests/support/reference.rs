//! A smoltcp socket with real payload, to compare the server with.

use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, TcpControl, TcpRepr};

use super::segments::{Hand, arp_reply, frame, segment};
use super::{SERVER_IP, SERVER_MAC, Wire};

/// What a smoltcp socket makes of the same segments.
pub struct Reference {
    interface: Interface,
    pub wire: Wire,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    pub hand: Hand,
}

impl Reference {
    /// An established connection with a window of so many bytes.
    pub fn new(window: usize, first: u32, now_us: u64) -> Self {
        let mut wire = Wire::default();
        let mac = HardwareAddress::Ethernet(EthernetAddress(SERVER_MAC));
        let settings = smoltcp::iface::Config::new(mac);
        let mut interface = Interface::new(settings, &mut wire, Instant::ZERO);
        let own = IpCidr::new(IpAddress::Ipv4(SERVER_IP), 24);
        interface.update_ip_addrs(|a| a.push(own).unwrap());
        let buffer = || tcp::SocketBuffer::new(vec![0; window]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.listen(7).unwrap();
        let mut sockets = SocketSet::new(vec![]);
        let handle = sockets.add(socket);
        let hand = Hand {
            port: 40000,
            first,
            theirs: 0,
            window: 0xffff,
        };
        let mut reference = Self {
            interface,
            wire,
            sockets,
            handle,
            hand,
        };
        reference.take(arp_reply(), now_us);
        let syn = TcpRepr {
            control: TcpControl::Syn,
            ack_number: None,
            max_seg_size: Some(1460),
            ..reference.hand.repr(u32::MAX, &[])
        };
        reference.take(frame(&syn), now_us);
        let answer = reference.wire.sent.iter().find_map(|f| segment(f));
        reference.hand.theirs = answer.unwrap().seq_number.0.wrapping_add(1) as u32;
        let ack = frame(&reference.hand.repr(0, &[]));
        reference.take(ack, now_us);
        reference
    }

    /// A frame comes.
    pub fn take(&mut self, frame: Vec<u8>, now_us: u64) {
        self.wire.received.push_back(frame);
        self.run(now_us);
    }

    /// Does what there is to do.
    pub fn run(&mut self, now_us: u64) {
        let now = Instant::from_micros(now_us as i64);
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
    }

    /// Acknowledges at once what smoltcp holds back for up to 10 ms: it is shown
    /// the time when it would have done so.
    pub fn acknowledge(&mut self, now_us: u64) {
        assert!(self.wire.received.is_empty());
        self.run(now_us + 10_000);
    }

    /// Reads, and lets smoltcp do what it has to.
    pub fn read(&mut self, most: usize, now_us: u64) -> Vec<u8> {
        let mut got = vec![0; most];
        let socket: &mut tcp::Socket = self.sockets.get_mut(self.handle);
        let len = socket.recv_slice(&mut got).unwrap_or(0);
        got.truncate(len);
        let now = Instant::from_micros(now_us as i64);
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        got
    }
}
