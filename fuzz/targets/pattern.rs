//! Any two texts as a regular expression and a label value: no panic, little memory, and groups exactly where it matches.
#![no_main]

use libfuzzer_sys::fuzz_target;
use timberline_engine::{Budget, Pattern};

/// A larger pattern is refused.
const BUDGET_BYTES: usize = 64 << 20;

fuzz_target!(|texts: (&str, &str)| {
    let (pattern, value) = texts;
    let budget = Budget::new("memory", BUDGET_BYTES);
    let (plain, with_groups) = (Pattern::new(pattern, &budget), Pattern::with_groups(pattern, &budget));
    if let (Ok(plain), Ok(with_groups)) = (&plain, &with_groups) {
        let groups = with_groups.groups(value);
        assert_eq!(plain.is_match(value), groups.is_some(), "{pattern}: {value:?}");
        for group in groups
            .iter()
            .flat_map(|groups| (0..=with_groups.group_names().len()).filter_map(|at| groups.get(at)))
        {
            assert!(value.get(group).is_some(), "{pattern}: {value:?}");
        }
    }
    drop((plain, with_groups));
    assert_eq!(budget.held(), 0, "{pattern}");
});
