//! What the file of a recipe may say: as much as differs from the recipe that it names as its
//! parent.

use bhatti_types::name::ImageName;
use bhatti_types::size::DiskMb;
use serde::Deserialize;

use crate::image_config::ImageConfig;
use crate::recipe::{Recipe, RecipeDirectory, RecipeError, RecipeFile, RecipeUser, require};
use crate::recipes;

/// A recipe as its file has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecipeFileText {
    name: ImageName,
    /// A recipe that bhatti ships, to which this one adds.
    from: Option<ImageName>,
    #[serde(default)]
    about: String,
    suite: Option<String>,
    size_mb: Option<DiskMb>,
    #[serde(default)]
    packages: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default)]
    include: Vec<String>,
    user: Option<RecipeUser>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    directories: Vec<RecipeDirectory>,
    #[serde(default)]
    files: Vec<RecipeFile>,
    run: Option<String>,
    #[serde(default)]
    config: ImageConfig,
}

impl RecipeFileText {
    /// The whole recipe: its parent's, with this one's over it. Lists are the parent's and then
    /// this one's, a file of the same path takes the place of the parent's, and scripts run one
    /// after the other.
    pub(crate) fn resolve(self) -> Result<Recipe, RecipeError> {
        let parent = match &self.from {
            None => None,
            // That a recipe is not its own ancestor is seen to by those that bhatti ships.
            Some(name) => Some(recipes::get(name.as_str())?.ok_or_else(|| unknown(name))?),
        };
        self.over(parent)
    }

    fn over(self, parent: Option<Recipe>) -> Result<Recipe, RecipeError> {
        let (suite, size_mb) = match &parent {
            Some(parent) => (Some(parent.suite.clone()), Some(parent.size_mb)),
            None => (None, None),
        };
        let parent = parent.unwrap_or_else(|| Recipe {
            name: self.name.clone(),
            about: String::new(),
            suite: String::new(),
            size_mb: DiskMb::MIN,
            packages: Vec::new(),
            exclude: Vec::new(),
            include: Vec::new(),
            user: None,
            groups: Vec::new(),
            directories: Vec::new(),
            files: Vec::new(),
            run: None,
            config: ImageConfig::default(),
        });
        let missing = |what| RecipeError::Missing {
            name: self.name.clone(),
            what,
        };
        let mut files = parent.files;
        files.retain(|file| self.files.iter().all(|own| own.path != file.path));
        files.extend(self.files);
        let run = [parent.run, self.run].into_iter().flatten();
        let run: Vec<_> = run.collect();
        Ok(Recipe {
            suite: self.suite.or(suite).ok_or_else(|| missing("suite"))?,
            size_mb: self.size_mb.or(size_mb).ok_or_else(|| missing("size_mb"))?,
            name: self.name,
            about: self.about,
            packages: joined(parent.packages, self.packages),
            exclude: joined(parent.exclude, self.exclude),
            include: joined(parent.include, self.include),
            user: self.user.or(parent.user),
            groups: joined(parent.groups, self.groups),
            directories: joined(parent.directories, self.directories),
            files,
            run: (!run.is_empty()).then(|| run.join("\n")),
            config: ImageConfig {
                user: self.config.user.or(parent.config.user),
                env: parent.config.env.overlaid(&self.config.env),
                workdir: self.config.workdir.or(parent.config.workdir),
                // What it runs is its own affair.
                ..self.config
            },
        })
    }
}

/// The first list and what of the second is not in it.
fn joined<T: PartialEq>(mut first: Vec<T>, second: Vec<T>) -> Vec<T> {
    for one in second {
        if !first.contains(&one) {
            first.push(one);
        }
    }
    first
}

fn unknown(name: &ImageName) -> RecipeError {
    let refused = require(
        false,
        "parent",
        name.as_str(),
        "must be one of the recipes that bhatti ships",
    );
    refused.expect_err("what does not hold is refused")
}

#[cfg(test)]
mod test {
    use std::path::Path;

    use crate::recipe::{Recipe, RecipeError};
    use crate::recipes;

    fn parse(text: &str) -> Result<Recipe, RecipeError> {
        Recipe::parse(text.as_bytes(), Path::new("recipe.yaml"))
    }

    #[test]
    fn a_recipe_adds_to_its_parent_and_may_replace_its_files() {
        let base = recipes::get("base").unwrap().unwrap();
        let path = "/etc/apt/apt.conf.d/90bhatti";
        let text = format!(
            "name: own\nfrom: base\npackages: [git, jq]\nsize_mb: 4096\n\
             files:\n  - {{path: {path}, mode: \"0600\", content: x}}\n\
             run: echo\nconfig:\n  user: root\n  env: {{LANG: de}}\n"
        );
        let own = parse(&text).unwrap();
        assert_eq!((own.name.as_str(), own.size_mb.get()), ("own", 4096));
        assert_eq!(own.packages.len(), base.packages.len() + 1);
        assert_eq!(own.files.len(), base.files.len());
        let file = own.files.iter().find(|file| file.path == path).unwrap();
        assert_eq!(file.content, "x");
        assert_eq!(own.config.user.as_deref(), Some("root"));
        assert_eq!(own.config.workdir, base.config.workdir);
        let env = own.config.env.as_map();
        assert_eq!(env["LANG"], "de");
        assert_eq!(env["PATH"], base.config.env.as_map()["PATH"]);
        assert_eq!((own.suite, own.user), (base.suite, base.user));
    }

    #[test]
    fn what_is_missing_or_unknown_is_said() {
        let said = |text| parse(text).unwrap_err().to_string();
        let alone = said("name: own\nsize_mb: 64\n");
        assert_eq!(alone, "the recipe `own` says no `suite`");
        let orphan = said("name: own\nfrom: nobody\n");
        assert!(orphan.contains("parent \"nobody\" must be one"), "{orphan}");
        let groups = said("name: own\nsuite: x\nsize_mb: 64\ngroups: [docker]\n");
        assert!(groups.contains("needs a user"), "{groups}");
    }
}
