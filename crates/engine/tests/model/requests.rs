//! Makes requests that overlap.

use std::cell::RefCell;
use std::time::Duration;

use bhatti_engine::engine::Engine;
use bhatti_engine::error::Error;
use bhatti_engine::request::Caller;

use crate::daemon::{Answer, ask};
use crate::op::{After, Request};
use crate::steps::StepFaults;

/// When the next request comes to a sandbox that was paused under another: later than every limit
/// of the engine.
const NEXT_REQUEST: Duration = Duration::from_mins(10);

/// Makes the requests of a batch; the second one begins when it is to.
pub(crate) async fn requests(
    engine: &Engine,
    caller: &Caller,
    steps: &StepFaults,
    numbers: &[(Request, u64)],
    two: Option<After>,
    outcomes: &RefCell<Vec<Option<Result<Answer, Error>>>>,
) {
    let (first_ended, ended) = tokio::sync::oneshot::channel::<()>();
    let one = async {
        let (request, number) = numbers[0];
        let outcome = ask(engine, caller, request, number).await;
        outcomes.borrow_mut()[0] = Some(outcome);
        drop(first_ended);
    };
    let other = async {
        if let (Some(After(begun, _)), Some((request, number))) = (two, numbers.get(1).copied()) {
            tokio::select! {
                () = steps.begun(begun) => {}
                _ = ended => {}
            }
            let outcome = ask(engine, caller, request, number).await;
            outcomes.borrow_mut()[1] = Some(outcome);
        }
    };
    let paused = numbers.iter().find_map(|(request, _)| match request {
        Request::Pause(name) => Some(name),
        _ => None,
    });
    // A command that runs stands still with its machine, until the next request.
    let next = async {
        tokio::time::sleep(NEXT_REQUEST).await;
        if let Some(name) = paused {
            // What comes of it is seen by the others.
            let _ = engine
                .sandbox_start(caller, name.as_str(), false, None)
                .await;
        }
        std::future::pending::<()>().await;
    };
    let both = async {
        tokio::join!(one, other);
    };
    tokio::select! {
        () = both => {}
        () = next => {}
    }
}
