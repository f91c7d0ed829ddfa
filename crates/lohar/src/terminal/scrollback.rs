//! What a terminal showed last.

use std::collections::VecDeque;

use bytes::Bytes;

/// Most bytes kept of one terminal.
pub(crate) const LIMIT: usize = 64 * 1024;

/// The last bytes that a program wrote to its terminal.
#[derive(Debug, Default)]
pub(crate) struct Scrollback {
    bytes: VecDeque<u8>,
}

impl Scrollback {
    /// Adds what was written; the oldest goes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(LIMIT)..];
        let excess = (self.bytes.len() + kept.len()).saturating_sub(LIMIT);
        self.bytes.drain(..excess);
        self.bytes.extend(kept);
    }

    /// All that is kept. Where something is gone it begins with the first whole line, so that no
    /// half of a control sequence is shown.
    pub(crate) fn all(&self) -> Bytes {
        let mut all: Vec<u8> = self.bytes.iter().copied().collect();
        if all.len() == LIMIT
            && let Some(end) = all.iter().position(|byte| *byte == b'\n')
        {
            all.drain(..=end);
        }
        all.into()
    }
}

#[cfg(test)]
mod test {
    use super::{LIMIT, Scrollback};

    #[test]
    fn the_last_bytes_are_kept_from_the_first_whole_line_on() {
        let mut kept = Scrollback::default();
        kept.push(b"one\ntwo");
        assert_eq!(&kept.all()[..], b"one\ntwo");
        kept.push(&vec![b'x'; LIMIT - 10]);
        kept.push(b"\nlast line here");
        assert!(kept.all().len() < LIMIT);
        assert_eq!(&kept.all()[..], b"last line here");
        kept.push(&vec![b'y'; 3 * LIMIT]);
        assert_eq!(kept.all().len(), LIMIT);
    }
}
