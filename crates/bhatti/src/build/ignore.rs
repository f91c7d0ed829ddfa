//! `.dockerignore`: patterns of paths that are not sent.
//!
//! The rules are Docker's: one pattern a line, `#` begins a comment, `!` takes back what an earlier
//! one excluded, `*` and `?` stay within one name, `**` is any number of directories, and what is
//! below an excluded directory is excluded.

/// Patterns, in the order of the file.
#[derive(Debug, Default)]
pub(crate) struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    parts: Vec<String>,
    /// It takes back what others excluded.
    takes_back: bool,
}

impl Ignore {
    /// Reads the text of the file.
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let patterns = text.lines().filter_map(|line| {
            if line.starts_with('#') {
                return None;
            }
            let line = line.trim();
            let (line, takes_back) = match line.strip_prefix('!') {
                Some(rest) => (rest.trim(), true),
                None => (line, false),
            };
            let mut parts: Vec<String> = Vec::new();
            for part in line.split('/') {
                match part {
                    "" | "." => {}
                    ".." => drop(parts.pop()),
                    part => parts.push(part.to_owned()),
                }
            }
            (!parts.is_empty()).then_some(Pattern { parts, takes_back })
        });
        Self {
            patterns: patterns.collect(),
        }
    }

    /// Whether a path, by its names from the directory down, is not sent.
    pub(crate) fn excludes(&self, path: &[&str]) -> bool {
        let mut excluded = false;
        for pattern in &self.patterns {
            // Only one that would change something has to be tried.
            if pattern.takes_back == excluded
                && (1..=path.len()).any(|length| matches(&pattern.parts, &path[..length]))
            {
                excluded = !pattern.takes_back;
            }
        }
        excluded
    }

    /// Whether something below an excluded directory may be sent all the same.
    pub(crate) fn takes_back(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.takes_back)
    }
}

fn matches(pattern: &[String], path: &[&str]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((first, rest)) if first == "**" => {
            (0..=path.len()).any(|skipped| matches(rest, &path[skipped..]))
        }
        Some((first, rest)) => path.split_first().is_some_and(|(name, below)| {
            name_matches(
                &first.chars().collect::<Vec<_>>(),
                &name.chars().collect::<Vec<_>>(),
            ) && matches(rest, below)
        }),
    }
}

/// One name against one part of a pattern. A star is tried as short as it can be and made longer
/// only as far as the last one: quadratic at the worst, whatever the pattern.
fn name_matches(pattern: &[char], name: &[char]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        if pattern.get(at) == Some(&'*') {
            star = Some((at + 1, seen));
            at += 1;
            continue;
        }
        if let Some(length) = one_matches(&pattern[at..], name[seen]) {
            at += length;
            seen += 1;
            continue;
        }
        let Some((after, from)) = star else {
            return false;
        };
        star = Some((after, from + 1));
        (at, seen) = (after, from + 1);
    }
    pattern[at..].iter().all(|c| *c == '*')
}

/// How much of a pattern stands for this one character, if it does.
fn one_matches(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', escaped, ..] => (*escaped == c).then_some(2),
        ['[', rest @ ..] => class(rest, c).map(|length| length + 1),
        [first, ..] => (*first == c).then_some(1),
        [] => None,
    }
}

/// A class such as `a-z]` or `^ab]`; gives its length if the character is in it.
fn class(pattern: &[char], c: char) -> Option<usize> {
    let (negated, mut at) = match pattern.first() {
        Some('^' | '!') => (true, 1),
        _ => (false, 0),
    };
    let first = at;
    let mut found = false;
    loop {
        let low = *pattern.get(at)?;
        if low == ']' && at > first {
            return (found != negated).then_some(at + 1);
        }
        let high = match pattern.get(at + 1..at + 3) {
            Some(['-', high]) if *high != ']' => {
                at += 2;
                *high
            }
            _ => low,
        };
        found |= (low..=high).contains(&c);
        at += 1;
    }
}

#[cfg(test)]
mod test {
    use super::Ignore;

    fn excluded(text: &str, path: &str) -> bool {
        let names: Vec<_> = path.split('/').collect();
        Ignore::parse(text).excludes(&names)
    }

    #[test]
    fn patterns_exclude_what_docker_s_do() {
        for (text, path) in [
            ("secret", "secret"),
            ("/secret", "secret"),
            ("./a/../secret/", "secret/key"),
            ("*.log", "a.log"),
            ("*/*.log", "a/b.log"),
            ("**/*.log", "a.log"),
            ("**/*.log", "a/b/c.log"),
            ("**", "a/b"),
            ("a/**/d", "a/b/c/d/e"),
            ("node_modules", "node_modules/x/y"),
            ("temp?", "temp1"),
            ("[a-c]x", "bx"),
            ("[^a]x", "bx"),
            (r"\*", "*"),
            ("*a*a*b", "xaxaxb"),
        ] {
            assert!(excluded(text, path), "{text} {path}");
        }
        for (text, path) in [
            ("# secret", "secret"),
            ("#secret", "#secret"),
            ("*.log", "a/b.log"),
            ("temp?", "temp"),
            ("[^a]x", "ax"),
            ("[a", "a"),
            (r"\*", "a"),
            ("a/b", "a"),
            ("", "a"),
        ] {
            assert!(!excluded(text, path), "{text} {path}");
        }
    }

    #[test]
    fn the_last_pattern_that_fits_decides() {
        let text = "docs\n!docs/README.md\n*.md\n!docs/README.md\n";
        assert!(excluded(text, "docs/other.txt") && excluded(text, "CHANGES.md"));
        assert!(!excluded(text, "docs/README.md"));
        assert!(Ignore::parse(text).takes_back());
        assert!(excluded("!a\na", "a"));
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_time() {
        let text = "*a".repeat(200);
        assert!(!excluded(&text, &format!("{}b", "a".repeat(4000))));
    }
}
