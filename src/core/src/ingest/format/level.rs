//! The places of all fields as a tree by key, made once so that a line needs one look for each key.

use super::{Field, Places};

/// The keys of an object that mean something.
#[derive(Debug, Clone)]
pub(in crate::ingest) struct Level {
    /// By [`bucket`]: most keys that mean nothing are told apart without comparing texts.
    buckets: [Vec<u16>; BUCKETS],
    nodes: Vec<Node>,
}

const BUCKETS: usize = 128;

/// A key that means something.
#[derive(Debug, Clone)]
pub(in crate::ingest) struct Node {
    pub(in crate::ingest) key: String,
    /// The fields that its value may be.
    pub(in crate::ingest) targets: Vec<Target>,
    /// Keys within its value.
    pub(in crate::ingest) below: Option<Level>,
}

/// A field, and how much this place counts for it: the least counts most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ingest) struct Target {
    pub(in crate::ingest) field: Field,
    pub(in crate::ingest) rank: usize,
}

impl Level {
    pub(super) fn of(places: &Places) -> Self {
        let mut root = Self::default();
        for field in Field::ALL {
            for (rank, place) in places[field as usize].iter().enumerate() {
                let target = Target { field, rank };
                root.node(place).targets.push(target);
                if let Some((outer, inner)) = place.split_once('.') {
                    root.descend(outer, inner, target);
                }
            }
        }
        root
    }

    fn descend(&mut self, outer: &str, inner: &str, target: Target) {
        let below = self.node(outer).below.get_or_insert_default();
        below.node(inner).targets.push(target);
        if let Some((outer, inner)) = inner.split_once('.') {
            below.descend(outer, inner, target);
        }
    }

    fn node(&mut self, key: &str) -> &mut Node {
        let index = self.position(key).unwrap_or_else(|| {
            let index = self.nodes.len();
            // A mapping has few places: each stands in somebody's configuration.
            self.buckets[bucket(key)].push(u16::try_from(index).unwrap_or(u16::MAX));
            self.nodes.push(Node {
                key: key.to_owned(),
                targets: Vec::new(),
                below: None,
            });
            index
        });
        &mut self.nodes[index]
    }

    fn position(&self, key: &str) -> Option<usize> {
        let indices = self.buckets[bucket(key)].iter().map(|index| usize::from(*index));
        indices
            .into_iter()
            .find(|index| self.nodes.get(*index).is_some_and(|node| node.key == key))
    }

    pub(in crate::ingest) fn find(&self, key: &str) -> Option<&Node> {
        self.position(key).map(|index| &self.nodes[index])
    }
}

impl Default for Level {
    fn default() -> Self {
        Self {
            buckets: [const { Vec::new() }; BUCKETS],
            nodes: Vec::new(),
        }
    }
}

/// Keys differ mostly in length and at their ends.
fn bucket(key: &str) -> usize {
    let bytes = key.as_bytes();
    let (first, last) = (bytes.first().copied(), bytes.last().copied());
    let mixed = bytes.len() * 31 + usize::from(first.unwrap_or(0)) + usize::from(last.unwrap_or(0)) * 7;
    mixed % BUCKETS
}
