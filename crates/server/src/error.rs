//! The one place where errors become answers.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use bhatti_api::error::ErrorBody;
use bhatti_engine::error::Error as EngineError;
use bhatti_types::invalid::Invalid;
use http::header::{RETRY_AFTER, UPGRADE, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

/// A request that is answered with an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// There is no token.
    #[error("authorization required")]
    NoToken,
    /// The token is nobody's.
    #[error("invalid api key")]
    BadToken,
    /// The route is for the administrator.
    #[error("only the host's administrator may do this")]
    Forbidden,
    /// The user asks too often.
    #[error("rate limit exceeded")]
    RateLimited {
        /// When to ask again.
        retry_after: Duration,
    },
    /// The request cannot be understood.
    #[error("{message}")]
    Malformed {
        /// Why, in one line.
        message: String,
    },
    /// The body is longer than any request's.
    #[error("the request body is over the limit of {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    #[error("the request body did not arrive in {seconds} s")]
    SlowBody {
        /// The time it had, in seconds.
        seconds: u64,
    },
    /// There is no such route.
    #[error("no such path")]
    NoRoute,
    /// The path has no such method.
    #[error("method {method} is not allowed here")]
    WrongMethod {
        /// The method asked for.
        method: String,
    },
    /// The route speaks WebSocket only.
    #[error("a WebSocket upgrade is required")]
    NotWebSocket,
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A fault of this crate.
    #[error("{what}")]
    Fault {
        /// What went wrong, for the log.
        what: &'static str,
        /// Why.
        #[source]
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        Self::Engine(EngineError::Invalid(invalid))
    }
}

/// An answer's error, kept beside it until [`crate::observe`] has logged it and put the request's
/// id into it.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// What the client is told, without the request's id.
    pub(crate) body: ErrorBody,
    /// The whole story.
    pub(crate) cause: Arc<ApiError>,
}

impl ApiError {
    /// Makes a [`ApiError::Malformed`].
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::Malformed {
            message: message.into(),
        }
    }

    /// The status it is answered with.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NoToken | Self::BadToken => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Malformed { .. } => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotWebSocket => StatusCode::UPGRADE_REQUIRED,
            Self::Engine(error) => engine_status(error),
            Self::Fault { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What the client is told. Faults are scrubbed.
    pub(crate) fn body(&self) -> ErrorBody {
        let error = if self.status() == StatusCode::INTERNAL_SERVER_ERROR {
            "internal error".to_owned()
        } else {
            self.to_string()
        };
        let hint = match self {
            Self::Engine(error) => error.hint().map(str::to_owned),
            _ => None,
        };
        ErrorBody {
            error,
            hint,
            request_id: None,
        }
    }
}

/// The status for each error of the engine. Exhaustive, so that a new one is given a thought.
fn engine_status(error: &EngineError) -> StatusCode {
    match error {
        EngineError::Invalid(_) | EngineError::OverLimit { .. } | EngineError::Guest { .. } => {
            StatusCode::BAD_REQUEST
        }
        EngineError::NotFound { .. } => StatusCode::NOT_FOUND,
        EngineError::Exists { .. } | EngineError::Conflict { .. } | EngineError::Woken => {
            StatusCode::CONFLICT
        }
        EngineError::Quota { .. } => StatusCode::TOO_MANY_REQUESTS,
        EngineError::Unavailable { .. }
        | EngineError::NoRoom { .. }
        | EngineError::Busy { .. }
        | EngineError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        EngineError::NotConfigured { .. } => StatusCode::NOT_IMPLEMENTED,
        EngineError::Failed { .. } => StatusCode::BAD_GATEWAY,
        EngineError::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        EngineError::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = self.body();
        let mut response = (self.status(), Json(&body)).into_response();
        let headers = response.headers_mut();
        match &self {
            Self::NoToken | Self::BadToken => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::RateLimited { retry_after }
            | Self::Engine(EngineError::Busy { retry_after, .. }) => {
                // Rounded up: asking again after it must not be too early.
                let seconds = retry_after.as_millis().div_ceil(1000).max(1) as u64;
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            Self::NotWebSocket => {
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            }
            // The rest says all in its body.
            _ => {}
        }
        response.extensions_mut().insert(Failure {
            body,
            cause: Arc::new(self),
        });
        response
    }
}

/// Writes an error with all its sources in one line, for the log.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod test {
    use std::time::Duration;

    use axum::response::IntoResponse as _;
    use bhatti_engine::error::{Error as EngineError, Kind};

    use super::{ApiError, chain};

    fn every_engine_error() -> Vec<EngineError> {
        let source = || std::io::Error::other("/var/lib/secret: permission denied");
        vec![
            EngineError::Invalid(bhatti_types::invalid::Invalid::new(
                "size",
                "0",
                "too small",
            )),
            EngineError::NotFound {
                kind: Kind::Sandbox,
                name: "dev".into(),
            },
            EngineError::Exists {
                kind: Kind::Snapshot,
                name: "pre".into(),
            },
            EngineError::Conflict {
                message: "it sleeps".into(),
                hint: Some("wake it".into()),
            },
            EngineError::Quota {
                what: "sandbox",
                limit: 5,
            },
            EngineError::OverLimit {
                what: "memory",
                asked: 9000,
                limit: 4096,
            },
            EngineError::Unavailable {
                message: "no guest kit".into(),
                hint: None,
            },
            EngineError::NotConfigured {
                message: "backups are not configured".into(),
                hint: Some("configure them".into()),
            },
            EngineError::NoRoom {
                message: "no room for a machine".into(),
            },
            EngineError::Busy {
                message: "it did not wake in 60 s".into(),
                retry_after: Duration::from_secs(2),
            },
            EngineError::Woken,
            EngineError::Guest {
                message: "nosuch: not found".into(),
                exit_code: 127,
            },
            EngineError::Failed {
                message: "the machine did not start".into(),
                hint: None,
                source: Some(source().into()),
            },
            EngineError::Timeout {
                what: "the boot",
                seconds: 60,
            },
            EngineError::Stopping,
            EngineError::internal(source()),
        ]
    }

    #[test]
    fn each_error_of_the_engine_has_its_status_and_words() {
        let table: Vec<String> = every_engine_error()
            .into_iter()
            .map(|error| {
                let error = ApiError::from(error);
                let body = error.body();
                format!("{} {} {:?}", error.status().as_u16(), body.error, body.hint)
            })
            .collect();
        insta::assert_snapshot!(table.join("\n"));
    }

    #[test]
    fn what_only_the_log_may_hold_is_in_no_answer() {
        for error in every_engine_error() {
            let error = ApiError::from(error);
            let told = serde_json::to_string(&error.body()).unwrap();
            assert!(!told.contains("secret"), "{told}");
        }
        let error = ApiError::from(EngineError::internal(std::io::Error::other("the disk")));
        assert_eq!(chain(&error), "internal error: the disk");
    }

    #[test]
    fn a_retry_is_never_told_for_too_early() {
        let told = |error: ApiError| {
            error.into_response().headers()["retry-after"]
                .to_str()
                .unwrap()
                .to_owned()
        };
        let after = |millis| {
            told(ApiError::RateLimited {
                retry_after: Duration::from_millis(millis),
            })
        };
        let busy = EngineError::Busy {
            message: String::new(),
            retry_after: Duration::from_millis(1500),
        };
        assert_eq!(told(busy.into()), "2");
        assert_eq!(
            (after(0), after(1000), after(1001)),
            ("1".into(), "1".into(), "2".into())
        );
    }
}
