//! The recipes that bhatti ships; they are in the program, so that an installed one has them.

use std::path::Path;

use crate::recipe::{Recipe, RecipeError};

/// The name and the text of each.
const SHIPPED: &[(&str, &str)] = &[
    ("base", include_str!("../../../images/base/recipe.yaml")),
    ("ai", include_str!("../../../images/ai/recipe.yaml")),
    (
        "browser",
        include_str!("../../../images/browser/recipe.yaml"),
    ),
    (
        "builder",
        include_str!("../../../images/builder/recipe.yaml"),
    ),
    (
        "desktop",
        include_str!("../../../images/desktop/recipe.yaml"),
    ),
    ("docker", include_str!("../../../images/docker/recipe.yaml")),
    (
        "postgres",
        include_str!("../../../images/postgres/recipe.yaml"),
    ),
    (
        "systemd",
        include_str!("../../../images/systemd/recipe.yaml"),
    ),
];

/// Their names, `base` first.
pub fn names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}

/// The recipe of this name, if bhatti ships one. An error would be a mistake in it.
pub fn get(name: &str) -> Result<Option<Recipe>, RecipeError> {
    let found = SHIPPED.iter().find(|(shipped, _)| *shipped == name);
    found
        .map(|(name, text)| Recipe::parse(text.as_bytes(), Path::new(name)))
        .transpose()
}

/// All of them.
pub fn all() -> Result<Vec<Recipe>, RecipeError> {
    names().filter_map(|name| get(name).transpose()).collect()
}

#[cfg(test)]
mod test {
    use super::{all, get, names};

    #[test]
    fn each_recipe_is_valid_and_goes_by_its_directory() {
        let recipes = all().unwrap();
        assert_eq!(recipes.len(), names().count());
        for (recipe, name) in recipes.iter().zip(names()) {
            assert_eq!(recipe.name.as_str(), name);
            assert!(!recipe.about.is_empty() && !recipe.about.contains('\n'));
        }
        assert!(get("nobody").unwrap().is_none());
    }
}
