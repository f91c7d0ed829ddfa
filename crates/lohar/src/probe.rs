//! Telling a reset stream from a lost link.
//!
//! yamux ends a stream the same way in both cases, and they mean opposite things: a reset kills
//! the command, a lost link does not. The task that drives the link answers probes only between
//! two good turns, and never again once the link is lost.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

/// Probes that may wait for an answer; more wait for room.
const WAITING: usize = 16;

/// Asks whether the link is up. Each stream has one.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    questions: mpsc::Sender<oneshot::Sender<()>>,
    /// Counts the probes, and so the streams.
    streams: Arc<()>,
}

/// Answers probes.
#[derive(Debug)]
pub(crate) struct Answers {
    questions: mpsc::Receiver<oneshot::Sender<()>>,
}

pub(crate) fn channel() -> (Probe, Answers) {
    let (sender, questions) = mpsc::channel(WAITING);
    let probe = Probe {
        questions: sender,
        streams: Arc::default(),
    };
    (probe, Answers { questions })
}

impl Probe {
    /// How many streams of this link are open.
    pub(crate) fn streams(&self) -> u32 {
        // One is held by the task that drives the link.
        Arc::strong_count(&self.streams).saturating_sub(1) as u32
    }

    /// Whether the link is up. What was written before has then been handed to the transport, as
    /// far as that took it.
    pub(crate) async fn is_up(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.questions.send(answer).await.is_ok() && answered.await.is_ok()
    }
}

impl Answers {
    /// Answers what has been asked; the task is woken for the next question.
    pub(crate) fn poll(&mut self, cx: &mut std::task::Context<'_>) {
        while let std::task::Poll::Ready(Some(answer)) = self.questions.poll_recv(cx) {
            // Whoever asked may be gone.
            let _ = answer.send(());
        }
    }
}
