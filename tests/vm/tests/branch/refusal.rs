//! Calls that must be refused.

use bhatti_client::error::Error;

/// The status of a call that must be refused, and what it says.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> (u16, String) {
    match result {
        Err(Error::Refused(refusal)) => (refusal.status.as_u16(), refusal.message.clone()),
        other => panic!("not refused: {other:?}"),
    }
}
