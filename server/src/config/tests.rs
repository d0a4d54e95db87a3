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
fn impossible_settings_are_refused_with_the_bound_that_they_break() {
    let refusal = |given: &[(&str, &str)]| {
        let loaded = Config::default().load(&flags(given), |_| None);
        loaded.map_or_else(|error| error.to_string(), |_| "taken".to_owned())
    };
    for (name, text, expected) in [
        ("head-bytes-max", "10", "10 bytes is too little: at least 1MiB, or `auto`"),
        ("block-span", "1ms", "1ms is too little: at least 1m"),
        ("block-span", "100y", "100y is too much: at most 31d"),
        ("retention", "0s", "0s is too little: at least 1m, or `none`"),
        ("wal-sync", "interval:1h", "1h is too much: at most 10m"),
        ("query-concurrency-max", "0", "\"0\" is not a whole number above 0"),
        ("query-concurrency-max", "1000000", "1000000 is too much: at most 10000"),
        ("query-lookback", "0", "0s is too little: at least 1s"),
        ("query-timeout", "1ms", "1ms is too little: at least 10ms"),
        ("slow-query-log", "0s", "0s is too little: at least 1ms, or `none`"),
        ("labels-max", "99999", "99999 is too much: at most 10000"),
    ] {
        assert_eq!(refusal(&[(name, text)]), format!("--{name}: {expected}"));
    }
    let (body, line) = (("body-bytes-max", "2MiB"), ("line-bytes-max", "3MiB"));
    let expected = "body-bytes-max: 2MiB is too much: at most write-bytes-max, which is 1MiB";
    assert_eq!(refusal(&[body, ("write-bytes-max", "1MiB")]), expected);
    assert_eq!(
        refusal(&[body, line]),
        "line-bytes-max: 3MiB is too much: at most body-bytes-max, which is 2MiB"
    );
    assert_eq!(refusal(&[("body-bytes-max", "512KiB")]), "taken", "though the default of a line is longer");
}

#[test]
fn unknown_variables_are_named_with_what_may_be_meant() {
    let names = [
        "TIMBERLINE_RETENTOIN",
        "TIMBERLINE_QUERY_TIME_OUT",
        "TIMBERLINE_COLOUR",
        "TIMBERLINE_RETENTION",
        "TIMBERLINE_CONFIG",
        "TIMBERLINE_URL",
        "TIMBERLINE_SERVICE_HOST",
        "TIMBERLINE_SERVICE_PORT_HTTP",
        "TIMBERLINE_PORT",
        "TIMBERLINE_PORT_8086_TCP_ADDR",
        "TIMBERLINE_MAIN_PORT_8086_TCP",
        "PATH",
    ];
    let ignored =
        |name: &str| format!("the environment variable TIMBERLINE_{name} is no setting and is ignored");
    let expected = [
        ignored("RETENTOIN") + "; is TIMBERLINE_RETENTION meant?",
        ignored("QUERY_TIME_OUT") + "; is TIMBERLINE_QUERY_TIMEOUT meant?",
        ignored("COLOUR"),
    ];
    assert_eq!(unknown_variables(names.map(str::to_owned)), expected);
}

#[test]
fn values_are_read_with_their_units() {
    let bytes = |text| units::bytes(text, 1..=usize::MAX);
    assert_eq!(bytes("64MiB"), Ok(64 << 20));
    assert_eq!(bytes("1GB"), Ok(1_000_000_000));
    assert_eq!(bytes("123"), Ok(123));
    assert!(bytes("0").is_err() && bytes("1 parsec").is_err() && bytes("").is_err());
    assert!(bytes("99999999999999999999GiB").is_err());
    assert_eq!([3 << 20, 1536, 1000].map(units::size), ["3MiB", "1536 bytes", "1000 bytes"]);
    assert_eq!(units::wal_sync("interval:100ms"), Ok(WalSync::Interval(Duration::from_millis(100))));
    assert!(units::wal_sync("interval:").is_err());
    assert_eq!(units::optional_duration("none", 1..=2), Ok(None));
    assert_eq!(units::duration("1h30m", 1..=u64::MAX), Ok(Duration::from_secs(5400)));
    assert!(units::duration("0s", 1..=u64::MAX).is_err() && units::duration("-1s", 0..=u64::MAX).is_err());
    assert_eq!(units::address(":80").unwrap().to_string(), "0.0.0.0:80");
    assert!(units::address("8086").is_err());
    assert_eq!(units::host_names("none"), Ok(Vec::new()));
    let names = ["tsdb.example.org", "10.0.0.7", "[::1]"].map(str::to_owned).to_vec();
    assert_eq!(units::host_names("TSDB.example.org, 10.0.0.7,[::1]"), Ok(names));
    for wrong in ["", "a,,b", "http://a", "a:80", "*"] {
        assert!(units::host_names(wrong).is_err(), "{wrong}");
    }
}
