//! The console between components that may be broken and a line that may be
//! slow.

use super::*;
use crate::limit::BURST;
use crate::uart::tests::{Fake, port};
use monitor_api::{CounterPage, LOG_OFFSET, LOG_RING, LogWriter, MONITOR_REGION};
use service_api::lifecycle::{State, write};

fn shared(bytes: usize) -> SharedMemory {
    SharedMemory::from_static(Box::leak(vec![0u64; bytes / 8].into_boxed_slice()))
}

struct Bench {
    port: Fake,
    console: Console<Fake>,
    writers: std::vec::Vec<LogWriter>,
    regions: std::vec::Vec<SharedMemory>,
    states: SharedMemory,
}

fn bench(names: &[&'static str], accepts: usize) -> Bench {
    let (port, states) = (port(accepts), shared(64));
    let mut console = Console::new(Uart::new(port.clone()), Some(states));
    let (mut writers, mut regions) = (vec![], vec![]);
    for (n, name) in names.iter().enumerate() {
        let region = shared(MONITOR_REGION);
        let ring = region.slice(LOG_OFFSET, LOG_RING.bytes()).unwrap();
        LOG_RING.format(&ring).unwrap();
        writers.push(LogWriter::attach(region).unwrap());
        regions.push(region);
        let index = (*name != "root-task").then_some(n as u16);
        assert!(console.add(Source::new(name, index, region)));
    }
    Bench {
        port,
        console,
        writers,
        regions,
        states,
    }
}

impl Bench {
    fn log(&mut self, who: usize, level: Level, text: &str) {
        let _ = self.writers[who].write(level, 2_500_000, format_args!("{text}"));
    }

    /// Steps until it would sleep; what appeared on the line.
    fn settle(&mut self) -> String {
        for _ in 0..100 {
            match self.console.step(0) {
                Step::Again => {}
                Step::Sleep => break,
                Step::Shutdown => panic!("shut down"),
            }
        }
        let sent = std::mem::take(&mut self.port.0.borrow_mut().sent);
        String::from_utf8(sent).unwrap()
    }

    fn ask(&mut self, command: &str) -> serde_json::Value {
        self.port.0.borrow_mut().typed.extend(command.bytes());
        self.port.0.borrow_mut().typed.push_back(b'\n');
        let shown = self.settle();
        let answer = shown
            .lines()
            .find(|l| l.starts_with('{'))
            .expect("an answer");
        serde_json::from_str(answer).unwrap()
    }
}

#[test]
fn lines_have_time_level_and_component() {
    let mut bench = bench(&["echo", "net-server"], usize::MAX);
    bench.log(0, Level::Info, "early");
    assert_eq!(bench.settle(), "[   0.000000 INFO  echo] early\r\n");
    bench
        .console
        .set_clock(Clock::from_rate(0, 0, 1, 1000).unwrap());
    bench.log(1, Level::Error, "now");
    bench.log(0, Level::Debug, &"é".repeat(MAX_LINE));
    let shown = bench.settle();
    let lines: std::vec::Vec<_> = shown.lines().collect();
    assert_eq!(
        lines[1],
        format!("[   2.500000 DEBUG echo] {}…", "é".repeat(MAX_LINE / 2))
    );
    assert_eq!(lines[0], "[   2.500000 ERROR net-server] now");
    assert_eq!(bench.console.totals(), [3, 0, 0]);
}

#[test]
fn a_talker_does_not_keep_others_away() {
    let mut bench = bench(&["talker", "quiet"], usize::MAX);
    for n in 0..100 {
        bench.log(0, Level::Info, &format!("blah {n}"));
    }
    bench.log(1, Level::Info, "help!");
    let shown = bench.settle();
    let at = shown.lines().position(|l| l.ends_with("help!")).unwrap();
    assert!(at <= TURN, "{at}");
    assert_eq!(shown.lines().count(), 101);
}

#[test]
fn too_many_lines_are_suppressed_and_counted() {
    let mut bench = bench(&["talker"], usize::MAX);
    let mut shown = 0;
    for _ in 0..10 {
        for _ in 0..60 {
            bench.log(0, Level::Info, "blah");
        }
        shown += bench.settle().lines().count();
    }
    assert_eq!(shown as u64, BURST);
    bench.log(0, Level::Info, "later");
    assert_eq!(bench.console.step(60_000_000_000), Step::Sleep);
    let shown = bench.settle();
    assert!(
        shown.contains("WARN  talker] 200 lines suppressed"),
        "{shown}"
    );
    assert!(shown.contains("] later"));
}

#[test]
fn lost_lines_are_told_and_a_damaged_log_is_closed() {
    let mut bench = bench(&["a", "b"], usize::MAX);
    for n in 0..LOG_RING.capacity + 5 {
        bench.log(0, Level::Info, &n.to_string());
    }
    bench.settle();
    bench.log(0, Level::Info, "next");
    assert!(bench.settle().contains("WARN  a] 5 lines dropped"));
    bench.regions[0].store32(LOG_OFFSET + 64, 1 << 30).unwrap();
    assert!(bench.settle().contains("WARN  a] its log is damaged"));
    bench.log(1, Level::Info, "still here");
    assert!(bench.settle().contains("still here"));
}

#[test]
fn a_stuck_line_leaves_lines_with_their_components() {
    let mut bench = bench(&["a"], 16);
    for n in 0..LOG_RING.capacity {
        bench.log(0, Level::Info, &format!("{n:060}"));
    }
    assert!(bench.settle().len() <= 16);
    assert_eq!(
        bench.console.step(0),
        Step::Sleep,
        "until the line has room"
    );
    assert_eq!(bench.console.totals()[2], 0, "nothing was dropped");
    bench.port.0.borrow_mut().accepts = usize::MAX;
    let shown = bench.settle();
    assert_eq!(shown.lines().count(), LOG_RING.capacity as usize);
    assert!(shown.contains(&format!("{:060}\r\n", LOG_RING.capacity - 1)));
}

#[test]
fn log_lines_do_not_mix_with_what_is_typed() {
    let mut bench = bench(&["a"], usize::MAX);
    bench.port.0.borrow_mut().typed.extend(b"hel");
    assert_eq!(bench.settle(), "hel");
    bench.log(0, Level::Info, "one");
    bench.log(0, Level::Info, "two");
    let shown = bench.settle();
    let lines: std::vec::Vec<_> = shown.split("\r\n").collect();
    assert_eq!((lines[0], lines[3]), ("", "hel"));
    assert!(bench.ask("p")["commands"].is_array());
}

#[test]
fn commands_are_answered_in_json() {
    let mut bench = bench(&["echo", "dead", "root-task"], usize::MAX);
    let page = CounterPage::create(bench.regions[0]).unwrap();
    page.counter("frames").add(7);
    page.gauge("free").set(3);
    write(&bench.states, 0, State::Running).unwrap();
    write(&bench.states, 1, State::Dead).unwrap();
    let resources = bench.ask("resources");
    assert_eq!(
        resources["resources"]["echo"],
        serde_json::json!({"free": 3})
    );
    assert_eq!(resources["resources"]["dead"], serde_json::json!({}));
    let counters = bench.ask(" counters ");
    assert_eq!(
        counters["counters"]["echo"],
        serde_json::json!({"frames": 7})
    );
    let components = bench.ask("components");
    assert_eq!(components["components"]["echo"], "running");
    assert_eq!(components["components"]["dead"], "dead");
    assert_eq!(components["components"]["root-task"], "running");
    let commands = bench.ask("help")["commands"].clone();
    assert_eq!(commands.as_array().unwrap().len(), Command::ALL.len());
    let error = bench.ask("rm \"-rf\"");
    assert_eq!(error["error"], "unknown command");
    assert_eq!(error["command"], "rm \"-rf\"");
    bench.port.0.borrow_mut().typed.extend(b"\n\n");
    assert_eq!(bench.settle(), "\r\n\r\n", "an empty line asks nothing");
}

#[test]
fn shutdown_says_farewell() {
    let mut bench = bench(&["a"], usize::MAX);
    bench.port.0.borrow_mut().typed.extend(b"shutdown\r");
    assert_eq!(bench.console.step(0), Step::Shutdown);
    let sent = bench.port.0.borrow().sent.clone();
    assert_eq!(sent, b"shutdown\r\n{\"shutdown\":true}\r\n");
}
