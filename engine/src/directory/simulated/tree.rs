//! The names of a simulated file system: the tree that running processes see, the tree on disk, and the changes between the two.
//!
//! A name belongs to one node and a node has at most one name; a hard link is a copy of a file, since nobody writes to a
//! file that has been linked. Each change of a name waits in
//! `pending` until its directory is synced; a power cut lets any of the waiting ones happen. What file systems
//! promise all the same holds here too: a rename happens wholly or not at all, so that neither the file that moves nor
//! the one that it replaces is ever without a name because of it.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use super::content::Content;
use super::random::Random;

pub(super) type NodeId = usize;

const ROOT: NodeId = 0;

#[derive(Clone, Debug)]
enum Node {
    File(Content),
    Directory,
}

/// A place for a node: a directory and a name in it.
type Slot = (NodeId, String);

type Names = BTreeMap<Slot, NodeId>;

/// One change of one name. It is durable after a sync of the directory of `slot`.
#[derive(Clone, Debug)]
struct Change {
    slot: Slot,
    node: NodeId,
    kind: ChangeKind,
}

#[derive(Clone, Debug)]
enum ChangeKind {
    Add,
    Remove,
    MoveFrom(Slot),
}

impl Change {
    fn apply(&self, names: &mut Names) {
        match self.kind {
            ChangeKind::Add => {
                names.insert(self.slot.clone(), self.node);
            }
            ChangeKind::Remove => {
                if names.get(&self.slot) == Some(&self.node) {
                    names.remove(&self.slot);
                }
            }
            // An earlier move of the same node may not have happened: it moves from wherever it is.
            ChangeKind::MoveFrom(_) => {
                names.retain(|_, node| *node != self.node);
                names.insert(self.slot.clone(), self.node);
            }
        }
    }

    fn moves_from(&self, slot: &Slot) -> bool {
        matches!(&self.kind, ChangeKind::MoveFrom(from) if from == slot)
    }
}

/// Files and directories with their names, now and on disk.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    current: Names,
    durable: Names,
    pending: Vec<Change>,
}

impl Tree {
    /// A tree with an empty root.
    pub(super) fn new() -> Self {
        Self {
            nodes: vec![Node::Directory],
            current: Names::new(),
            durable: Names::new(),
            pending: Vec::new(),
        }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        self.walk(&names_of(path)?)
    }

    fn walk(&self, names: &[String]) -> io::Result<NodeId> {
        let mut node = ROOT;
        for name in names {
            if !self.is_directory(node) {
                return Err(ErrorKind::NotADirectory.into());
            }
            node = *self.current.get(&(node, name.clone())).ok_or(ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    /// The slot that `path` names; its directory must be there.
    fn slot(&self, path: &Path) -> io::Result<Slot> {
        let mut names = names_of(path)?;
        let name = names.pop().ok_or(ErrorKind::InvalidInput)?;
        let directory = self.walk(&names)?;
        if !self.is_directory(directory) {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok((directory, name))
    }

    fn is_directory(&self, node: NodeId) -> bool {
        matches!(self.nodes[node], Node::Directory)
    }

    pub(super) fn file(&self, node: NodeId) -> io::Result<&Content> {
        match &self.nodes[node] {
            Node::File(content) => Ok(content),
            Node::Directory => Err(ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn file_mut(&mut self, node: NodeId) -> io::Result<&mut Content> {
        match &mut self.nodes[node] {
            Node::File(content) => Ok(content),
            Node::Directory => Err(ErrorKind::IsADirectory.into()),
        }
    }

    fn change(&mut self, slot: Slot, node: NodeId, kind: ChangeKind) {
        let change = Change { slot, node, kind };
        change.apply(&mut self.current);
        self.pending.push(change);
    }

    fn add(&mut self, slot: Slot, node: Node) -> NodeId {
        self.nodes.push(node);
        let id = self.nodes.len() - 1;
        self.change(slot, id, ChangeKind::Add);
        id
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<NodeId> {
        let slot = self.slot(path)?;
        if self.current.contains_key(&slot) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        Ok(self.add(slot, Node::File(Content::default())))
    }

    /// Creates one directory; fine when it is there.
    pub(super) fn create_directory(&mut self, path: &Path) -> io::Result<()> {
        let slot = self.slot(path)?;
        match self.current.get(&slot) {
            Some(&node) if self.is_directory(node) => Ok(()),
            Some(_) => Err(ErrorKind::AlreadyExists.into()),
            None => {
                self.add(slot, Node::Directory);
                Ok(())
            }
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_slot, to_slot) = (self.slot(from)?, self.slot(to)?);
        let node = *self.current.get(&from_slot).ok_or(ErrorKind::NotFound)?;
        if from_slot == to_slot {
            return Ok(());
        }
        let (from_names, to_names) = (names_of(from)?, names_of(to)?);
        if to_names.starts_with(&from_names) {
            return Err(ErrorKind::InvalidInput.into());
        }
        if from_names.starts_with(&to_names) {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        if let Some(&replaced) = self.current.get(&to_slot) {
            match (self.is_directory(node), self.is_directory(replaced)) {
                (false, true) => return Err(ErrorKind::IsADirectory.into()),
                (true, false) => return Err(ErrorKind::NotADirectory.into()),
                (true, true) if self.children(replaced).next().is_some() => {
                    return Err(ErrorKind::DirectoryNotEmpty.into());
                }
                _ => {}
            }
        }
        self.change(to_slot, node, ChangeKind::MoveFrom(from_slot));
        Ok(())
    }

    /// The second name gets a copy of the file, synced as far as the file is.
    pub(super) fn hard_link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let content = self.file(self.find(from)?)?.clone();
        let slot = self.slot(to)?;
        if self.current.contains_key(&slot) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.add(slot, Node::File(content));
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let slot = self.slot(path)?;
        let node = *self.current.get(&slot).ok_or(ErrorKind::NotFound)?;
        self.file(node)?;
        self.change(slot, node, ChangeKind::Remove);
        Ok(())
    }

    pub(super) fn remove_empty_directory(&mut self, path: &Path) -> io::Result<()> {
        let slot = self.slot(path)?;
        let node = *self.current.get(&slot).ok_or(ErrorKind::NotFound)?;
        if self.children(node).next().is_some() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        self.change(slot, node, ChangeKind::Remove);
        Ok(())
    }

    fn children(&self, directory: NodeId) -> impl Iterator<Item = (&str, NodeId)> {
        self.current
            .range((directory, String::new())..(directory + 1, String::new()))
            .map(|((_, name), node)| (name.as_str(), *node))
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let node = self.find(path)?;
        if !self.is_directory(node) {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok(self.children(node).map(|(name, _)| name.to_owned()).collect())
    }

    /// What `path` names and all below it, a directory after what is in it; true marks directories.
    pub(super) fn descendants(&self, path: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
        let mut found = Vec::new();
        let mut stack = vec![(path.to_owned(), self.find(path)?)];
        while let Some((path, node)) = stack.pop() {
            found.push((path.clone(), self.is_directory(node)));
            stack.extend(self.children(node).map(|(name, child)| (path.join(name), child)));
        }
        found.reverse();
        Ok(found)
    }

    /// The bytes that all named files take.
    pub(super) fn bytes_used(&self) -> u64 {
        self.current.values().filter_map(|node| self.file(*node).ok()).map(|file| file.len() as u64).sum()
    }

    /// Makes the changes of names in a directory durable.
    pub(super) fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        let directory = self.find(path)?;
        if !self.is_directory(directory) {
            return Err(ErrorKind::NotADirectory.into());
        }
        let happened: Vec<bool> = self.pending.iter().map(|change| change.slot.0 == directory).collect();
        let happened = self.with_what_they_need(happened);
        let mut still_pending = Vec::new();
        for (change, happened) in self.pending.drain(..).zip(happened) {
            if happened {
                change.apply(&mut self.durable);
                // What happened to this node before is superseded.
                still_pending.retain(|earlier: &Change| earlier.node != change.node);
            } else {
                still_pending.push(change);
            }
        }
        self.pending = still_pending;
        Ok(())
    }

    /// A name is given to another node only after the move that took the first one away.
    fn with_what_they_need(&self, mut happened: Vec<bool>) -> Vec<bool> {
        for later in (0..self.pending.len()).rev() {
            if !happened[later] {
                continue;
            }
            let slot = &self.pending[later].slot;
            for (change, happened) in self.pending.iter().zip(&mut happened).take(later) {
                *happened |= change.moves_from(slot);
            }
        }
        happened
    }

    /// The tree after a power cut, all of it durable: each pending change happened or did not.
    pub(super) fn after_power_loss(&self, random: &mut Random) -> Self {
        let count = self.pending.len();
        let happened = match random.up_to(2) {
            // A file system with a journal keeps the order.
            0 => {
                let first_lost = random.up_to(count);
                (0..count).map(|i| i < first_lost).collect()
            }
            _ => (0..count).map(|_| random.coin()).collect(),
        };
        let happened = self.with_what_they_need(happened);
        let mut names = self.durable.clone();
        for (change, _) in self.pending.iter().zip(happened).filter(|(_, happened)| *happened) {
            change.apply(&mut names);
        }
        let mut survivors = Self::new();
        self.copy_reachable(&names, &mut survivors, random);
        survivors
    }

    /// Copies what the root reaches through `names`; the rest is lost. The order is that of creation, so that names, which
    /// may be random, change nothing in what survives.
    fn copy_reachable(&self, names: &Names, survivors: &mut Self, random: &mut Random) {
        let mut places: BTreeMap<NodeId, &Slot> = BTreeMap::new();
        let mut stack = vec![ROOT];
        while let Some(directory) = stack.pop() {
            let range = (directory, String::new())..(directory + 1, String::new());
            for (slot, &node) in names.range(range) {
                if node != ROOT && places.insert(node, slot).is_none() {
                    stack.push(node);
                }
            }
        }
        let mut copies = BTreeMap::from([(ROOT, ROOT)]);
        for &node in places.keys() {
            survivors.nodes.push(match &self.nodes[node] {
                Node::File(content) => Node::File(content.after_power_loss(random)),
                Node::Directory => Node::Directory,
            });
            copies.insert(node, survivors.nodes.len() - 1);
        }
        for (node, (directory, name)) in places {
            survivors.durable.insert((copies[directory], name.clone()), copies[&node]);
        }
        survivors.current = survivors.durable.clone();
    }
}

/// The names along a path relative to the root.
fn names_of(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => {
                names.push(name.to_str().ok_or(ErrorKind::InvalidFilename)?.to_owned());
            }
            _ => return Err(ErrorKind::InvalidInput.into()),
        }
    }
    Ok(names)
}
