//! Rate limits: for each user one token bucket for each class of routes.

use std::num::NonZeroU32;
use std::time::Duration;

use bhatti_api::routes::LimitClass;
use bhatti_types::id::UserId;
use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use crate::error::ApiError;

/// Most users that are counted apart; the original's number.
const MAX_USERS: usize = 10_000;

type Buckets = RateLimiter<Option<UserId>, DefaultKeyedStateStore<Option<UserId>>, DefaultClock>;

/// The limits of all users.
pub(crate) struct Limits {
    create: Buckets,
    exec: Buckets,
    other: Buckets,
    max_users: usize,
}

/// Makes the buckets of one class. The numbers are the original's.
fn buckets(per_minute: u32, burst: u32) -> Buckets {
    let count = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    RateLimiter::keyed(Quota::per_minute(count(per_minute)).allow_burst(count(burst)))
}

impl Limits {
    pub(crate) fn new() -> Self {
        Self {
            create: buckets(30, 10),
            exec: buckets(600, 30),
            other: buckets(1200, 60),
            max_users: MAX_USERS,
        }
    }

    /// Counts one request; [`ApiError::RateLimited`] if there were too many.
    pub(crate) fn check(&self, user: &UserId, class: LimitClass) -> Result<(), ApiError> {
        let buckets = match class {
            LimitClass::Free => return Ok(()),
            LimitClass::Create => &self.create,
            LimitClass::Exec => &self.exec,
            LimitClass::Other => &self.other,
        };
        if buckets.len() >= self.max_users {
            // Full buckets say nothing that a new one would not.
            buckets.retain_recent();
        }
        // When so many are active at once, all share one bucket until some rest.
        let key = (buckets.len() < self.max_users).then(|| user.clone());
        buckets
            .check_key(&key)
            .map_err(|until| ApiError::RateLimited {
                retry_after: until
                    .wait_time_from(DefaultClock::default().now())
                    .max(Duration::ZERO),
            })
    }
}

#[cfg(test)]
mod test {
    use bhatti_api::routes::LimitClass;
    use bhatti_types::id::UserId;

    use super::{Limits, buckets};
    use crate::error::ApiError;

    #[test]
    fn one_user_over_a_limit_hinders_neither_others_nor_its_other_classes() {
        let limits = Limits::new();
        let (one, two) = (UserId::random(), UserId::random());
        for _ in 0..10 {
            limits.check(&one, LimitClass::Create).unwrap();
        }
        let error = limits.check(&one, LimitClass::Create).unwrap_err();
        let ApiError::RateLimited { retry_after } = error else {
            panic!("{error}");
        };
        // 30 a minute: the next place is free two seconds after the first was taken.
        assert!(
            retry_after.as_millis() > 0 && retry_after.as_secs() < 3,
            "{retry_after:?}"
        );
        limits.check(&one, LimitClass::Exec).unwrap();
        limits.check(&one, LimitClass::Other).unwrap();
        limits.check(&two, LimitClass::Create).unwrap();
    }

    #[test]
    fn free_routes_are_not_counted() {
        let limits = Limits::new();
        let user = UserId::random();
        for _ in 0..1000 {
            limits.check(&user, LimitClass::Free).unwrap();
        }
    }

    #[test]
    fn the_number_of_buckets_is_bounded() {
        let limits = Limits {
            other: buckets(1, 1),
            max_users: 3,
            ..Limits::new()
        };
        for _ in 0..3 {
            limits.check(&UserId::random(), LimitClass::Other).unwrap();
        }
        limits.check(&UserId::random(), LimitClass::Other).unwrap();
        assert!(
            limits.check(&UserId::random(), LimitClass::Other).is_err(),
            "they share one"
        );
        assert!(limits.other.len() <= 4);
    }
}
