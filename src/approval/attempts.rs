//! Slows down and limits wrong passwords, per address.
//!
//! In: an address before each attempt. Out: leave to try, or how long to wait.
//! Never: an attempt that counts only after it was judged, since many can run at once.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong passwords from one address before it has to wait for the rest of the window.
const FAILURES_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Each failure in the window adds this much to the time the next answer takes.
const SLOWER_BY: Duration = Duration::from_millis(100);
/// Past this many addresses the oldest are forgotten, so that memory stays bounded.
const ADDRESSES_MAX: usize = 10_000;

/// Attempts that did not succeed, by address.
#[derive(Default)]
pub struct Attempts(Mutex<HashMap<IpAddr, Failures>>);

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    since: Instant,
}

impl Attempts {
    /// Counts an attempt as failed until [`Attempts::succeeded`]; says how long its answer should
    /// take at least.
    ///
    /// # Errors
    /// Too many failed: how long to wait.
    pub fn begin(&self, address: IpAddr, now: Instant) -> Result<Duration, Duration> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= ADDRESSES_MAX {
            all.retain(|_, failures| now.duration_since(failures.since) < WINDOW);
        }
        if all.len() >= ADDRESSES_MAX {
            let oldest = all.iter().min_by_key(|(_, failures)| failures.since).map(|(key, _)| *key);
            oldest.map(|key| all.remove(&key));
        }
        let entry = all.entry(network(address)).or_insert(Failures { count: 0, since: now });
        let age = now.duration_since(entry.since);
        if age >= WINDOW {
            *entry = Failures { count: 0, since: now };
        } else if entry.count >= FAILURES_MAX {
            return Err(WINDOW - age);
        }
        let slower = SLOWER_BY * entry.count;
        entry.count += 1;
        Ok(slower)
    }

    /// Forgets the failures of an address whose password was right.
    pub fn succeeded(&self, address: IpAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&network(address));
    }
}

/// One IPv6 subscriber holds a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_close_an_address_for_the_window() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::ffff".parse().unwrap();
        let other: IpAddr = "192.0.2.1".parse().unwrap();
        for count in 0..10 {
            assert_eq!(attempts.begin(one, start), Ok(SLOWER_BY * count));
        }
        assert_eq!(attempts.begin(neighbour, start), Err(WINDOW));
        assert_eq!(attempts.begin(other, start), Ok(Duration::ZERO));
        assert_eq!(attempts.begin(one, start + WINDOW), Ok(Duration::ZERO));
    }

    #[test]
    fn a_right_password_forgets_the_wrong_ones() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(attempts.begin(address, start), Ok(Duration::ZERO));
        attempts.succeeded(address);
        assert_eq!(attempts.begin(address, start), Ok(Duration::ZERO));
    }

    #[test]
    fn memory_stays_bounded_under_many_addresses() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        for address in 0..u32::try_from(ADDRESSES_MAX).unwrap() + 50 {
            let _ = attempts.begin(IpAddr::V4(address.into()), start);
        }
        assert_eq!(attempts.0.lock().unwrap().len(), ADDRESSES_MAX);
    }
}
