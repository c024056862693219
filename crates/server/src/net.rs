//! Listening addresses, reserved before anything else starts.
//!
//! gRPC says only "cannot bind" and learns a port that the system chooses after its services exist,
//! while a node must tell the placement driver its address before. So a node first binds each
//! address to a socket that does not listen. That finds an address in use, with the system's reason,
//! and chooses the port. The socket stays bound until gRPC listens on the same address beside it,
//! which the system allows because neither of the two listened when they were bound.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::fd::OwnedFd;

use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};

use crate::{Error, Result};

/// An address that this process has bound.
#[derive(Debug)]
pub(crate) struct Reservation {
    addr: SocketAddr,
    _socket: OwnedFd,
}

impl Reservation {
    /// Binds `addr`, which stands under the key `what` of the configuration.
    pub(crate) fn new(what: &'static str, addr: &str) -> Result<Reservation> {
        let refused = |error| Error::Bind {
            what,
            addr: addr.to_owned(),
            error,
        };
        let resolved = addr
            .to_socket_addrs()
            .map_err(refused)?
            .next()
            .ok_or_else(|| {
                refused(std::io::Error::new(
                    std::io::ErrorKind::NotFound,
                    "the host has no address",
                ))
            })?;
        bound(resolved).map_err(refused)
    }

    /// The address, with the port that the system chose.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

fn bound(addr: SocketAddr) -> std::io::Result<Reservation> {
    let family = match addr {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket(family, SocketType::STREAM, None)?;
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &addr)?;
    let addr = SocketAddr::try_from(getsockname(&socket)?)?;
    Ok(Reservation {
        addr,
        _socket: socket,
    })
}

/// What others are told: `advertised`, with the port that was chosen in the place of a port 0.
pub(crate) fn advertised(advertised: &str, bound: SocketAddr) -> String {
    match advertised.rsplit_once(':') {
        Some((host, "0")) => format!("{host}:{}", bound.port()),
        _ => advertised.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_address_in_use_is_found_at_once() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap().to_string();
        let error = Reservation::new("server.addr", &addr)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("server.addr") && error.contains(&addr),
            "{error}"
        );
        assert!(error.contains("in use"), "{error}");
    }

    #[test]
    fn somebody_else_can_listen_beside_a_reservation() {
        let reserved = Reservation::new("server.addr", "127.0.0.1:0").unwrap();
        assert_ne!(reserved.addr().port(), 0);
        // The standard library sets the same option as gRPC does.
        TcpListener::bind(reserved.addr()).unwrap();
    }

    #[test]
    fn a_chosen_port_is_told() {
        let bound: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        assert_eq!(advertised("host:0", bound), "host:4000");
        assert_eq!(advertised("host:20160", bound), "host:20160");
        assert_eq!(advertised("[::1]:0", bound), "[::1]:4000");
    }
}
