//! The numbers that relations have in a segment, and where their changes go.

use super::FlowSpec;
use super::index::{Route, routes};
use std::collections::HashMap;
use std::sync::Arc;
use tandem_core::Relation;

/// So many relations are remembered by where they lie in memory, beside by what they are.
const KNOWN_PLACES: usize = 4096;

/// The numbers of relations in this segment.
#[derive(Debug, Default)]
pub(super) struct RelationBook {
    by_place: HashMap<usize, (Arc<Relation>, u32)>,
    by_value: HashMap<Arc<Relation>, u32>,
    pub(super) routes: Vec<Vec<Route>>,
    /// How many of them stand before the transaction that is open.
    pub(super) settled: usize,
}

impl RelationBook {
    /// The book of a segment that was begun before. Where changes go is to be found out by [`route_again`].
    ///
    /// [`route_again`]: Self::route_again
    pub(super) fn recovered(relations: Vec<(u32, Arc<Relation>)>) -> Self {
        let mut book = Self::default();
        for (id, relation) in relations {
            book.by_value.insert(relation, id);
            let len = book.routes.len().max(id as usize + 1);
            book.routes.resize_with(len, Vec::new);
        }
        book
    }

    /// Forgets the relations from a number on: their frames are no more.
    pub(super) fn forget_from(&mut self, number: usize) {
        self.routes.truncate(number);
        self.by_value.retain(|_, id| (*id as usize) < number);
        self.by_place.retain(|_, (_, id)| (*id as usize) < number);
    }

    pub(super) fn find(&mut self, relation: &Arc<Relation>) -> Option<u32> {
        let place = Arc::as_ptr(relation) as usize;
        if let Some((_, id)) = self.by_place.get(&place) {
            return Some(*id);
        }
        let id = *self.by_value.get(relation)?;
        self.remember(relation, id);
        Some(id)
    }

    fn remember(&mut self, relation: &Arc<Relation>, id: u32) {
        if self.by_place.len() >= KNOWN_PLACES {
            self.by_place.clear();
        }
        // The entry keeps the relation alive, so that its place in memory names nothing else.
        self.by_place.insert(Arc::as_ptr(relation) as usize, (Arc::clone(relation), id));
    }

    pub(super) fn add(&mut self, relation: &Arc<Relation>, flows: &[Arc<FlowSpec>]) -> u32 {
        let id = self.routes.len() as u32;
        self.routes.push(routes(flows, relation));
        self.by_value.insert(Arc::clone(relation), id);
        self.remember(relation, id);
        id
    }

    pub(super) fn route_again(&mut self, flows: &[Arc<FlowSpec>]) {
        for (relation, id) in &self.by_value {
            if let Some(place) = self.routes.get_mut(*id as usize) {
                *place = routes(flows, relation);
            }
        }
    }
}
