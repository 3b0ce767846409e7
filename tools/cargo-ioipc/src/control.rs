//! A door to the serial monitor of a system that `run` has started.
//!
//! Problem: `inspect --live` is another process than the one that holds the
//! serial port. `run` therefore listens on a Unix socket under the project's
//! products; a question is one line, its answer one line of JSON.
//!
//! Invariant: one question at a time is typed at the serial port, so answers
//! cannot be mixed up; the socket file goes when the system ends.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::serial::{Event, Input, Serial};
use crate::{Error, Home, Running};

/// How long the system may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// An open door; dropping it closes it.
#[derive(Debug)]
pub struct Door {
    path: PathBuf,
}

impl Door {
    /// Opens the door of a running system.
    ///
    /// # Errors
    /// [`Error::Io`] when the socket cannot be made.
    pub fn open(running: &Running, name: &str, home: &Home) -> Result<Self, Error> {
        let directory = directory(home);
        fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
        let path = directory.join(format!("{name}-{}.sock", running.pid()));
        // A socket that a former process of that number left behind.
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).map_err(Error::io("listen on", &path))?;
        let (serial, input) = (running.serial().clone(), running.input());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A visitor that hangs up early is no concern of the system.
                let _ = serve(stream, &serial, &input);
            }
        });
        Ok(Self { path })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn directory(home: &Home) -> PathBuf {
    home.workspace.products().join("run")
}

fn serve(mut stream: UnixStream, serial: &Serial, input: &Input) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut question = String::new();
    BufReader::new(&stream).read_line(&mut question)?;
    let mut follower = serial.from_start();
    follower.skip_to_now();
    if input
        .send(format!("{}\n", question.trim()).as_bytes())
        .is_err()
    {
        return Ok(());
    }
    match follower.find(Instant::now() + PATIENCE, |line| line.starts_with('{')) {
        Event::Line(answer) => writeln!(stream, "{answer}"),
        Event::Timeout | Event::End => Ok(()),
    }
}

/// Asks the system of that name that was started last, or the last of any name.
///
/// # Errors
/// [`Error::Reply`] when no system runs or it does not answer in JSON.
pub fn ask(name: Option<&str>, question: &str, home: &Home) -> Result<Value, Error> {
    for path in newest(&directory(home), name) {
        // A socket without a listener belongs to a run that was killed.
        let Ok(stream) = UnixStream::connect(&path) else {
            let _ = fs::remove_file(&path);
            continue;
        };
        let answer = exchange(stream, question).map_err(Error::io("ask through", &path))?;
        return serde_json::from_str(&answer)
            .map_err(|_| Error::Reply(format!("the running system did not answer `{question}`")));
    }
    Err(Error::Reply(match name {
        Some(name) => format!("no system named {name} is running (start one: cargo ioipc run)"),
        None => "no system is running (start one: cargo ioipc run)".to_owned(),
    }))
}

fn exchange(mut stream: UnixStream, question: &str) -> std::io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE * 2))?;
    writeln!(stream, "{question}")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}

/// Sockets in `directory`, the newest first.
fn newest(directory: &Path, name: Option<&str>) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut found: Vec<(SystemTime, PathBuf)> = entries
        .flatten()
        .filter(|entry| {
            let file = entry.file_name();
            let file = file.to_string_lossy();
            let stem = file.strip_suffix(".sock").and_then(|s| s.rsplit_once('-'));
            stem.is_some_and(|(of, _)| name.is_none_or(|name| name == of))
        })
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}
