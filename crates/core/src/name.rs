//! Names that people give: apps, maps, tables, streams.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }
        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name! {
    /// One configured system, as the config names it.
    AppName
}
name! {
    /// One table map, as the config names it.
    MapName
}

/// A table as its database names it: exact case, no quotes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    /// The schema, if the database has schemas.
    pub schema: Option<Arc<str>>,
    /// The table.
    pub name: Arc<str>,
}

/// Text that is no table name: what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no table name: {why}")]
pub struct BadTableName {
    text: String,
    why: &'static str,
}

impl TableName {
    /// Reads `table` or `schema.table`. A part may stand in double quotes, doubled inside; case is kept as
    /// written in either form, so `app."Order"` and `app.Order` are the same table.
    pub fn parse(text: &str) -> Result<Self, BadTableName> {
        let bad = |why| BadTableName { text: text.to_owned(), why };
        let mut parts: Vec<String> = Vec::new();
        let mut chars = text.chars().peekable();
        loop {
            let mut part = String::new();
            if chars.next_if_eq(&'"').is_some() {
                loop {
                    match chars.next() {
                        Some('"') if chars.next_if_eq(&'"').is_some() => part.push('"'),
                        Some('"') => break,
                        Some(other) => part.push(other),
                        None => return Err(bad("a double quote is not closed")),
                    }
                }
            } else {
                while let Some(other) = chars.next_if(|c| *c != '.') {
                    if other == '"' {
                        return Err(bad("a double quote stands inside a name"));
                    }
                    part.push(other);
                }
            }
            if part.is_empty() {
                return Err(bad("a part of it is empty"));
            }
            parts.push(part);
            match chars.next() {
                None => break,
                Some('.') => {}
                Some(_) => return Err(bad("something stands behind a closing quote")),
            }
        }
        let mut parts = parts.into_iter();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(name), None, _) => Ok(Self { schema: None, name: name.into() }),
            (Some(schema), Some(name), None) => Ok(Self { schema: Some(schema.into()), name: name.into() }),
            _ => Err(bad("it has more than two parts")),
        }
    }

    /// Whether both name one table of an app: `public.t` and `t` do for PostgreSQL, `main.t` and `t` for SQLite.
    pub fn is_same(&self, other: &Self) -> bool {
        let schema =
            |table: &'_ Self| table.schema.clone().filter(|schema| !matches!(&**schema, "public" | "main"));
        self.name == other.name && schema(self) == schema(other)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |f: &mut fmt::Formatter<'_>, part: &str| {
            if part.contains(['.', '"']) {
                write!(f, "\"{}\"", part.replace('"', "\"\""))
            } else {
                f.write_str(part)
            }
        };
        if let Some(schema) = &self.schema {
            part(f, schema)?;
            f.write_str(".")?;
        }
        part(f, &self.name)
    }
}

/// One direction between two apps: all flows that share a source and a destination.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamName {
    /// Where changes are captured.
    pub source: AppName,
    /// Where they are applied.
    pub destination: AppName,
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}→{}", self.source, self.destination)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(Option<&str>, &str), ()>) {
        let parsed = TableName::parse(text);
        let seen = parsed.as_ref().map(|t| (t.schema.as_deref(), &*t.name)).map_err(|_| ());
        assert_eq!(seen, expected, "{text}");
        if let Ok(table) = &parsed {
            assert_eq!(
                TableName::parse(&table.to_string()).as_ref(),
                Ok(table),
                "shown and read again: {text}"
            );
        }
    }

    #[test]
    fn table_names_are_read_with_and_without_schema_and_quotes() {
        check("customers", Ok((None, "customers")));
        check("public.customers", Ok((Some("public"), "customers")));
        check("app.\"Order\"", Ok((Some("app"), "Order")));
        check("\"a.b\".\"c\"\"d\"", Ok((Some("a.b"), "c\"d")));
        check("\"tab'le\"", Ok((None, "tab'le")));
        for bad in ["", ".", "a.", ".a", "a.b.c", "\"a", "\"a\"b", "a\"b", "\"\""] {
            check(bad, Err(()));
        }
    }
}
