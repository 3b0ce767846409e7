//! What is measured: directions, callers, techniques.

use socket_api::{Passing, Semantics, Technique};

/// Which way, and past what NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client.
    Out,
    /// To the client, from a NIC that fills the next buffer whatever the flow.
    InStock,
    /// To the client, from a NIC that demultiplexes early.
    InEarly,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Out, Self::InStock, Self::InEarly];

    /// As the log has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::InStock => "in-stock",
            Self::InEarly => "in-early",
        }
    }

    /// Techniques that may be tried.
    pub const fn techniques(self) -> &'static [Technique] {
        use Technique as T;
        match self {
            Self::Out => &[T::Reference, T::Tcow, T::CopyOut, T::Hide, T::Remove],
            _ => &[T::InPlace, T::Swap, T::CopyIn, T::Reinstate, T::Create],
        }
    }
}

/// What a caller asks for.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Which way.
    pub way: Way,
    /// What it relies on.
    pub semantics: Semantics,
    /// Whether its only thread waits.
    pub blocked: bool,
    /// The technique; none: the manager chooses.
    pub forced: Option<Technique>,
}

impl Case {
    /// How a request says so.
    pub const fn passing(&self) -> Passing {
        Passing {
            semantics: self.semantics,
            forced: self.forced,
        }
    }

    /// Whether the region goes away when it is sent.
    pub const fn moves(&self) -> bool {
        matches!(self.semantics, Semantics::Move | Semantics::EmulatedMove)
    }
}

/// All of them, those that the manager chooses for last of each caller. Whether
/// a technique is legal is the manager's to say.
pub fn all() -> impl Iterator<Item = Case> {
    let callers = Semantics::ALL.iter().flat_map(|&semantics| {
        // Whether the caller waits makes a difference to this one only.
        let both = semantics == Semantics::EmulatedCopy;
        let blocked = [true, false].into_iter().take(1 + usize::from(both));
        blocked.map(move |blocked| (semantics, blocked))
    });
    Way::ALL.into_iter().flat_map(move |way| {
        callers.clone().flat_map(move |(semantics, blocked)| {
            let forced = way.techniques().iter().map(|&t| Some(t));
            forced.chain([None]).map(move |forced| Case {
                way,
                semantics,
                blocked,
                forced,
            })
        })
    })
}
