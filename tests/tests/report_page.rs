//! The placement report in a real browser: it renders, its plots have data, it
//! causes no error and fetches nothing. The record has made-up figures.
//!
//! What is checked is checked on pages with a defect as well, which must be
//! found. It needs Chromium (package chromium), installed as the other packages.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

#[path = "../../tools/cargo-ioipc/tests/sample/mod.rs"]
mod sample;

use cargo_ioipc::Home;
use cargo_ioipc::bench::placement;
use emulator_tests::browser::Page;
use sel4_kernel::{Progress, host_packages};
use serde_json::{Value, json};

/// Said last by the page, so that all that it said before has come.
const LAST: &str = "that was all";

/// Opens a page in the browser, which is installed if it is missing.
fn open(text: &str) -> Page {
    let logs = Home::find().unwrap().workspace.products().join("logs");
    host_packages::ensure(host_packages::BROWSER, &logs, &Progress::hidden())
        .unwrap_or_else(|missing| panic!("{missing}"));
    Page::open(&host_packages::find_program("chromium").unwrap(), text)
}

/// Everything that is wrong with the page, in words.
fn defects(page: &mut Page) -> Vec<String> {
    let mut defects = said(page);
    let plots = page.value(PLOTS);
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
    if page.value("document.documentElement.scrollWidth > innerWidth") == true {
        defects.push("wider than the window".to_owned());
    }
    defects
}

/// The errors since the last call, once the browser has told all of them.
fn said(page: &mut Page) -> Vec<String> {
    page.value(&format!("console.log('{LAST}') ?? 0"));
    let mut said = Vec::new();
    loop {
        let event = page.event();
        match defect(&event, &page.url) {
            Some(line) if line == LAST => return said,
            line => said.extend(line),
        }
    }
}

fn prefer(page: &mut Page, scheme: &str) {
    let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
    page.call(
        "Emulation.setEmulatedMedia",
        json!({ "features": [feature] }),
    );
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

/// What an event says of errors in scripts and on the console, and of requests
/// for anything but the page itself; or [`LAST`].
fn defect(event: &Value, own: &str) -> Option<String> {
    let told = &event["params"];
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => {
            let details = &told["exceptionDetails"];
            let what = details["exception"]["description"].as_str();
            let what = what.or(details["text"].as_str())?;
            Some(format!("exception: {what}"))
        }
        "Runtime.consoleAPICalled" => {
            let words = told["args"].as_array()?.iter().map(text);
            let words = words.collect::<Vec<_>>().join(" ");
            match told["type"].as_str()? {
                "error" | "assert" => Some(format!("console: {words}")),
                _ => (words == LAST).then_some(words),
            }
        }
        "Log.entryAdded" => Some(format!("log: {}", told["entry"]["text"].as_str()?)),
        "Network.requestWillBeSent" => {
            let url = told["request"]["url"].as_str()?;
            (url != own).then(|| format!("request: {url}"))
        }
        _ => None,
    }
}

fn text(object: &Value) -> String {
    match &object["value"] {
        Value::String(text) => text.clone(),
        Value::Null => object["description"].as_str().unwrap_or("").to_owned(),
        value => value.to_string(),
    }
}

fn page() -> String {
    placement::html(&sample::record())
}

#[test]
fn the_page_renders_and_every_plot_has_data() {
    let mut page = open(&page());
    assert_eq!(defects(&mut page), Vec::<String>::new());
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
    let mut page = open(&page());
    let shown = "[...document.querySelectorAll('.plot .s-copy')]
        .filter(mark => getComputedStyle(mark).display != 'none').length";
    assert!(page.value(shown).as_u64().unwrap() > 0);
    page.click("#show-s-copy");
    assert_eq!(page.value(shown), 0);
    let colours = "[getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.querySelector('.plot polyline.s-share')).stroke,
        getComputedStyle(document.querySelector('.plot text')).fill]";
    prefer(&mut page, "light");
    let light = page.value(colours);
    prefer(&mut page, "dark");
    let dark = page.value(colours);
    for at in 0..3 {
        assert_ne!(light[at], dark[at], "{light} {dark}");
    }
    assert_eq!(said(&mut page), Vec::<String>::new());
}

#[test]
fn a_script_error_is_found() {
    let broken = page().replace("</body>", "<script>nowhere.to_be_found()</script></body>");
    let found = defects(&mut open(&broken));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("exception: ReferenceError"),
        "{found:?}"
    );
    let complaining = page().replace("</body>", "<script>console.error('bad')</script></body>");
    assert_eq!(defects(&mut open(&complaining)), ["console: bad"]);
}

#[test]
fn a_plot_without_data_is_found() {
    let whole = page();
    let from = whole.find("<circle class=\"hit").unwrap();
    let to = from + whole[from..].find("</svg>").unwrap();
    let without = format!("{}{}", &whole[..from], &whole[to..]);
    let found = defects(&mut open(&without));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("without data: Payload bytes"),
        "{found:?}"
    );
    let unplaced = whole[from..].replacen(" cy=\"", " cy=\"9999", 1);
    let unplaced = format!("{}{unplaced}", &whole[..from]);
    let found = defects(&mut open(&unplaced));
    assert!(
        found.iter().any(|d| d.starts_with("marks outside")),
        "{found:?}"
    );
    assert_eq!(defects(&mut open("<p>nothing</p>")), ["no plot"]);
}

#[test]
fn a_request_is_found() {
    let curious = page().replace("</body>", "<img src='http://127.0.0.1:9/x.png'></body>");
    let found = defects(&mut open(&curious));
    let request = "request: http://127.0.0.1:9/x.png".to_owned();
    assert!(found.contains(&request), "{found:?}");
}
