//! `lohar`, the init of a guest. It takes no arguments but those that the kernel gives the program
//! that loads its modules, and does nothing anywhere else.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().collect();
    match &args[..] {
        [program, quiet, end, name] if quiet == "-q" && end == "--" => {
            lohar::modprobe::main(program, name)
        }
        _ => lohar::run::main(),
    }
}
