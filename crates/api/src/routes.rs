//! The table of routes. The daemon's router, its rate limiter, the OpenAPI document and the tests
//! all read it, so that no route lacks one of them.

/// HTTP methods in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Makes or does.
    Post,
    /// Changes.
    Patch,
    /// Takes away.
    Delete,
}

impl Method {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Auth {
    /// Everybody.
    Nobody,
    /// Whoever has a token, and the local administrator.
    User,
    /// The local administrator.
    Admin,
}

/// Which of a user's rate limits a route counts against. The numbers are the original's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitClass {
    /// None: the route is free.
    Free,
    /// Making sandboxes: 30 a minute, 10 at once.
    Create,
    /// Running commands: 600 a minute, 30 at once.
    Exec,
    /// The rest: 1200 a minute, 60 at once.
    Other,
}

/// What a route does; one for each row of [`ROUTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "ROUTES and the OpenAPI document say what each does"
)]
pub enum Operation {
    Health,
    Version,
    SandboxList,
    SandboxCreate,
    SandboxGet,
    SandboxEdit,
    SandboxDestroy,
    SandboxPause,
    SandboxStop,
    SandboxStart,
    SandboxExec,
    SandboxExecWs,
    SandboxLogs,
    SandboxShell,
    SandboxSessions,
    SandboxCheckpoint,
    SandboxFork,
    SandboxRollback,
    SnapshotList,
    SnapshotGet,
    SnapshotDelete,
    SnapshotResume,
    Tree,
    SandboxSaveImage,
    ImageList,
    ImagePull,
    ImageImport,
    ImageGet,
    ImageDelete,
    ImageWarm,
    ImageExport,
    ImagePush,
    ImageShare,
    ImageUnshare,
    TaskList,
    TaskGet,
    TaskCancel,
    CollectGarbage,
    TemplateList,
    TemplateDelete,
    VolumeList,
    VolumeCreate,
    VolumeGet,
    VolumeDelete,
    VolumeResize,
    VolumeClone,
    VolumeAttach,
    VolumeDetach,
    BackupList,
    BackupCreate,
    BackupRestore,
    BackupDelete,
    UserList,
    UserCreate,
    UserGet,
    UserEdit,
    UserDelete,
    UserRotateKey,
    SleepAll,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path, with `{id}` or `{name}` where a value goes.
    pub path: &'static str,
    /// Who may call it.
    pub auth: Auth,
    /// Which rate limit it counts against.
    pub limit: LimitClass,
    /// What it does.
    pub operation: Operation,
}

const fn route(
    method: Method,
    path: &'static str,
    auth: Auth,
    limit: LimitClass,
    operation: Operation,
) -> Route {
    Route {
        method,
        path,
        auth,
        limit,
        operation,
    }
}

use Auth::{Admin, Nobody, User};
use LimitClass::{Create, Exec, Free, Other};
use Method::{Delete, Get, Patch, Post};

/// All routes of the API.
#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    route(Get, "/health", Nobody, Free, Operation::Health),
    route(Get, "/version", User, Other, Operation::Version),
    route(Get, "/sandboxes", User, Other, Operation::SandboxList),
    route(Post, "/sandboxes", User, Create, Operation::SandboxCreate),
    route(Get, "/sandboxes/{id}", User, Other, Operation::SandboxGet),
    route(Delete, "/sandboxes/{id}", User, Other, Operation::SandboxDestroy),
    route(Patch, "/sandboxes/{id}", User, Other, Operation::SandboxEdit),
    route(Post, "/sandboxes/{id}/pause", User, Other, Operation::SandboxPause),
    route(Post, "/sandboxes/{id}/stop", User, Other, Operation::SandboxStop),
    route(Post, "/sandboxes/{id}/start", User, Other, Operation::SandboxStart),
    route(Post, "/sandboxes/{id}/exec", User, Exec, Operation::SandboxExec),
    route(Get, "/sandboxes/{id}/exec/ws", User, Exec, Operation::SandboxExecWs),
    route(Get, "/sandboxes/{id}/logs", User, Exec, Operation::SandboxLogs),
    route(Get, "/sandboxes/{id}/ws", User, Exec, Operation::SandboxShell),
    route(Get, "/sandboxes/{id}/sessions", User, Other, Operation::SandboxSessions),
    route(Post, "/sandboxes/{id}/checkpoint", User, Other, Operation::SandboxCheckpoint),
    route(Post, "/sandboxes/{id}/fork", User, Create, Operation::SandboxFork),
    route(Post, "/sandboxes/{id}/rollback", User, Other, Operation::SandboxRollback),
    route(Get, "/snapshots", User, Other, Operation::SnapshotList),
    route(Get, "/snapshots/{name}", User, Other, Operation::SnapshotGet),
    route(Delete, "/snapshots/{name}", User, Other, Operation::SnapshotDelete),
    route(Post, "/snapshots/{name}/resume", User, Other, Operation::SnapshotResume),
    route(Get, "/tree", User, Other, Operation::Tree),
    route(Get, "/images", User, Other, Operation::ImageList),
    route(Post, "/images/pull", User, Create, Operation::ImagePull),
    route(Post, "/images/import", User, Create, Operation::ImageImport),
    route(Post, "/sandboxes/{id}/save-image", User, Create, Operation::SandboxSaveImage),
    route(Get, "/images/{name}", User, Other, Operation::ImageGet),
    route(Delete, "/images/{name}", User, Other, Operation::ImageDelete),
    route(Get, "/images/{name}/export", User, Create, Operation::ImageExport),
    route(Post, "/images/{name}/push", User, Create, Operation::ImagePush),
    route(Post, "/images/{name}/share", User, Other, Operation::ImageShare),
    route(Post, "/images/{name}/unshare", User, Other, Operation::ImageUnshare),
    route(Post, "/images/{name}/warm", User, Create, Operation::ImageWarm),
    route(Get, "/machine-templates", User, Other, Operation::TemplateList),
    route(Delete, "/machine-templates/{id}", Admin, Other, Operation::TemplateDelete),
    route(Get, "/volumes", User, Other, Operation::VolumeList),
    route(Post, "/volumes", User, Other, Operation::VolumeCreate),
    route(Get, "/volumes/{name}", User, Other, Operation::VolumeGet),
    route(Delete, "/volumes/{name}", User, Other, Operation::VolumeDelete),
    route(Post, "/volumes/{name}/resize", User, Other, Operation::VolumeResize),
    route(Post, "/volumes/{name}/snapshot", User, Other, Operation::VolumeClone),
    route(Post, "/volumes/{name}/attach", User, Other, Operation::VolumeAttach),
    route(Post, "/volumes/{name}/detach", User, Other, Operation::VolumeDetach),
    route(Get, "/volumes/{name}/backups", User, Other, Operation::BackupList),
    route(Post, "/volumes/{name}/backups", User, Create, Operation::BackupCreate),
    route(Post, "/volumes/{name}/backups/restore", User, Create, Operation::BackupRestore),
    route(Delete, "/volumes/{name}/backups/{id}", User, Other, Operation::BackupDelete),
    route(Get, "/users", Admin, Other, Operation::UserList),
    route(Post, "/users", Admin, Other, Operation::UserCreate),
    route(Get, "/users/{name}", Admin, Other, Operation::UserGet),
    route(Patch, "/users/{name}", Admin, Other, Operation::UserEdit),
    route(Delete, "/users/{name}", Admin, Other, Operation::UserDelete),
    route(Post, "/users/{name}/rotate-key", Admin, Other, Operation::UserRotateKey),
    route(Post, "/sleep", Admin, Other, Operation::SleepAll),
    route(Get, "/tasks", User, Other, Operation::TaskList),
    route(Get, "/tasks/{id}", User, Other, Operation::TaskGet),
    route(Delete, "/tasks/{id}", User, Other, Operation::TaskCancel),
    route(Post, "/gc", Admin, Other, Operation::CollectGarbage),
];

/// Header of a create's answer that says the sandbox was there already (`true`).
pub const EXISTING_HEADER: &str = "x-bhatti-existing";
/// Header of every answer: the daemon's version.
pub const VERSION_HEADER: &str = "x-bhatti-version";
/// Header of every answer: the request's id in the daemon's log.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// Media type that asks for, and marks, an exec streamed line by line.
pub const NDJSON: &str = "application/x-ndjson";
/// Longest JSON body of a request, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;

#[cfg(test)]
mod test {
    use std::collections::HashSet;

    use super::ROUTES;

    #[test]
    fn no_route_and_no_operation_is_there_twice() {
        let places: HashSet<_> = ROUTES
            .iter()
            .map(|route| (route.method, route.path))
            .collect();
        let operations: HashSet<_> = ROUTES.iter().map(|route| route.operation).collect();
        assert_eq!(
            (places.len(), operations.len()),
            (ROUTES.len(), ROUTES.len())
        );
    }
}
