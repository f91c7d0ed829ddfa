//! `/health`, `/version` and `/sleep`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use bhatti_api::host::{Health, Storage, Version};
use bhatti_api::idle::{SleepAll, SleptAll};
use bhatti_api::openapi::API_VERSION;
use bhatti_engine::view::NetworkView;

use crate::app::App;
use crate::body::JsonOrDefault;
use crate::error::ApiError;
use crate::{convert, view};

pub(crate) async fn health(State(app): State<App>) -> Json<Health> {
    Json(Health {
        status: "ok".to_owned(),
        uptime: span(app.uptime()),
    })
}

pub(crate) async fn version(State(app): State<App>) -> Result<Json<Version>, ApiError> {
    let host = app.engine().host().await?;
    Ok(Json(Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: API_VERSION.to_owned(),
        kit: host.kit,
        storage: Some(Storage {
            kind: host.storage.kind.to_owned(),
            free_bytes: host.storage.free_bytes,
            size_bytes: host.storage.size_bytes,
        }),
        network: Some(match host.network {
            NetworkView::On => "on".to_owned(),
            NetworkView::Off(why) => format!("off: {why}"),
        }),
    }))
}

pub(crate) async fn sleep_all(
    State(app): State<App>,
    JsonOrDefault(body): JsonOrDefault<SleepAll>,
) -> Result<Json<SleptAll>, ApiError> {
    let limit = convert::sleep_limit(body.limit_sec)?;
    let engine = app.engine().clone();
    let slept = app
        .change(async move { engine.sleep_all(limit, body.going_down).await })
        .await?;
    Ok(Json(view::slept_all(slept)))
}

/// Writes a span of time such as `1h 2m 3s`, without the parts in front that are zero.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m {seconds}s"),
        _ => format!("{hours}h {minutes}m {seconds}s"),
    }
}

#[cfg(test)]
mod test {
    use std::time::Duration;

    use super::span;

    #[test]
    fn spans_of_time_begin_with_their_largest_part() {
        let of = |seconds| span(Duration::from_secs(seconds));
        assert_eq!(
            (of(0), of(61), of(3600)),
            ("0s".into(), "1m 1s".into(), "1h 0m 0s".into())
        );
    }
}
