//! Which program a translation block is of.
//!
//! Invariant: a block is given to a program only if the program has its bytes
//! at its address; of several such programs, one is preferred only if the other
//! blocks of the page are its too.

use std::collections::HashMap;

use insn_count::{BlockCount, KERNEL_FLOOR};

use super::programs::Text;

/// Bytes of a page.
const PAGE: u64 = 4096;

/// Whose a block is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The kernel's.
    Kernel,
    /// That program's, by index.
    One(usize),
    /// One of these programs', two or more.
    Several(Vec<usize>),
    /// No program has such code there.
    Nobody,
}

/// The owner of each block.
pub(super) fn owners(blocks: &[BlockCount], texts: &[Text]) -> Vec<Owner> {
    let fitting: Vec<Vec<usize>> = blocks.iter().map(|block| fits(block, texts)).collect();
    let mut pages: HashMap<(u32, u64), Vec<usize>> = HashMap::new();
    for (block, fitting) in blocks.iter().zip(&fitting) {
        if let Some(page) = block.page {
            let common = pages
                .entry((page, block.start / PAGE))
                .or_insert_with(|| fitting.clone());
            common.retain(|program| fitting.contains(program));
        }
    }
    let owner = |(block, fitting): (&BlockCount, &Vec<usize>)| {
        if block.start >= KERNEL_FLOOR {
            return Owner::Kernel;
        }
        let page = block
            .page
            .and_then(|page| pages.get(&(page, block.start / PAGE)));
        // A page that two programs used after each other decides nothing.
        match page.filter(|common| !common.is_empty()).unwrap_or(fitting)[..] {
            [] => Owner::Nobody,
            [one] => Owner::One(one),
            ref several => Owner::Several(several.to_vec()),
        }
    };
    blocks.iter().zip(&fitting).map(owner).collect()
}

/// The programs that have the block's bytes at its address.
fn fits(block: &BlockCount, texts: &[Text]) -> Vec<usize> {
    let fits = |program: &usize| texts[*program].holds(block.start, &block.code);
    match block.start >= KERNEL_FLOOR {
        true => Vec::new(),
        false => (0..texts.len()).filter(fits).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(code: &[u8]) -> Text {
        Text {
            component: String::new(),
            segments: vec![(0x1000, code.to_vec())],
            functions: Vec::new(),
        }
    }

    fn block(start: u64, code: &[u8], page: Option<u32>) -> BlockCount {
        BlockCount {
            start,
            instructions: 1,
            executions: 1,
            code: code.to_vec(),
            page,
        }
    }

    #[test]
    fn neighbours_decide_only_within_a_page() {
        let texts = [text(&[1, 2, 3]), text(&[1, 2, 4])];
        let blocks = [
            block(0x1000, &[1, 2], Some(5)),
            block(0x1002, &[4], Some(5)),
            block(0x1000, &[1, 2], Some(6)),
            block(0x1000, &[1, 2], None),
            block(0x1001, &[2, 9], Some(5)),
        ];
        let both = Owner::Several(vec![0, 1]);
        // The last block fits nobody, so the page no longer decides.
        assert_eq!(
            owners(&blocks[..4], &texts),
            [Owner::One(1), Owner::One(1), both.clone(), both.clone()]
        );
        assert_eq!(
            owners(&blocks, &texts),
            [
                both.clone(),
                Owner::One(1),
                both.clone(),
                both,
                Owner::Nobody
            ]
        );
    }

    #[test]
    fn a_block_at_the_end_of_a_text_is_not_read_past_it() {
        let texts = [text(&[1, 2, 3])];
        let blocks = [
            block(0x1002, &[3, 4], None),
            block(u64::from(u32::MAX), &[1], None),
            block(0x1003, &[], None),
        ];
        assert_eq!(owners(&blocks, &texts), vec![Owner::Nobody; 3]);
    }
}
