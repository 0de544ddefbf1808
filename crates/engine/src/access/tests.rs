use super::*;
use crate::env::Env;
use crate::request::Rejected;
use crate::store::memory::MemoryStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{ActivityFrom, Store};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tandem_core::connect::BoxFuture;
use tandem_core::{Role, Scope, WallTime};

/// A clock that a test sets, and chance that never repeats.
#[derive(Default)]
struct Still {
    now: AtomicI64,
    drawn: AtomicU64,
}

impl Env for Still {
    fn now(&self) -> Duration {
        Duration::ZERO
    }
    fn wall(&self) -> WallTime {
        WallTime(self.now.load(Ordering::Relaxed))
    }
    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
    fn spawn(&self, _: &str, _: BoxFuture<'static, ()>) {}
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        work();
        Box::pin(std::future::ready(()))
    }
    fn random(&self) -> u64 {
        (self.drawn.fetch_add(1, Ordering::Relaxed) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

fn ask(name: &str, role: Role) -> NewToken {
    NewToken { name: name.to_owned(), role, maps: Scope::All, expires_in: None, actor: "ann".to_owned() }
}

fn again(store: &Arc<dyn Store>) -> Tokens {
    Tokens::new(store.clone(), store.load().unwrap().tokens)
}

#[test]
fn a_token_opens_until_it_is_revoked_also_after_a_restart() {
    let (env, store): (_, Arc<dyn Store>) = (Still::default(), Arc::new(MemoryStore::default()));
    let maps = Scope::Only(["orders".into()].into());
    let tokens = again(&store);
    let asked = NewToken { maps: maps.clone(), ..ask("robot", Role::Operator) };
    let (_, secret) = tokens.create(&env, asked).unwrap();
    for tokens in [&tokens, &again(&store)] {
        let (caller, _) = tokens.whose(secret.reveal(), WallTime(0)).unwrap();
        assert_eq!(caller, Caller { name: "robot".into(), role: Role::Operator, maps: maps.clone() });
    }
    assert!(matches!(tokens.create(&env, ask("robot", Role::Viewer)), Err(Rejected::TokenExists(_))));
    let other = tokens.revoke("robot", Some(WallTime(7)), "ann", WallTime(0));
    assert!(matches!(other, Err(Rejected::OtherToken(_))), "{other:?}");
    let made = tokens.list().iter().find(|token| &*token.name == "robot").map(|token| token.created_at);
    tokens.revoke("robot", made, "ann", WallTime(0)).unwrap();
    for tokens in [&tokens, &again(&store)] {
        assert_eq!(tokens.whose(secret.reveal(), WallTime(0)).unwrap_err(), Stranger::Unknown);
    }
    assert!(matches!(tokens.revoke("robot", None, "ann", WallTime(0)), Err(Rejected::UnknownToken(_))));
    let log = store.activity(None, ActivityFrom::Since(0), 9).unwrap();
    let told: Vec<_> = log.iter().map(|e| (&*e.event, &*e.actor, &*e.detail)).collect();
    let created = ("token.created", "ann", "robot, operator, maps orders");
    assert_eq!(told, [created, ("token.revoked", "ann", "robot")]);
}

#[test]
fn a_token_is_none_any_more_when_its_time_is_over() {
    let (env, store): (_, Arc<dyn Store>) = (Still::default(), Arc::new(MemoryStore::default()));
    let tokens = again(&store);
    let asked = NewToken { expires_in: Some(Duration::from_secs(1)), ..ask("short", Role::Viewer) };
    let (_, secret) = tokens.create(&env, asked).unwrap();
    assert!(tokens.whose(secret.reveal(), WallTime(999_999)).is_ok());
    let expired = tokens.whose(secret.reveal(), WallTime(1_000_000));
    assert_eq!(expired.unwrap_err(), Stranger::Expired("short".into()));
}

#[test]
fn what_is_nearly_a_token_opens_nothing() {
    let (env, store): (_, Arc<dyn Store>) = (Still::default(), Arc::new(MemoryStore::default()));
    let tokens = again(&store);
    let (_, secret) = tokens.create(&env, ask("a", Role::Viewer)).unwrap();
    let right = secret.reveal();
    assert_eq!(right.len(), "tdm_".len() + 64, "256 bits");
    let last = if right.ends_with('0') { '1' } else { '0' };
    let wrong = [
        String::new(),
        "tdm_".to_owned(),
        right.to_uppercase(),
        format!("{right} "),
        right["tdm_".len()..].to_owned(),
        right[..right.len() - 1].to_owned(),
        format!("{}{last}", &right[..right.len() - 1]),
        format!("tdm_{}", "0".repeat(10_000)),
    ];
    for sent in wrong {
        assert_eq!(tokens.whose(&sent, WallTime(0)).unwrap_err(), Stranger::Unknown, "{sent}");
    }
    assert!(!format!("{secret:?}").contains(&right[4..]), "a secret shows nothing of itself");
}

#[test]
fn names_and_bounds_that_make_no_sense_are_refused() {
    let (env, store): (_, Arc<dyn Store>) = (Still::default(), Arc::new(MemoryStore::default()));
    let tokens = again(&store);
    for name in ["", "a b", "a\n", "ä", &"x".repeat(65)] {
        let refused = tokens.create(&env, ask(name, Role::Viewer));
        assert!(matches!(refused, Err(Rejected::Senseless(_))), "{name:?}");
    }
    assert!(matches!(tokens.create(&env, ask(LOCAL_TOKEN, Role::Viewer)), Err(Rejected::TokenExists(_))));
    let nothing = Scope::Only(Default::default());
    let bound = NewToken { maps: nothing, ..ask("bound", Role::Viewer) };
    assert!(matches!(tokens.create(&env, bound), Err(Rejected::Senseless(_))));
    let one = Scope::Only(["orders".into()].into());
    let bound = NewToken { maps: one, ..ask("bound", Role::Admin) };
    assert!(matches!(tokens.create(&env, bound), Err(Rejected::Senseless(_))));
}

#[test]
fn the_last_use_is_written_down_now_and_then_and_brings_nothing_back() {
    let (env, store): (_, Arc<dyn Store>) = (Still::default(), Arc::new(MemoryStore::default()));
    let tokens = again(&store);
    let (_, secret) = tokens.create(&env, ask("a", Role::Viewer)).unwrap();
    let minutes = |n: i64| WallTime(n * 60_000_000);
    let due = |at| tokens.whose(secret.reveal(), at).unwrap().1.is_some();
    assert_eq!([0, 1, 4, 5, 6, 10].map(|n| due(minutes(n))), [true, false, false, true, false, true]);
    tokens.note_use("a").unwrap();
    assert_eq!(again(&store).list()[0].last_used_at, Some(minutes(10)));
    tokens.revoke("a", None, "ann", WallTime(0)).unwrap();
    tokens.note_use("a").unwrap();
    assert!(again(&store).list().is_empty());
}

#[test]
fn the_local_token_is_in_a_file_of_its_owner_and_in_no_store() {
    let (env, folder) = (Still::default(), tempfile::TempDir::new().unwrap());
    let database = folder.path().join("tandem.db");
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&database).unwrap());
    let tokens = again(&store);
    let path = folder.path().join("token");
    // One that was there before, open to all, is not written into.
    std::fs::write(&path, "old").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let secret = Secret::new(SecretKind::Token, &env);
    renew(&path, &secret).unwrap();
    tokens.set_local(&secret, WallTime(0));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let read = std::fs::read_to_string(&path).unwrap();
    assert_eq!(&*tokens.whose(read.trim(), WallTime(0)).unwrap().0.name, LOCAL_TOKEN);
    let (_, kept) = tokens.create(&env, ask("a", Role::Admin)).unwrap();
    assert!(again(&store).whose(secret.reveal(), WallTime(0)).is_err(), "another start, another token");
    assert!(again(&store).whose(kept.reveal(), WallTime(0)).is_ok());
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap().path();
        let bytes = std::fs::read(&file).unwrap();
        let has = |secret: &Secret| {
            let wanted = secret.reveal().trim_start_matches("tdm_").as_bytes();
            bytes.windows(wanted.len()).any(|window| window == wanted)
        };
        assert!(!has(&kept), "{} has a token", file.display());
        assert_eq!(has(&secret), file == path, "{}", file.display());
    }
}

/// A clock for sessions, which a test moves on.
#[derive(Default)]
struct Moving {
    still: Still,
    seconds: AtomicU64,
}

impl Env for Moving {
    fn now(&self) -> Duration {
        Duration::from_secs(self.seconds.load(Ordering::Relaxed))
    }
    fn wall(&self) -> WallTime {
        self.still.wall()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.still.sleep(duration)
    }
    fn spawn(&self, name: &str, task: BoxFuture<'static, ()>) {
        self.still.spawn(name, task);
    }
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        self.still.blocking(work)
    }
    fn random(&self) -> u64 {
        self.still.random()
    }
}

#[test]
fn a_session_ends_when_it_is_idle_and_after_half_a_day() {
    let (env, sessions) = (Moving::default(), Sessions::default());
    let token = Secret::new(SecretKind::Token, &env).digest();
    let (session, csrf) = sessions.begin(token, &env);
    let at = |hours: f64, is_use: bool| {
        let now = Duration::from_secs_f64(hours * 3600.0);
        sessions.find(&session.digest(), now, is_use).map(|(token, _)| token)
    };
    assert!(!csrf.is(session.reveal()) && csrf.is(csrf.reveal()));
    assert_eq!(at(1.9, true), Ok(token));
    assert_eq!(at(3.8, false), Ok(token), "two hours since it was used");
    assert_eq!(at(3.95, true), Err(Stranger::NoSession), "to look is no use");
    let (session, _) = sessions.begin(token, &env);
    for step in 1..12 {
        let now = Duration::from_secs(step * 3600);
        assert!(sessions.find(&session.digest(), now, true).is_ok(), "{step}");
    }
    let end = Duration::from_secs(12 * 3600);
    assert_eq!(sessions.find(&session.digest(), end, true).unwrap_err(), Stranger::NoSession);
}

#[test]
fn one_session_too_many_ends_the_one_that_was_used_longest_ago() {
    let (env, sessions) = (Moving::default(), Sessions::default());
    let token = || Secret::new(SecretKind::Token, &env).digest();
    let (mine, other) = (token(), token());
    let (of_other, _) = sessions.begin(other, &env);
    let is_there = |secret: &Secret| sessions.find(&secret.digest(), env.now(), false).is_ok();
    let mut begun = Vec::new();
    for second in 1..=SESSIONS_OF_TOKEN_MAX as u64 {
        env.seconds.store(second, Ordering::Relaxed);
        begun.push(sessions.begin(mine, &env).0);
    }
    env.seconds.store(100, Ordering::Relaxed);
    sessions.find(&begun[0].digest(), env.now(), true).unwrap();
    begun.push(sessions.begin(mine, &env).0);
    assert!(is_there(&begun[0]) && !is_there(&begun[1]) && is_there(&begun[2]));
    assert!(is_there(&of_other), "it is another token's");
    for _ in 0..SESSIONS_MAX {
        sessions.begin(token(), &env);
    }
    assert!(!is_there(&of_other));
    sessions.end(&begun[0].digest());
    assert!(!is_there(&begun[0]));
}

#[test]
fn a_code_begins_one_session_and_none_after_an_hour() {
    let (env, sessions) = (Moving::default(), Sessions::default());
    let token = Secret::new(SecretKind::Token, &env).digest();
    let (code, late) = (sessions.offer(token, &env), sessions.offer(token, &env));
    assert!(Digest::of(SecretKind::Token, code.reveal()).is_none(), "it is no token");
    let take = |code: &Secret, seconds| sessions.take(&code.digest(), Duration::from_secs(seconds));
    assert_eq!(take(&code, 3599), Some(token));
    assert_eq!(take(&code, 3599), None, "it was used");
    assert_eq!(take(&late, 3600), None, "it is too old");
    let first = sessions.offer(token, &env);
    for _ in 0..10 {
        sessions.offer(token, &env);
    }
    assert_eq!(take(&first, 0), None, "others took its place");
}
