//! The placement report in a real browser: it renders, its plots have data, it
//! causes no error and fetches nothing. The record has made-up figures.
//!
//! What is checked is checked on pages with a defect as well, which must be
//! found. It needs Chromium (package chromium), installed as the other packages.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

#[path = "../../tools/cargo-ioipc/tests/sample/mod.rs"]
mod sample;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cargo_ioipc::Home;
use cargo_ioipc::bench::placement;
use headless_chrome::protocol::cdp::types::Event;
use headless_chrome::protocol::cdp::{Emulation, Network, Runtime};
use headless_chrome::{Browser, LaunchOptions, Tab};
use sel4_kernel::{Progress, host_packages};
use serde_json::Value;
use tempfile::TempDir;

/// How long the browser may take for anything.
const LIMIT: Duration = Duration::from_secs(60);
/// Said last by the page, so that all that it said before has come.
const LAST: &str = "that was all";

/// A page in a browser, and what went wrong with it.
struct Page {
    tab: Arc<Tab>,
    said: Arc<Mutex<Vec<String>>>,
    // Dropped last, in this order.
    _browser: Browser,
    _directory: TempDir,
}

impl Page {
    /// Opens a page; what it does wrong is collected from the start.
    fn open(text: &str) -> Self {
        let logs = Home::find().unwrap().workspace.products().join("logs");
        host_packages::ensure(host_packages::BROWSER, &logs, &Progress::hidden())
            .unwrap_or_else(|missing| panic!("{missing}"));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("page.html");
        std::fs::write(&file, text).unwrap();
        let options = LaunchOptions::default_builder()
            .path(host_packages::find_program("chromium"))
            .sandbox(false)
            .window_size(Some((1280, 900)))
            .idle_browser_timeout(LIMIT)
            .build()
            .unwrap();
        let browser = Browser::new(options).unwrap();
        let tab = browser.new_tab().unwrap();
        tab.set_default_timeout(LIMIT);
        let said = listen(&tab, &file);
        tab.navigate_to(&format!("file://{}", file.display()))
            .unwrap();
        tab.wait_until_navigated().unwrap();
        Self {
            tab,
            said,
            _browser: browser,
            _directory: directory,
        }
    }

    /// The value of a JavaScript expression.
    fn value(&self, expression: &str) -> Value {
        let json = format!("JSON.stringify({expression})");
        let result = self.tab.evaluate(&json, false).unwrap();
        let text = result.value.expect("a value that JSON can say");
        serde_json::from_str(text.as_str().unwrap()).unwrap()
    }

    /// Everything that is wrong with the page, in words.
    fn defects(&self) -> Vec<String> {
        let mut defects = self.said();
        let plots = self.value(PLOTS);
        let plots = plots.as_array().unwrap();
        if plots.is_empty() {
            defects.push("no plot".to_owned());
        }
        for plot in plots {
            let name = plot["name"].as_str().unwrap();
            let number = |key: &str| plot[key].as_f64().unwrap();
            if number("width") < 200.0 || number("height") < 100.0 {
                defects.push(format!("not laid out: {name}"));
            }
            if number("marks") == 0.0 {
                defects.push(format!("without data: {name}"));
            }
            if number("astray") > 0.0 {
                defects.push(format!("marks outside: {name}"));
            }
        }
        if self.value("document.documentElement.scrollWidth > innerWidth") == true {
            defects.push("wider than the window".to_owned());
        }
        defects
    }

    /// The errors so far, once the browser has told all of them.
    fn said(&self) -> Vec<String> {
        self.value(&format!("console.log('{LAST}') ?? 0"));
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut said = self.said.lock().unwrap().clone();
            if said.last().is_some_and(|last| last == LAST) {
                said.retain(|line| line != LAST);
                return said;
            }
            assert!(Instant::now() < deadline, "the browser does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn prefer(&self, scheme: &str) {
        let feature = Emulation::MediaFeature {
            name: "prefers-color-scheme".to_owned(),
            value: scheme.to_owned(),
        };
        let media = Emulation::SetEmulatedMedia {
            media: None,
            features: Some(vec![feature]),
        };
        self.tab.call_method(media).unwrap();
    }
}

/// What a plot is like: its size, its marks, and those outside it.
const PLOTS: &str = r"[...document.querySelectorAll('svg.plot')].map(plot => {
    const frame = plot.getBoundingClientRect();
    const marks = [...plot.querySelectorAll('.hit')].map(mark => mark.getBoundingClientRect());
    const seen = marks.filter(mark => mark.width > 0 && mark.height > 0);
    const astray = seen.filter(mark => mark.right < frame.left || mark.left > frame.right
        || mark.bottom < frame.top || mark.top > frame.bottom);
    return { name: plot.getAttribute('aria-label'), width: frame.width, height: frame.height,
        marks: seen.length, astray: astray.length };
})";

/// Collects errors of scripts and on the console, and requests for anything
/// but the page itself.
fn listen(tab: &Arc<Tab>, file: &Path) -> Arc<Mutex<Vec<String>>> {
    let said = Arc::new(Mutex::new(Vec::new()));
    let (sink, own) = (Arc::clone(&said), format!("file://{}", file.display()));
    tab.enable_runtime().unwrap();
    tab.enable_log().unwrap();
    tab.call_method(Network::Enable {
        max_total_buffer_size: None,
        max_resource_buffer_size: None,
        max_post_data_size: None,
        report_direct_socket_traffic: None,
        enable_durable_messages: None,
    })
    .unwrap();
    let listener = move |event: &Event| {
        let line = match event {
            Event::RuntimeExceptionThrown(event) => {
                let details = &event.params.exception_details;
                let what = details
                    .exception
                    .as_ref()
                    .and_then(|e| e.description.clone());
                Some(format!(
                    "exception: {}",
                    what.unwrap_or_else(|| details.text.clone())
                ))
            }
            Event::RuntimeConsoleAPICalled(event) => {
                let words = event
                    .params
                    .args
                    .iter()
                    .map(text)
                    .collect::<Vec<_>>()
                    .join(" ");
                let error = matches!(
                    event.params.Type,
                    Runtime::ConsoleAPICalledEventTypeOption::Error
                        | Runtime::ConsoleAPICalledEventTypeOption::Assert
                );
                match error {
                    true => Some(format!("console: {words}")),
                    false => (words == LAST).then_some(words),
                }
            }
            Event::LogEntryAdded(event) => Some(format!("log: {}", event.params.entry.text)),
            Event::NetworkRequestWillBeSent(event) => {
                let url = &event.params.request.url;
                (*url != own).then(|| format!("request: {url}"))
            }
            _ => None,
        };
        sink.lock().unwrap().extend(line);
    };
    tab.add_event_listener(Arc::new(listener)).unwrap();
    said
}

fn text(object: &Runtime::RemoteObject) -> String {
    match &object.value {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => object.description.clone().unwrap_or_default(),
    }
}

fn page() -> String {
    placement::html(&sample::record())
}

#[test]
fn the_page_renders_and_every_plot_has_data() {
    let page = Page::open(&page());
    assert_eq!(page.defects(), Vec::<String>::new());
    // Twelve panels at 1500 bytes a packet: throughput, ratio, parts of two sizes;
    // twelve of jumbo frames beside their reference.
    assert_eq!(
        page.value("document.querySelectorAll('svg.plot').length"),
        72
    );
    // Five ways, two placements, six sizes.
    assert_eq!(page.value(&format!("{PLOTS}[0].marks")), 60);
    let unnamed = "[...document.querySelectorAll('svg.plot')]
        .filter(plot => !plot.getAttribute('aria-label') || plot.getAttribute('role') != 'img').length";
    assert_eq!(page.value(unnamed), 0);
}

#[test]
fn lines_can_be_hidden_and_colours_follow_the_readers_preference() {
    let page = Page::open(&page());
    let shown = "[...document.querySelectorAll('.plot .s-copy')]
        .filter(mark => getComputedStyle(mark).display != 'none').length";
    assert!(page.value(shown).as_u64().unwrap() > 0);
    page.tab
        .find_element("#show-s-copy")
        .unwrap()
        .click()
        .unwrap();
    assert_eq!(page.value(shown), 0);
    let colours = "[getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.querySelector('.plot polyline.s-share')).stroke,
        getComputedStyle(document.querySelector('.plot text')).fill]";
    page.prefer("light");
    let light = page.value(colours);
    page.prefer("dark");
    let dark = page.value(colours);
    for at in 0..3 {
        assert_ne!(light[at], dark[at], "{light} {dark}");
    }
    assert_eq!(page.said(), Vec::<String>::new());
}

#[test]
fn a_script_error_is_found() {
    let broken = page().replace("</body>", "<script>nowhere.to_be_found()</script></body>");
    let defects = Page::open(&broken).defects();
    assert_eq!(defects.len(), 1, "{defects:?}");
    assert!(
        defects[0].starts_with("exception: ReferenceError"),
        "{defects:?}"
    );
    let complaining = page().replace("</body>", "<script>console.error('bad')</script></body>");
    assert_eq!(Page::open(&complaining).defects(), ["console: bad"]);
}

#[test]
fn a_plot_without_data_is_found() {
    let whole = page();
    let from = whole.find("<circle class=\"hit").unwrap();
    let to = from + whole[from..].find("</svg>").unwrap();
    let without = format!("{}{}", &whole[..from], &whole[to..]);
    let defects = Page::open(&without).defects();
    assert_eq!(defects.len(), 1, "{defects:?}");
    assert!(
        defects[0].starts_with("without data: Payload bytes"),
        "{defects:?}"
    );
    let unplaced = whole[from..].replacen(" cy=\"", " cy=\"9999", 1);
    let unplaced = format!("{}{unplaced}", &whole[..from]);
    let defects = Page::open(&unplaced).defects();
    assert!(
        defects.iter().any(|d| d.starts_with("marks outside")),
        "{defects:?}"
    );
    assert_eq!(Page::open("<p>nothing</p>").defects(), ["no plot"]);
}

#[test]
fn a_request_is_found() {
    let curious = page().replace("</body>", "<img src='http://127.0.0.1:9/x.png'></body>");
    let defects = Page::open(&curious).defects();
    let request = "request: http://127.0.0.1:9/x.png".to_owned();
    assert!(defects.contains(&request), "{defects:?}");
}
