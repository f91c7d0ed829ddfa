//! A repository as a place that has layers.

use async_trait::async_trait;
use futures::StreamExt as _;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap};

use super::error::RegistryError;
use super::registry::Repository;
use crate::layer::store::LayerSpec;
use crate::layer::store::source::{BlobSource, BlobStream, Retry, SourceError};

impl From<RegistryError> for SourceError {
    fn from(error: RegistryError) -> Self {
        let retry = match (error.is_transient(), error.retry_after()) {
            (false, _) => Retry::Never,
            (true, None) => Retry::Soon,
            (true, Some(wait)) => Retry::After(wait),
        };
        Self {
            retry,
            source: Box::new(error),
        }
    }
}

#[async_trait]
impl BlobSource for Repository {
    fn origin(&self) -> String {
        self.address()
    }

    async fn open(&self, spec: &LayerSpec, offset: u64) -> Result<BlobStream, SourceError> {
        let response = self.blob(&spec.digest, offset).await;
        let response = match response {
            // The rest is not to be had, whyever: the whole may be.
            Err(RegistryError::Status { status: 416, .. }) => self.blob(&spec.digest, 0).await?,
            response => response?,
        };
        let begins = match response.status() {
            StatusCode::PARTIAL_CONTENT => content_range(response.headers()),
            _ => Some((0, content_length(response.headers()))),
        };
        // A reply that begins elsewhere, or is a part of something else, would only be found out
        // by its digest in the end.
        let fits = begins.filter(|(begins, total)| {
            (*begins == 0 || *begins == offset) && total.is_none_or(|total| total == spec.size)
        });
        let Some((begins, _)) = fits else {
            let what = format!(
                "it sends another part of {} than was asked for, or one of another size",
                spec.digest
            );
            return Err(self.protocol(what).into());
        };
        let (registry, bytes) = (self.registry().to_owned(), response.bytes_stream());
        let bytes = bytes.map(move |piece| {
            piece.map_err(|error| {
                SourceError::from(RegistryError::Unreachable {
                    registry: registry.clone(),
                    source: error.without_url(),
                })
            })
        });
        Ok(BlobStream {
            offset: begins,
            bytes: bytes.boxed(),
        })
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Where a part begins, and how long the whole is if it says so: `bytes 5-9/10` or `bytes 5-9/*`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    let total = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    Some((first.parse().ok()?, total))
}

#[cfg(test)]
mod test {
    use reqwest::header::{CONTENT_RANGE, HeaderMap};

    use super::content_range;

    #[test]
    fn a_part_says_where_it_begins() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_RANGE, text.parse().unwrap());
            content_range(&headers)
        };
        assert_eq!(read("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(read("bytes 5-9/*"), Some((5, None)));
        for text in [
            "",
            "bytes",
            "bytes */10",
            "items 5-9/10",
            "bytes 5-9",
            "bytes -5-9/10",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
