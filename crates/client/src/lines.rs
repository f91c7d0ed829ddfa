//! A list of sandboxes as short as it is shown.

use std::borrow::Cow;

use serde::Deserialize;

use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::reply::Reply;

/// The answer to a call for a list in four columns.
///
/// A list may be long: what it holds is borrowed from the answer as it came.
#[derive(Debug)]
pub struct SandboxLines {
    reply: Reply,
    endpoint: Endpoint,
    what: &'static str,
}

/// One line of it: [`bhatti_api::sandbox::SandboxLine`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SandboxLine<'a> {
    /// Its name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// What it is doing.
    #[serde(borrow)]
    pub status: Cow<'a, str>,
    /// Where its memory is.
    #[serde(borrow)]
    pub thermal: Cow<'a, str>,
    /// Public addresses of its ports.
    #[serde(default)]
    pub urls: Vec<String>,
}

impl SandboxLines {
    pub(crate) fn new(reply: Reply, endpoint: Endpoint, what: &'static str) -> Self {
        Self {
            reply,
            endpoint,
            what,
        }
    }

    /// The lines; an error if the answer holds something else.
    pub fn read(&self) -> Result<Vec<SandboxLine<'_>>, Error> {
        self.reply.json(&self.endpoint, self.what)
    }

    /// How long the answer is, in bytes.
    pub fn bytes(&self) -> usize {
        self.reply.body.len()
    }
}

#[cfg(test)]
mod test {
    use std::borrow::Cow;

    use super::SandboxLine;

    #[test]
    fn a_line_is_read_as_it_is_written_and_borrowed_where_it_can_be() {
        let written = bhatti_api::sandbox::SandboxLine {
            name: "a\"b".to_owned(),
            status: "running".into(),
            thermal: "hot".into(),
            urls: vec!["https://a.example".to_owned()],
        };
        let text = serde_json::to_string(&[written]).unwrap();
        let read: Vec<SandboxLine<'_>> = serde_json::from_str(&text).unwrap();
        let [line] = &read[..] else {
            panic!("{read:?}")
        };
        assert_eq!((&*line.name, &*line.status), ("a\"b", "running"));
        assert!(matches!(line.status, Cow::Borrowed(_)));
        assert_eq!(line.urls, ["https://a.example"]);
    }
}
