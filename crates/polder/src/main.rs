//! Polder: wiring, nothing else.

use std::process::ExitCode;
use std::sync::Arc;

use polder_http::HttpDoor;
use polder_pgwire::PostgresDoor;

fn main() -> ExitCode {
    polder_cli::main(vec![Arc::new(PostgresDoor), Arc::new(HttpDoor)])
}
