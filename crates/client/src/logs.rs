//! What the program wrote that a sandbox keeps running.

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::client::{CHANGE_TIMEOUT, Client, Driver, segment};
use crate::error::Error;

/// A program's log, as it comes. Dropping it ends the call.
pub struct Logs {
    client: Client,
    body: Incoming,
    _driver: Driver,
}

impl Logs {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Some(Err(source)) => {
                    return Err(Error::Broken {
                        endpoint: self.client.endpoint().clone(),
                        source,
                    });
                }
            }
        }
    }
}

impl Client {
    /// The log of a sandbox's program: its last lines if `tail` says how many, and what comes if
    /// `follow`.
    #[expect(clippy::missing_panics_doc, reason = "the expectation always holds")]
    pub async fn logs(
        &self,
        sandbox: &str,
        tail: Option<u32>,
        follow: bool,
    ) -> Result<Logs, Error> {
        let mut path = format!("/sandboxes/{}/logs?follow={follow}", segment(sandbox));
        if let Some(lines) = tail {
            path = format!("{path}&tail={lines}");
        }
        let request = self
            .request(Method::GET, &path)
            .body(Full::<Bytes>::default())
            .expect("paths are percent-encoded and headers are checked");
        // Waking the sandbox may come before the answer.
        let sent = timeout(CHANGE_TIMEOUT, self.send(request)).await;
        let Ok(sent) = sent else {
            return Err(Error::Timeout {
                endpoint: self.endpoint().clone(),
                seconds: CHANGE_TIMEOUT.as_secs(),
            });
        };
        let (response, driver) = sent?;
        if !response.status().is_success() {
            return Err(self.read(response).await?.refusal());
        }
        Ok(Logs {
            client: self.clone(),
            body: response.into_body(),
            _driver: driver,
        })
    }
}
