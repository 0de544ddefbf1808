//! The engine: decides which tasks live, reads the clock, and owns our disk.

pub mod disk;
pub mod journal;
