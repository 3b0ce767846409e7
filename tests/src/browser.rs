//! A page in Chromium, asked over the DevTools protocol.
//!
//! Problem: the library that was used for it compiled two minutes of types for a
//! dozen messages. Chromium also speaks it over a pair of pipes (its file
//! descriptors 3 and 4): JSON objects with a zero byte behind each.
//! Invariant: every answer has a limit; the browser ends when its pipe does, so
//! with its [`Page`], and leaves nothing behind.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long the browser may take for anything.
const LIMIT: Duration = Duration::from_secs(60);
/// Puts the pipes where Chromium looks for them.
const PIPED: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;
/// No sandbox, since tests may run as root, and nothing asked of any network.
const SWITCHES: &[&str] = &[
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
];

/// A page in a browser of its own.
pub struct Page {
    /// Where it is.
    pub url: String,
    browser: Child,
    orders: ChildStdin,
    messages: Receiver<Value>,
    session: Option<Value>,
    number: u64,
    events: VecDeque<Value>,
    // Dropped last: the page's file, and all that the browser writes.
    _directory: TempDir,
}

impl Page {
    /// Opens a page of this text in `chromium` and waits until it is loaded. Its
    /// events are told from the start.
    ///
    /// # Panics
    /// If the browser does not start, or the page does not load, in time.
    #[must_use]
    pub fn open(chromium: &Path, text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let file = directory.path().join("page.html");
        std::fs::write(&file, text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let mut browser = start(chromium, directory.path());
        let (Some(orders), Some(answers)) = (browser.stdin.take(), browser.stdout.take()) else {
            panic!("a browser without pipes");
        };
        let mut page = Self {
            url: format!("file://{}", file.display()),
            browser,
            orders,
            messages: read(BufReader::new(answers)),
            session: None,
            number: 0,
            events: VecDeque::new(),
            _directory: directory,
        };
        page.attach();
        page.load();
        page
    }

    /// Makes an empty page, which all that follows is about.
    fn attach(&mut self) {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let mut attached = self.call("Target.attachToTarget", attach);
        self.session = Some(attached["sessionId"].take());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
    }

    fn load(&mut self) {
        let answer = self.call("Page.navigate", json!({ "url": self.url }));
        assert!(answer["errorText"].is_null(), "{}: {answer}", self.url);
        let deadline = Instant::now() + LIMIT;
        let loaded = |event: &Value| event["method"] == "Page.loadEventFired";
        while !self.events.iter().any(loaded) {
            let message = self.receive(deadline);
            self.events.push_back(message);
        }
    }

    /// The value of a JavaScript expression.
    ///
    /// # Panics
    /// If it throws, or does not answer in time.
    pub fn value(&mut self, expression: &str) -> Value {
        let order = json!({ "expression": expression, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", order);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].take()
    }

    /// Clicks with the mouse on what `selector` finds.
    ///
    /// # Panics
    /// If it finds nothing, or the browser does not answer in time.
    pub fn click(&mut self, selector: &str) {
        let at = self.value(&format!(
            "(() => {{
                const found = document.querySelector('{selector}');
                found.scrollIntoView({{ block: 'center', behavior: 'instant' }});
                const box = found.getBoundingClientRect();
                return {{ x: box.x + box.width / 2, y: box.y + box.height / 2 }};
            }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({
                "type": kind, "x": at["x"], "y": at["y"], "button": "left", "clickCount": 1,
            });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// The result of the method of that name.
    ///
    /// # Panics
    /// If the browser refuses it, or does not answer in time.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut order = json!({ "id": self.number, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            order["sessionId"] = session.clone();
        }
        let sent = write!(self.orders, "{order}\0").and_then(|()| self.orders.flush());
        sent.unwrap_or_else(|e| panic!("{method}: the browser is gone: {e}"));
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut message = self.receive(deadline);
            if message["id"] == self.number {
                let refused = &message["error"];
                assert!(refused.is_null(), "{method}: {refused}");
                return message["result"].take();
            }
            self.events.push_back(message);
        }
    }

    /// The next event that the browser has told, waiting for it.
    ///
    /// # Panics
    /// If it tells none, in time.
    pub fn event(&mut self) -> Value {
        match self.events.pop_front() {
            Some(event) => event,
            None => self.receive(Instant::now() + LIMIT),
        }
    }

    fn receive(&self, deadline: Instant) -> Value {
        let left = deadline.saturating_duration_since(Instant::now());
        let message = self.messages.recv_timeout(left);
        message.unwrap_or_else(|e| panic!("the browser does not answer: {e}"))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let close = json!({ "id": 0, "method": "Browser.close" });
        let _gone = write!(self.orders, "{close}\0");
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.browser.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _gone = self.browser.kill();
        let _status = self.browser.wait();
    }
}

/// Starts the browser with all that it writes in `directory`.
fn start(chromium: &Path, directory: &Path) -> Child {
    let profile = directory.join("profile");
    Command::new("sh")
        .args(["-c", PIPED])
        .arg(chromium)
        .args(SWITCHES)
        .arg(format!("--user-data-dir={}", profile.display()))
        .env("TMPDIR", directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("sh: {e}"))
}

/// What comes through the pipe, until it ends or is no JSON.
fn read(answers: impl BufRead + Send + 'static) -> Receiver<Value> {
    let (sender, messages) = mpsc::channel();
    std::thread::spawn(move || {
        let texts = answers.split(0).map_while(Result::ok);
        for message in texts.map_while(|text| serde_json::from_slice(&text).ok()) {
            if sender.send(message).is_err() {
                break;
            }
        }
    });
    messages
}
