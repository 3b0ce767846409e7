//! Carries a program out.
//!
//! Invariant: no blocking call is made that nothing would end, and none while
//! the state is borrowed: what goes on meanwhile needs it.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::rc::Rc;

use ioipc::queue::Memory;
use ioipc::{Buffer, Passing, UserBuffer};
use model_tests::pairs::address;
use model_tests::{LARGE, LARGE_BYTES, Wire, World, background};

use crate::calls::{receive_buffer_now, receive_now, send_now};
use crate::client::{Got, OPERATIONS, Pending, Socket, What};
use crate::program::{End, FIRST, Later, Mode, Op, Program};
use crate::setup::{hosts, set_up};
use crate::state::{PORT, State, TECHNIQUES, Tally, peer};

/// Bytes, headers included, that may be on their way between two clients:
/// fewer than the receiving server keeps of datagrams.
const MOST: usize = 100_000;
/// The token of a blocking call.
const CALL: u64 = u64::MAX;

/// A program being run.
struct Run {
    state: Rc<RefCell<State>>,
}

/// Runs a program; what was done.
pub fn run(program: &Program) -> Tally {
    World::with(hosts(program), |world| {
        // Whatever panics, nothing of this may wait for a broken world.
        let run = ManuallyDrop::new(Run {
            state: Rc::new(RefCell::new(set_up(world, program))),
        });
        let state = run.state.clone();
        let background = background::set(move || meanwhile(&state));
        run.fill();
        for op in &program.ops {
            run.op(op);
            let mut state = run.state.borrow_mut();
            (state.blocked, state.later) = (None, None);
        }
        run.finish();
        drop(background);
        ManuallyDrop::into_inner(run).close()
    })
}

/// What goes on while somebody waits.
fn meanwhile(state: &RefCell<State>) {
    // Submitting may wait too.
    let Ok(mut state) = state.try_borrow_mut() else {
        return;
    };
    if let Some((n, later)) = &mut state.later {
        let n = *n;
        later.steps -= 1;
        let Later { steps, at, len } = *later;
        if steps == 0 {
            state.later = None;
            state.store(n, at, len);
        }
    }
    state.poll();
    state.receive_leftovers();
}

impl Run {
    /// Puts something into all memory that programs use most.
    fn fill(&self) {
        let mut state = self.state.borrow_mut();
        for n in 0..state.clients.len() {
            state.store(n, FIRST, 40 * 4096);
            state.store(n, LARGE - 8192, 100_000);
            state.store(n, LARGE + LARGE_BYTES / 2 - 8192, 80_000);
        }
    }

    fn op(&self, op: &Op) {
        match *op {
            Op::Send {
                end,
                at,
                len,
                passing,
                mode,
                later,
            } => {
                self.send(end, (at, len), passing, (mode, later));
            }
            Op::Receive {
                end,
                at,
                room,
                passing,
                mode,
            } => {
                self.receive(end, (at, room), passing, mode);
            }
            Op::SendBuffer {
                end,
                len,
                passing,
                queue,
            } => {
                self.send_buffer(end, len, passing, queue);
            }
            Op::ReceiveBuffer {
                end,
                passing,
                onward,
            } => {
                self.receive_buffer(end, passing, onward);
            }
            Op::Store { end, at, len } => self.state.borrow_mut().store(number(end), at, len),
            Op::Step { steps, frames } => {
                let world = self.state.borrow().world;
                world.lock().frames = frames;
                for _ in 0..steps {
                    world.step();
                }
                // A NIC that sends nothing would keep everybody waiting.
                world.lock().frames = frames.max(1);
            }
            Op::Poll => self.state.borrow_mut().poll(),
            Op::Die { end } => self.die(end),
        }
    }

    /// Whether a client may send so much more.
    fn may_send(&self, n: usize, len: usize) -> bool {
        let state = self.state.borrow();
        let client = &state.clients[n];
        let (_, bytes) = state.flows[n].pending();
        !client.over && bytes + len + 1024 <= MOST
    }

    fn send(
        &self,
        end: End,
        (at, len): (u32, usize),
        passing: Option<Passing>,
        (mode, later): (Mode, Option<Later>),
    ) {
        let n = number(end);
        if !self.may_send(n, len) {
            return;
        }
        let mut state = self.state.borrow_mut();
        if mode == Mode::Queue && state.clients[n].queue.outstanding() == OPERATIONS {
            return;
        }
        // Slots are copied to, whatever was asked for.
        let passing = passing.filter(|_| mode != Mode::Now);
        let mut pending = Pending {
            what: What::Receive,
            at,
            len,
            passing,
        };
        let id = state.begin_send(n, pending);
        pending.what = What::Send(id);
        let memory = UserBuffer::at(at, len as u32);
        if mode == Mode::Queue {
            state.submit_send(n, memory.into(), pending, id);
            return;
        }
        state.clients[n].pending.insert(CALL, pending);
        if end.client == 1 {
            state.later = later.map(|later| (n, later));
        }
        state.blocked = Some(n);
        let socket = state.clients[n].socket.again();
        drop(state);
        let sent = send_now(&socket, end, memory, passing, mode);
        let mut state = self.state.borrow_mut();
        state.clients[n].pending.remove(&CALL);
        state.end_send(n, id, &pending, sent);
    }

    fn receive(&self, end: End, (at, room): (u32, usize), passing: Option<Passing>, mode: Mode) {
        let n = number(end);
        let mut state = self.state.borrow_mut();
        let client = &state.clients[n];
        let full = client.queue.outstanding() == OPERATIONS;
        if client.over || client.awaits(at, room) || (room == 0 && state.stream) {
            return;
        }
        if mode == Mode::Queue {
            if !full {
                state.submit_receive(n, at, room, passing);
            }
            return;
        }
        if mode == Mode::Blocking && state.flows[peer(n)].pending().0 == 0 {
            return;
        }
        // What has come through slots may be followed by more that does, also
        // where the manager refuses a room.
        state.clients[n].slots |=
            mode == Mode::Now || room == 0 || at as usize + room > LARGE as usize;
        let passing = passing.filter(|_| mode != Mode::Now);
        let pending = Pending {
            what: What::Receive,
            at,
            len: room,
            passing,
        };
        state.begin_receive(n, at, room);
        let token = state.new_token();
        state.clients[n].pending.insert(token, pending);
        state.blocked = Some(n);
        let socket = state.clients[n].socket.again();
        drop(state);
        let got = receive_now(&socket, UserBuffer::at(at, room as u32), passing, mode);
        let mut state = self.state.borrow_mut();
        state.blocked = None;
        state.poll();
        state.end_receive(n, token, got.map(Got::Memory));
    }

    fn send_buffer(&self, end: End, len: usize, passing: Option<Passing>, queue: bool) {
        let n = number(end);
        if !self.may_send(n, len) {
            return;
        }
        let stack = self.state.borrow().clients[n].pair.stacks[end.host];
        let Ok(mut buffer) = Buffer::alloc_on(stack, len) else {
            return;
        };
        let bytes = self.state.borrow_mut().fresh(len);
        assert!(buffer.write(0, &bytes));
        self.send_filled(end, buffer, &bytes, passing, queue);
    }

    fn send_filled(
        &self,
        end: End,
        buffer: Buffer,
        bytes: &[u8],
        passing: Option<Passing>,
        queue: bool,
    ) {
        let n = number(end);
        let mut state = self.state.borrow_mut();
        // Only a queue tells which of its operations was refused.
        let passing = match queue {
            true => passing,
            false => passing.map(|p| Passing { forced: None, ..p }),
        };
        let id = state.flows[n].begin(bytes.to_vec());
        let pending = Pending {
            what: What::Send(id),
            at: 0,
            len: bytes.len(),
            passing,
        };
        state.done.sends += 1;
        if queue {
            if state.clients[n].queue.outstanding() == OPERATIONS {
                state.flows[n].end(id, None).unwrap();
            } else {
                state.submit_send(n, Memory::Buffer(buffer), pending, id);
            }
            return;
        }
        state.blocked = Some(n);
        let socket = state.clients[n].socket.again();
        drop(state);
        let to = address(1 - end.host, PORT + end.client as u16);
        let sent = match (&socket, passing) {
            (Socket::Udp(s), None) => s.send_buffer_to(buffer, to),
            (Socket::Udp(s), Some(p)) => s.send_buffer_to_with(buffer, to, p),
            (Socket::Tcp(s), None) => s.send_buffer(buffer),
            (Socket::Tcp(s), Some(p)) => s.send_buffer_with(buffer, p),
        };
        let sent = sent.map(|()| bytes.len()).map_err(|unsent| unsent.error);
        self.state.borrow_mut().end_send(n, id, &pending, sent);
    }

    fn receive_buffer(&self, end: End, passing: Option<Passing>, onward: bool) {
        let n = number(end);
        let mut state = self.state.borrow_mut();
        if state.clients[n].over || state.flows[peer(n)].pending().0 == 0 {
            return;
        }
        // Without semantics of its own it is a slot.
        state.clients[n].slots |= passing.is_none();
        state.blocked = Some(n);
        state.done.receives += 1;
        let token = state.new_token();
        let pending = Pending {
            what: What::Receive,
            at: 0,
            len: 0,
            passing,
        };
        state.clients[n].pending.insert(token, pending);
        let socket = state.clients[n].socket.again();
        drop(state);
        let got = receive_buffer_now(&socket, passing);
        let (got, buffer) = match got {
            Ok(Some(buffer)) => {
                let mut bytes = vec![0; buffer.len()];
                assert!(buffer.read(0, &mut bytes));
                let room = buffer.capacity();
                (Ok(Got::Buffer(bytes.clone(), room)), Some((buffer, bytes)))
            }
            Ok(None) => (Ok(Got::Memory(0)), None),
            Err(error) => (Err(error), None),
        };
        let mut state = self.state.borrow_mut();
        state.blocked = None;
        state.poll();
        state.end_receive(n, token, got);
        drop(state);
        if let Some((buffer, bytes)) = buffer
            && onward
            && self.may_send(n, bytes.len())
        {
            self.send_filled(end, buffer, &bytes, None, false);
        }
    }

    /// A client dies; its peer's connection is of no use then.
    fn die(&self, end: End) {
        let n = number(end);
        let mut state = self.state.borrow_mut();
        if state.clients[n].over {
            return;
        }
        state.world.lock().hosts[end.host]
            .manager
            .client_died(end.client);
        for n in [n, peer(n)] {
            state.clients[n].over = true;
            state.flows[n].give_up();
        }
        state.done.deaths += 1;
    }

    /// Lets everything arrive that is on its way, and looks at all memory.
    fn finish(&self) {
        let world = self.state.borrow().world;
        {
            let mut inner = world.lock();
            inner.frames = 64;
            inner.wire = Wire::default();
        }
        for _ in 0..20_000 {
            let mut state = self.state.borrow_mut();
            state.poll();
            state.receive_leftovers();
            if state.is_settled() {
                break;
            }
            drop(state);
            world.step();
        }
        let mut state = self.state.borrow_mut();
        assert!(
            state.is_settled(),
            "something never arrives: {:?}",
            state.clients
        );
        for client in &mut state.clients {
            client.check_all();
        }
    }

    /// Gives everything back, and looks at the manager's books.
    fn close(self) -> Tally {
        let mut state = self.state.borrow_mut();
        let (world, mut done) = (state.world, state.done);
        for (n, name) in TECHNIQUES.iter().enumerate() {
            let inner = world.lock();
            done.techniques[n] = inner.hosts.iter().map(|host| host.count(name)).sum();
        }
        let mut alive = Vec::new();
        for client in state.clients.drain(..) {
            let End {
                host,
                client: number,
            } = client.end;
            let served = world.lock().hosts[host].manager.is_served(number);
            if served {
                alive.push(client.pair.stacks[host]);
                drop(client);
            } else {
                // Its library would wait for ever.
                std::mem::forget(client);
            }
        }
        for _ in 0..200 {
            if [0, 1].iter().all(|host| is_clean(world, *host)) {
                return done;
            }
            // Streams are closed bit by bit, whenever the library is called;
            // what came of a datagram that never will be whole is kept for a
            // while.
            for stack in &alive {
                stack.account().unwrap();
            }
            world.settle(50);
            world.lock().now_ns += 500_000_000;
        }
        let books = [0, 1].map(|host| world.lock().hosts[host].manager.books());
        panic!("something is lost: {books:#?}");
    }
}

/// Whether nobody has anything of a host's any more.
fn is_clean(world: &World, host: usize) -> bool {
    let books = world.lock().hosts[host].manager.books();
    let client =
        |c: &io_manager::ClientBooks| c.slots == 0 && c.queued_bytes == 0 && c.sockets == 0;
    let nic = |n: &io_manager::NicBooks| n.with_server == 0 && n.slots_away == 0 && n.backlog == 0;
    books.clients.iter().all(client) && books.nics.iter().all(nic)
}

fn number(end: End) -> usize {
    end.host * 2 + end.client
}
