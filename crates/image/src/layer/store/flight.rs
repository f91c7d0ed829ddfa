//! Who fetches what: a layer that several want from one place is fetched once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::error::FetchError;
use super::progress::{LayerProgress, Phase};
use super::shelf::Shared;
use crate::layer::files::Layer;

/// How a flight ended.
pub(super) type Outcome = Result<Layer, Arc<FetchError>>;

/// All flights, by the directory of their partial blob.
#[derive(Debug, Default)]
pub(super) struct Flights {
    flights: HashMap<PathBuf, Flight>,
    last: u64,
}

#[derive(Debug)]
struct Flight {
    number: u64,
    cancel: CancellationToken,
    passengers: usize,
    news: watch::Receiver<News>,
}

/// What passengers learn of their flight. The sender's end without an outcome is one too: the task
/// died.
#[derive(Debug, Clone)]
pub(super) struct News {
    pub(super) progress: LayerProgress,
    pub(super) outcome: Option<Outcome>,
}

/// The pilot's end of a flight. Dropped, it ends the flight.
pub(super) struct Pilot {
    pub(super) cancel: CancellationToken,
    shared: Arc<Shared>,
    path: PathBuf,
    number: u64,
    news: watch::Sender<News>,
}

/// One who waits for a layer. Dropped, it leaves; with the last, the flight is given up.
#[derive(Debug)]
pub(super) struct Passenger {
    pub(super) news: watch::Receiver<News>,
    shared: Arc<Shared>,
    path: PathBuf,
    number: u64,
}

/// What comes of wanting to fly.
pub(super) enum Boarding {
    /// The flight is new and needs its pilot.
    New(Passenger, Pilot),
    /// Somebody flies already.
    Joined(Passenger),
    /// A flight that was given up is still coming down; wait for the end of its news.
    Ending(watch::Receiver<News>),
}

impl Flights {
    /// Whether a flight writes in a directory.
    pub(super) fn holds(&self, path: &Path) -> bool {
        self.flights.contains_key(path)
    }
}

/// Takes a seat in the flight to a partial blob's directory.
pub(super) fn board(shared: &Arc<Shared>, path: &Path, total: u64) -> Boarding {
    let mut state = shared.state();
    let flights = &mut state.flights;
    let passenger = |number, news| Passenger {
        news,
        shared: Arc::clone(shared),
        path: path.to_owned(),
        number,
    };
    if let Some(flight) = flights.flights.get_mut(path) {
        if flight.cancel.is_cancelled() {
            return Boarding::Ending(flight.news.clone());
        }
        flight.passengers += 1;
        return Boarding::Joined(passenger(flight.number, flight.news.clone()));
    }
    let progress = LayerProgress {
        phase: Phase::Waiting,
        done: 0,
        total,
    };
    let (sender, news) = watch::channel(News {
        progress,
        outcome: None,
    });
    flights.last += 1;
    let number = flights.last;
    let cancel = shared.closing.child_token();
    let flight = Flight {
        number,
        cancel: cancel.clone(),
        passengers: 1,
        news: news.clone(),
    };
    flights.flights.insert(path.to_owned(), flight);
    let pilot = Pilot {
        cancel,
        shared: Arc::clone(shared),
        path: path.to_owned(),
        number,
        news: sender,
    };
    Boarding::New(passenger(number, news), pilot)
}

impl Pilot {
    /// Tells the passengers how far it is.
    pub(super) fn report(&self, progress: LayerProgress) {
        self.news.send_modify(|news| news.progress = progress);
    }

    /// Ends the flight, and tells the passengers how.
    pub(super) fn land(self, outcome: Outcome) {
        // Whoever learns of it finds no flight any more, and may begin another.
        self.remove();
        self.news.send_modify(|news| news.outcome = Some(outcome));
    }

    fn remove(&self) {
        let mut state = self.shared.state();
        let flights = &mut state.flights.flights;
        if flights
            .get(&self.path)
            .is_some_and(|flight| flight.number == self.number)
        {
            flights.remove(&self.path);
        }
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Drop for Passenger {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if let Some(flight) = state.flights.flights.get_mut(&self.path)
            && flight.number == self.number
        {
            flight.passengers -= 1;
            if flight.passengers == 0 {
                flight.cancel.cancel();
            }
        }
    }
}
