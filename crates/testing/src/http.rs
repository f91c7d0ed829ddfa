//! Bare HTTP on the daemon's unix socket, for what the typed client does not show.

use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

/// An answer whose body is read piece by piece. Dropping it closes the connection.
#[derive(Debug)]
pub struct Answer {
    response: Response<Incoming>,
    driver: JoinHandle<()>,
}

/// Posts a JSON body and waits for the head of the answer.
///
/// # Panics
/// If the daemon can't be reached or breaks the connection.
pub async fn post(socket: &Path, path: &str, accept: &str, body: Vec<u8>) -> Answer {
    let stream = UnixStream::connect(socket).await;
    let stream = stream.expect("the daemon's socket takes connections");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("a connection is set up");
    let driver = tokio::spawn(async move {
        // What goes wrong with it the request sees.
        let _ = connection.await;
    });
    let request = Request::post(path)
        .header("host", "localhost")
        .header("accept", accept)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .expect("the path is one");
    let response = sender.send_request(request).await;
    Answer {
        response: response.expect("the daemon answers"),
        driver,
    }
}

impl Answer {
    /// The status.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// A header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The next piece of the body as the daemon sent it; `None` at its end.
    ///
    /// # Panics
    /// If the connection breaks.
    pub async fn piece(&mut self) -> Option<Bytes> {
        loop {
            let frame = self.response.frame().await?;
            let frame = frame.expect("the answer is whole");
            if let Ok(data) = frame.into_data() {
                return Some(data);
            }
        }
    }

    /// The rest of the body.
    ///
    /// # Panics
    /// If the connection breaks.
    pub async fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        while let Some(piece) = self.piece().await {
            rest.extend_from_slice(&piece);
        }
        rest
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
