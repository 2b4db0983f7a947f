//! As much HTTP/1.1 as a scripted server needs: one request for each connection. Written by hand because the faults to be
//! played (cut bodies, closed connections) are what HTTP libraries prevent.

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// Largest request body that is read, bytes.
const MAX_BODY: u64 = 256 << 20;

/// Largest head of a request, bytes.
const MAX_HEAD: u64 = 1 << 20;

/// A request that the server got.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub method: String,
    pub path: String,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
    /// `null` if there was none, or none that is JSON.
    pub body: Value,
    /// Number of the turn that was asked for; `None` for other requests.
    pub turn: Option<usize>,
}

/// Reads one request.
pub(crate) fn read_request(stream: &TcpStream) -> io::Result<Recorded> {
    let mut reader = BufReader::new(stream);
    let mut head = reader.by_ref().take(MAX_HEAD);
    let first = line(&mut head)?;
    let mut words = first.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let line = line(&mut head)?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    if headers.get("expect").is_some_and(|e| e.eq_ignore_ascii_case("100-continue")) {
        let mut out = stream;
        out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let chunked =
        headers.get("transfer-encoding").is_some_and(|e| e.eq_ignore_ascii_case("chunked"));
    let body = if chunked {
        read_chunks(&mut reader)?
    } else {
        let length: u64 = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
        let mut body = Vec::new();
        reader.take(length.min(MAX_BODY)).read_to_end(&mut body)?;
        body
    };
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Recorded { method, path, headers, body, turn: None })
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
}

fn read_chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let head = line(reader)?;
        let digits = head.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not a chunk size"))?;
        if size == 0 {
            while !line(reader)?.is_empty() {}
            return Ok(body);
        }
        if body.len() as u64 + size > MAX_BODY {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too large"));
        }
        reader.by_ref().take(size).read_to_end(&mut body)?;
        line(reader)?;
    }
}

/// Writes status line and headers. Without a length, the body ends when the connection is closed.
pub(crate) fn write_head(
    out: &mut impl Write,
    status: u16,
    content_type: &str,
    length: Option<u64>,
    more: &[(&str, &str)],
) -> io::Result<()> {
    let mut head = format!(
        "HTTP/1.1 {status} {}\r\ncontent-type: {content_type}\r\nconnection: close\r\n",
        reason(status)
    );
    if let Some(length) = length {
        head.push_str(&format!("content-length: {length}\r\n"));
    }
    for (name, value) in more {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    out.write_all(head.as_bytes())
}

fn reason(status: u16) -> &'static str {
    match status {
        200..=299 => "OK",
        300..=399 => "Elsewhere",
        429 => "Too Many Requests",
        400..=499 => "Bad Request",
        _ => "Server Error",
    }
}
