//! The only code that knows a driver or a wire format: one folder per kind of app.

#[cfg(feature = "postgres")]
pub mod postgres;
