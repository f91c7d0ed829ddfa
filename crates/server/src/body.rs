//! JSON bodies: bounded, in time, and refused with a reason in one line.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bhatti_api::routes::MAX_BODY;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::error::ApiError;

/// How long a body may take to arrive.
const BODY_LIMIT: Duration = Duration::from_secs(30);
/// Most bytes that are read and thrown away of a body that is too long. A connection that is
/// closed with bytes unread is reset, and then the client may not get to see why.
const MAX_DRAINED: usize = 8 * MAX_BODY;
/// Longest reason, in characters.
const MAX_REASON: usize = 300;

/// A JSON body that has to be there. Its content type does not matter, as with the original.
pub(crate) struct Json<T>(pub(crate) T);

/// A JSON body that may be left out.
pub(crate) struct JsonOrDefault<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let bytes = read(request).await?;
        if bytes.is_empty() {
            return Err(ApiError::malformed("a JSON body is required"));
        }
        parse(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for JsonOrDefault<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let bytes = read(request).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        parse(&bytes).map(Self)
    }
}

async fn read(request: Request) -> Result<Bytes, ApiError> {
    let told = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let waits = request.headers().contains_key(EXPECT);
    if told.is_some_and(|length| length > MAX_DRAINED || (waits && length > MAX_BODY)) {
        return Err(ApiError::TooLarge { limit: MAX_BODY });
    }
    tokio::time::timeout(BODY_LIMIT, collect(request.into_body()))
        .await
        .unwrap_or(Err(ApiError::SlowBody {
            seconds: BODY_LIMIT.as_secs(),
        }))
}

async fn collect(mut body: Body) -> Result<Bytes, ApiError> {
    let mut bytes = BytesMut::new();
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::malformed("the request body broke off"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        seen += data.len();
        if seen > MAX_DRAINED {
            break;
        }
        if seen <= MAX_BODY {
            bytes.extend_from_slice(&data);
        }
    }
    if seen > MAX_BODY {
        return Err(ApiError::TooLarge { limit: MAX_BODY });
    }
    Ok(bytes.freeze())
}

/// Reads one JSON object.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // Serde would take an array for a struct, with the fields in their order.
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first
        .is_some_and(|byte| matches!(byte, b'[' | b'"' | b'0'..=b'9' | b'-' | b't' | b'f' | b'n'))
        && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
    {
        return Err(ApiError::malformed("the body must be a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        reason(
            error.inner(),
            Some(path.as_str()).filter(|path| *path != "."),
        )
    })?;
    deserializer.end().map_err(|error| reason(&error, None))?;
    Ok(value)
}

/// Puts a JSON error into one line, without the position that serde adds.
fn reason(error: &serde_json::Error, path: Option<&str>) -> ApiError {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    let what = text.strip_suffix(&position).unwrap_or(&text);
    let text = match (error.classify(), path) {
        // An unknown field is named in the reason itself.
        (Category::Data, Some(path)) if !what.starts_with("unknown field") => {
            format!("{path}: {}", in_words(what))
        }
        (Category::Data, _) => what.to_owned(),
        (Category::Syntax | Category::Eof | Category::Io, _) => {
            format!("the body is not JSON: {what}")
        }
    };
    // A field's name may be anything.
    let printable = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c });
    ApiError::malformed(printable.take(MAX_REASON).collect::<String>())
}

/// Says what kind of number is expected without Rust's names for them.
fn in_words(what: &str) -> String {
    let types = [
        ("u64", "a whole number"),
        ("u32", "a whole number below 4294967296"),
        ("i32", "a whole number"),
        ("f64", "a number"),
    ];
    types
        .into_iter()
        .find_map(|(name, words)| {
            let before = what.strip_suffix(name)?.strip_suffix("expected ")?;
            Some(format!("{before}expected {words}"))
        })
        .unwrap_or_else(|| what.to_owned())
}

#[cfg(test)]
mod test {
    use axum::body::Body;
    use axum::extract::FromRequest as _;
    use bhatti_api::routes::MAX_BODY;
    use bhatti_api::sandbox::{CreateSandbox, StartSandbox};
    use http::Request;

    use super::{Json, JsonOrDefault, MAX_DRAINED, parse};
    use crate::error::ApiError;

    fn refusal(body: &str) -> String {
        parse::<CreateSandbox>(body.as_bytes())
            .map(|_| ())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn reasons_are_one_line_and_name_the_field() {
        let table: Vec<String> = [
            "{",
            "{\"name\": \"de",
            "{} {}",
            "[]",
            "null",
            "\"x\"",
            "hello",
            "{\"name\": 7}",
            "{\"memory_mb\": -1}",
            "{\"memory_mb\": 1.5}",
            "{\"memory_mb\": \"1\"}",
            "{\"memory_mb\": 18446744073709551616}",
            "{\"cpus\": 1e999}",
            "{\"env\": {\"A\": 1}}",
            "{\"env\": []}",
            "{\"labels\": {\"a\": null}}",
            "{\"hugepages\": true}",
            "{\"a\\nb\": true}",
            "{\"name\": \"a\", \"name\": \"b\"}",
            "{\"name\": \"\u{1}\"}",
        ]
        .into_iter()
        .map(|body| format!("{body:40} {}", refusal(body)))
        .collect();
        insta::assert_snapshot!(table.join("\n"));
    }

    #[test]
    fn a_long_reason_is_cut() {
        let body = format!("{{\"{}\": 1}}", "x".repeat(100_000));
        assert!(refusal(&body).len() < 400);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_whether_its_length_is_told_or_not() {
        for length in [MAX_BODY + 1, MAX_DRAINED + 1] {
            let padded = format!("{{}}{}", " ".repeat(length - 2));
            let told = Request::post("/")
                .header("content-length", length)
                .body(Body::from(padded.clone()))
                .unwrap();
            let pieces: Vec<_> = padded
                .into_bytes()
                .chunks(60_000)
                .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()))
                .collect();
            let untold = Request::post("/")
                .body(Body::from_stream(futures::stream::iter(pieces)))
                .unwrap();
            for request in [told, untold] {
                let result = Json::<CreateSandbox>::from_request(request, &()).await;
                assert!(matches!(result, Err(ApiError::TooLarge { .. })));
            }
        }
    }

    #[tokio::test]
    async fn a_body_of_just_the_limit_is_taken() {
        let body = format!("{{}}{}", " ".repeat(MAX_BODY - 2));
        let request = Request::post("/").body(Body::from(body)).unwrap();
        assert!(
            Json::<CreateSandbox>::from_request(request, &())
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn a_body_may_be_left_out_where_nothing_in_it_is_needed() {
        let empty = || Request::post("/").body(Body::empty()).unwrap();
        let JsonOrDefault(start) = JsonOrDefault::<StartSandbox>::from_request(empty(), &())
            .await
            .unwrap();
        assert_eq!(start, StartSandbox::default());
        assert!(
            Json::<StartSandbox>::from_request(empty(), &())
                .await
                .is_err()
        );
    }
}
