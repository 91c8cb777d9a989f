//! `polder token`.

use polder_app::{NewToken, TokenRow};
use polder_base::Timestamp;

use super::context::{Context, now};
use super::print_json;
use crate::args::{Format, Token};
use crate::failure::{Exit, Failure};
use crate::human;
use crate::rows::texts;
use crate::terminal;

pub fn token(cx: Context<'_>, arguments: &Token) -> Result<Exit, Failure> {
    cx.with_records(async |app| {
        match &arguments.name {
            Some(name) if arguments.revoke => {
                app.revoke_token(name).await?;
                terminal::note(&format!("the token `{name}` is worthless now"));
            }
            Some(name) => {
                let token = NewToken {
                    name: name.clone(),
                    principal: arguments.principal.clone(),
                    roles: arguments.roles.clone(),
                    keeps: arguments.expires,
                };
                let text = app.create_token(&token).await?;
                match arguments.format {
                    Format::Json => print_json(&serde_json::json!({ "name": name, "token": text }))?,
                    // Alone on standard output, to be put into a variable or a file.
                    Format::Text => {
                        terminal::note("this is shown once, and cannot be read again:");
                        terminal::line(&text);
                    }
                }
            }
            None => {
                let tokens = app.tokens().await?;
                match arguments.format {
                    Format::Json => print_json(&tokens)?,
                    Format::Text if tokens.is_empty() => {
                        terminal::line("there are no tokens: `polder token NAME` makes one");
                    }
                    Format::Text => {
                        let rows: Vec<Vec<String>> = tokens.iter().map(|token| row(token, now(&app))).collect();
                        let columns = ["token", "for", "roles", "made", "by", "expires"];
                        terminal::print(&texts(cx.terminal.paint(), &columns, &rows, &[]));
                    }
                }
            }
        }
        Ok(Exit::Ok)
    })
}

fn row(token: &TokenRow, now: Timestamp) -> Vec<String> {
    let expires = match (token.expires, token.expired) {
        (None, _) => "never".to_owned(),
        (Some(_), true) => "expired".to_owned(),
        (Some(at), false) => human::moment(at, now),
    };
    let made = human::moment(token.created, now);
    vec![token.name.clone(), token.principal.clone(), token.roles.join(", "), made, token.by.clone(), expires]
}
