//! The `sipdo` process.

use std::process::ExitCode;

fn main() -> ExitCode {
    sipdo_cli::main()
}
