//! Who may come in.

use polder_sql::Principal;

use super::Server;
use crate::{App, AppError};

/// What somebody at a door says about themselves.
#[derive(Clone, Copy)]
pub struct Claim<'a> {
    /// The name they give.
    pub user: Option<&'a str>,
    pub token: Option<&'a str>,
    /// The door takes people for who they say they are.
    pub trusting: bool,
}

impl std::fmt::Debug for Claim<'_> {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut told = f.debug_struct("Claim");
        told.field("user", &self.user).field("trusting", &self.trusting).finish_non_exhaustive()
    }
}

/// Who came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    pub principal: String,
    pub roles: Vec<String>,
}

/// What a door answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    Granted(Guest),
    /// A token is missing.
    TokenNeeded,
    /// The token is none, or not theirs. The sentence says what may be told.
    Refused(String),
}

impl Guest {
    /// Whether some policy is for them: what quotes or counts rows of any table may not be theirs to see.
    pub fn is_bound(&self, app: &App) -> bool {
        let mut principal = Principal::user(self.principal.clone());
        principal.roles.clone_from(&self.roles);
        app.engine().binds(&principal)
    }
}

impl Server {
    /// Decides about somebody at a door. A token is looked at wherever one is given.
    ///
    /// # Errors
    /// The state store does not answer.
    pub async fn admit(&self, claim: Claim<'_>) -> Result<Admission, AppError> {
        let app = self.app();
        let Some(token) = claim.token.filter(|token| !token.is_empty()) else {
            return Ok(match claim.trusting {
                true => {
                    let principal = claim.user.map_or_else(|| app.principal(), str::to_owned);
                    Admission::Granted(Guest { principal, roles: Vec::new() })
                }
                false => Admission::TokenNeeded,
            });
        };
        let Some(guest) = app.guest_of_token(token).await? else {
            return Ok(Admission::Refused("the token is not known, or it has expired".to_owned()));
        };
        Ok(match claim.user {
            Some(user) if user != guest.principal => {
                Admission::Refused(format!("the token is not `{user}`'s: give the name that it was made for"))
            }
            _ => Admission::Granted(guest),
        })
    }
}
