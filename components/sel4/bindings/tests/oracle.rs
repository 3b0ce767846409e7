//! Holds every value of the bindings against the kernel's own generators.
//!
//! The kernel's Python programs write libsel4's headers and stubs from the same
//! interface files; a C program compiled against them answers each question that
//! the build script wrote down (`build/oracle.rs`). A difference in any label,
//! number, offset, bit or message word fails the test.
//!
//! Needs what the kernel itself needs to be built: gcc, and Python 3 with six,
//! ply and tempita. `PYTHON` may name the interpreter.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// An invocation's label, capabilities and words.
type Message = (u64, Vec<u64>, Vec<u64>);

fn flat<const CAPS: usize, const WORDS: usize>(
    request: sel4_bindings::Request<CAPS, WORDS>,
) -> Message {
    (request.label, request.caps.to_vec(), request.words.to_vec())
}

mod questions {
    #![allow(
        clippy::unnecessary_cast,
        reason = "one form for constants of every type"
    )]
    use super::{Message, flat};
    include!(concat!(env!("OUT_DIR"), "/oracle.rs"));
}

/// What stands before the stubs: the call is recorded instead of made.
const RECORDER: &str = r"
#include <stddef.h>
#include <stdio.h>
#include <autoconf.h>
#include <sel4/types.h>
#include <sel4/bootinfo_types.h>
#include <sel4/invocation.h>
#include <blocks_gen.h>
#define LIBSEL4_INLINE static inline
static seL4_Word the_caps[8], the_words[128];
static inline void seL4_SetCap(int i, seL4_CPtr cap) { the_caps[i] = cap; }
static inline void seL4_SetMR(int i, seL4_Word word) { the_words[i] = word; }
static inline seL4_Word seL4_GetMR(int i) { return the_words[i]; }
static seL4_MessageInfo_t seL4_CallWithMRs(seL4_CPtr service, seL4_MessageInfo_t tag,
    seL4_Word *a, seL4_Word *b, seL4_Word *c, seL4_Word *d)
{
    the_words[0] = *a; the_words[1] = *b; the_words[2] = *c; the_words[3] = *d;
    printf(service == 0x5e41ce ? `M %llx` : `M badservice %llx`, (unsigned long long)seL4_MessageInfo_get_label(tag));
    for (seL4_Word i = 0; i < seL4_MessageInfo_get_extraCaps(tag); i++) printf(` c%llx`, (unsigned long long)the_caps[i]);
    for (seL4_Word i = 0; i < seL4_MessageInfo_get_length(tag); i++) printf(` w%llx`, (unsigned long long)the_words[i]);
    printf(`\n`);
    return seL4_MessageInfo_new(0, 0, 0, 0);
}
#include <interfaces/sel4_client.h>
#define V(e) printf(`V %llx\n`, (unsigned long long)(e))
";

/// The prefix under test and a scratch directory for generated headers.
struct Oracle {
    prefix: PathBuf,
    work: PathBuf,
}

impl Oracle {
    /// Works in a scratch directory of its own, since tests run side by side.
    fn new(name: &str) -> Self {
        let prefix = env::var_os("SEL4_PREFIX").map(PathBuf::from);
        let prefix = prefix.expect("SEL4_PREFIX must name the kernel's install prefix");
        let tools = prefix.join("tools-src/bitfield_gen.py");
        assert!(
            tools.is_file(),
            "{} is missing: only a kernel built here carries its generators",
            tools.display()
        );
        let work = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        if work.exists() {
            fs::remove_dir_all(&work).expect("clear the scratch directory");
        }
        for dir in ["sel4/arch", "sel4/sel4_arch", "interfaces"] {
            fs::create_dir_all(work.join(dir)).expect("make the scratch directory");
        }
        Self { prefix, work }
    }

    fn libsel4(&self, path: &str) -> String {
        let path = self.prefix.join("libsel4").join(path);
        path.display().to_string()
    }

    /// Runs one of the kernel's generators.
    fn python(&self, tool: &Path, arguments: &[&str]) {
        // The system's own, which Debian's packages are for; another Python may
        // come first on the path.
        let python = env::var("PYTHON").unwrap_or_else(|_| "/usr/bin/python3".to_owned());
        let output = Command::new(&python)
            .arg(tool)
            .args(arguments)
            .current_dir(&self.work)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap_or_else(|error| panic!("{python} does not start: {error}"));
        assert!(
            output.status.success(),
            "{} failed; it needs Python 3 with six, ply and tempita \
             (Debian: python3-six python3-ply python3-tempita):\n{}",
            tool.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Arguments for the C compiler to find the headers.
    fn includes(&self) -> Vec<String> {
        let mut flags = vec![format!("-I{}", self.work.display())];
        for dir in [
            "",
            "include",
            "arch_include/x86",
            "sel4_arch_include/x86_64",
            "sel4_plat_include/pc99",
        ] {
            flags.push(format!("-I{}", self.libsel4(dir)));
        }
        flags.push("-DHAVE_AUTOCONF".to_owned());
        if sel4_bindings::DEBUG {
            flags.push("-DCONFIG_DEBUG_BUILD=1".to_owned());
        }
        flags
    }

    fn compiler(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("gcc")
            .args(self.includes())
            .args(arguments)
            .current_dir(&self.work)
            .output()
            .expect("gcc does not start");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gcc failed:\n{errors}");
        output.stdout
    }

    /// Labels, system calls and stubs from the interface files.
    fn generate_interfaces(&self) {
        let tools = self.prefix.join("libsel4/tools");
        let labels = tools.join("invocation_header_gen.py");
        for (xml, kind, to) in [
            ("include", None, "sel4"),
            (
                "sel4_arch_include/x86_64",
                Some("--sel4_arch"),
                "sel4/sel4_arch",
            ),
            ("arch_include/x86", Some("--arch"), "sel4/arch"),
        ] {
            let file = if kind.is_none() {
                "sel4.xml"
            } else {
                "sel4arch.xml"
            };
            let xml = self.libsel4(&format!("{xml}/interfaces/{file}"));
            let to = format!("{to}/invocation.h");
            let mut arguments = vec!["--libsel4", "--xml", &xml, "--dest", &to];
            arguments.extend(kind);
            self.python(&labels, &arguments);
        }
        let calls = self.prefix.join("api/syscall.xml").display().to_string();
        self.python(
            &tools.join("syscall_header_gen.py"),
            &["--xml", &calls, "--libsel4_header", "sel4/syscall.h"],
        );
        self.python(
            &tools.join("syscall_stub_gen.py"),
            &[
                "-a",
                "x86_64",
                "-w",
                "64",
                "-o",
                "interfaces/sel4_client.h",
                &self.libsel4("sel4_arch_include/x86_64/interfaces/sel4arch.xml"),
                &self.libsel4("arch_include/x86/interfaces/sel4arch.xml"),
                &self.libsel4("include/interfaces/sel4.xml"),
            ],
        );
    }

    /// Bit fields; those that only the kernel defines from their own text.
    fn generate_bitfields(&self) {
        for (source, header) in [
            ("include/sel4/types_64.bf", "sel4/types_gen.h"),
            ("include/sel4/shared_types_64.bf", "sel4/shared_types_gen.h"),
            (
                "sel4_arch_include/x86_64/sel4/sel4_arch/types.bf",
                "sel4/sel4_arch/types_gen.h",
            ),
        ] {
            self.bitfield(&PathBuf::from(self.libsel4(source)), header);
        }
        let mut blocks = "base 64\n".to_owned();
        for (file, block) in [
            ("object/structures_64.bf", "cnode_capdata"),
            (
                "arch/x86/arch/64/mode/object/structures.bf",
                "io_port_capdata",
            ),
        ] {
            let path = self.prefix.join("kernel-bitfields").join(file);
            let text = fs::read_to_string(&path).expect("the kernel's bit fields");
            let start = text.find(&format!("block {block}")).expect("the block");
            let end = start + text[start..].find('}').expect("the block's end");
            blocks.push_str(&text[start..=end]);
            blocks.push('\n');
        }
        let path = self.work.join("blocks.bf");
        fs::write(&path, blocks).expect("write blocks.bf");
        self.bitfield(&path, "blocks_gen.h");
    }

    fn bitfield(&self, source: &Path, header: &str) {
        let source = source.display().to_string();
        let plain = self.compiler(&["-E", "-P", "-xc", &source]);
        fs::write(self.work.join("plain.pbf"), plain).expect("write plain.pbf");
        self.python(
            &self.prefix.join("tools-src/bitfield_gen.py"),
            &["--environment", "libsel4", "plain.pbf", header],
        );
    }

    /// Compiles and runs the questions; gives the answers line by line.
    fn ask(&self, requests: &[(&str, Message)]) -> Vec<String> {
        let mut source = RECORDER.replace('`', "\"");
        source.push_str("int main(void) {\n");
        for (expression, _) in questions::VALUES {
            source.push_str(&format!("V({expression});\n"));
        }
        for (call, _) in requests {
            source.push_str(&format!("(void){call};\n"));
        }
        source.push_str("return 0;\n}\n");
        fs::write(self.work.join("ask.c"), source).expect("write ask.c");
        // The message is compared, so an invocation that does not fit is no
        // matter of warnings.
        self.compiler(&["-w", "-std=gnu11", "-o", "ask", "ask.c"]);
        let output = Command::new(self.work.join("ask")).output();
        let output = output.expect("the questions run");
        let text = String::from_utf8(output.stdout).expect("answers are text");
        text.lines().map(str::to_owned).collect()
    }
}

/// Our message in the form in which the recorder prints it.
fn rendered((label, caps, words): &Message) -> String {
    let caps = caps.iter().map(|cap| format!(" c{cap:x}"));
    let words = words.iter().map(|word| format!(" w{word:x}"));
    format!("M {label:x}{}", caps.chain(words).collect::<String>())
}

#[test]
fn every_value_is_what_the_kernels_own_generators_say() {
    let oracle = Oracle::new("values");
    oracle.generate_interfaces();
    oracle.generate_bitfields();
    let requests = questions::requests();
    let answers = oracle.ask(&requests);

    let values = questions::VALUES;
    let asked = values
        .iter()
        .map(|(what, ours)| (*what, format!("V {ours:x}")));
    let calls = requests.iter().map(|(what, ours)| (*what, rendered(ours)));
    let ours: Vec<_> = asked.chain(calls).collect();
    assert_eq!(ours.len(), answers.len(), "a question was not answered");
    let wrong: Vec<String> = ours
        .iter()
        .zip(&answers)
        .filter(|((_, ours), kernels)| ours != *kernels)
        .map(|((what, ours), kernels)| format!("{what}: ours {ours}, the kernel's {kernels}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // So that an empty list cannot pass for agreement.
    assert!(
        values.len() > 300 && requests.len() > 40,
        "too little was asked"
    );
}

#[test]
fn no_system_call_is_missing() {
    let oracle = Oracle::new("calls");
    oracle.generate_interfaces();
    let text = oracle.compiler(&["-E", "-P", "sel4/syscall.h"]);
    let text = String::from_utf8(text).expect("headers are text");
    let theirs = text.matches("seL4_Sys").count();
    assert_eq!(
        theirs - text.matches("seL4_Syscall_ID").count(),
        sel4_bindings::syscall::ALL.len()
    );
}
