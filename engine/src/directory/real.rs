//! The real file system below one root directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Directory, DirectoryLock, Mapped, WriteFile};

/// The real file system below a root directory.
#[derive(Debug)]
pub struct RealDirectory {
    root: PathBuf,
}

impl RealDirectory {
    /// The directory at `root`. When it is not there it is created, durably: all that is synced below it later would be
    /// lost with its name.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        let missing: Vec<&Path> =
            root.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
        fs::create_dir_all(&root)?;
        for path in missing {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(Self { root })
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }
}

#[derive(Debug)]
struct RealFile(File);

impl WriteFile for RealFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    #[cfg(target_os = "linux")]
    fn preallocate(&mut self, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        Ok(fallocate(&self.0, FallocateFlags::empty(), 0, len)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn preallocate(&mut self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Holds an advisory lock on the open file; the kernel lets go of it when the process dies.
#[derive(Debug)]
struct FileLock {
    _file: Option<File>,
}

impl DirectoryLock for FileLock {}

impl Directory for RealDirectory {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(self.at(path))?;
        Ok(Box::new(RealFile(file)))
    }

    fn map(&self, path: &Path) -> io::Result<Mapped> {
        let file = File::open(self.at(path))?;
        if file.metadata()?.len() == 0 {
            return Ok(Mapped::from_memory([]));
        }
        #[expect(unsafe_code, reason = "mapping a file is unsafe because another process could change it")]
        // SAFETY: the bytes below a mapping must not change while it is read. Files of blocks and the manifest are never
        // written in place. A log segment only grows behind what is mapped, but for replay: it cuts the last segment and
        // writes its end over itself, after its last look at the mapping, while the lock on the data directory keeps other replays out. Inspection
        // takes no lock: if a server starts at that moment, it may find zeros where the torn tail was, which no checksum
        // fits, or end by SIGBUS. Reaching into the folder by other means is beyond what any of this can bear.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Mapped::from_file(map))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.at(path))?;
        file.set_len(len)?;
        file.sync_all()
    }

    fn rewrite(&self, path: &Path, from: u64) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).write(true).open(self.at(path))?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(from))?;
        file.read_to_end(&mut bytes)?;
        file.seek(SeekFrom::Start(from))?;
        file.write_all(&bytes)?;
        file.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.at(path))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(self.at(path))?.len())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(self.at(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(self.at(from), self.at(to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(self.at(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        match fs::remove_dir_all(self.at(path)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(self.at(path))?.sync_all()
    }

    #[cfg(target_os = "linux")]
    fn free_bytes(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.root)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    #[cfg(not(target_os = "linux"))]
    fn free_bytes(&self) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirectoryLock>> {
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(self.at(path));
        let file = match opened {
            Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => match File::open(self.at(path)) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    return Ok(Box::new(FileLock { _file: None }));
                }
                opened => opened?,
            },
            opened => opened?,
        };
        match file.try_lock() {
            Ok(()) => Ok(Box::new(FileLock { _file: Some(file) })),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    fn display_path(&self, path: &Path) -> PathBuf {
        self.at(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_rewritten_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let directory = RealDirectory::open(folder.path()).unwrap();
        let path = Path::new("file");
        directory.create(path).unwrap().write_all(b"bytes").unwrap();
        for from in [0, 2, 5, 9] {
            directory.rewrite(path, from).unwrap();
            assert_eq!(directory.map(path).unwrap()[..], b"bytes"[..], "from {from}");
        }
        assert!(directory.rewrite(Path::new("missing"), 0).is_err());
    }

    #[test]
    fn a_root_is_created_with_its_ancestors() {
        let folder = tempfile::tempdir().unwrap();
        for root in ["a/b/c", "a/b/c", "a/b/d/", "a/../e"] {
            let directory = RealDirectory::open(folder.path().join(root)).unwrap();
            assert!(directory.list(Path::new("")).unwrap().is_empty(), "{root}");
        }
        fs::write(folder.path().join("file"), b"").unwrap();
        assert!(RealDirectory::open(folder.path().join("file/below")).is_err());
    }
}
