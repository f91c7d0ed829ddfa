//! The whole API over an engine with an empty data directory: no guest kit, no image, no machine.

use axum::Router;
use axum::body::Body;
use bhatti_engine::config::{AcceleratorChoice, EngineConfig};
use bhatti_engine::engine::Engine;
use bhatti_server::app::{App, Options, router};
use bhatti_server::peer::Peer;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

/// Where requests without another way in come from.
const TCP: &str = "192.0.2.7:40000";

/// The API, called without a network.
pub(crate) struct Api {
    router: Router,
    dir: tempfile::TempDir,
}

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) enum Who {
    /// The unix socket.
    Local,
    /// TCP without a token.
    Nobody,
    /// TCP with this in its `Authorization` header.
    Header(String),
}

impl Who {
    /// TCP with a token.
    pub(crate) fn token(token: &str) -> Self {
        Self::Header(format!("Bearer {token}"))
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The message of an error.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

impl Api {
    pub(crate) async fn start(options: Options) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), options).await
    }

    /// Over a data directory that may hold something already.
    pub(crate) async fn start_in(dir: tempfile::TempDir, options: Options) -> Self {
        let engine = engine(dir.path()).await;
        Self {
            router: router(&App::new(engine, options)),
            dir,
        }
    }

    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Calls `METHOD /path`.
    pub(crate) async fn call(&self, who: &Who, line: &str, body: impl Into<Body>) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        let request = Request::builder().method(method).uri(path);
        self.send(who, request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn send(&self, who: &Who, mut request: Request<Body>) -> Answer {
        let peer = match who {
            Who::Local => Peer::Local,
            Who::Nobody => Peer::Tcp(TCP.parse().unwrap()),
            Who::Header(header) => {
                request
                    .headers_mut()
                    .insert("authorization", header.parse().unwrap());
                Peer::Tcp(TCP.parse().unwrap())
            }
        };
        request.extensions_mut().insert(peer);
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// Makes a user with the default limits and gives its token.
    pub(crate) async fn user(&self, name: &str) -> String {
        let body = format!(r#"{{"name": "{name}"}}"#);
        let answer = self.call(&Who::Local, "POST /users", body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["api_key"].as_str().unwrap().to_owned()
    }
}

pub(crate) async fn engine(dir: &std::path::Path) -> Engine {
    let config = EngineConfig {
        accelerator: AcceleratorChoice::Tcg,
        ..EngineConfig::new(dir.to_owned())
    };
    Engine::open(config).await.unwrap()
}
