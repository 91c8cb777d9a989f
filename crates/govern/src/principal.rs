//! Who asks.

use serde::{Deserialize, Serialize};

/// A person or a program, as a door has authenticated it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    pub name: String,
    pub roles: Vec<String>,
    /// The platform itself (runs, checks): sees all rows, whatever the policies say.
    pub system: bool,
}

impl Principal {
    /// A person without roles.
    pub fn user(name: impl Into<String>) -> Self {
        Self { name: name.into(), roles: Vec::new(), system: false }
    }

    /// The platform itself.
    pub fn system() -> Self {
        Self { name: "polder".to_owned(), roles: Vec::new(), system: true }
    }

    /// The same principal with more roles.
    #[must_use]
    pub fn with_roles<S: Into<String>>(mut self, roles: impl IntoIterator<Item = S>) -> Self {
        self.roles.extend(roles.into_iter().map(Into::into));
        self
    }

    /// Whether a name in a policy means this principal: its own name, one of its roles, or `*`.
    pub fn is_called(&self, name: &str) -> bool {
        name == "*" || name == self.name || self.roles.iter().any(|role| role == name)
    }
}
