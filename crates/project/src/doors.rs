//! `doors:` of `polder.yaml`: where a served project listens, and whom it asks for a token.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use polder_diag::{Diagnostic, Span};

use crate::codes;
use crate::resource::{Doors, Listen, Tokens};
use crate::yaml::{At, Decode, Node, Problems, Value, raw};

raw! {
    /// Where `polder up` listens.
    DoorsYaml {
        /// The PostgreSQL protocol: a port, an address such as `0.0.0.0:5433`, or `off`. Default: port 5433 of this
        /// machine alone, or the next that is free.
        postgres: Option<At<ListenYaml>>,
        /// HTTP: a port, an address, or `off`. Default: port 7070 of this machine alone, or the next that is free.
        http: Option<At<ListenYaml>>,
        /// Who is asked for a token: `remote` (the default), whoever comes through a door that can be reached from other
        /// machines; `always`, everybody.
        tokens: Option<TokensYaml>,
    }
}

/// A port, an address, or `off`.
#[derive(Debug, Clone, schemars::JsonSchema)]
#[schemars(untagged)]
pub(crate) enum ListenYaml {
    Off(Off),
    Port(u16),
    Address(String),
}

/// Not at all.
#[derive(Debug, Clone, Copy, schemars::JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(crate) enum Off {
    Off,
}

/// Who is asked for a token.
#[derive(Debug, Clone, Copy, schemars::JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(crate) enum TokensYaml {
    Remote,
    Always,
}

const EXPECTED: &str = "a port, an address such as `0.0.0.0:5433`, or `off`";

impl Decode for ListenYaml {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            // YAML of old takes the word for a truth value.
            Value::Bool(false) => Some(Self::Off(Off::Off)),
            Value::Text(word) if word == "off" => Some(Self::Off(Off::Off)),
            Value::Number(digits) => match digits.parse::<u16>() {
                Ok(port) => Some(Self::Port(port)),
                Err(_) => problems.wrong(node, EXPECTED),
            },
            Value::Text(text) => Some(Self::Address(text.clone())),
            _ => problems.wrong(node, EXPECTED),
        }
    }
}

impl Decode for TokensYaml {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(word) if word == "remote" => Some(Self::Remote),
            Value::Text(word) if word == "always" => Some(Self::Always),
            _ => problems.wrong_word(node, "`remote` or `always`", &["remote", "always"]),
        }
    }
}

/// Puts what is declared in the place of what was.
pub(crate) fn apply(raw: DoorsYaml, doors: &mut Doors, problems: &mut Problems<'_>) {
    for (listen, door) in [(raw.postgres, &mut doors.postgres), (raw.http, &mut doors.http)] {
        if let Some(listen) = listen.and_then(|listen| resolve(listen, problems)) {
            *door = listen;
        }
    }
    match raw.tokens {
        Some(TokensYaml::Always) => doors.tokens = Tokens::Always,
        Some(TokensYaml::Remote) => doors.tokens = Tokens::Remote,
        None => {}
    }
}

fn resolve(listen: At<ListenYaml>, problems: &mut Problems<'_>) -> Option<Listen> {
    let local = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    match listen.value {
        ListenYaml::Off(Off::Off) => Some(Listen::Off),
        ListenYaml::Port(port) => Some(Listen::At(local(port))),
        ListenYaml::Address(text) => {
            let address = text.replace("localhost:", "127.0.0.1:");
            match address.parse().or_else(|_| address.parse().map(local)) {
                Ok(address) => Some(Listen::At(address)),
                Err(_) => {
                    problems.push(no_address(&text, listen.span));
                    None
                }
            }
        }
    }
}

fn no_address(text: &str, span: Span) -> Diagnostic {
    Diagnostic::error(codes::VALUE, format!("`{text}` is no address to listen at"))
        .at(span, "")
        .hint("write a port (`5433`), an address (`127.0.0.1:5433`, `0.0.0.0:5433`), or `off`")
}
