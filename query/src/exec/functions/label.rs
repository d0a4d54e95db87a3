//! `label_replace` and `label_join`.

use regex::Regex;
use timberline_engine::METRIC_NAME;

use crate::error::Result;
use crate::exec::context::Cancel;
use crate::exec::finish;
use crate::exec::row::Row;

/// Sets `target` to `replacement`, in which `$1` and `${name}` stand for groups, where `regex` matches the label `source`.
pub(in crate::exec) fn label_replace(
    cancel: &Cancel,
    mut rows: Vec<Row>,
    target: &str,
    replacement: &str,
    source: &str,
    regex: &Regex,
) -> Result<Vec<Row>> {
    for (at, row) in rows.iter_mut().enumerate() {
        cancel.look(at)?;
        let Some(captures) = regex.captures(row.labels.get(source).unwrap_or_default()) else { continue };
        let mut value = String::new();
        captures.expand(replacement, &mut value);
        set_label(row, target, &value)?;
    }
    finish::merge(cancel, rows)
}

/// Sets `target` to the values of `sources`, joined.
pub(in crate::exec) fn label_join(
    cancel: &Cancel,
    mut rows: Vec<Row>,
    target: &str,
    separator: &str,
    sources: &[String],
) -> Result<Vec<Row>> {
    for (at, row) in rows.iter_mut().enumerate() {
        cancel.look(at)?;
        let values: Vec<&str> =
            sources.iter().map(|source| row.labels.get(source).unwrap_or_default()).collect();
        let value = values.join(separator);
        set_label(row, target, &value)?;
    }
    finish::merge(cancel, rows)
}

/// A metric name that is set here stays, even when an earlier function dropped the old one.
fn set_label(row: &mut Row, name: &str, value: &str) -> Result<()> {
    row.labels = row.labels.to_builder().set(name, value).build()?;
    if name == METRIC_NAME {
        row.drop_name = false;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use timberline_engine::{Labels, anchored_regex};

    use super::*;

    fn rows() -> Vec<Row> {
        let labels = Labels::from_pairs([("__name__", "up"), ("src", "a-b")]).unwrap();
        vec![Row { labels, drop_name: true, values: vec![1.0] }]
    }

    fn replaced(target: &str, replacement: &str, pattern: &str) -> Row {
        let regex = anchored_regex(pattern).unwrap();
        label_replace(&Cancel::new(), rows(), target, replacement, "src", &regex).unwrap().remove(0)
    }

    #[test]
    fn groups_expand_as_in_go() {
        assert_eq!(replaced("dst", "$2-${1}x$$", "(.*)-(.*)").labels.get("dst"), Some("b-ax$"));
        assert_eq!(replaced("dst", "${first}_$first_", "(?P<first>a).*").labels.get("dst"), Some("a_"));
        assert_eq!(replaced("dst", "never", "a").labels.get("dst"), None);
        assert_eq!(replaced("src", "", ".*").labels.to_string(), "up");
    }

    #[test]
    fn a_name_that_is_set_stays() {
        assert!(!replaced("__name__", "new", ".*").drop_name);
        assert!(replaced("dst", "new", ".*").drop_name);
        let joined =
            label_join(&Cancel::new(), rows(), "__name__", "_", &["__name__".into(), "src".into()]).unwrap();
        assert_eq!(joined[0].labels.metric_name(), Some("up_a-b"));
    }
}
