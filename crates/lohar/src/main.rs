//! `lohar`, the init of a guest. It takes no arguments and does nothing anywhere else.

use std::process::ExitCode;

fn main() -> ExitCode {
    lohar::run::main()
}
