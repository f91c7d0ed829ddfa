//! `lohar`, the init of a guest, or a service of its init (`--service`). It does nothing anywhere
//! else.

use std::process::ExitCode;

fn main() -> ExitCode {
    lohar::run::main()
}
