//! InfluxDB line protocol: `measurement,tag=value field=1.5,other=2i 1434055562000000000`.
//!
//! A line takes one of two ways through this folder. The common one: [`scan`] splits it, the row goes to the engine
//! under the raw bytes of its key, and nothing is unescaped, validated or allocated. A key or field that the engine
//! does not know yet is taken apart by [`syntax`] and turned into labels by [`series`]. A line that `scan` does not
//! like goes through `syntax` as a whole, which accepts it or says what is wrong with it, and where.

mod number;
mod scan;
mod series;
mod syntax;
#[cfg(test)]
mod tests;

use timberline_engine::{Error, Field, Row};

pub use number::Value;
use series::KeyLabels;
pub use series::{Namespace, unescape_measurement, unescape_name, unescape_string};
use syntax::Refused;
pub use syntax::{Decoder, Line, SeriesKey};

use super::error::{ErrorList, Fault, Locator};
use super::limits::{Limits, past_limit};
use super::precision::Precision;
use super::sink::{RowSink, is_about_one_series};
use super::without_mark;

/// What became of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteReport {
    /// Lines that are not blank and not comments, bad ones included.
    pub lines: u64,
    /// Lines of which something was stored.
    pub rows: u64,
    /// Samples stored.
    pub samples: u64,
    /// String fields left out of good lines.
    pub strings_skipped: u64,
    /// Integers that `f64` does not hold exactly, stored rounded.
    pub integers_rounded: u64,
    /// The lines that were left out.
    pub errors: ErrorList,
}

/// Writes the lines of `body` into `sink`; the caller commits. A byte order mark in front of them is skipped.
///
/// Timestamps are in units of `precision`; a line without one gets `default_time_ns`, rounded down to that unit.
/// A bad line is left out as a whole and reported; the next line starts behind the next line break after the fault (for
/// a string that is never closed: after its opening quote). A string field is not a sample: it is left out and counted.
///
/// # Errors
/// Only when the sink takes no more: then nothing should be committed.
pub fn write_lines(
    body: &[u8],
    namespace: &Namespace<'_>,
    precision: Precision,
    default_time_ns: i64,
    limits: &Limits,
    sink: &mut impl RowSink,
) -> Result<WriteReport, Error> {
    let body = without_mark(body);
    let mut writer = Writer {
        body,
        namespace,
        precision,
        default_time_ns: precision.truncate(default_time_ns),
        limits,
        key: namespace.key_prefix(),
        report: WriteReport::default(),
    };
    let prefix = writer.key.len();
    let mut locator = Locator::new(body);
    let mut fields = Vec::new();
    let mut at = syntax::skip_blank(body, 0);
    while at < body.len() {
        writer.report.lines += 1;
        writer.key.truncate(prefix);
        let next = match writer.write_line(at, &mut fields, sink)? {
            Ok(next) => next,
            Err(Refused { fault, next }) => {
                writer.report.errors.push(&fault.reason, || locator.locate(at, fault.clone()));
                next
            }
        };
        at = syntax::skip_blank(body, next);
    }
    Ok(writer.report)
}

/// What stays the same from line to line.
struct Writer<'a> {
    body: &'a [u8],
    namespace: &'a Namespace<'a>,
    precision: Precision,
    default_time_ns: i64,
    limits: &'a Limits,
    /// The namespace's prefix; a line appends its own key.
    key: Vec<u8>,
    report: WriteReport,
}

impl<'a> Writer<'a> {
    /// Writes the line at `start`; gives the start of the next line, or what is wrong with this one. The outer
    /// error is the sink's.
    fn write_line(
        &mut self,
        start: usize,
        fields: &mut Vec<Field<'a>>,
        sink: &mut impl RowSink,
    ) -> Result<Result<usize, Refused>, Error> {
        let fields_max = self.limits.fields_max;
        let split = match scan::split_line(self.body, start, self.precision, fields_max, fields) {
            Some(split) => split,
            None => match self.split_strictly(start, fields) {
                Ok(split) => split,
                Err(refused) => return Ok(Err(refused)),
            },
        };
        if let Err(reason) = self.check_size(start, &split) {
            return Ok(Err(Refused { fault: Fault::new(start, reason), next: split.end }));
        }
        if fields.is_empty() {
            // Nobody will ask for this line's labels, so its key is validated here.
            if let Err(fault) = syntax::parse_series_key(split.key) {
                return Ok(Err(self.refuse(fault.shifted(start))));
            }
        } else if let Err(refused) = self.append(start, &split, fields, sink)? {
            return Ok(Err(refused));
        }
        self.report.strings_skipped += split.strings;
        self.report.integers_rounded += split.rounded;
        Ok(Ok(split.end))
    }

    /// Refuses a line that is not in the grammar, so that its end is not known.
    fn refuse(&self, fault: Fault) -> Refused {
        Refused { next: syntax::next_line(self.body, fault.offset), fault }
    }

    fn check_size(&self, start: usize, split: &scan::Split<'_>) -> Result<(), String> {
        let (line, key) = (split.end - start, split.key.len());
        if line > self.limits.line_bytes_max {
            return Err(past_limit("line_bytes_max", self.limits.line_bytes_max, line));
        }
        if key > self.limits.series_key_bytes_max {
            return Err(past_limit("series_key_bytes_max", self.limits.series_key_bytes_max, key));
        }
        Ok(())
    }

    /// Hands the row to the sink.
    fn append(
        &mut self,
        start: usize,
        split: &scan::Split<'a>,
        fields: &[Field<'a>],
        sink: &mut impl RowSink,
    ) -> Result<Result<(), Refused>, Error> {
        self.key.extend_from_slice(split.key);
        let row = Row { key: &self.key, timestamp: split.timestamp.unwrap_or(self.default_time_ns), fields };
        let mut refused = None;
        let mut shared: Option<KeyLabels<'_>> = None;
        let appended = sink.row(row, |field| {
            let labels = match &mut shared {
                Some(labels) => Ok(labels),
                none => KeyLabels::parse(split.key, self.namespace).map(|labels| none.insert(labels)),
            };
            labels.and_then(|labels| labels.of_field(field, self.limits)).map_err(|reason| {
                refused = Some(reason.clone());
                Error::InvalidSeries { reason }
            })
        });
        let reason = match (appended, refused) {
            (Ok(()), _) => {
                self.report.rows += 1;
                self.report.samples += fields.len() as u64;
                return Ok(Ok(()));
            }
            // A name is not valid: the strict grammar knows the place. Where it accepts the line, the fault is about
            // the labels.
            (Err(_), Some(reason)) => {
                match syntax::decode_line(self.body, start, self.precision, self.limits) {
                    Err(refused) => return Ok(Err(refused)),
                    Ok(_) => reason,
                }
            }
            (Err(error), None) if is_about_one_series(&error) => error.to_string(),
            (Err(error), None) => return Err(error),
        };
        Ok(Err(Refused { fault: Fault::new(start, reason), next: split.end }))
    }

    /// Splits a line by the strict grammar.
    #[cold]
    fn split_strictly(&self, start: usize, fields: &mut Vec<Field<'a>>) -> Result<scan::Split<'a>, Refused> {
        let (line, end) = syntax::decode_line(self.body, start, self.precision, self.limits)?;
        let mut split = scan::Split { key: line.key, timestamp: line.timestamp, end, strings: 0, rounded: 0 };
        fields.clear();
        for (name, value) in line.fields {
            match value.to_sample() {
                Some((value, rounded)) => {
                    fields.push(Field { name, value });
                    split.rounded += u64::from(rounded);
                }
                None => split.strings += 1,
            }
        }
        Ok(split)
    }
}
