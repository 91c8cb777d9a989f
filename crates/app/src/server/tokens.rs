//! Tokens: who may use a door that can be reached from elsewhere.
//!
//! A token is 256 random bits. The state store keeps its BLAKE3 hash alone, which is enough for what cannot be guessed:
//! whoever reads the store cannot come in with what is there.

use std::time::Duration;

use polder_base::Timestamp;
use polder_store::{Batch, Outcome, Space};
use polder_system::System;
use serde::{Deserialize, Serialize};

use super::Guest;
use crate::run::journal::{all, encode};
use crate::{App, AppError, codes};

/// What tokens begin with, so that one that leaked is recognised by those who look for such.
const PREFIX: &str = "polder_";

/// A token as it is kept. Key: the hash of its text, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct TokenRecord {
    /// What it is called.
    name: String,
    principal: String,
    #[serde(default)]
    roles: Vec<String>,
    created: Timestamp,
    /// Who made it.
    by: String,
    #[serde(default)]
    expires: Option<Timestamp>,
}

/// A token to be made.
#[derive(Debug, Clone, Default)]
pub struct NewToken {
    /// What it is called: how it is listed and revoked.
    pub name: String,
    /// Who comes in with it; the name unless set.
    pub principal: Option<String>,
    pub roles: Vec<String>,
    /// For how long it is good; for good unless set.
    pub keeps: Option<Duration>,
}

/// A token as it is shown: everything but the token.
#[derive(Debug, Clone, Serialize)]
pub struct TokenRow {
    pub name: String,
    pub principal: String,
    pub roles: Vec<String>,
    pub created: Timestamp,
    pub by: String,
    pub expires: Option<Timestamp>,
    pub expired: bool,
}

impl App {
    /// Makes a token, and gives its text: nobody can read that again.
    ///
    /// # Errors
    /// A name that is empty or taken.
    pub async fn create_token(&self, token: &NewToken) -> Result<String, AppError> {
        let name = token.name.trim();
        if name.is_empty() {
            return Err(AppError::refused(codes::REFUSED, "a token needs a name"));
        }
        if self.tokens().await?.iter().any(|known| known.name == name) {
            let refused = AppError::refused(codes::REFUSED, format!("there is a token called `{name}` already"));
            return Err(refused.hint(format!("polder token --revoke {name}")));
        }
        let text = new_text(&**self.system());
        let now = self.system().now();
        let record = TokenRecord {
            name: name.to_owned(),
            principal: token.principal.clone().unwrap_or_else(|| name.to_owned()),
            roles: token.roles.clone(),
            created: now,
            by: self.principal(),
            expires: token.keeps.map(|keeps| now + keeps),
        };
        let key = hash_of(&text);
        let batch = Batch::new().expect(Space::Tokens, &*key, None).put(Space::Tokens, key.clone(), encode(&record)?);
        match self.catalog.state().apply(batch).await? {
            Outcome::Applied => Ok(text),
            Outcome::Refused { .. } => Err(AppError::Defect("two tokens have one hash".to_owned())),
        }
    }

    /// All tokens, by name.
    ///
    /// # Errors
    /// The state store does not answer.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>, AppError> {
        let now = self.system().now();
        let mut rows: Vec<TokenRow> = self.token_records().await?.into_iter().map(|record| row(record, now)).collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(rows)
    }

    /// Makes a token worthless, from the next time on that somebody comes in with it.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn revoke_token(&self, name: &str) -> Result<(), AppError> {
        let state = self.catalog.state();
        let mut batch = Batch::new();
        // The hash is the key, and no name leads to it: there are a handful of tokens. Two may have one name, if they were
        // made at the same moment.
        for (key, bytes) in state.scan(Space::Tokens, "", None, usize::MAX).await? {
            let is_it = serde_json::from_slice::<TokenRecord>(&bytes).is_ok_and(|record| record.name == name);
            if is_it {
                batch = batch.delete(Space::Tokens, key);
            }
        }
        if !batch.writes.is_empty() {
            state.apply(batch).await?;
            return Ok(());
        }
        Err(AppError::refused(codes::REFUSED, format!("no token is called `{name}`")).hint("polder token lists them"))
    }

    /// Who comes in with a token; `None`: it is none, or it has expired.
    pub(super) async fn guest_of_token(&self, token: &str) -> Result<Option<Guest>, AppError> {
        let Some(bytes) = self.catalog.state().get(Space::Tokens, &hash_of(token)).await? else { return Ok(None) };
        let Ok(record) = serde_json::from_slice::<TokenRecord>(&bytes) else { return Ok(None) };
        let expired = record.expires.is_some_and(|expires| expires <= self.system().now());
        Ok((!expired).then_some(Guest { principal: record.principal, roles: record.roles }))
    }

    async fn token_records(&self) -> Result<Vec<TokenRecord>, AppError> {
        all(self.catalog.state(), Space::Tokens, "").await
    }
}

fn row(record: TokenRecord, now: Timestamp) -> TokenRow {
    let TokenRecord { name, principal, roles, created, by, expires } = record;
    let expired = expires.is_some_and(|expires| expires <= now);
    TokenRow { name, principal, roles, created, by, expires, expired }
}

fn new_text(system: &dyn System) -> String {
    let digits: String = (0..4).map(|_| format!("{:016x}", system.random())).collect();
    format!("{PREFIX}{digits}")
}

fn hash_of(token: &str) -> String {
    blake3::hash(token.as_bytes()).to_hex().to_string()
}
