//! What a request may give.

use bhatti_engine::error::Error;
use bhatti_lifecycle::state::State;

use crate::daemon::Answer;
use crate::op::Request;

/// What is known before a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    /// The state of the sandbox it is about, if there is one.
    pub(crate) state: Option<State>,
    /// The state of the sandbox that it copies, if there is one.
    pub(crate) source: Option<State>,
    /// Whether the sleeping memory was damaged of the one it works on.
    pub(crate) damaged: bool,
    /// Whether the checkpoint it is about is there.
    pub(crate) snapshot: bool,
    /// Whether that is the sandbox's own.
    pub(crate) own: bool,
}

/// The kinds of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    NotFound,
    Exists,
    Conflict,
    Failed,
}

/// Whether a request that nothing came in the way of gave what it should.
pub(crate) fn exactly(
    request: Request,
    before: Before,
    outcome: &Result<Answer, Error>,
) -> Result<(), String> {
    let expected = expected(request, before);
    let given = match outcome {
        Ok(_) => Some(Kind::Good),
        Err(Error::NotFound { .. }) => Some(Kind::NotFound),
        Err(Error::Exists { .. }) => Some(Kind::Exists),
        Err(Error::Conflict { .. }) => Some(Kind::Conflict),
        Err(Error::Failed { .. }) => Some(Kind::Failed),
        Err(_) => None,
    };
    if given == Some(expected) {
        Ok(())
    } else {
        Err(format!(
            "{request:?} from {before:?} gave {} and not {expected:?}",
            shown(outcome)
        ))
    }
}

fn expected(request: Request, before: Before) -> Kind {
    use State::{Cold, Failed, Off};
    match (request, before.state) {
        (Request::Create(_), _) => Kind::Good,
        (Request::Resume(..) | Request::Forget(_), _) if !before.snapshot => Kind::NotFound,
        (Request::Forget(_), _) | (Request::Resume(..), None) => Kind::Good,
        (Request::Resume(..), Some(_)) => Kind::Exists,
        (Request::Fork(..), of_that_name) => match (before.source, of_that_name) {
            (None, _) => Kind::NotFound,
            (_, Some(_)) => Kind::Exists,
            (Some(Off | Failed), None) => Kind::Conflict,
            (Some(Cold), None) if before.damaged => Kind::Failed,
            _ => Kind::Good,
        },
        (_, None) => Kind::NotFound,
        (Request::Rollback(..), _) if !before.snapshot => Kind::NotFound,
        (Request::Rollback(..), Some(state)) if !before.own || state == Off => Kind::Conflict,
        (Request::Destroy(_) | Request::Force(_), Some(_)) => Kind::Good,
        (Request::Checkpoint(..), _) if before.snapshot => Kind::Exists,
        (Request::Checkpoint(..) | Request::Pause(_), Some(Off)) => Kind::Conflict,
        (Request::Keep(_, false), _) => Kind::Good,
        (_, Some(Failed)) => Kind::Conflict,
        (Request::Stop(_) | Request::Pause(_), Some(Cold)) => Kind::Good,
        (_, Some(Cold)) if before.damaged => Kind::Failed,
        _ => Kind::Good,
    }
}

/// Whether a request that failed, because something broke, left the sandbox as it may be; `None` is
/// one that is not there, or not whole.
pub(crate) fn leaves(request: Request, before: Before, after: Option<State>) -> Result<(), String> {
    use State::{Cold, Failed, Hot, Off, Warm};
    let awake = matches!(after, Some(Hot | Warm));
    let may = match (request, before.state) {
        (Request::Destroy(_), _) => after.is_none() || before.state == after,
        // Time has passed, in which it may have been paused for idleness.
        (_, Some(Hot)) if awake => true,
        (Request::Fork(..), _) => before.state == after,
        // Said to have failed, and cold for good: its memory is safe.
        (Request::Stop(_), Some(Hot | Warm)) => after == Some(Cold) || before.state == after,
        (Request::Force(_), Some(Cold | Failed)) => after == Some(Off) || before.state == after,
        (Request::Checkpoint(..), _) => before.state == after,
        // What it was is kept as a checkpoint by then.
        (Request::Rollback(..), _) if after == Some(Off) => true,
        // It was woken, and then did not answer or could not be let run.
        (_, Some(Cold | Off | Warm)) => awake || before.state == after,
        _ => before.state == after,
    };
    if may {
        Ok(())
    } else {
        Err(format!(
            "{request:?} failed from {before:?} and left it {after:?}"
        ))
    }
}

/// Whether a request that others came in the way of gave a clear answer.
pub(crate) fn clearly(request: Request, outcome: &Result<Answer, Error>) -> Result<(), String> {
    match outcome {
        Err(error @ (Error::Internal { .. } | Error::Invalid(_) | Error::Stopping)) => {
            let error = error as &dyn std::error::Error;
            Err(format!("{request:?} gave {}", chain(error)))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// In one line.
pub(crate) fn shown(outcome: &Result<Answer, Error>) -> String {
    match outcome {
        Ok(Answer::Done) => "done".to_owned(),
        Ok(answer) => format!("{answer:?}"),
        Err(error) => chain(error),
    }
}

/// An error with all its sources.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
