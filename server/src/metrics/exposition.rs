//! Prometheus's text exposition format, written.

use std::fmt::{Display, Write as _};

use super::histogram::Distribution;

/// A text exposition under construction.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

impl Exposition {
    /// A counter with one sample and no labels.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    /// A gauge with one sample and no labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// The header of a family; its samples follow.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// One sample. Label values come from this program and need no escapes.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.text.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            let open = if i == 0 { '{' } else { ',' };
            self.part(format_args!("{open}{label}=\"{text}\""));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.line(format_args!(" {value}"));
    }

    /// The samples of a histogram with these labels; the header of its family came before.
    pub(super) fn histogram(&mut self, name: &str, labels: &[(&str, &dyn Display)], times: &Distribution) {
        let bucket = format!("{name}_bucket");
        let mut total = 0;
        for (bound, count) in times.cumulative() {
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.to_string());
            let with_bound: Vec<(&str, &dyn Display)> =
                labels.iter().copied().chain([("le", &bound as &dyn Display)]).collect();
            self.sample(&bucket, &with_bound, count);
            total = count;
        }
        self.sample(&format!("{name}_sum"), labels, times.sum_seconds());
        self.sample(&format!("{name}_count"), labels, total);
    }

    /// The text so far.
    pub(super) fn finish(self) -> String {
        self.text
    }

    fn line(&mut self, part: std::fmt::Arguments<'_>) {
        self.part(part);
        self.text.push('\n');
    }

    fn part(&mut self, part: std::fmt::Arguments<'_>) {
        // Writing into a string cannot fail.
        let _ = self.text.write_fmt(part);
    }
}
