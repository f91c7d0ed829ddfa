//! API tokens.

use std::fmt;
use std::str::FromStr;

use crate::id::hex;
use crate::invalid::Invalid;
use crate::name::UserName;

/// What every token begins with.
pub const TOKEN_PREFIX: &str = "bht_";
/// Random digits of a token: 256 bits.
const DIGITS: usize = 64;

/// An API token, `bht_<user>_<64 hexadecimal digits>`.
///
/// `Debug` and `Display` do not show it; [`Token::reveal`] does, and is called in the one place
/// that hands a new token to its owner and in the one that hashes it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    user: UserName,
    text: String,
}

impl Token {
    /// Makes a new token for a user.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    pub fn random(user: &UserName) -> Self {
        let mut bytes = [0u8; DIGITS / 2];
        getrandom::fill(&mut bytes).expect("the kernel's random generator is initialised");
        Self {
            user: user.clone(),
            text: format!("{TOKEN_PREFIX}{user}_{}", hex(&bytes)),
        }
    }

    /// The user the token says it is of. Not proof of anything before the hash was compared.
    pub fn user(&self) -> &UserName {
        &self.user
    }

    /// The token itself. Never log it.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl FromStr for Token {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // The given text is left out of the message on purpose: it may be nearly a token.
        let refuse = || Invalid::new("token", "", "must look like bht_USER_ and 64 digits");
        let rest = text.strip_prefix(TOKEN_PREFIX).ok_or_else(refuse)?;
        let (user, digits) = rest.rsplit_once('_').ok_or_else(refuse)?;
        if digits.len() != DIGITS || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refuse());
        }
        Ok(Self {
            user: user.parse().map_err(|_| refuse())?,
            text: text.to_owned(),
        })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({TOKEN_PREFIX}…)")
    }
}

#[cfg(test)]
mod test {
    use super::Token;

    #[test]
    fn a_token_names_its_user_even_with_underscores() {
        let token = Token::random(&"team_a_1".parse().unwrap());
        let read: Token = token.reveal().parse().unwrap();
        assert_eq!(read.user().as_str(), "team_a_1");
        assert_eq!(read, token);
    }

    #[test]
    fn a_token_is_not_shown() {
        let token = Token::random(&"alice".parse().unwrap());
        assert_eq!(format!("{token:?}"), "Token(bht_…)");
        let error = format!("{}x", token.reveal()).parse::<Token>().unwrap_err();
        assert!(!error.to_string().contains(&token.reveal()[10..]));
    }
}
