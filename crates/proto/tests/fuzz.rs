//! Runs the entry points of the fuzz targets on a bounded number of random inputs: bytes without
//! any sense, and valid streams with some of their bytes changed.

use bhatti_proto::fuzz;
use bhatti_proto::hello::{Greeting, Kind, Nonce};
use bhatti_proto::message::{Control, Exec, Reply, Request, control, reply, request};
use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

/// Changes some bytes of a valid stream.
fn mutated(valid: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (valid, changes).prop_map(|(mut bytes, changes)| {
        for (at, value) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        bytes
    })
}

fn noise() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..2000)
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    let exec = (
        prop::collection::vec(".*", 0..4),
        any::<Option<u64>>(),
        any::<bool>(),
    );
    prop::collection::vec(exec, 0..4).prop_map(|execs| {
        let encode = |(argv, timeout_ms, stdin)| {
            let exec = Exec {
                argv,
                timeout_ms,
                stdin,
                ..Exec::default()
            };
            Request::new(request::Op::Exec(exec)).encode_length_delimited_to_vec()
        };
        execs.into_iter().flat_map(encode).collect()
    })
}

fn replies() -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(any::<u8>(), 0..300), any::<i32>()).prop_map(|(data, number)| {
        let mut wire =
            Reply::new(reply::Op::Stdout(Bytes::from(data))).encode_length_delimited_to_vec();
        let control = Control {
            op: Some(control::Op::Signal(number)),
        };
        wire.extend(control.encode_length_delimited_to_vec());
        wire
    })
}

/// Greetings among noise, cut into pieces as the targets expect them.
fn greetings() -> impl Strategy<Value = Vec<u8>> {
    let greeting = (
        any::<[u8; 16]>(),
        any::<u32>(),
        prop::collection::vec(any::<u8>(), 0..100),
    )
        .prop_map(|(nonce, version, body)| {
            let kind = Kind::Ack;
            Greeting {
                kind,
                version,
                nonce: Nonce(nonce),
                body: body.into(),
            }
            .encode()
            .to_vec()
        });
    let part = prop_oneof![greeting, prop::collection::vec(any::<u8>(), 0..50)];
    (prop::collection::vec(part, 0..6), 1u8..=255).prop_map(|(parts, size)| {
        let whole = parts.concat();
        let cut = |piece: &[u8]| [&[piece.len() as u8], piece].concat();
        whole.chunks(usize::from(size)).flat_map(cut).collect()
    })
}

/// yamux frames, cut into pieces.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let frame = (0u8..5, 0u32..200).prop_map(|(kind, length)| {
        let mut wire = vec![0, kind, 0, 0, 0, 0, 0, 1];
        wire.extend(length.to_be_bytes());
        if kind == 0 {
            wire.resize(wire.len() + length as usize, 7);
        }
        wire
    });
    (prop::collection::vec(frame, 0..8), 1u8..=255).prop_map(|(frames, size)| {
        let whole = frames.concat();
        let cut = |piece: &[u8]| [&[piece.len() as u8], piece].concat();
        whole.chunks(usize::from(size)).flat_map(cut).collect()
    })
}

proptest! {
    #[test]
    fn the_scanner_of_greetings_keeps_its_promises(
        data in prop_oneof![noise(), mutated(greetings())],
    ) {
        fuzz::hello_scanner(&data);
    }

    #[test]
    fn the_decoder_of_messages_keeps_its_promises(
        data in prop_oneof![noise(), mutated(requests()), mutated(replies())],
    ) {
        fuzz::message_decoder(&data);
    }

    #[test]
    fn the_watch_on_frames_keeps_its_promises(
        data in prop_oneof![noise(), mutated(frames())],
    ) {
        fuzz::frame_watch(&data);
    }
}
