//! Bytes a point on disk, after sealing and compacting, everything included: `cargo bench --bench disk`. With the path of a
//! file of JSON lines, as `/api/v1/export` writes them, it measures that as well.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::Instant;

use flate2::read::GzDecoder;
use timberline_engine::{Db, Field, Labels, Options, Row, WalSync};

#[path = "load/cpu_only.rs"]
mod cpu_only;

use cpu_only::Generator;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    for (hosts, hours) in [(4000, 1), (100, 12)] {
        measure(&format!("TSBS cpu-only, {hosts} hosts × {hours} h"), |db| {
            write_tsbs(db, hosts, hours * 360)
        })?;
    }
    for path in std::env::args().skip(1).filter(|argument| !argument.starts_with("--")) {
        measure(&path, |db| write_json_lines(db, Path::new(&path)))?;
    }
    Ok(())
}

fn measure(name: &str, write: impl FnOnce(&Db) -> Outcome<usize>) -> Outcome<()> {
    let folder = tempfile::tempdir_in(".")?;
    let options = Options { background: false, wal_sync: WalSync::Off, ..Options::default() };
    let db = Db::open(folder.path(), options)?;
    let points = write(&db)?;
    let start = Instant::now();
    db.flush()?;
    db.compact()?;
    let seal = start.elapsed();
    let (mut chunks, mut with_statistics, mut index_bytes) = (0_u64, 0_u64, 0_u64);
    for series in db.snapshot().select(&[], timberline_engine::TimeRange::ALL)? {
        for part in series.parts() {
            chunks += 1;
            with_statistics += u64::from(part.statistics()?.is_some());
        }
    }
    db.close()?;
    drop(db);
    let bytes = sizes(folder.path(), &mut |name, bytes| {
        index_bytes += if name == "index" { bytes } else { 0 };
    })?;
    println!(
        "{name}: {points} points, {bytes} bytes, {:.3} bytes a point; index {:.3}; {chunks} chunks, {with_statistics} with \
         statistics; sealed in {:.0} ns a point",
        bytes as f64 / points as f64,
        index_bytes as f64 / points as f64,
        seal.as_nanos() as f64 / points as f64,
    );
    Ok(())
}

fn write_tsbs(db: &Db, hosts: usize, rows_each: usize) -> Outcome<usize> {
    let mut generator = Generator::new(0..hosts, rows_each, 10, 0.0);
    let mut points = 0;
    while let Some(body) = generator.body(1 << 20) {
        let mut batch = db.appender()?;
        for line in std::str::from_utf8(&body)?.lines() {
            let mut parts = line.split(' ');
            let (Some(key), Some(pairs), Some(time)) = (parts.next(), parts.next(), parts.next()) else {
                return Err("a line has three parts".into());
            };
            let mut fields = Vec::new();
            for pair in pairs.split(',') {
                let (name, value) = pair.split_once('=').ok_or("a field is name=value")?;
                fields.push(Field { name: name.as_bytes(), value: value.trim_end_matches('i').parse()? });
            }
            let row = Row { key: key.as_bytes(), timestamp: time.parse()?, fields: &fields };
            batch.row(row, |field| {
                let name = format!("cpu_{}", String::from_utf8_lossy(field));
                let tags = key.split(',').skip(1).filter_map(|tag| tag.split_once('='));
                Labels::from_pairs(std::iter::once(("__name__", &*name)).chain(tags))
            })?;
        }
        points += batch.commit()?;
    }
    Ok(points)
}

fn write_json_lines(db: &Db, path: &Path) -> Outcome<usize> {
    let file = std::fs::File::open(path)?;
    let text: Box<dyn Read> = if path.extension().is_some_and(|end| end == "gz") {
        Box::new(GzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut points = 0;
    for line in BufReader::new(text).lines() {
        let line: serde_json::Value = serde_json::from_str(&line?)?;
        let metric = line["metric"].as_object().ok_or("`metric` is an object")?;
        let labels =
            Labels::from_pairs(metric.iter().filter_map(|(name, value)| Some((&**name, value.as_str()?))))?;
        let values = line["values"].as_array().ok_or("`values` is an array")?;
        let times = line["timestamps"].as_array().ok_or("`timestamps` is an array")?;
        let samples = times
            .iter()
            .zip(values)
            .filter_map(|(time, value)| Some((time.as_i64()? * 1_000_000, value.as_f64()?)));
        let mut batch = db.appender()?;
        batch.series(&labels, samples)?;
        points += batch.commit()?;
    }
    Ok(points)
}

/// Bytes of all files below `folder`; each is told by its name.
fn sizes(folder: &Path, tell: &mut impl FnMut(&str, u64)) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            bytes += sizes(&entry.path(), tell)?;
        } else {
            tell(&entry.file_name().to_string_lossy(), meta.len());
            bytes += meta.len();
        }
    }
    Ok(bytes)
}
