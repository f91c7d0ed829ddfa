//! Who descends from whom.

use std::collections::{BTreeMap, BTreeSet};

use bhatti_types::id::{SandboxId, SnapshotId};
use bhatti_types::parent::Parent;

/// A sandbox or a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// A sandbox.
    Sandbox(SandboxId),
    /// A checkpoint.
    Snapshot(SnapshotId),
}

impl Member {
    /// Its id as text.
    pub fn id(&self) -> &str {
        match self {
            Self::Sandbox(id) => id.as_str(),
            Self::Snapshot(id) => id.as_str(),
        }
    }
}

impl From<Parent> for Member {
    fn from(parent: Parent) -> Self {
        match parent {
            Parent::Snapshot(id) => Self::Snapshot(id),
            Parent::Sandbox(id) => Self::Sandbox(id),
        }
    }
}

/// One that is there, and what it descends from. A checkpoint descends from the sandbox it was
/// taken of; a sandbox made from an image from none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which one it is.
    pub member: Member,
    /// Its parent, which may be gone.
    pub parent: Option<Member>,
}

/// Its place in the forest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Which one it is.
    pub member: Member,
    /// The one it stands under, if any.
    pub parent: Option<Member>,
    /// How many stand above it.
    pub depth: u32,
    /// It is there; if not, only its descendants are left.
    pub present: bool,
}

/// Lays the forest out: each one directly before all that descends from it, siblings in the order
/// of `entries`. Ancestors that are gone and have descendants left are in it too, as roots: what
/// they themselves descended from is no longer known.
///
/// Each member is in it exactly once, whatever the entries say. Two entries for one member count
/// as the first of them, and a ring of descent, which nothing makes, is cut open somewhere.
pub fn forest(entries: &[Entry]) -> Vec<Placed> {
    let mut known = BTreeSet::new();
    let entries: Vec<&Entry> = entries
        .iter()
        .filter(|entry| known.insert(&entry.member))
        .collect();
    let mut children: BTreeMap<&Member, Vec<&Member>> = BTreeMap::new();
    let mut roots: Vec<&Member> = Vec::new();
    for Entry { member, parent } in &entries {
        match parent {
            None => roots.push(member),
            Some(parent) => {
                let siblings = children.entry(parent).or_default();
                if siblings.is_empty() && !known.contains(parent) {
                    roots.push(parent);
                }
                siblings.push(member);
            }
        }
    }
    let parents: BTreeMap<&Member, &Member> = entries
        .iter()
        .filter_map(|entry| Some((&entry.member, entry.parent.as_ref()?)))
        .collect();
    let mut placed = Vec::with_capacity(entries.len());
    let mut seen = BTreeSet::new();
    for root in roots {
        place(root, &children, &known, &mut seen, &mut placed);
    }
    for entry in entries {
        if !seen.contains(&entry.member) {
            let root = on_ring(&entry.member, &parents);
            place(root, &children, &known, &mut seen, &mut placed);
        }
    }
    placed
}

/// Places a root and all under it. Not by recursion: a line of descent is as long as its owner
/// likes.
fn place<'a>(
    root: &'a Member,
    children: &BTreeMap<&Member, Vec<&'a Member>>,
    known: &BTreeSet<&Member>,
    seen: &mut BTreeSet<&'a Member>,
    placed: &mut Vec<Placed>,
) {
    let mut waiting: Vec<(&Member, Option<&Member>, u32)> = vec![(root, None, 0)];
    while let Some((member, parent, depth)) = waiting.pop() {
        if !seen.insert(member) {
            continue;
        }
        placed.push(Placed {
            member: member.clone(),
            parent: parent.cloned(),
            depth,
            present: known.contains(member),
        });
        let below = children.get(member).into_iter().flatten().rev();
        waiting.extend(below.map(|child| (*child, Some(member), depth + 1)));
    }
}

/// A member of the ring that one descends from which descends from no root.
fn on_ring<'a>(member: &'a Member, parents: &BTreeMap<&'a Member, &'a Member>) -> &'a Member {
    let (mut above, mut passed) = (member, BTreeSet::new());
    while passed.insert(above) {
        match parents.get(above) {
            Some(parent) => above = parent,
            None => break,
        }
    }
    above
}

/// The part of a forest that one member and its descendants make up, with it as the root; nothing
/// if it is not in it.
pub fn under(forest: &[Placed], root: &Member) -> Vec<Placed> {
    let mut rest = forest
        .iter()
        .skip_while(|placed| placed.member != *root)
        .cloned();
    let Some(mut top) = rest.next() else {
        return Vec::new();
    };
    let above = top.depth;
    let below = rest
        .take_while(|placed| placed.depth > above)
        .map(|placed| Placed {
            depth: placed.depth - above,
            ..placed
        });
    let below: Vec<_> = below.collect();
    (top.parent, top.depth) = (None, 0);
    std::iter::once(top).chain(below).collect()
}
