//! The handshake, and how it finds its footing.
//!
//! An agent that comes out of a snapshot stands in the middle of a yamux conversation with a
//! daemon that is no more: perhaps at the edge of a frame, perhaps inside a frame's body. Every
//! greeting therefore begins with [`LEAD_IN`] bytes of 0xFF, which no yamux frame begins with, so
//! an agent that reads frame headers drops its old session there. One that stands inside a body
//! takes the greeting for a part of it; [`resync_padding`] is longer than any body it may be
//! waiting for, and the greeting after it is heard.
//!
//! A greeting on the wire:
//! ```text
//! 32 x 0xFF | magic 16 | kind 1 | flags 1 | body length 2 | version 4 | nonce 16 | crc 4 | body
//! ```
//! Integers are big-endian. The CRC (IEEE, over everything from `kind` on, itself left out) tells
//! a greeting from stray bytes; it is no protection against anybody who means harm, and need not
//! be one: a guest can only fool its own link.
//!
//! The daemon may have sent more than one hello before it hears the ack, so the agent goes on
//! scanning until START: further hellos with the acknowledged nonce are swallowed unanswered (a
//! second ack would fall into the middle of the daemon's yamux), one with another nonce begins
//! anew. The daemon sends nothing between the last hello and START but padding.

use bytes::{BufMut, Bytes, BytesMut};

use crate::mux::MAX_FRAME_BODY;

/// Bytes of 0xFF before each greeting: two yamux frame headers (12 bytes each) and some, so that
/// even a header read in part from an old frame is followed by a whole one of 0xFF.
pub const LEAD_IN: usize = 32;

/// Marks a greeting. Random, but its first byte is neither 0x00 (a yamux version) nor 0xFF.
pub const MAGIC: [u8; 16] = [
    0xb4, 0x1a, 0x77, 0x15, 0x6c, 0x6f, 0x68, 0x61, 0x72, 0x9e, 0x03, 0xd8, 0x5b, 0xe2, 0x8f, 0x4d,
];

/// Longest body of a greeting, in bytes.
pub const MAX_BODY: usize = 1024;

const HEADER: usize = 16 + 1 + 1 + 2 + 4 + 16 + 4;
const CRC_AT: usize = HEADER - 4;

/// The random number that ties an ack and a start to their hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub [u8; 16]);

impl Nonce {
    /// Makes a new one from the operating system's randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

/// What a greeting says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Daemon to agent: drop what you were doing and answer me.
    Hello,
    /// Agent to daemon: I am here and this is what I am. Carries a body.
    Ack,
    /// Daemon to agent: yamux begins with the next byte.
    Start,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Ack => 2,
            Self::Start => 3,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Hello),
            2 => Some(Self::Ack),
            3 => Some(Self::Start),
            _ => None,
        }
    }
}

/// One greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// What it says.
    pub kind: Kind,
    /// Protocol version of its sender.
    pub version: u32,
    /// Which handshake it belongs to.
    pub nonce: Nonce,
    /// More of what it says; for an ack a [`crate::message::AgentHello`], else empty.
    pub body: Bytes,
}

impl Greeting {
    /// The greeting as it goes on the wire, lead-in included.
    ///
    /// A body longer than [`MAX_BODY`] is cut off; no sender here has one.
    pub fn encode(&self) -> Bytes {
        let body = &self.body[..self.body.len().min(MAX_BODY)];
        let mut wire = BytesMut::with_capacity(LEAD_IN + HEADER + body.len());
        wire.put_bytes(0xff, LEAD_IN);
        wire.put_slice(&MAGIC);
        wire.put_u8(self.kind.code());
        wire.put_u8(0);
        wire.put_u16(body.len() as u16);
        wire.put_u32(self.version);
        wire.put_slice(&self.nonce.0);
        let crc = crc32(&[&wire[LEAD_IN + MAGIC.len()..], body]);
        wire.put_u32(crc);
        wire.put_slice(body);
        wire.freeze()
    }
}

/// What breaks a session that stands at any point of any frame: the longest body, a header read
/// in part, and a whole header.
pub fn resync_padding() -> Bytes {
    Bytes::from(vec![0xff; MAX_FRAME_BODY + 2 * crate::mux::FRAME_HEADER])
}

/// Finds greetings in a stream of bytes.
#[derive(Debug, Default)]
pub struct Scanner {
    buffer: BytesMut,
}

impl Scanner {
    /// Takes the next bytes of the stream, in pieces of any size.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.skip_noise();
    }

    /// The next whole greeting, if it is there.
    ///
    /// What comes before a greeting is dropped; what comes after it stays, for the next call or
    /// for [`Scanner::into_rest`]. What is held back is at most one incomplete greeting.
    pub fn next_greeting(&mut self) -> Option<Greeting> {
        loop {
            self.skip_noise();
            match parse(&self.buffer) {
                Parse::Whole { length, greeting } => {
                    let frame = self.buffer.split_to(length).freeze();
                    return Some(Greeting {
                        body: frame.slice(HEADER..),
                        ..greeting
                    });
                }
                Parse::Incomplete => return None,
                Parse::Wrong => {
                    // Only the first byte is surely not the start of a greeting.
                    let _ = self.buffer.split_to(1);
                }
            }
        }
    }

    /// The bytes after the last greeting.
    pub fn into_rest(self) -> Bytes {
        self.buffer.freeze()
    }

    /// Drops all bytes before the first that may begin a greeting.
    fn skip_noise(&mut self) {
        let start = (0..self.buffer.len())
            .find(|&at| {
                let seen = &self.buffer[at..];
                let known = seen.len().min(MAGIC.len());
                seen[0] == MAGIC[0] && seen[..known] == MAGIC[..known]
            })
            .unwrap_or(self.buffer.len());
        let _ = self.buffer.split_to(start);
    }
}

enum Parse {
    Whole { length: usize, greeting: Greeting },
    Incomplete,
    Wrong,
}

/// Reads a greeting from the start of `bytes`, which begin with as much of [`MAGIC`] as is there.
fn parse(bytes: &[u8]) -> Parse {
    let Some((header, rest)) = bytes.split_at_checked(HEADER) else {
        return Parse::Incomplete;
    };
    let fields = &header[MAGIC.len()..];
    let kind = Kind::from_code(fields[0]);
    let length = usize::from(u16::from_be_bytes([fields[2], fields[3]]));
    // Judged before waiting for the body, so that a stray magic does not swallow what follows.
    let (Some(kind), 0, true) = (kind, fields[1], length <= MAX_BODY) else {
        return Parse::Wrong;
    };
    let Some(body) = rest.get(..length) else {
        return Parse::Incomplete;
    };
    let mut nonce = [0; 16];
    nonce.copy_from_slice(&fields[8..24]);
    let mut crc = [0; 4];
    crc.copy_from_slice(&header[CRC_AT..]);
    if crc32(&[&header[MAGIC.len()..CRC_AT], body]) != u32::from_be_bytes(crc) {
        return Parse::Wrong;
    }
    Parse::Whole {
        length: HEADER + length,
        greeting: Greeting {
            kind,
            version: u32::from_be_bytes([fields[4], fields[5], fields[6], fields[7]]),
            nonce: Nonce(nonce),
            body: Bytes::new(),
        },
    }
}

/// CRC-32 (IEEE 802.3, reflected), bit by bit: a greeting is short and rare.
fn crc32(parts: &[&[u8]]) -> u32 {
    let mut crc = !0u32;
    for byte in parts.iter().copied().flatten() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

#[cfg(test)]
mod test {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::{Greeting, Kind, MAX_BODY, Nonce, Scanner, crc32, resync_padding};

    fn greeting(kind: Kind, body: &[u8]) -> Greeting {
        Greeting {
            kind,
            version: 7,
            nonce: Nonce([9; 16]),
            body: Bytes::copy_from_slice(body),
        }
    }

    #[test]
    fn the_crc_is_the_well_known_one() {
        assert_eq!(crc32(&[b"1234", b"56789"]), 0xcbf4_3926);
    }

    #[test]
    fn a_greeting_is_heard_after_padding_and_leaves_the_rest() {
        let mut scanner = Scanner::default();
        scanner.push(&resync_padding());
        scanner.push(&greeting(Kind::Hello, b"").encode());
        scanner.push(&greeting(Kind::Start, b"").encode());
        scanner.push(b"yamux");
        assert_eq!(scanner.next_greeting(), Some(greeting(Kind::Hello, b"")));
        assert_eq!(scanner.next_greeting(), Some(greeting(Kind::Start, b"")));
        assert_eq!(scanner.next_greeting(), None);
    }

    #[test]
    fn what_follows_the_last_greeting_is_handed_on() {
        let mut scanner = Scanner::default();
        let mut wire = greeting(Kind::Start, b"").encode().to_vec();
        wire.extend_from_slice(b"\x00\x01yamux");
        scanner.push(&wire);
        assert!(scanner.next_greeting().is_some());
        assert_eq!(&scanner.into_rest()[..], b"\x00\x01yamux");
    }

    #[test]
    fn a_greeting_cut_short_does_not_hide_the_next_one() {
        let whole = greeting(Kind::Hello, b"").encode();
        for cut in 0..whole.len() {
            let mut scanner = Scanner::default();
            scanner.push(&whole[..cut]);
            scanner.push(&greeting(Kind::Start, b"").encode());
            // A cut inside the length field may leave a length that never comes; the padding of
            // the next round ends that.
            scanner.push(&resync_padding());
            assert_eq!(
                scanner.next_greeting(),
                Some(greeting(Kind::Start, b"")),
                "cut at {cut}"
            );
        }
    }

    proptest! {
        #[test]
        fn greetings_are_found_in_any_noise_however_it_is_split(
            noise in prop::collection::vec(any::<u8>(), 0..300),
            body in prop::collection::vec(any::<u8>(), 0..MAX_BODY),
            pieces in prop::collection::vec(1usize..200, 1..50),
        ) {
            let sent = greeting(Kind::Ack, &body);
            let mut wire = noise;
            wire.extend_from_slice(&sent.encode());
            let mut scanner = Scanner::default();
            let mut found = None;
            let mut sizes = pieces.iter().cycle();
            let mut rest = &wire[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                scanner.push(piece);
                found = found.or(scanner.next_greeting());
                rest = after;
            }
            prop_assert_eq!(found, Some(sent));
        }

        #[test]
        fn a_greeting_with_a_flipped_bit_is_not_one(bit in 0usize..8 * 60) {
            let wire = greeting(Kind::Hello, b"0123456789abcdef").encode();
            let mut wire = wire.to_vec();
            let at = super::LEAD_IN + bit / 8;
            prop_assume!(at < wire.len());
            wire[at] ^= 1 << (bit % 8);
            let mut scanner = Scanner::default();
            scanner.push(&wire);
            prop_assert_eq!(scanner.next_greeting(), None);
        }
    }
}
