//! Lists of sandboxes.

use bhatti_types::labels::Labels;

use crate::engine::Engine;
use crate::error::Error;
use crate::request::Caller;
use crate::view::{SandboxLineView, SandboxView};

impl Engine {
    /// The caller's sandboxes that carry `labels`, by name.
    #[expect(clippy::unused_async, reason = "the facade's methods are all alike")]
    pub async fn sandbox_list(
        &self,
        caller: &Caller,
        labels: &Labels,
    ) -> Result<Vec<SandboxView>, Error> {
        let pick = |view: &SandboxView| view.labels.matches(labels).then(|| view.clone());
        let mut views = self.directory.pick_of_user(&caller.user, pick);
        views.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(views)
    }

    /// The same, but only what a list in four columns shows.
    #[expect(clippy::unused_async, reason = "the facade's methods are all alike")]
    pub async fn sandbox_lines(
        &self,
        caller: &Caller,
        labels: &Labels,
    ) -> Result<Vec<SandboxLineView>, Error> {
        let pick = |view: &SandboxView| {
            view.labels.matches(labels).then(|| SandboxLineView {
                name: view.name.clone(),
                status: view.status,
                thermal: view.thermal,
            })
        };
        let mut lines = self.directory.pick_of_user(&caller.user, pick);
        lines.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(lines)
    }
}
