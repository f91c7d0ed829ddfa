//! Entry points of the fuzz targets, also run by ordinary tests on bounded random input.
//!
//! Each takes any bytes and panics if a promise of this crate is broken.

#![expect(
    clippy::missing_panics_doc,
    reason = "panicking is how a fuzz target speaks"
)]

use bytes::BytesMut;

use crate::codec::{self, MAX_MESSAGE};
use crate::hello::{MAX_BODY, Scanner};
use crate::message::{AgentHello, Control, Reply, Request};
use crate::mux::FrameWatch;

/// Splits the input into pieces whose sizes it says itself: one byte of size, then the piece.
fn pieces(data: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = data;
    while let Some((&size, after)) = rest.split_first() {
        let (piece, after) = after.split_at(usize::from(size).min(after.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The scanner of greetings: it finds the same ones however the input is split, and what it
/// found encodes to what was there.
pub fn hello_scanner(data: &[u8]) {
    let pieces = pieces(data);
    let whole = pieces.concat();
    let mut at_once = Scanner::default();
    at_once.push(&whole);
    let mut piecewise = Scanner::default();
    for piece in pieces {
        piecewise.push(piece);
    }
    loop {
        let greeting = at_once.next_greeting();
        assert_eq!(
            greeting,
            piecewise.next_greeting(),
            "the same however it is split"
        );
        let Some(greeting) = greeting else { break };
        assert!(greeting.body.len() <= MAX_BODY, "a body is bounded");
        let wire = &greeting.encode()[crate::hello::LEAD_IN..];
        assert!(
            whole.windows(wire.len()).any(|window| window == wire),
            "a greeting was really there"
        );
    }
    assert_eq!(
        at_once.into_rest(),
        piecewise.into_rest(),
        "the same is left over"
    );
}

/// The decoder of messages: whatever comes, it ends, and what it accepts decodes again to the
/// same from its own encoding.
pub fn message_decoder(data: &[u8]) {
    fn all<M: prost::Message + Default + PartialEq>(data: &[u8]) {
        let mut buffer = BytesMut::from(data);
        while let Ok(Some(message)) = codec::decode::<M>(&mut buffer, MAX_MESSAGE) {
            // At the limit its own encoding may be longer than what came, by the length prefixes
            // of messages whose fields came in pieces.
            let Ok(wire) = codec::encode(&message, MAX_MESSAGE) else {
                continue;
            };
            let mut again = BytesMut::from(&wire[..]);
            let decoded = codec::decode::<M>(&mut again, MAX_MESSAGE);
            assert!(
                decoded.is_ok_and(|decoded| decoded.as_ref() == Some(&message)),
                "an accepted message has an encoding of its own"
            );
        }
    }
    all::<Request>(data);
    all::<Reply>(data);
    all::<Control>(data);
    all::<AgentHello>(data);
}

/// The watch on yamux frames: it says the same however the input is split.
pub fn frame_watch(data: &[u8]) {
    let pieces = pieces(data);
    let at_once = FrameWatch::default().feed(&pieces.concat());
    let mut watch = FrameWatch::default();
    let mut piecewise = Ok(None);
    for piece in pieces {
        match watch.feed(piece) {
            Ok(go_away) => piecewise = piecewise.map(|before| go_away.or(before)),
            Err(breach) => {
                piecewise = Err(breach);
                break;
            }
        }
    }
    assert_eq!(at_once, piecewise, "the same however it is split");
}
