//! Redis without pipelining: one connection for each request in flight.
//!
//! One thread with an event loop drives all connections, as Redis' own benchmark does. Requests and
//! answers have lengths that are known beforehand, so nothing is parsed that need not be.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use tokio::net::TcpStream;

use crate::random::Random;
use crate::sample::Sample;
use crate::target::{self, KEYS, VALUE_BYTES};
use crate::window::{Timing, Worker, measure};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RedisCommand {
    Get,
    Set,
}

impl RedisCommand {
    fn write(self, request: &mut Vec<u8>, value: &[u8], random: &mut Random) {
        let key = target::key(b'r', random.below(KEYS));
        request.clear();
        match self {
            RedisCommand::Get => encode(request, &[b"GET", &key]),
            RedisCommand::Set => encode(request, &[b"SET", &key, value]),
        }
    }

    fn answer_bytes(self) -> usize {
        match self {
            RedisCommand::Get => format!("${VALUE_BYTES}\r\n").len() + VALUE_BYTES + 2,
            RedisCommand::Set => b"+OK\r\n".len(),
        }
    }

    fn sign(self) -> u8 {
        match self {
            RedisCommand::Get => b'$',
            RedisCommand::Set => b'+',
        }
    }
}

/// A command in the protocol of Redis.
pub(crate) fn encode(request: &mut Vec<u8>, words: &[&[u8]]) {
    request.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        request.extend_from_slice(word);
        request.extend_from_slice(b"\r\n");
    }
}

/// Keeps `in_flight` commands going, each on a connection of its own.
pub(crate) fn redis(
    address: SocketAddr,
    in_flight: usize,
    timing: Timing,
    server: u32,
    command: RedisCommand,
) -> anyhow::Result<Sample> {
    let events = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("an event loop")?;
    measure(timing, Some(server), move |workers| {
        let all: Vec<Worker> = (0..in_flight).map(|_| workers.worker()).collect();
        std::thread::Builder::new()
            .name("bench-redis".to_owned())
            .spawn(move || {
                let connections = all.into_iter().enumerate().map(|(number, worker)| {
                    events.spawn(connection(address, number as u64 + 1, command, worker))
                });
                let connections: Vec<_> = connections.collect();
                events.block_on(futures::future::join_all(connections));
            })?;
        Ok(())
    })
}

async fn connection(address: SocketAddr, seed: u64, command: RedisCommand, mut worker: Worker) {
    let outcome = talk(address, seed, command, &mut worker).await;
    if let Err(error) = outcome {
        worker.done(Instant::now(), Err(error));
    }
}

async fn talk(
    address: SocketAddr,
    seed: u64,
    command: RedisCommand,
    worker: &mut Worker,
) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address).await.context("connect")?;
    stream.set_nodelay(true)?;
    let mut random = Random::new(seed);
    let value = random.bytes(VALUE_BYTES);
    let mut request = Vec::new();
    let mut answer = vec![0; command.answer_bytes()];
    while worker.goes_on() {
        command.write(&mut request, &value, &mut random);
        let started = Instant::now();
        write_all(&stream, &request).await?;
        read_exact(&stream, &mut answer, command.sign()).await?;
        worker.done(started, Ok(1));
    }
    Ok(())
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                stream.writable().await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Sends a request and expects this answer.
pub(crate) async fn exchange(
    stream: &TcpStream,
    request: &[u8],
    expected: &[u8],
) -> anyhow::Result<()> {
    write_all(stream, request).await?;
    let mut answer = vec![0; expected.len()];
    let sign = expected.first().copied().unwrap_or_default();
    read_exact(stream, &mut answer, sign).await?;
    ensure!(answer == expected, "another answer than expected");
    Ok(())
}

/// Reads an answer of exactly this length that begins with `sign`; any other is an error.
async fn read_exact(stream: &TcpStream, answer: &mut [u8], sign: u8) -> anyhow::Result<()> {
    let mut filled = 0;
    while filled < answer.len() {
        stream.readable().await?;
        match stream.try_read(&mut answer[filled..]) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        }
        let seen = &answer[..filled];
        ensure!(
            seen.first() == Some(&sign) && !seen.starts_with(b"$-1"),
            "Redis answered {:?}",
            String::from_utf8_lossy(seen)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_written_as_redis_reads_them() {
        let mut request = Vec::new();
        encode(&mut request, &[b"GET", b"k1"]);
        assert_eq!(request, b"*2\r\n$3\r\nGET\r\n$2\r\nk1\r\n");
        assert_eq!(RedisCommand::Get.answer_bytes(), 6 + 100 + 2);
    }
}
