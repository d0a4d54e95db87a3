//! Decodes every case of the shared line-protocol corpus: whole texts are accepted or rejected as expected, and every
//! decoded name, tag, field and timestamp is the expected one. Skipped where the corpus is not there.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

use std::borrow::Cow;
use std::path::Path;

use serde_json::{Value as Json, json};
use timberline::ingest::Precision;
use timberline::ingest::line_protocol::{
    Decoder, Line, Value, unescape_measurement, unescape_name, unescape_string,
};

/// Beside the repository.
const CORPUS: &str = "shared/conformance/line-protocol/corpus.jsonl";

#[test]
fn every_case_of_the_corpus_decodes_as_expected() {
    let mut places = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join(CORPUS));
    let Some(corpus) = places.find(|path| path.exists()) else {
        println!("skipped: ../{CORPUS} is not there");
        return;
    };
    let corpus = std::fs::read_to_string(corpus).unwrap();
    let mut failures = Vec::new();
    let mut count = 0;
    for case in corpus.lines() {
        let case: Json = serde_json::from_str(case).unwrap();
        count += 1;
        if let Err(reason) = check(&case) {
            failures.push(format!("{}: {reason}\n  input {}", case["key"], case["input"]["text"]));
        }
    }
    assert!(count > 0, "the corpus is empty");
    assert!(failures.is_empty(), "{} of {count} cases:\n{}", failures.len(), failures.join("\n"));
}

fn check(case: &Json) -> Result<(), String> {
    let input = &case["input"];
    let text = match &input["text"] {
        Json::String(text) => text.as_bytes().to_vec(),
        binary => base64(binary["binary"].as_str().unwrap()),
    };
    let precision: Precision = input["precision"].as_str().unwrap().trim_start_matches('1').parse().unwrap();
    let default_time = precision.truncate(input["defaultTime"].as_i64().unwrap());
    let decoded: Result<Vec<_>, _> = Decoder::new(&text, precision).collect();
    match (decoded, case["output"]["result"].as_array(), case["output"]["error"].as_str()) {
        (Ok(lines), Some(expected), _) => {
            let decoded: Vec<Json> = lines.iter().map(|line| to_json(line, default_time)).collect();
            same(&decoded, expected)
                .then_some(())
                .ok_or(format!("decoded {decoded:?}, expected {expected:?}"))
        }
        (Err(error), None, Some(expected)) => same_place(error.line, error.column, expected, &text)
            .then_some(())
            .ok_or(format!("fault at another place: {error}, expected {expected}")),
        (Ok(_), _, expected) => Err(format!("accepted, expected {expected:?}")),
        (Err(error), ..) => Err(format!("rejected: {error}")),
    }
}

/// Whether the expected error names this place, or none. (The reference decoder does not count spaces at the start
/// of a line.)
fn same_place(line: u64, column: u64, expected: &str, text: &[u8]) -> bool {
    let Some((_, place)) = expected.split_once("at line ") else { return true };
    let place = place.split(": ").next().unwrap_or_default();
    place == format!("{line}:{column}") || text.starts_with(b" ")
}

fn to_json(line: &Line<'_>, default_time: i64) -> Json {
    let text = |bytes: Cow<'_, [u8]>| String::from_utf8(bytes.into_owned()).unwrap();
    let mut tags: Vec<_> = line
        .series
        .tags
        .iter()
        .map(|(name, value)| (text(unescape_name(name)), text(unescape_name(value))))
        .collect();
    tags.sort();
    let tags: Vec<_> = tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
    let field = |(name, value): &(&[u8], Value<'_>)| {
        let value = match *value {
            Value::Float(value) => json!({"float": value}),
            Value::Integer(value) => json!({"int": value}),
            Value::Unsigned(value) => json!({"uint": value}),
            Value::Boolean(value) => json!({"bool": value}),
            Value::String(raw) => json!({"string": text(unescape_string(raw))}),
        };
        json!({"key": text(unescape_name(name)), "value": value})
    };
    json!({
        "time": line.timestamp.unwrap_or(default_time),
        "name": text(unescape_measurement(line.series.measurement)),
        "tags": tags,
        "fields": line.fields.iter().map(field).collect::<Vec<_>>(),
    })
}

/// Equality, except that the corpus writes a whole float as an integer.
fn same(left: &[Json], right: &[Json]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same_value(left, right))
}

fn same_value(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Array(left), Json::Array(right)) => same(left, right),
        (Json::Object(left), Json::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, left)| match right.get(key) {
                    Some(right) if key == "float" => left.as_f64() == right.as_f64(),
                    Some(right) => same_value(left, right),
                    None => false,
                })
        }
        _ => left == right,
    }
}

/// Standard base64, as the corpus has it.
fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for symbol in text.bytes().filter(|&b| b != b'=') {
        let value = ALPHABET.iter().position(|&b| b == symbol).unwrap();
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
