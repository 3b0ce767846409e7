//! ARP (RFC 826): questions, answers, and what smoltcp is told.
//!
//! Problem: smoltcp believes what anybody says, remembers it in a table for each
//! interface, and asks one question a second in all, so one neighbour that is not
//! there keeps others from being found. Invariant: no ARP packet reaches smoltcp,
//! and none leaves it. What it wants to ask is a wish (`hops.wanted`); what is
//! known, by the rules of [`crate::neighbours`], it is told as an answer to that.
//! Who waits for a neighbour is woken by any answer, and by its absence.

use alloc::vec::Vec;

use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Ipv4Address,
};

use crate::classify::{self, Arp, Arrived, ETHERNET};
use crate::counters::{Counter, Counters};
use crate::environment::{Environment, Outgoing};
use crate::ingress::Fate;
use crate::neighbours::{PLACES, Said, Step, Way};
use crate::server::{Id, Run, Server};
use crate::stack::{Io, Stack, Via};
use crate::wire::Manner;

/// Bytes of an ARP packet for IPv4 over Ethernet.
const ARP: usize = 28;

/// Work that waits for a neighbour: by number, each once.
pub(crate) struct Awaited {
    list: Vec<u32>,
    waits: Vec<bool>,
}

impl Awaited {
    /// For numbers below `ids`.
    pub fn new(ids: usize) -> Self {
        Self {
            list: Vec::with_capacity(ids),
            waits: alloc::vec![false; ids],
        }
    }

    fn push(&mut self, number: u32) {
        if !core::mem::replace(&mut self.waits[number as usize], true) {
            self.list.push(number);
        }
    }

    fn pop(&mut self) -> Option<u32> {
        let number = self.list.pop()?;
        self.waits[number as usize] = false;
        Some(number)
    }
}

/// An ARP packet with its frame.
pub(crate) fn packet(
    operation: ArpOperation,
    (mac, from): (EthernetAddress, Ipv4Address),
    (to_mac, to): (EthernetAddress, Ipv4Address),
    frame_to: EthernetAddress,
) -> [u8; ETHERNET + ARP] {
    let mut frame = [0; ETHERNET + ARP];
    EthernetRepr {
        src_addr: mac,
        dst_addr: frame_to,
        ethertype: EthernetProtocol::Arp,
    }
    .emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
    ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: mac,
        source_protocol_addr: from,
        target_hardware_addr: to_mac,
        target_protocol_addr: to,
    }
    .emit(&mut ArpPacket::new_unchecked(&mut frame[ETHERNET..]));
    frame
}

/// Nobody's hardware address.
const UNKNOWN: EthernetAddress = EthernetAddress([0; 6]);

impl Stack {
    /// Asks for a host, at an address or everybody's, as whoever has `own`.
    pub fn ask<E: Environment>(
        &mut self,
        own: Ipv4Address,
        host: Ipv4Address,
        at: Option<EthernetAddress>,
        env: &mut E,
        counters: &mut Counters,
    ) {
        let mac = EthernetAddress(self.facts().mac);
        let to = at.unwrap_or(EthernetAddress::BROADCAST);
        let ask = packet(ArpOperation::Request, (mac, own), (UNKNOWN, host), to);
        send(&ask, env, counters);
    }

    /// Tells smoltcp a neighbour's address, as an answer to it.
    pub fn tell<E: Environment>(
        &mut self,
        neighbour: (Ipv4Address, EthernetAddress),
        io: Io<'_, E>,
    ) {
        let Some(own) = self.own() else {
            return;
        };
        let mac = EthernetAddress(self.facts().mac);
        let from = (neighbour.1, neighbour.0);
        let answer = packet(ArpOperation::Reply, from, (mac, own), mac);
        for via in [Via::Wide, Via::Narrow] {
            let io = Io::new(&mut *io.env, &mut *io.counters);
            self.show(via, &answer, Manner::Mute, io);
        }
    }
}

fn send<E: Environment>(frame: &[u8], env: &mut E, counters: &mut Counters) {
    if env.transmit(&Outgoing::whole(frame)) {
        counters.add(Counter::FramesSent);
    } else {
        counters.add(Counter::DropSendRoom);
    }
}

impl Server {
    /// An ARP frame.
    pub(crate) fn arp_in(&mut self, arrived: &Arrived<'_>, env: &mut impl Environment) -> Fate {
        let arp = match arrived.whole {
            true => classify::arp(arrived.frame),
            false => None,
        };
        match arp {
            Some(arp) => self.arp(&arp, env),
            None => self.dropped(Counter::DropBadArp),
        }
    }

    fn arp(&mut self, arp: &Arp, env: &mut impl Environment) -> Fate {
        if arp.mac == UNKNOWN || arp.mac != arp.src_mac {
            return self.dropped(Counter::DropArpSender);
        }
        let Some(address) = self.stack.address else {
            return Fate::Drop;
        };
        let own = address.cidr.address();
        if arp.mac.0 == self.stack.facts().mac {
            // A wire that gives back what it is given.
            return Fate::Drop;
        }
        if arp.from == own {
            return self.conflict(arp.mac, env);
        }
        let asks = !arp.reply && arp.to == own;
        // Who is about to take an address asks for it in nobody's name.
        match (arp.from.is_unspecified(), asks) {
            (true, true) => return self.answer_arp(arp, env),
            (true, false) => return Fate::Drop,
            (false, _) => {}
        }
        if !address.is_neighbour(arp.from) {
            return self.dropped(Counter::DropArpSender);
        }
        match self.hear_neighbour(arp, env) {
            Said::Unknown if asks => self.answer_stranger(arp, env),
            Said::Unknown if arp.reply => self.dropped(Counter::DropArpUnasked),
            _ if asks => self.answer_arp(arp, env),
            _ => Fate::Drop,
        }
    }

    /// What somebody says of itself, by the way or not.
    fn hear_neighbour(&mut self, arp: &Arp, env: &mut impl Environment) -> Said {
        let now = self.now();
        let reply = arp.reply && self.stack.own() == Some(arp.to);
        let said = self.stack.neighbours.hear(arp.from, arp.mac, reply, now);
        match said {
            Said::Answer => {
                let io = Io::new(env, &mut self.counters);
                self.stack.tell((arp.from, arp.mac), io);
                self.neighbour_found();
            }
            Said::Other => self.counters.add(Counter::DropArpOther),
            Said::Same | Said::Unknown => {}
        }
        self.tend_neighbours();
        said
    }

    /// Answers a host that we do not know, and asks it first: what it sends next
    /// can be answered when it comes.
    fn answer_stranger(&mut self, arp: &Arp, env: &mut impl Environment) -> Fate {
        if !self.arp_rate.take(self.now()) {
            return self.dropped(Counter::DropArpFlood);
        }
        let now = self.now();
        if self.stack.neighbours.meet(arp.from, arp.mac, now) {
            self.service_neighbours(env);
        }
        self.send_answer(arp, env)
    }

    fn answer_arp(&mut self, arp: &Arp, env: &mut impl Environment) -> Fate {
        if !self.arp_rate.take(self.now()) {
            return self.dropped(Counter::DropArpFlood);
        }
        self.send_answer(arp, env)
    }

    fn send_answer(&mut self, arp: &Arp, env: &mut impl Environment) -> Fate {
        let own = (EthernetAddress(self.stack.facts().mac), arp.to);
        let asker = (arp.mac, arp.from);
        let answer = packet(ArpOperation::Reply, own, asker, arp.mac);
        send(&answer, env, &mut self.counters);
        Fate::Drop
    }

    /// Has something woken when a neighbour has answered, or is found absent; the
    /// neighbour that it needs is asked for.
    #[cold]
    pub(crate) fn await_neighbour(&mut self, id: Id) {
        let number = self.number(id);
        self.awaited.push(number);
        if let Id::Connection(c) = id {
            // smoltcp may not have said so: it asks once a second in all.
            let host = self.connections[c as usize].flow.remote;
            self.want_for_smoltcp(host);
        }
        if let Some(wanted) = self.stack.hops.wanted.take() {
            self.want_for_smoltcp(wanted);
        }
        self.tend_neighbours();
    }

    fn want_for_smoltcp(&mut self, host: Ipv4Address) {
        let Some(address) = self.stack.address else {
            return;
        };
        let neighbour = address.next_hop(host);
        if let Way::Known(_) = self.stack.want(neighbour) {
            self.stack
                .neighbours
                .tell_smoltcp(neighbour, self.stack.now);
        }
    }

    /// Has done what is to be done about neighbours, when it is.
    #[cold]
    pub(crate) fn tend_neighbours(&mut self) {
        let next = [self.stack.neighbours.deadline(), self.guard.deadline()];
        let next = next.into_iter().flatten().min();
        match next {
            Some(at) if at <= self.now() => self.wake(Id::Neighbours),
            next => self.set_timer(Id::Neighbours, next),
        }
    }

    /// Does what is to be done about neighbours, and about the own address.
    pub(crate) fn service_neighbours(&mut self, env: &mut impl Environment) -> Run {
        let mut news = false;
        while let Some(own) = self.stack.own()
            && let Some(step) = self.stack.neighbours.due(self.stack.now)
        {
            match step {
                Step::Ask(host, at) => {
                    self.stack.ask(own, host, at, env, &mut self.counters);
                }
                Step::Tell(host, mac) => {
                    self.stack
                        .tell((host, mac), Io::new(env, &mut self.counters));
                    news = true;
                }
                Step::Forget => self.forget_neighbour(env),
                Step::GiveUp => news = true,
            }
        }
        if news {
            self.neighbour_found();
        }
        self.guard_address(env);
        self.tend_neighbours();
        Run::Done
    }

    /// smoltcp can only forget all neighbours; the others it is told again.
    fn forget_neighbour(&mut self, env: &mut impl Environment) {
        self.stack.forget();
        for place in 0..PLACES {
            if let Some(neighbour) = self.stack.neighbours.known(place) {
                let io = Io::new(&mut *env, &mut self.counters);
                self.stack.tell(neighbour, io);
            }
        }
    }

    /// Wakes what waits for a neighbour.
    fn neighbour_found(&mut self) {
        while let Some(number) = self.awaited.pop() {
            self.wake_number(number);
        }
    }
}
