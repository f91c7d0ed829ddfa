//! Applies rules: one text, one transaction.

use std::time::Duration;

use bhatti_host::command::{Command, CommandError};

use crate::error::NetError;

/// Time for the rules of a user to be applied; they take some milliseconds.
const LIMIT: Duration = Duration::from_secs(20);

/// Applies rules in the namespace of this thread: all of them or none.
///
/// `place` says whose they are in an error.
pub(crate) async fn apply(place: &str, rules: String) -> Result<(), NetError> {
    let applied = Command::new("nft")
        .args(["-f", "-"])
        .input(rules)
        .limit(LIMIT)
        .run()
        .await;
    match applied {
        Ok(_) => Ok(()),
        Err(source) => Err(NetError::Rules {
            place: place.to_owned(),
            source,
        }),
    }
}

/// Whether rules can be applied here; the error says why not.
pub(crate) async fn check() -> Result<(), CommandError> {
    // Checked by the kernel and not applied. A table that is in no file.
    let probe = "table inet bhatti_probe { }\n";
    let command = Command::new("nft").args(["-c", "-f", "-"]).input(probe);
    command.limit(LIMIT).run().await.map(|_| ())
}

/// What `nft list` says of something of the host's.
pub(crate) async fn listed(what: &[&str]) -> Result<String, NetError> {
    let list = Command::new("nft").arg("list").args(what).limit(LIMIT);
    let listed = list.run().await.map_err(|source| NetError::Rules {
        place: "the host".to_owned(),
        source,
    })?;
    Ok(String::from_utf8_lossy(&listed.stdout).into_owned())
}

/// Names of the tables of family `inet`.
pub(crate) async fn tables() -> Result<Vec<String>, NetError> {
    let text = listed(&["tables", "inet"]).await?;
    let names = text
        .lines()
        .filter_map(|line| line.strip_prefix("table inet "));
    Ok(names.map(|name| name.trim().to_owned()).collect())
}
