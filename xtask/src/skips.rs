//! Finds the tests that could not run here.
//!
//! Such a test prints a line `skipped: REASON` and returns. Nextest counts it as passed and
//! keeps what it wrote in a JUnit report; that is where this looks.

use std::path::Path;

/// What a test that cannot run says before the reason.
const MARK: &str = "skipped: ";

/// A test that did not run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Skip {
    /// The test.
    pub(crate) test: String,
    /// Why.
    pub(crate) reason: String,
}

/// The skips in the report of a test run. No report, no skips: then nothing was run.
pub(crate) fn read(report: &Path) -> Vec<Skip> {
    fs_err::read_to_string(report).map_or_else(|_| Vec::new(), |text| parse(&text))
}

/// Reads a report line by line, which is all the XML there is to it: nextest writes each element
/// on a line of its own.
fn parse(report: &str) -> Vec<Skip> {
    let mut test = String::new();
    let mut skips = Vec::new();
    for line in report.lines() {
        if line.trim_start().starts_with("<testcase ") {
            let (suite, name) = (attribute(line, "classname"), attribute(line, "name"));
            test = format!("{} {}", suite.unwrap_or_default(), name.unwrap_or_default());
        }
        // The first line of an output stands behind its element.
        let text = line.rsplit_once("<system-").map_or(line, |(_, rest)| {
            rest.split_once('>').map_or(rest, |(_, text)| text)
        });
        if let Some(reason) = text.trim_start().strip_prefix(MARK) {
            let reason = reason.split("</system-").next().unwrap_or(reason);
            skips.push(Skip {
                test: test.clone(),
                reason: unescape(reason),
            });
        }
    }
    skips
}

fn attribute<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let (_, rest) = line.split_once(&format!(" {name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod test {
    use super::{Skip, parse};

    #[test]
    fn tests_that_said_they_were_skipped_are_found() {
        let report = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="3">
    <testsuite name="vm-tests::boot" tests="3">
        <testcase name="boots_under_kvm" classname="vm-tests::boot" time="0.01">
            <system-out>
running 1 test
test boots_under_kvm ... ok
</system-out>
            <system-err>skipped: needs &lt;kvm&gt; &amp; root</system-err>
        </testcase>
        <testcase name="passes" classname="vm-tests::boot" time="0.01">
            <system-err>nothing is skipped: here</system-err>
        </testcase>
        <testcase name="late" classname="vm-tests::boot" time="0.01">
            <system-err>one line
skipped: needs zfs
</system-err>
        </testcase>
    </testsuite>
</testsuites>
"#;
        let skip = |test: &str, reason: &str| Skip {
            test: format!("vm-tests::boot {test}"),
            reason: reason.to_owned(),
        };
        assert_eq!(
            parse(report),
            [
                skip("boots_under_kvm", "needs <kvm> & root"),
                skip("late", "needs zfs")
            ]
        );
    }
}
