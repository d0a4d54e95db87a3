//! The replacement text of `label_replace`, as Go's `Regexp.Expand` reads it.
//!
//! `$1`, `${1}`, `$name` and `${name}` stand for groups, and `$$` for `$`. A name is the longest run of letters and digits of
//! Unicode and `_`: `$1x` is the group `1x`. It is a number if it is all ASCII digits without a leading zero. A `$` with no name
//! after it means itself. What a group that does not exist stands for is empty.

use std::sync::LazyLock;

use regex::Regex;
use timberline_engine::Groups;

/// A name at the beginning of a text.
static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[\p{L}\p{Nd}_]+").ok());

/// Go reads larger numbers as names.
const NUMBER_MAX: usize = 1_000_000_000;

/// A replacement text.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    /// What a group matched.
    Group(usize),
}

impl Template {
    /// Reads `text`, for a pattern whose groups, from the first on, have these names.
    pub(crate) fn new(text: &str, group_names: &[Option<String>]) -> Self {
        let mut template = Self { parts: Vec::new() };
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            template.push_text(before);
            rest = match (after.strip_prefix('$'), reference(after)) {
                (Some(after), _) => {
                    template.push_text("$");
                    after
                }
                (None, Some((name, after))) => {
                    let group = number(name).or_else(|| {
                        Some(1 + group_names.iter().position(|known| known.as_deref() == Some(name))?)
                    });
                    template.parts.extend(group.map(Part::Group));
                    after
                }
                (None, None) => {
                    template.push_text("$");
                    after
                }
            };
        }
        template.push_text(rest);
        template
    }

    fn push_text(&mut self, text: &str) {
        match self.parts.last_mut() {
            _ if text.is_empty() => {}
            Some(Part::Text(last)) => last.push_str(text),
            _ => self.parts.push(Part::Text(text.to_owned())),
        }
    }

    /// The length of the result for `value`, at most.
    pub(crate) fn expanded_len_max(&self, value: &str) -> usize {
        let lens = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.len(),
            Part::Group(_) => value.len(),
        });
        lens.fold(0, usize::saturating_add)
    }

    /// The text with the groups that were found in `value`.
    pub(crate) fn expand(&self, value: &str, groups: &Groups) -> String {
        let mut expanded = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => expanded.push_str(text),
                Part::Group(group) => {
                    expanded
                        .push_str(groups.get(*group).and_then(|span| value.get(span)).unwrap_or_default());
                }
            }
        }
        expanded
    }
}

/// The name that `text`, which stands after a `$`, begins with, in braces or not, and what comes after it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('{');
    let name = NAME.as_ref()?.find(inner.unwrap_or(text))?.as_str();
    let rest = &inner.unwrap_or(text)[name.len()..];
    Some((name, if inner.is_some() { rest.strip_prefix('}')? } else { rest }))
}

/// The number of a group, if its name is one.
fn number(name: &str) -> Option<usize> {
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    name.parse().ok().filter(|number| is_number && *number < NUMBER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use timberline_engine::{Budget, Pattern};

    fn expanded(template: &str, pattern: &str, value: &str) -> String {
        let pattern = Pattern::with_groups(pattern, &Budget::unlimited()).unwrap();
        let template = Template::new(template, pattern.group_names());
        let expanded = template.expand(value, &pattern.groups(value).unwrap());
        assert!(expanded.len() <= template.expanded_len_max(value));
        expanded
    }

    #[test]
    fn names_are_as_long_as_they_can_be_and_braces_hold_nothing_else() {
        for (template, expected) in [
            ("$2-${1}x$$", "b-ax$"),
            ("$1xx", ""),
            ("${1}xx", "axx"),
            ("$1$2", "ab"),
            ("$0", "a-b"),
            ("$$1", "$1"),
            ("$$$1", "$a"),
            ("$1_", ""),
            ("$1-$2", "a-b"),
            ("$1号", ""),
            ("$1é", ""),
            ("$é", ""),
            ("$1٣", ""),
            ("$1²", "a²"),
            ("$1Ⅷ", "aⅧ"),
            ("${a-b}", "${a-b}"),
            ("${1 }", "${1 }"),
            ("${1", "${1"),
            ("${}", "${}"),
            ("$", "$"),
            ("x$ ", "x$ "),
            ("$01", ""),
            ("${01}x", "x"),
            ("$00", ""),
            ("$3", ""),
            ("$99999999999999999999", ""),
        ] {
            assert_eq!(expanded(template, "(.*)-(.*)", "a-b"), expected, "{template}");
        }
        assert_eq!(expanded("${first}_$first_$second", "(?P<first>a)(?P<second>x)?.*", "ab"), "a_");
    }

    #[test]
    fn groups_of_lists_are_those_of_the_automaton() {
        assert_eq!(expanded("<$1>", "(a|b|c)", "b"), "<b>");
        assert_eq!(expanded("<$1|$2|$3>", "a(b|(c))d(e?)", "acd"), "<c|c|>");
        assert_eq!(expanded("<$1|$2>", "(n1|n2)|(x.*)", "xyz"), "<|xyz>");
        assert_eq!(expanded("<$1|$2>", "(x.*)|(xy)", "xy"), "<xy|>");
    }
}
