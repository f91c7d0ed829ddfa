//! Numbers and byte strings in a file: numbers take as many bytes as they need.

/// Writes values.
#[derive(Default)]
pub(super) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Seven bits in each byte, the lowest first; the eighth says that more follow.
    pub(super) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// The sign in the lowest bit.
    pub(super) fn signed(&mut self, value: i64) {
        self.number(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.raw(bytes);
    }
}

/// Reads values; `None` is for whatever is not valid.
pub(super) struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn raw<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*bytes)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.raw()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit only.
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let value = self.number()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    pub(super) fn up_to(&mut self, max: u64) -> Option<u64> {
        self.number().filter(|value| *value <= max)
    }

    pub(super) fn bytes(&mut self, max: usize) -> Option<Box<[u8]>> {
        let len = self.up_to(max as u64)? as usize;
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes.into())
    }
}

#[cfg(test)]
mod test {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{Decoder, Encoder};

    proptest! {
        #[test]
        fn what_was_written_is_read(numbers in any::<Vec<(u64, i64, Vec<u8>)>>()) {
            let mut encoder = Encoder::default();
            for (number, signed, bytes) in &numbers {
                encoder.number(*number);
                encoder.signed(*signed);
                encoder.bytes(bytes);
            }
            let bytes = encoder.into_bytes();
            let mut decoder = Decoder::new(&bytes);
            for (number, signed, bytes) in &numbers {
                prop_assert_eq!(decoder.number(), Some(*number));
                prop_assert_eq!(decoder.signed(), Some(*signed));
                let found = decoder.bytes(1 << 20);
                prop_assert_eq!(found.as_deref(), Some(&bytes[..]));
            }
            prop_assert_eq!(decoder.is_empty(), true);
        }
    }
}
