//! The project's own tasks: `cargo xtask COMMAND`.
//!
//! | to do this | run | in |
//! |---|---|---|
//! | have a daemon with a machine in it | `cargo xtask quickstart` | [`quickstart`] |
//! | check everything, as CI does | `cargo xtask test` | [`mod@test`] |
//! | build the guest kit | `cargo xtask guest-kit` | [`guest_kit`] |
//! | build the image of a recipe, or of all | `cargo xtask image` | [`images`] |
//! | mount a file system that shares blocks, for tests by hand | `cargo xtask pool` | [`pool`] |
//! | install what the host lacks | `cargo xtask packages` | [`packages`] |
//!
//! Results are kept in `~/.cache/bhatti`. Each command does only what is not done yet.

mod args;
mod bench;
mod environment;
mod guest_kit;
mod images;
mod packages;
mod pool;
mod quickstart;
mod run;
mod skips;
mod test;

fn main() -> std::process::ExitCode {
    args::main()
}
