//! Backups that are made by themselves.

use std::time::Duration;

use bhatti_backup::keep;
use bhatti_types::id::UserId;
use jiff::Timestamp;

use crate::config::ScheduledBackup;
use crate::engine::Engine;
use crate::error::{Error, Kind};

/// How often the clock is looked at: the host's may be set.
const CLOCK_LOOK: Duration = Duration::from_secs(30);
/// How long after one that failed it is tried again, if it would not be due before.
const RETRY_AFTER: Duration = Duration::from_mins(15);

impl Engine {
    /// Makes the backups that are set, each in a task of its own, until the engine is closed.
    pub(crate) fn keep_backups(&self, scheduled: &[ScheduledBackup]) {
        for one in scheduled {
            let (engine, one) = (self.clone(), one.clone());
            let closing = self.ctx.closing.clone();
            self.ctx.tasks.spawn(async move {
                closing
                    .run_until_cancelled(engine.back_up_always(&one))
                    .await;
            });
        }
    }

    async fn back_up_always(&self, one: &ScheduledBackup) {
        let mut last = self.last_backup(one).await;
        loop {
            let Some(next) = one.when.next(Timestamp::now(), last) else {
                return;
            };
            until(next).await;
            // The next one is reckoned from here, so that one that takes long is not made twice.
            last = Some(Timestamp::now());
            if let Err(error) = self.back_up_scheduled(one).await {
                tracing::error!(
                    volume = %one.volume,
                    user = %one.user,
                    error = &error as &dyn std::error::Error,
                    "a scheduled backup was not made"
                );
                until(Timestamp::now() + RETRY_AFTER).await;
            }
        }
    }

    async fn back_up_scheduled(&self, one: &ScheduledBackup) -> Result<(), Error> {
        let user = self.scheduled_user(one).await?;
        let made = self.back_up(&user, &one.volume, one.to, one.retention);
        made.await.map(drop)
    }

    async fn scheduled_user(&self, one: &ScheduledBackup) -> Result<UserId, Error> {
        let name = one.user.clone();
        let row = self.ctx.db(move |store| store.user_by_name(&name)).await?;
        row.map(|row| row.id).ok_or_else(|| Error::NotFound {
            kind: Kind::User,
            name: one.user.to_string(),
        })
    }

    /// When its last backup was made, if that can be told.
    async fn last_backup(&self, one: &ScheduledBackup) -> Option<Timestamp> {
        let user = self.scheduled_user(one).await.ok()?;
        let (_, target) = self.ctx.backups.target(one.to).ok()?;
        let place = super::backups::place(&user, &one.volume);
        let all = keep::list(&*target, &place).await.ok()?;
        all.last().map(|summary| summary.created_at)
    }
}

async fn until(time: Timestamp) {
    while let Ok(left) = Duration::try_from(time.duration_since(Timestamp::now())) {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(CLOCK_LOOK)).await;
    }
}
