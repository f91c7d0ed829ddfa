//! Proxy settings for programs that download.

use bhatti_host::command::Command;

/// The variables by which programs learn of a proxy, as `(name, value)`.
///
/// Programs are run with a cleared environment, so whoever reads the environment passes these on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<(String, String)>);

impl Proxies {
    /// The names of the variables.
    pub const NAMES: [&str; 6] = [
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
    ];

    /// Takes those variables that `lookup` knows.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let known = Self::NAMES
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), lookup(name)?)));
        Self(known.collect())
    }

    /// Adds the variables to a command's environment.
    pub fn apply(&self, command: Command) -> Command {
        self.0
            .iter()
            .fold(command, |command, (name, value)| command.env(name, value))
    }

    /// Has an HTTP client go through the proxies, and through none that its own look at the
    /// environment might find.
    pub(crate) fn apply_to_client(
        &self,
        client: reqwest::ClientBuilder,
    ) -> reqwest::Result<reqwest::ClientBuilder> {
        let value = |wanted: &str| {
            let found = self
                .0
                .iter()
                .find(|(name, value)| name.eq_ignore_ascii_case(wanted) && !value.is_empty());
            found.map(|(_, value)| value.as_str())
        };
        let except = value("no_proxy").and_then(reqwest::NoProxy::from_string);
        let mut client = client.no_proxy();
        if let Some(address) = value("https_proxy") {
            client = client.proxy(reqwest::Proxy::https(address)?.no_proxy(except.clone()));
        }
        if let Some(address) = value("http_proxy") {
            client = client.proxy(reqwest::Proxy::http(address)?.no_proxy(except));
        }
        Ok(client)
    }

    /// The variables as `NAME=value`, for programs that clear the environment themselves.
    pub fn assignments(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}"))
    }
}
