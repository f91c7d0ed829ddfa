//! `/sandboxes/{id}/logs`.

use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use bhatti_engine::view::{Lease, Logs, LogsWanted};
use bhatti_types::invalid::Invalid;
use bytes::Bytes;
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::app::App;
use crate::error::{ApiError, chain};
use crate::extract::{Asking, SandboxKey};

/// The query of a request, in pairs.
type Pairs = Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>;

pub(crate) async fn show(
    State(app): State<App>,
    Asking(caller): Asking,
    SandboxKey(key): SandboxKey,
    query: Pairs,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|_| ApiError::malformed("the query is not well formed"))?;
    let wanted = wanted(query)?;
    let (logs, lease) = app.engine().logs(&caller, &key, wanted).await?;
    let closing = app.closing().clone();
    let pieces = Pieces {
        logs,
        _lease: lease,
    };
    let body = stream::unfold((pieces, closing), |(mut pieces, closing)| async move {
        let piece = closing.run_until_cancelled(pieces.next()).await??;
        Some((piece, (pieces, closing)))
    });
    let headers = [
        (CONTENT_TYPE, "application/octet-stream"),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

struct Pieces {
    logs: Logs,
    /// Keeps the sandbox hot for as long as somebody reads.
    _lease: Lease,
}

impl Pieces {
    /// The next piece. An error breaks the answer off, so that it is not taken for the end.
    async fn next(&mut self) -> Option<std::io::Result<Bytes>> {
        match self.logs.next().await {
            Ok(piece) => piece.map(Ok),
            Err(error) => {
                let error = bhatti_engine::error::Error::from(error);
                tracing::warn!(error = chain(&error), "a log broke off");
                Some(Err(std::io::Error::other("the log broke off")))
            }
        }
    }
}

fn wanted(query: Vec<(String, String)>) -> Result<LogsWanted, Invalid> {
    let mut wanted = LogsWanted::default();
    for (parameter, value) in query {
        match parameter.as_str() {
            "tail" => {
                let lines = value.parse();
                let wrong = |_| Invalid::new("tail", &value, "must be a number of lines");
                wanted.tail = Some(lines.map_err(wrong)?);
            }
            "follow" => {
                wanted.follow = match value.as_str() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(Invalid::new("follow", &value, "must be true or false")),
                }
            }
            _ => {
                let known = "only `tail` and `follow` are known";
                return Err(Invalid::new("query parameter", &parameter, known));
            }
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod test {
    use bhatti_engine::view::LogsWanted;

    use super::wanted;

    #[test]
    fn lines_and_following_are_asked_for_by_name() {
        let asked = |pairs: &[(&str, &str)]| {
            let owned = |&(k, v): &(&str, &str)| (k.to_owned(), v.to_owned());
            wanted(pairs.iter().map(owned).collect())
        };
        assert_eq!(asked(&[]).unwrap(), LogsWanted::default());
        let both = LogsWanted {
            tail: Some(5),
            follow: true,
        };
        assert_eq!(asked(&[("tail", "5"), ("follow", "true")]).unwrap(), both);
        for pair in [("tail", "-1"), ("tail", "x"), ("follow", "yes"), ("n", "1")] {
            assert!(asked(&[pair]).is_err(), "{pair:?}");
        }
    }
}
