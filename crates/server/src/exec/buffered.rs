//! A command whose output is answered in one piece, once it has ended.

use bhatti_api::exec::{ExecResult, MAX_BUFFERED};

use crate::error::ApiError;
use crate::exec::process::{Output, Step};
use crate::exec::text::Text;

/// Waits for the end of a command. Dropping the future ends the command.
pub(crate) async fn result(output: impl Output) -> Result<ExecResult, ApiError> {
    result_within(output, MAX_BUFFERED).await
}

async fn result_within(mut output: impl Output, limit: usize) -> Result<ExecResult, ApiError> {
    let mut stdout = Bounded::new(limit);
    let mut stderr = Bounded::new(limit);
    let exit = loop {
        match output.next().await? {
            Step::Stdout(bytes) => stdout.push(&bytes),
            Step::Stderr(bytes) => stderr.push(&bytes),
            Step::Exit(exit) => break exit,
        }
    };
    let truncated = stdout.truncated || stderr.truncated;
    let (stdout, stderr) = (stdout.text(), stderr.text());
    Ok(ExecResult {
        exit_code: exit.code,
        stdout: stdout.text,
        stderr: stderr.text,
        stdout_base64: stdout.base64,
        stderr_base64: stderr.base64,
        signal: exit.signal,
        timed_out: exit.timed_out,
        truncated,
    })
}

/// The first bytes of a stream.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    truncated: bool,
}

impl Bounded {
    fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
            truncated: false,
        }
    }

    fn push(&mut self, piece: &[u8]) {
        let room = self.limit - self.bytes.len();
        self.truncated |= piece.len() > room;
        self.bytes
            .extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn text(&self) -> Text {
        let end = match std::str::from_utf8(&self.bytes) {
            // The cut may have gone through a character: text stays text without its beginning.
            Err(error) if self.truncated && error.error_len().is_none() => error.valid_up_to(),
            Ok(_) | Err(_) => self.bytes.len(),
        };
        Text::from(&self.bytes[..end])
    }
}

#[cfg(test)]
mod test {
    use super::{result, result_within};
    use crate::exec::process::script::{Script, exit, stderr, stdout};

    #[tokio::test]
    async fn streams_are_kept_apart_and_in_order() {
        let script = Script::new([stdout(b"a"), stderr(b"x"), stdout(b"b"), exit(3)]);
        let result = result(script).await.unwrap();
        assert_eq!(
            (result.stdout.as_str(), result.stderr.as_str()),
            ("ab", "x")
        );
        assert_eq!((result.exit_code, result.truncated), (3, false));
        assert_eq!(result.stdout_base64, None);
    }

    #[tokio::test]
    async fn bytes_that_are_no_text_come_exactly_as_well() {
        let script = Script::new([stdout(b"\xff\0"), stdout("é".as_bytes()), exit(0)]);
        let result = result(script).await.unwrap();
        assert_eq!(result.stdout, "\u{fffd}\0é");
        assert_eq!(result.stdout_base64.as_deref(), Some("/wDDqQ=="));
    }

    #[tokio::test]
    async fn output_past_the_limit_is_dropped_and_that_is_said() {
        let script = Script::new([
            stdout(b"abc"),
            stdout("dé".as_bytes()),
            stderr(b"12345"),
            exit(0),
        ]);
        let result = result_within(script, 5).await.unwrap();
        assert_eq!(
            (result.stdout.as_str(), result.stderr.as_str()),
            ("abcd", "12345")
        );
        assert!(result.truncated);
        assert_eq!(
            result.stdout_base64, None,
            "a cut character does not make text binary"
        );
    }
}
