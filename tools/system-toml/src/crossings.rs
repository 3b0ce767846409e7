//! Which protection domains data passes through on its way.
//!
//! Invariant: what is shown is counted from where the components run, one step
//! for each time that another protection domain has to run. It holds for one
//! operation at a time on a system that slept before; under load a crossing
//! serves a batch.

use std::fmt;

use crate::model::Model;

/// The crossings of one client's operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossings {
    /// The client.
    pub client: String,
    /// From the interrupt to the client that has the data.
    pub receive: Way,
    /// From the client to the NIC that has the frame.
    pub send: Way,
}

/// Protection domains in the order in which they run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Where it begins.
    from: String,
    /// Each domain, with the guests that have a turn there.
    steps: Vec<(String, Vec<String>)>,
}

impl Way {
    /// How many crossings it takes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.steps.len()
    }

    /// The way through `components` from somewhere else, which is `from`'s
    /// protection domain if it is a component.
    fn new(model: &Model, from: Option<usize>, components: &[usize]) -> Self {
        let name = |i: usize| model.components[i].name.clone();
        let mut steps: Vec<(usize, Vec<String>)> = Vec::new();
        let mut domain = from.map(|i| model.domain(i));
        for component in components {
            let next = model.domain(*component);
            if domain != Some(next) {
                steps.push((next, Vec::new()));
                domain = Some(next);
            }
            let is_guest = next != *component;
            if let Some((_, guests)) = steps.last_mut().filter(|_| is_guest) {
                guests.push(name(*component));
            }
        }
        Self {
            from: from.map_or_else(|| "interrupt".to_owned(), name),
            steps: steps
                .into_iter()
                .map(|(d, guests)| (name(d), guests))
                .collect(),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.count(), self.from)?;
        for (domain, guests) in &self.steps {
            write!(f, " > {domain}")?;
            if !guests.is_empty() {
                write!(f, " with {}", guests.join(" and "))?;
            }
        }
        Ok(())
    }
}

/// The crossings of all clients whose way is complete.
pub(crate) fn all(model: &Model) -> Vec<Crossings> {
    let clients = model.components.iter().enumerate();
    let clients = clients.filter(|(_, c)| c.client.is_some());
    clients.filter_map(|(index, _)| of(model, index)).collect()
}

fn of(model: &Model, client: usize) -> Option<Crossings> {
    let manager = model.manager_of(client)?;
    let server = model.components[manager].server?;
    let driver = model.components[server].nic?;
    let receive = [driver, manager, server, manager, client];
    let send = [manager, server, manager, driver];
    Some(Crossings {
        client: model.components[client].name.clone(),
        receive: Way::new(model, None, &receive),
        send: Way::new(model, Some(client), &send),
    })
}
