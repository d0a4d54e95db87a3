//! `sort_by_label` and `sort_by_label_desc`: the natural order of label values, in which `v2` is before `v10`.

use std::cmp::Ordering;

use timberline_engine::Labels;

use crate::exec::row::Row;

/// Sorts by the values of `labels`, the first one first, and then by all labels.
pub(in crate::exec) fn sort_by_label(rows: &mut [Row], labels: &[String], descending: bool) {
    rows.sort_by(|a, b| {
        let order = by_labels(&a.labels, &b.labels, labels);
        if descending { order.reverse() } else { order }
    });
}

fn by_labels(a: &Labels, b: &Labels, labels: &[String]) -> Ordering {
    let value = |of: &Labels, label: &str| of.get(label).unwrap_or_default().to_owned();
    let by_label = |label: &String| natural(&value(a, label), &value(b, label));
    labels.iter().map(by_label).find(|order| order.is_ne()).unwrap_or_else(|| a.cmp(b))
}

/// Digits compare as numbers, the text between them as text.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a_rest, mut b_rest) = (a, b);
    while !a_rest.is_empty() && !b_rest.is_empty() {
        let (a_chunk, b_chunk) = (chunk(&mut a_rest), chunk(&mut b_rest));
        let order = match (is_number(a_chunk), is_number(b_chunk)) {
            (true, true) => compare_numbers(a_chunk, b_chunk),
            _ => a_chunk.cmp(b_chunk),
        };
        if order.is_ne() {
            return order;
        }
    }
    // The shorter one first; and what only leading zeros tell apart still has an order.
    a_rest.len().cmp(&b_rest.len()).then_with(|| a.cmp(b))
}

/// Whether a chunk is one of digits.
fn is_number(chunk: &str) -> bool {
    chunk.starts_with(|c: char| c.is_ascii_digit())
}

/// Compares numbers of any length. Were long ones compared as text, 5 would come before 10, that before 2 with twenty zeros, and that
/// before 5.
fn compare_numbers(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Takes the digits, or the text before the next digit, that `rest` begins with.
fn chunk<'a>(rest: &mut &'a str) -> &'a str {
    let digits = is_number(rest);
    let end = rest.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(rest.len());
    let (chunk, tail) = rest.split_at(end);
    *rest = tail;
    chunk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_inside_text_compare_as_numbers() {
        let mut names = ["v10", "v2", "", "v", "v2a", "w1", "1.11.3", "1.2.3", "4m1000", "4m5", "v02"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "1.2.3", "1.11.3", "4m5", "4m1000", "v", "v02", "v2", "v2a", "v10", "w1"]);
    }

    #[test]
    fn numbers_of_any_length_have_one_order() {
        let ordered = [
            "",
            "0",
            "00",
            "5",
            "10",
            "9223372036854775808",
            "020000000000000000000",
            "20000000000000000001",
        ];
        for (i, a) in ordered.iter().enumerate() {
            for (j, b) in ordered.iter().enumerate() {
                assert_eq!(natural(a, b), i.cmp(&j), "{a} {b}");
            }
        }
    }
}
