//! The waiting requests of one key in their order: most keys have one, some have very many.
//! Must never: know what a request is about.

use std::collections::BTreeMap;

use txn_types::TimeStamp;

use super::Wait;

/// Where a waiter stands: older transactions first, of one transaction the earlier request.
pub(super) type Place = (TimeStamp, u64);

/// An ordered map that costs next to nothing with one entry: a node of a tree has room for eleven.
#[derive(Debug)]
pub(super) struct Waiters<T> {
    first: Option<(Place, Box<Wait<T>>)>,
    /// Those behind the first.
    rest: BTreeMap<Place, Box<Wait<T>>>,
}

impl<T> Default for Waiters<T> {
    fn default() -> Self {
        Waiters {
            first: None,
            rest: BTreeMap::new(),
        }
    }
}

impl<T> Waiters<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn first(&self) -> Option<(Place, &Wait<T>)> {
        self.first.as_ref().map(|(place, wait)| (*place, &**wait))
    }

    pub(super) fn insert(&mut self, place: Place, wait: Wait<T>) {
        let wait = Box::new(wait);
        let behind = match &mut self.first {
            Some((first, _)) if *first < place => Some((place, wait)),
            first => first.replace((place, wait)),
        };
        if let Some((place, wait)) = behind {
            self.rest.insert(place, wait);
        }
    }

    pub(super) fn remove(&mut self, place: Place) -> Option<Wait<T>> {
        let removed = match &self.first {
            Some((first, _)) if *first == place => {
                let next = self.rest.pop_first();
                std::mem::replace(&mut self.first, next).map(|(_, wait)| wait)
            }
            _ => self.rest.remove(&place),
        };
        removed.map(|wait| *wait)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Wait<T>)> + '_ {
        let rest = self.rest.iter().map(|(place, wait)| (*place, &**wait));
        self.first().into_iter().chain(rest)
    }

    /// The places of one transaction.
    pub(super) fn places_of(&self, start_ts: TimeStamp) -> Vec<Place> {
        let of_txn = (start_ts, 0)..=(start_ts, u64::MAX);
        let first = self.first().map(|(place, _)| place);
        let first = first.filter(|place| of_txn.contains(place));
        let rest = self.rest.range(of_txn).map(|(place, _)| *place);
        first.into_iter().chain(rest).collect()
    }
}
