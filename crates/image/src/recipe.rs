//! Recipes: images described as distribution packages, files and a user.
//!
//! A [`Recipe`] is whole: what its file takes over from a parent is in it. [`crate::recipe_file`]
//! is what the file may say.

use std::io;
use std::path::{Path, PathBuf};

use bhatti_types::name::ImageName;
use bhatti_types::size::DiskMb;
use serde::{Deserialize, Serialize};

use crate::image_config::ImageConfig;
use crate::recipe_file::RecipeFileText;

/// Largest recipe read, in bytes.
const MAX_RECIPE: u64 = 1 << 20;

/// A recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recipe {
    /// Name of the image.
    pub name: ImageName,
    /// What it is for, in a line. Not part of what the image is made of.
    #[serde(skip)]
    pub about: String,
    /// Debian's release, such as `bookworm`.
    pub suite: String,
    /// Size of the file system; clones may be larger.
    pub size_mb: DiskMb,
    /// Packages over what is essential.
    pub packages: Vec<String>,
    /// Paths that packages do not unpack, as patterns of `dpkg --path-exclude`.
    pub exclude: Vec<String>,
    /// Exceptions to these, as patterns of `dpkg --path-include`.
    pub include: Vec<String>,
    /// A user to add.
    pub user: Option<RecipeUser>,
    /// Groups of packages that the user joins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Directories to add.
    pub directories: Vec<RecipeDirectory>,
    /// Files to add or replace, owned by root.
    pub files: Vec<RecipeFile>,
    /// A shell script that root runs inside the image's tree once all else is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// How commands run in the image.
    pub config: ImageConfig,
}

/// A user of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeUser {
    /// Login name, and name of the group.
    pub name: String,
    /// User and group id.
    pub uid: u32,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// A directory of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeDirectory {
    /// Where.
    pub path: String,
    /// The user it belongs to.
    pub owner: String,
}

/// A file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeFile {
    /// Where.
    pub path: String,
    /// Permission bits in octal, such as `"0644"`.
    pub mode: String,
    /// What is in it.
    pub content: String,
}

/// A recipe that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// It could not be read.
    #[error("failed to read the recipe {path:?}")]
    Read {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not YAML of the right shape.
    #[error("the recipe {path:?} is not valid")]
    Parse {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_yaml_ng::Error,
    },
    /// Neither it nor a parent says something that has to be said.
    #[error("the recipe `{name}` says no `{what}`")]
    Missing {
        /// Its name.
        name: ImageName,
        /// The key.
        what: &'static str,
    },
    /// A value in it is not usable.
    #[error("the recipe's {what} {given:?} {reason}")]
    Value {
        /// Which kind of value.
        what: &'static str,
        /// The value.
        given: String,
        /// What it must be.
        reason: &'static str,
    },
}

impl Recipe {
    /// Reads and checks the recipe in a file.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        let text = bhatti_host::files::read_bounded(path, MAX_RECIPE).map_err(|source| {
            RecipeError::Read {
                path: path.to_owned(),
                source,
            }
        })?;
        Self::parse(&text, path)
    }

    /// Checks the text of a recipe, which errors say to be in the file `path`.
    pub fn parse(text: &[u8], path: &Path) -> Result<Self, RecipeError> {
        let text: RecipeFileText =
            serde_yaml_ng::from_slice(text).map_err(|source| RecipeError::Parse {
                path: path.to_owned(),
                source,
            })?;
        let recipe = text.resolve()?;
        recipe.check()?;
        Ok(recipe)
    }

    /// Checks that values say what they are meant to say wherever they are used: none can be
    /// taken for an option, leave the image's tree, or hold what a shell or a list would split.
    pub fn check(&self) -> Result<(), RecipeError> {
        let word = |what, text: &str| {
            let first = text
                .bytes()
                .next()
                .is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
            let rest = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'+');
            require(
                first && text.bytes().all(rest),
                what,
                text,
                "must be a plain word",
            )
        };
        let path = |what, text: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+*@:,~".contains(&b);
            let inside = text.starts_with('/') && !text.split('/').any(|part| part == "..");
            require(
                inside && text.bytes().all(plain),
                what,
                text,
                "must be an absolute path of plain characters",
            )
        };
        word("suite", &self.suite)?;
        for package in &self.packages {
            word("package", package)?;
        }
        for pattern in self.exclude.iter().chain(&self.include) {
            path("path pattern", pattern)?;
        }
        if let Some(user) = &self.user {
            word("user", &user.name)?;
            path("home directory", &user.home)?;
            path("shell", &user.shell)?;
        }
        for group in &self.groups {
            word("group", group)?;
            require(
                self.user.is_some(),
                "group",
                group,
                "needs a user to be joined by",
            )?;
        }
        for directory in &self.directories {
            path("directory", &directory.path)?;
            word("owner", &directory.owner)?;
        }
        for file in &self.files {
            path("file", &file.path)?;
            let octal = file.mode.len() == 4 && file.mode.bytes().all(|b| matches!(b, b'0'..=b'7'));
            require(octal, "file mode", &file.mode, "must be four octal digits")?;
        }
        Ok(())
    }

    /// Digest of everything the image is made of, in hexadecimal. `builder` is the version of
    /// what makes the image.
    #[expect(clippy::missing_panics_doc, reason = "the expectation always holds")]
    pub fn digest(&self, builder: u32) -> String {
        let text = serde_json::to_vec(self).expect("strings and numbers are always valid JSON");
        let mut hasher = blake3::Hasher::new();
        hasher.update(&builder.to_le_bytes());
        hasher.update(&text);
        hasher.finalize().to_hex().to_string()
    }
}

pub(crate) fn require(
    holds: bool,
    what: &'static str,
    given: &str,
    reason: &'static str,
) -> Result<(), RecipeError> {
    if holds {
        Ok(())
    } else {
        Err(RecipeError::Value {
            what,
            given: given.to_owned(),
            reason,
        })
    }
}

#[cfg(test)]
pub(crate) mod test {
    use std::path::Path;

    use super::{Recipe, RecipeError};

    /// The recipe that the repository ships.
    pub(crate) fn base() -> Recipe {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images/base/recipe.yaml");
        Recipe::read(&root).unwrap()
    }

    #[test]
    fn the_base_recipe_is_valid_and_has_what_the_documentation_says() {
        let base = base();
        assert_eq!(base.name.as_str(), "base");
        for package in [
            "bash", "procps", "iproute2", "curl", "git", "python3", "sudo",
        ] {
            assert!(
                base.packages.iter().any(|name| name == package),
                "{package}"
            );
        }
        assert_eq!(base.user.unwrap().uid, 1000);
    }

    #[test]
    fn the_digest_changes_with_anything_in_the_recipe() {
        let base = base();
        let mut other = base.clone();
        other.files[0].content.push('x');
        assert_eq!(base.digest(1), base.clone().digest(1));
        assert_ne!(base.digest(1), other.digest(1));
        assert_ne!(base.digest(1), base.digest(2));
    }

    #[test]
    fn values_that_would_do_something_else_are_refused() {
        type Change = fn(&mut Recipe);
        let changes: [(&str, Change); 8] = [
            ("suite", |recipe| recipe.suite = "--help".to_owned()),
            ("package", |recipe| recipe.packages.push("a,b".to_owned())),
            ("path pattern", |recipe| {
                recipe.exclude.push("/a b".to_owned());
            }),
            ("file", |recipe| {
                recipe.files[0].path = "/etc/../../root".to_owned();
            }),
            ("file mode", |recipe| {
                recipe.files[0].mode = "u+s".to_owned();
            }),
            ("directory", |recipe| {
                recipe.directories[0].path = "/it's".to_owned();
            }),
            ("file", |recipe| {
                recipe.files[0].path = "/etc/$(id)".to_owned();
            }),
            ("owner", |recipe| {
                recipe.directories[0].owner = "$(id)".to_owned();
            }),
        ];
        for (kind, change) in changes {
            let mut recipe = base();
            change(&mut recipe);
            let error = recipe.check().unwrap_err();
            assert!(
                matches!(error, RecipeError::Value { what, .. } if what == kind),
                "{error}"
            );
        }
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recipe.yaml");
        fs_err::write(
            &path,
            "name: x\nsuite: y\nsize_mb: 64\npackages: []\npakages: []\n",
        )
        .unwrap();
        assert!(matches!(
            Recipe::read(&path),
            Err(RecipeError::Parse { .. })
        ));
    }
}
