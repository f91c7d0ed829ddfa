//! One block of an archive that describes what follows it.

use crate::layer::tar::stream::BLOCK;

/// What kind of archive has written a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Before there were magic numbers.
    V7,
    /// POSIX.1-1988 and later.
    Ustar,
    /// GNU's own.
    Gnu,
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Its sum does not fit.
    #[error("the checksum of a header is wrong")]
    Checksum,
    /// A number is none, or out of range.
    #[error("the field `{field}` of a header is not a valid number")]
    Number {
        /// Which.
        field: &'static str,
    },
}

/// A header, its checksum verified.
pub(super) struct Header<'a> {
    block: &'a [u8; BLOCK],
}

impl<'a> Header<'a> {
    pub(super) fn new(block: &'a [u8; BLOCK]) -> Result<Self, HeaderError> {
        let header = Self { block };
        let stored = header.number("checksum", 148, 8)?;
        // The field itself counts as spaces. Some old programs summed signed bytes.
        let others = block[..148].iter().chain(&block[156..]);
        let unsigned = others.clone().map(|byte| i64::from(*byte)).sum::<i64>() + 8 * 32;
        let signed = others
            .map(|byte| i64::from(byte.cast_signed()))
            .sum::<i64>()
            + 8 * 32;
        if stored != unsigned && stored != signed {
            return Err(HeaderError::Checksum);
        }
        Ok(header)
    }

    fn field(&self, at: usize, len: usize) -> &'a [u8] {
        &self.block[at..at + len]
    }

    /// A field up to its first NUL.
    fn text(&self, at: usize, len: usize) -> &'a [u8] {
        let field = self.field(at, len);
        let end = field.iter().position(|byte| *byte == 0);
        &field[..end.unwrap_or(len)]
    }

    fn number(&self, name: &'static str, at: usize, len: usize) -> Result<i64, HeaderError> {
        number(self.field(at, len)).ok_or(HeaderError::Number { field: name })
    }

    pub(super) fn format(&self) -> Format {
        match self.field(257, 8) {
            b"ustar  \0" => Format::Gnu,
            magic if magic.starts_with(b"ustar\0") => Format::Ustar,
            _ => Format::V7,
        }
    }

    pub(super) fn kind(&self) -> u8 {
        self.block[156]
    }

    /// The name with its prefix, if the format has one.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = self.text(0, 100);
        let prefix = match self.format() {
            Format::Ustar => self.text(345, 155),
            Format::V7 | Format::Gnu => b"",
        };
        if prefix.is_empty() {
            name.to_vec()
        } else {
            [prefix, b"/", name].concat()
        }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        self.text(157, 100).to_vec()
    }

    pub(super) fn mode(&self) -> Result<i64, HeaderError> {
        self.number("mode", 100, 8)
    }

    pub(super) fn uid(&self) -> Result<i64, HeaderError> {
        self.number("uid", 108, 8)
    }

    pub(super) fn gid(&self) -> Result<i64, HeaderError> {
        self.number("gid", 116, 8)
    }

    pub(super) fn size(&self) -> Result<u64, HeaderError> {
        let size = self.number("size", 124, 12)?;
        u64::try_from(size).map_err(|_| HeaderError::Number { field: "size" })
    }

    pub(super) fn mtime(&self) -> Result<i64, HeaderError> {
        self.number("mtime", 136, 12)
    }

    /// The numbers of a device; v7 had none.
    pub(super) fn device(&self) -> Result<(i64, i64), HeaderError> {
        if self.format() == Format::V7 {
            return Ok((0, 0));
        }
        let major = self.number("devmajor", 329, 8)?;
        Ok((major, self.number("devminor", 337, 8)?))
    }

    /// The size of a GNU sparse file with its holes.
    pub(super) fn real_size(&self) -> Result<u64, HeaderError> {
        let size = self.number("realsize", 483, 12)?;
        u64::try_from(size).map_err(|_| HeaderError::Number { field: "realsize" })
    }
}

/// A number in octal digits, or in base 256 if the first bit is set; an empty field is 0.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 == 0 {
        return octal(field);
    }
    // Two's complement of all bits but the first.
    let negative = first & 0x40 != 0;
    let start = if negative {
        i128::from(first | 0x80).wrapping_sub(0x100)
    } else {
        i128::from(first & 0x3f)
    };
    let value = rest.iter().try_fold(start, |value, byte| {
        let value = (value << 8) | i128::from(*byte);
        i64::try_from(value).is_ok().then_some(value)
    })?;
    i64::try_from(value).ok()
}

fn octal(field: &[u8]) -> Option<i64> {
    let end = field.iter().position(|byte| *byte == 0);
    let digits = field[..end.unwrap_or(field.len())].trim_ascii();
    digits.iter().try_fold(0_i64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod test {
    use super::number;

    #[test]
    fn numbers_are_octal_or_base_256_and_bounded() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"77777777"), Some(0o77_777_777));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"00008\0"), None);
        assert_eq!(number(b"-1\0"), None);
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff"), Some(-1));
        assert_eq!(number(b"\xff\xff\xff\xfe"), Some(-2));
        assert_eq!(number(&[[0x80].as_slice(), &[0xff; 11]].concat()), None);
        assert_eq!(number(&[[0xc0].as_slice(), &[0; 11]].concat()), None);
        assert_eq!(number(b""), None);
    }
}
