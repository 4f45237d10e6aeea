//! As much of HTTP/1.1 (RFC 9112) as a page that is only read needs: GET and HEAD, no
//! body in a request, one answer at a time.
//!
//! httparse reads the request; the loop is here, since a library that accepts for itself
//! bounds neither connections nor slow clients. Limits: [`MAX_HEAD`] bytes and
//! [`MAX_FIELDS`] fields of a request within [`HEAD_TIME`], [`MAX_REQUESTS`] requests of a
//! connection, [`IDLE_TIME`] between them, [`MIN_RATE`] bytes per second of an answer; where
//! few places are left, [`CROWDED_TIME`] in the place of both times.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::inspect::mime::params::percent_decoded;

/// Bytes of the head of a request.
pub(super) const MAX_HEAD: usize = 16 * 1024;
/// Fields of a request.
const MAX_FIELDS: usize = 64;
/// Requests on one connection.
pub(super) const MAX_REQUESTS: usize = 1000;
/// How long the head of a request may take from its first byte.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection may wait for its next request.
const IDLE_TIME: Duration = Duration::from_secs(30);
/// How long a client may be silent, and the head of its request take, where few places
/// for others are left.
const CROWDED_TIME: Duration = Duration::from_secs(2);
/// How long an answer may take, whatever its size.
const ANSWER_TIME: Duration = Duration::from_secs(20);
/// Bytes per second that a client must take on average after that.
const MIN_RATE: u64 = 16 * 1024;

/// Bytes of a file that are read at a time.
const FILE_BUFFER: usize = 64 * 1024;

/// A request without its body.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) is_head: bool,
    /// The segments of the path, decoded.
    pub(super) path: Vec<String>,
    /// The parameters, decoded, in their order.
    pub(super) query: Vec<(String, String)>,
    pub(super) host: Option<String>,
    pub(super) authorization: Option<String>,
    pub(super) cookie: Option<String>,
    pub(super) last_event_id: Option<String>,
    pub(super) range: Option<String>,
    pub(super) has_if_range: bool,
    /// The connection stays open for another request.
    pub(super) keep_alive: bool,
}

impl Request {
    /// Reads the target of the request: a path, or an address with the name of the server.
    fn address(&mut self, mut target: &str) -> Result<(), NoRequest> {
        let scheme = target.get(..7);
        if scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://")) {
            // RFC 9112 3.2.2: a server accepts it, and its name replaces that of Host.
            let rest = target.get(7..).unwrap_or_default();
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (name, path) = rest.split_at(end);
            self.host = self.host.is_some().then(|| name.to_owned());
            target = path;
        } else if !target.starts_with('/') {
            return Err(NoRequest::Refused(400, "the target is not a path"));
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let words = path.split('/').filter(|word| !word.is_empty());
        self.path = words.map(decoded).collect();
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let pairs = pairs.filter(|(name, _)| !name.is_empty());
        self.query = pairs
            .map(|(name, value)| (decoded(name), decoded(&value.replace('+', " "))))
            .collect();
        Ok(())
    }
}

/// Why there is no request: a status to answer with, or nobody to answer to.
#[derive(Debug)]
pub(super) enum NoRequest {
    Refused(u16, &'static str),
    Closed,
}

/// What follows the head of an answer.
#[derive(Debug)]
pub(super) enum Body {
    Bytes(Vec<u8>),
    /// So many bytes of a file.
    File(File, u64),
}

impl Body {
    pub(super) fn len(&self) -> u64 {
        match self {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File(_, length) => *length,
        }
    }

    /// Bytes of memory that it takes while it is sent.
    pub(super) fn held(&self) -> usize {
        match self {
            Body::Bytes(bytes) => bytes.capacity(),
            Body::File(..) => FILE_BUFFER,
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) body: Body,
}

impl Answer {
    pub(super) fn new(status: u16, media_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        Answer {
            status,
            fields: vec![("Content-Type", media_type.to_owned())],
            body: Body::Bytes(body.into()),
        }
    }

    pub(super) fn text(status: u16, text: &str) -> Answer {
        Answer::new(status, "text/plain; charset=utf-8", format!("{text}\n"))
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.fields.push((name, value.into()));
        self
    }
}

/// Reads the next request of a connection. `head` has what was received beyond the one
/// before, and keeps what is received beyond this one.
pub(super) fn read(
    stream: &mut TcpStream,
    head: &mut Vec<u8>,
    is_crowded: bool,
) -> Result<Request, NoRequest> {
    if let Some(request) = take(head)? {
        return Ok(request);
    }
    let mut buffer = [0; 2048];
    let (idle_time, head_time) = match is_crowded {
        true => (CROWDED_TIME, CROWDED_TIME),
        false => (IDLE_TIME, HEAD_TIME),
    };
    let mut deadline = Instant::now()
        + match head.is_empty() {
            true => idle_time,
            false => head_time,
        };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return Err(timeout(head));
        }
        let length = match stream.read(&mut buffer) {
            Ok(0) => return Err(NoRequest::Closed),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(timeout(head));
            }
            Err(_) => return Err(NoRequest::Closed),
        };
        if head.is_empty() {
            deadline = Instant::now() + head_time;
        }
        head.extend_from_slice(buffer.get(..length).unwrap_or_default());
        match take(head)? {
            Some(request) => return Ok(request),
            None if head.len() > MAX_HEAD => {
                return Err(NoRequest::Refused(431, "the request is too long"));
            }
            None => {}
        }
    }
}

fn timeout(head: &[u8]) -> NoRequest {
    match head {
        [] => NoRequest::Closed,
        _ => NoRequest::Refused(408, "the request took too long"),
    }
}

/// Takes the first request from what was received, once its head is whole.
fn take(head: &mut Vec<u8>) -> Result<Option<Request>, NoRequest> {
    let Some((request, length)) = parse(head)? else {
        return Ok(None);
    };
    head.drain(..length);
    Ok(Some(request))
}

/// The first request, once its head is whole, and the length of that.
fn parse(head: &[u8]) -> Result<Option<(Request, usize)>, NoRequest> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let length = match parsed.parse(head) {
        Err(_) => return Err(NoRequest::Refused(400, "this is not a request of HTTP/1.1")),
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete(length)) => length,
    };
    let is_head = match parsed.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(NoRequest::Refused(405, "only GET and HEAD are answered")),
    };
    let mut request = Request {
        is_head,
        keep_alive: parsed.version == Some(1),
        ..Request::default()
    };
    for field in parsed.headers.iter() {
        let value = || String::from_utf8_lossy(field.value).trim().to_owned();
        match field.name.to_ascii_lowercase().as_str() {
            // RFC 9112 3.2: more than one is an error.
            "host" if request.host.is_some() => {
                return Err(NoRequest::Refused(400, "there is more than one Host"));
            }
            "host" => request.host = Some(value()),
            "authorization" => request.authorization = Some(value()),
            "cookie" => request.cookie = Some(value()),
            "range" => request.range = Some(value()),
            "if-range" => request.has_if_range = true,
            "last-event-id" => request.last_event_id = Some(value()),
            "connection" => {
                let close = |word: &str| word.trim().eq_ignore_ascii_case("close");
                request.keep_alive &= !value().split(',').any(close);
            }
            "content-length" if value() != "0" => {
                return Err(NoRequest::Refused(400, "a request has no body here"));
            }
            "transfer-encoding" => {
                return Err(NoRequest::Refused(400, "a request has no body here"));
            }
            _ => {}
        }
    }
    request.address(parsed.path.unwrap_or("/"))?;
    Ok(Some((request, length)))
}

fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&percent_decoded(text.as_bytes())).into_owned()
}

/// Text as it can be in a path or a query.
pub(super) fn encoded(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut encoded, byte| {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    encoded.push(char::from(byte));
                }
                // The ids of mm4d stay readable.
                b'@' | b':' | b'+' if byte == b'@' || byte == b':' => {
                    encoded.push(char::from(byte))
                }
                _ => encoded.push_str(&format!("%{byte:02X}")),
            }
            encoded
        })
}

/// Writes an answer, of HEAD its head alone.
///
/// # Errors
///
/// When the client is gone or too slow.
pub(super) fn write(
    stream: &mut TcpStream,
    answer: Answer,
    is_head: bool,
    keep_alive: bool,
) -> io::Result<()> {
    let length = answer.body.len();
    let mut head = head_of(answer.status, &answer.fields);
    // RFC 9110 8.6: 204 has none.
    if answer.status != 204 {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    let connection = if keep_alive { "keep-alive" } else { "close" };
    head.push_str(&format!("Connection: {connection}\r\n\r\n"));
    let deadline = Instant::now() + ANSWER_TIME + Duration::from_secs(length / MIN_RATE);
    send(stream, head.as_bytes(), deadline)?;
    match answer.body {
        _ if is_head => Ok(()),
        Body::Bytes(bytes) => send(stream, &bytes, deadline),
        Body::File(file, length) => {
            let mut file = file.take(length);
            let mut buffer = vec![0; FILE_BUFFER];
            loop {
                match file.read(&mut buffer)? {
                    0 if file.limit() > 0 => return Err(ErrorKind::UnexpectedEof.into()),
                    0 => return Ok(()),
                    read => send(stream, buffer.get(..read).unwrap_or_default(), deadline)?,
                }
            }
        }
    }
}

/// The head of an answer, without the empty line that ends it.
pub(super) fn head_of(status: u16, fields: &[(&'static str, String)]) -> String {
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in fields {
        // No text from outside divides a field.
        let value: String = value
            .chars()
            .filter(|letter| !letter.is_control())
            .collect();
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head
}

/// Sends bytes before the deadline.
pub(super) fn send(stream: &mut TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_write_timeout(Some(left))?;
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        303 => "See Other",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        416 => "Range Not Satisfiable",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Error",
    }
}
