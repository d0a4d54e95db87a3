//! Precedence, errors with their place, and that code, flags and documentation name the same settings.

use std::collections::HashMap;
use std::io::Write as _;

use super::*;

fn flags(pairs: &[(&str, &str)]) -> SettingFlags {
    let find = |name: &str| SETTINGS.iter().find(|s| s.name == name).unwrap();
    SettingFlags { file: None, values: pairs.iter().map(|(n, v)| (find(n), (*v).to_owned())).collect() }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn defaults_in_the_table_are_the_defaults() {
    let mut config = Config { log: String::new(), ..Config::default() };
    for setting in SETTINGS {
        setting.set(&mut config, setting.default).unwrap();
    }
    assert_eq!(config, Config::default());
}

#[test]
fn every_setting_is_documented_with_its_three_names_and_default() {
    let table = include_str!("../../docs/configuration.md");
    for setting in SETTINGS {
        let row = format!(
            "| `--{}` | `{}` | `{}` | `{}` |",
            setting.name,
            setting.variable(),
            setting.key(),
            setting.default
        );
        assert!(table.contains(&row), "docs/configuration.md lacks the row starting with {row}");
    }
    let rows = table.lines().filter(|line| line.starts_with("| `--")).count();
    assert_eq!(rows, SETTINGS.len() + 1, "a row for each setting and one for --config");
}

#[test]
fn flag_beats_variable_beats_file_beats_default() {
    let file = file("retention = \"1d\"\nquery_concurrency_max = 3\nlabels_max = 7\n");
    let path = file.path().to_str().unwrap().to_owned();
    let environment = HashMap::from([
        ("TIMBERLINE_CONFIG".to_owned(), path),
        ("TIMBERLINE_RETENTION".to_owned(), "2d".to_owned()),
        ("TIMBERLINE_QUERY_CONCURRENCY_MAX".to_owned(), "4".to_owned()),
    ]);
    let config = Config::default()
        .load(&flags(&[("retention", "3d")]), |name| environment.get(name).cloned())
        .unwrap();
    assert_eq!(config.retention, Some(Duration::from_secs(3 * 86_400)), "flag");
    assert_eq!(config.query_concurrency_max, 4, "variable");
    assert_eq!(config.ingest.labels_max, 7, "file");
    assert_eq!(config.query_queue_max, 200, "default");
}

#[test]
fn unknown_keys_and_bad_values_name_file_and_line() {
    let check = |text: &str, expected: &str| {
        let file = file(text);
        let flags = SettingFlags { file: Some(file.path().to_owned()), ..SettingFlags::default() };
        let error = Config::default().load(&flags, |_| None).unwrap_err().to_string();
        let expected = format!("{}:{expected}", file.path().display());
        assert!(error.starts_with(&expected), "{error}\n  does not start with {expected}");
    };
    check("# first\n\nretentoin = \"1d\"\n", "3: unknown key retentoin; is retention meant?");
    check("zzz = 1\n", "1: unknown key zzz");
    check("log = \"info\"\nretention = \"soon\"\n", "2: retention: \"soon\" is not a duration");
    check("labels_max = [1]\n", "1: labels_max needs one value");
    check("labels_max = \n", "1: ");
}

#[test]
fn bad_flags_and_variables_are_named() {
    let error = Config::default().load(&flags(&[("labels-max", "0")]), |_| None).unwrap_err();
    assert_eq!(error.to_string(), "--labels-max: \"0\" is not a whole number above 0");
    let environment = |name: &str| (name == "TIMBERLINE_WAL_SYNC").then(|| "never".to_owned());
    let error = Config::default().load(&SettingFlags::default(), environment).unwrap_err();
    assert!(error.to_string().starts_with("TIMBERLINE_WAL_SYNC: \"never\" is none of"), "{error}");
    let missing = SettingFlags { file: Some("/does/not/exist.toml".into()), ..SettingFlags::default() };
    let error = Config::default().load(&missing, |_| None).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the configuration file /does/not/exist.toml"), "{error}");
}

#[test]
fn values_are_read_with_their_units() {
    assert_eq!(units::bytes("64MiB"), Ok(64 << 20));
    assert_eq!(units::bytes("1GB"), Ok(1_000_000_000));
    assert_eq!(units::bytes("123"), Ok(123));
    assert!(units::bytes("0").is_err() && units::bytes("1 parsec").is_err() && units::bytes("").is_err());
    assert!(units::bytes("99999999999999999999GiB").is_err());
    assert_eq!(units::wal_sync("interval:100ms"), Ok(WalSync::Interval(Duration::from_millis(100))));
    assert!(units::wal_sync("interval:").is_err());
    assert_eq!(units::optional_duration("none"), Ok(None));
    assert_eq!(units::duration("1h30m"), Ok(Duration::from_secs(5400)));
    assert!(units::duration("0s").is_err());
    assert_eq!(units::address(":80").unwrap().to_string(), "0.0.0.0:80");
    assert!(units::address("8086").is_err());
}
