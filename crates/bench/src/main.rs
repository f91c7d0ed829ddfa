//! The bench: what users feel, beside what is physically there. `cargo xtask bench` runs it.
//!
//! | to change | open |
//! |---|---|
//! | which rows there are | [`catalogue`] |
//! | how often and how long | [`plan`] |
//! | how a row is measured | [`rows`] |
//! | the floor: bare machines, bare round trips | [`bare`] |
//! | the other product | [`peer`] |
//! | where the time of one operation went (`--trace`) | [`trace`] |
//! | the arithmetic | [`statistics`] |
//! | what is shown and kept | [`table`], [`plot`], [`compare`], [`results`] |
//!
//! A run has a directory of its own ([`site`]), with a daemon and machines of its own, and leaves
//! nothing of it behind.

mod args;
mod bare;
mod bench;
mod catalogue;
mod compare;
mod daemon;
mod figures;
mod guest;
mod machine;
mod peer;
mod plan;
mod plot;
mod private;
mod processor;
mod results;
mod rows;
mod run;
mod sample;
mod say;
mod site;
mod statistics;
mod table;
mod trace;

fn main() -> std::process::ExitCode {
    args::main()
}
