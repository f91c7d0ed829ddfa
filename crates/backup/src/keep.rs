//! Which backups there are, and which are kept.

use std::collections::HashSet;

use bhatti_types::id::BackupId;

use crate::error::BackupError;
use crate::format::{Place, Summary};
use crate::restore;
use crate::target::Target;

/// The backups that are there, oldest first.
pub async fn list(target: &dyn Target, place: &Place) -> Result<Vec<Summary>, BackupError> {
    let mut summaries = Vec::new();
    for id in ids(target, place).await? {
        match restore::summary(target, place, &id).await {
            Ok(summary) => summaries.push(summary),
            // Deleted meanwhile.
            Err(BackupError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    summaries.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    Ok(summaries)
}

async fn ids(target: &dyn Target, place: &Place) -> Result<Vec<BackupId>, BackupError> {
    let prefix = place.backups();
    let names = target.list(&prefix).await?;
    let id = |name: &String| {
        let name = name.strip_prefix(&prefix)?.strip_suffix(".json")?;
        name.parse().ok()
    };
    Ok(names.iter().filter_map(id).collect())
}

/// Deletes a backup, and what no other needs. One that is cut off is not there any more; what it
/// left is deleted the next time.
pub async fn delete(target: &dyn Target, place: &Place, id: &BackupId) -> Result<(), BackupError> {
    restore::summary(target, place, id).await?;
    target.delete(&place.summary(id)).await?;
    clean(target, place).await
}

/// Deletes all but the newest backups.
pub async fn keep_newest(
    target: &dyn Target,
    place: &Place,
    count: usize,
) -> Result<(), BackupError> {
    let all = list(target, place).await?;
    let surplus = all.len().saturating_sub(count);
    if surplus == 0 {
        return Ok(());
    }
    for summary in all.into_iter().take(surplus) {
        target.delete(&place.summary(&summary.id)).await?;
    }
    clean(target, place).await
}

/// Deletes maps without a summary, and chunks that no map names. Nothing is deleted if one map
/// can't be read.
async fn clean(target: &dyn Target, place: &Place) -> Result<(), BackupError> {
    let mut needed = HashSet::new();
    let mut maps = HashSet::new();
    for summary in list(target, place).await? {
        let map = restore::map(target, place, &summary).await?;
        needed.extend(map.chunks.values().map(|digest| place.chunk(digest)));
        maps.insert(place.map(&summary.id));
    }
    for name in target.list(&place.backups()).await? {
        let is_map = name.strip_suffix(".map").is_some();
        if is_map && !maps.contains(&name) {
            target.delete(&name).await?;
        }
    }
    for name in target.list(&place.chunks()).await? {
        if !needed.contains(&name) {
            target.delete(&name).await?;
        }
    }
    Ok(())
}
