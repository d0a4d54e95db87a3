//! Series as JSON lines, and what differs between two databases.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

const PLAIN_NAN_BITS: u64 = 0x7ff8_0000_0000_0000;
const DIFFERENCES_SHOWN: usize = 10;

/// All samples of a database: value bits by timestamp by series. A series is its labels as JSON, in order of their names.
pub(crate) type Cells = BTreeMap<String, BTreeMap<i64, u64>>;

/// The name of a series in [`Cells`].
pub(crate) fn name(labels: &[(&str, &str)]) -> String {
    let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
    serde_json::to_string(&labels).unwrap()
}

/// Reads the lines that an export answers; timestamps stay in its unit.
pub(crate) fn parse(text: &str) -> Cells {
    let mut cells = Cells::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let labels =
            line["metric"].as_object().unwrap().iter().map(|(n, v)| (n.as_str(), v.as_str().unwrap()));
        // An empty label is the same as none.
        let labels: BTreeMap<&str, &str> = labels.filter(|(_, value)| !value.is_empty()).collect();
        let (values, timestamps) =
            (line["values"].as_array().unwrap(), line["timestamps"].as_array().unwrap());
        assert_eq!(values.len(), timestamps.len(), "{labels:?}");
        let series = cells.entry(serde_json::to_string(&labels).unwrap()).or_default();
        for (timestamp, value) in timestamps.iter().zip(values) {
            let before = series.insert(timestamp.as_i64().unwrap(), bits(value));
            assert_eq!(before, None, "{labels:?} has {timestamp} twice");
        }
    }
    cells
}

fn bits(value: &Value) -> u64 {
    let number = match value {
        Value::Null => return timberline_engine::STALE_NAN_BITS,
        Value::String(text) => match text.strip_prefix("NaN:") {
            Some(bits) => return u64::from_str_radix(bits, 16).unwrap(),
            None if text == "NaN" => return PLAIN_NAN_BITS,
            None if text == "Infinity" => f64::INFINITY,
            None if text == "-Infinity" => f64::NEG_INFINITY,
            None => panic!("{text} is not a value"),
        },
        // A histogram: as good as its bits, and no float's.
        Value::Object(_) => return histogram_bits(&value.to_string()),
        _ => value.as_f64().unwrap(),
    };
    number.to_bits()
}

fn histogram_bits(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    timberline_engine::histogram::cell::histogram(hasher.finish() as u32).to_bits()
}

/// Fails with the first differences, unless both are equal bit for bit.
pub(crate) fn assert_same(found: &Cells, expected: &Cells, when: &str) {
    if found == expected {
        return;
    }
    let differences: Vec<String> =
        missing(found, expected, "lost or changed").chain(missing(expected, found, "unknown")).collect();
    let shown = &differences[..differences.len().min(DIFFERENCES_SHOWN)];
    panic!("{when}: {} samples differ, such as\n{}", differences.len(), shown.join("\n"));
}

/// Fails with the first samples of `expected` that `found` does not have, bit for bit. It may have others.
pub(crate) fn assert_includes(found: &Cells, expected: &Cells, when: &str) {
    let lost: Vec<String> = missing(found, expected, "lost or changed").take(DIFFERENCES_SHOWN).collect();
    assert!(lost.is_empty(), "{when}:\n{}", lost.join("\n"));
}

/// The samples of `all` that are not in `part`, in words.
fn missing<'a>(part: &'a Cells, all: &'a Cells, what: &'a str) -> impl Iterator<Item = String> + 'a {
    all.iter().flat_map(move |(name, samples)| {
        let there = part.get(name);
        samples.iter().filter_map(move |(timestamp, bits)| {
            let value = there.and_then(|samples| samples.get(timestamp));
            (value != Some(bits)).then(|| {
                let instead =
                    value.map_or(String::new(), |bits| format!(", but {} is", f64::from_bits(*bits)));
                format!("{what}: {name} {timestamp} {} ({bits:016x}){instead}", f64::from_bits(*bits))
            })
        })
    })
}
