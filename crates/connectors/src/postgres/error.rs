//! What PostgreSQL says went wrong, in the engine's classes: one table from SQLSTATE to class, one place that
//! words a fault.
//!
//! A message may reach a log or a screen, so no value of a record may be in it. PostgreSQL puts values into
//! DETAIL, which is left out, and into the messages of class 22 between double quotes, which are blanked.

use pgwire_replication::PgWireError;
use tandem_core::{Fault, FaultClass};
use tokio_postgres::error::DbError;

/// The class of a SQLSTATE.
pub(super) fn class_of(code: &str) -> FaultClass {
    match code {
        "40001" | "40P01" | "55P03" | "55006" | "57014" => FaultClass::Conflict,
        "23503" | "23001" => FaultClass::Reference,
        "42501" => FaultClass::Permission,
        "42601" => FaultClass::Internal,
        "3D000" | "55000" | "57P04" | "0A000" => FaultClass::Setup,
        "3F000" => FaultClass::Schema,
        // A standby, or a primary that is being moved: writing is possible again later or elsewhere.
        "25006" => FaultClass::Unavailable,
        "25P03" => FaultClass::Connection,
        _ => match code.get(..2) {
            Some("08") => FaultClass::Connection,
            Some("28") => FaultClass::Auth,
            Some("42") => FaultClass::Schema,
            Some("53" | "57" | "58") => FaultClass::Unavailable,
            Some("25" | "26" | "34" | "F0" | "XX") => FaultClass::Internal,
            // Classes 21, 22, 23, 44, 54, P0 and those that an app's own triggers invent.
            _ => FaultClass::Application,
        },
    }
}

/// What a person can do, where the code alone says it.
fn fix_of(code: &str) -> Option<&'static str> {
    Some(match code {
        "28P01" | "28000" => "check the user and the password in the app's url, and pg_hba.conf",
        "3D000" => "check the database name in the app's url",
        "53300" => "raise max_connections, or end connections that are not used",
        "53400" => "raise max_replication_slots and max_wal_senders, and restart PostgreSQL",
        "53100" => "free disk space on the PostgreSQL server",
        "42P10" => "make the integration key unique: CREATE UNIQUE INDEX ON <table> (<key columns>)",
        "25006" => "point the app's url to the primary server",
        _ => return None,
    })
}

/// A fault from an error of the SQL driver.
pub(super) fn fault(operation: &str, error: &tokio_postgres::Error) -> Fault {
    match error.as_db_error() {
        Some(error) => of_server(operation, error),
        None => {
            // The driver's own text names no values: it says that the socket broke, or what it could not encode.
            let mut message = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(inner) = source {
                message = format!("{message}: {inner}");
                source = inner.source();
            }
            Fault::new(FaultClass::Connection, operation, message)
        }
    }
}

fn of_server(operation: &str, error: &DbError) -> Fault {
    let code = error.code().code();
    let message =
        if code.starts_with("22") { blank_quoted(error.message()) } else { error.message().to_owned() };
    let mut fault = Fault::new(class_of(code), operation, message).code(code);
    if let Some(table) = error.table() {
        fault = fault.table(match error.schema() {
            Some(schema) => format!("{schema}.{table}"),
            None => table.to_owned(),
        });
    }
    match fix_of(code) {
        Some(fix) => fault.fix(fix),
        None => fault,
    }
}

/// A fault from an error of the replication transport.
pub(super) fn replication_fault(operation: &str, error: &PgWireError) -> Fault {
    match error {
        PgWireError::Io(error) => Fault::new(FaultClass::Connection, operation, error.to_string()),
        PgWireError::Server(text) => {
            let (message, code) = split_code(text);
            let class = code.map_or(FaultClass::Internal, class_of);
            let mut fault = Fault::new(class, operation, message);
            if let Some(code) = code {
                fault = fault.code(code);
                if let Some(fix) = fix_of(code) {
                    fault = fault.fix(fix);
                }
            }
            fault
        }
        PgWireError::Auth(text) => Fault::new(FaultClass::Auth, operation, text.clone())
            .fix("check the user and the password in the app's url, and pg_hba.conf"),
        PgWireError::Tls(text) => tls_fault(operation, text),
        PgWireError::MessageTooLarge { payload_bytes, limit_bytes } => Fault::new(
            FaultClass::Setup,
            operation,
            format!("one row has {payload_bytes} bytes, more than the {limit_bytes} that are accepted"),
        ),
        PgWireError::Protocol(text) => Fault::new(FaultClass::Internal, operation, text.clone()),
        // The transport ended and its reason went with a future that the caller had dropped: opening again
        // finds it out.
        _ => Fault::new(FaultClass::Connection, operation, "the replication connection ended"),
    }
}

/// A fault of the TLS layer: a broken socket is transient, a certificate is not.
pub(super) fn tls_fault(operation: &str, text: &str) -> Fault {
    let broken = ["unexpected end of file", "eof", "reset", "closed", "broken pipe"];
    let lower = text.to_lowercase();
    if broken.iter().any(|sign| lower.contains(sign)) {
        return Fault::new(FaultClass::Connection, operation, text);
    }
    Fault::new(FaultClass::Setup, operation, text)
        .fix("check sslmode and sslrootcert in the app's url, and the server's certificate")
}

/// Splits the transport's `message (SQLSTATE code)`.
fn split_code(text: &str) -> (&str, Option<&str>) {
    let split = text.strip_suffix(')').and_then(|text| text.rsplit_once(" (SQLSTATE "));
    split.map_or((text, None), |(message, code)| (message, Some(code)))
}

/// Blanks what stands in double quotes: in class 22 that is the value.
fn blank_quoted(message: &str) -> String {
    let mut quoted = false;
    let mut out = String::with_capacity(message.len());
    for piece in message.split('"') {
        out.push_str(if quoted { "\"…\"" } else { piece });
        quoted = !quoted;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_never_an_error_of_a_record() {
        for code in ["08006", "57P01", "57P03", "53300", "53100", "40001", "40P01", "55P03", "57014", "25006"]
        {
            assert!(class_of(code).is_transient(), "{code}");
        }
        for code in ["23505", "22P02", "22001", "P0001", "ABC12", "54000", ""] {
            assert_eq!(class_of(code), FaultClass::Application, "{code}");
        }
        for code in ["42P01", "42703", "42804", "42P10"] {
            assert_eq!(class_of(code), FaultClass::Schema, "{code}");
        }
    }

    #[test]
    fn values_in_messages_of_class_22_are_blanked() {
        let message = "invalid input syntax for type integer: \"secret \"x\"";
        assert!(!blank_quoted(message).contains("secret"));
        assert_eq!(
            blank_quoted("value \"9\" is out of range for type smallint"),
            "value \"…\" is out of range for type smallint"
        );
    }

    #[test]
    fn the_code_is_found_in_the_transports_text() {
        assert_eq!(split_code("no slot (SQLSTATE 42704)"), ("no slot", Some("42704")));
        assert_eq!(split_code("no slot"), ("no slot", None));
    }
}
