//! References to components: by name, or left out.
//!
//! Invariant: an index that comes out of here is in range and has the role
//! asked for; where it cannot, a diagnostic says why.

use crate::raw::RawComponent;
use crate::report::{Diagnostic, Span};
use crate::role::Role;
use crate::rule::Rule;
use crate::section::Log;
use crate::value::At;

/// Resolves names to indices.
pub(crate) struct Names<'r, 'a> {
    pub(crate) components: &'r [RawComponent<'a>],
}

impl Names<'_, '_> {
    /// The component of this name, which must have this role (if one is
    /// asked for).
    pub(crate) fn named(
        &self,
        log: &mut Log,
        key: &str,
        name: &At<String>,
        role: Option<Role>,
    ) -> Option<usize> {
        let fits = |c: &&RawComponent<'_>| c.role.is_none() || role.is_none() || c.role == role;
        let Some(index) = self
            .components
            .iter()
            .position(|c| c.name.value == name.value)
        else {
            let known = self.components.iter().filter(fits);
            log.push(
                Diagnostic::error(
                    Rule::UnknownComponent,
                    &name.span,
                    format!("there is no component `{}`", name.value),
                )
                .label("unknown component")
                .suggest(&name.value, known.map(|c| c.name.value.as_str())),
            );
            return None;
        };
        let found = &self.components[index];
        if fits(&found) {
            return Some(index);
        }
        let (Some(role), Some(is)) = (role, found.role) else {
            return Some(index);
        };
        let message = format!(
            "`{key}` needs {}, but `{}` is {}",
            role.a(),
            name.value,
            is.a()
        );
        let wanted = self.components.iter().filter(|c| c.role == Some(role));
        let names: Vec<String> = wanted.map(|c| format!("`{}`", c.name.value)).collect();
        let mut diagnostic = Diagnostic::error(Rule::WrongRole, &name.span, message)
            .label(format!("not {}", role.a()))
            .related(&found.name.span, format!("is {}", is.a()));
        if !names.is_empty() {
            diagnostic = diagnostic.help(format!("there is {}", names.join(", ")));
        }
        log.push(diagnostic);
        None
    }

    /// The only component with this role. `needed` says who needs it, and
    /// why, when there must be one.
    fn only(&self, log: &mut Log, key: &str, at: &Span, role: Role, needed: bool) -> Option<usize> {
        let mut found =
            (0..self.components.len()).filter(|i| self.components[*i].role == Some(role));
        let first = found.next();
        if let (Some(a), Some(b)) = (first, found.next()) {
            let (a, b) = (&self.components[a].name, &self.components[b].name);
            let message = format!("there are several components with the role {}", role.word());
            log.push(
                Diagnostic::error(Rule::AmbiguousRole, at, message)
                    .label(format!("which one does this use? give `{key}`"))
                    .related(&a.span, "one")
                    .related(&b.span, "another"),
            );
        }
        // A component whose program is broken may be the one.
        let unclear = self.components.iter().any(|c| c.role.is_none());
        if first.is_none() && needed && !unclear {
            let message = format!("there is no component with the role {}", role.word());
            log.push(
                Diagnostic::error(Rule::MissingRole, at, message)
                    .label(format!("needs {}", role.a())),
            );
        }
        first
    }

    /// A reference that may be left out: then the only one with the role.
    pub(crate) fn or_only(
        &self,
        log: &mut Log,
        raw: &RawComponent<'_>,
        key: &str,
        role: Role,
    ) -> Option<usize> {
        match raw.section.text(key) {
            Some(name) => self.named(log, key, &name, Some(role)),
            None if raw.section.key_span(key).is_some() => None,
            None => self.only(log, key, &raw.name.span, role, true),
        }
    }

    /// `timer` and `entropy`: a name, a wish, or what the role has.
    pub(crate) fn service(
        &self,
        log: &mut Log,
        raw: &RawComponent<'_>,
        key: &str,
        role: Role,
        (by_role, must): (bool, bool),
    ) -> Option<usize> {
        if let Some(name) = raw.section.text(key) {
            return self.named(log, key, &name, Some(role));
        }
        match raw.section.flag(key) {
            Some(At { value: false, .. }) => None,
            Some(At { value: true, span }) => self.only(log, key, &span, role, true),
            None if by_role => self.only(log, key, &raw.name.span, role, must),
            None => None,
        }
    }
}
