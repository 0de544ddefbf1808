//! Names: what the slot is called, and how any name becomes a part of SQL text.

use tandem_core::{AppName, TableName};

/// PostgreSQL's limit for the name of anything.
const NAME_BYTES_MAX: usize = 63;

/// The name of an app's slot and publication: `tandem_<app>`. Slots take lower case letters, digits and `_`
/// only, so an app whose name has anything else gets a hash behind it: two apps never share a slot by accident.
pub(super) fn slot_name(app: &AppName) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let name = app.as_str();
    let tidy: String =
        name.chars().map(|c| c.to_ascii_lowercase()).map(|c| if plain(c) { c } else { '_' }).collect();
    if tidy == name && "tandem_".len() + tidy.len() <= NAME_BYTES_MAX {
        return format!("tandem_{tidy}");
    }
    let short: String = tidy.chars().take(NAME_BYTES_MAX - "tandem__".len() - 8).collect();
    format!("tandem_{short}_{:08x}", hash(name) & 0xffff_ffff)
}

/// The key of the advisory lock that stands for a slot.
pub(super) fn lock_key(slot: &str) -> i64 {
    i64::from_ne_bytes(hash(&format!("tandem slot {slot}")).to_ne_bytes())
}

/// FNV-1a: small, and the same for ever, since slots, locks and guards are found by it.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A name as an identifier in SQL text. The only way in which a name gets there.
pub(super) fn quoted(name: &str) -> String {
    // A zero byte cannot be in a name, and would end the statement.
    format!("\"{}\"", name.replace('\0', "").replace('"', "\"\""))
}

/// A text as a literal in SQL text, for statements that take no parameters.
pub(super) fn literal(text: &str) -> String {
    let text = text.replace('\0', "").replace('\'', "''");
    if text.contains('\\') { format!(" E'{}'", text.replace('\\', "\\\\")) } else { format!("'{text}'") }
}

/// A table as SQL text. Without a schema it is looked up in `public`, whatever the role's search path is.
pub(super) fn quoted_table(table: &TableName) -> String {
    format!("{}.{}", quoted(schema_of(table)), quoted(&table.name))
}

/// A table as faults name it: always with its schema, as the server does.
pub(super) fn shown(table: &TableName) -> String {
    TableName { schema: Some(schema_of(table).into()), name: table.name.clone() }.to_string()
}

/// The schema of a table.
pub(super) fn schema_of(table: &TableName) -> &str {
    table.schema.as_deref().unwrap_or("public")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(app: &str) -> String {
        slot_name(&AppName::from(app))
    }

    #[test]
    fn every_app_has_a_slot_name_that_postgresql_takes_and_no_other_app_has() {
        assert_eq!(slot("erp"), "tandem_erp");
        let odd = ["ERP", "e-rp", "e_rp", "é", "", &"x".repeat(100), &"x".repeat(101)];
        let names: Vec<_> = odd.iter().map(|app| slot(app)).collect();
        for (i, name) in names.iter().enumerate() {
            assert!(name.len() <= 63, "{name}");
            assert!(name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_')), "{name}");
            assert!(!names.iter().skip(i + 1).any(|other| other == name), "{name}");
        }
    }

    #[test]
    fn names_and_literals_cannot_leave_their_quotes() {
        assert_eq!(quoted("tab\"le"), "\"tab\"\"le\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), " E'a\\\\''b'");
        assert_eq!(quoted_table(&TableName::parse("Order").unwrap()), "\"public\".\"Order\"");
    }
}
