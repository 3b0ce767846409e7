//! The manager's own reads and writes of a client's memory.

use data_passing::PassingError;
use socket_api::Extent;

use crate::world::{Check, World, same};

impl World {
    /// The manager itself reads.
    pub fn read_client(&mut self, client: u16, extent: Extent) -> Check {
        let mut bytes = vec![0; extent.len as usize];
        let memory = &mut self.platform.memory;
        let read = memory.read_client(client, extent.address, &mut bytes);
        let region = self.shadows[usize::from(client)].find(extent);
        let away = region.is_some_and(|r| r.is_away(extent));
        match (read, region) {
            (Ok(()), Some(region)) if !away => same(
                &bytes,
                region.at(extent),
                "the manager reads",
                extent.address,
            ),
            (Err(PassingError::Extent), None) => Ok(()),
            (Err(PassingError::NotMapped), Some(_)) if away => Ok(()),
            (read, _) => Err(format!("reading {extent:x?}: {read:?}")),
        }
    }

    /// The manager itself writes.
    pub fn write_client(&mut self, client: u16, extent: Extent) -> Check {
        let bytes = self.bytes(client, true, extent.len);
        let memory = &mut self.platform.memory;
        let reserve = memory.reserve();
        let written = memory.write_client(client, extent.address, &bytes);
        let region = self.shadows[usize::from(client)].find(extent);
        let region = region.filter(|r| r.region.writable);
        let away = region.is_some_and(|r| r.is_away(extent));
        let relied_on = self.is_relied_on(client, extent);
        match (written, region) {
            (Ok(()), Some(_)) if !away && !relied_on => {
                self.shadow_write(client, extent.address, &bytes);
                Ok(())
            }
            (Err(PassingError::Extent), None) => Ok(()),
            (Err(PassingError::Extent), Some(_)) if relied_on => Ok(()),
            (Err(PassingError::NotMapped), Some(_)) if away => Ok(()),
            (Err(PassingError::NoFrames), Some(r))
                if (reserve as usize) < r.pages_of(extent).len() =>
            {
                Ok(())
            }
            (written, _) => Err(format!("writing {extent:x?}: {written:?}")),
        }
    }
}
