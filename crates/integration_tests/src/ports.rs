//! Loopback addresses for servers.
//!
//! The ports lie below the range from which the kernel picks ports for outgoing connections, so that
//! no client's socket can take the port of a server that is being restarted. Two test processes at
//! once start at different places, and whoever starts a server tries again with other ports when its
//! first choice was taken meanwhile.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 21_000;
const COUNT: u32 = 11_000;

/// An address on loopback that nobody listens on.
///
/// # Panics
/// When no port of the range is free.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // A large odd step spreads neighbouring process ids over the range.
    let start = std::process::id().wrapping_mul(1_009);
    for _ in 0..COUNT {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let Ok(port) = u16::try_from(FIRST + offset) else {
            continue;
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_address_is_given_once() {
        let addresses: HashSet<_> = (0..50).map(|_| free_address()).collect();
        assert_eq!(addresses.len(), 50);
    }

    #[test]
    fn an_address_that_is_taken_is_not_given() {
        let taken = TcpListener::bind(free_address()).unwrap();
        let mut given = (0..20).map(|_| free_address());
        assert!(given.all(|address| address != taken.local_addr().unwrap()));
    }
}
