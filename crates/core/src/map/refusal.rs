//! Why a change cannot be written.

use super::expression::EvaluationError;
use super::transform::StepError;
use std::sync::Arc;

/// Why a change cannot be written. It is set aside with this as its error, which names columns and never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The relation lacks a mapped column.
    #[error(
        "the record has no column {0}: it was written before the column was added, or under another name"
    )]
    MissingColumn(Arc<str>),
    /// The log does not name the key.
    #[error(
        "the log does not say which record this is: the replica identity does not cover the integration key"
    )]
    MissingKey,
    /// The key has a null.
    #[error("a part of the integration key is null, and null equals nothing")]
    NullKey,
    /// A new record that the log does not name whole.
    #[error("the log does not name all values of a new record")]
    Incomplete,
    /// All records of the table went at once.
    #[error("the source's table was truncated; the destination's records are as they were")]
    Truncated,
    /// A value that a step cannot take.
    #[error("column {column} cannot be made: {step} cannot take the value: {why}")]
    Value {
        /// The destination's column.
        column: Arc<str>,
        /// The step.
        step: &'static str,
        /// Why not.
        why: StepError,
    },
    /// An expression that has no value for this record.
    #[error("column {column} cannot be made: {why}")]
    Expression {
        /// The destination's column.
        column: Arc<str>,
        /// Why not.
        why: EvaluationError,
    },
    /// The filter has no answer for this record.
    #[error("the filter cannot say whether the record belongs to the map: {0}")]
    Filter(EvaluationError),
    /// The log does not name a column that an expression or the filter reads.
    #[error("the log does not name column {0}, which the map's filter or an expression of it reads")]
    UnnamedColumn(Arc<str>),
}

impl Refusal {
    /// Its stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::MissingColumn(_) => "column_missing",
            Refusal::MissingKey => "key_missing",
            Refusal::NullKey => "key_null",
            Refusal::Incomplete => "record_incomplete",
            Refusal::Truncated => "truncated",
            Refusal::Value { why, .. } => why.code(),
            Refusal::Expression { .. } => "expression_failed",
            Refusal::Filter(_) => "filter_failed",
            Refusal::UnnamedColumn(_) => "column_unnamed",
        }
    }

    /// What a person can do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            Refusal::MissingColumn(_) => {
                "give the column a default, or try the record again with its current row"
            }
            Refusal::MissingKey => {
                "ALTER TABLE … REPLICA IDENTITY FULL; 'tandem check' has the exact statement"
            }
            Refusal::NullKey => "give the record a key in the source",
            Refusal::Incomplete => "try the record again with its current row",
            Refusal::Truncated => {
                "compare with 'tandem map verify --repair' and the side of the source, or copy the table anew; or \
                 delete this error to leave them"
            }
            Refusal::Value { why, .. } => why.fix(),
            Refusal::Expression { .. } => {
                "correct the expression, or the record; 'tandem map try' shows what it makes"
            }
            Refusal::Filter(_) => {
                "correct the filter, or the record; 'tandem map try' shows what it makes of a record"
            }
            Refusal::UnnamedColumn(_) => {
                "ALTER TABLE … REPLICA IDENTITY FULL; 'tandem check' has the exact statement"
            }
        }
    }
}
