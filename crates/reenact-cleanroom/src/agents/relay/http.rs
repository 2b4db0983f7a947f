//! The little of HTTP/1.1 that the relay needs, for callers that may be hostile: every size and time is bounded, one request a
//! connection, and the reply goes out as it comes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longest request line with all headers, and longest body.
const MAX_HEAD: u64 = 64 << 10;
pub(super) const MAX_BODY: u64 = 64 << 20;
/// A caller that says nothing for this long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// HTTP/1.0: no chunks in the reply.
    old: bool,
}

/// Why a request could not be read: a status and a text for the caller.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub u16, pub &'static str);

const MALFORMED: Refusal = Refusal(400, "malformed request");

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Reads the request of a connection.
pub(super) fn read(stream: &TcpStream) -> io::Result<Result<Request, Refusal>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // Answers come in small pieces that somebody waits for. Not being able to say so costs time alone.
    let _set = stream.set_nodelay(true);
    let mut to = stream;
    parse(&mut BufReader::new(stream), &mut to)
}

/// Reads a request from `from`; `to` gets the interim answer that some callers wait for.
fn parse(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<Result<Request, Refusal>> {
    let mut head = from.take(MAX_HEAD);
    let Some(first) = line(&mut head)? else { return Ok(Err(MALFORMED)) };
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Ok(Err(MALFORMED));
    };
    let mut request = Request {
        method: method.to_owned(),
        path: target.split('?').next().unwrap_or_default().to_owned(),
        old: version == "HTTP/1.0",
        ..Request::default()
    };
    if !request.old && version != "HTTP/1.1" {
        return Ok(Err(MALFORMED));
    }
    loop {
        match line(&mut head)? {
            None => return Ok(Err(Refusal(431, "the headers are too long"))),
            Some(text) if text.is_empty() => break,
            Some(text) => match text.split_once(':') {
                Some((name, value)) => {
                    request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
                }
                None => return Ok(Err(MALFORMED)),
            },
        }
    }
    if request.header("expect").is_some_and(|e| e.eq_ignore_ascii_case("100-continue")) {
        to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    Ok(match body(from, &request)? {
        Ok(body) => Ok(Request { body, ..request }),
        Err(refusal) => Err(refusal),
    })
}

fn body(from: &mut impl BufRead, request: &Request) -> io::Result<Result<Vec<u8>, Refusal>> {
    const TOO_LARGE: Refusal = Refusal(413, "the request is larger than 64 MiB");
    if let Some(coding) = request.header("transfer-encoding") {
        if !coding.eq_ignore_ascii_case("chunked") {
            return Ok(Err(Refusal(501, "unknown transfer encoding")));
        }
        return chunks(from, TOO_LARGE);
    }
    let Some(length) = request.header("content-length") else { return Ok(Ok(Vec::new())) };
    let Ok(length) = length.parse::<u64>() else { return Ok(Err(MALFORMED)) };
    if length > MAX_BODY {
        return Ok(Err(TOO_LARGE));
    }
    let mut body = Vec::new();
    from.take(length).read_to_end(&mut body)?;
    Ok(if body.len() as u64 == length { Ok(body) } else { Err(MALFORMED) })
}

fn chunks(from: &mut impl BufRead, too_large: Refusal) -> io::Result<Result<Vec<u8>, Refusal>> {
    let mut body = Vec::new();
    loop {
        let Some(size) = line(&mut from.take(1024))? else { return Ok(Err(MALFORMED)) };
        let digits = size.split(';').next().unwrap_or_default().trim();
        let Ok(size) = u64::from_str_radix(digits, 16) else { return Ok(Err(MALFORMED)) };
        if size > MAX_BODY - body.len() as u64 {
            return Ok(Err(too_large));
        }
        if size == 0 {
            // Trailers, up to an empty line.
            let mut trailers = from.take(MAX_HEAD);
            while line(&mut trailers)?.is_some_and(|t| !t.is_empty()) {}
            return Ok(Ok(body));
        }
        let before = body.len() as u64;
        from.take(size).read_to_end(&mut body)?;
        let ended = line(&mut from.take(2))?;
        if body.len() as u64 - before != size || ended.is_none() {
            return Ok(Err(MALFORMED));
        }
    }
}

/// A line without its end; `None` if it has none within what may be read.
fn line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    from.read_until(b'\n', &mut bytes)?;
    let Some(text) = bytes.strip_suffix(b"\n") else { return Ok(None) };
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    Ok(Some(String::from_utf8_lossy(text).into_owned()))
}

/// Writes a whole reply.
pub(super) fn reply(
    to: &mut impl Write,
    status: u16,
    headers: &[(String, String)],
    body: &[u8],
) -> io::Result<()> {
    let mut bytes = head(status, headers);
    bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).into_bytes());
    bytes.extend(body);
    to.write_all(&bytes)?;
    to.flush()
}

fn head(status: u16, headers: &[(String, String)]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} {}\r\nconnection: close\r\n", reason(status));
    for (name, value) in headers {
        // A provider's header with a line end would be two headers.
        let clean: String = value.chars().filter(|c| !c.is_control()).collect();
        text.push_str(&format!("{name}: {clean}\r\n"));
    }
    text.into_bytes()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

/// Writes a reply whose body comes piece by piece; each piece is on its way when [`Streamed::piece`] returns.
pub(super) struct Streamed<'a> {
    to: &'a mut dyn Write,
    chunked: bool,
}

impl<'a> Streamed<'a> {
    pub(super) fn begin(
        request: &Request,
        to: &'a mut dyn Write,
        status: u16,
        headers: &[(String, String)],
    ) -> io::Result<Self> {
        let mut bytes = head(status, headers);
        // Without chunks the end of the connection is the end of the body.
        let end: &[u8] = if request.old { b"\r\n" } else { b"transfer-encoding: chunked\r\n\r\n" };
        bytes.extend(end);
        to.write_all(&bytes)?;
        to.flush()?;
        Ok(Self { to, chunked: !request.old })
    }

    pub(super) fn piece(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.chunked {
            let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
            chunk.extend(bytes);
            chunk.extend(b"\r\n");
            self.to.write_all(&chunk)?;
        } else {
            self.to.write_all(bytes)?;
        }
        self.to.flush()
    }

    /// The body is whole. Without this call, a caller sees that it was cut.
    pub(super) fn end(self) -> io::Result<()> {
        if self.chunked {
            self.to.write_all(b"0\r\n\r\n")?;
        }
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Result<Request, Refusal> {
        parse(&mut text.as_bytes(), &mut io::sink()).unwrap()
    }

    #[test]
    fn requests_with_either_kind_of_body_are_read() {
        let plain = request(
            "POST /v1/x?beta=true HTTP/1.1\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhellomore",
        );
        let plain = plain.unwrap();
        assert_eq!((plain.method.as_str(), plain.path.as_str()), ("POST", "/v1/x"));
        assert_eq!((plain.header("x-a"), plain.body.as_slice()), (Some("b"), &b"hello"[..]));
        let chunked = request(
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nt: u\r\n\r\n",
        );
        assert_eq!(chunked.unwrap().body, b"hello");
        assert!(request("GET /v1/models HTTP/1.0\n\n").unwrap().old);
    }

    #[test]
    fn broken_and_oversized_requests_are_refused() {
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(70_000));
        let statuses = [
            ("", 400),
            ("GET /\r\n\r\n", 400),
            ("GET / SPDY/3\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nnonsense\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nshort", 400),
            ("POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n", 413),
            ("POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", 501),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nfffffffff\r\n", 413),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", 400),
            (long.as_str(), 431),
        ];
        for (text, status) in statuses {
            assert_eq!(request(text).unwrap_err().0, status, "{}", &text[..text.len().min(80)]);
        }
    }

    #[test]
    fn a_streamed_reply_shows_whether_it_is_whole() {
        let request = request("GET / HTTP/1.1\r\n\r\n").unwrap();
        let headers = [("x".to_owned(), "a\r\nb".to_owned())];
        let mut bytes = Vec::new();
        let mut streamed = Streamed::begin(&request, &mut bytes, 200, &headers).unwrap();
        streamed.piece(b"hello").unwrap();
        streamed.end().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("\r\nx: ab\r\n"),
            "{text}"
        );
        assert!(text.ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "{text}");
    }
}
