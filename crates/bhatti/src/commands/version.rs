//! `bhatti version`.

use bhatti_api::host::Version;
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
            format!(
                "bhatti {ours}\ndaemon {} (API {}, guest kit {kit}) at {}",
                server.version,
                server.api,
                client.endpoint(),
            )
        } else {
            format!("bhatti {ours}")
        }
    })?;
    if let Some(problem) = problem {
        context.ui.warn(problem.message());
    }
    Ok(())
}
