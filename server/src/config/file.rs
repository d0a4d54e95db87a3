//! The settings as a TOML file: a flat table of keys.

use toml::de::{DeTable, DeValue};

use super::{Config, SETTINGS};

/// Applies the keys of a TOML text; an error is a line (counted from 1) and a reason.
pub(super) fn apply(config: &mut Config, text: &str) -> Result<(), (usize, String)> {
    let line_at =
        |offset: usize| 1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count();
    let table = DeTable::parse(text)
        .map_err(|error| (line_at(error.span().map_or(0, |span| span.start)), error.message().to_owned()))?;
    for (key, value) in table.get_ref() {
        let line = line_at(key.span().start);
        let name = key.get_ref();
        let setting = SETTINGS
            .iter()
            .find(|setting| setting.key() == name.as_ref())
            .ok_or_else(|| (line, unknown_key(name)))?;
        let text = scalar_text(value.get_ref())
            .ok_or_else(|| (line, format!("{name} needs one value: a string, a number or a boolean")))?;
        setting.set(config, &text).map_err(|reason| (line, format!("{name}: {reason}")))?;
    }
    Ok(())
}

fn scalar_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn unknown_key(name: &str) -> String {
    let keys: Vec<String> = SETTINGS.iter().map(super::Setting::key).collect();
    match super::nearest(name, &keys) {
        Some(key) => format!("unknown key {name}; is {key} meant?"),
        None => format!("unknown key {name}"),
    }
}
