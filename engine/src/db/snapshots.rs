//! Snapshots on disk: a consistent copy of the database below its own folder, of hard links.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::Core;
use crate::block::{BLOCKS_DIR, block_path};
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::tombstones::{TOMBSTONES_DIR, tombstones_path};

/// The folder of the snapshots below the data directory.
pub const SNAPSHOTS_DIR: &str = "snapshots";
/// What the folder of a snapshot that is not finished ends with.
const TEMPORARY_SUFFIX: &str = ".tmp";

impl Core {
    pub(super) fn create_snapshot(&self, name: &str, skip_head: bool) -> Result<()> {
        // Held to the end, since a close waits for it.
        let _one = self.flush.lock();
        self.check_open()?;
        let path = Path::new(SNAPSHOTS_DIR).join(name);
        let fail = |error| Error::io("create the snapshot", self.directory.display_path(&path), error);
        check_name(&*self.directory, name).map_err(fail)?;
        if !skip_head {
            self.seal_all()?;
        }
        let temporary = Path::new(SNAPSHOTS_DIR).join(format!("{name}{TEMPORARY_SUFFIX}"));
        let create = || -> Result<()> {
            self.link_into(&temporary).map_err(fail)?.store_in(&*self.directory, &temporary)?;
            let publish = || -> io::Result<()> {
                self.directory.sync_dir(Path::new(""))?;
                self.directory.rename(&temporary, &path)?;
                self.directory.sync_dir(Path::new(SNAPSHOTS_DIR))
            };
            publish().map_err(fail)
        };
        create().inspect_err(|_| {
            // What stays is removed when the database is opened.
            let _ = self.directory.remove_dir_all(&temporary);
        })
    }

    /// Links all files of the blocks; returns the manifest that lists them.
    fn link_into(&self, folder: &Path) -> io::Result<Manifest> {
        let directory = &*self.directory;
        directory.remove_dir_all(folder)?;
        directory.create_dir_all(&folder.join(BLOCKS_DIR))?;
        let mut folders = vec![folder.join(BLOCKS_DIR)];
        let manifest = {
            // While this is held no block is taken off the list, so none is removed.
            let manifest = self.manifest.lock();
            for block in &manifest.blocks {
                let from = block_path(block.id);
                let to = folder.join(&from);
                directory.create_dir_all(&to)?;
                for file in files(directory, &from)? {
                    directory.hard_link(&from.join(&file), &to.join(&file))?;
                }
                folders.push(to);
            }
            for file in manifest.tombstones().map(tombstones_path) {
                let to = folder.join(TOMBSTONES_DIR);
                if !folders.contains(&to) {
                    directory.create_dir_all(&to)?;
                    folders.push(to);
                }
                match directory.hard_link(&file, &folder.join(&file)) {
                    // The block counts as unreadable here, and will there.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    linked => linked?,
                }
            }
            manifest.clone()
        };
        folders.iter().try_for_each(|folder| directory.sync_dir(folder))?;
        Ok(Manifest { wal_first: 0, clock_ns: Some(self.clock.times().kept_ns), ..manifest })
    }
}

/// The files of a block; none when its folder is missing.
fn files(directory: &dyn Directory, block: &Path) -> io::Result<Vec<String>> {
    match directory.list(block) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        files => files,
    }
}

/// A name is one folder, and a new one.
fn check_name(directory: &dyn Directory, name: &str) -> io::Result<()> {
    let path = PathBuf::from(name);
    let mut components = path.components();
    let is_one = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
    if !is_one || name.ends_with(TEMPORARY_SUFFIX) {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    match directory.list(&Path::new(SNAPSHOTS_DIR).join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
    }
}

/// Removes snapshots that were not finished.
pub(super) fn remove_unfinished(directory: &dyn Directory) -> Result<()> {
    let folder = Path::new(SNAPSHOTS_DIR);
    let names = match directory.list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names.map_err(|e| Error::io("list", directory.display_path(folder), e))?,
    };
    for name in names.iter().filter(|name| name.ends_with(TEMPORARY_SUFFIX)) {
        let path = folder.join(name);
        directory.remove_dir_all(&path).map_err(|e| Error::io("remove", directory.display_path(&path), e))?;
    }
    Ok(())
}
