//! Writes the page and prints the table of a record with made-up figures, to
//! look at both without measuring: `cargo run -p cargo-ioipc --example
//! placement_page > page.html`; the table goes to standard error.

#[path = "../tests/sample/mod.rs"]
mod sample;

use cargo_ioipc::bench::placement;

fn main() {
    let record = sample::record();
    eprint!("{}", placement::table(&record));
    print!("{}", placement::html(&record));
}
