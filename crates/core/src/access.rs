//! Who may do what: three roles, one above the other, and the maps that somebody is bound to.
//!
//! Three fixed roles and no list of rights: what a role may do stands on one screen, where the routes are, and a
//! person can keep it in mind. Being bound to maps is beside the role and only takes away.

use crate::MapName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// What somebody may do. Each role may do all that the one before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees states, figures and what was done; no values of records.
    Viewer,
    /// Sees records, apart from columns that are declared sensitive, and acts on maps, queues, errors and rules.
    Operator,
    /// Sees and does everything: tokens, and stopping without apps that do not answer.
    Admin,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];

    /// Its name, as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// The role of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The maps that somebody sees and acts on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All that there are and will be.
    #[default]
    All,
    /// These.
    Only(BTreeSet<MapName>),
}

impl Scope {
    /// Whether a map is among them.
    pub fn has(&self, map: &MapName) -> bool {
        match self {
            Scope::All => true,
            Scope::Only(maps) => maps.contains(map),
        }
    }

    /// Whether it is all maps.
    pub fn is_all(&self) -> bool {
        matches!(self, Scope::All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_may_do_all_that_the_one_before_it_may() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
        for role in Role::ALL {
            assert_eq!(Role::named(role.name()), Some(role));
        }
        assert_eq!(Role::named("root"), None);
    }

    #[test]
    fn a_scope_has_its_maps_and_no_others() {
        let scope = Scope::Only(["orders".into()].into());
        assert!(scope.has(&"orders".into()) && !scope.has(&"order".into()));
        assert!(Scope::All.has(&"order".into()));
        assert!(!Scope::Only(BTreeSet::new()).has(&"orders".into()), "none is not all");
    }
}
