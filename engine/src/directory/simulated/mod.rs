//! A file system in memory that fails as real ones do, from a seed: for tests of what must survive a crash.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use self::content::Content;
use self::faults::{Call, Faults, Outcome, crash_error};
pub use self::hold::Hold;
use self::hold::Holds;
use self::random::Random;
use self::tree::{NodeId, Tree};
use super::{Directory, DirectoryLock, Mapped, WriteFile};

mod content;
mod faults;
mod hold;
mod random;
#[cfg(test)]
mod tests;
mod tree;

/// A file system in memory that loses what was not synced, fails calls and flips bits, from one seed.
///
/// It promises what [`Directory`] promises and nothing more. Bytes that were not synced and names whose directory was not
/// synced may be lost at a power cut, each on its own:
///
/// - Of a file's unsynced pages (4 KiB) each is kept, lost or torn between sectors (512 bytes); a lost one reads
///   as what was there before, or as zeros. The length is anything from the synced one to the last one.
/// - Each unsynced create, rename and remove happened or did not, in order or not. A rename is atomic. A name may survive
///   without the bytes of its file, or the bytes without the name.
/// - After a sync that failed, its pages count as clean: a later sync that works does not write them. Some may even be gone from
///   the cache, so that running processes, too, read what the disk has. A sync of a directory that failed may be repeated.
///
/// Calls are counted from 0: every method of [`Directory`] and [`WriteFile`] is one call, except that creating or removing
/// directories is one call for each file or directory that is made or goes (and one to look), and cutting or rewriting a file is
/// two (the change and its sync).
/// So a test can crash at each call of a run in turn.
///
/// ```
/// use std::path::Path;
/// use timberline_engine::directory::{Directory, SimulatedDirectory};
///
/// let machine = SimulatedDirectory::new(1);
/// let mut file = machine.create(Path::new("log"))?;
/// file.write_all(b"kept")?;
/// file.sync()?;
/// machine.sync_dir(Path::new(""))?;
/// machine.create(Path::new("perhaps"))?;
/// file.write_all(b", or not")?;
///
/// let machine = machine.restart(2);
/// assert!(machine.read("log")?.starts_with(b"kept"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct SimulatedDirectory {
    machine: Arc<Mutex<Machine>>,
    holds: Arc<Holds>,
}

/// The state behind a directory and its open files.
#[derive(Debug)]
struct Machine {
    tree: Tree,
    faults: Faults,
    locks: BTreeSet<NodeId>,
    random: Random,
}

impl SimulatedDirectory {
    /// An empty file system. Equal seeds and equal calls give equal results.
    #[must_use]
    pub fn new(seed: u64) -> Arc<Self> {
        Self::from_tree(Tree::new(), Random::new(seed))
    }

    fn from_tree(tree: Tree, random: Random) -> Arc<Self> {
        let machine = Machine { tree, faults: Faults::default(), locks: BTreeSet::new(), random };
        Arc::new(Self { machine: Arc::new(Mutex::new(machine)), holds: Arc::default() })
    }

    /// Cuts the power, if that has not happened yet, and starts the machine again: the surviving files, unlocked,
    /// without planned faults and with the count of calls at 0. Every later call on the old directory fails.
    /// Other seeds give other survivors of the same crash.
    #[must_use]
    pub fn restart(&self, seed: u64) -> Arc<Self> {
        let mut machine = self.machine.lock();
        machine.faults.crashed = true;
        let mut random = Random::new(seed);
        Self::from_tree(machine.tree.after_power_loss(&mut random), random)
    }

    /// Kills the process and starts another one: as [`restart`](Self::restart), but the operating system lives on with all
    /// that was written to it, still unsynced.
    #[must_use]
    pub fn kill(&self) -> Arc<Self> {
        let mut machine = self.machine.lock();
        machine.faults.crashed = true;
        Self::from_tree(machine.tree.clone(), machine.random.clone())
    }

    /// The number of calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.machine.lock().faults.calls
    }

    /// Plans a crash: so many more calls work, the next one stops in the middle, and all after it fail.
    pub fn crash_after(&self, calls: u64) {
        let mut machine = self.machine.lock();
        machine.faults.crash_at = Some(machine.faults.calls + calls);
    }

    /// Whether the planned crash has happened.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.machine.lock().faults.crashed
    }

    /// Plans one failure: so many more calls work, and the next one fails with `kind`. If that is a write, some of its bytes are
    /// written; if it is a sync, it is one that failed.
    pub fn fail_after(&self, calls: u64, kind: ErrorKind) {
        self.fail_calls_after(calls, 1, kind);
    }

    /// Plans failures: so many more calls work, and the `count` after them fail with `kind`, as [`fail_after`](Self::fail_after)
    /// has it.
    pub fn fail_calls_after(&self, calls: u64, count: u64, kind: ErrorKind) {
        let mut machine = self.machine.lock();
        let first = machine.faults.calls + calls;
        machine.faults.fail_at = Some((first..first + count, kind));
    }

    /// Forgets the failures that are planned, and makes room: from now on calls work.
    pub fn mend(&self) {
        let mut machine = self.machine.lock();
        machine.faults.fail_at = None;
        machine.faults.fail_next_sync = false;
        machine.faults.bytes_max = None;
    }

    /// Plans a flipped bit: so many more calls work, and whoever maps a file next gets one bit of it flipped. The disk has
    /// the right one.
    pub fn flip_bit_on_read_after(&self, calls: u64) {
        let mut machine = self.machine.lock();
        machine.faults.flip_read_at = Some(machine.faults.calls + calls);
    }

    /// The file that somebody read with the planned flipped bit; `None` while nobody has.
    #[must_use]
    pub fn flipped_on_read(&self) -> Option<PathBuf> {
        self.machine.lock().faults.flipped.clone()
    }

    /// Stops the next call on a path that contains `path_part`, before it does anything and before it is counted, until what this
    /// returns is released or dropped. Other threads' calls go on.
    #[must_use]
    pub fn hold(&self, path_part: &str) -> Hold {
        self.holds.add(path_part)
    }

    /// The machine, once no hold stops a call on this path.
    fn enter(&self, path: &Path) -> MutexGuard<'_, Machine> {
        self.holds.pass(path);
        self.machine.lock()
    }

    /// Makes the next sync of a file fail.
    pub fn fail_next_sync(&self) {
        self.machine.lock().faults.fail_next_sync = true;
    }

    /// Makes every change fail with `ReadOnlyFilesystem`, or lets them work again.
    pub fn set_read_only(&self, read_only: bool) {
        self.machine.lock().faults.read_only = read_only;
    }

    /// The bytes that all files together may take: a write past that writes what fits and fails with `StorageFull`.
    pub fn set_capacity(&self, bytes_max: Option<u64>) {
        self.machine.lock().faults.bytes_max = bytes_max;
    }

    /// The bytes that all files together take.
    #[must_use]
    pub fn bytes_used(&self) -> u64 {
        self.machine.lock().tree.bytes_used()
    }

    /// The paths of all files, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let found = self.machine.lock().tree.descendants(Path::new("")).unwrap_or_default();
        let mut files: Vec<_> =
            found.into_iter().filter(|(_, directory)| !directory).map(|(path, _)| path).collect();
        files.sort_unstable();
        files
    }

    /// The bytes of a file. No call is counted.
    ///
    /// # Errors
    /// `NotFound`, or that it is a directory.
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let machine = self.machine.lock();
        let node = machine.tree.find(path.as_ref())?;
        Ok(machine.tree.file(node)?.bytes().to_vec())
    }

    /// Flips one bit of a file on disk: bit `bit % 8`, the lowest first, of byte `bit / 8`.
    /// What is mapped already stays as it was.
    ///
    /// # Errors
    /// `NotFound`, or that it is a directory; `InvalidInput` when the file is shorter.
    pub fn flip_bit(&self, path: impl AsRef<Path>, bit: usize) -> io::Result<()> {
        let mut machine = self.machine.lock();
        let node = machine.tree.find(path.as_ref())?;
        let content = machine.tree.file_mut(node)?;
        if bit / 8 >= content.len() {
            return Err(ErrorKind::InvalidInput.into());
        }
        content.flip_bit(bit);
        Ok(())
    }
}

impl Machine {
    /// One call that only reads.
    fn read<T>(&mut self, read: impl FnOnce(&Tree) -> io::Result<T>) -> io::Result<T> {
        match self.faults.next(Call::Read) {
            Outcome::Works => read(&self.tree),
            Outcome::Fails(error) => Err(error),
            Outcome::Crashes => Err(crash_error()),
        }
    }

    /// One call that changes names or a length. If the machine stops in it, it has happened or not.
    fn change<T>(&mut self, change: impl FnOnce(&mut Tree) -> io::Result<T>) -> io::Result<T> {
        match self.faults.next(Call::Change) {
            Outcome::Works => change(&mut self.tree),
            Outcome::Fails(error) => Err(error),
            Outcome::Crashes => {
                if self.random.coin() {
                    change(&mut self.tree)?;
                }
                Err(crash_error())
            }
        }
    }

    /// One write; if it fails, a part of it has happened.
    fn write(&mut self, node: NodeId, position: &mut usize, bytes: &[u8]) -> io::Result<()> {
        let preallocated = self.tree.file(node)?.bytes().len().saturating_sub(*position) as u64;
        let room = self.room().saturating_add(preallocated);
        let (written, result) = match self.faults.next(Call::Change) {
            Outcome::Works if bytes.len() as u64 > room => {
                (room as usize, Err(ErrorKind::StorageFull.into()))
            }
            Outcome::Works => (bytes.len(), Ok(())),
            Outcome::Fails(error) if self.is_writable() => (self.random.up_to(bytes.len()), Err(error)),
            Outcome::Fails(error) => (0, Err(error)),
            Outcome::Crashes => (self.random.up_to(bytes.len()), Err(crash_error())),
        };
        self.tree.file_mut(node)?.write_at(*position, &bytes[..written]);
        *position += written;
        result
    }

    /// What a reader of a file gets.
    fn perhaps_flip(&mut self, path: &Path, bytes: Arc<[u8]>) -> Arc<[u8]> {
        if bytes.is_empty() || !self.faults.flips_this_read() {
            return bytes;
        }
        let bit = self.random.up_to(bytes.len() * 8 - 1);
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        self.faults.flipped = Some(path.to_owned());
        flipped.into()
    }

    /// The bytes that may still be taken.
    fn room(&self) -> u64 {
        self.faults.bytes_max.map_or(u64::MAX, |bytes_max| bytes_max.saturating_sub(self.tree.bytes_used()))
    }

    /// One call that lengthens a file.
    fn preallocate(&mut self, node: NodeId, len: u64) -> io::Result<()> {
        let room = self.room();
        self.change(|tree| {
            let content = tree.file_mut(node)?;
            let more = len.saturating_sub(content.bytes().len() as u64);
            if more > room {
                return Err(ErrorKind::StorageFull.into());
            }
            if more > 0 {
                content.set_len(len as usize);
            }
            Ok(())
        })
    }

    fn is_writable(&self) -> bool {
        !self.faults.crashed && !self.faults.read_only
    }

    fn sync(&mut self, node: NodeId) -> io::Result<()> {
        let outcome = self.faults.next(Call::SyncFile);
        let content = self.tree.file_mut(node)?;
        match outcome {
            Outcome::Works => {
                content.sync();
                Ok(())
            }
            Outcome::Fails(error) => {
                if !self.faults.crashed {
                    content.fail_sync(&mut self.random);
                }
                Err(error)
            }
            Outcome::Crashes => Err(crash_error()),
        }
    }

    fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        match self.faults.next(Call::SyncDirectory) {
            Outcome::Works => self.tree.sync_directory(path),
            Outcome::Fails(error) => Err(error),
            Outcome::Crashes => Err(crash_error()),
        }
    }

    fn lock(&mut self, path: &Path) -> io::Result<NodeId> {
        let node = match self.tree.find(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.change(|tree| tree.create_file(path))?
            }
            found => self.read(|_| found)?,
        };
        self.tree.file(node)?;
        if self.locks.insert(node) { Ok(node) } else { Err(ErrorKind::WouldBlock.into()) }
    }
}

/// A file that is being written.
#[derive(Debug)]
struct SimulatedFile {
    machine: Arc<Mutex<Machine>>,
    holds: Arc<Holds>,
    /// What it was called when it was created.
    path: PathBuf,
    node: NodeId,
    /// Where the next bytes go.
    position: usize,
}

impl WriteFile for SimulatedFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.holds.pass(&self.path);
        self.machine.lock().write(self.node, &mut self.position, bytes)
    }

    fn preallocate(&mut self, len: u64) -> io::Result<()> {
        self.machine.lock().preallocate(self.node, len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.holds.pass(&self.path);
        self.machine.lock().sync(self.node)
    }
}

/// A lock that is held until it is dropped, or its process dies.
#[derive(Debug)]
struct SimulatedLock {
    machine: Arc<Mutex<Machine>>,
    node: NodeId,
}

impl DirectoryLock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.machine.lock().locks.remove(&self.node);
    }
}

impl Directory for SimulatedDirectory {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let node = self.enter(path).change(|tree| tree.create_file(path))?;
        let (machine, holds) = (Arc::clone(&self.machine), Arc::clone(&self.holds));
        Ok(Box::new(SimulatedFile { machine, holds, path: path.to_owned(), node, position: 0 }))
    }

    fn map(&self, path: &Path) -> io::Result<Mapped> {
        let mut machine = self.enter(path);
        let bytes = machine.read(|tree| Ok(tree.file(tree.find(path)?)?.bytes()))?;
        Ok(Mapped::from_memory(machine.perhaps_flip(path, bytes)))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let mut machine = self.enter(path);
        let node = machine.change(|tree| {
            let node = tree.find(path)?;
            tree.file_mut(node)?.set_len(len as usize);
            Ok(node)
        })?;
        machine.sync(node)
    }

    fn rewrite(&self, path: &Path, from: u64) -> io::Result<()> {
        let mut machine = self.enter(path);
        let node = machine.change(|tree| {
            let node = tree.find(path)?;
            tree.file_mut(node)?.rewrite(from as usize);
            Ok(node)
        })?;
        machine.sync(node)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.enter(path).read(|tree| tree.list(path))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.enter(path).read(|tree| {
            let node = tree.find(path)?;
            Ok(tree.file(node).map_or(0, |content: &Content| content.len() as u64))
        })
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.enter(path);
        if machine.faults.read_only && machine.tree.list(path).is_ok() {
            return machine.read(|_| Ok(()));
        }
        let mut ancestors: Vec<&Path> =
            path.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
        while let Some(directory) = ancestors.pop() {
            machine.change(|tree| tree.create_directory(directory)).map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists if directory != path => ErrorKind::NotADirectory.into(),
                _ => error,
            })?;
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.enter(from).change(|tree| tree.rename(from, to))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.machine.lock().change(|tree| tree.hard_link(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.enter(path).change(|tree| tree.remove_file(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.enter(path);
        let found = match machine.read(|tree| tree.list(path).and_then(|_| tree.descendants(path))) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        for (path, is_directory) in found {
            machine.change(|tree| match is_directory {
                true => tree.remove_empty_directory(&path),
                false => tree.remove_file(&path),
            })?;
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.enter(path).sync_directory(path)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let mut machine = self.machine.lock();
        let room = machine.room();
        machine.read(|_| Ok(room))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirectoryLock>> {
        let node = self.enter(path).lock(path)?;
        Ok(Box::new(SimulatedLock { machine: Arc::clone(&self.machine), node }))
    }

    fn display_path(&self, path: &Path) -> PathBuf {
        Path::new("simulated").join(path)
    }
}
