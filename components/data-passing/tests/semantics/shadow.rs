//! What clients' memory must look like.
//!
//! Invariant: it is kept by the simplest rules that copy semantics and the
//! moves can be said in, and knows nothing of frames.

use socket_api::Extent;

use crate::platform::{READ_ONLY, Region, SMALL, regions};

/// Whether a client can reach a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// It can.
    Here,
    /// Not now; its bytes come back with it.
    Kept,
    /// It was moved away with its bytes; zeros will be there if it comes back.
    Gone,
}

/// One region.
#[derive(Clone, Debug)]
pub struct ShadowRegion {
    pub region: Region,
    pub bytes: Vec<u8>,
    pub pages: Vec<Page>,
}

impl ShadowRegion {
    /// The pages that an extent in it touches.
    pub fn pages_of(&self, extent: Extent) -> std::ops::Range<usize> {
        if extent.len == 0 {
            return 0..0;
        }
        let (start, page) = (extent.address - self.region.address, self.region.page());
        (start / page) as usize..((start + extent.len).div_ceil(page)) as usize
    }

    /// Whether some page of the extent is not here.
    pub fn is_away(&self, extent: Extent) -> bool {
        self.pages[self.pages_of(extent)]
            .iter()
            .any(|p| *p != Page::Here)
    }

    pub fn range(&self, extent: Extent) -> std::ops::Range<usize> {
        let start = (extent.address - self.region.address) as usize;
        start..start + extent.len as usize
    }

    /// The bytes of an extent.
    pub fn at(&self, extent: Extent) -> &[u8] {
        &self.bytes[self.range(extent)]
    }
}

/// All memory of one client.
#[derive(Clone, Debug)]
pub struct Shadow {
    pub regions: Vec<ShadowRegion>,
}

impl Shadow {
    pub fn new(client: u16, images: [Vec<u8>; 3]) -> Self {
        let all = regions(client).into_iter().zip(images);
        let all = all.filter(|(region, _)| region.bytes != 0);
        let regions = all.map(|(region, image)| ShadowRegion {
            region,
            bytes: image,
            pages: vec![Page::Here; (region.bytes / region.page()) as usize],
        });
        Self {
            regions: regions.collect(),
        }
    }

    /// The region of a kind, or the one of small pages if there is none.
    pub fn region(&self, kind: usize) -> Region {
        let region = match kind {
            _ if self.regions.len() == 3 => self.regions[kind].region,
            READ_ONLY => self.regions[1].region,
            _ => self.regions[SMALL].region,
        };
        assert_ne!(region.bytes, 0);
        region
    }

    fn index(&self, extent: Extent) -> Option<usize> {
        self.regions.iter().position(|r| {
            let end = u64::from(r.region.address) + u64::from(r.region.bytes);
            extent.address >= r.region.address && extent.end() <= end
        })
    }

    /// The region that all of the extent lies in.
    pub fn find(&self, extent: Extent) -> Option<&ShadowRegion> {
        self.index(extent).map(|n| &self.regions[n])
    }

    /// As `find`.
    pub fn find_mut(&mut self, extent: Extent) -> Option<&mut ShadowRegion> {
        let found = self.index(extent)?;
        Some(&mut self.regions[found])
    }

    /// Whether the client can read, or write, the byte.
    pub fn can_access(&self, address: u32, write: bool) -> bool {
        let byte = Extent { address, len: 1 };
        self.find(byte)
            .is_some_and(|r| !r.is_away(byte) && (!write || r.region.writable))
    }
}
