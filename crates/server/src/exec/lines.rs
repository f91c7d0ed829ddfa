//! A command whose output is answered line by line, as newline-delimited JSON.

use std::collections::VecDeque;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bhatti_api::exec::ExecEvent;
use bhatti_api::routes::NDJSON;
use bhatti_types::id::RequestId;
use bytes::Bytes;
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::exec::process::{Output, Step};
use crate::exec::socket::last_words;
use crate::exec::text::{Splitter, Text};

/// Answers with what a command does, each piece as soon as it is there. Dropping the answer ends
/// the command.
pub(crate) fn response(output: impl Output, request: RequestId) -> Response {
    let lines = Lines {
        output,
        request,
        stdout: Splitter::default(),
        stderr: Splitter::default(),
        ready: VecDeque::new(),
        ended: false,
    };
    let body = stream::unfold(lines, |mut lines| async move {
        let line = lines.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), lines))
    });
    let headers = [(CONTENT_TYPE, NDJSON), (CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(body)).into_response()
}

struct Lines<O> {
    output: O,
    request: RequestId,
    stdout: Splitter,
    stderr: Splitter,
    /// Lines that are ready to go out; at most three, at the end.
    ready: VecDeque<ExecEvent>,
    ended: bool,
}

impl<O: Output> Lines<O> {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(line(&event));
            }
            if self.ended {
                return None;
            }
            match self.output.next().await {
                Ok(Step::Stdout(bytes)) => {
                    self.ready.extend(self.stdout.push(bytes).map(stdout_event));
                }
                Ok(Step::Stderr(bytes)) => {
                    self.ready.extend(self.stderr.push(bytes).map(stderr_event));
                }
                Ok(Step::Exit(exit)) => self.end(ExecEvent::Exit {
                    exit_code: exit.code,
                    signal: exit.signal,
                    timed_out: exit.timed_out,
                }),
                Err(error) => self.end(last_words(&error, &self.request)),
            }
        }
    }

    fn end(&mut self, last: ExecEvent) {
        self.ended = true;
        self.ready.extend(self.stdout.finish().map(stdout_event));
        self.ready.extend(self.stderr.finish().map(stderr_event));
        self.ready.push_back(last);
    }
}

fn stdout_event(text: Text) -> ExecEvent {
    ExecEvent::Stdout {
        data: text.text,
        data_base64: text.base64,
    }
}

fn stderr_event(text: Text) -> ExecEvent {
    ExecEvent::Stderr {
        data: text.text,
        data_base64: text.base64,
    }
}

fn line(event: &ExecEvent) -> Bytes {
    let mut line = serde_json::to_vec(event).expect("an event has text keys only");
    line.push(b'\n');
    line.into()
}

#[cfg(test)]
mod test {
    use bhatti_engine::error::Error as EngineError;
    use bhatti_types::id::RequestId;
    use http_body_util::BodyExt as _;

    use super::response;
    use crate::exec::process::script::{Script, exit, stderr, stdout};

    async fn lines(script: Script) -> Vec<String> {
        let mut body = response(script, "req_0123456789abcdef".parse().unwrap()).into_body();
        let mut lines = Vec::new();
        while let Some(frame) = body.frame().await {
            let bytes = frame.unwrap().into_data().unwrap();
            let line = String::from_utf8(bytes.to_vec()).unwrap();
            assert!(
                line.ends_with('\n') && line.matches('\n').count() == 1,
                "one frame, one line"
            );
            lines.push(line.trim_end().to_owned());
        }
        lines
    }

    #[tokio::test]
    async fn each_piece_is_a_line_of_its_own_and_the_end_is_the_last() {
        let script = Script::new([stdout(b"a\n"), stderr(b"x"), stdout(b"\xe2\x82"), exit(0)]);
        insta::assert_snapshot!(lines(script).await.join("\n"));
    }

    #[tokio::test]
    async fn a_character_in_two_pieces_is_in_one_line() {
        let script = Script::new([stdout(b"\xe2\x82"), stderr(b"x"), stdout(b"\xac"), exit(0)]);
        let lines = lines(script).await;
        assert_eq!(lines[0], r#"{"type":"stderr","data":"x"}"#);
        assert_eq!(lines[1], r#"{"type":"stdout","data":"€"}"#);
        assert_eq!(lines.len(), 3);
    }

    #[tokio::test]
    async fn a_fault_in_the_middle_is_the_last_line_and_scrubbed() {
        let mut script = Script::new([stdout(b"a")]);
        let fault = EngineError::internal(std::io::Error::other("/var/lib/secret"));
        script.0.push_back(Err(fault.into()));
        let lines = lines(script).await;
        assert_eq!(
            lines[1],
            r#"{"type":"error","data":"internal error (request req_0123456789abcdef)"}"#
        );
        assert_eq!(lines.len(), 2);
    }

    #[tokio::test]
    async fn dropping_the_answer_drops_the_command() {
        struct Dropped {
            _told: tokio::sync::oneshot::Sender<()>,
        }
        impl crate::exec::process::Output for Dropped {
            async fn next(&mut self) -> Result<super::Step, crate::error::ApiError> {
                std::future::pending().await
            }
        }
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let answer = response(Dropped { _told: sender }, RequestId::random());
        drop(answer);
        assert!(receiver.await.is_err(), "the command's handle is gone");
    }
}
