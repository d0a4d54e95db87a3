//! One total for all memory, and how it is divided.
//!
//! The total is a setting, by default a part of what the process may have: the smallest of the machine's memory, the limits of
//! its control groups, and its resource limits. What is not given of the shares follows from it, so that all of
//! them at their bounds fit at the same time.

use std::path::{Path, PathBuf};

use super::{Config, Error};

/// The total is this part of what the process may have, in hundredths. The rest is for what no share counts: what the
/// allocator keeps between objects, stacks of threads, rows of writes that are being committed, mapped files.
const TOTAL_PARTS: usize = 60;
/// A total below this is refused: nothing useful fits.
const TOTAL_BYTES_MIN: usize = 32 << 20;
/// A share that is not given has this many bytes at least, or the configuration is refused.
const SHARE_BYTES_MIN: usize = 1 << 20;
/// Heads that are there at the same time: one that is filled, and one that is being sealed.
const HEADS: usize = 2;
/// The largest body, unless the bodies' share is small.
const BODY_BYTES_MAX: usize = 64 << 20;
/// The memory of one query, unless the queries' share is small.
const QUERY_MEMORY_BYTES_MAX: usize = 1 << 30;

/// A share of the total, by the setting that gives it.
#[derive(Clone, Copy, Debug)]
struct Share {
    /// The setting.
    name: &'static str,
    /// How many times the setting's value the share is.
    times: usize,
    /// The setting's default, in parts of [`PARTS`] of the total,
    parts: usize,
    /// and at most so many bytes.
    bytes_max: usize,
}

const PARTS: usize = 32;
const HEAD: Share = Share { name: "head-bytes-max", times: HEADS, parts: 7, bytes_max: 2 << 30 };
const QUERIES: Share = Share { name: "query-bytes-max", times: 1, parts: 8, bytes_max: usize::MAX };
const WRITES: Share = Share { name: "write-bytes-max", times: 1, parts: 4, bytes_max: 512 << 20 };
const ANSWERS: Share = Share { name: "answer-bytes-max", times: 1, parts: 4, bytes_max: 512 << 20 };
const MERGES: Share = Share { name: "merges", times: 1, parts: 2, bytes_max: 1 << 30 };
const SHARES: [Share; 5] = [HEAD, QUERIES, WRITES, ANSWERS, MERGES];
const _: () = assert!(
    HEADS * HEAD.parts + QUERIES.parts + WRITES.parts + ANSWERS.parts + MERGES.parts == PARTS,
    "the shares are the whole"
);

/// The settings of memory that were given; the others follow from the total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    pub(super) total: Option<usize>,
    pub(super) head: Option<usize>,
    pub(super) queries: Option<usize>,
    pub(super) query: Option<usize>,
    pub(super) writes: Option<usize>,
    pub(super) answers: Option<usize>,
    pub(super) body: Option<usize>,
}

/// How much memory there is, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Available {
    bytes: usize,
    source: String,
}

impl Config {
    /// Sets the total and all shares of memory from those that were given and from what is `available`.
    pub(super) fn divide_memory(&mut self, available: &Available) -> Result<(), Error> {
        let given = self.given;
        (self.memory_bytes_max, self.memory_source) = match given.total {
            Some(total) => (total, "memory-bytes-max".to_owned()),
            None => (
                available.bytes / 100 * TOTAL_PARTS,
                format!("{TOTAL_PARTS} % of {}, {} bytes", available.source, available.bytes),
            ),
        };
        let total = self.memory_bytes_max;
        if total < TOTAL_BYTES_MIN {
            let source = &self.memory_source;
            return Err(refused(format!("{total} bytes ({source}) are too few: at least 32MiB are needed")));
        }
        // One query that may have more than the share of all makes that larger.
        let largest_query = given.query.filter(|query| *query > QUERIES.of(total));
        let given_shares = [given.head, given.queries.or(largest_query), given.writes, given.answers, None];
        let values = divide(total, given_shares).map_err(|reason| {
            refused(format!("{reason}, and the total is {total} bytes ({})", self.memory_source))
        })?;
        [
            self.head_bytes_max,
            self.query_bytes_max,
            self.write_bytes_max,
            self.answer_bytes_max,
            self.merge_bytes_max,
        ] = values;
        if let Some(query) = given.query.filter(|query| *query > self.query_bytes_max) {
            let all = self.query_bytes_max;
            let reason = format!(
                "query-memory-bytes-max = {query} is more than query-bytes-max = {all}, the share of all queries"
            );
            return Err(refused(reason));
        }
        self.query_memory_bytes_max =
            given.query.unwrap_or(QUERY_MEMORY_BYTES_MAX.min(self.query_bytes_max)) as u64;
        // A body counts as it was sent and as it is decompressed.
        self.body_bytes_max = given.body.unwrap_or(BODY_BYTES_MAX.min(self.write_bytes_max / 2));
        Ok(())
    }

    /// One line for the log: the total, where it comes from, and its shares.
    #[must_use]
    pub fn memory_line(&self) -> String {
        format!(
            "memory-bytes-max = {} ({}): head-bytes-max = {} for each of two heads, query-bytes-max = {}, write-bytes-max = {}, \
             answer-bytes-max = {}, merges {}",
            self.memory_bytes_max,
            self.memory_source,
            self.head_bytes_max,
            self.query_bytes_max,
            self.write_bytes_max,
            self.answer_bytes_max,
            self.merge_bytes_max,
        )
    }
}

impl Share {
    /// The default of the setting.
    fn of(&self, total: usize) -> usize {
        (total / PARTS).saturating_mul(self.parts).min(self.bytes_max)
    }
}

fn refused(reason: String) -> Error {
    Error::Value { origin: "memory-bytes-max".to_owned(), reason }
}

/// The values of [`SHARES`]: those that are given, and the others as parts of the total, less where that would be more than
/// what is left. The error says what does not fit.
fn divide(total: usize, given: [Option<usize>; SHARES.len()]) -> Result<[usize; SHARES.len()], String> {
    let shares = || SHARES.iter().zip(given);
    let taken: usize = shares()
        .filter_map(|(share, given)| Some(given?.saturating_mul(share.times)))
        .fold(0, usize::saturating_add);
    let named = || {
        let list = shares().filter_map(|(share, given)| Some((share, given?)));
        let list = list.map(|(share, given)| match share.times {
            1 => format!("{} = {given}", share.name),
            times => format!("{} = {given} (times {times})", share.name),
        });
        list.collect::<Vec<_>>().join(", ")
    };
    let Some(left) = total.checked_sub(taken) else {
        return Err(format!("{} take {taken} bytes", named()));
    };
    let wanted = |share: &Share| share.of(total).saturating_mul(share.times);
    let others = || shares().filter(|(_, given)| given.is_none()).map(|(share, _)| share);
    let wanted_in_all = others().map(wanted).fold(0, usize::saturating_add).max(1);
    let value = |(share, given): (&Share, Option<usize>)| match given {
        Some(given) => Ok(given),
        None if wanted_in_all <= left => Ok(share.of(total)),
        None => {
            let value = (share.of(total) as u128 * left as u128 / wanted_in_all as u128) as usize;
            let enough = Some(value).filter(|value| *value >= SHARE_BYTES_MIN);
            enough.ok_or_else(|| {
                format!("{} take {taken} bytes and leave too little for {}", named(), share.name)
            })
        }
    };
    let values: Result<Vec<usize>, String> = shares().map(value).collect();
    let values = values?;
    Ok(std::array::from_fn(|i| values[i]))
}

/// How much memory this process may have: the least of what the machine, control groups and resource limits say. `root` is
/// the root of the file system, another one in tests.
pub(super) fn available(root: &Path) -> Available {
    let machine =
        memory_of_machine(root).map(|bytes| Available { bytes, source: "the machine's memory".to_owned() });
    let limits = resource_limits(root).into_iter().chain(control_groups(root)).chain(machine);
    let unknown = Available { bytes: usize::MAX, source: "memory that nothing bounds".to_owned() };
    limits.min_by_key(|limit| limit.bytes).unwrap_or(unknown)
}

fn memory_of_machine(root: &Path) -> Option<usize> {
    let text = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

/// The soft limits of data and of address space, where there are any.
fn resource_limits(root: &Path) -> Vec<Available> {
    let text = std::fs::read_to_string(root.join("proc/self/limits")).unwrap_or_default();
    let limit = |(line, name): (&str, &str)| {
        let rest = text.lines().find_map(|text| text.strip_prefix(line))?;
        let bytes = rest.split_whitespace().next()?.parse().ok()?;
        Some(Available { bytes, source: format!("the resource limit {name}") })
    };
    [("Max data size", "RLIMIT_DATA"), ("Max address space", "RLIMIT_AS")]
        .into_iter()
        .filter_map(limit)
        .collect()
}

/// The memory limits of the process's control groups and of those that they are in, of both versions.
fn control_groups(root: &Path) -> Vec<Available> {
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mounts = std::fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    let mut found = Vec::new();
    for line in groups.lines() {
        // Hierarchy, controllers, path; version 2 has hierarchy 0 and no list of controllers.
        let mut fields = line.splitn(3, ':');
        let (Some(hierarchy), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (kind, file) = match controllers {
            "" if hierarchy == "0" => ("cgroup2", "memory.max"),
            list if list.split(',').any(|name| name == "memory") => ("cgroup", "memory.limit_in_bytes"),
            _ => continue,
        };
        for mount in mounts.lines().filter_map(|line| Mount::of(line, kind)) {
            found.extend(mount.limits(root, Path::new(path), file));
        }
    }
    found
}

/// Where a hierarchy of control groups is mounted.
#[derive(Debug)]
struct Mount {
    /// The group that is the mount's root: a container may see only its own.
    group: PathBuf,
    point: PathBuf,
}

impl Mount {
    /// A line of `mountinfo`, if it is a mount of this kind, and one with the memory controller in version 1.
    fn of(line: &str, kind: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut file_system = file_system.split(' ');
        let is_kind = file_system.next()? == kind;
        let mut options = file_system.nth(1)?.split(',');
        let has_memory = kind == "cgroup2" || options.any(|option| option == "memory");
        let mut fields = mount.split(' ').skip(3);
        let (group, point) = (fields.next()?.into(), fields.next()?.into());
        (is_kind && has_memory).then_some(Self { group, point })
    }

    /// The limits of the group `path` and of those above it, as far as they are mounted here.
    fn limits(&self, root: &Path, path: &Path, file: &str) -> Vec<Available> {
        // A path that is not below the mount's group is seen from elsewhere: the mount is the group then.
        let below = path.strip_prefix(&self.group).unwrap_or(Path::new(""));
        let limit = |below: &Path| {
            let file = self.point.join(below).join(file);
            let text = std::fs::read_to_string(root.join(file.strip_prefix("/").unwrap_or(&file))).ok()?;
            // `max` is no number: no limit. Version 1 has a number larger than any memory for it.
            let bytes = text.trim().parse().ok()?;
            Some(Available { bytes, source: format!("the control group's {}", file.display()) })
        };
        below.ancestors().filter_map(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: usize = 1 << 30;

    fn divided(given: Given, available: usize) -> Result<Config, String> {
        let mut config = Config { given, ..Config::default() };
        let available = Available { bytes: available, source: "a test".to_owned() };
        config.divide_memory(&available).map(|()| config).map_err(|error| error.to_string())
    }

    /// What all shares of a configuration take together.
    fn sum(config: &Config) -> usize {
        2 * config.head_bytes_max
            + config.query_bytes_max
            + config.write_bytes_max
            + config.answer_bytes_max
            + config.merge_bytes_max
    }

    #[test]
    fn shares_follow_from_the_total_and_fit_into_it_at_any_size() {
        for available in [64 << 20, 256 << 20, GIB, 2 * GIB, 8 * GIB, 64 * GIB, 1024 * GIB] {
            let config = divided(Given::default(), available).unwrap();
            assert_eq!(config.memory_bytes_max, available / 100 * 60);
            assert!(sum(&config) <= config.memory_bytes_max, "{config:?}");
            assert!(2 * config.body_bytes_max <= config.write_bytes_max);
            assert!(config.query_memory_bytes_max as usize <= config.query_bytes_max);
        }
        let small = divided(Given::default(), 2 * GIB).unwrap();
        assert!((250 << 20..300 << 20).contains(&small.head_bytes_max), "{}", small.memory_line());
        let large = divided(Given::default(), 1024 * GIB).unwrap();
        assert_eq!((large.head_bytes_max, large.write_bytes_max), (2 * GIB, GIB / 2));
        assert_eq!((large.answer_bytes_max, large.query_memory_bytes_max), (GIB / 2, 1 << 30));
        assert_eq!(large.body_bytes_max, 64 << 20);
    }

    #[test]
    fn what_is_given_is_taken_as_it_is_and_leaves_less_for_the_others() {
        let given = Given { total: Some(GIB), head: Some(400 << 20), ..Given::default() };
        let config = divided(given, 64 * GIB).unwrap();
        assert_eq!((config.memory_bytes_max, config.head_bytes_max), (GIB, 400 << 20));
        assert!(config.query_bytes_max < GIB / 4 && sum(&config) <= GIB, "{}", config.memory_line());
        let given = Given { total: Some(GIB), query: Some(600 << 20), ..Given::default() };
        let config = divided(given, 64 * GIB).unwrap();
        assert_eq!((config.query_bytes_max, config.query_memory_bytes_max), (600 << 20, 600 << 20));
        assert!(config.memory_line().contains("memory-bytes-max = 1073741824 (memory-bytes-max)"));
    }

    #[test]
    fn more_than_the_total_is_refused_with_names_and_numbers() {
        let given = Given { head: Some(GIB), writes: Some(300 << 20), ..Given::default() };
        let error = divided(given, 2 * GIB).unwrap_err();
        let expected = "memory-bytes-max: head-bytes-max = 1073741824 (times 2), write-bytes-max = 314572800 take 2462056448 \
                        bytes, and the total is 1288490160 bytes (60 % of a test, 2147483648 bytes)";
        assert_eq!(error, expected);
        let given = Given { total: Some(GIB), head: Some(GIB / 2 - 100), ..Given::default() };
        let error = divided(given, 2 * GIB).unwrap_err();
        assert!(error.contains("leave too little for query-bytes-max"), "{error}");
        let given = Given { queries: Some(100 << 20), query: Some(200 << 20), ..Given::default() };
        assert!(divided(given, 2 * GIB).unwrap_err().contains("query-memory-bytes-max = 209715200 is more"));
        assert!(
            divided(Given { total: Some(1 << 20), ..Given::default() }, GIB).unwrap_err().contains("32MiB")
        );
    }

    /// A file system with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let file = root.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemFree: 1 kB\nMemTotal:       8388608 kB\n");

    #[test]
    fn the_least_of_machine_groups_and_limits_counts() {
        let of = |files: &[(&str, &str)]| available(root(&[&[MEMINFO], files].concat()).path());
        let machine = of(&[]);
        assert_eq!((machine.bytes, machine.source.as_str()), (8 * GIB, "the machine's memory"));
        let limits = "Limit   Soft Limit   Hard Limit  Units\n\
                      Max data size             2147483648           unlimited            bytes\n\
                      Max address space         unlimited            unlimited            bytes\n";
        let data = of(&[("proc/self/limits", limits)]);
        assert_eq!((data.bytes, data.source.as_str()), (2 * GIB, "the resource limit RLIMIT_DATA"));
        assert_eq!(available(root(&[]).path()).bytes, usize::MAX);
    }

    #[test]
    fn groups_of_both_versions_count_with_those_above_them() {
        let v2 = "25 30 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = available(
            root(&[
                MEMINFO,
                ("proc/self/mountinfo", v2),
                ("proc/self/cgroup", "0::/app.slice/db.service\n"),
                ("sys/fs/cgroup/app.slice/db.service/memory.max", "max\n"),
                ("sys/fs/cgroup/app.slice/memory.max", "2147483648\n"),
            ])
            .path(),
        );
        assert_eq!(found.bytes, 2 * GIB);
        assert_eq!(found.source, "the control group's /sys/fs/cgroup/app.slice/memory.max");
        // A container of version 1, which sees its own group only, under the path that the host has for it.
        let v1 = "35 31 0:32 /docker/7 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                  36 31 0:33 /docker/7 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n";
        let found = available(
            root(&[
                MEMINFO,
                ("proc/self/mountinfo", v1),
                ("proc/self/cgroup", "5:cpu:/docker/7\n4:memory:/docker/7\n0::/\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n"),
            ])
            .path(),
        );
        assert_eq!(found.bytes, GIB);
        let unbounded = available(
            root(&[
                MEMINFO,
                ("proc/self/mountinfo", v1),
                ("proc/self/cgroup", "4:memory:/docker/7\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ])
            .path(),
        );
        assert_eq!(unbounded.source, "the machine's memory");
    }
}
