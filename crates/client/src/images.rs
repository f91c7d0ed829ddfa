//! Calls about images.

use std::io;
use std::time::Duration;

use bhatti_api::image::{
    CollectGarbage, CollectedGarbage, DeletedImage, Image, PullImage, PushImage, SaveImage,
    ShareImage, TAR, TaskStarted,
};
use bhatti_api::template::{Template, WarmImage};
use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::time::timeout;

use crate::client::{CHANGE_TIMEOUT, Call, Client, Driver, segment};
use crate::error::Error;

/// How long an archive may take to go up and be made an image: tens of gigabytes over a slow line.
const IMPORT_TIMEOUT: Duration = Duration::from_hours(12);

/// An archive on its way in.
pub struct Archive {
    endpoint: crate::endpoint::Endpoint,
    response: Response<Incoming>,
    _driver: Driver,
}

impl Archive {
    /// The next bytes; `None` at the end. An archive that breaks off is an error.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.response.body_mut().frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(source)) => {
                    return Err(Error::Broken {
                        endpoint: self.endpoint.clone(),
                        source,
                    });
                }
            }
        }
    }
}

/// What is said of an archive that is sent.
#[derive(Debug, Clone, Default)]
pub struct ImportImage {
    /// Name of the image.
    pub name: String,
    /// Its name in the Docker or Podman it comes from, if it does.
    pub docker: Option<String>,
    /// Make it an image of the host's.
    pub host: bool,
    /// Length of the archive, if that is known.
    pub length: Option<u64>,
}

impl Client {
    /// The images the caller sees.
    pub async fn image_list(&self) -> Result<Vec<Image>, Error> {
        self.fetch(Call::get("/images", "GET /images")).await
    }

    /// One image.
    pub async fn image_get(&self, name: &str) -> Result<Image, Error> {
        let path = format!("/images/{}", segment(name));
        self.fetch(Call::get(path, "GET /images/{name}")).await
    }

    /// Makes the template of a size of machine of an image, ahead of the first create.
    pub async fn image_warm(&self, name: &str, size: &WarmImage) -> Result<Template, Error> {
        let path = format!("/images/{}/warm", segment(name));
        self.fetch(Call::post(path, "POST /images/{name}/warm", size))
            .await
    }

    /// Begins to pull an image, or finds it there.
    pub async fn image_pull(&self, pull: &PullImage) -> Result<TaskStarted, Error> {
        self.fetch(Call::post("/images/pull", "POST /images/pull", pull))
            .await
    }

    /// Sends an archive and gives the image that was made of it. Dropping the future leaves
    /// nothing of it with the daemon.
    #[expect(clippy::missing_panics_doc, reason = "the expectation always holds")]
    pub async fn image_import(
        &self,
        import: &ImportImage,
        archive: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<Image, Error> {
        const WHAT: &str = "POST /images/import";
        let mut path = format!("/images/import?name={}", segment(&import.name));
        if let Some(docker) = &import.docker {
            path.push_str("&docker=");
            path.push_str(&segment(docker));
        }
        if import.host {
            path.push_str("&host=true");
        }
        let mut request = self
            .request(Method::POST, &path)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, TAR);
        if let Some(length) = import.length {
            request = request.header(CONTENT_LENGTH, length);
        }
        let body = StreamBody::new(archive.map_ok(Frame::data));
        let request = request
            .body(body)
            .expect("paths are percent-encoded and headers are checked");
        let exchange = async {
            let (response, _driver) = self.send(request).await?;
            self.read(response).await
        };
        let reply = timeout(IMPORT_TIMEOUT, exchange)
            .await
            .map_err(|_| Error::Timeout {
                endpoint: self.endpoint().clone(),
                seconds: IMPORT_TIMEOUT.as_secs(),
            })??;
        if !reply.status.is_success() {
            return Err(reply.refusal());
        }
        reply.json(self.endpoint(), WHAT)
    }

    /// Makes an image of a sandbox's disk.
    pub async fn image_save(&self, sandbox: &str, save: &SaveImage) -> Result<Image, Error> {
        let path = format!("/sandboxes/{}/save-image", segment(sandbox));
        self.fetch(Call::post(path, "POST /sandboxes/{id}/save-image", save))
            .await
    }

    /// Begins to take an image as an OCI archive.
    #[expect(clippy::missing_panics_doc, reason = "the expectation always holds")]
    pub async fn image_export(&self, name: &str) -> Result<Archive, Error> {
        let path = format!("/images/{}/export", segment(name));
        let request = self
            .request(Method::GET, &path)
            .header(ACCEPT, TAR)
            .body(Full::new(Bytes::new()))
            .expect("paths are percent-encoded and headers are checked");
        let (response, driver) =
            timeout(CHANGE_TIMEOUT, self.send(request))
                .await
                .map_err(|_| Error::Timeout {
                    endpoint: self.endpoint().clone(),
                    seconds: CHANGE_TIMEOUT.as_secs(),
                })??;
        if !response.status().is_success() {
            return Err(self.read(response).await?.refusal());
        }
        Ok(Archive {
            endpoint: self.endpoint().clone(),
            response,
            _driver: driver,
        })
    }

    /// Begins to push an image.
    pub async fn image_push(&self, name: &str, push: &PushImage) -> Result<TaskStarted, Error> {
        let path = format!("/images/{}/push", segment(name));
        self.fetch(Call::post(path, "POST /images/{name}/push", push))
            .await
    }

    /// Deletes an image.
    pub async fn image_delete(&self, name: &str) -> Result<DeletedImage, Error> {
        let path = format!("/images/{}", segment(name));
        self.fetch(Call::delete(path, "DELETE /images/{name}"))
            .await
    }

    /// Lets users see an image.
    pub async fn image_share(&self, name: &str, users: &ShareImage) -> Result<Image, Error> {
        let path = format!("/images/{}/share", segment(name));
        self.fetch(Call::post(path, "POST /images/{name}/share", users))
            .await
    }

    /// Ends that users see an image.
    pub async fn image_unshare(&self, name: &str, users: &ShareImage) -> Result<Image, Error> {
        let path = format!("/images/{}/unshare", segment(name));
        self.fetch(Call::post(path, "POST /images/{name}/unshare", users))
            .await
    }

    /// Deletes what nothing needs any more, or says what that is.
    pub async fn collect_garbage(
        &self,
        collect: &CollectGarbage,
    ) -> Result<CollectedGarbage, Error> {
        self.fetch(Call::post("/gc", "POST /gc", collect)).await
    }
}
