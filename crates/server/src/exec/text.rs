//! Bytes as JSON text, exactly.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};

/// Bytes that go into JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text {
    /// As text, with what is not UTF-8 replaced.
    pub(crate) text: String,
    /// Exactly, if they are not UTF-8.
    pub(crate) base64: Option<String>,
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self {
                text: text.to_owned(),
                base64: None,
            },
            Err(_) => Self {
                text: String::from_utf8_lossy(bytes).into_owned(),
                base64: Some(STANDARD.encode(bytes)),
            },
        }
    }
}

/// Cuts a stream of bytes into [`Text`]s, never inside a character: the beginning of one at the
/// end of a piece, at most three bytes, waits for the next piece.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    tail: BytesMut,
}

impl Splitter {
    /// Takes a piece; gives what may go out, if anything may.
    pub(crate) fn push(&mut self, piece: Bytes) -> Option<Text> {
        let whole = if self.tail.is_empty() {
            piece
        } else {
            let mut whole = std::mem::take(&mut self.tail);
            whole.extend_from_slice(&piece);
            whole.freeze()
        };
        let (out, tail) = whole.split_at(whole.len() - unfinished(&whole));
        self.tail.extend_from_slice(tail);
        (!out.is_empty()).then(|| Text::from(out))
    }

    /// Gives what has waited in vain, at the end of the stream.
    pub(crate) fn finish(&mut self) -> Option<Text> {
        let tail = std::mem::take(&mut self.tail);
        (!tail.is_empty()).then(|| Text::from(&tail[..]))
    }
}

/// How many bytes at the end begin a character that more bytes could complete.
fn unfinished(bytes: &[u8]) -> usize {
    (1..=bytes.len().min(3))
        .find(|&length| {
            let tail = &bytes[bytes.len() - length..];
            std::str::from_utf8(tail)
                .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod test {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;

    use super::{Splitter, Text};

    fn split(bytes: &[u8], at: &[usize]) -> Vec<Text> {
        let mut splitter = Splitter::default();
        let mut out = Vec::new();
        let mut from = 0;
        for &to in at.iter().chain([&bytes.len()]) {
            out.extend(splitter.push(Bytes::copy_from_slice(&bytes[from..to])));
            from = to;
        }
        out.extend(splitter.finish());
        out
    }

    fn joined(texts: &[Text]) -> Vec<u8> {
        texts
            .iter()
            .flat_map(|text| match &text.base64 {
                Some(exact) => STANDARD.decode(exact).unwrap(),
                None => text.text.clone().into_bytes(),
            })
            .collect()
    }

    #[test]
    fn a_character_is_never_split_wherever_the_pieces_end() {
        let text = "aé€😀z😀";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let out = split(text.as_bytes(), &[first, second]);
                assert!(
                    out.iter().all(|text| text.base64.is_none()),
                    "{first} {second} {out:?}"
                );
                let all: String = out.into_iter().map(|text| text.text).collect();
                assert_eq!(all, text);
            }
        }
    }

    #[test]
    fn every_byte_comes_through_whatever_it_is() {
        let all: Vec<u8> = (0..=255)
            .chain([0xf0, 0x9f, 0x98])
            .chain([b'x', 0xc3])
            .collect();
        for first in 0..=all.len() {
            assert_eq!(joined(&split(&all, &[first])), all, "{first}");
        }
    }

    #[test]
    fn a_character_that_is_never_completed_comes_at_the_end() {
        let out = split(b"ab\xe2\x82", &[]);
        assert_eq!(out.len(), 2);
        assert_eq!(out[0], Text::from(&b"ab"[..]));
        assert_eq!(out[1].base64.as_deref(), Some("4oI="));
    }

    #[test]
    fn a_stream_of_beginnings_does_not_pile_up() {
        let mut splitter = Splitter::default();
        for _ in 0..1000 {
            splitter.push(Bytes::from_static(b"\xf0"));
            assert!(splitter.tail.len() <= 3);
        }
    }
}
