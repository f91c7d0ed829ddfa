//! `bhatti version`.

use bhatti_api::host::{Storage, Version};
use serde::Serialize;

use crate::failure::Failure;
use crate::run::Context;

/// Both versions.
#[derive(Serialize)]
struct Versions {
    client: &'static str,
    server: Option<Version>,
}

/// Shows the versions. A daemon that does not answer is no failure.
pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let client = context.client();
    let (server, problem) = match client.version().await {
        Ok(version) => (Some(version), None),
        Err(error) => (None, Some(Failure::from(error))),
    };
    let versions = Versions {
        client: env!("CARGO_PKG_VERSION"),
        server,
    };
    context.ui.show(&versions, || {
        let ours = versions.client;
        if let Some(server) = &versions.server {
            let kit = server.kit.as_deref().unwrap_or("none");
            let daemon = format!(
                "bhatti {ours}\ndaemon {} (API {}, guest kit {kit}) at {}",
                server.version,
                server.api,
                client.endpoint(),
            );
            let mut lines = vec![daemon];
            lines.extend(server.storage.as_ref().map(shown));
            lines.extend(
                server
                    .network
                    .as_ref()
                    .map(|network| format!("network {network}")),
            );
            lines.join("\n")
        } else {
            format!("bhatti {ours}")
        }
    })?;
    if let Some(problem) = problem {
        context.ui.warn(problem.message());
    }
    Ok(())
}

/// Where machines' files are kept, in a line.
fn shown(storage: &Storage) -> String {
    format!(
        "storage {}, {} MB of {} MB free",
        storage.kind,
        storage.free_bytes >> 20,
        storage.size_bytes >> 20
    )
}
