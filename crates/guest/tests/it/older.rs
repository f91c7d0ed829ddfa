//! Agents that are older than the daemon: they sleep inside snapshots.

use bhatti_guest::link::{CallError, RefusedKind};
use bhatti_proto::message::{Clock, RefusalKind, Reply};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::broken::{frame, linked};
use crate::fixture::SOON;

/// A request as an agent knew it whose last operation was to set the clock.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct RequestUpToClock {
    #[prost(message, optional, tag = "8")]
    clock: Option<Clock>,
}

#[tokio::test]
async fn an_agent_that_does_not_know_of_timers_says_so_and_its_link_goes_on() {
    let (link, mut guest) = linked().await;
    let answer = async {
        let mut header = [0; 12];
        loop {
            guest.read_exact(&mut header).await.unwrap();
            let [_, kind, _, _, _, _, _, _, length @ ..] = header;
            let mut body = vec![0; u32::from_be_bytes(length) as usize];
            // Of the data frames the first is the request; windows come before it.
            if kind == 0 {
                guest.read_exact(&mut body).await.unwrap();
                if let Ok(request) = RequestUpToClock::decode_length_delimited(&body[..]) {
                    assert_eq!(request.clock, None);
                    break;
                }
            }
        }
        let text = "the guest's agent does not know this operation";
        let reply = Reply::refused(RefusalKind::Unsupported, text);
        let body = reply.encode_length_delimited_to_vec();
        guest
            .write_all(&frame(0, 0, 1, body.len() as u32))
            .await
            .unwrap();
        guest.write_all(&body).await.unwrap();
        guest
    };
    let (error, _guest) = tokio::join!(link.next_timer(SOON), answer);
    let Err(CallError::Refused {
        kind: RefusedKind::Unsupported,
        message,
    }) = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(message, "the guest's agent does not know this operation");
    assert!(link.is_open());
}
