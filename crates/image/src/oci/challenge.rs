//! What a registry asks for before it answers (`WWW-Authenticate`).

/// A way in that a registry offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token of the server `realm`.
    Bearer {
        /// Where tokens are to be had.
        realm: String,
        /// For which service.
        service: Option<String>,
        /// For what.
        scope: Option<String>,
    },
    /// Name and password, with each request.
    Basic,
}

/// The challenge to take up out of those in a header, which may hold several: a token if there is
/// one to be had.
pub(crate) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut found: Vec<Challenge> = headers.flat_map(parse).collect();
    let bearer = found
        .iter()
        .position(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    match bearer {
        Some(place) => Some(found.swap_remove(place)),
        None => found.pop(),
    }
}

/// The challenges of one header that are known; what is not understood is left out.
fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut scheme = String::new();
    let mut params: Vec<(String, String)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            break;
        }
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let after = after.trim_start_matches([' ', '\t']);
        let Some(value) = after.strip_prefix('=') else {
            // A word without a value begins the next challenge.
            challenges.extend(finish(&scheme, &params));
            params.clear();
            word.clone_into(&mut scheme);
            rest = after;
            continue;
        };
        let (value, after) = value_of(value.trim_start_matches([' ', '\t', '=']));
        params.push((word.to_ascii_lowercase(), value));
        rest = after;
    }
    challenges.extend(finish(&scheme, &params));
    challenges
}

/// A value, in quotes or not, and what follows.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, character) in quoted.char_indices() {
        match character {
            _ if escaped => {
                value.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            _ => value.push(character),
        }
    }
    (value, "")
}

fn finish(scheme: &str, params: &[(String, String)]) -> Option<Challenge> {
    let param = |wanted: &str| {
        let found = params.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone())
    };
    if scheme.eq_ignore_ascii_case("bearer") {
        Some(Challenge::Bearer {
            realm: param("realm")?,
            service: param("service"),
            scope: param("scope"),
        })
    } else if scheme.eq_ignore_ascii_case("basic") {
        Some(Challenge::Basic)
    } else {
        None
    }
}

#[cfg(test)]
mod test {
    use super::{Challenge, choose};

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn a_token_is_preferred_and_its_parameters_are_read() {
        let docker =
            r#"Bearer realm="https://a.io/token",service="r.io",scope="repository:a/b:pull,push""#;
        let scope = Some("repository:a/b:pull,push");
        let wanted = bearer("https://a.io/token", Some("r.io"), scope);
        assert_eq!(choose([docker].into_iter()), Some(wanted.clone()));
        let both = format!("Basic realm=\"x\", {docker}");
        assert_eq!(choose([both.as_str()].into_iter()), Some(wanted.clone()));
        assert_eq!(choose(["Basic realm=x", docker].into_iter()), Some(wanted));
        assert_eq!(
            choose([r#"bearer  realm = "a\"b" , error="invalid_token""#].into_iter()),
            Some(bearer("a\"b", None, None))
        );
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        assert_eq!(choose(["basic"].into_iter()), Some(Challenge::Basic));
        for header in [
            "",
            ",,,",
            "=",
            "==\"",
            "Negotiate",
            "Bearer service=\"no realm\"",
            "Digest realm=\"a\", nonce=\"b\"",
            "\"",
        ] {
            assert_eq!(choose([header].into_iter()), None, "{header}");
        }
        assert_eq!(
            choose(["Bearer realm=\"never closed"].into_iter()),
            Some(bearer("never closed", None, None))
        );
    }
}
