//! Classes of characters that have names.

/// The classes that `[[:name:]]` knows.
pub(super) const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// `\d` and its like, which are ASCII in RE2.
pub(super) fn perl_class(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => r"[\t\n\f\r ]",
        'S' => r"[^\t\n\f\r ]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

/// The property that `\p{name}` means, as the `regex` crate writes it: a general category or a script. Like Go, the crate ignores
/// case, spaces, `_` and `-` in names; it knows the scripts' four-letter codes as well.
pub(super) fn unicode_property(name: &str) -> Option<String> {
    let is_name = name.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '-' | ' '));
    // The crate skips a leading `is`, Go does not.
    let is_prefixed = name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("is"));
    if !is_name || is_prefixed {
        return None;
    }
    ["gc", "sc"]
        .into_iter()
        .map(|kind| format!("{kind}={name}"))
        .find(|property| regex_syntax::parse(&format!(r"\p{{{property}}}")).is_ok())
}
