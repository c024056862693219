//! One port for gRPC and HTTP: whoever speaks is told apart, whoever does not is no trouble.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use kvproto::pdpb;

use crate::http::{exchange, request};
use crate::world::World;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn serves_both(world: &World) {
    assert_eq!(request(&world.address, "GET", "/pd/api/v1/ping", "").0, 200);
    let members = world.pd.get_members(&pdpb::GetMembersRequest::default());
    assert_eq!(members.unwrap().get_members().len(), 1);
}

/// Sends bytes one by one; each must have arrived before the next leaves, as far as the system lets
/// one see it.
fn trickle(stream: &mut TcpStream, bytes: &[u8]) {
    stream.set_nodelay(true).unwrap();
    for byte in bytes {
        stream.write_all(&[*byte]).unwrap();
        stream.flush().unwrap();
    }
}

#[test]
fn a_preface_in_pieces_is_http2_and_everything_else_http1() {
    let world = World::bootstrapped();
    let mut stream = TcpStream::connect(&world.address).unwrap();
    trickle(&mut stream, PREFACE);
    // An empty SETTINGS frame; the answer begins with one too.
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(frame[3], 4, "a SETTINGS frame: {frame:?}");

    let mut stream = TcpStream::connect(&world.address).unwrap();
    let head = b"PROPFIND /pd/api/v1/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    trickle(&mut stream, head);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    serves_both(&world);
}

#[test]
fn silence_and_nonsense_do_not_disturb_others() {
    let world = World::bootstrapped();
    let silent: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(&world.address).unwrap())
        .collect();
    let mut half: Vec<TcpStream> = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(&world.address).unwrap();
        stream.write_all(b"GET /pd/api").unwrap();
        half.push(stream);
    }
    serves_both(&world);
    assert_eq!(
        exchange(&world.address, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n").0,
        400
    );
    assert_eq!(exchange(&world.address, b"nonsense\r\n\r\n").0, 400);
    // A preface and then no frames.
    let mut stream = TcpStream::connect(&world.address).unwrap();
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&[0xff; 64]).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    serves_both(&world);
    drop((silent, half));
}

#[test]
fn heads_and_bodies_are_bounded() {
    let world = World::bootstrapped();
    let mut head = b"GET /pd/api/v1/ping HTTP/1.1\r\nX: ".to_vec();
    head.extend(std::iter::repeat_n(b'x', 200 << 10));
    assert_eq!(exchange(&world.address, &head).0, 431);
    let claimed =
        b"POST /pd/api/v1/config HTTP/1.1\r\nHost: x\r\nContent-Length: 4294967296\r\n\r\n";
    assert_eq!(exchange(&world.address, claimed).0, 413);
    let deep = "[".repeat(100_000);
    let (status, body) = request(&world.address, "POST", "/pd/api/v1/config", &deep);
    assert_eq!(status, 400, "{body}");
    serves_both(&world);
}

#[test]
fn a_stop_frees_the_port_while_clients_hold_connections() {
    let mut world = World::bootstrapped();
    let silent = TcpStream::connect(&world.address).unwrap();
    let mut keep_alive = TcpStream::connect(&world.address).unwrap();
    keep_alive
        .write_all(b"GET /pd/api/v1/ping HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = [0; 12];
    keep_alive.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    world.restart();
    serves_both(&world);
    drop((silent, keep_alive));
}

#[test]
fn every_path_answers_nonsense() {
    let world = World::bootstrapped();
    let long = "a".repeat(5_000);
    let deep = format!("{{\"config\":{}", "[".repeat(10_000));
    let segments = [
        "x",
        "-1",
        "18446744073709551616",
        "%00%ff",
        "%zz",
        "..%2f..",
        &long,
    ];
    let queries = [
        "",
        "?limit=-1&state=9&scope=,&ttlSecond=x",
        "?key=%ff&format=hex",
        "?&=&%",
    ];
    let bodies = [
        "",
        "{",
        "[]",
        "null",
        "{\"name\":5,\"config\":5,\"tso\":-1,\"delay\":1e99}",
        &deep,
    ];
    for (number, route) in pd::HTTP_ROUTES.iter().enumerate() {
        for (at, segment) in segments.iter().enumerate() {
            let path = route.path.split('/').map(|part| match part {
                part if part.starts_with('{') => segment,
                part => part,
            });
            let path = path.collect::<Vec<_>>().join("/") + queries[(number + at) % queries.len()];
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
                let body = bodies[(number + at) % bodies.len()];
                let (status, answer) = request(&world.address, method, &path, body);
                assert!(
                    (200..=500).contains(&status),
                    "{method} {path}: {status} {answer}"
                );
            }
        }
    }
    serves_both(&world);
}
