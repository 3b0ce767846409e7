//! What the manager counts, by name.
//!
//! Clients' accounts are kept where their bytes are passed; what has come to them
//! is added to the counters once, before the manager sleeps.

use monitor_api::{Counter, CounterPage};
use socket_api::{Account, Status, Technique};

use zerocopy::{FromBytes, Immutable, IntoBytes, transmute_mut, transmute_ref};

use crate::assembly::Refused;

/// Numbers in an account.
const NUMBERS: usize = size_of::<Account>() / size_of::<u64>();

/// Those of them that data passing books.
const BOOKED: usize = NUMBERS - size_of::<Traffic>() / size_of::<u64>();

/// What is counted here for a client's [`Account`], beside what data passing
/// books on it.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Traffic {
    pub signals: u64,
    pub requests: u64,
    pub completions: u64,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident = $make:ident $name:literal,)*) => {
        /// The manager's numbers; reachable from outside by these names.
        #[derive(Clone, Copy, Debug)]
        pub struct Counters {
            $($(#[$doc])* pub $field: Counter,)*
        }

        impl Counters {
            /// Registers all numbers; without a page they are counted for nobody.
            #[must_use]
            pub fn new(page: Option<CounterPage>) -> Self {
                Self {
                    $($field: page.map_or_else(Counter::detached, |p| p.$make($name)),)*
                }
            }
        }
    };
}

counters! {
    /// Requests forwarded to servers.
    requests = counter "requests",
    /// Requests taken from clients, those that are refused included.
    requests_taken = counter "requests.taken",
    /// Completions given to clients, refusals included.
    completions = counter "completions",
    /// Requests refused: a field was not legal.
    refused_field = counter "refused.field",
    /// Requests refused: not an open socket of the client's.
    refused_socket = counter "refused.socket",
    /// Requests refused: over quota.
    refused_quota = counter "refused.quota",
    /// Requests refused: no frames, the server is gone, nothing to cancel.
    refused_other = counter "refused.other",
    /// Clients cut off because they broke their rings.
    cut_off = counter "clients.cut-off",
    /// Clients whose death was noticed.
    clients_dead = counter "clients.dead",
    /// Entries of servers that broke the protocol.
    server_faults = counter "server.faults",
    /// Servers given up.
    servers_gone = counter "servers.gone",
    /// Entries of drivers that broke the protocol.
    driver_faults = counter "driver.faults",
    /// Drivers given up.
    drivers_gone = counter "drivers.gone",
    /// Signals sent to clients.
    signals_client = counter "signals.client",
    /// Signals sent to servers.
    signals_server = counter "signals.server",
    /// Signals sent to drivers.
    signals_driver = counter "signals.driver",
    /// Times the manager woke up.
    wakeups = counter "wakeups",
    /// Packets passed to servers.
    packets_in = counter "packets.in",
    /// Those of them that the server got all of.
    packets_whole = counter "packets.whole",
    /// Frames given to drivers.
    packets_out = counter "packets.out",
    /// Packets that servers have now.
    packets_held = gauge "packets.held",
    /// Frames dropped: the server takes no entries.
    drop_room = counter "drop.room",
    /// Frames dropped: the server holds too many.
    drop_held = counter "drop.held",
    /// Frames dropped: no slot for all of it.
    drop_whole = counter "drop.whole",
    /// Frames dropped: the IP header contradicts itself.
    drop_malformed = counter "drop.malformed",
    /// Frames to send refused: the slot is not the server's.
    transmit_slot = counter "transmit.slot",
    /// Frames to send refused: header or flags.
    transmit_header = counter "transmit.header",
    /// Frames to send refused: checksum outside the header.
    transmit_checksum = counter "transmit.checksum",
    /// Frames to send refused: a part that the server may not send.
    transmit_part = counter "transmit.part",
    /// Frames to send refused: too long or too scattered.
    transmit_size = counter "transmit.size",
    /// Segments refused: too many frames of such are in flight.
    transmit_frames = counter "transmit.frames",
    /// Frames to send refused: the rest never came.
    transmit_unfinished = counter "transmit.unfinished",
    /// Frames dropped because there is no driver.
    transmit_no_nic = counter "transmit.no-nic",
    /// `Send`s by reference.
    output_reference = counter "output.reference",
    /// `Send`s copy on write.
    output_tcow = counter "output.tcow",
    /// `Send`s copied.
    output_copy = counter "output.copy-out",
    /// `Send`s with hidden pages.
    output_hide = counter "output.hide",
    /// `Send`s with removed pages.
    output_remove = counter "output.remove",
    /// `Recv`s in place.
    input_in_place = counter "input.in-place",
    /// `Recv`s by swapping pages.
    input_swap = counter "input.swap",
    /// `Recv`s copied.
    input_copy = counter "input.copy-in",
    /// `Recv`s into a hidden region.
    input_reinstate = counter "input.reinstate",
    /// `Recv`s into a new region.
    input_create = counter "input.create",
    /// `Send`s that became `Recv`s.
    reposts = counter "reposts",
    /// `Send`s of which the rest was copied to answer the client.
    tails = counter "tails",
    /// Those that had to wait for want of frames.
    tails_refused = counter "tails.refused",
    /// `Recv`s to which bytes could not be delivered.
    deliveries_failed = counter "deliveries.failed",
    /// `Send`s refused because the server takes no messages.
    messages_full = counter "messages.full",
    /// Bytes copied into clients' buffers.
    copied_in = counter "copied.in",
    /// Bytes copied out of clients' buffers.
    copied_out = counter "copied.out",
    /// Bytes copied to answer a `Send` early.
    copied_tail = counter "copied.tail",
    /// Bytes copied for a write to a page that was being sent.
    copied_tcow = counter "copied.tcow",
    /// Bytes copied to complete a page.
    copied_reverse = counter "copied.reverse",
    /// Bytes of frames copied for the server itself.
    copied_control = counter "copied.control",
    /// Bytes moved out of a room that was needed for others.
    copied_apart = counter "copied.apart",
    /// Bytes cleared.
    cleared = counter "cleared",
    /// Bytes sent by reference.
    referenced_out = counter "referenced.out",
    /// Bytes received without a copy.
    referenced_in = counter "referenced.in",
    /// Pages mapped.
    pages_mapped = counter "pages.mapped",
    /// Pages unmapped.
    pages_unmapped = counter "pages.unmapped",
    /// Pages whose rights were changed.
    pages_protected = counter "pages.protected",
    /// Faults resolved by restoring access.
    faults_restored = counter "faults.restored",
    /// Faults resolved by a copy.
    faults_copied = counter "faults.copied",
    /// Faults that must wait for frames.
    faults_busy = counter "faults.busy",
    /// Faults that are not the manager's to resolve.
    faults_forwarded = counter "faults.forwarded",
    /// Frames in the reserve now.
    reserve = gauge "reserve",
}

impl Counters {
    /// Counts a refusal by its reason.
    pub(crate) fn refused(&self, status: Status) {
        let counter = match status {
            Status::BadRequest => self.refused_field,
            Status::BadSocket => self.refused_socket,
            Status::QuotaExceeded => self.refused_quota,
            _ => self.refused_other,
        };
        counter.add(1);
    }

    /// The counter of refused frames for a reason.
    pub(crate) const fn transmit_refused(&self, why: Refused) -> Counter {
        match why {
            Refused::Slot => self.transmit_slot,
            Refused::Header => self.transmit_header,
            Refused::Checksum => self.transmit_checksum,
            Refused::Part => self.transmit_part,
            Refused::Size => self.transmit_size,
            Refused::Frames => self.transmit_frames,
            Refused::Unfinished => self.transmit_unfinished,
        }
    }

    /// The counter of `Send`s by technique.
    #[inline]
    pub(crate) const fn output(&self, technique: Technique) -> Counter {
        match technique {
            Technique::Reference => self.output_reference,
            Technique::Tcow => self.output_tcow,
            Technique::Hide => self.output_hide,
            Technique::Remove => self.output_remove,
            _ => self.output_copy,
        }
    }

    /// The counter of `Recv`s by technique.
    #[inline]
    pub(crate) const fn input(&self, technique: Technique) -> Counter {
        match technique {
            Technique::InPlace => self.input_in_place,
            Technique::Swap => self.input_swap,
            Technique::Reinstate => self.input_reinstate,
            Technique::Create => self.input_create,
            _ => self.input_copy,
        }
    }

    /// The counters that clients' accounts and traffic sum up to.
    pub(crate) const fn of_accounts(&self) -> AccountCounters {
        // In the order of the fields of an `Account`; its last are `Traffic`.
        [
            self.copied_in,
            self.copied_out,
            self.copied_tail,
            self.copied_tcow,
            self.copied_reverse,
            self.cleared,
            self.referenced_out,
            self.referenced_in,
            self.pages_mapped,
            self.pages_unmapped,
            self.pages_protected,
            self.faults_restored,
            self.faults_copied,
            self.signals_client,
            self.requests_taken,
            self.completions,
        ]
    }
}

/// A counter for each number in an account.
pub(crate) type AccountCounters = [Counter; NUMBERS];

/// Adds what was booked on an account since it was as `shown`, which it is then.
/// Out of line, since a turn in which nothing was booked does not come here.
#[inline(never)]
pub(crate) fn add_booked(counters: &AccountCounters, account: &Account, shown: &mut Account) {
    let account: &[u64; NUMBERS] = transmute_ref!(account);
    let shown: &mut [u64; NUMBERS] = transmute_mut!(shown);
    add_news(
        &counters[..BOOKED],
        &account[..BOOKED],
        &mut shown[..BOOKED],
    );
}

/// As [`add_booked`], of traffic.
#[inline]
pub(crate) fn add_traffic(counters: &AccountCounters, traffic: &Traffic, shown: &mut Traffic) {
    let traffic: &[u64; NUMBERS - BOOKED] = transmute_ref!(traffic);
    let shown: &mut [u64; NUMBERS - BOOKED] = transmute_mut!(shown);
    add_news(&counters[BOOKED..], traffic, shown);
}

#[inline(always)]
fn add_news(counters: &[Counter], now: &[u64], shown: &mut [u64]) {
    for ((counter, now), shown) in counters.iter().zip(now).zip(shown) {
        if *now != *shown {
            counter.add(now.wrapping_sub(*shown));
            *shown = *now;
        }
    }
}
