//! `timberline verify` and `timberline repair`: what is wrong with a data directory, and what of it can be saved.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use timberline_engine::directory::RealDirectory;
use timberline_engine::{Directory, verify::VerifyReport};

use super::Error;

/// Problems that are printed; the rest is counted.
const PROBLEMS_PRINTED_MAX: usize = 1000;

pub(super) fn verify(path: &Path) -> Result<(), Error> {
    let report = verify_directory(path)?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{}: {} blocks with {} series and {} samples; {} records with {} samples in the log",
        path.display(),
        report.blocks,
        report.series,
        report.samples,
        report.wal_records,
        report.wal_samples
    )?;
    if report.torn_bytes > 0 {
        writeln!(out, "the last {} bytes of the log are of a write that a crash stopped", report.torn_bytes)?;
    }
    expect_none(&mut out, &report, path)
}

/// Verifies a directory that is there.
pub(super) fn verify_directory(path: &Path) -> Result<VerifyReport, Error> {
    explain_lock(timberline_engine::verify::verify(&existing(path)?))
}

/// Prints the problems; an error when there are some.
pub(super) fn expect_none(out: &mut dyn Write, report: &VerifyReport, path: &Path) -> Result<(), Error> {
    let problems = &report.problems;
    print(out, problems.iter())?;
    match problems.len() {
        0 => Ok(writeln!(out, "everything checks out")?),
        count => Err(Error::message(format!(
            "{count} problems in {}: restore a backup, or save what is left with `timberline repair`",
            path.display()
        ))),
    }
}

pub(super) fn repair(from: &Path, into: &Path) -> Result<(), Error> {
    let source = existing(from)?;
    let target = RealDirectory::open(into).map_err(|e| timberline_engine::Error::io("create", into, e))?;
    let target: Arc<dyn Directory> = Arc::new(target);
    let report = explain_lock(timberline_engine::repair::repair(&source, &target))?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}: saved {} samples in {} blocks", into.display(), report.samples, report.blocks)?;
    print(&mut out, report.lost.iter().map(|lost| format!("lost {lost}")))?;
    match report.lost.len() {
        0 => Ok(writeln!(out, "nothing is lost")?),
        count => Err(Error::message(format!("{count} things of {} are lost", from.display()))),
    }
}

fn print(
    out: &mut dyn Write,
    items: impl ExactSizeIterator<Item = impl std::fmt::Display>,
) -> io::Result<()> {
    let more = items.len().saturating_sub(PROBLEMS_PRINTED_MAX);
    for item in items.take(PROBLEMS_PRINTED_MAX) {
        writeln!(out, "{item}")?;
    }
    if more > 0 {
        writeln!(out, "and {more} more")?;
    }
    Ok(())
}

/// Opens a directory without creating it.
fn existing(path: &Path) -> Result<RealDirectory, Error> {
    if !path.is_dir() {
        return Err(Error::message(format!("{} is no directory", path.display())));
    }
    Ok(RealDirectory::open(path).map_err(|e| timberline_engine::Error::io("open", path, e))?)
}

fn explain_lock<T>(result: timberline_engine::Result<T>) -> Result<T, Error> {
    result.map_err(|error| match error {
        timberline_engine::Error::Locked { file } => Error::message(format!(
            "a server is running on it, as {} is locked: stop it, or make a snapshot and use that",
            file.display()
        )),
        other => other.into(),
    })
}
