//! One at a time decides about a volume: between looking whether it is free, checking its file
//! system and recording who has it, nobody else does the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bhatti_types::id::VolumeId;
use tokio::sync::OwnedMutexGuard;

use crate::error::Error;

/// How long a request waits for another that is about the same volume. A check takes a second, a
/// restore as long as it takes.
const CLAIM_LIMIT: Duration = Duration::from_secs(20);

type Lock = tokio::sync::Mutex<()>;

/// The volumes about which something is being decided.
#[derive(Debug, Default)]
pub(crate) struct VolumeClaims {
    locks: Mutex<BTreeMap<VolumeId, Weak<Lock>>>,
}

/// Claims on volumes, until it is dropped.
#[derive(Debug)]
pub(crate) struct Claims {
    _guards: Vec<OwnedMutexGuard<()>>,
}

impl VolumeClaims {
    fn lock(&self, id: &VolumeId) -> Arc<Lock> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(id).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(Lock::default());
        locks.insert(id.clone(), Arc::downgrade(&lock));
        lock
    }

    /// Claims volumes, or says that another request takes too long with one.
    pub(crate) async fn claim(
        &self,
        ids: impl IntoIterator<Item = VolumeId>,
    ) -> Result<Claims, Error> {
        // In one order, so that no two wait for each other.
        let ids: std::collections::BTreeSet<_> = ids.into_iter().collect();
        let locks: Vec<_> = ids.iter().map(|id| self.lock(id)).collect();
        let all = async {
            let mut guards = Vec::new();
            for lock in locks {
                guards.push(lock.lock_owned().await);
            }
            guards
        };
        match tokio::time::timeout(CLAIM_LIMIT, all).await {
            Ok(guards) => Ok(Claims { _guards: guards }),
            Err(_) => Err(Error::Conflict {
                message: "the volume is being restored, checked or copied".to_owned(),
                hint: Some("ask again when that is done".to_owned()),
            }),
        }
    }
}

#[cfg(test)]
mod test {
    use bhatti_types::id::VolumeId;

    use super::VolumeClaims;

    #[tokio::test(start_paused = true)]
    async fn a_volume_is_claimed_by_one_at_a_time_and_nobody_waits_for_ever() {
        let claims = VolumeClaims::default();
        let (a, b) = (VolumeId::random(), VolumeId::random());
        let first = claims.claim([a.clone()]).await.unwrap();
        let _other = claims.claim([b.clone()]).await.unwrap();
        assert!(claims.claim([b, a.clone()]).await.is_err());
        drop(first);
        claims.claim([a.clone(), a]).await.unwrap();
    }
}
