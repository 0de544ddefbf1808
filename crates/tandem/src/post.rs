//! Who brings notices to people: the notifiers of the config, by the names that rules use for them. They are exchanged
//! when the config is read again; a notice that is on its way goes on with the one that it began with.

use crate::env::Surroundings;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use tandem_connectors::notify::{Notification, Notifier};
use tandem_core::connect::BoxFuture;
use tandem_core::rules::Notice;
use tandem_core::{Fault, FaultClass};
use tandem_engine::Tell;
use tandem_engine::env::Env;

/// See the module.
pub(crate) struct Post {
    notifiers: RwLock<BTreeMap<String, Arc<Notifier>>>,
    surroundings: Surroundings,
}

impl Post {
    pub(crate) fn new(notifiers: BTreeMap<String, Notifier>) -> Self {
        let post = Self { notifiers: RwLock::default(), surroundings: Surroundings::here() };
        post.replace(notifiers);
        post
    }

    /// Whom there is to tell from now on.
    pub(crate) fn replace(&self, notifiers: BTreeMap<String, Notifier>) {
        let notifiers =
            notifiers.into_iter().map(|(target, notifier)| (target, Arc::new(notifier))).collect();
        *self.notifiers.write().unwrap_or_else(PoisonError::into_inner) = notifiers;
    }

    fn notifier(&self, target: &str) -> Option<Arc<Notifier>> {
        self.notifiers.read().unwrap_or_else(PoisonError::into_inner).get(target).cloned()
    }
}

impl Tell for Post {
    fn targets(&self) -> Vec<Arc<str>> {
        let notifiers = self.notifiers.read().unwrap_or_else(PoisonError::into_inner);
        notifiers.keys().map(|target| target.as_str().into()).collect()
    }

    fn tell<'a>(
        &'a self,
        target: &'a str,
        id: &'a str,
        notice: &'a Notice,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let Some(notifier) = self.notifier(target) else {
                // The config is read as a whole: this is a rule of another one.
                let fault = Fault::new(FaultClass::Setup, format!("notify {target}"), "nobody has that name");
                return Err(fault.fix(format!("add [notify.{target}] to the config")));
            };
            let notification = Notification {
                id: id.to_owned(),
                subject: notice.subject(),
                lines: notice.lines(),
                map: notice.map().cloned(),
                rule: notice.rule.clone(),
                at: notice.at,
            };
            notifier.send(&notification, self.surroundings.wall()).await
        })
    }
}
