//! Hundreds of megabytes.

use sha2::{Digest as _, Sha256};

use crate::machine::{Machine, NAME, command, line, with_stdin};

/// As much as `head -c 100M` gives.
const SIZE: usize = 100 << 20;
/// Time for one direction, in seconds: a few MB/s on a host with other things to do.
const LIMIT_SEC: u64 = 240;

/// Bytes in which no part repeats another.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        // Xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

#[tokio::test]
async fn a_hundred_megabytes_go_each_way_and_both_ways_at_once() {
    let machine = Machine::start().await;
    let long = |mut request: bhatti_api::exec::ExecRequest| {
        request.timeout_sec = Some(LIMIT_SEC);
        request
    };

    let out = long(line("head -c 100M /dev/zero"));
    let ran = machine.run(&out, b"").await;
    assert_eq!(
        (ran.stdout.len(), ran.stderr.len(), ran.exit.code),
        (SIZE, 0, 0)
    );
    assert!(ran.stdout.iter().all(|byte| *byte == 0));

    let sent = noise(SIZE);
    let sum = format!("{:x}  -\n", Sha256::digest(&sent));
    let ran = machine
        .run(&with_stdin(long(command(&["sha256sum"]))), &sent)
        .await;
    assert_eq!((ran.text(), ran.exit.code), (sum, 0));

    let ran = machine
        .run(&with_stdin(long(command(&["cat"]))), &sent)
        .await;
    assert_eq!((ran.stdout.len(), ran.exit.code), (SIZE, 0));
    assert!(ran.stdout == sent, "the bytes are not those that were sent");

    // The command line's own pipes.
    let ran = machine
        .daemon
        .cli_with(&["exec", NAME, "--", "cat"], &sent)
        .await;
    assert_eq!(
        (ran.stdout.len(), ran.code),
        (SIZE, Some(0)),
        "{}",
        ran.errors()
    );
    assert!(ran.stdout == sent, "the bytes are not those that were sent");

    machine.check_nothing_is_left().await;
}
