//! Makes machines: one, a checkpoint of it, and a second that goes on from there.

use anyhow::Context as _;
use serde_json::Value;

use super::program::Bhatti;
use crate::run;

/// The first machine.
const SANDBOX: &str = "dev";
/// Its checkpoint.
const CHECKPOINT: &str = "pre";
/// The machine resumed from that.
const COPY: &str = "retry";

/// What is there under a name.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Running,
    Stopped,
    Failed,
}

/// Makes the machines and the checkpoint, and says in a few words what there is now.
///
/// The first machine is kept if it is there; the checkpoint and the copy are made anew, so that
/// they are of this run.
pub(super) async fn run(bhatti: &Bhatti) -> anyhow::Result<String> {
    let began = run::step("a machine, a checkpoint of it, and a copy that goes on from there");
    let sandboxes = bhatti.ask(&["list"]).await?;
    let checkpoints = bhatti.ask(&["snapshot", "list"]).await?;

    match find(&sandboxes, SANDBOX)? {
        Found::Failed => {
            run::say(&format!("    {SANDBOX} is there but has failed: replaced"));
            bhatti.show(&["destroy", SANDBOX, "--yes"]).await?;
            bhatti.show(&["create", "--name", SANDBOX]).await?;
        }
        Found::Stopped => {
            run::say(&format!("    {SANDBOX} is there and asleep: used again"));
            bhatti.show(&["start", SANDBOX]).await?;
        }
        Found::Running => run::say(&format!("    {SANDBOX} is there: used again")),
        Found::Nothing => bhatti.show(&["create", "--name", SANDBOX]).await?,
    }
    bhatti.show(&["exec", SANDBOX, "--", "uname", "-a"]).await?;
    if find(&checkpoints, CHECKPOINT)? != Found::Nothing {
        run::say(&format!("    checkpoint {CHECKPOINT} is there: replaced"));
        bhatti
            .show(&["snapshot", "delete", CHECKPOINT, "--yes"])
            .await?;
    }
    bhatti
        .show(&["snapshot", "create", SANDBOX, "--name", CHECKPOINT])
        .await?;
    if find(&sandboxes, COPY)? != Found::Nothing {
        run::say(&format!("    {COPY} is there: replaced"));
        bhatti.show(&["destroy", COPY, "--yes"]).await?;
    }
    bhatti
        .show(&["snapshot", "resume", CHECKPOINT, "--name", COPY])
        .await?;
    bhatti.show(&["list"]).await?;
    run::done(began, "they run");
    Ok(format!(
        "{SANDBOX}, and {COPY} resumed from its checkpoint {CHECKPOINT}"
    ))
}

/// Looks for a name in a list as the API gives it.
fn find(list: &Value, name: &str) -> anyhow::Result<Found> {
    let list = list.as_array().context("the daemon's list is not a list")?;
    let entry = list.iter().find(|entry| entry["name"] == name);
    Ok(
        match entry.map(|entry| entry["status"].as_str().unwrap_or_default()) {
            None => Found::Nothing,
            Some("stopped") => Found::Stopped,
            Some("failed") => Found::Failed,
            Some(_) => Found::Running,
        },
    )
}

#[cfg(test)]
mod test {
    use serde_json::json;

    use super::{Found, find};

    #[test]
    fn a_machine_is_found_with_its_state() {
        let list = json!([
            {"name": "dev", "status": "running"},
            {"name": "old", "status": "stopped"},
            {"name": "bad", "status": "failed"},
        ]);
        assert_eq!(find(&list, "dev").unwrap(), Found::Running);
        assert_eq!(find(&list, "old").unwrap(), Found::Stopped);
        assert_eq!(find(&list, "bad").unwrap(), Found::Failed);
        assert_eq!(find(&list, "de").unwrap(), Found::Nothing);
        assert!(find(&json!({"error": "x"}), "dev").is_err());
    }
}
