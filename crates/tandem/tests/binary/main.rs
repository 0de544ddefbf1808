//! The whole binary, as people and scripts use it: exit codes, bad input, and a change that is carried from one
//! real database to another while one of them is taken away.

#![allow(clippy::unwrap_used, reason = "tests")]

mod access;
mod agreed;
mod bad_input;
mod both;
mod both_histories;
mod bundle;
mod bypass;
mod canary;
mod charts;
mod copying;
mod crowded;
mod data_folder;
mod document;
mod errors;
mod events;
mod findings;
mod force;
mod gaps;
mod histories;
mod house;
mod http;
mod inspect;
mod lookup;
mod losing;
mod maintenance;
mod mapping;
mod metrics;
mod nearly_all;
mod once;
mod pace;
mod packaged;
mod pages;
mod postgres;
mod reload;
mod rights;
mod rules;
mod schema;
mod schema_sqlite;
mod seeds;
mod sessions;
mod slow;
mod stalled;
mod story;
mod terminal;
mod tls;
mod top;
mod twins;
mod usage;
mod verify;
mod waiting;
mod whole_schema;
mod windows;
