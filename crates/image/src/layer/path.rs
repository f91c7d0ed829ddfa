//! Names of an archive's entries.

use crate::layer::limits::{Limits, NAME_MAX};

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is empty.
    #[error("the name is empty")]
    Empty,
    /// No file system can hold it.
    #[error("the name holds a NUL byte")]
    Nul,
    /// One of its components is too long.
    #[error("a component of the name has more than {NAME_MAX} bytes")]
    Component,
    /// It is too long.
    #[error("the name has more than {limit} bytes")]
    Length {
        /// How many it may have.
        limit: usize,
    },
    /// It is too deep.
    #[error("the name has more than {limit} components")]
    Depth {
        /// How many it may have.
        limit: usize,
    },
}

/// What a name means inside the tree: without `/` at the front and the end, without `.`, and with
/// `..` taken away together with what is before it. Empty is the root.
///
/// `..` never leads out of the tree: at the root it means the root, as it does in a root file
/// system and for the other tools that unpack images.
pub(crate) fn normalise(name: &[u8], limits: &Limits) -> Result<Box<[u8]>, PathError> {
    if name.is_empty() {
        return Err(PathError::Empty);
    }
    if name.contains(&0) {
        return Err(PathError::Nul);
    }
    if name.len() > limits.path_bytes {
        return Err(PathError::Length {
            limit: limits.path_bytes,
        });
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            _ if part.len() > NAME_MAX => return Err(PathError::Component),
            _ => parts.push(part),
        }
        if parts.len() > limits.depth {
            return Err(PathError::Depth {
                limit: limits.depth,
            });
        }
    }
    Ok(parts.join(&b'/').into_boxed_slice())
}

/// Whether a name is one that [`normalise`] gives.
pub(crate) fn is_normal(name: &[u8], limits: &Limits) -> bool {
    name.is_empty() || normalise(name, limits).is_ok_and(|normal| *normal == *name)
}

#[cfg(test)]
mod test {
    use super::{PathError, is_normal, normalise};
    use crate::layer::limits::Limits;

    #[test]
    fn names_stay_inside_the_tree() {
        for (name, normal) in [
            ("a/b", "a/b"),
            ("./a//b/", "a/b"),
            ("/etc/passwd", "etc/passwd"),
            ("../../etc/passwd", "etc/passwd"),
            ("a/../../b/./c/..", "b"),
            (".", ""),
            ("/", ""),
            ("..", ""),
            ("a/...", "a/..."),
            ("A/a", "A/a"),
        ] {
            let found = normalise(name.as_bytes(), &Limits::DEFAULT).unwrap();
            assert_eq!(&*found, normal.as_bytes(), "{name}");
            assert!(is_normal(&found, &Limits::DEFAULT));
            assert_eq!(is_normal(name.as_bytes(), &Limits::DEFAULT), name == normal);
        }
    }

    #[test]
    fn names_that_no_file_can_have_are_refused() {
        let long = "x".repeat(256);
        let deep = "d/".repeat(257);
        let limits = Limits {
            path_bytes: 1000,
            ..Limits::DEFAULT
        };
        for (name, error) in [
            ("", PathError::Empty),
            ("a\0b", PathError::Nul),
            (&long, PathError::Component),
            (&deep, PathError::Depth { limit: 256 }),
            (&"ab/".repeat(334), PathError::Length { limit: 1000 }),
        ] {
            assert_eq!(normalise(name.as_bytes(), &limits), Err(error));
        }
    }
}
