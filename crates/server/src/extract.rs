//! What handlers take from a request besides its body.

use axum::extract::{FromRequestParts, Path};
use bhatti_engine::error::{Error as EngineError, Kind};
use bhatti_engine::request::Caller;
use bhatti_types::id::{BackupId, TaskId, TemplateId};
use bhatti_types::name::{ImageName, SnapshotName, UserName, VolumeName};
use http::request::Parts;

use crate::error::ApiError;

/// Longest part of a name that is not one that is repeated in an answer, in characters.
const MAX_SHOWN: usize = 80;

/// Who asks; put there by the guard of the route.
pub(crate) struct Asking(pub(crate) Caller);

impl<S: Send + Sync> FromRequestParts<S> for Asking {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Caller>()
            .cloned()
            .map(Self)
            .ok_or(ApiError::Fault {
                what: "a handler that needs a caller is on a route without one",
                source: None,
            })
    }
}

/// The `{id}` of a path: a sandbox's id or name. What can be neither is not found.
pub(crate) struct SandboxKey(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for SandboxKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = segment(parts, state).await?;
        // Every id is also well formed as a name.
        match text.parse::<bhatti_types::name::SandboxName>() {
            Ok(name) => Ok(Self(name.into())),
            Err(_) => Err(not_found(Kind::Sandbox, &text)),
        }
    }
}

/// The `{name}` of a path, or an `{id}` that is no sandbox's. What is not one is not found.
pub(crate) struct Named<T>(pub(crate) T);

/// A name that can stand in a path.
pub(crate) trait PathName: std::str::FromStr {
    /// What it names.
    const KIND: Kind;
}

impl PathName for SnapshotName {
    const KIND: Kind = Kind::Snapshot;
}

impl PathName for ImageName {
    const KIND: Kind = Kind::Image;
}

impl PathName for VolumeName {
    const KIND: Kind = Kind::Volume;
}

impl PathName for UserName {
    const KIND: Kind = Kind::User;
}

impl PathName for TaskId {
    const KIND: Kind = Kind::Task;
}

impl PathName for TemplateId {
    const KIND: Kind = Kind::Template;
}

impl<T: PathName, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = segment(parts, state).await?;
        text.parse()
            .map(Self)
            .map_err(|_| not_found(T::KIND, &text))
    }
}

/// The `{name}` of a volume and the `{id}` of one of its backups.
pub(crate) struct OfVolume {
    pub(crate) volume: VolumeName,
    pub(crate) backup: BackupId,
}

impl<S: Send + Sync> FromRequestParts<S> for OfVolume {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path((volume, backup)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::malformed("the path is not UTF-8"))?;
        Ok(Self {
            volume: volume
                .parse()
                .map_err(|_| not_found(Kind::Volume, &volume))?,
            backup: backup
                .parse()
                .map_err(|_| not_found(Kind::Backup, &backup))?,
        })
    }
}

/// The one variable segment of a path, percent-decoded.
async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, ApiError> {
    let Path(text) = Path::<String>::from_request_parts(parts, state)
        .await
        .map_err(|_| ApiError::malformed("the path is not UTF-8"))?;
    Ok(text)
}

fn not_found(kind: Kind, text: &str) -> ApiError {
    let mut name: String = text.chars().take(MAX_SHOWN).collect();
    if name.len() < text.len() {
        name.push('…');
    }
    EngineError::NotFound { kind, name }.into()
}
