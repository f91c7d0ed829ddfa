//! What a client sees in place of an answer.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};

use crate::pool::Body;
use crate::sites::ConnectError;

/// Nothing is loaded, nothing runs, nobody frames it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// Whether a person's browser asks for a page, which may as well be another page.
pub fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    let wants_html = headers.get_all(ACCEPT).iter().any(|accept| {
        accept.to_str().is_ok_and(|accept| {
            accept.split(',').any(|kind| {
                let kind = kind.split(';').next().unwrap_or_default();
                kind.trim().eq_ignore_ascii_case("text/html")
            })
        })
    });
    *method == Method::GET && wants_html
}

/// An answer of one line.
pub fn line(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(full(format!("{text}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer that there was no connection.
pub fn not_connected(error: &ConnectError) -> Response<Body> {
    match error {
        ConnectError::Gone => line(StatusCode::NOT_FOUND, "nothing is published here"),
        ConnectError::NotListening { .. } | ConnectError::Failed { .. } => {
            line(StatusCode::BAD_GATEWAY, &error.to_string())
        }
        ConnectError::Later { message, after } => later(message, *after),
    }
}

/// The answer that the client had better ask again.
pub fn later(text: &str, after: Duration) -> Response<Body> {
    let mut response = line(StatusCode::SERVICE_UNAVAILABLE, text);
    retry(&mut response, after);
    response
}

/// The answer that the client asks too often.
pub fn too_many(after: Duration) -> Response<Body> {
    let mut response = line(StatusCode::TOO_MANY_REQUESTS, "too many requests");
    retry(&mut response, after);
    response
}

fn retry(response: &mut Response<Body>, after: Duration) {
    let seconds = HeaderValue::from(after.as_secs().max(1));
    response.headers_mut().insert(RETRY_AFTER, seconds);
}

/// The answer to who may not enter. Browsers ask for a name, which is not looked at, and a password:
/// the token.
pub fn locked() -> Response<Body> {
    let mut response = line(
        StatusCode::UNAUTHORIZED,
        "private: send a token as `Authorization: Bearer`, or as the password of `Basic`",
    );
    let schemes = HeaderValue::from_static("Basic realm=\"bhatti\", charset=\"UTF-8\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, schemes);
    response
}

/// Sends the client to another address.
pub fn moved(location: &str) -> Response<Body> {
    let mut response = line(StatusCode::PERMANENT_REDIRECT, "moved");
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// The page that a browser shows while a machine wakes; it asks again by itself.
pub fn waking() -> Response<Body> {
    let html = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
                <meta name=\"viewport\" content=\"width=device-width\">\n\
                <meta http-equiv=\"refresh\" content=\"1\">\n<title>Waking up</title>\n\
                <style>body{font:1.1rem system-ui;display:grid;place-content:center;height:90vh;\
                color-scheme:light dark}</style>\n\
                <p>The machine is waking up. This page reloads by itself.</p></html>\n";
    let mut response = line(StatusCode::SERVICE_UNAVAILABLE, "");
    *response.body_mut() = full(html.to_owned());
    retry(&mut response, Duration::from_secs(1));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

fn full(text: String) -> Body {
    Full::new(Bytes::from(text))
        .map_err(|never| match never {})
        .boxed_unsync()
}

#[cfg(test)]
mod test {
    use http::Method;
    use http::header::{ACCEPT, HeaderMap};

    use super::is_navigation;

    #[test]
    fn only_a_person_who_opens_a_page_gets_another_one() {
        let accepts = |text: &str| HeaderMap::from_iter([(ACCEPT, text.parse().unwrap())]);
        let browser = accepts("text/html,application/xhtml+xml,*/*;q=0.8");
        assert!(is_navigation(&Method::GET, &browser));
        assert!(!is_navigation(&Method::POST, &browser));
        assert!(!is_navigation(&Method::GET, &accepts("*/*")));
        assert!(!is_navigation(&Method::GET, &HeaderMap::new()));
    }
}
