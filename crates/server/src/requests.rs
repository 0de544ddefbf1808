//! How many requests were answered, by route and by what the answer was.
//!
//! A route is counted by its template and never by its path: names and numbers in a path are anybody's to make up, and each
//! would be a figure that is kept for ever. Whatever has no route (the console's files, what there is not) is one.

use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What is counted as one, whatever was asked for.
const NO_ROUTE: &str = "other";

/// See the module. Clones are handles to the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Requests(Arc<Mutex<BTreeMap<String, BTreeMap<StatusCode, u64>>>>);

impl Requests {
    fn note(&self, route: &str, code: StatusCode) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A name is copied once, not with each request.
        if !counts.contains_key(route) {
            counts.insert(route.to_owned(), BTreeMap::new());
        }
        if let Some(codes) = counts.get_mut(route) {
            *codes.entry(code).or_default() += 1;
        }
    }

    /// Route, code, and how often.
    pub(crate) fn counts(&self) -> Vec<(String, StatusCode, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |(route, codes): (&String, &BTreeMap<StatusCode, u64>)| {
            codes.iter().map(|(code, times)| (route.clone(), *code, *times)).collect::<Vec<_>>()
        };
        counts.iter().flat_map(of).collect()
    }
}

/// Stands before everything else: what is refused on the way is counted, too.
pub(crate) async fn counted(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let answer = next.run(request).await;
    requests.note(route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str), answer.status());
    answer
}
