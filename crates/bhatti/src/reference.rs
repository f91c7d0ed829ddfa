//! The reference of the command line, made from the same declarations that parse it. It is kept
//! in `contracts/cli.md`, which the test below compares.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

use crate::args::Cli;
use crate::config::keys::KEYS;
use crate::env::VARIABLES;

/// The reference as Markdown.
pub(crate) fn reference() -> String {
    let mut text = String::from(
        "# The command line of bhatti\n\n\
         Made from the program; do not edit. Flags under \"Global options\" go with every command \
         and are shown once.\n",
    );
    let mut root = Cli::command().term_width(100);
    root.build();
    command(&mut text, &mut root, true);
    text.push_str("\n## Exit codes\n\n");
    text.push_str(
        "| code | meaning |\n|---|---|\n\
         | 0 | done, or the reader of the output had enough |\n\
         | 1 | bhatti or the daemon could not do it |\n\
         | 2 | the command line is not understood |\n\
         | 124 | `exec`: the command's time was up |\n\
         | 128 + n | `exec`: signal n ended the command, or ended the wait for it |\n\
         | else | `exec`: that of the command |\n",
    );
    text.push_str("\n## Configuration\n\n");
    text.push_str(
        "Each layer goes over the one before: built-in defaults, `/etc/bhatti/config.yaml`, \
         `~/.bhatti/config.yaml`, the environment, flags.\n\n\
         | key | variable | flag | |\n|---|---|---|---|\n",
    );
    for key in KEYS {
        let flag = key.flag.map(|flag| format!("`{flag}`")).unwrap_or_default();
        row(
            &mut text,
            &[&code(key.name), &code(key.variable), &flag, key.help],
        );
    }
    text.push_str("\n## Environment\n\n| variable | |\n|---|---|\n");
    for variable in VARIABLES {
        row(&mut text, &[&code(variable.name), variable.help]);
    }
    text
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn row(text: &mut String, cells: &[&str]) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// One command's help and that of its own commands.
fn command(text: &mut String, command_of: &mut Command, is_root: bool) {
    let name = command_of
        .get_bin_name()
        .unwrap_or(command_of.get_name())
        .to_owned();
    let mut shown = command_of.clone();
    if !is_root {
        shown = shown.mut_args(|arg| {
            let hidden = arg.is_global_set() || arg.is_hide_set();
            arg.hide(hidden)
        });
    }
    let help = shown.render_long_help().to_string();
    let lines: Vec<_> = help.lines().map(str::trim_end).collect();
    let _ = write!(
        text,
        "\n## `{name}`\n\n```text\n{}\n```\n",
        lines.join("\n").trim_end()
    );
    for sub in command_of
        .get_subcommands_mut()
        .filter(|sub| sub.get_name() != "help" && !sub.is_hide_set())
    {
        command(text, sub, false);
    }
}

#[cfg(test)]
mod test {
    use super::reference;

    #[test]
    fn the_reference_in_contracts_is_that_of_this_program() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contracts/cli.md");
        let made = reference();
        if std::env::var_os("BHATTI_BLESS").is_some() {
            fs_err::write(path, &made).unwrap();
        }
        let kept = fs_err::read_to_string(path).unwrap_or_default();
        assert!(
            made == kept,
            "contracts/cli.md is not what the program says now; if the change is meant, run this \
             test with BHATTI_BLESS=1",
        );
    }
}
