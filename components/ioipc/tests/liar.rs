//! An I/O manager that lies: errors at most, never a panic or a hang.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ioipc::net::{TcpStream, UdpSocket};
use ioipc::queue::Queue;
use ioipc::{Buffer, ErrorKind, Passing, Platform, Quota, Semantics, Settings, Stack, UserBuffer};
use proptest::prelude::*;
use shared_ring::{Consumer, Producer, Region, SharedMemory};
use socket_api as api;
use socket_api::{Completion, Extent, Op, Request, Status};
use world::memory::Memory;
use zerocopy::{FromBytes, IntoBytes};

const QUOTA: Quota = Quota {
    sockets: 8,
    requests: 64,
    queued_bytes: 64 << 10,
};

struct Host {
    control: SharedMemory,
    memory: Memory,
}

impl Platform for Host {
    fn control(&self) -> SharedMemory {
        self.control
    }
    fn data(&self) -> Extent {
        self.memory.data()
    }
    fn region(&self) -> Option<Region> {
        Some(self.memory.region())
    }
    fn address_of(&self, pointer: usize, len: usize) -> Option<u32> {
        self.memory.address_of(pointer, len)
    }
    fn quota(&self) -> Quota {
        QUOTA
    }
    fn signal_manager(&self) {}
    fn now_ns(&self) -> u64 {
        use std::time::{SystemTime, UNIX_EPOCH};
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |d| d.as_nanos() as u64)
    }
    fn resolution_ns(&self) -> u64 {
        1
    }
    fn wait(&self, _: usize, _: bool, _: Option<u64>) {
        std::thread::yield_now();
    }
    fn wake(&self, _: usize) {}
    fn yield_now(&self) {
        std::thread::yield_now();
    }
}

fn stack() -> (&'static Stack, &'static Host) {
    let control = world::memory(api::CLIENT_CONTROL_BYTES);
    for at in [api::REQUESTS_OFFSET, api::COMPLETIONS_OFFSET] {
        let ring = control.slice(at, api::CLIENT_RING.bytes()).unwrap();
        api::CLIENT_RING.format(&ring).unwrap();
    }
    let host: &'static Host = Box::leak(Box::new(Host {
        control,
        memory: Memory::new(256 << 10),
    }));
    let bytes = ioipc::bookkeeping_bytes(8, 64);
    let books: &'static mut [u64] = Box::leak(vec![0; bytes / 8].into_boxed_slice());
    let stack = Stack::new(host, books.as_mut_bytes(), Settings::DEFAULT).unwrap();
    (Box::leak(Box::new(stack)), host)
}

/// Answers requests until told to stop; `lie` may change each answer, and say
/// how often it is given.
fn manager(
    control: SharedMemory,
    stop: Arc<AtomicBool>,
    mut lie: impl FnMut(&mut Completion) -> usize + Send + 'static,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let ring = |at| control.slice(at, api::CLIENT_RING.bytes()).unwrap();
        let layout = api::CLIENT_RING;
        let mut requests: Consumer<Request> =
            Consumer::attach(ring(api::REQUESTS_OFFSET), layout).unwrap();
        let mut completions: Producer<Completion> =
            Producer::attach(ring(api::COMPLETIONS_OFFSET), layout).unwrap();
        while !stop.load(Ordering::Relaxed) {
            while let Some(request) = requests.pop().unwrap() {
                let mut completion = request.complete(Status::Ok);
                if request.op == Op::Open as u16 {
                    completion.socket = 1 << 16;
                }
                completion.address = std::net::SocketAddr::from(([1, 2, 3, 4], 5)).into();
                completion.len = request.extent.len.min(100);
                for _ in 0..lie(&mut completion) {
                    let _ = completions.push(&completion);
                }
            }
            let _ = completions.publish();
            std::thread::yield_now();
        }
    })
}

/// Uses sockets every which way; only errors may come of it.
fn use_sockets(stack: &'static Stack, host: &Host) {
    let limit = Some(Duration::from_millis(3));
    let mut buf = [0; 4096];
    if let Ok(socket) = UdpSocket::bind_on(stack, ([1, 2, 3, 4], 5)) {
        socket.set_read_timeout(limit).unwrap();
        socket.set_write_timeout(limit).unwrap();
        for len in [0, 1, 100, 4096] {
            let _ = socket.send_to(&buf[..len], ([1, 2, 3, 4], 5));
            if let Ok((len, _)) = socket.recv_from(&mut buf) {
                assert!(len <= 2048);
            }
        }
    }
    if let Ok(stream) = TcpStream::connect_on(stack, ([1, 2, 3, 4], 5), limit) {
        stream.set_read_timeout(limit).unwrap();
        stream.set_write_timeout(limit).unwrap();
        stream.set_linger(Some(Duration::from_millis(2)));
        let _ = stream.write(&buf);
        let _ = stream.read(&mut buf);
    }
    let _ = ioipc::net::lookup_on(stack, "host.example", limit);
    let _ = stack.account();
    let _ = use_buffers(stack, host);
}

/// The same with memory by address, buffers and a queue.
fn use_buffers(stack: &'static Stack, host: &Host) -> Result<(), ioipc::Error> {
    let socket = UdpSocket::bind_on(stack, ([1, 2, 3, 4], 5))?;
    let limit = Some(Duration::from_millis(3));
    socket.set_read_timeout(limit)?;
    socket.set_write_timeout(limit)?;
    let memory = UserBuffer::shared(host.memory.arena().slice(0, 8192).unwrap());
    let to = ([1, 2, 3, 4], 5);
    let _ = socket.send_memory_to(memory, to, None);
    if let Ok((len, _)) = socket.recv_memory_from(memory, None) {
        assert!(len <= 8192);
    }
    for semantics in [
        Semantics::Move,
        Semantics::EmulatedMove,
        Semantics::WeakMove,
    ] {
        let passing = Passing::new(semantics);
        let buffer = Buffer::alloc_on(stack, 3000)?;
        let _ = socket.send_buffer_to_with(buffer, to.into(), passing);
        if let Ok(got) = socket.recv_buffer_with(passing) {
            assert!(got.len() <= got.capacity());
            let _ = socket.send_datagram(got);
        }
    }
    let mut queue = Queue::<8>::new_on(stack)?;
    for token in 0..4 {
        let _ = queue.receive(&socket, Buffer::alloc_on(stack, 100)?, None, token);
        let _ = queue.send_to(&socket, memory, to.into(), None, token);
    }
    while queue.outstanding() > 4 {
        if let Some(done) = queue.wait(limit)?
            && let Ok(len) = done.result
        {
            assert!(len <= 8192);
        }
    }
    Ok(())
}

#[test]
fn a_length_beyond_the_buffer_is_cut() {
    let (stack, host) = stack();
    let stop = Arc::<AtomicBool>::default();
    let manager = manager(host.control, stop.clone(), |c| {
        c.len = u32::MAX;
        1
    });
    let socket = UdpSocket::bind_on(stack, ([1, 2, 3, 4], 5)).unwrap();
    let mut buf = [0; 9000];
    assert_eq!(socket.recv_from(&mut buf).unwrap().0, 2048);
    drop(socket);
    stop.store(true, Ordering::Relaxed);
    manager.join().unwrap();
}

#[test]
fn an_index_that_jumps_is_an_error() {
    let (stack, host) = stack();
    host.control
        .store32(api::COMPLETIONS_OFFSET + 64, 1 << 20)
        .unwrap();
    let error = UdpSocket::bind_on(stack, ([1, 2, 3, 4], 5)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_is_answered_only_errors_come_of_it(
        lies in prop::collection::vec((any::<[u8; 64]>(), any::<u32>(), 1usize..4), 1..40),
    ) {
        let (stack, host) = stack();
        let stop = Arc::<AtomicBool>::default();
        let mut lies = lies.into_iter().cycle();
        let mut answers = 0u32;
        let manager = manager(host.control, stop.clone(), move |honest| {
            answers += 1;
            let Some((bytes, mask, times)) = lies.next() else { return 1 };
            let lie = Completion::read_from_bytes(&bytes[..]).unwrap();
            // Every second answer is honest, and mostly the request is named
            // rightly: a lie about nothing has no effect.
            if answers.is_multiple_of(2) { return times }
            if mask & 1 != 0 { honest.op = lie.op }
            if mask & 2 != 0 { honest.status = lie.status % 24 }
            if mask & 4 != 0 { honest.socket = lie.socket }
            if mask & 8 != 0 { honest.len = lie.len }
            if mask & 16 != 0 { honest.flags = lie.flags }
            if mask & 32 != 0 { honest.address = lie.address }
            if mask & 64 != 0 { honest.arg = lie.arg }
            times
        });
        for _ in 0..6 {
            use_sockets(stack, host);
        }
        stop.store(true, Ordering::Relaxed);
        manager.join().unwrap();
    }
}
