//! The command itself, as people and scripts use it: what it prints and
//! writes, how it ends, and that no emulator outlives it.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use emulator_tests::{BOOT, system};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long it may take to end once it is told to.
const END: Duration = Duration::from_secs(20);

/// The project's directory.
fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// The command's program, built beside this test's own.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let own = std::env::current_exe().unwrap();
        let profile = own.ancestors().nth(2).unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "cargo-ioipc"]);
        build
            .current_dir(home())
            .env("CARGO_TARGET_DIR", profile.parent().unwrap());
        assert!(build.status().unwrap().success());
        profile.join("cargo-ioipc")
    })
}

/// The command with these words, with products beside those of the tests.
fn tool(words: &[&str], file: &Path) -> Command {
    let mut command = Command::new(program());
    command.args(words).arg("--system").arg(file);
    let target = program().ancestors().nth(2).unwrap();
    command
        .env("CARGO_TARGET_DIR", target)
        .env("IOIPC_HOME", home());
    command
}

fn output(words: &[&str], file: &Path) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = tool(words, file).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// Waits until `look` finds something.
fn wait<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `cargo ioipc run`, running. Dropped, it is killed.
struct Run {
    child: Child,
    directory: TempDir,
}

impl Run {
    fn start(words: &[&str], file: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let to = |name: &str| File::create(directory.path().join(name)).unwrap();
        let mut command = tool(&["run", "--release"], file);
        command
            .args(words)
            .arg("--ready-file")
            .arg(directory.path().join("ready"));
        command
            .stdin(Stdio::piped())
            .stdout(to("out"))
            .stderr(to("err"));
        Self {
            child: command.spawn().unwrap(),
            directory,
        }
    }

    fn text(&self, name: &str) -> String {
        let bytes = fs::read(self.directory.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The content of the ready file, once it is there.
    fn ready(&self) -> Value {
        wait("ready file", BOOT, || {
            serde_json::from_str(&self.text("ready")).ok()
        })
    }

    /// The emulator's process number, from what the command says.
    fn emulator(&self) -> u32 {
        wait("emulator", BOOT, || {
            let text = self.text("err");
            let number = text.split("QEMU is process ").nth(1)?;
            number.lines().next()?.parse().ok()
        })
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The exit status, or minus the signal that ended it.
    fn end(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let status = wait("end", END, || self.child.try_wait().unwrap());
        status.code().unwrap_or_else(|| -status.signal().unwrap())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Has ended already, in most cases.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether process `pid` is an emulator.
fn lives(pid: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    name.starts_with("qemu") && !state.contains(") Z ")
}

#[test]
fn a_session_says_what_runs_answers_questions_and_shuts_down() {
    let file = system("echo");
    let mut run = Run::start(&["--timeout", "60"], &file);
    let ready = run.ready();
    let fields: Vec<&String> = ready.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["pid", "tcp", "udp"]);
    let pid = u32::try_from(ready["pid"].as_u64().unwrap()).unwrap();
    assert!(lives(pid) && pid == run.emulator());
    let port = u16::try_from(ready["tcp"].as_u64().unwrap()).unwrap();
    assert!(
        run.text("err")
            .contains(&format!("7/tcp: nc 127.0.0.1 {port}")),
        "{}",
        run.text("err")
    );
    let udp = echo_load::udp(
        (Ipv4Addr::LOCALHOST, ready["udp"].as_u64().unwrap() as u16).into(),
        64,
        4,
        20,
    );
    assert!(udp.unwrap().is_perfect());
    for question in ["resources", "counters"] {
        let (status, answer, error) = output(&["inspect", "--live", question], &file);
        assert_eq!(status, 0, "{error}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(
            answer[question]["net"].as_object().unwrap().len() > 3,
            "{answer}"
        );
    }
    run.child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"shutdown\n")
        .unwrap();
    assert_eq!(run.end(), 0, "{}", run.text("err"));
    assert!(
        run.text("out").contains("{\"shutdown\":true}"),
        "{}",
        run.text("out")
    );
    assert!(!lives(pid) && run.text("ready").is_empty());
    let (status, _, error) = output(&["inspect", "--live"], &file);
    assert!(
        status == 1 && error.contains("no system named test-echo"),
        "{error}"
    );
}

#[test]
fn no_emulator_outlives_the_command() {
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::KILL, -9)] {
        let mut run = Run::start(&["--headless"], &system("echo"));
        let pid = u32::try_from(run.ready()["pid"].as_u64().unwrap()).unwrap();
        assert!(lives(pid));
        run.signal(signal);
        assert_eq!(run.end(), status, "{signal:?}: {}", run.text("err"));
        wait("end of the emulator", END, || (!lives(pid)).then_some(()));
    }
}

#[test]
fn what_never_gets_ready_ends_in_time() {
    // Nobody listens where the host looks for the echo service.
    let description = fs::read_to_string(system("echo")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("system.toml");
    let deaf = "sockets = \"io\"\nconfig.port = 8\n";
    fs::write(&file, description.replacen("sockets = \"io\"\n", deaf, 1)).unwrap();
    let mut run = Run::start(&["--headless", "--timeout", "1"], &file);
    let pid = run.emulator();
    assert_eq!(run.end(), 124, "{}", run.text("err"));
    assert!(
        run.text("err").contains("UDP echo reply"),
        "{}",
        run.text("err")
    );
    assert!(!lives(pid) && run.text("ready").is_empty());
}

#[test]
fn descriptions_are_checked_and_shown() {
    let (status, said, error) = output(&["check"], &system("echo"));
    assert!(
        status == 0 && said.contains("test-echo is sound"),
        "{said}{error}"
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("system.toml");
    let description = fs::read_to_string(system("echo")).unwrap();
    fs::write(
        &file,
        description.replacen("program = \"console\"", "programm = \"console\"", 1),
    )
    .unwrap();
    let (status, said, error) = output(&["check"], &file);
    assert!(status == 1 && said.is_empty(), "{said}");
    for part in [
        "error[unknown-key]",
        "system.toml:",
        "programm",
        "error[missing-key]",
    ] {
        assert!(error.contains(part), "no {part} in {error}");
    }
    let (status, said, error) = output(&["inspect", "--release"], &system("echo"));
    assert_eq!(status, 0, "{error}");
    for name in [
        "console", "timer", "entropy", "nic", "net", "io", "echo", "hello",
    ] {
        assert!(
            said.contains(&format!("\ncomponent {name} (")),
            "no {name} in {said}"
        );
    }
    assert!(
        said.contains("\ntrust\n") && said.contains("thread") && said.contains("may"),
        "{said}"
    );
}

/// Copies the smallest component to `directory`, as somebody would who has
/// only this repository's path.
fn copy_hello(directory: &Path) {
    let from = home().join("components/hello");
    fs::create_dir_all(directory.join("src")).unwrap();
    fs::copy(from.join("src/main.rs"), directory.join("src/main.rs")).unwrap();
    let manifest = fs::read_to_string(from.join("Cargo.toml")).unwrap();
    let path = |name: &str| {
        format!(
            "path = \"{}\"",
            home().join("components").join(name).display()
        )
    };
    let mut own = String::new();
    for line in manifest.lines() {
        let line = match line.split_once(['.', ' ']).map_or(line, |(name, _)| name) {
            "version" => "version = \"0.1.0\"".to_owned(),
            "edition" => "edition = \"2024\"".to_owned(),
            "component-runtime" => format!("component-runtime = {{ {} }}", path("runtime")),
            "ioipc" => format!("ioipc = {{ {}, features = [\"sel4\"] }}", path("ioipc")),
            "log" => "log = \"0.4\"".to_owned(),
            "license" | "rust-version" | "publish" | "[lints]" | "workspace" => continue,
            _ => line.replace("\"hello\"", "\"greeter\""),
        };
        own.push_str(&line);
        own.push('\n');
    }
    fs::write(directory.join("Cargo.toml"), own).unwrap();
    fs::copy(home().join("Cargo.lock"), directory.join("Cargo.lock")).unwrap();
}

#[test]
fn a_component_outside_the_repository_is_built_and_runs() {
    let directory = tempfile::tempdir().unwrap();
    copy_hello(&directory.path().join("greeter"));
    let mut description = fs::read_to_string(system("wire")).unwrap();
    description = description.replace("test-wire", "test-outside");
    let at = description.find("[component.caller]").unwrap();
    description.truncate(at);
    description.push_str(
        "[component.greeter]\nprogram = { path = \"greeter\" }\nsockets = \"io\"\nconfig.port = 17\n\
         [[forward]]\nprotocol = \"tcp\"\nguest-port = 17\nto = \"greeter\"\n",
    );
    let file = directory.path().join("system.toml");
    fs::write(&file, description).unwrap();
    let mut run = Run::start(&["--headless", "--timeout", "120"], &file);
    assert_eq!(run.ready()["tcp"], Value::Null);
    wait("greeting in the log", BOOT, || {
        run.text("out").contains("hello from greeter").then_some(())
    });
    let said = run.text("err");
    let port = said
        .split("17/tcp: nc 127.0.0.1 ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    let port: u16 = port.unwrap().trim().parse().unwrap();
    wait("greeting", BOOT, || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        let mut line = [0; 16];
        stream.read_exact(&mut line).ok()?;
        (&line == b"hello from seL4\n").then_some(())
    });
    run.signal(Signal::TERM);
    assert_eq!(run.end(), 143);
}
