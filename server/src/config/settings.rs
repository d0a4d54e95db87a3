//! The table of settings. Whoever adds one adds a field to [`Config`], an entry here, and a row to
//! `docs/configuration.md`; tests hold the three together.

use std::path::PathBuf;

use super::units::{DAY, GIB, HOUR, KIB, MIB, MILLISECOND, MINUTE, SECOND, YEAR};
use super::{Config, VARIABLE_PREFIX, queries_at_once, units};

/// One setting: its name in all three spellings, its default as text, and how its text is understood.
#[derive(Debug)]
pub struct Setting {
    /// The flag without `--`; words joined by `-`.
    pub name: &'static str,
    /// What stands for the value in help texts.
    pub value_name: &'static str,
    /// The default, written as a user would.
    pub default: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Reads the text, within the bounds of what is possible.
    apply: fn(&mut Config, &str) -> Result<(), String>,
}

impl Setting {
    /// The environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.key().to_uppercase())
    }

    /// The TOML key.
    #[must_use]
    pub fn key(&self) -> String {
        self.name.replace('-', "_")
    }

    /// Sets the field of `config` from text.
    ///
    /// # Errors
    /// What is wrong with the text, and what would be right.
    pub fn set(&self, config: &mut Config, text: &str) -> Result<(), String> {
        (self.apply)(config, text.trim())
    }
}

impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Every setting there is, in the order help texts show them.
pub static SETTINGS: &[Setting] = &[
    Setting {
        name: "data-dir",
        value_name: "DIR",
        default: "timberline-data",
        help: "Directory of the database; created when it is missing",
        apply: |config, text| {
            if text.is_empty() {
                return Err("a directory is needed".to_owned());
            }
            config.data_dir = PathBuf::from(text);
            Ok(())
        },
    },
    Setting {
        name: "listen",
        value_name: "ADDR",
        default: "127.0.0.1:8086",
        help: "Address and port to serve HTTP on; admin endpoints answer on loopback addresses only",
        apply: |config, text| units::address(text).map(|value| config.listen = value),
    },
    Setting {
        name: "connections-max",
        value_name: "N",
        default: "10000",
        help: "Connections at a time, and at most half of the process's file descriptors; beyond that those make room that do \
               nothing, and if all are busy a new one gets 503",
        apply: |config, text| units::count(text, 1..=1_000_000).map(|value| config.connections_max = value),
    },
    Setting {
        name: "allowed-hosts",
        value_name: "NAMES",
        default: "none",
        help: "Names beside localhost, separated by commas, by which a server on a loopback address may be called, such as \
               that of a proxy; pages of these names may write",
        apply: |config, text| units::host_names(text).map(|value| config.allowed_hosts = value),
    },
    Setting {
        name: "retention",
        value_name: "AGE",
        default: "none",
        help: "Age at which data is dropped, such as 30d; `none` keeps everything",
        apply: |config, text| {
            units::optional_duration(text, MINUTE..=200 * YEAR).map(|value| config.retention = value)
        },
    },
    Setting {
        name: "wal-sync",
        value_name: "WHEN",
        default: "always",
        help: "When a write is answered: `always` after it is on disk, `interval:100ms` at once while the \
               disk is synced that often, `off` at once while the operating system decides",
        apply: |config, text| units::wal_sync(text).map(|value| config.wal_sync = value),
    },
    Setting {
        name: "block-span",
        value_name: "DURATION",
        default: "2h",
        help: "Time that one block spans before blocks are merged",
        apply: |config, text| units::duration(text, MINUTE..=31 * DAY).map(|value| config.block_span = value),
    },
    Setting {
        name: "memory-bytes-max",
        value_name: "SIZE",
        default: "auto",
        help: "All memory that the shares may take together; `auto` is 60 % of what the process may have: the least of the \
               machine's memory, the control groups' limits, RLIMIT_DATA and RLIMIT_AS",
        apply: |config, text| units::share(text, MIB).map(|value| config.given.total = value),
    },
    Setting {
        name: "head-bytes-max",
        value_name: "SIZE",
        default: "auto",
        help: "Memory that the newest data, series and samples, may take before it is sealed into a block early; new series are refused \
               when all such data takes 1.75 times as much, all writes at twice as much; `auto` is 7/32 of the total, at most 2GiB",
        apply: |config, text| units::share(text, MIB).map(|value| config.given.head = value),
    },
    Setting {
        name: "head-series-max",
        value_name: "N",
        default: "10000000",
        help: "Series that the newest data may have at once; lines with new ones beyond it are refused, those with known \
               ones go on; `none` sets no bound",
        apply: |config, text| units::optional_count(text).map(|value| config.head_series_max = value),
    },
    Setting {
        name: "new-series-per-second-max",
        value_name: "N",
        default: "none",
        help: "New series that are taken in a second; lines with more are refused; `none` sets no bound",
        apply: |config, text| {
            units::optional_count(text).map(|value| config.new_series_per_second_max = value)
        },
    },
    Setting {
        name: "body-bytes-max",
        value_name: "SIZE",
        default: "auto",
        help: "Largest request body, as sent and as decompressed; larger ones get 413; `auto` is 64MiB, less where that is more than \
               half of write-bytes-max",
        apply: |config, text| units::share(text, KIB).map(|value| config.given.body = value),
    },
    Setting {
        name: "body-timeout",
        value_name: "DURATION",
        default: "30s",
        help: "How long a client may take to send a request body; slower ones get 408",
        apply: |config, text| units::duration(text, SECOND..=HOUR).map(|value| config.body_timeout = value),
    },
    Setting {
        name: "write-concurrency-max",
        value_name: "N",
        default: "32",
        help: "Writes that are parsed and committed at once; others wait",
        apply: |config, text| {
            units::count(text, 1..=10_000).map(|value| config.write_concurrency_max = value)
        },
    },
    Setting {
        name: "write-bytes-max",
        value_name: "SIZE",
        default: "auto",
        help: "Request bodies held in memory at once, as sent and as decompressed; beyond that writes get 503 and retry; `auto` is 1/8 \
               of the total, at most 512MiB",
        apply: |config, text| units::share(text, MIB).map(|value| config.given.writes = value),
    },
    Setting {
        name: "line-bytes-max",
        value_name: "SIZE",
        default: "1MiB",
        help: "Longest line of line protocol; longer ones are refused",
        apply: |config, text| units::bytes(text, 64..=GIB).map(|value| config.ingest.line_bytes_max = value),
    },
    Setting {
        name: "fields-max",
        value_name: "N",
        default: "4096",
        help: "Fields of a line of line protocol, strings included; lines with more are refused",
        apply: |config, text| units::count(text, 1..=1_000_000).map(|value| config.ingest.fields_max = value),
    },
    Setting {
        name: "labels-max",
        value_name: "N",
        default: "256",
        help: "Labels of a series, the metric name included; lines with more are refused",
        apply: |config, text| units::count(text, 1..=10_000).map(|value| config.ingest.labels_max = value),
    },
    Setting {
        name: "label-name-bytes-max",
        value_name: "SIZE",
        default: "1KiB",
        help: "Longest label name; lines with longer ones are refused",
        apply: |config, text| {
            units::bytes(text, 1..=MIB).map(|value| config.ingest.label_name_bytes_max = value)
        },
    },
    Setting {
        name: "label-value-bytes-max",
        value_name: "SIZE",
        default: "4KiB",
        help: "Longest label value or metric name; lines with longer ones are refused",
        apply: |config, text| {
            units::bytes(text, 1..=16 * MIB).map(|value| config.ingest.label_value_bytes_max = value)
        },
    },
    Setting {
        name: "series-key-bytes-max",
        value_name: "SIZE",
        default: "65535",
        help: "All label names and values of a series together; lines with longer ones are refused",
        apply: |config, text| {
            units::bytes(text, 1..=64 * MIB).map(|value| config.ingest.series_key_bytes_max = value)
        },
    },
    Setting {
        name: "query-concurrency-max",
        value_name: "N",
        default: "auto",
        help: "Queries evaluated at once; others wait; `auto` is four for each processor",
        apply: |config, text| {
            let value = if text == "auto" { Ok(queries_at_once()) } else { units::count(text, 1..=10_000) };
            value.map(|value| config.query_concurrency_max = value)
        },
    },
    Setting {
        name: "query-queue-max",
        value_name: "N",
        default: "200",
        help: "Queries that may wait for their turn; beyond that they get 503",
        apply: |config, text| units::count(text, 1..=1_000_000).map(|value| config.query_queue_max = value),
    },
    Setting {
        name: "query-timeout",
        value_name: "DURATION",
        default: "2m",
        help: "Longest evaluation of a query; a request's `timeout` can only shorten it",
        apply: |config, text| {
            units::duration(text, 10 * MILLISECOND..=DAY).map(|value| config.query_timeout = value)
        },
    },
    Setting {
        name: "query-samples-max",
        value_name: "N",
        default: "50000000",
        help: "Samples that one query may hold at a time; larger queries get 422",
        apply: |config, text| {
            units::count(text, 1..=usize::MAX).map(|value| config.query_samples_max = value as u64)
        },
    },
    Setting {
        name: "query-steps-max",
        value_name: "N",
        default: "11000",
        help: "Points a series of a range query may have",
        apply: |config, text| {
            units::count(text, 1..=10_000_000).map(|value| config.query_steps_max = value as u64)
        },
    },
    Setting {
        name: "selector-series-max",
        value_name: "N",
        default: "1000000",
        help: "Series that one selector of a query may select; larger queries get 422",
        apply: |config, text| {
            units::count(text, 1..=usize::MAX).map(|value| config.selector_series_max = value as u64)
        },
    },
    Setting {
        name: "result-points-max",
        value_name: "N",
        default: "20000000",
        help: "Points that the answer to a query may have; larger answers get 422",
        apply: |config, text| {
            units::count(text, 1..=usize::MAX).map(|value| config.result_points_max = value as u64)
        },
    },
    Setting {
        name: "query-bytes-max",
        value_name: "SIZE",
        default: "auto",
        help: "Memory that all queries may take together; `auto` is a quarter of the total",
        apply: |config, text| units::share(text, MIB).map(|value| config.given.queries = value),
    },
    Setting {
        name: "query-memory-bytes-max",
        value_name: "SIZE",
        default: "auto",
        help: "Memory that one query may take at a time; larger queries get 422; `auto` is 1GiB, less where \
               that is more than query-bytes-max",
        apply: |config, text| units::share(text, 64 * KIB).map(|value| config.given.query = value),
    },
    Setting {
        name: "answer-bytes-max",
        value_name: "SIZE",
        default: "auto",
        help: "Memory of answers that clients are still reading; beyond that a query counts among those evaluated until its answer is \
               read; `auto` is 1/8 of the total, at most 512MiB",
        apply: |config, text| units::share(text, KIB).map(|value| config.given.answers = value),
    },
    Setting {
        name: "query-lookback",
        value_name: "DURATION",
        default: "5m",
        help: "How far back an instant selector looks for the newest sample",
        apply: |config, text| units::duration(text, SECOND..=YEAR).map(|value| config.query_lookback = value),
    },
    Setting {
        name: "slow-query-log",
        value_name: "DURATION",
        default: "5s",
        help: "Queries that take as long, in the queue and in evaluation, are logged with what they read; `none` logs none",
        apply: |config, text| {
            units::optional_duration(text, MILLISECOND..=DAY).map(|value| config.slow_query_log = value)
        },
    },
    Setting {
        name: "log",
        value_name: "FILTER",
        default: "info",
        help: "What is logged to stderr: error, warn, info, debug, or a filter such as `info,timberline_engine=debug`",
        apply: |config, text| units::log_filter(text).map(|value| config.log = value),
    },
];
