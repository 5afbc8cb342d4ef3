//! The `sipdo-coordinator` process.

use std::process::ExitCode;

fn main() -> ExitCode {
    sipdo_coordinator::process::main()
}
