//! `bhatti`: the daemon (`bhatti serve`) and the command line of its API.
//!
//! A run goes [`args`] -> [`config`] -> one of [`commands`] -> [`output`] or [`failure`].

mod args;
mod build;
mod commands;
mod config;
mod container;
mod env;
mod failure;
mod output;
mod progress;
mod prompt;
mod pump;
mod reference;
mod run;
mod signals;
mod style;
mod table;
mod task;
mod terminal;
mod trace_file;
mod usage;
mod values;

fn main() -> std::process::ExitCode {
    // Before anything else is read or started: the worker gives up what it could do it with.
    if std::env::args_os().nth(1).as_deref() == Some(bhatti_engine::WORKER_ARG.as_ref()) {
        return bhatti_engine::image_worker();
    }
    run::main()
}
