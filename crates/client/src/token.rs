//! The token a client sends.

use std::fmt;

use http::HeaderValue;

use crate::error::Error;

/// What goes after `Authorization: Bearer`.
///
/// Looser than the daemon's own idea of a token: whether it is a good one is for the daemon to
/// say. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(String);

impl BearerToken {
    /// Takes a token that can be sent in a header: visible ASCII, without blanks, not empty.
    pub fn new(text: &str) -> Result<Self, Error> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::Token);
        }
        Ok(Self(text.to_owned()))
    }

    /// The token itself. Never log it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The value of the `Authorization` header, marked so that it is not shown in debug output.
    pub(crate) fn header(&self) -> HeaderValue {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.0))
            .expect("the constructor took visible ASCII only");
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(…)")
    }
}

#[cfg(test)]
mod test {
    use super::BearerToken;

    #[test]
    fn a_token_that_would_break_the_header_is_refused() {
        for text in ["", "a b", "a\r\nX-Other: 1", "ä", "\0"] {
            assert!(BearerToken::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        let token = BearerToken::new("bht_alice_0123").unwrap();
        assert_eq!(
            format!("{token:?} {:?}", token.header()),
            "BearerToken(…) Sensitive"
        );
    }
}
