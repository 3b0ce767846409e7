//! Something happens to memory while it is being sent.
//!
//! Problem: that the other side never sees a half-changed buffer shows only
//! when another thread changes it between the moment when the manager takes
//! the request and the moment when it is done. Invariant: the second thread
//! begins when the manager has taken all requests, and the answer says how many
//! of them were not done when it was through.

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use component_runtime::threads;
use ioipc::net::{Shutdown, TcpStream};
use ioipc::queue::Queue;
use ioipc::{UserBuffer, time};
use shared_ring::SharedMemory;
use spin::Mutex;

use crate::failure::{Failure, Result};
use crate::meter::Meter;
use crate::order::{Order, Way};
use crate::text::Text;
use crate::{PATIENCE, Tools, pattern, stream};

/// Most sends on their way.
const MOST: usize = 32;
/// How long the last words before death have to reach the console.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What the second thread is to write over, and whether it has.
static TASK: Mutex<Option<SharedMemory>> = Mutex::new(None);
static DONE: AtomicBool = AtomicBool::new(false);

/// The memory of an order.
fn memory(tools: &Tools, order: &Order) -> Result<SharedMemory> {
    let all = tools.shared.ok_or(Failure::Order)?;
    Ok(all.slice(order.offset, order.total())?)
}

/// Submits all sends of an order and waits until the manager has taken them.
fn submit(
    tools: &Tools,
    order: &Order,
    stream: Option<&TcpStream>,
    queue: &mut Queue<MOST>,
) -> Result<()> {
    let memory = memory(tools, order)?;
    pattern::write(&memory, pattern::first)?;
    for at in (0..memory.len()).step_by(order.size.max(1)) {
        let piece = memory.slice(at, order.size)?;
        let (piece, token) = (UserBuffer::shared(piece), at as u64);
        let submitted = match stream {
            Some(stream) => queue.send(stream, piece, order.passing, token),
            None => {
                let peer = order.peer.ok_or(Failure::Order)?;
                queue.send_to(&tools.commands, piece, peer, order.passing, token)
            }
        };
        submitted.map_err(|unsent| unsent.error)?;
    }
    queue.flush();
    // It answers in order.
    ioipc::account()?;
    Ok(())
}

fn connection(tools: &Tools, order: &Order) -> Result<Option<TcpStream>> {
    match order.way {
        Way::Stream => stream::accept(tools).map(Some),
        Way::Datagrams => Ok(None),
    }
}

/// Sends the first pattern and has the second thread write the second one over
/// it. Says in the log when that is done, and answers when the sends are.
pub fn rewrite(tools: &Tools, order: &Order, answer: &mut Text) -> Result<()> {
    let stream = connection(tools, order)?;
    let mut queue = Queue::new()?;
    let meter = Meter::start()?;
    submit(tools, order, stream.as_ref(), &mut queue)?;
    let memory = memory(tools, order)?;
    *TASK.lock() = Some(memory);
    DONE.store(false, Ordering::Release);
    threads::spawn(1, overwrite).map_err(|_| Failure::Order)?;
    while !DONE.load(Ordering::Acquire) {
        threads::yield_now();
    }
    let mut finished = 0;
    while let Some(done) = queue.poll() {
        finished += done.result?;
    }
    log::info!("rewritten, outstanding={}", queue.outstanding());
    while let Some(done) = queue.wait(Some(PATIENCE))? {
        finished += done.result?;
    }
    let wrong = pattern::differ(&memory, pattern::second)?;
    answer.say(format_args!("bytes={finished} wrong={wrong}"));
    meter.stop(answer)?;
    if let Some(stream) = stream {
        stream.shutdown(Shutdown::Write)?;
    }
    Ok(())
}

/// What the second thread does.
fn overwrite() {
    if let Some(memory) = TASK.lock().take()
        && pattern::write(&memory, pattern::second).is_err()
    {
        log::error!("the memory to rewrite is not there");
    }
    DONE.store(true, Ordering::Release);
}

/// Sends, says in the log how much is on its way, and faults.
pub fn die(tools: &Tools, order: &Order) -> Result<()> {
    let stream = connection(tools, order)?;
    let mut queue = Queue::new()?;
    submit(tools, order, stream.as_ref(), &mut queue)?;
    let mut finished = 0;
    while let Some(done) = queue.poll() {
        finished += done.result?;
    }
    log::info!(
        "dies, {finished} bytes sent, outstanding={}",
        queue.outstanding()
    );
    time::sleep(LAST_WORDS)?;
    // SAFETY: none is possible; the kernel stops it.
    unsafe { black_box(core::ptr::dangling_mut::<u64>()).write_volatile(1) };
    Ok(())
}
