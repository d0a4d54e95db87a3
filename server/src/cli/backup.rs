//! `timberline backup` and `timberline restore`: a database copied to another folder, whole and checked.
//!
//! A copy is made of what the manifest lists, each file synced, and its manifest last: without one it is no database, so an
//! unfinished copy is never taken for a whole one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;
use timberline_engine::block::block_path;
use timberline_engine::directory::{DirectoryLock, RealDirectory};
use timberline_engine::manifest::{MANIFEST_FILE, Manifest};
use timberline_engine::tombstones::tombstones_path;
use timberline_engine::verify::lock;
use timberline_engine::wal::{WAL_DIR, segment_numbers, segment_path};
use timberline_engine::{Error as EngineError, SNAPSHOTS_DIR};

use super::check::{expect_none, verify_directory};
use super::client::Client;
use super::{Error, ServerUrl};

/// The folders and files that a copy consists of.
const PARTS: [&str; 4] = [MANIFEST_FILE, "blocks", "tombstones", WAL_DIR];

/// Copy a data directory, also that of a running server, and check the copy.
#[derive(Debug, clap::Args)]
pub(super) struct BackupArgs {
    /// The data directory
    #[arg(long, value_name = "DATA")]
    from: PathBuf,
    #[command(flatten)]
    server: ServerUrl,
    /// An earlier backup: blocks that it holds are linked instead of copied
    #[arg(long, value_name = "EARLIER")]
    base: Option<PathBuf>,
    /// The new directory for the backup
    #[arg(value_name = "BACKUP")]
    into: PathBuf,
}

/// Copy a backup to a new data directory, after checking it.
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "BACKUP")]
    from: PathBuf,
    /// The new data directory
    #[arg(value_name = "DATA")]
    into: PathBuf,
}

pub(super) fn backup(args: &BackupArgs) -> Result<(), Error> {
    check_database(&args.from)?;
    if let Some(base) = &args.base {
        check_database(base)?;
    }
    check_empty(&args.into)?;
    let source = Source::open(&args.from, &args.server.url)?;
    let copied = copy_database(&source.path, &args.into, args.base.as_deref())?;
    drop(source);
    writeln!(
        io::stdout(),
        "{}: copied {} files, linked {}",
        args.into.display(),
        copied.copied,
        copied.linked
    )?;
    let report = verify_directory(&args.into)?;
    expect_none(&mut io::stdout().lock(), &report, &args.into)
}

pub(super) fn restore(args: &RestoreArgs) -> Result<(), Error> {
    check_database(&args.from)?;
    check_empty(&args.into)?;
    let report = verify_directory(&args.from)?;
    expect_none(&mut io::stdout().lock(), &report, &args.from)?;
    let directory = RealDirectory::open(&args.from)?;
    let _lock = lock(&directory)?;
    let copied = copy_database(&args.from, &args.into, None)?;
    writeln!(io::stdout(), "{}: restored {} files", args.into.display(), copied.copied)?;
    Ok(())
}

fn check_database(path: &Path) -> Result<(), Error> {
    if path.join(MANIFEST_FILE).is_file() {
        return Ok(());
    }
    Err(Error::message(format!("{} is no data directory and no backup: it has no MANIFEST", path.display())))
}

fn check_empty(path: &Path) -> Result<(), Error> {
    match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error("read", path, error)),
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::message(format!("{} is not empty: choose a new directory", path.display()))),
    }
}

/// What is copied: a directory that nobody else uses, or a snapshot, which goes when this is dropped.
struct Source {
    path: PathBuf,
    is_snapshot: bool,
    _lock: Option<Box<dyn DirectoryLock>>,
}

impl Source {
    fn open(data: &Path, url: &str) -> Result<Self, Error> {
        let directory = RealDirectory::open(data).map_err(|e| io_error("open", data, e))?;
        match lock(&directory) {
            Ok(lock) => Ok(Self { path: data.to_owned(), is_snapshot: false, _lock: lock }),
            Err(EngineError::Locked { .. }) => Self::snapshot(data, url),
            Err(error) => Err(error.into()),
        }
    }

    fn snapshot(data: &Path, url: &str) -> Result<Self, Error> {
        let mut response = Client::new(url).post_form("/api/v1/admin/tsdb/snapshot", &[])??;
        let body = response.body_mut().read_to_string();
        let body = body.map_err(|error| Error::message(format!("no whole answer from {url}: {error}")))?;
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        let name = answer["data"]["name"].as_str();
        let name = name.ok_or_else(|| Error::message(format!("{url} named no snapshot: {body}")))?;
        let path = data.join(SNAPSHOTS_DIR).join(name);
        if path.is_dir() {
            return Ok(Self { path, is_snapshot: true, _lock: None });
        }
        Err(Error::message(format!(
            "the server at {url} made the snapshot {name}, and it is not in {}: give the --url of the server that runs on \
             this directory (and remove that snapshot)",
            data.display()
        )))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if self.is_snapshot
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            super::say(format_args!(
                "timberline: cannot remove the snapshot {}: {error}",
                self.path.display()
            ));
        }
    }
}

#[derive(Default)]
struct Copied {
    copied: usize,
    linked: usize,
}

/// Copies what the manifest lists; when that fails, nothing stays.
fn copy_database(from: &Path, into: &Path, base: Option<&Path>) -> Result<Copied, Error> {
    let mut copy = Copy { from, into, base, done: Copied::default() };
    match copy.run() {
        Ok(()) => Ok(copy.done),
        Err(error) => {
            for part in PARTS.map(|part| into.join(part)) {
                let _ = if part.is_dir() { fs::remove_dir_all(part) } else { fs::remove_file(part) };
            }
            Err(error)
        }
    }
}

struct Copy<'a> {
    from: &'a Path,
    into: &'a Path,
    base: Option<&'a Path>,
    done: Copied,
}

impl Copy<'_> {
    fn run(&mut self) -> Result<(), Error> {
        let directory = RealDirectory::open(self.from).map_err(|e| io_error("open", self.from, e))?;
        // Durable with its ancestors.
        RealDirectory::open(self.into).map_err(|e| io_error("create", self.into, e))?;
        let manifest = Manifest::load(&directory)?.unwrap_or_default();
        for block in &manifest.blocks {
            let folder = block_path(block.id);
            for file in names(&self.from.join(&folder))? {
                self.file(&folder.join(file))?;
            }
        }
        for file in manifest.tombstones() {
            self.file(&tombstones_path(file))?;
        }
        if self.from.join(WAL_DIR).is_dir() {
            for number in segment_numbers(&directory)?.into_iter().filter(|n| *n >= manifest.wal_first) {
                self.file(&segment_path(number))?;
            }
        }
        sync_folders(self.into)?;
        self.file(Path::new(MANIFEST_FILE))?;
        sync_folder(self.into)
    }

    fn file(&mut self, file: &Path) -> Result<(), Error> {
        let (from, into) = (self.from.join(file), self.into.join(file));
        if let Some(folder) = into.parent() {
            fs::create_dir_all(folder).map_err(|e| io_error("create", folder, e))?;
        }
        if self.link(file, &from, &into) {
            self.done.linked += 1;
            return Ok(());
        }
        let copy = || fs::copy(&from, &into).and_then(|_| File::open(&into)?.sync_all());
        copy().map_err(|e| io_error("copy", &from, e))?;
        self.done.copied += 1;
        Ok(())
    }

    /// Links a file of a block, which never changes, to the one of the earlier backup, if that has it.
    fn link(&self, file: &Path, from: &Path, into: &Path) -> bool {
        let Some(base) = self.base.map(|base| base.join(file)) else { return false };
        let len = |path: &Path| fs::metadata(path).map(|metadata| metadata.len()).ok();
        let is_same = file.starts_with("blocks") && len(&base).is_some() && len(&base) == len(from);
        // Another file system has no links to this one: then it is copied.
        is_same && fs::hard_link(&base, into).is_ok()
    }
}

/// The names in a folder; none when it is missing, as the verification will say.
fn names(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| io_error("list", folder, e))?,
    };
    let names = entries.map(|entry| entry.map(|entry| PathBuf::from(entry.file_name())));
    names.collect::<io::Result<_>>().map_err(|e| io_error("list", folder, e))
}

fn sync_folders(folder: &Path) -> Result<(), Error> {
    for name in names(folder)? {
        let path = folder.join(name);
        if path.is_dir() {
            sync_folders(&path)?;
        }
    }
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> Result<(), Error> {
    let sync = || File::open(folder)?.sync_all();
    sync().map_err(|e| io_error("sync", folder, e))
}

fn io_error(operation: &'static str, path: &Path, error: io::Error) -> Error {
    EngineError::io(operation, path, error).into()
}
