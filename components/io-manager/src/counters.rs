//! What the manager counts, by name.

use monitor_api::{Counter, CounterPage};
use socket_api::Status;

/// The manager's numbers; reachable from outside by these names.
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    /// Requests forwarded to servers.
    pub requests: Counter,
    /// Completions passed to clients, refusals included.
    pub completions: Counter,
    /// Requests refused: a field was not legal.
    pub refused_field: Counter,
    /// Requests refused: not an open socket of the client's.
    pub refused_socket: Counter,
    /// Requests refused: over quota.
    pub refused_quota: Counter,
    /// Requests refused: the server is gone, or nothing to cancel.
    pub refused_other: Counter,
    /// Clients cut off because they broke their rings.
    pub cut_off: Counter,
    /// Clients whose death was noticed.
    pub clients_dead: Counter,
    /// Completions of servers that broke the protocol.
    pub server_faults: Counter,
    /// Servers given up.
    pub servers_gone: Counter,
    /// Signals sent to clients.
    pub signals_client: Counter,
    /// Signals sent to servers.
    pub signals_server: Counter,
    /// Times the manager woke up.
    pub wakeups: Counter,
}

impl Counters {
    /// Registers all numbers; without a page they are counted for nobody.
    #[must_use]
    pub fn new(page: Option<CounterPage>) -> Self {
        let counter = |name| page.map_or_else(Counter::detached, |p| p.counter(name));
        Self {
            requests: counter("requests"),
            completions: counter("completions"),
            refused_field: counter("refused.field"),
            refused_socket: counter("refused.socket"),
            refused_quota: counter("refused.quota"),
            refused_other: counter("refused.other"),
            cut_off: counter("clients.cut-off"),
            clients_dead: counter("clients.dead"),
            server_faults: counter("server.faults"),
            servers_gone: counter("servers.gone"),
            signals_client: counter("signals.client"),
            signals_server: counter("signals.server"),
            wakeups: counter("wakeups"),
        }
    }

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
}
