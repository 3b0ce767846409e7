//! Where the instructions go: a block profile by component and function.
//!
//! Problem: the instruction counter knows user and kernel apart and nothing
//! else. Its profile names blocks by address, but all programs are linked at
//! the same one, and a program may be several components at once.
//!
//! Invariant: every instruction that was counted between start and end is in
//! exactly one share, or, if it belongs to several, in parts that add up to
//! it; what is in nobody's text is shown as [`UNATTRIBUTED`], not left out.
//!
//! A block belongs to the program that has its bytes at its address. Where
//! several have, the other blocks of the same page of memory decide, since a
//! page holds the text of one component ([`owner`]); what then is still open is
//! divided like the rest of those programs' instructions, and its amount told
//! ([`Attribution::shared`]). Kernel addresses are the kernel's. What the
//! compiler inlined counts to the function that it is in. In a program that
//! several components are linked into, the crate of a function decides
//! ([`names`], [`linked`]).
//!
//! ```no_run
//! # use cargo_ioipc::bench::profile::{Profiling, Programs};
//! # fn f(prepared: &cargo_ioipc::Prepared, profiler: insn_count::Profiler)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! // Once for a boot, under the plugin with `counts=` and `profile=`.
//! let mut profiling = Profiling::new(Programs::of(prepared)?, profiler);
//! let profile = profiling.start()?;
//! // ... 1000 operations ...
//! let attribution = profile.end()?;
//! let components = attribution.per_component(1000);
//! println!("{}", attribution.functions(1000));
//! # Ok(())
//! # }
//! ```

mod linked;
mod load;
mod names;
mod owner;
mod programs;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use insn_count::{BlockCount, Profiler, SnapshotError};

use super::BenchError;
use owner::Owner;

pub use load::LoadProfile;
pub use programs::Programs;
pub use table::Functions;

/// The name that instructions outside every text are shown under: boot
/// firmware, for instance.
pub const UNATTRIBUTED: &str = "unattributed";
/// The name of the standard library's functions in a program that several
/// components are linked into, and of what several of them use.
pub const RUNTIME: &str = "runtime";
/// The kernel's name.
pub const KERNEL: &str = "kernel";

/// How long the plugin may take to write a profile.
const ANSWER: Duration = Duration::from_secs(20);

/// What tells a block from all others.
type Key = (u64, u64, Vec<u8>, Option<u32>);

/// Takes profiles of a running system.
#[derive(Debug)]
pub struct Profiling {
    programs: Arc<Programs>,
    profiler: Profiler,
}

impl Profiling {
    /// For the system that runs the image that `programs` were read from.
    #[must_use]
    pub fn new(programs: impl Into<Arc<Programs>>, profiler: Profiler) -> Self {
        Self {
            programs: programs.into(),
            profiler,
        }
    }

    /// Begins a profile: what was executed up to here is not in it.
    ///
    /// # Errors
    /// [`BenchError::Profile`] if the plugin gives none.
    pub fn start(&mut self) -> Result<Profile<'_>, BenchError> {
        let blocks = snapshot(&mut self.profiler)?;
        let before = blocks.into_iter().map(|b| (key(&b), b.executions));
        Ok(Profile {
            before: before.collect(),
            profiling: self,
        })
    }

    /// What `work` returns, and a profile of it if there is profiling.
    pub(super) fn around<T>(
        profiling: Option<&mut Self>,
        work: impl FnOnce() -> Result<T, BenchError>,
    ) -> Result<(T, Option<Attribution>), BenchError> {
        let profile = profiling.map(Self::start).transpose()?;
        let result = work()?;
        let attribution = profile.map(Profile::end).transpose()?;
        Ok((result, attribution))
    }
}

/// A profile that has begun.
#[derive(Debug)]
pub struct Profile<'a> {
    profiling: &'a mut Profiling,
    before: BTreeMap<Key, u64>,
}

impl Profile<'_> {
    /// Ends, and attributes what was executed since the start.
    ///
    /// # Errors
    /// As [`Profiling::start`].
    pub fn end(self) -> Result<Attribution, BenchError> {
        let blocks = snapshot(&mut self.profiling.profiler)?;
        let spent: Vec<u64> = blocks
            .iter()
            .map(|block| {
                let before = self.before.get(&key(block)).copied().unwrap_or(0);
                block.executions.saturating_sub(before) * block.instructions
            })
            .collect();
        Ok(Attribution::of(&self.profiling.programs, &blocks, &spent))
    }
}

fn snapshot(profiler: &mut Profiler) -> Result<Vec<BlockCount>, BenchError> {
    let refused = |error: SnapshotError| BenchError::Profile(error.to_string());
    profiler.snapshot(ANSWER).map_err(refused)
}

fn key(block: &BlockCount) -> Key {
    let code = block.code.clone();
    (block.start, block.instructions, code, block.page)
}

/// Instructions by component and function.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attribution {
    /// Instructions of each function, by component.
    shares: BTreeMap<(String, String), f64>,
    /// Of them, those that several programs have the same text for.
    shared: f64,
}

impl Attribution {
    /// Attributes `spent[n]` instructions to whom `blocks[n]` belongs.
    fn of(programs: &Programs, blocks: &[BlockCount], spent: &[u64]) -> Self {
        let owners = owner::owners(blocks, &programs.texts);
        let mut own = vec![0.0; programs.texts.len()];
        for (owner, &spent) in owners.iter().zip(spent) {
            if let Owner::One(program) = owner {
                own[*program] += spent as f64;
            }
        }
        let mut attribution = Self::default();
        for ((block, owner), &spent) in blocks.iter().zip(&owners).zip(spent) {
            if spent > 0 {
                attribution.add(programs, block.start, owner, spent as f64, &own);
            }
        }
        attribution
    }

    /// Adds a block's instructions; `own` is what each program has for sure.
    fn add(&mut self, programs: &Programs, at: u64, owner: &Owner, spent: f64, own: &[f64]) {
        match owner {
            Owner::Kernel => self.put(KERNEL, programs.kernel.function(at).0, spent),
            Owner::Nobody => self.put(UNATTRIBUTED, "", spent),
            Owner::One(program) => self.put_in(programs, *program, at, spent),
            Owner::Several(candidates) => {
                self.shared += spent;
                let sum: f64 = candidates.iter().map(|&program| own[program]).sum();
                for &program in candidates {
                    let part = match sum > 0.0 {
                        true => own[program] / sum,
                        false => 1.0 / candidates.len() as f64,
                    };
                    self.put_in(programs, program, at, spent * part);
                }
            }
        }
    }

    fn put_in(&mut self, programs: &Programs, program: usize, at: u64, spent: f64) {
        let (function, component) = programs.texts[program].function(at);
        self.put(component, function, spent);
    }

    fn put(&mut self, component: &str, function: &str, spent: f64) {
        let key = (component.to_owned(), function.to_owned());
        *self.shares.entry(key).or_default() += spent;
    }

    /// All instructions that were executed.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.shares.values().sum()
    }

    /// Instructions in text that several programs have the same of, divided
    /// among them.
    #[must_use]
    pub fn shared(&self) -> f64 {
        self.shared
    }

    /// Instructions of one of `operations` by component, for
    /// [`Row::components`](super::placement::record::Row::components); those
    /// that executed nothing are left out.
    #[must_use]
    pub fn per_component(&self, operations: u64) -> BTreeMap<String, f64> {
        let mut components = BTreeMap::new();
        for ((component, _), spent) in &self.shares {
            *components.entry(component.clone()).or_insert(0.0) += spent / operations.max(1) as f64;
        }
        components
    }

    /// The functions that execute most, by component, for one of `operations`;
    /// to be printed.
    #[must_use]
    pub fn functions(&self, operations: u64) -> Functions {
        Functions::new(&self.shares, operations)
    }
}

#[cfg(test)]
mod tests {
    use super::programs::{Function, Text};
    use super::*;

    fn text(name: &str, code: &[u8], functions: &[(u64, u64, &str)]) -> Text {
        let functions = functions.iter().map(|&(start, size, name)| Function {
            start,
            end: start + size,
            name: name.to_owned(),
            component: None,
        });
        Text {
            component: name.to_owned(),
            segments: vec![(0x1000, code.to_vec())],
            functions: functions.collect(),
        }
    }

    fn block(start: u64, code: &[u8], page: u32) -> BlockCount {
        BlockCount {
            start,
            instructions: 1,
            executions: 1,
            code: code.to_vec(),
            page: Some(page),
        }
    }

    fn programs() -> Programs {
        Programs {
            kernel: text(KERNEL, &[], &[(0xffff_ffff_8000_0000, 16, "fastpath")]),
            texts: vec![
                text(
                    "a",
                    &[1, 2, 3, 4],
                    &[(0x1000, 2, "same"), (0x1002, 2, "own")],
                ),
                text("b", &[1, 2, 7, 8], &[(0x1000, 4, "main")]),
            ],
        }
    }

    #[test]
    fn everything_that_was_executed_is_somebodys() {
        let blocks = [
            block(0xffff_ffff_8000_0004, &[9], 9),
            // Page 1 is a's, since only a has the second block.
            block(0x1000, &[1, 2], 1),
            block(0x1002, &[3, 4], 1),
            block(0x1002, &[7], 2),
            // A page of which nothing tells whose it is.
            block(0x1000, &[1], 3),
            block(0x8000, &[1], 4),
        ];
        let attribution = Attribution::of(&programs(), &blocks, &[10, 20, 10, 10, 8, 5]);
        let components = attribution.per_component(1);
        let expected = [
            ("a", 30.0 + 6.0),
            ("b", 10.0 + 2.0),
            (KERNEL, 10.0),
            (UNATTRIBUTED, 5.0),
        ];
        assert_eq!(
            components,
            expected.map(|(name, n)| (name.to_owned(), n)).into()
        );
        assert_eq!((attribution.total(), attribution.shared()), (63.0, 8.0));
        let printed = attribution.functions(2).to_string();
        assert!(printed.contains("fastpath"), "{printed}");
    }

    #[test]
    fn what_is_open_with_nothing_to_go_by_is_halved() {
        let blocks = [block(0x1000, &[1, 2], 1)];
        let components = Attribution::of(&programs(), &blocks, &[6]).per_component(3);
        assert_eq!(components["a"], 1.0);
        assert_eq!(components["b"], 1.0);
    }
}
