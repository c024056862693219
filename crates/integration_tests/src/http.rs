//! Just enough HTTP to ask a status server one question.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpStream;

/// A server that accepts and then says nothing must not stop a test.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server answered.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Everything after the headers.
    pub body: String,
}

/// One GET on a connection of its own.
pub async fn get(address: SocketAddr, path: &str) -> anyhow::Result<Response> {
    let exchange = async {
        let stream = TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        write_all(&stream, request.as_bytes()).await?;
        read_to_end(&stream).await
    };
    let answer = tokio::time::timeout(PATIENCE, exchange)
        .await
        .with_context(|| format!("GET {path} of {address} took more than {PATIENCE:?}"))??;
    parse(&answer)
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn read_to_end(stream: &TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut buffer) {
            Ok(0) => return Ok(all),
            Ok(read) => all.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn parse(answer: &[u8]) -> anyhow::Result<Response> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .context("an answer without end of headers")?;
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("no status in {head:?}"))?;
    let chunked = lines.any(|line| line.eq_ignore_ascii_case("transfer-encoding: chunked"));
    let body = if chunked {
        unchunk(body)?
    } else {
        body.to_owned()
    };
    Ok(Response { status, body })
}

fn unchunk(mut body: &str) -> anyhow::Result<String> {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").context("a chunk without size")?;
        let size = usize::from_str_radix(size.trim(), 16).context("size of a chunk")?;
        if size == 0 {
            return Ok(whole);
        }
        let Some(chunk) = rest.get(..size) else {
            bail!("a chunk that is cut off")
        };
        whole.push_str(chunk);
        body = rest[size..]
            .strip_prefix("\r\n")
            .context("a chunk without end")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_body_are_found() {
        let answer = parse(b"HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\nnot yet").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "not yet"));
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap().body, "abcd");
        assert!(parse(b"no http").is_err());
    }
}
