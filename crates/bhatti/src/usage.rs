//! Mistakes on the command line, in our own form.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::Failure;

/// Turns clap's error into one line and a hint.
pub(crate) fn failure(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n");
    let message = one_line(paragraphs.next().unwrap_or_default());
    let message = message
        .strip_prefix("error: ")
        .unwrap_or(&message)
        .to_owned();
    let hint = suggestion(error).or_else(|| {
        if error.kind() == ErrorKind::InvalidSubcommand {
            return None;
        }
        let usage = paragraphs.find_map(|text| text.trim().strip_prefix("Usage: "))?;
        Some(format!("usage is `{}`", one_line(usage)))
    });
    let hint = hint.or_else(|| Some("`bhatti --help` shows what there is".to_owned()));
    Failure::Usage { message, hint }
}

/// Whether clap was asked for text and not wrong.
pub(crate) fn is_help(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    )
}

/// Whether a command was named that only has further commands.
pub(crate) fn is_unfinished(error: &clap::Error) -> bool {
    error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

fn suggestion(error: &clap::Error) -> Option<String> {
    let near = [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
    ]
    .into_iter()
    .find_map(|kind| match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        // The nearest is the last.
        ContextValue::Strings(texts) => texts.last().cloned(),
        _ => None,
    })?;
    Some(format!("did you mean `{near}`?"))
}

/// Runs of white space become one blank each.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
