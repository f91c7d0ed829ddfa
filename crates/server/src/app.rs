//! The router, and what its handlers share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use bhatti_api::routes::{LimitClass, ROUTES};
use bhatti_engine::engine::Engine;
use bhatti_engine::error::Error as EngineError;
use bhatti_types::id::UserId;
use http::Method;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::error::ApiError;
use crate::guard::{Guarded, guard};
use crate::limits::Limits;
use crate::observe::observe;
use crate::routes::handler;

/// What can be set about the server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether users' requests are counted against the rate limits.
    pub rate_limits: bool,
    /// How long requests may take to finish once the daemon stops.
    pub stop_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rate_limits: true,
            stop_limit: Duration::from_secs(20),
        }
    }
}

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    limits: Option<Limits>,
    options: Options,
    started: Instant,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl App {
    /// Puts the shared things together.
    pub fn new(engine: Engine, options: Options) -> Self {
        Self {
            inner: Arc::new(Inner {
                engine,
                limits: options.rate_limits.then(Limits::new),
                options,
                started: Instant::now(),
                tasks: TaskTracker::new(),
                closing: CancellationToken::new(),
            }),
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    pub(crate) fn options(&self) -> &Options {
        &self.inner.options
    }

    /// How long the daemon has been up.
    pub(crate) fn uptime(&self) -> Duration {
        self.inner.started.elapsed()
    }

    /// Connections, WebSockets and changes in progress.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
    }

    /// Cancelled when what has not finished by itself has to end.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.inner.closing
    }

    /// Counts one request of a user.
    pub(crate) fn count(&self, user: &UserId, class: LimitClass) -> Result<(), ApiError> {
        match &self.inner.limits {
            Some(limits) => limits.check(user, class),
            None => Ok(()),
        }
    }

    /// Runs a change as a task of the daemon: it goes on even if the client goes away.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        match self.tasks().spawn(change.in_current_span()).await {
            Ok(result) => result.map_err(ApiError::Engine),
            Err(error) => Err(ApiError::Fault {
                what: "a change ended without a result",
                source: Some(error.into()),
            }),
        }
    }
}

/// Makes the router of all [`ROUTES`]. Requests must carry their [`crate::peer::Peer`] as an
/// extension.
pub fn router(app: &App) -> Router {
    let router = ROUTES.iter().fold(Router::new(), |router, route| {
        let guarded = Guarded {
            app: app.clone(),
            route,
        };
        let handler = handler(route.method, route.operation)
            .route_layer(from_fn_with_state(guarded, guard))
            .with_state(app.clone());
        router.route(route.path, handler)
    });
    router
        .fallback(async || ApiError::NoRoute)
        .method_not_allowed_fallback(async |method: Method| ApiError::WrongMethod {
            // A method may be any token; no known one is longer.
            method: method.as_str().chars().take(20).collect(),
        })
        .layer(from_fn(observe))
}
