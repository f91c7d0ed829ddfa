//! PAX records: what did not fit into a header.

use crate::layer::limits::Limits;
use bhatti_ext4::tree::{Time, Xattr};

/// What is wrong with an extended header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaxError {
    /// It is not a list of records.
    #[error("an extended header is malformed")]
    Malformed,
    /// A value cannot be what its key says.
    #[error("the value of `{key}` in an extended header is not valid")]
    Value {
        /// Which.
        key: &'static str,
    },
    /// Extended attributes are too many or too long.
    #[error("the extended attributes have more than {limit} bytes")]
    Xattrs {
        /// How many they may have.
        limit: usize,
    },
}

/// What the records before an entry say about it.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: Vec<Xattr>,
    pub(super) sparse: SparseRecords,
}

/// Records of sparse files: 0.0, 0.1 and 1.0.
#[derive(Debug, Default)]
pub(super) struct SparseRecords {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    pub(super) count: Option<u64>,
    /// Offsets and lengths in turns.
    pub(super) map: Vec<u64>,
}

/// What is put before the names of extended attributes by most programs.
const SCHILY: &[u8] = b"SCHILY.xattr.";
/// By libarchive: the name is encoded as in a URL, and the value in base 64.
const LIBARCHIVE: &[u8] = b"LIBARCHIVE.xattr.";

impl Pax {
    /// Reads records. A later record of a key counts.
    pub(super) fn parse(mut rest: &[u8], limits: &Limits) -> Result<Self, PaxError> {
        let mut pax = Self::default();
        // A program may have written both kinds; then they say the same.
        let mut others = Vec::new();
        let mut xattr_bytes = 0_usize;
        while !rest.is_empty() {
            let (key, value);
            (key, value, rest) = record(rest).ok_or(PaxError::Malformed)?;
            let xattr = key.strip_prefix(SCHILY).map(|name| {
                let name = name.to_vec();
                (&mut pax.xattrs, Some((name, value.to_vec())))
            });
            let xattr = xattr.or_else(|| {
                let name = key.strip_prefix(LIBARCHIVE)?;
                let decoded = percent_decoded(name).zip(base64_decoded(value));
                Some((&mut others, decoded))
            });
            if let Some((list, found)) = xattr {
                let (name, value) = found.ok_or(PaxError::Value {
                    key: "LIBARCHIVE.xattr",
                })?;
                xattr_bytes += name.len() + value.len();
                if xattr_bytes > limits.xattr_bytes {
                    return Err(PaxError::Xattrs {
                        limit: limits.xattr_bytes,
                    });
                }
                set_xattr(list, name, value)?;
                continue;
            }
            pax.record(key, value)?;
        }
        for xattr in others {
            if !pax.xattrs.iter().any(|there| there.name == xattr.name) {
                pax.xattrs.push(xattr);
            }
        }
        pax.xattrs.sort();
        Ok(pax)
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), PaxError> {
        let number = |key| decimal(value).ok_or(PaxError::Value { key });
        let id = |key| {
            let number = decimal(value).and_then(|id| u32::try_from(id).ok());
            number.ok_or(PaxError::Value { key })
        };
        let text = |key| {
            if value.contains(&0) {
                Err(PaxError::Value { key })
            } else {
                Ok(value.to_vec())
            }
        };
        let sparse = &mut self.sparse;
        match key {
            // An empty value takes back what was said before.
            b"path" => self.path = Some(text("path")?).filter(|path| !path.is_empty()),
            b"linkpath" => self.link = Some(text("linkpath")?).filter(|path| !path.is_empty()),
            b"size" => self.size = Some(number("size")?),
            b"uid" => self.uid = Some(id("uid")?),
            b"gid" => self.gid = Some(id("gid")?),
            b"mtime" => self.mtime = Some(time(value).ok_or(PaxError::Value { key: "mtime" })?),
            b"GNU.sparse.major" => sparse.major = Some(number("GNU.sparse.major")?),
            b"GNU.sparse.minor" => sparse.minor = Some(number("GNU.sparse.minor")?),
            b"GNU.sparse.name" => sparse.name = Some(text("GNU.sparse.name")?),
            b"GNU.sparse.realsize" => sparse.real_size = Some(number("GNU.sparse.realsize")?),
            b"GNU.sparse.size" => sparse.real_size = Some(number("GNU.sparse.size")?),
            b"GNU.sparse.numblocks" => sparse.count = Some(number("GNU.sparse.numblocks")?),
            b"GNU.sparse.map" => {
                let numbers = value.split(|byte| *byte == b',').map(decimal);
                let numbers: Option<Vec<_>> = numbers.collect();
                sparse.map = numbers.ok_or(PaxError::Value {
                    key: "GNU.sparse.map",
                })?;
            }
            b"GNU.sparse.offset" if sparse.map.len().is_multiple_of(2) => {
                sparse.map.push(number("GNU.sparse.offset")?);
            }
            b"GNU.sparse.numbytes" if !sparse.map.len().is_multiple_of(2) => {
                sparse.map.push(number("GNU.sparse.numbytes")?);
            }
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => return Err(PaxError::Malformed),
            _ => {}
        }
        Ok(())
    }
}

/// The first record: `LENGTH KEY=VALUE\n`, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let len = usize::try_from(decimal(&bytes[..space])?).ok()?;
    let body = bytes.get(space + 1..len)?;
    let body = body.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&body[..equals], &body[equals + 1..]);
    (!key.is_empty()).then_some((key, value, &bytes[len..]))
}

/// A number of decimal digits and nothing else.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// A time in seconds: `[-]DIGITS[.DIGITS]`.
fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanos = 0;
    if let Some(fraction) = parts.next() {
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
        nanos = digits.fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    }
    Some(match (negative, nanos) {
        (false, _) => Time { seconds, nanos },
        (true, 0) => Time {
            seconds: -seconds,
            nanos,
        },
        (true, _) => Time {
            seconds: -seconds - 1,
            nanos: 1_000_000_000 - nanos,
        },
    })
}

fn set_xattr(list: &mut Vec<Xattr>, name: Vec<u8>, value: Vec<u8>) -> Result<(), PaxError> {
    if name.is_empty() || name.contains(&0) {
        return Err(PaxError::Value {
            key: "SCHILY.xattr",
        });
    }
    let (name, value) = (name.into_boxed_slice(), value.into_boxed_slice());
    match list.iter_mut().find(|there| there.name == name) {
        Some(there) => there.value = value,
        None => list.push(Xattr { name, value }),
    }
    Ok(())
}

fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        if *byte == b'%' {
            let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            decoded.push((high << 4 | low) as u8);
        } else {
            decoded.push(*byte);
        }
    }
    Some(decoded)
}

/// Base 64 with or without padding: libarchive writes none.
fn base64_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"=").unwrap_or(text);
    let text = text.strip_suffix(b"=").unwrap_or(text);
    let mut decoded = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let mut bits = 0_u32;
        for byte in group {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        let bytes = bits.to_be_bytes();
        decoded.extend_from_slice(match group.len() {
            4 => &bytes[1..4],
            3 => &bytes[1..3],
            2 => &bytes[1..2],
            _ => return None,
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod test {
    use super::{Pax, PaxError, base64_decoded, percent_decoded, time};
    use crate::layer::limits::Limits;
    use crate::layer::tar::build::record;
    use bhatti_ext4::tree::Time;

    fn parse(records: &[(&str, &str)]) -> Result<Pax, PaxError> {
        let bytes: Vec<u8> = records
            .iter()
            .flat_map(|(key, value)| record(key.as_bytes(), value.as_bytes()))
            .collect();
        Pax::parse(&bytes, &Limits::DEFAULT)
    }

    #[test]
    fn the_last_record_counts_and_an_empty_one_takes_back() {
        let pax = parse(&[
            ("path", "a"),
            ("path", "b"),
            ("linkpath", "x"),
            ("linkpath", ""),
        ]);
        let pax = pax.unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"b"[..]));
        assert_eq!(pax.link, None);
    }

    #[test]
    fn both_spellings_of_extended_attributes_are_understood() {
        let pax = parse(&[
            ("LIBARCHIVE.xattr.user.a%3db", "aGVsbG8"),
            ("SCHILY.xattr.user.c", "v"),
            ("LIBARCHIVE.xattr.user.c", "b3RoZXI="),
        ]);
        let found: Vec<_> = pax
            .unwrap()
            .xattrs
            .into_iter()
            .map(|xattr| (xattr.name.to_vec(), xattr.value.to_vec()))
            .collect();
        let expected = [("user.a=b", "hello"), ("user.c", "v")];
        assert_eq!(found, expected.map(|(n, v)| (n.into(), v.into())));
        assert_eq!(percent_decoded(b"%4"), None);
        assert_eq!(base64_decoded(b"a"), None);
        assert_eq!(base64_decoded(b"YWI="), Some(b"ab".to_vec()));
    }

    #[test]
    fn times_keep_nanoseconds_and_may_lie_before_1970() {
        let at = |seconds, nanos| Some(Time { seconds, nanos });
        assert_eq!(time(b"12.5"), at(12, 500_000_000));
        assert_eq!(time(b"12.1234567899"), at(12, 123_456_789));
        assert_eq!(time(b"-1"), at(-1, 0));
        assert_eq!(time(b"-0.25"), at(-1, 750_000_000));
        assert_eq!(time(b"1e3"), None);
        assert_eq!(time(b""), None);
    }

    #[test]
    fn malformed_records_are_refused() {
        for bytes in [
            &b"5 a=b"[..],
            b"99 a=b\n",
            b"0 a=b\n",
            b"6 ab\n",
            b"x a=b\n",
            b"5 =b\n",
            b"99999999999999999999999 a=b\n",
        ] {
            let error = Pax::parse(bytes, &Limits::DEFAULT).unwrap_err();
            assert_eq!(error, PaxError::Malformed, "{bytes:?}");
        }
        for (key, value) in [
            ("path", "a\0b"),
            ("size", "-1"),
            ("uid", "4294967296"),
            ("mtime", "soon"),
            ("GNU.sparse.map", "0,x"),
            ("SCHILY.xattr.", "empty name"),
        ] {
            let error = parse(&[(key, value)]).unwrap_err();
            assert!(matches!(error, PaxError::Value { .. }), "{key}");
        }
        parse(&[("GNU.sparse.numbytes", "1")]).unwrap_err();
        let large = "x".repeat(Limits::DEFAULT.xattr_bytes);
        let error = parse(&[("SCHILY.xattr.user.a", &large)]).unwrap_err();
        assert!(matches!(error, PaxError::Xattrs { .. }));
    }
}
