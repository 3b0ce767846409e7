//! Diagnostics and how they are shown.
//!
//! Problem: every mistake is reported at once, each with file, line, column
//! and the text underlined. Invariant: a [`Report`] is sorted by position and
//! rendering it gives the same bytes for the same file.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};

use crate::rule::Rule;

/// Bytes of the file that something is about.
pub type Span = Range<usize>;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The system cannot be built.
    Error,
    /// The system can be built, but look at this.
    Warning,
}

/// One mistake, or one thing to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Which rule it is about.
    pub rule: Rule,
    /// What is wrong, in one line.
    pub message: String,
    /// Where; `None` when it is about the file as a whole.
    pub span: Option<Span>,
    /// What stands beside the underlined text.
    pub label: String,
    /// Other places that matter.
    pub related: Vec<(Span, String)>,
    /// Why the rule is there, or figures.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    fn new(severity: Severity, rule: Rule, span: &Span, message: impl Into<String>) -> Self {
        Self {
            severity,
            rule,
            message: message.into(),
            span: Some(span.clone()),
            label: String::new(),
            related: Vec::new(),
            notes: Vec::new(),
            help: None,
        }
    }

    pub(crate) fn error(rule: Rule, span: &Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, rule, span, message)
    }

    pub(crate) fn warning(rule: Rule, span: &Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, rule, span, message)
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(crate) fn related(mut self, span: &Span, label: impl Into<String>) -> Self {
        self.related.push((span.clone(), label.into()));
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds "did you mean", if one of `known` is near `given`; else the list.
    pub(crate) fn suggest<'s>(self, given: &str, known: impl IntoIterator<Item = &'s str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        match nearest(given, &known) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None if known.is_empty() => self,
            None => {
                let list: Vec<String> = known.iter().map(|k| format!("`{k}`")).collect();
                self.help(format!("there is {}", list.join(", ")))
            }
        }
    }
}

/// The known word nearest to the one given, if it is near at all.
fn nearest<'s>(given: &str, known: &[&'s str]) -> Option<&'s str> {
    let given = given.to_lowercase();
    known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(&given, k), *k))
        .filter(|(distance, k)| *distance <= (k.len().max(given.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

/// Diagnostics about one file, in order of position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    path: String,
    text: String,
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// A report about the file at `path` with this content.
    pub(crate) fn new(path: &str, text: &str, mut diagnostics: Vec<Diagnostic>) -> Self {
        let key = |d: &Diagnostic| d.span.as_ref().map_or((0, 0), |s| (s.start, s.end));
        diagnostics.sort_by_key(|d| (key(d), d.severity, d.rule));
        diagnostics.dedup();
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            diagnostics,
        }
    }

    /// A report that the file could not be read.
    pub(crate) fn unreadable(path: &str, error: &std::io::Error) -> Self {
        let message = format!("cannot read {path}: {error}");
        let mut diagnostic = Diagnostic::error(Rule::Unreadable, &(0..0), message);
        diagnostic.span = None;
        Self::new(path, "", vec![diagnostic])
    }

    /// All diagnostics, in order of position.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Whether there is nothing to report.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// How many diagnostics are errors; the rest are warnings.
    #[must_use]
    pub fn errors(&self) -> usize {
        let is_error = |d: &&Diagnostic| d.severity == Severity::Error;
        self.diagnostics.iter().filter(is_error).count()
    }

    /// The report as text in the manner of rustc, with colours for a terminal
    /// or plain, and a count at the end. Empty if there is nothing to report.
    #[must_use]
    pub fn render(&self, colours: bool) -> String {
        if self.is_empty() {
            return String::new();
        }
        let renderer = if colours {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut out = String::new();
        for diagnostic in &self.diagnostics {
            out.push_str(&renderer.render(&self.groups(diagnostic)));
            out.push_str("\n\n");
        }
        let (errors, all) = (self.errors(), self.diagnostics.len());
        let summary = [(errors, "error"), (all - errors, "warning")]
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{n} {what}{}", if *n == 1 { "" } else { "s" }))
            .collect::<Vec<_>>();
        out.push_str(&format!("{}: {}\n", self.path, summary.join(", ")));
        out
    }

    fn groups<'a>(&'a self, diagnostic: &'a Diagnostic) -> Vec<Group<'a>> {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level
            .primary_title(diagnostic.message.as_str())
            .id(diagnostic.rule.name());
        let mut group = match &diagnostic.span {
            None => Group::with_title(title).element(Element::from(Origin::path(&self.path))),
            Some(span) => title.element(self.snippet(span, diagnostic)),
        };
        for note in &diagnostic.notes {
            group = group.element(Level::NOTE.message(note.as_str()));
        }
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        vec![group]
    }

    fn snippet<'a>(
        &'a self,
        span: &Span,
        diagnostic: &'a Diagnostic,
    ) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let primary = AnnotationKind::Primary
            .span(span.clone())
            .label(diagnostic.label.as_str());
        let snippet = Snippet::source(self.text.as_str())
            .path(self.path.as_str())
            .annotation(primary);
        diagnostic.related.iter().fold(snippet, |s, (span, label)| {
            s.annotation(
                AnnotationKind::Context
                    .span(span.clone())
                    .label(label.as_str()),
            )
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}
