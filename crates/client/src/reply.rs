//! From an HTTP response to a value or an error.

use bhatti_api::error::ErrorBody;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::endpoint::Endpoint;
use crate::error::{Error, Refusal};

/// Longest part of a body that is no JSON that is repeated in an error, in characters.
const SHOWN: usize = 120;

/// A response that has been read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// The value in the body of a success.
    pub(crate) fn json<'a, T: Deserialize<'a>>(
        &'a self,
        endpoint: &Endpoint,
        what: &'static str,
    ) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|source| Error::Foreign {
            endpoint: endpoint.clone(),
            what,
            source: Some(source),
        })
    }

    /// A header as text, if it is there and is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Turns an answer that is no success into the error that it says.
    pub(crate) fn refusal(&self) -> Error {
        let request_id = self.header("x-request-id").map(str::to_owned);
        let refusal = match serde_json::from_slice::<ErrorBody>(&self.body) {
            Ok(body) => Refusal {
                status: self.status,
                message: printable(&body.error),
                hint: body.hint.as_deref().map(printable),
                request_id: body.request_id.or(request_id),
            },
            // Something between us and the daemon, a proxy for one, answered in its own way.
            Err(_) => Refusal {
                status: self.status,
                message: foreign_message(self.status, &self.body),
                hint: None,
                request_id,
            },
        };
        Error::Refused(Box::new(refusal))
    }
}

fn foreign_message(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    if line.is_empty() || line.starts_with('<') {
        return status.to_string();
    }
    format!(
        "{status}: {}",
        printable(&line.chars().take(SHOWN).collect::<String>())
    )
}

/// One line that cannot move a terminal's cursor, whoever wrote it.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod test {
    use http::{HeaderMap, StatusCode};

    use super::Reply;
    use crate::error::Error;

    fn refusal(status: u16, body: &str) -> crate::error::Refusal {
        let reply = Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.to_owned().into(),
        };
        match reply.refusal() {
            Error::Refused(refusal) => *refusal,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_daemons_own_words_are_kept() {
        let refusal = refusal(
            409,
            r#"{"error":"sandbox \"a\" already exists","hint":"h"}"#,
        );
        assert_eq!(refusal.message, "sandbox \"a\" already exists");
        assert_eq!(refusal.hint.as_deref(), Some("h"));
    }

    #[test]
    fn the_page_of_a_proxy_becomes_one_line() {
        assert_eq!(
            refusal(502, "<html>\n<h1>Bad</h1>").message,
            "502 Bad Gateway"
        );
        assert_eq!(
            refusal(503, "\nno backend\nmore").message,
            "503 Service Unavailable: no backend"
        );
        assert_eq!(refusal(500, "").message, "500 Internal Server Error");
    }

    #[test]
    fn a_message_cannot_move_the_cursor() {
        assert_eq!(
            refusal(400, r#"{"error":"a\u001b[2Jb\nc"}"#).message,
            "a [2Jb c"
        );
    }
}
