//! `bhatti setup`.

use std::path::{Path, PathBuf};

use bhatti_client::client::Client;
use bhatti_client::endpoint::Endpoint;
use bhatti_client::token::BearerToken;
use serde::Serialize;

use crate::config::error::ConfigError;
use crate::config::keys::{API_URL, AUTH_TOKEN};
use crate::config::{file, load};
use crate::failure::Failure;
use crate::prompt::{ask, ask_secret};
use crate::run::Context;

/// What a machine is told.
#[derive(Serialize)]
struct Report {
    url: String,
    sandboxes: usize,
    config: PathBuf,
}

/// Tries a URL and a token, then keeps them. Nothing is kept if they are no good.
pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let path = load::user_file(&context.environment)?;
    let url = given_or_asked(context, API_URL, "--url", || ask("URL of the daemon: "))?;
    let token = given_or_asked(context, AUTH_TOKEN, "--token", || ask_secret("Token: "))?;
    let endpoint: Endpoint = url.parse()?;
    let client = Client::new(endpoint, Some(BearerToken::new(&token)?));
    let sandboxes = client.sandbox_list(&[]).await?.len();
    keep(&path, &[(API_URL, &url), (AUTH_TOKEN, &token)])?;
    let report = Report {
        url,
        sandboxes,
        config: path,
    };
    context.ui.show(&report, || {
        let plural = if sandboxes == 1 {
            "sandbox"
        } else {
            "sandboxes"
        };
        format!("{} authenticated ({sandboxes} {plural})", context.ui.tick())
    })?;
    if !context.ui.json() {
        context
            .ui
            .note(format_args!("kept in {}", report.config.display()));
    }
    Ok(())
}

/// The value of a flag or of the environment, or what the user answers. What the files say does
/// not count: it is to be replaced.
fn given_or_asked(
    context: &Context,
    key: &'static str,
    flag: &str,
    ask: impl FnOnce() -> Result<String, Failure>,
) -> Result<String, Failure> {
    if let Some(text) = context.config.given(key) {
        return Ok(text);
    }
    if !context.ui.asks {
        return Err(Failure::Usage {
            message: format!("{flag} is missing, and there is no terminal to ask on"),
            hint: Some("usage is `bhatti setup --url URL --token TOKEN`".to_owned()),
        });
    }
    ask()
}

fn keep(path: &Path, values: &[(&str, &str)]) -> Result<(), Failure> {
    let old = match fs_err::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(source) => {
            return Err(ConfigError::Unreadable {
                path: path.to_owned(),
                source,
            }
            .into());
        }
    };
    let new = file::with_values(&old, values);
    file::write_private(path, &new).map_err(|source| Failure::File {
        what: "write",
        path: path.to_owned(),
        source,
    })
}
