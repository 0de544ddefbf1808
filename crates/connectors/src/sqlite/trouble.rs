//! What SQLite's result codes mean to us.

use rusqlite::{Error, ErrorCode};
use tandem_core::{Fault, FaultClass};

pub(super) fn fault(class: FaultClass, operation: &str, message: &str) -> Fault {
    Fault::new(class, operation, message)
}

/// Classes an error, for use in `map_err`.
pub(super) fn during(operation: &'static str) -> impl Fn(Error) -> Fault {
    move |error| classify(operation, &error)
}

/// Whether the error is one that leaves open whether a COMMIT took effect.
pub(super) fn is_unsure(fault: &Fault) -> bool {
    matches!(fault.class, FaultClass::Unavailable | FaultClass::Connection | FaultClass::Internal)
}

fn classify(operation: &str, error: &Error) -> Fault {
    // SQLite's messages name tables and columns, never what is in them.
    let (failure, message) = match error {
        Error::SqliteFailure(failure, Some(message)) => (failure, message.clone()),
        Error::SqliteFailure(failure, None) => (failure, failure.to_string()),
        Error::SqlInputError { error: failure, msg, .. } => (failure, msg.clone()),
        other => return fault(FaultClass::Internal, operation, &other.to_string()),
    };
    let class = match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SchemaChanged => {
            FaultClass::Conflict
        }
        ErrorCode::ConstraintViolation
            if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY =>
        {
            FaultClass::Reference
        }
        ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig => {
            FaultClass::Application
        }
        ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::AuthorizationForStatementDenied => {
            FaultClass::Permission
        }
        ErrorCode::CannotOpen => FaultClass::Connection,
        ErrorCode::DiskFull
        | ErrorCode::OutOfMemory
        | ErrorCode::SystemIoFailure
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::OperationInterrupted
        | ErrorCode::OperationAborted => FaultClass::Unavailable,
        ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt => FaultClass::Setup,
        // A table, column or function that is not there, also in a trigger of the app: its functions live in the
        // app's connections, and not in ours.
        ErrorCode::Unknown => FaultClass::Schema,
        _ => FaultClass::Internal,
    };
    let fault = fault(class, operation, &message).code(failure.extended_code.to_string());
    match failure.code {
        ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen => fault.fix(
            "let the user that runs tandem write to the database, to what stands beside it (-wal, -shm) and to its folder",
        ),
        _ => fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn a_file_that_may_not_be_written_comes_with_what_to_look_at() {
        let fault = |code| during("open database")(Error::SqliteFailure(ffi::Error::new(code), None));
        for code in
            [ffi::SQLITE_READONLY, ffi::SQLITE_READONLY_DIRECTORY, ffi::SQLITE_CANTOPEN, ffi::SQLITE_PERM]
        {
            assert!(fault(code).fix.is_some_and(|fix| fix.contains("-wal")), "{code}");
        }
        assert!(fault(ffi::SQLITE_BUSY).fix.is_none());
    }
}
