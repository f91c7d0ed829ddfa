//! The images that a Containerfile begins its stages with.

/// The references after `FROM`, each once: not those of earlier stages, not `scratch`, and not
/// those that hold a variable, which only the build can tell.
pub(crate) fn references(containerfile: &str) -> Vec<String> {
    let mut stages: Vec<String> = Vec::new();
    let mut found: Vec<String> = Vec::new();
    for line in containerfile.lines() {
        let mut words = line.split_whitespace();
        if !words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("FROM"))
        {
            continue;
        }
        let mut words = words.skip_while(|word| word.starts_with("--"));
        let Some(image) = words.next() else {
            continue;
        };
        let is_stage = stages.iter().any(|stage| stage.eq_ignore_ascii_case(image));
        let is_image = image != "scratch" && !image.contains('$') && !is_stage;
        if is_image && !found.iter().any(|other| other == image) {
            found.push(image.to_owned());
        }
        if words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("AS"))
        {
            stages.extend(words.next().map(str::to_owned));
        }
    }
    found
}

#[cfg(test)]
mod test {
    use super::references;

    #[test]
    fn images_are_told_from_stages() {
        let text = "# FROM no\nARG V=1\nFROM --platform=linux/amd64 base AS one\nRUN echo FROM x\n\
                    from scratch as Two\nFROM one\nFROM two AS three\nFROM app:$V\n  FROM base\n\
                    FROM app:2\nFROM\n";
        assert_eq!(references(text), ["base", "app:2"]);
    }
}
