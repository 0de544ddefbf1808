//! Trying a map on a row that somebody thought of: what it would be at the destination. Nothing is written, and no
//! queue is looked at.
//!
//! A map that runs knows its flows, and is tried as it was resolved, with its apps out of reach if need be. One that
//! does not run is resolved for the occasion, which asks both apps for their tables.

use super::lookups::{self, Found};
use super::{Engine, check_maps};
use crate::request::Rejected;
use std::collections::HashMap;
use std::sync::Arc;
use tandem_core::map::{FlowSpec, Projected, Projection, Refusal, TableMap, given};
use tandem_core::{Cell, Change, MapName, Op, Relation, RelationColumn, Row, Seq, Severity, Value};

impl Engine {
    /// What a map makes of a new row of its source: of the left side with `to_right`, else of the right one; of the
    /// only source that it has if that is not said. The row names its columns; one that it leaves out is missing. Its
    /// values become what the source's columns would have: in a column of floats `0.5` is a float. What the destination
    /// would look up is asked of it, as far as it answers.
    pub async fn try_row(
        &self,
        map: &MapName,
        to_right: Option<bool>,
        row: Vec<(String, Value)>,
    ) -> Result<(Result<Projected, Refusal>, Vec<Found>), Rejected> {
        let snapshot = self.snapshot();
        let declared = snapshot.maps.iter().find(|view| view.map.name == *map);
        let declared = &declared.ok_or_else(|| Rejected::UnknownMap(map.clone()))?.map;
        let to_right = way(declared, to_right)?;
        let running = self.locate(map).await.unwrap_or_default();
        let known = running.into_iter().map(|at| at.spec).filter(|spec| is_of(spec, declared, to_right));
        // Between tables of the same name both ways look the same, and then they are in this order.
        let both = declared.flows().len() > 1;
        let mut known: Vec<FlowSpec> = known.collect();
        let spec = match known.len() {
            0 => self.resolved(declared, to_right).await?,
            n => known.swap_remove(if both && n > 1 && !to_right { 1 } else { 0 }),
        };
        let types: HashMap<&str, &str> =
            spec.shape.source.iter().map(|(column, type_name)| (&**column, &**type_name)).collect();
        let typed = |(name, value): (String, Value)| {
            let value = types.get(&*name).map_or(value.clone(), |type_name| given(value, type_name));
            (name, value)
        };
        let row: Vec<(String, Value)> = row.into_iter().map(typed).collect();
        let column = |name: &str| RelationColumn { name: name.into(), type_name: "".into(), identity: true };
        let columns = row.iter().map(|(name, _)| column(name)).collect();
        let relation = Arc::new(Relation { table: spec.source.clone(), columns });
        let new = Row(row.into_iter().map(|(_, value)| Cell::Set(value)).collect());
        let change = Change { relation, op: Op::Insert { new } };
        let made = Projection::once(&spec, &change, Seq::ZERO, Seq::ZERO);
        let destination = if to_right { &declared.right.app } else { &declared.left.app };
        let found = match &made {
            Ok(Projected::Write(write)) => lookups::found(self, destination, write).await,
            Ok(Projected::Filtered) | Err(_) => Vec::new(),
        };
        Ok((made, found))
    }

    /// A flow of a map that does not run.
    async fn resolved(&self, map: &TableMap, to_right: bool) -> Result<FlowSpec, Rejected> {
        let snapshot = self.snapshot();
        let all: Vec<TableMap> = snapshot.maps.iter().map(|view| view.map.clone()).collect();
        let mut checked = check_maps(&self.apps, &all, std::slice::from_ref(map)).await;
        if let Some((_, fault)) = checked.faults.pop_first() {
            return Err(Rejected::App(fault));
        }
        let flows = checked.flows.remove(&map.name).unwrap_or_default();
        let source = if to_right { &map.left.app } else { &map.right.app };
        let found = flows.into_iter().find(|(stream, _)| stream.source == *source);
        checked.findings.retain(|finding| finding.severity == Severity::Error);
        found.map(|(_, spec)| spec).ok_or(Rejected::Check(checked.findings))
    }
}

/// Which way a row goes.
fn way(map: &TableMap, asked: Option<bool>) -> Result<bool, Rejected> {
    let ways: Vec<bool> = [true, false].into_iter().filter(|way| map.direction.goes(*way)).collect();
    let side = |to_right: bool| if to_right { "right" } else { "left" };
    match (ways.as_slice(), asked) {
        ([only], None) => Ok(*only),
        (ways, Some(asked)) if ways.contains(&asked) => Ok(asked),
        (_, None) => Err(Rejected::Senseless(format!(
            "map {} goes both ways: say where the row goes to, left or right",
            map.name
        ))),
        (_, Some(asked)) => Err(Rejected::Senseless(format!(
            "map {} does not go to the {}: its direction is the other one",
            map.name,
            side(asked)
        ))),
    }
}

fn is_of(spec: &FlowSpec, map: &TableMap, to_right: bool) -> bool {
    let (source, destination) = if to_right { (&map.left, &map.right) } else { (&map.right, &map.left) };
    spec.source_key == source.key
        && spec.source.name == source.table.name
        && spec.destination.name == destination.table.name
}
