//! Peers that vanish, and regions that come back.

use socket_api::{Extent, Passing, Semantics};

use crate::coverage::CELLS;
use crate::program::{Begin, Spot};
use crate::shadow::Page;
use crate::world::{Check, World};

impl World {
    /// All that goes on for a client ends, in some order.
    pub fn vanish(&mut self, client: u16, order: u32) -> Check {
        let mut turn = order;
        loop {
            turn = turn.rotate_right(1);
            let out = self.outs.iter().position(|o| o.client == client);
            let out_last = self.outs.iter().rposition(|o| o.client == client);
            let input = self.ins.iter().position(|i| i.client == client);
            let input_last = self.ins.iter().rposition(|i| i.client == client);
            match (out.zip(out_last), input.zip(input_last)) {
                (None, None) => return Ok(()),
                (Some((first, last)), None) => {
                    self.end_output_at(if turn & 2 == 0 { first } else { last })?;
                }
                (Some((first, last)), Some(_)) if turn & 1 == 0 => {
                    self.end_output_at(if turn & 2 == 0 { first } else { last })?;
                }
                (_, Some((first, last))) => {
                    self.end_input_at(if turn & 2 == 0 { first } else { last })?;
                }
            }
        }
    }

    /// Everything that was moved away comes back.
    pub fn restore(&mut self, client: u16) -> Check {
        self.vanish(client, 5)?;
        for _ in 0..200 {
            let Some(extent) = self.first_run(client, |p| p != Page::Here) else {
                return Ok(());
            };
            self.receive_region(client, extent)?;
            let away = |w: &Self| w.first_run(client, |p| p != Page::Here);
            if away(self) == Some(extent) && !self.end_something()? {
                return Err("it cannot come back".into());
            }
        }
        Err("it does not come back".into())
    }

    /// Regions whose pages were hidden come back as they were.
    pub fn reinstate_kept(&mut self, client: u16) -> Check {
        while let Some(extent) = self.first_run(client, |p| p == Page::Kept) {
            let begin = self.region_input(client, extent);
            self.begin_at(&begin, extent)?;
            self.end_input_at(self.ins.len() - 1)?;
        }
        Ok(())
    }

    fn receive_region(&mut self, client: u16, extent: Extent) -> Check {
        let begin = self.region_input(client, extent);
        self.begin_at(&begin, extent)?;
        let n = self.ins.len() - 1;
        self.deliver(n as u32, 0xffff, 0)?;
        self.end_input_at(n)
    }

    fn begin_at(&mut self, begin: &Begin, extent: Extent) -> Check {
        let count = self.ins.len();
        let passing = Passing::new(Semantics::EmulatedMove);
        let how = (false, false);
        let memory = &mut self.platform.memory;
        match memory.begin_input(begin.at.client, extent, passing, how) {
            Ok(input) => self.input_begun(begin, extent, input)?,
            Err(error) => return Err(format!("{extent:x?} cannot come back: {error}")),
        }
        assert_eq!(self.ins.len(), count + 1);
        Ok(())
    }

    fn region_input(&self, client: u16, extent: Extent) -> Begin {
        let cell = CELLS
            .iter()
            .find(|c| c.input && c.semantics == Semantics::EmulatedMove);
        Begin {
            cell: *cell.expect("emulated move is a cell"),
            at: Spot {
                client,
                region: 0,
                len: extent.len,
                kind: 0,
                fine: 0,
            },
            forced: None,
            blocked: false,
            early: false,
        }
    }

    /// The first pages in a row that are as wanted.
    fn first_run(&self, client: u16, wanted: impl Fn(Page) -> bool) -> Option<Extent> {
        self.shadows[usize::from(client)]
            .regions
            .iter()
            .find_map(|r| {
                let first = r.pages.iter().position(|p| wanted(*p))?;
                let run = r.pages[first..].iter().take_while(|p| wanted(**p)).count();
                let page = r.region.page();
                Some(Extent {
                    address: r.region.address + first as u32 * page,
                    len: run as u32 * page,
                })
            })
    }
}
