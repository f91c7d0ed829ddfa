//! From bodies about images to the engine's requests.

use bhatti_api::image::{GivenAuth, PullImage, PushImage, RegistryAuth, ShareImage};
use bhatti_engine::images::request::{Credentials, Import, Pull, Push, RegistryAccess, Secret};
use bhatti_engine::request::ImagePlace;
use bhatti_types::invalid::Invalid;
use bhatti_types::name::UserName;

use crate::error::ApiError;

/// Longest reference or platform, in bytes.
const MAX_TEXT: usize = 1024;
/// Most users that an image is shared with at once.
const MAX_USERS: usize = 100;

pub(crate) fn place(host: bool) -> ImagePlace {
    if host {
        ImagePlace::Host
    } else {
        ImagePlace::Own
    }
}

pub(crate) fn pull(body: PullImage) -> Result<Pull, Invalid> {
    Ok(Pull {
        name: given(body.name).map(|name| name.parse()).transpose()?,
        reference: reference(body.reference)?,
        place: place(body.host),
        platform: given(body.platform)
            .map(|text| short("platform", text))
            .transpose()?,
        access: access(body.auth, body.insecure)?,
    })
}

pub(crate) fn push(body: PushImage) -> Result<Push, Invalid> {
    Ok(Push {
        reference: reference(body.reference)?,
        access: access(body.auth, body.insecure)?,
    })
}

/// What stands in the address of an import.
pub(crate) fn import(query: Vec<(String, String)>) -> Result<Import, ApiError> {
    let (mut name, mut docker, mut host) = (None, None, false);
    for (key, value) in query {
        match key.as_str() {
            "name" => name = Some(value),
            "docker" => docker = given(Some(value)),
            "host" => {
                host = match value.as_str() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(ApiError::malformed("host must be true or false")),
                }
            }
            _ => {
                let text = "only `name`, `docker` and `host` are known in the query";
                return Err(ApiError::malformed(text));
            }
        }
    }
    let name = name.ok_or_else(|| ApiError::malformed("the query must have a name"))?;
    Ok(Import {
        name: name.parse()?,
        place: place(host),
        docker: docker.map(|text| short("docker name", text)).transpose()?,
    })
}

pub(crate) fn users(body: ShareImage) -> Result<Vec<UserName>, Invalid> {
    if body.users.is_empty() || body.users.len() > MAX_USERS {
        let count = body.users.len().to_string();
        let reason = format!("must be from 1 to {MAX_USERS}");
        return Err(Invalid::new("number of users", &count, reason));
    }
    body.users.into_iter().map(|name| name.parse()).collect()
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn reference(text: String) -> Result<String, Invalid> {
    if text.is_empty() {
        return Err(Invalid::new("image reference", "", "must not be empty"));
    }
    short("image reference", text)
}

fn short(what: &'static str, text: String) -> Result<String, Invalid> {
    if text.len() > MAX_TEXT {
        return Err(Invalid::new(what, &text, "is too long"));
    }
    Ok(text)
}

fn access(auth: Option<GivenAuth>, insecure: bool) -> Result<RegistryAccess, Invalid> {
    let secret = Secret::new;
    let credentials = match auth {
        None => None,
        Some(GivenAuth::Joined(text)) if text.is_empty() => None,
        Some(GivenAuth::Joined(text)) => Some(text.parse()?),
        Some(GivenAuth::Kind(auth)) => Some(match auth {
            RegistryAuth::Password { user, secret: text } => Credentials::Password {
                user,
                secret: secret(text),
            },
            RegistryAuth::Identity { secret: text } => Credentials::Identity {
                secret: secret(text),
            },
            RegistryAuth::Bearer { secret: text } => Credentials::Bearer {
                secret: secret(text),
            },
        }),
    };
    if let Some(credentials) = &credentials {
        credentials.check()?;
    }
    Ok(RegistryAccess {
        credentials,
        insecure,
    })
}

#[cfg(test)]
mod test {
    use bhatti_api::image::PullImage;

    use bhatti_engine::images::request::Credentials;

    use super::{import, pull};

    fn asked(body: &str) -> Result<String, String> {
        let body: PullImage = serde_json::from_str(body).map_err(|error| error.to_string())?;
        let asked = pull(body).map_err(|error| error.to_string())?;
        let user = asked
            .access
            .credentials
            .map(|credentials| match credentials {
                Credentials::Password { user, secret } => (user, secret.reveal().to_owned()),
                other => panic!("{other:?}"),
            });
        Ok(format!("{} {:?} {user:?}", asked.reference, asked.name))
    }

    #[test]
    fn credentials_are_taken_as_the_original_takes_them_and_apart() {
        let user = "alpine None Some((\"me\", \"a:b\"))";
        let joined = asked(r#"{"ref": "alpine", "auth": "me:a:b"}"#);
        assert_eq!(joined.unwrap(), user);
        let apart =
            r#"{"ref": "alpine", "auth": {"kind": "password", "user": "me", "secret": "a:b"}}"#;
        assert_eq!(asked(apart).unwrap(), user);
        let none = asked(r#"{"ref": "alpine", "auth": "", "name": ""}"#);
        assert_eq!(none.unwrap(), "alpine None None");
        let secret = asked(r#"{"ref": "alpine", "auth": "geheim"}"#).unwrap_err();
        assert!(!secret.contains("geheim"), "{secret}");
        assert!(asked(r#"{"name": "a"}"#).unwrap_err().contains("reference"));
        assert!(asked(r#"{"ref": "a", "name": "a/b"}"#).is_err());
    }

    #[test]
    fn an_import_has_a_name_and_nothing_unknown() {
        let asked = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|&(key, value)| (key.to_owned(), value.to_owned()));
            import(pairs.collect()).map_err(|error| error.to_string())
        };
        let full = asked(&[("name", "a:1"), ("docker", "me/a:1"), ("host", "true")]).unwrap();
        assert_eq!(full.docker.as_deref(), Some("me/a:1"));
        assert!(asked(&[]).unwrap_err().contains("name"));
        assert!(
            asked(&[("name", "a"), ("x", "")])
                .unwrap_err()
                .contains("known")
        );
        assert!(
            asked(&[("name", "a"), ("host", "1")])
                .unwrap_err()
                .contains("host")
        );
        assert!(asked(&[("name", "a/b")]).is_err());
    }
}
