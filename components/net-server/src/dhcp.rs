//! The DHCP client (RFC 2131): what is asked when, and what an answer does.
//!
//! Problem: a server may grant nothing, or for no time, refuse what it has
//! just offered, or answer at once whatever is asked; a client that only
//! reacts asks as fast as that. Invariant: whatever servers say, messages go
//! out by this client's own clock. An unanswered one is sent again after 4, 8,
//! 16, 32 and then every 64 seconds, give or take one (4.1); each round that
//! ends without a lease makes the pause before the next longer by the same
//! rule, but for the first; a lease is renewed at a quarter of its time at the
//! earliest, and one shorter than [`LEAST_LEASE`] is not taken. In answer to
//! one message at most one is sent.
//!
//! What a lease may say is judged in [`lease`](crate::lease).

use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, Ipv4Address};

use crate::lease::{Lease, Refusal, Reply};
use crate::random::Random;

const SECOND: u64 = 1_000_000;
/// First and longest wait for an answer, in microseconds (4.1).
const FIRST_WAIT: u64 = 4 * SECOND;
const MOST_WAIT: u64 = 64 * SECOND;
/// Requests for one offer before another server is looked for: a minute.
const REQUESTS: u32 = 4;
/// Least wait before a renewal is asked for again (4.4.5), and how long a lease
/// must have been good for to forget what went wrong before it.
const MINUTE: u64 = 60 * SECOND;
/// Shortest lease that is taken, in seconds.
pub(crate) const LEAST_LEASE: u32 = 8;
/// How long nothing is asked after a lease that was declined (3.1.5).
const DECLINED: u64 = 10 * SECOND;
/// Bytes of the longest message that is sent.
const MESSAGE: usize = 320;
/// Bytes of the longest answer: the least that a client may state (RFC 2132,
/// 9.10).
const MOST_ANSWER: u16 = 576;
const NONE: Ipv4Address = Ipv4Address::UNSPECIFIED;
/// Options that servers are asked for: mask, router, name servers, times.
const WANTED: &[u8] = &[1, 3, 6, 51, 58, 59];

/// Where the client stands.
#[derive(Clone, Copy, Debug)]
enum State {
    /// It looks for a server.
    Selecting,
    /// It has an offer and asks for the address.
    Requesting {
        server: Ipv4Address,
        address: Ipv4Address,
    },
    /// It has an address.
    Bound(Bound),
}

/// A lease with its times, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Bound {
    lease: Lease,
    since: u64,
    /// When other servers are asked, too, and when it ends.
    rebind: u64,
    end: u64,
}

/// What an answer comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing, or nothing yet.
    Nothing,
    /// The lease to go by from now on.
    Lease(Lease),
    /// The address is ours no more.
    Lost,
    /// The answer is not taken; why, if nobody was told since the last message
    /// was sent.
    Refused(Option<(Reply, Refusal)>),
}

/// A message to send.
pub(crate) struct Message {
    bytes: [u8; MESSAGE],
    len: usize,
    /// Where it comes from.
    pub own: Ipv4Address,
    /// The only server that is asked.
    pub to: Option<Ipv4Address>,
}

impl Message {
    fn of(repr: &DhcpRepr<'_>, own: Ipv4Address, to: Option<Ipv4Address>) -> Option<Self> {
        let mut message = Self {
            bytes: [0; MESSAGE],
            len: repr.buffer_len(),
            own,
            to,
        };
        let into = message.bytes.get_mut(..message.len)?;
        repr.emit(&mut DhcpPacket::new_unchecked(into)).ok()?;
        Some(message)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// The client.
pub(crate) struct Dhcp {
    mac: EthernetAddress,
    state: State,
    /// The number of what is asked; `None` while nothing is.
    asked: Option<u32>,
    /// When asking began, and how often the same was asked.
    begun: u64,
    tries: u32,
    /// Rounds that ended without a lease.
    failures: u32,
    /// When the next message goes out.
    next: u64,
    /// The message that is due waits for a hardware address.
    postponed: bool,
    /// A refusal was told since the last message.
    told: bool,
}

impl Dhcp {
    /// A client that looks for a server at once.
    pub fn new(mac: [u8; 6]) -> Self {
        Self {
            mac: EthernetAddress(mac),
            state: State::Selecting,
            asked: None,
            begun: 0,
            tries: 0,
            failures: 0,
            next: 0,
            postponed: false,
            told: false,
        }
    }

    /// When [`Dhcp::expire`] or [`Dhcp::message`] has something to do.
    pub fn deadline(&self) -> u64 {
        match self.state {
            State::Bound(bound) => self.next.min(bound.end),
            _ => self.next,
        }
    }

    /// Whether the lease has ended; another is looked for then.
    pub fn expire(&mut self, now: u64) -> bool {
        let State::Bound(bound) = self.state else {
            return false;
        };
        if now < bound.end {
            return false;
        }
        self.search(now);
        true
    }

    /// Whether a message is to be sent, or tried again.
    pub fn is_due(&self, now: u64) -> bool {
        now >= self.next || self.postponed
    }

    /// The message that is due; none if that was the last of its kind.
    pub fn message(&mut self, now: u64, random: &mut Random) -> Option<Message> {
        if matches!(self.state, State::Requesting { .. }) && self.tries >= REQUESTS {
            self.fail(now, random);
            return None;
        }
        let asked = *self.asked.get_or_insert_with(|| random.next() as u32);
        self.compose(asked, now)
    }

    /// The message that gives a lease back whose address is somebody's, if there
    /// is a lease; another is looked for after a while (3.1.5).
    pub fn decline(&mut self, now: u64, random: &mut Random) -> Option<Message> {
        let State::Bound(bound) = self.state else {
            return None;
        };
        let repr = DhcpRepr {
            transaction_id: random.next() as u32,
            requested_ip: Some(bound.lease.address),
            server_identifier: Some(bound.lease.server),
            parameter_request_list: None,
            max_size: None,
            ..plain(DhcpMessageType::Decline, self.mac)
        };
        self.search(now + DECLINED);
        Message::of(&repr, NONE, None)
    }

    /// It was sent.
    pub fn sent(&mut self, now: u64, random: &mut Random) {
        self.next = match self.state {
            State::Bound(bound) => {
                let until = if now < bound.rebind {
                    bound.rebind
                } else {
                    bound.end
                };
                let half = until.saturating_sub(now) / 2;
                now.saturating_add(half.max(MINUTE)).min(until)
            }
            _ => now + wait(self.tries, random),
        };
        self.tries += 1;
        (self.postponed, self.told) = (false, false);
    }

    /// It could not be sent, since the server's hardware address is not known.
    pub fn postpone(&mut self, now: u64) {
        self.postponed = true;
        self.next = now + FIRST_WAIT;
        if let State::Bound(bound) = self.state
            && now < bound.rebind
        {
            self.next = self.next.min(bound.rebind);
        }
    }

    /// Takes an answer, if it is one to what was asked.
    pub fn hear(&mut self, bytes: &[u8], now: u64, random: &mut Random) -> Heard {
        let reply = Reply::read(bytes, self.mac);
        let Some(reply) = reply.filter(|reply| self.asked == Some(reply.number)) else {
            return Heard::Nothing;
        };
        match (self.state, reply.kind) {
            (State::Selecting, DhcpMessageType::Offer) => self.offered(&reply, now),
            (State::Requesting { server, .. }, _) if reply.server != Some(server) => Heard::Nothing,
            (State::Requesting { address, .. }, DhcpMessageType::Ack) => {
                self.acknowledged(&reply, address, now, random)
            }
            (State::Requesting { .. }, DhcpMessageType::Nak) => {
                self.fail(now, random);
                Heard::Nothing
            }
            (State::Bound(bound), _) => self.renewed(&bound, &reply, now, random),
            _ => Heard::Nothing,
        }
    }

    fn offered(&mut self, reply: &Reply, now: u64) -> Heard {
        match reply.lease() {
            Ok(Lease {
                server, address, ..
            }) => {
                self.state = State::Requesting { server, address };
                (self.tries, self.next) = (0, now);
                Heard::Nothing
            }
            Err(why) => self.refuse(reply, why),
        }
    }

    fn acknowledged(
        &mut self,
        reply: &Reply,
        wanted: Ipv4Address,
        now: u64,
        random: &mut Random,
    ) -> Heard {
        match reply.lease() {
            Ok(lease) if lease.address == wanted => self.bind(lease, now),
            other => {
                self.fail(now, random);
                self.refuse(reply, other.err().unwrap_or(Refusal::Another))
            }
        }
    }

    /// An answer to the wish to keep the address, by the server that gave it or,
    /// once all are asked, by any.
    fn renewed(&mut self, bound: &Bound, reply: &Reply, now: u64, random: &mut Random) -> Heard {
        let known = reply.server == Some(bound.lease.server) || now >= bound.rebind;
        match reply.kind {
            _ if !known => Heard::Nothing,
            DhcpMessageType::Nak => {
                if now - bound.since >= MINUTE {
                    self.failures = 0;
                }
                self.fail(now, random);
                Heard::Lost
            }
            DhcpMessageType::Ack => match reply.lease() {
                Ok(lease) if lease.address == bound.lease.address => self.bind(lease, now),
                // The old one is good until its end.
                other => self.refuse(reply, other.err().unwrap_or(Refusal::Another)),
            },
            _ => Heard::Nothing,
        }
    }

    /// Goes by a lease from now on.
    fn bind(&mut self, lease: Lease, now: u64) -> Heard {
        let since = match self.state {
            State::Bound(bound) => bound.since,
            _ => now,
        };
        let at = |seconds: u32| match lease.seconds {
            u32::MAX => u64::MAX,
            _ => now + u64::from(seconds) * SECOND,
        };
        let (renew, rebind) = lease.times();
        self.state = State::Bound(Bound {
            lease,
            since,
            rebind: at(rebind),
            end: at(lease.seconds),
        });
        (self.asked, self.tries, self.next) = (None, 0, at(renew));
        self.postponed = false;
        self.begun = self.next;
        Heard::Lease(lease)
    }

    /// Says why an answer is not taken, once a message.
    fn refuse(&mut self, reply: &Reply, why: Refusal) -> Heard {
        let told = core::mem::replace(&mut self.told, true);
        Heard::Refused((!told).then_some((*reply, why)))
    }

    /// A round ends without a lease: the next begins after a while.
    fn fail(&mut self, now: u64, random: &mut Random) {
        let pause = match self.failures {
            0 => 0,
            failures => wait(failures - 1, random),
        };
        self.failures += 1;
        self.search(now + pause);
    }

    /// Looks for a server from `at` on.
    fn search(&mut self, at: u64) {
        self.state = State::Selecting;
        (self.asked, self.tries) = (None, 0);
        self.postponed = false;
        (self.begun, self.next) = (at, at);
    }

    /// Writes the message of the state that the client is in.
    fn compose(&self, asked: u32, now: u64) -> Option<Message> {
        let (kind, own, to, wanted, server) = match self.state {
            State::Selecting => (DhcpMessageType::Discover, NONE, None, None, None),
            State::Requesting { server, address } => (
                DhcpMessageType::Request,
                NONE,
                None,
                Some(address),
                Some(server),
            ),
            State::Bound(bound) => {
                let to = (now < bound.rebind).then_some(bound.lease.server);
                (
                    DhcpMessageType::Request,
                    bound.lease.address,
                    to,
                    None,
                    None,
                )
            }
        };
        let repr = DhcpRepr {
            transaction_id: asked,
            secs: (now.saturating_sub(self.begun) / SECOND).min(0xffff) as u16,
            client_ip: own,
            requested_ip: wanted,
            server_identifier: server,
            ..plain(kind, self.mac)
        };
        Message::of(&repr, own, to)
    }
}

/// What all messages of a client have in common.
fn plain(kind: DhcpMessageType, mac: EthernetAddress) -> DhcpRepr<'static> {
    DhcpRepr {
        message_type: kind,
        transaction_id: 0,
        secs: 0,
        client_hardware_address: mac,
        client_ip: NONE,
        your_ip: NONE,
        server_ip: NONE,
        router: None,
        subnet_mask: None,
        relay_agent_ip: NONE,
        broadcast: false,
        requested_ip: None,
        client_identifier: Some(mac),
        server_identifier: None,
        parameter_request_list: Some(WANTED),
        dns_servers: None,
        max_size: Some(MOST_ANSWER),
        lease_duration: None,
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    }
}

/// How long an answer is waited for after so many tries, in microseconds.
fn wait(tries: u32, random: &mut Random) -> u64 {
    let wait = (FIRST_WAIT << tries.min(4)).min(MOST_WAIT);
    wait - SECOND + random.next() % (2 * SECOND)
}
