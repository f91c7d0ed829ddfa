//! Fetches an image's layers.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};

use super::registry::Repository;
use super::resolve::Resolved;
use crate::layer::files::Layer;
use crate::layer::store::progress::Progress;
use crate::layer::store::source::BlobSource;
use crate::layer::store::{FetchError, Lease};

/// How many layers of an image are fetched side by side. Docker and containerd take three.
const SIDE_BY_SIDE: usize = 4;

/// Fetches the layers of an image that are not in the store yet, side by side, and gives all of
/// them from the lowest. They stay until the lease is dropped.
///
/// The first that fails ends it. Dropping the future gives up what nobody else wants; what has
/// come of it stays for the next time.
pub async fn pull(
    repository: &Arc<Repository>,
    image: &Resolved,
    lease: &Lease,
    progress: &dyn Progress,
) -> Result<Vec<Layer>, Arc<FetchError>> {
    // Boxed, for the compiler does not see that a stream of such futures can move to another
    // thread.
    let fetches: Vec<BoxFuture<'_, _>> = image
        .layers
        .iter()
        .map(|spec| {
            let source: Arc<dyn BlobSource> = Arc::<Repository>::clone(repository);
            lease.fetch(spec, source, progress).boxed()
        })
        .collect();
    futures::stream::iter(fetches)
        .buffered(SIDE_BY_SIDE)
        .try_collect()
        .await
}
