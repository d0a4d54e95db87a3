//! Any text as PromQL: what parses, prints to text that parses to the same and prints the same, in one line or in several.
#![no_main]

use libfuzzer_sys::fuzz_target;
use timberline_query::{parse, parse_duration, parse_selector};

fuzz_target!(|text: &str| {
    let _ = parse_duration(text);
    let _ = parse_selector(text);
    match parse(text) {
        Ok(expr) => {
            let printed = expr.to_string();
            let again =
                parse(&printed).unwrap_or_else(|error| panic!("{text} printed as {printed}: {error}"));
            assert_eq!(again.to_string(), printed, "{text}");
            let pretty = expr.pretty();
            let again = parse(&pretty).unwrap_or_else(|error| panic!("{text} broken as {pretty}: {error}"));
            assert_eq!(again.to_string(), printed, "{text}");
        }
        Err(error) => {
            assert!(text.is_char_boundary(error.offset), "{text}: {error}");
            assert!(error.line >= 1 && error.column >= 1 && !error.message.is_empty(), "{text}: {error}");
        }
    }
});
