//! A target that remembers what it is told.

use std::sync::{Arc, Mutex};
use tandem_core::Fault;
use tandem_core::connect::BoxFuture;
use tandem_core::rules::Notice;
use tandem_engine::Tell;

/// What people were told.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().expect("one thread").clone()
    }
}

impl Tell for Told {
    fn targets(&self) -> Vec<Arc<str>> {
        vec!["ops".into()]
    }

    fn tell<'a>(&'a self, _: &'a str, _: &'a str, notice: &'a Notice) -> BoxFuture<'a, Result<(), Fault>> {
        let said = format!("{}: {}", notice.subject(), notice.lines().join("; "));
        self.0.lock().expect("one thread").push(said);
        Box::pin(std::future::ready(Ok(())))
    }
}
