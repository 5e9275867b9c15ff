//! Counts open connections, in all and by address.
//!
//! In: an address. Out: a [`Place`] that is given back when it is dropped, or the limit that is
//! reached. Loopback and trusted proxies stand for many clients and have no limit of their own.

use crate::config::{HttpSettings, Network};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The open connections of a listener.
pub struct Connections {
    max: usize,
    per_address_max: usize,
    trusted: Vec<Network>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The right to one open connection.
pub struct Place {
    connections: Arc<Connections>,
    address: IpAddr,
}

/// Which limit keeps a connection out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    Everywhere,
    ForThisAddress,
}

impl Connections {
    pub fn new(http: &HttpSettings) -> Self {
        let count = |max: u32| usize::try_from(max).unwrap_or(usize::MAX);
        Self {
            max: count(http.connections_max),
            per_address_max: count(http.connections_per_address_max),
            trusted: http.trusted_networks(),
            open: Mutex::new(Open::default()),
        }
    }

    /// Takes a place for a new connection.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let address = address.to_canonical();
        let mut open = self.open();
        if open.all >= self.max {
            return Err(Full::Everywhere);
        }
        let of_address = open.by_address.get(&address).copied().unwrap_or(0);
        if of_address >= self.per_address_max && !self.stands_for_many(address) {
            return Err(Full::ForThisAddress);
        }
        open.all += 1;
        open.by_address.insert(address, of_address + 1);
        Ok(Place { connections: Arc::clone(self), address })
    }

    fn stands_for_many(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.trusted.iter().any(|network| network.contains(address))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.all -= 1;
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections() -> Arc<Connections> {
        Arc::new(Connections::new(&HttpSettings {
            connections_max: 5,
            connections_per_address_max: 2,
            trusted_proxies: vec!["10.0.0.0/8".into()],
            ..HttpSettings::default()
        }))
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let all = connections();
        let enter = |address: &str| all.enter(address.parse().unwrap());
        let first = enter("192.0.2.1").ok();
        let second = enter("::ffff:192.0.2.1").ok();
        assert!(first.is_some() && second.is_some());
        assert_eq!(enter("192.0.2.1").err(), Some(Full::ForThisAddress));
        let other = enter("192.0.2.2").ok();
        assert!(other.is_some());
        drop(first);
        assert!(enter("192.0.2.1").is_ok());
    }

    #[test]
    fn loopback_and_proxies_are_only_counted_in_all() {
        let all = connections();
        let enter = |address: &str| all.enter(address.parse().unwrap());
        let places: Vec<Place> = ["127.0.0.1", "127.0.0.1", "127.0.0.1", "10.0.0.1", "10.0.0.1"]
            .into_iter()
            .map(|address| enter(address).ok().unwrap())
            .collect();
        assert_eq!(enter("127.0.0.1").err(), Some(Full::Everywhere));
        drop(places);
        assert!(enter("127.0.0.1").is_ok());
        assert_eq!(all.open().by_address.len(), 0, "nobody is remembered after leaving");
    }
}
