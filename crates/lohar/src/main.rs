//! `lohar`, the init of a guest, or a service of its init (`--service`), or what the kernel runs to
//! have a module loaded (`-q -- NAME`). It does nothing anywhere else.

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
