//! Polder: wiring, nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    polder_cli::main()
}
