//! Names and numbers of checkpoints.

use std::time::Duration;

use bhatti_api::user::CreateUser;
use bhatti_client::client::Client;
use bhatti_client::error::Error;
use bhatti_client::token::BearerToken;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;
use bhatti_testing::witness;

/// How far a clock may be off that has just been set in a guest.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(250);

/// The status of a call that must be refused, and what it says.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> (u16, String) {
    match result {
        Err(Error::Refused(refusal)) => (refusal.status.as_u16(), refusal.message.clone()),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn names_are_taken_once_and_an_ordinary_user_has_five_checkpoints() {
    let daemon = Daemon::start().await;
    let admin = daemon.client();
    let new = CreateUser {
        name: "alice".to_owned(),
        max_sandboxes: Some(2),
        ..CreateUser::default()
    };
    let alice = admin.user_create(&new).await.expect("a user is made");
    assert_eq!(alice.user.max_snapshots, 5);
    let token = BearerToken::new(&alice.api_key).expect("a token is made");
    let client = Client::new(admin.endpoint().clone(), Some(token));
    let dev = Guest::create(client.clone(), "dev").await;
    let captured = witness::start(&dev).await;
    let mut stalls = Duration::ZERO;
    for n in 1..=5 {
        let taken = dev.checkpoint(&format!("cp-{n}")).await;
        let taken = taken.unwrap_or_else(|error| panic!("cp-{n}: {error:?}"));
        stalls += Duration::from_millis(taken.stall_ms);
    }
    assert_eq!(daemon.inventory().await.snapshots.len(), 5);
    // The moments it stood still have not put its clock back.
    let lag = dev.clock_lag().await;
    assert!(
        lag < CLOCK_TOLERANCE.max(stalls / 2),
        "its clock is {lag:?} behind after standing still for {stalls:?}"
    );

    let (status, message) = refused(dev.checkpoint("cp-6").await);
    assert_eq!(status, 429, "{message}");
    assert!(message.contains('5'), "{message}");
    let (status, message) = refused(dev.checkpoint("cp-1").await);
    assert!([409, 429].contains(&status), "{status} {message}");
    client
        .snapshot_delete("cp-5")
        .await
        .expect("one is deleted");
    let (status, message) = refused(dev.checkpoint("cp-1").await);
    assert_eq!(status, 409, "{message}");
    assert!(message.contains("cp-1"), "{message}");
    dev.checkpoint("cp-6").await.expect("there is room again");

    let gone = Guest::new(client.clone(), "nobody").checkpoint("cp").await;
    assert_eq!(refused(gone).0, 404);
    let resume = async |name, copy| refused(Guest::resume(client.clone(), name, copy).await);
    let (status, message) = resume("nothing", "copy").await;
    assert_eq!(status, 404, "{message}");
    assert!(message.contains("nothing"), "{message}");
    assert_eq!(resume("cp-5", "copy").await.0, 404);
    let (status, message) = resume("cp-1", "dev").await;
    assert_eq!(status, 409, "{message}");
    assert_eq!(refused(client.snapshot_delete("cp-5").await).0, 404);
    // The administrator's own names are others than a user's.
    assert_eq!(
        refused(Guest::resume(admin.clone(), "cp-1", "copy").await).0,
        404
    );
    assert_eq!(refused(admin.snapshot_delete("cp-1").await).0, 404);
    assert_eq!(admin.snapshot_list().await.expect("the list is given"), []);

    // A copy counts as a sandbox like any other.
    let copy = Guest::resume(client.clone(), "cp-1", "copy")
        .await
        .expect("it resumes");
    let before = daemon.inventory().await;
    let (status, message) = resume("cp-1", "third").await;
    assert_eq!(status, 429, "{message}");
    assert_eq!(daemon.inventory().await, before);
    assert_eq!(before.snapshots.len(), 5);
    witness::ask(&copy).await.assert_follows(&captured);
    witness::ask(&dev).await.assert_follows(&captured);
    let owner = copy.view().await.created_by;
    assert_eq!(owner, alice.user.id);
}
