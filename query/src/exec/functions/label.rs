//! `label_replace` and `label_join`.

use timberline_engine::{METRIC_NAME, Pattern};

use crate::error::Result;
use crate::exec::context::Context;
use crate::exec::finish;
use crate::exec::row::Row;
use crate::template::Template;

/// Sets `target` to `replacement`, filled with the groups of `pattern`, where that matches the label `source`.
pub(in crate::exec) fn label_replace(
    context: &Context<'_>,
    mut rows: Vec<Row>,
    target: &str,
    replacement: &Template,
    source: &str,
    pattern: &Pattern,
) -> Result<Vec<Row>> {
    context.charge_kept_bytes(target.len().saturating_mul(rows.len()))?;
    for (at, row) in rows.iter_mut().enumerate() {
        context.cancel().look(at)?;
        let value = row.labels.get(source).unwrap_or_default();
        let Some(groups) = pattern.groups(value) else { continue };
        // Each group is a part of the value: one function inside the other multiplies it.
        context.charge_kept_bytes(replacement.expanded_len_max(value))?;
        let value = replacement.expand(value, &groups);
        set_label(row, target, &value)?;
    }
    finish::merge(context.cancel(), rows)
}

/// Sets `target` to the values of `sources`, joined.
pub(in crate::exec) fn label_join(
    context: &Context<'_>,
    mut rows: Vec<Row>,
    target: &str,
    separator: &str,
    sources: &[String],
) -> Result<Vec<Row>> {
    context.charge_kept_bytes(target.len().saturating_mul(rows.len()))?;
    for (at, row) in rows.iter_mut().enumerate() {
        context.cancel().look(at)?;
        let values: Vec<&str> =
            sources.iter().map(|source| row.labels.get(source).unwrap_or_default()).collect();
        context.charge_kept_bytes(values.iter().map(|value| value.len() + separator.len()).sum())?;
        let value = values.join(separator);
        set_label(row, target, &value)?;
    }
    finish::merge(context.cancel(), rows)
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
    use timberline_engine::{Budget, Db, Labels, Options};

    use super::*;
    use crate::error::QueryError;
    use crate::exec::Limits;
    use crate::exec::context::Cancel;
    use crate::exec::threads::Pool;

    fn rows() -> Vec<Row> {
        let labels = Labels::from_pairs([("__name__", "up"), ("src", "a-b")]).unwrap();
        vec![Row { labels, drop_name: true, values: vec![1.0] }]
    }

    /// What `of` makes of the rows, if text of up to `bytes_max` may be made.
    fn made(bytes_max: u64, of: impl FnOnce(&Context<'_>, Vec<Row>) -> Result<Vec<Row>>) -> Result<Row> {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open(directory.path(), Options::default()).unwrap();
        let (snapshot, pool) = (db.snapshot(), Pool::new(1).unwrap());
        let limits = Limits { query_memory_bytes_max: bytes_max, ..Limits::default() };
        let context = Context::new(&snapshot, &pool, &limits, 0, "", &Budget::unlimited(), Cancel::new());
        of(&context, rows()).map(|mut rows| rows.remove(0))
    }

    fn replaced(target: &str, replacement: &str, pattern: &str) -> Row {
        let pattern = Pattern::with_groups(pattern, &Budget::unlimited()).unwrap();
        let template = Template::new(replacement, pattern.group_names());
        made(1 << 20, |context, rows| label_replace(context, rows, target, &template, "src", &pattern))
            .unwrap()
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
        let sources = ["__name__".into(), "src".into()];
        let joined = made(1 << 20, |context, rows| label_join(context, rows, "__name__", "_", &sources));
        assert_eq!(joined.unwrap().labels.metric_name(), Some("up_a-b"));
    }

    #[test]
    fn text_is_counted_before_it_is_made() {
        let is_too_much = |outcome: Result<Row>| {
            matches!(outcome, Err(QueryError::Limit { name: "query_memory_bytes_max", .. }))
        };
        let sources = vec!["src".to_owned(); 100];
        assert!(is_too_much(made(399, |context, rows| label_join(context, rows, "dst", "-", &sources))));
        let pattern = Pattern::with_groups("(.*)", &Budget::unlimited()).unwrap();
        let replacement = Template::new(&"${1}$$".repeat(100), pattern.group_names());
        assert!(is_too_much(made(399, |context, rows| {
            label_replace(context, rows, "dst", &replacement, "src", &pattern)
        })));
    }
}
