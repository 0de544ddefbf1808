//! Maps that write the same table: what holds for each of them alone does not hold for all.

use tandem_core::map::{OnLeave, Side, TableMap};
use tandem_core::{Dependents, Finding, MapName};

/// The other maps that write the destination of a flow, each with where that comes from. Not those that bring the same
/// records: of one table, without a filter here or there.
fn others<'a>(
    all: impl Iterator<Item = &'a TableMap>,
    map: &MapName,
    (source, destination): (&Side, &Side),
) -> Vec<(&'a TableMap, &'a Side)> {
    let writer = |other: &'a TableMap| {
        let (from, _) = other.flows().into_iter().find(|(_, to)| is_same(to, destination))?;
        let brings_the_same = is_same(from, source) && from.filter.is_none() && source.filter.is_none();
        (other.name != *map && !brings_the_same).then_some((other, from))
    };
    all.filter_map(writer).collect()
}

fn is_same(one: &Side, other: &Side) -> bool {
    one.app == other.app && one.table.is_same(&other.table)
}

/// A map whose records at the destination cannot be told from those of `map`: no filter there says whose they are.
pub(super) fn rival<'a>(
    all: impl Iterator<Item = &'a TableMap>,
    map: &TableMap,
    (source, destination): (&Side, &Side),
) -> Option<MapName> {
    if destination.filter.is_some() {
        return None;
    }
    others(all, &map.name, (source, destination)).first().map(|(other, _)| other.name.clone())
}

/// What is to be known where other maps write the destination of a flow, too.
pub(super) fn findings(
    all: &[TableMap],
    map: &TableMap,
    (source, destination): (&Side, &Side),
) -> Vec<Finding> {
    let graph = Dependents::new(all.iter().map(|map| (&map.name, map.depends_on.as_slice())));
    let are_one = |other: &TableMap| {
        graph.ancestors(&map.name).contains(&other.name) && graph.ancestors(&other.name).contains(&map.name)
    };
    let place = format!("map {}: {} {}", map.name, destination.app, destination.table);
    let list =
        |maps: &[&TableMap]| maps.iter().map(|map| map.name.to_string()).collect::<Vec<_>>().join(", ");
    let others = others(all.iter(), &map.name, (source, destination));
    let mut findings = Vec::new();
    let deletes = |other: &TableMap| [map.on_leave, other.on_leave].contains(&OnLeave::Delete);
    let apart =
        others.iter().filter(|(other, from)| is_same(from, source) && deletes(other) && !are_one(other));
    let apart: Vec<&TableMap> = apart.map(|(other, _)| *other).collect();
    if !apart.is_empty() {
        let message = format!(
            "records pass between this map and {}, which write the same table: one that passes while not all of them are \
             paused, is deleted at the destination once the others are resumed",
            list(&apart)
        );
        let mut parents: Vec<String> = map.depends_on.iter().map(|name| format!("\"{name}\"")).collect();
        parents.extend(apart.iter().map(|other| format!("\"{}\"", other.name)));
        let fix = format!(
            "let each depend on the others, so that they are paused and resumed as one: depends_on = [{}]",
            parents.join(", ")
        );
        findings.push(Finding::warning("destination_shared", &place, message).fix(fix));
    }
    if destination.filter.is_none() && !others.is_empty() {
        let others: Vec<&TableMap> = others.iter().map(|(other, _)| *other).collect();
        let message = format!(
            "{} write the same table: a comparison of this map takes their records for ones that are too many, and it \
             cannot be repaired",
            list(&others)
        );
        let fix = "give this side a filter that says which of its records are the map's";
        findings.push(Finding::warning("destination_shared", &place, message).fix(fix));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_core::TableName;
    use tandem_core::map::{Columns, Deletes, Direction, Expression};

    fn side(app: &str, table: &str, filter: Option<&str>) -> Side {
        let filter = filter.map(|filter| Expression::parse(filter).unwrap());
        Side { app: app.into(), table: TableName::parse(table).unwrap(), key: vec!["id".into()], filter }
    }

    fn map(name: &str, left: Side, right: Side) -> TableMap {
        TableMap {
            name: name.into(),
            direction: Direction::ToRight,
            left,
            right,
            columns: Columns::SameNames,
            depends_on: Vec::new(),
            deletes: Deletes::Queue,
            conflict: Default::default(),
            side_effects: Default::default(),
            on_leave: OnLeave::Keep,
            initial_sync: Default::default(),
        }
    }

    /// A map of the records of `erp.t` that the filter lets through, in `crm.t`.
    fn part(name: &str, filter: &str, depends_on: &[&str], right: Option<&str>) -> TableMap {
        TableMap {
            on_leave: OnLeave::Delete,
            depends_on: depends_on.iter().map(|name| (*name).into()).collect(),
            ..map(name, side("erp", "t", Some(filter)), side("crm", "public.t", right))
        }
    }

    fn fixes(maps: &[TableMap]) -> Vec<String> {
        let found = maps.iter().flat_map(|map| findings(maps, map, (&map.left, &map.right)));
        found.map(|finding| finding.fix.unwrap_or_default()).collect()
    }

    #[test]
    fn maps_that_split_a_table_are_paused_as_one_and_know_their_own_records() {
        let apart = [part("a", "k == 1", &[], None), part("b", "k == 2", &["p"], None)];
        let told = fixes(&apart);
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(
            told[0].ends_with("depends_on = [\"b\"]") && told[2].ends_with("depends_on = [\"p\", \"a\"]")
        );
        assert!(told[1].contains("a filter") && told[3].contains("a filter"));
        let [a, _] = &apart;
        assert_eq!(rival(apart.iter(), a, (&a.left, &a.right)), Some("b".into()));

        let one = [part("a", "k == 1", &["b"], Some("k == 1")), part("b", "k == 2", &["a"], Some("k == 2"))];
        assert_eq!(fixes(&one), [""; 0]);
        let [a, _] = &one;
        assert_eq!(rival(one.iter(), a, (&a.left, &a.right)), None);
    }

    #[test]
    fn maps_that_bring_the_same_records_are_no_rivals() {
        let whole = |name: &str| map(name, side("erp", "t", None), side("crm", "t", None));
        let maps = [whole("names"), whole("prices")];
        assert_eq!(fixes(&maps), [""; 0]);
    }
}
