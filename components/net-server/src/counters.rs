//! Counters and gauges, each with a name, in one flat table.
//!
//! Problem: a dropped packet must leave a trace that says why. Invariant:
//! every place that drops something adds to a counter of its own; the table
//! is plain numbers, which the program copies to where others may read them.

macro_rules! counters {
    ($($(#[$meta:meta])* $variant:ident = $name:literal,)*) => {
        /// What is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Counter { $($(#[$meta])* $variant,)* }

        impl Counter {
            /// All counters, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// Their names, in the same order.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];
        }
    };
}

counters! {
    /// Frames received.
    FramesReceived = "frames_received",
    /// Frames sent.
    FramesSent = "frames_sent",
    /// Requests taken.
    Requests = "requests",
    /// Completions given.
    Completions = "completions",
    /// Payload bytes copied by the server.
    Copied = "bytes_copied",
    /// Bytes without meaning that smoltcp moves in place of payload.
    Scratch = "bytes_scratch",
    /// Bytes of packets that the server itself consumes (ARP, ICMP, DHCP,
    /// DNS), copied into private memory.
    Control = "bytes_control",
    /// Payload bytes given to clients by reference.
    ReferencedIn = "bytes_referenced_in",
    /// Payload bytes sent by reference, each time that they are sent.
    ReferencedOut = "bytes_referenced_out",
    /// Sockets shown to smoltcp, over all calls.
    SocketsShown = "sockets_shown",
    /// Connections accepted from a listener's queue or by it.
    ConnectionsAccepted = "connections_accepted",
    /// Connections opened by us.
    ConnectionsOpened = "connections_opened",
    /// Segments answered or absorbed in TIME-WAIT.
    TimeWaitSegments = "time_wait_segments",
    /// Datagrams put together from fragments.
    Reassembled = "datagrams_reassembled",
    /// Fragments sent.
    FragmentsSent = "fragments_sent",
    /// Answers of DHCP servers not taken: no usable address, router or time.
    DhcpRefused = "dhcp_refused",

    /// Faults of the manager.
    ManagerFaults = "manager_faults",
    /// Requests refused as malformed.
    BadRequests = "bad_requests",
    /// Completions that found no room.
    CompletionsLost = "completions_lost",

    /// Dropped: shorter than an Ethernet header.
    DropRunt = "drop_runt",
    /// Dropped: Ethernet destination not ours.
    DropNotOurMac = "drop_not_our_mac",
    /// Dropped: neither ARP nor IPv4.
    DropEthertype = "drop_ethertype",
    /// Dropped: ARP malformed.
    DropBadArp = "drop_bad_arp",
    /// Dropped: ARP of a sender that cannot be who it says: no hardware address or
    /// another than the frame's, or an address that no neighbour can have.
    DropArpSender = "drop_arp_bad_sender",
    /// Dropped: an ARP reply that nobody asked for.
    DropArpUnasked = "drop_arp_unasked",
    /// Dropped: ARP that claims another hardware address for a neighbour than the
    /// one that is known, which is asked.
    DropArpOther = "drop_arp_other_address",
    /// ARP of somebody else who says that our address is his (RFC 5227).
    AddressConflicts = "address_conflicts",
    /// Dropped: ARP over the rate limit.
    DropArpFlood = "drop_arp_flood",
    /// Dropped: IPv4 header malformed or truncated.
    DropBadIpHeader = "drop_bad_ip_header",
    /// Dropped: IPv4 header checksum.
    DropIpChecksum = "drop_ip_checksum",
    /// Dropped: IPv4 source not a host.
    DropBadSource = "drop_bad_source",
    /// Dropped: IPv4 destination not ours.
    DropNotOurAddress = "drop_not_our_address",
    /// Dropped: UDP, TCP or ICMP header malformed or truncated.
    DropBadTransport = "drop_bad_transport_header",
    /// Dropped: UDP, TCP or ICMP checksum.
    DropChecksum = "drop_bad_checksum",
    /// Dropped: fragment malformed (length, offset beyond 64 KiB).
    DropBadFragment = "drop_bad_fragment",
    /// Dropped whole: fragments overlap (RFC 5722).
    DropFragmentOverlap = "drop_fragment_overlap",
    /// Dropped: no room to put fragments together; a datagram that gave way to a
    /// newer one counts once.
    DropFragmentTable = "drop_fragment_table_full",
    /// Dropped: fragment of something else than UDP.
    DropFragmentKind = "drop_fragment_not_udp",
    /// Dropped: fragments did not complete in time.
    DropFragmentTimeout = "drop_fragment_timeout",
    /// A datagram not sent: its neighbour does not answer ARP, or too many wait
    /// for answers.
    DropNoNeighbour = "drop_no_neighbour",
    /// No socket for a datagram or segment (answered within the rate).
    DropNoSocket = "drop_no_socket",
    /// Dropped: datagram from another than the connected peer.
    DropNotPeer = "drop_not_peer",
    /// Dropped: the socket's receive queue is full (slow reader).
    DropReceiveQueue = "drop_receive_queue_full",
    /// Dropped: as many packets as may be are held already, for this client
    /// or in all (of a segment, its payload only).
    DropPinned = "drop_pinned",
    /// A connection refused or a half-open one evicted: backlog full.
    DropBacklog = "drop_backlog_overflow",
    /// A connection refused: no connection slot free.
    DropNoConnection = "drop_no_connection_slot",
    /// Not answered: over the rate limit of unsolicited answers.
    DropReplyRate = "drop_reply_rate",
    /// A frame not sent: no send slot.
    DropSendRoom = "drop_no_send_slot",
    /// A connection reset, or a segment not sent, because smoltcp and the
    /// lists of payload disagree. Always 0.
    OutOfStep = "streams_out_of_step",
    /// TIME-WAIT entries given up early for newer ones.
    TimeWaitRecycled = "time_wait_recycled",
    /// Segments sent again.
    SentAgain = "segments_sent_again",
    /// Connections that ended by timeout.
    ConnectionTimeouts = "connection_timeouts",

    /// Gauge: sockets in use.
    SocketsInUse = "sockets_in_use",
    /// Gauge: TCP connection slots (with their buffers) free.
    ConnectionsFree = "connections_free",
    /// Gauge: UDP receive queues free.
    UdpQueuesFree = "udp_queues_free",
    /// Gauge: connections half open.
    HalfOpen = "half_open",
    /// Gauge: connections in TIME-WAIT.
    TimeWait = "time_wait",
    /// Gauge: requests pending.
    RequestsPending = "requests_pending",
    /// Gauge: datagrams being put together.
    Reassembling = "reassembling",
    /// Gauge: received packets held.
    PacketsHeld = "packets_held",
}

/// The table.
#[derive(Clone, Debug)]
pub struct Counters {
    values: [u64; Counter::ALL.len()],
    /// A bit for each value that changed since it was copied.
    changed: [u64; WORDS],
}

/// Words with a bit for each value.
const WORDS: usize = Counter::ALL.len().div_ceil(64);

impl Default for Counters {
    fn default() -> Self {
        Self {
            values: [0; Counter::ALL.len()],
            changed: [u64::MAX; WORDS],
        }
    }
}

impl Counters {
    /// Adds one.
    #[inline]
    pub fn add(&mut self, counter: Counter) {
        self.add_n(counter, 1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add_n(&mut self, counter: Counter, n: u64) {
        let slot = &mut self.values[counter as usize];
        *slot = slot.wrapping_add(n);
        self.mark(counter);
    }

    /// A value has changed.
    #[inline(always)]
    fn mark(&mut self, counter: Counter) {
        let place = counter as usize;
        self.changed[place / 64] |= 1 << (place % 64);
    }

    /// Sets a gauge.
    #[inline]
    pub(crate) fn set(&mut self, counter: Counter, value: u64) {
        let slot = &mut self.values[counter as usize];
        if *slot != value {
            *slot = value;
            self.mark(counter);
        }
    }

    /// One value.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize]
    }

    /// All values, in the order of [`Counter::NAMES`].
    #[must_use]
    pub fn values(&self) -> &[u64] {
        &self.values
    }

    /// Calls `copy` with the place and value of each number that changed
    /// since the last time.
    #[inline]
    pub fn copy_changed(&mut self, mut copy: impl FnMut(usize, u64)) {
        for (word, changed) in self.changed.iter_mut().enumerate() {
            let mut changed = core::mem::take(changed);
            while changed != 0 {
                let place = word * 64 + changed.trailing_zeros() as usize;
                if let Some(value) = self.values.get(place) {
                    copy(place, *value);
                }
                changed &= changed - 1;
            }
        }
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Counter::NAMES.iter().copied().zip(self.values)
    }
}
