//! The verbs, a file each. A verb of a running server is: ask it, write the answer, say what to do next.

mod activity;
mod app;
mod bundle;
mod check;
mod completion;
mod conflict;
mod demo;
mod error;
mod guard;
mod map;
mod queue;
mod record;
mod reload;
mod rule;
mod schema;
mod serve;
mod token;
mod top;
mod version;

use crate::args::{
    AppVerb, Args, ConflictVerb, ErrorVerb, GuardVerb, MapVerb, QueueVerb, RuleVerb, TokenVerb, Verb,
};
use crate::credentials::{authority, token_for};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use tandem_server::Client;

/// How a verb ends: with an exit code, or with a failure that has one.
pub(crate) type Outcome = Result<Exit, Failure>;

/// What the verbs of a running server have in hand.
pub(crate) struct Desk<'a> {
    pub(crate) client: Client,
    pub(crate) output: &'a Output,
}

/// Does what the command line asks.
pub(crate) async fn run(args: Args, output: &Output) -> Outcome {
    let desk = || {
        let ca = args.ca.as_deref().map(authority).transpose()?;
        let client = Client::new(&args.server, ca.as_deref())?;
        let client = match token_for(&args.server, args.token_file.as_deref())? {
            Some(token) => client.with_token(token)?,
            None => client,
        };
        Ok::<_, Failure>(Desk { client, output })
    };
    match args.verb {
        Verb::Demo(asked) => demo::demo(asked, output).await,
        Verb::Serve(asked) => serve::serve(asked, output).await,
        Verb::Check(asked) => check::check(asked, output).await,
        Verb::Schema(asked) => Ok(schema::schema(&asked, output)),
        Verb::Bundle(asked) => bundle::bundle(&desk()?, asked).await,
        Verb::Reload(asked) => reload::reload(&desk()?, asked).await,
        Verb::Top(asked) => top::top(&desk()?, asked).await,
        Verb::Map(MapVerb::List(asked)) => map::list(&desk()?, asked).await,
        Verb::Map(MapVerb::Show(asked)) => map::show(&desk()?, asked).await,
        Verb::Map(MapVerb::Plan(asked)) => map::plan(&desk()?, asked).await,
        Verb::Map(MapVerb::Run(asked)) => map::run(&desk()?, asked).await,
        Verb::Map(MapVerb::Pause(asked)) => map::pause(&desk()?, asked).await,
        Verb::Map(MapVerb::Resume(asked)) => map::resume(&desk()?, asked).await,
        Verb::Map(MapVerb::Skip(asked)) => map::skip(&desk()?, asked).await,
        Verb::Map(MapVerb::Stop(asked)) => map::stop(&desk()?, asked).await,
        Verb::Map(MapVerb::Wait(asked)) => map::wait(&desk()?, asked).await,
        Verb::Map(MapVerb::Try(asked)) => map::try_row(&desk()?, asked).await,
        Verb::Map(MapVerb::Verify(asked)) => map::verify(&desk()?, asked).await,
        Verb::App(AppVerb::List) => app::list(&desk()?).await,
        Verb::App(AppVerb::Pause(asked)) => app::pause(&desk()?, asked).await,
        Verb::App(AppVerb::Resume(asked)) => app::resume(&desk()?, asked).await,
        Verb::App(AppVerb::Stop(asked)) => app::stop(&desk()?, asked).await,
        Verb::App(AppVerb::AcceptGap(asked)) => app::accept_gap(&desk()?, asked).await,
        Verb::Guard(GuardVerb::List) => guard::list(&desk()?).await,
        Verb::Guard(GuardVerb::Release(asked)) => guard::release(asked, output).await,
        Verb::Queue(QueueVerb::List(asked)) => queue::list(&desk()?, asked).await,
        Verb::Queue(QueueVerb::Stats(asked)) => queue::stats(&desk()?, asked).await,
        Verb::Queue(QueueVerb::Show(asked)) => queue::show(&desk()?, asked).await,
        Verb::Queue(QueueVerb::Export(asked)) => queue::export(&desk()?, asked).await,
        Verb::Error(ErrorVerb::List(asked)) => error::list(&desk()?, asked).await,
        Verb::Error(ErrorVerb::Show(asked)) => error::show(&desk()?, asked).await,
        Verb::Error(ErrorVerb::Export(asked)) => error::export(&desk()?, asked).await,
        Verb::Error(ErrorVerb::Retry(asked)) => error::retry(&desk()?, asked).await,
        Verb::Error(ErrorVerb::Cancel(asked)) => error::cancel(&desk()?, asked).await,
        Verb::Error(ErrorVerb::Delete(asked)) => error::delete(&desk()?, asked).await,
        Verb::Conflict(ConflictVerb::List(asked)) => conflict::list(&desk()?, asked).await,
        Verb::Rule(RuleVerb::List) => rule::list(&desk()?).await,
        Verb::Rule(RuleVerb::Enable(asked)) => rule::enable(&desk()?, asked).await,
        Verb::Rule(RuleVerb::Disable(asked)) => rule::disable(&desk()?, asked).await,
        Verb::Rule(RuleVerb::Test(asked)) => rule::test(&desk()?, asked).await,
        Verb::Token(TokenVerb::Create(asked)) => token::create(&desk()?, asked).await,
        Verb::Token(TokenVerb::List) => token::list(&desk()?).await,
        Verb::Token(TokenVerb::Revoke(asked)) => token::revoke(&desk()?, asked).await,
        Verb::Activity(asked) => activity::activity(&desk()?, asked).await,
        Verb::Version => Ok(version::version(output)),
        Verb::Completion { shell } => Ok(completion::completion(shell, output)),
    }
}
