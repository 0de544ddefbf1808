//! Which maps depend on which: closure and order.
//!
//! Edges come from `depends_on`. Maps in a cycle are one unit: they share a rank, and whoever pauses one pauses
//! all of them.

use crate::MapName;
use std::collections::{BTreeMap, BTreeSet};

/// The graph of maps; an edge goes from a map to each of its parents.
#[derive(Debug, Clone, Default)]
pub struct Dependents {
    parents: BTreeMap<MapName, BTreeSet<MapName>>,
}

impl Dependents {
    /// The graph of maps with their parents. A parent that is no map itself is left out.
    pub fn new<'a>(maps: impl IntoIterator<Item = (&'a MapName, &'a [MapName])>) -> Self {
        let declared: Vec<_> = maps.into_iter().collect();
        let names: BTreeSet<&MapName> = declared.iter().map(|(name, _)| *name).collect();
        let known = |parents: &[MapName]| parents.iter().filter(|p| names.contains(p)).cloned().collect();
        Self { parents: declared.iter().map(|(name, parents)| ((*name).clone(), known(parents))).collect() }
    }

    /// The parents of a map.
    pub fn parents(&self, map: &MapName) -> impl Iterator<Item = &MapName> {
        self.parents.get(map).into_iter().flatten()
    }

    /// Every map that depends on `map`, directly or not; without itself.
    pub fn dependents(&self, map: &MapName) -> BTreeSet<MapName> {
        let mut found = BTreeSet::new();
        let mut open = vec![map.clone()];
        while let Some(next) = open.pop() {
            for (child, parents) in &self.parents {
                if parents.contains(&next) && child != map && found.insert(child.clone()) {
                    open.push(child.clone());
                }
            }
        }
        found
    }

    /// Every map that `map` depends on, directly or not; without itself.
    pub fn ancestors(&self, map: &MapName) -> BTreeSet<MapName> {
        let mut found = BTreeSet::new();
        let mut open = vec![map.clone()];
        while let Some(next) = open.pop() {
            for parent in self.parents(&next) {
                if parent != map && found.insert(parent.clone()) {
                    open.push(parent.clone());
                }
            }
        }
        found
    }

    /// The rank of each map: parents below children; maps in a cycle share one.
    pub fn ranks(&self) -> BTreeMap<MapName, u32> {
        let mut ranks: BTreeMap<MapName, u32> = self.parents.keys().map(|name| (name.clone(), 0)).collect();
        // Longest path by relaxation; bounded by the number of maps, which also ends cycles.
        for _ in 0..self.parents.len() {
            let mut moved = false;
            for (name, parents) in &self.parents {
                let in_cycle = |parent: &MapName| self.dependents(name).contains(parent);
                let above =
                    parents.iter().filter(|p| *p != name && !in_cycle(p)).filter_map(|p| ranks.get(p)).max();
                if let Some(wanted) = above.map(|rank| rank + 1)
                    && ranks.get(name).is_some_and(|rank| *rank < wanted)
                {
                    ranks.insert(name.clone(), wanted);
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        ranks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &[&str])]) -> Dependents {
        let owned: Vec<(MapName, Vec<MapName>)> = edges
            .iter()
            .map(|(name, parents)| ((*name).into(), parents.iter().map(|p| (*p).into()).collect()))
            .collect();
        Dependents::new(owned.iter().map(|(name, parents)| (name, parents.as_slice())))
    }

    #[test]
    fn ancestors_are_found_through_several_levels_and_in_cycles() {
        let graph = graph(&[
            ("lines", &["orders"]),
            ("orders", &["customers", "staff"]),
            ("customers", &["staff"]),
            ("staff", &["customers"]),
        ]);
        let above = |map: &str| -> Vec<String> {
            graph.ancestors(&map.into()).iter().map(ToString::to_string).collect()
        };
        assert_eq!(above("lines"), ["customers", "orders", "staff"]);
        assert_eq!((above("staff"), above("nowhere")), (vec!["customers".to_owned()], vec![]));
    }

    #[test]
    fn dependents_are_found_through_several_levels() {
        let graph =
            graph(&[("lines", &["orders"]), ("orders", &["customers"]), ("customers", &[]), ("items", &[])]);
        let found: Vec<String> =
            graph.dependents(&"customers".into()).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["lines", "orders"]);
        let ranks = graph.ranks();
        assert_eq!(["customers", "orders", "lines", "items"].map(|m| ranks[&m.into()]), [0, 1, 2, 0]);
    }

    #[test]
    fn maps_in_a_cycle_are_one_unit() {
        let graph = graph(&[("a", &["b"]), ("b", &["a"]), ("c", &["b"])]);
        assert!(graph.dependents(&"a".into()).contains(&"b".into()));
        let ranks = graph.ranks();
        assert_eq!(ranks[&"a".into()], ranks[&"b".into()]);
        assert!(ranks[&"c".into()] > ranks[&"a".into()]);
    }
}
