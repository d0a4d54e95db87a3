//! `server/docs/limits.md` says what the sources say.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use std::fs;
use std::path::Path;

use timberline::config::SETTINGS;

const PAGE: &str = include_str!("../server/docs/limits.md");

/// A number as the page writes it, bytes and milliseconds.
fn written(text: &str) -> Option<u64> {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let factor = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "s" => 1000,
        _ => return None,
    };
    Some(number.replace(',', "").parse::<u64>().ok()? * factor)
}

/// The value of an expression as constants have them, durations as milliseconds.
fn evaluated(expression: &str) -> Option<u64> {
    let seconds = expression.strip_prefix("Duration::from_secs(").and_then(|rest| rest.strip_suffix(')'));
    if let Some(seconds) = seconds {
        return Some(evaluated(seconds)? * 1000);
    }
    if let Some((number, bits)) = expression.split_once(" << ") {
        return Some(evaluated(number)? << evaluated(bits)?);
    }
    expression.replace('_', "").parse().ok()
}

#[test]
fn every_number_of_the_page_is_that_of_the_sources() {
    let mut rows = 0;
    for line in PAGE.lines().filter(|line| line.ends_with(".rs` |")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_, number, place] = cells[..] else { panic!("three cells: {line}") };
        let (name, file) = place.trim_matches('`').split_once("` of `").unwrap();
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let declared = format!("const {name}: ");
        let mut found = text.lines().filter_map(|line| line.split_once(&declared));
        let (_, rest) = found.next().unwrap_or_else(|| panic!("no {name} in {file}"));
        assert!(found.next().is_none(), "{name} is there twice in {file}");
        let expression = rest.split_once(" = ").unwrap().1.trim_end_matches(';');
        let value = evaluated(expression).unwrap_or_else(|| panic!("{file}: {name} = {expression}"));
        assert_eq!(written(number), Some(value), "{name} of {file} is {expression}, the page says {number}");
        rows += 1;
    }
    assert!(rows > 20, "{rows}");
}

#[test]
fn every_setting_that_is_a_limit_is_on_the_page() {
    for setting in SETTINGS.iter().filter(|setting| setting.name.ends_with("-max")) {
        assert!(PAGE.contains(&format!("`{}`", setting.name)), "{} is missing", setting.name);
    }
}
