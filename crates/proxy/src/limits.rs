//! How much strangers may ask for.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

/// How many requests are let through, and at once. The numbers are the original's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Of one client: a minute, and at once.
    pub client: (u32, u32),
    /// To one site.
    pub site: (u32, u32),
    /// In all.
    pub all: (u32, u32),
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            client: (1500, 500),
            site: (5000, 2000),
            all: (10_000, 5000),
        }
    }
}

/// Most connections of one client at once: many people can be behind one address.
const MAX_CONNECTIONS: usize = 512;
/// Most requests that wait for machines of one owner at once.
const MAX_WAITING: usize = 4096;
/// Keys of the limiters are forgotten once there are more than this and they are at rest.
const MANY: usize = 10_000;

/// Counts requests.
#[derive(Debug)]
pub struct Limits {
    rates: Option<Limiters>,
    connections: Arc<Counts<IpAddr>>,
    waiting: Arc<Counts<String>>,
}

#[derive(Debug)]
struct Limiters {
    client: DefaultKeyedRateLimiter<IpAddr>,
    site: DefaultKeyedRateLimiter<String>,
    all: DefaultDirectRateLimiter,
}

impl Limits {
    /// Limits with these rates; without, requests are not counted, but connections are.
    pub fn new(rates: Option<Rates>) -> Self {
        Self {
            rates: rates.map(|rates| Limiters {
                client: RateLimiter::keyed(quota(rates.client)),
                site: RateLimiter::keyed(quota(rates.site)),
                all: RateLimiter::direct(quota(rates.all)),
            }),
            connections: Arc::default(),
            waiting: Arc::default(),
        }
    }

    /// Counts a request. Too many are an error: when to ask again.
    pub fn request(&self, client: IpAddr, site: &str) -> Result<(), Duration> {
        let Some(rates) = &self.rates else {
            return Ok(());
        };
        let wait =
            |error: governor::NotUntil<_>| error.wait_time_from(DefaultClock::default().now());
        // In this order: what one client asks too much does not count against the others.
        rates.client.check_key(&group(client)).map_err(wait)?;
        rates.site.check_key(&site.to_owned()).map_err(wait)?;
        rates.all.check().map_err(wait)
    }

    /// A place for a client's connection; `None` if it has too many.
    pub fn connection(&self, client: IpAddr) -> Option<Place<IpAddr>> {
        self.connections.enter(group(client), MAX_CONNECTIONS)
    }

    /// A place for a request that waits for a machine of this owner; `None` if too many do.
    pub fn waiting(&self, owner: &str) -> Option<Place<String>> {
        self.waiting.enter(owner.to_owned(), MAX_WAITING)
    }

    /// Forgets who has not asked for a while.
    pub fn sweep(&self) {
        if let Some(rates) = &self.rates {
            if rates.client.len() > MANY {
                rates.client.retain_recent();
                rates.client.shrink_to_fit();
            }
            if rates.site.len() > MANY {
                rates.site.retain_recent();
                rates.site.shrink_to_fit();
            }
        }
    }
}

fn quota((a_minute, at_once): (u32, u32)) -> Quota {
    let positive = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    Quota::per_minute(positive(a_minute)).allow_burst(positive(at_once))
}

/// Whom an address stands for: with IPv6, a whole network of 2^64 is one customer's.
fn group(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(network).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// How many places of each key are taken.
#[derive(Debug)]
struct Counts<K> {
    taken: Mutex<HashMap<K, usize>>,
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self {
            taken: Mutex::default(),
        }
    }
}

/// A place, given back when dropped.
#[derive(Debug)]
pub struct Place<K: std::hash::Hash + Eq> {
    counts: Arc<Counts<K>>,
    key: K,
}

impl<K: std::hash::Hash + Eq + Clone> Counts<K> {
    fn enter(self: &Arc<Self>, key: K, most: usize) -> Option<Place<K>> {
        let mut counts = self.lock();
        let taken = counts.entry(key.clone()).or_default();
        if *taken >= most {
            return None;
        }
        *taken += 1;
        drop(counts);
        Some(Place {
            counts: Arc::clone(self),
            key,
        })
    }
}

impl<K> Counts<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: std::hash::Hash + Eq> Drop for Place<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(taken) = counts.get_mut(&self.key) {
            *taken -= 1;
            if *taken == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod test {
    use super::{Limits, MAX_CONNECTIONS, Rates};

    #[test]
    fn one_clients_flood_is_not_anothers() {
        let rates = Rates {
            client: (60, 3),
            site: (60, 100),
            all: (60, 100),
        };
        let limits = Limits::new(Some(rates));
        let (one, two) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..3 {
            limits.request(one, "site").unwrap();
        }
        limits.request(one, "site").unwrap_err();
        limits.request(two, "site").unwrap();
        limits
            .request("::ffff:192.0.2.1".parse().unwrap(), "site")
            .unwrap_err();
        Limits::new(None).request(one, "site").unwrap();
    }

    #[test]
    fn connections_are_counted_by_client_and_given_back() {
        let limits = Limits::new(None);
        let one = "2001:db8::1".parse().unwrap();
        let neighbour = "2001:db8::2".parse().unwrap();
        let held: Vec<_> = (0..MAX_CONNECTIONS)
            .map(|_| limits.connection(one).unwrap())
            .collect();
        assert!(limits.connection(neighbour).is_none());
        assert!(
            limits
                .connection("2001:db8:0:1::1".parse().unwrap())
                .is_some()
        );
        drop(held);
        assert!(limits.connection(neighbour).is_some());
        assert_eq!(limits.connections.lock().len(), 0);
    }
}
