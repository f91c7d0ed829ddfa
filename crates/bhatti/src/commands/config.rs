//! `bhatti config`.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde_json::Value;

use crate::failure::Failure;
use crate::run::Context;
use crate::table::table;

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show each value and where it comes from
    Show,
}

/// Looks at the configuration.
pub(crate) fn run(command: &ConfigCommand, context: &Context) -> Result<(), Failure> {
    match command {
        ConfigCommand::Show => show(context),
    }
}

fn show(context: &Context) -> Result<(), Failure> {
    let entries = context.config.entries();
    let by_key: BTreeMap<_, _> = entries.iter().map(|entry| (entry.key, entry)).collect();
    context.ui.show(&by_key, || {
        let rows: Vec<_> = entries
            .iter()
            .map(|entry| {
                let value = match &entry.value {
                    Value::Null => "-".to_owned(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                vec![entry.key.to_owned(), value, entry.source.clone()]
            })
            .collect();
        table(&["KEY", "VALUE", "SOURCE"], &rows)
    })
}
