//! The typed client of the API: what the command line is written on. It knows where a server is and how to ask;
//! it retries nothing and prints nothing.
//!
//! A token crosses a network over TLS only, to a server whose certificate is right, and goes nowhere else: a server that
//! sends us on is not followed.

mod secure;

pub use secure::Insecure;

use crate::PAGE_MAX;
use crate::fence::is_loopback;
use crate::wire::{
    Accepted, ActionRequest, Activity, App, CancelRequest, Conflict, ErrorCause, ErrorsRequest, ErrorsTaken,
    Finding, GapRequest, Map, MapHistory, Mapping, Page, Plan, Problem, QueueStats, QueuedRecord,
    QueuedRecordInFull, RecordError, RecordErrorInFull, ReloadRequest, Reloaded, RevokeRequest, Rule,
    RuleTest, Server, SwitchRequest, Token, TokenCreated, TokenRequest, Tried, TryRequest, Verification,
    VerifyRequest,
};
use jiff::Timestamp;
use reqwest::header::{ETAG, IF_MATCH};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How long an answer may take, apart from waiting for a state.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection is kept for the next request. A server closes it after 30 s.
const KEPT_FOR: Duration = Duration::from_secs(20);

/// A client of one server.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

/// Which way a list of activity goes, and from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivityWay<'a> {
    /// From the newest entry back.
    Newest,
    /// From this entry back, without it: the next page.
    Back(&'a str),
    /// From this entry on, without it, oldest first: for following.
    On(&'a str),
}

/// Which queued records are asked for: those that fit everything that is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueSearch<'a> {
    /// Of the record with this integration key.
    pub key: Option<&'a str>,
    /// Of records whose integration key begins so; not beside a key.
    pub prefix: Option<&'a str>,
    /// `insert`, `update`, `delete` or `truncate`.
    pub op: Option<&'a str>,
    /// What the source committed then or later.
    pub since: Option<Timestamp>,
    /// What the source committed before.
    pub until: Option<Timestamp>,
}

/// Which errors are asked for: those that fit everything that is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ErrorSearch<'a> {
    /// Of this map.
    pub map: Option<&'a str>,
    /// Of this class.
    pub class: Option<&'a str>,
    /// Of the record with this integration key.
    pub key: Option<&'a str>,
    /// Of this source transaction.
    pub transaction: Option<&'a str>,
    /// That stand so: one or several with commas, or `all`.
    pub status: Option<&'a str>,
}

/// What was answered, and the tag that stands for it.
#[derive(Debug, Clone)]
pub struct Shown<T> {
    /// The answer.
    pub answer: T,
    /// Sent with a request, it is done only if what was shown still holds.
    pub tag: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// What was given is no address of a server.
    #[error("'{address}' is no address of a server: {why}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// The authority to trust cannot be used.
    #[error("no authority can be trusted: {0}")]
    Authority(String),
    /// A token would cross a network where everybody could read it.
    #[error("the token is not sent to {server}: over http:// anybody between here and there can read it")]
    InTheOpen {
        /// Where.
        server: String,
    },
    /// There is no connection that can be trusted.
    #[error("no safe connection to {server}: {why}")]
    Insecure {
        /// Where.
        server: String,
        /// What is the matter.
        why: Insecure,
    },
    /// Nobody answers there.
    #[error("no server answers at {server}: {why}")]
    NoServer {
        /// Where.
        server: String,
        /// What the system said.
        why: String,
    },
    /// The server answered with a problem.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// The answer is none of ours: another program listens there, or another version.
    #[error("{server} answers, but not as a Tandem server does: {why}")]
    Stranger {
        /// Where.
        server: String,
        /// What was wrong.
        why: String,
    },
}

/// What came back.
struct Answer {
    status: StatusCode,
    tag: Option<String>,
    bytes: Vec<u8>,
}

impl Client {
    /// A client of the server at `address`, such as `https://tandem.internal:7070`, `http://127.0.0.1:7070` or
    /// `127.0.0.1:7070`. Over TLS the authorities in `ca` (PEM) are trusted, and without it those of the system. A TLS
    /// provider must have been installed for the process.
    pub fn new(address: &str, ca: Option<&[u8]>) -> Result<Self, ClientError> {
        let refuse = |why: String| ClientError::Address { address: address.to_owned(), why };
        let with_scheme =
            if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let base = Url::parse(&with_scheme).map_err(|why| refuse(why.to_string()))?;
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .pool_idle_timeout(KEPT_FOR);
        let builder = match (base.scheme(), ca) {
            ("https", Some(pem)) => {
                builder.tls_certs_only(secure::authorities(pem).map_err(ClientError::Authority)?)
            }
            ("https", None) => builder,
            // Nobody is trusted, and nobody is looked for: a machine without authorities can ask its own server.
            ("http", _) => builder.tls_certs_only([]),
            _ => return Err(refuse("it begins with http:// or https://".to_owned())),
        };
        let http = builder.build().map_err(|why| ClientError::Authority(innermost(&why).to_string()))?;
        Ok(Self { http, base, token: None })
    }

    /// The same client, which says with this token who it is. Refused if the token would cross a network in the open.
    pub fn with_token(self, token: String) -> Result<Self, ClientError> {
        let is_safe = self.base.scheme() == "https" || self.base.host_str().is_some_and(is_loopback);
        match is_safe {
            true => Ok(Self { token: Some(token), ..self }),
            false => Err(ClientError::InTheOpen { server: self.address() }),
        }
    }

    /// The tokens, by name; `after` is `next` of the page before.
    pub async fn tokens(&self, after: Option<&str>) -> Result<Page<Token>, ClientError> {
        self.get(&["tokens"], &[("after", text(after)), ("limit", text(Some(PAGE_MAX)))]).await
    }

    /// Makes a token.
    pub async fn create_token(&self, asked: &TokenRequest) -> Result<TokenCreated, ClientError> {
        self.send(Method::POST, &["tokens"], &[], Some(asked), ANSWER_WITHIN).await
    }

    /// Takes a token back.
    pub async fn revoke_token(&self, token: &str, asked: &RevokeRequest) -> Result<(), ClientError> {
        let path = ["tokens", token, "revoke"];
        let answer = self.send::<RevokeRequest>(Method::POST, &path, &[], Some(asked), ANSWER_WITHIN);
        answer.await.map(drop)
    }

    /// All maps, by name.
    pub async fn maps(&self, after: Option<&str>, limit: Option<usize>) -> Result<Page<Map>, ClientError> {
        self.get(&["maps"], &[("after", text(after)), ("limit", text(limit))]).await
    }

    /// A map.
    pub async fn map(&self, map: &str) -> Result<Map, ClientError> {
        self.get(&["maps", map], &[]).await
    }

    /// What a map does with a record.
    pub async fn mapping(&self, map: &str) -> Result<Mapping, ClientError> {
        self.get(&["maps", map, "mapping"], &[]).await
    }

    /// How the queue of a map was over the last hours.
    pub async fn map_history(&self, map: &str) -> Result<MapHistory, ClientError> {
        self.get(&["maps", map, "history"], &[]).await
    }

    /// Asks for an action.
    pub async fn act(&self, request: &ActionRequest) -> Result<Accepted, ClientError> {
        self.send(Method::POST, &["actions"], &[], Some(request), ANSWER_WITHIN).await
    }

    /// Goes on behind a gap in an app's log.
    pub async fn accept_gap(&self, app: &str, asked: &GapRequest) -> Result<Accepted, ClientError> {
        self.send(Method::POST, &["apps", app, "accept-gap"], &[], Some(asked), ANSWER_WITHIN).await
    }

    /// What an action would do.
    pub async fn plan(&self, request: &ActionRequest) -> Result<Plan, ClientError> {
        self.send(Method::POST, &["plan"], &[], Some(request), ANSWER_WITHIN).await
    }

    /// Waits until a map is in a state, at most [`WAIT_MAX_SECONDS`](crate::WAIT_MAX_SECONDS) seconds.
    pub async fn wait(&self, map: &str, state: &str, seconds: u64) -> Result<Map, ClientError> {
        let query = [("for", text(Some(state))), ("timeout", text(Some(seconds)))];
        let within = Duration::from_secs(seconds) + ANSWER_WITHIN;
        self.send(Method::GET, &["maps", map, "wait"], &query, None::<&()>, within).await
    }

    /// What a map makes of a row; nothing is written.
    pub async fn try_row(&self, map: &str, asked: &TryRequest) -> Result<Tried, ClientError> {
        self.send(Method::POST, &["maps", map, "try"], &[], Some(asked), ANSWER_WITHIN).await
    }

    /// Queued records of a map, oldest first. A page may have few items, or none, and not be the last: `next` tells.
    pub async fn queue(
        &self,
        map: &str,
        search: QueueSearch<'_>,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Page<QueuedRecord>, ClientError> {
        let QueueSearch { key, prefix, op, since, until } = search;
        let query = [
            ("key", text(key)),
            ("prefix", text(prefix)),
            ("op", text(op)),
            ("since", text(since)),
            ("until", text(until)),
            ("after", text(after)),
            ("limit", text(limit)),
        ];
        self.get(&["maps", map, "queue"], &query).await
    }

    /// One queued record of a map in full.
    pub async fn queued_record(&self, map: &str, seq: u64) -> Result<QueuedRecordInFull, ClientError> {
        self.get(&["maps", map, "queue", &seq.to_string()], &[]).await
    }

    /// What was set aside, in the order in which it was noted.
    pub async fn errors(
        &self,
        search: ErrorSearch<'_>,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Page<RecordError>, ClientError> {
        let ErrorSearch { map, class, key, transaction, status } = search;
        let query = [
            ("map", text(map)),
            ("class", text(class)),
            ("key", text(key)),
            ("transaction", text(transaction)),
            ("status", text(status)),
            ("after", text(after)),
            ("limit", text(limit)),
        ];
        self.get(&["errors"], &query).await
    }

    /// One record that was set aside, in full.
    pub async fn error(&self, id: &str) -> Result<RecordErrorInFull, ClientError> {
        self.get(&["errors", id], &[]).await
    }

    /// Errors grouped by their causes, of one map or of all.
    pub async fn error_causes(&self, map: Option<&str>) -> Result<Page<ErrorCause>, ClientError> {
        self.get(&["errors", "causes"], &[("map", text(map))]).await
    }

    /// Tries errors of a map again.
    pub async fn retry_errors(&self, map: &str, asked: &ErrorsRequest) -> Result<ErrorsTaken, ClientError> {
        self.send(Method::POST, &["maps", map, "errors", "retry"], &[], Some(asked), ANSWER_WITHIN).await
    }

    /// Deletes errors of a map.
    pub async fn delete_errors(&self, map: &str, asked: &ErrorsRequest) -> Result<ErrorsTaken, ClientError> {
        self.send(Method::POST, &["maps", map, "errors", "delete"], &[], Some(asked), ANSWER_WITHIN).await
    }

    /// Ends the retry of a map's errors, whatever is left.
    pub async fn cancel_retry(&self, map: &str, asked: &CancelRequest) -> Result<ErrorsTaken, ClientError> {
        self.send(Method::POST, &["maps", map, "errors", "cancel"], &[], Some(asked), ANSWER_WITHIN).await
    }

    /// Begins to compare the tables of a map.
    pub async fn verify(&self, map: &str, asked: &VerifyRequest) -> Result<Verification, ClientError> {
        self.send(Method::POST, &["maps", map, "verify"], &[], Some(asked), ANSWER_WITHIN).await
    }

    /// How the last comparison of a map gets on, or what came of it; with the rows that differ, or without.
    pub async fn verification(&self, map: &str, rows: bool) -> Result<Verification, ClientError> {
        self.get(&["maps", map, "verify"], &[("rows", text(Some(rows)))]).await
    }

    /// Ends a comparison.
    pub async fn cancel_verify(&self, map: &str) -> Result<Verification, ClientError> {
        self.send(Method::POST, &["maps", map, "verify", "cancel"], &[], None::<&()>, ANSWER_WITHIN).await
    }

    /// The figures of a map's queue.
    pub async fn queue_stats(&self, map: &str) -> Result<QueueStats, ClientError> {
        self.get(&["maps", map, "queue", "stats"], &[]).await
    }

    /// The activity log, from an entry on or back.
    pub async fn activity(
        &self,
        map: Option<&str>,
        way: ActivityWay<'_>,
        limit: Option<usize>,
    ) -> Result<Page<Activity>, ClientError> {
        let (after, since) = match way {
            ActivityWay::Newest => (None, None),
            ActivityWay::Back(after) => (Some(after), None),
            ActivityWay::On(since) => (None, Some(since)),
        };
        let query =
            [("map", text(map)), ("after", text(after)), ("since", text(since)), ("limit", text(limit))];
        self.get(&["activity"], &query).await
    }

    /// The conflicts of a map, or of all, the newest first; `after` is `next` of the page before.
    pub async fn conflicts(
        &self,
        map: Option<&str>,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Page<Conflict>, ClientError> {
        let query = [("map", text(map)), ("after", text(after)), ("limit", text(limit))];
        self.get(&["conflicts"], &query).await
    }

    /// The server itself.
    pub async fn server(&self) -> Result<Server, ClientError> {
        self.get(&["server"], &[]).await
    }

    /// The apps, by name.
    pub async fn apps(&self) -> Result<Page<App>, ClientError> {
        self.get(&["apps"], &[]).await
    }

    /// The rules, by name.
    pub async fn rules(&self) -> Result<Page<Rule>, ClientError> {
        self.get(&["rules"], &[("limit", text(Some(PAGE_MAX)))]).await
    }

    /// Switches a rule on or off.
    pub async fn switch_rule(
        &self,
        rule: &str,
        enabled: bool,
        reason: String,
        actor: String,
    ) -> Result<Rule, ClientError> {
        let asked = SwitchRequest { reason, actor: Some(actor) };
        let verb = if enabled { "enable" } else { "disable" };
        self.send(Method::POST, &["rules", rule, verb], &[], Some(&asked), ANSWER_WITHIN).await
    }

    /// Has the server read its config again; with the tag of what it has shown, only if that still holds.
    pub async fn reload(
        &self,
        asked: &ReloadRequest,
        shown: Option<&str>,
    ) -> Result<Shown<Reloaded>, ClientError> {
        let mut request = self.http.request(Method::POST, self.url(&["reload"])?).timeout(ANSWER_WITHIN);
        if let Some(tag) = shown {
            request = request.header(IF_MATCH, tag);
        }
        let answer = self.ask(request.json(asked)).await?;
        Ok(Shown { tag: answer.tag.clone(), answer: self.read(&answer)? })
    }

    /// When a rule would have fired.
    pub async fn test_rule(&self, rule: &str, since: Timestamp) -> Result<RuleTest, ClientError> {
        self.get(&["rules", rule, "test"], &[("since", text(Some(since)))]).await
    }

    /// What a check of the maps finds.
    pub async fn check(&self) -> Result<Page<Finding>, ClientError> {
        self.get(&["check"], &[]).await
    }

    /// Its figures, as Prometheus reads them.
    pub async fn metrics(&self) -> Result<String, ClientError> {
        let mut url = self.base.clone();
        url.set_path("/metrics");
        let answer = self.ask(self.http.get(url).timeout(ANSWER_WITHIN)).await?;
        Ok(String::from_utf8_lossy(&answer.bytes).into_owned())
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, Option<String>)],
    ) -> Result<T, ClientError> {
        self.send(Method::GET, path, query, None::<&()>, ANSWER_WITHIN).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, Option<String>)],
        body: Option<&impl Serialize>,
        within: Duration,
    ) -> Result<T, ClientError> {
        let given: Vec<(&str, &str)> =
            query.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
        let mut request = self.http.request(method, self.url(path)?).query(&given).timeout(within);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = self.ask(request).await?;
        self.read(&answer)
    }

    fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, ClientError> {
        serde_json::from_slice(&answer.bytes).map_err(|why| self.stranger(answer.status, &why))
    }

    /// The answer to a request that was granted.
    async fn ask(&self, request: RequestBuilder) -> Result<Answer, ClientError> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await.map_err(|why| self.unreachable(&why))?;
        let status = response.status();
        let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let bytes = response.bytes().await.map_err(|why| self.unreachable(&why))?;
        if status.is_success() {
            return Ok(Answer { status, tag, bytes: bytes.into() });
        }
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
            Err(why) => Err(self.stranger(status, &why)),
        }
    }

    /// The address of a path whose parts may hold any character.
    fn url(&self, path: &[&str]) -> Result<Url, ClientError> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| ClientError::Address {
                address: self.base.to_string(),
                why: "it has no path".to_owned(),
            })?
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(path);
        Ok(url)
    }

    fn unreachable(&self, why: &reqwest::Error) -> ClientError {
        match Insecure::found_in(why) {
            Some(why) => ClientError::Insecure { server: self.address(), why },
            None => ClientError::NoServer { server: self.address(), why: innermost(why).to_string() },
        }
    }

    fn stranger(&self, status: StatusCode, why: &serde_json::Error) -> ClientError {
        ClientError::Stranger { server: self.address(), why: format!("status {status}, {why}") }
    }

    /// Where the server is.
    pub fn address(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }
}

/// The innermost cause is the one that a person knows: *connection refused*.
fn innermost(why: &reqwest::Error) -> &dyn std::error::Error {
    let mut cause: &dyn std::error::Error = why;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause
}

fn text(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_crosses_no_network_in_the_open() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sent = |address: &str| Client::new(address, None).unwrap().with_token("tdm_00".to_owned());
        for safe in ["http://127.0.0.1:7070", "127.0.0.1:7070", "http://localhost:7070", "http://[::1]:7070"]
        {
            assert!(sent(safe).is_ok(), "{safe}");
        }
        for open in ["http://tandem.internal:7070", "http://192.0.2.7:7070", "http://127.0.0.1.evil.example"]
        {
            let refused = sent(open).err().unwrap();
            assert!(matches!(refused, ClientError::InTheOpen { .. }), "{open}: {refused}");
            assert!(!refused.to_string().contains("tdm_"), "{refused}");
        }
        assert!(matches!(Client::new("ftp://127.0.0.1", None).err(), Some(ClientError::Address { .. })));
        let refused = Client::new("https://127.0.0.1", Some(b"nothing")).err();
        assert!(matches!(refused, Some(ClientError::Authority(_))), "{refused:?}");
    }
}
