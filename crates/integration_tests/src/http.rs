//! Just enough HTTP to ask a status server one question.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpStream;

/// A server that accepts and then says nothing must not stop a test.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server answered.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Everything after the headers.
    pub bytes: Vec<u8>,
    /// The same as text.
    pub body: String,
}

impl Response {
    /// A header's value, or nothing.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// One GET on a connection of its own.
pub async fn get(address: SocketAddr, path: &str) -> anyhow::Result<Response> {
    request(address, "GET", path, &[], b"").await
}

/// One request on a connection of its own.
pub async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Response> {
    let head = head(method, address, path, headers, body.len());
    let answer = exchange(address, &[head.as_bytes(), body].concat())
        .await
        .with_context(|| format!("{method} {path}"))?;
    parse(&answer)
}

/// A request up to its body, asking the server to close afterwards.
pub(crate) fn head(
    method: &str,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body_bytes: usize,
) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if body_bytes > 0 {
        head.push_str(&format!("Content-Length: {body_bytes}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head
}

/// Sends bytes, whatever they are, and returns what comes back until the server closes the connection.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let exchange = async {
        let stream = TcpStream::connect(address).await?;
        // A server that has heard enough may close before everything is sent; what it said counts.
        let sent = write_all(&stream, bytes).await;
        let answer = read_to_end(&stream).await;
        if answer.as_ref().is_ok_and(Vec::is_empty) {
            sent?;
        }
        answer
    };
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .with_context(|| format!("{address} did not answer within {PATIENCE:?}"))?
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
            // The server closed while some of the request was unread.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(all),
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) fn parse(answer: &[u8]) -> anyhow::Result<Response> {
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("an answer without end of headers")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("no status in {head:?}"))?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let rest = &answer[end + 4..];
    let chunked = headers
        .iter()
        .any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let bytes = if chunked {
        unchunk(rest)?
    } else {
        rest.to_owned()
    };
    Ok(Response {
        status,
        headers,
        body: String::from_utf8_lossy(&bytes).into_owned(),
        bytes,
    })
}

fn unchunk(mut body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let line = body
            .windows(2)
            .position(|window| window == b"\r\n")
            .context("a chunk without size")?;
        let size = std::str::from_utf8(&body[..line]).context("size of a chunk")?;
        let size = usize::from_str_radix(size.trim(), 16).context("size of a chunk")?;
        if size == 0 {
            return Ok(whole);
        }
        let rest = &body[line + 2..];
        let Some(chunk) = rest.get(..size) else {
            bail!("a chunk that is cut off")
        };
        whole.extend_from_slice(chunk);
        body = rest[size..]
            .strip_prefix(b"\r\n")
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
        let binary = parse(b"HTTP/1.1 200 OK\r\nX-Y:  z \r\n\r\n\xff\r\n\r\n\x00").unwrap();
        assert_eq!(binary.bytes, b"\xff\r\n\r\n\x00");
        assert_eq!(binary.header("x-y"), "z");
        assert!(parse(b"no http").is_err());
    }
}
