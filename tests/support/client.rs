//! A client that sends what the test says, byte by byte if need be.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use socket2::{Domain, Socket, Type};

use super::{DEADLINE, Server, plain_response};

/// One connection, with a transcript that is shown when a test fails.
pub struct Client {
    stream: Box<dyn ReadWrite>,
    socket: TcpStream,
    unread: Vec<u8>,
    transcript: String,
}

trait ReadWrite: Read + Write + Send {
    /// Sends bytes and close_notify in one piece, where there is TLS.
    fn send_and_close_notify(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl ReadWrite for TcpStream {}

impl ReadWrite for StreamOwned<ClientConnection, TcpStream> {
    fn send_and_close_notify(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.conn.writer().write_all(bytes)?;
        self.conn.send_close_notify();
        while self.conn.wants_write() {
            self.conn.write_tls(&mut self.sock)?;
        }
        Ok(())
    }
}

impl Client {
    /// Connects without TLS; the greeting is still to be read.
    pub fn plain(address: SocketAddr) -> Client {
        let socket = connect(address);
        Client::new(Box::new(socket.try_clone().unwrap()), socket)
    }

    /// Connects without TLS from an address of the loopback network; the
    /// greeting is still to be read.
    pub fn plain_from(from: &str, address: SocketAddr) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let from: SocketAddr = format!("{from}:0").parse().unwrap();
        socket.bind(&from.into()).unwrap();
        socket.connect_timeout(&address.into(), DEADLINE).unwrap();
        let socket = TcpStream::from(socket);
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Client::new(Box::new(socket.try_clone().unwrap()), socket)
    }

    /// Connects with TLS, trusting `ca` alone; the greeting is still to be read.
    pub fn tls(address: SocketAddr, ca: &CertificateDer<'static>) -> Client {
        Client::tls_of(rustls::DEFAULT_VERSIONS, address, ca)
    }

    /// The same with these versions of TLS.
    pub fn tls_of(
        versions: &[&'static SupportedProtocolVersion],
        address: SocketAddr,
        ca: &CertificateDer<'static>,
    ) -> Client {
        Client::tls_on(connect(address), versions, ca)
    }

    /// Connects with TLS after `header`, which goes before the handshake.
    pub fn tls_behind(header: &[u8], address: SocketAddr, ca: &CertificateDer<'static>) -> Client {
        let mut socket = connect(address);
        socket.write_all(header).unwrap();
        Client::tls_on(socket, rustls::DEFAULT_VERSIONS, ca)
    }

    fn tls_on(
        socket: TcpStream,
        versions: &[&'static SupportedProtocolVersion],
        ca: &CertificateDer<'static>,
    ) -> Client {
        let connection = connection_of(versions, ca);
        let stream = StreamOwned::new(connection, socket.try_clone().unwrap());
        Client::new(Box::new(stream), socket)
    }

    /// Connects to the plain or the TLS port of `server`, and reads the greeting.
    pub fn greeted(server: &Server, tls: bool) -> Client {
        let mut client = if tls {
            Client::tls(server.tls, &server.ca)
        } else {
            Client::plain(server.plain)
        };
        client.expect(220);
        client
    }

    /// Greets and logs in.
    pub fn logged_in(server: &Server, tls: bool) -> Client {
        let mut client = Client::greeted(server, tls);
        client.command("EHLO client.example", 250);
        client.command(&format!("AUTH PLAIN {}", plain_response()), 235);
        client
    }

    fn new(stream: Box<dyn ReadWrite>, socket: TcpStream) -> Client {
        Client {
            stream,
            socket,
            unread: Vec::new(),
            transcript: String::new(),
        }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.try_send(bytes) {
            self.fail(&format!("cannot send: {error}"));
        }
    }

    /// Sends bytes to a server that may have gone.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.transcript.push_str(&format!("C: {}\n", show(bytes)));
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Sends bytes and close_notify in one piece.
    pub fn send_and_close_notify(&mut self, bytes: &[u8]) {
        self.transcript.push_str(&format!("C: {}\n", show(bytes)));
        self.stream.send_and_close_notify(bytes).unwrap();
    }

    /// Reads one reply, of all its lines, without the last CRLF.
    pub fn reply(&mut self) -> String {
        let mut lines = Vec::new();
        loop {
            let Some(line) = self.line() else {
                self.fail("the server closed in the place of a reply");
            };
            let last = line.as_bytes().get(3) != Some(&b'-');
            lines.push(line);
            if last {
                return lines.join("\r\n");
            }
        }
    }

    /// Reads one reply that must have this code.
    pub fn expect(&mut self, code: u16) -> String {
        let reply = self.reply();
        if !reply.starts_with(&code.to_string()) {
            self.fail(&format!("expected {code}"));
        }
        reply
    }

    /// Reads one reply that must be this, byte by byte.
    pub fn expect_exactly(&mut self, expected: &str) {
        let reply = self.reply();
        if reply != expected {
            self.fail(&format!("expected {expected:?}"));
        }
    }

    /// Sends a line and reads the reply, which must have this code.
    pub fn command(&mut self, line: &str, code: u16) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        self.expect(code)
    }

    /// Sends a whole mail, stuffing what needs it; gives the id of its 250.
    pub fn deliver(&mut self, content: &[u8]) -> String {
        self.command("MAIL FROM:<+972500000001/TYPE=PLMN@client.example>", 250);
        self.command("RCPT TO:<+972500000002/TYPE=PLMN@test.example>", 250);
        self.command("DATA", 354);
        let wire = wire(content);
        self.send(&wire);
        let reply = self.expect(250);
        id(&reply)
    }

    /// Reads until the server closes, which it must; gives what came before.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return std::mem::take(&mut self.unread),
                Ok(count) => {
                    self.transcript
                        .push_str(&format!("S: {}\n", show(&bytes[..count])));
                    self.unread.extend_from_slice(&bytes[..count]);
                }
                Err(error) => self.fail(&format!("the server does not close: {error}")),
            }
        }
    }

    /// The server must close without another word.
    pub fn expect_close(&mut self) {
        let rest = self.read_to_end();
        if !rest.is_empty() {
            self.fail("expected the server to close");
        }
    }

    /// Closes the sending side.
    pub fn finish(&mut self) {
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    /// The socket, for what needs it bare.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// One line without its CRLF; `None` when the server has closed.
    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                let line = String::from_utf8_lossy(&line[..end]).into_owned();
                self.transcript.push_str(&format!("S: {line}\n"));
                return Some(line);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.unread.extend_from_slice(&bytes[..count]),
                Err(error) => self.fail(&format!("no line from the server: {error}")),
            }
        }
    }

    fn fail(&self, what: &str) -> ! {
        panic!("{what}; the transcript:\n{}", self.transcript);
    }
}

/// TLS without a socket, trusting `ca` alone.
pub fn tls_connection(ca: &CertificateDer<'static>) -> ClientConnection {
    connection_of(rustls::DEFAULT_VERSIONS, ca)
}

fn connection_of(
    versions: &[&'static SupportedProtocolVersion],
    ca: &CertificateDer<'static>,
) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.set_write_timeout(Some(DEADLINE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// The id in `250 queued as <ID>`.
pub fn id(reply: &str) -> String {
    reply
        .strip_prefix("250 queued as <")
        .and_then(|rest| rest.strip_suffix('>'))
        .unwrap_or_else(|| panic!("no id in {reply:?}"))
        .to_owned()
}

/// A mail as it goes over the wire: dots stuffed (RFC 5321 4.5.2), with its end.
/// Content that does not end a line ends in the mail with a CRLF all the same.
pub fn wire(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len() + 16);
    let mut start = true;
    for &byte in content {
        if start && byte == b'.' {
            wire.push(b'.');
        }
        start = byte == b'\n';
        wire.push(byte);
    }
    if !wire.is_empty() && !wire.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

fn show(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(200)];
    let rest = bytes.len() - shown.len();
    let text = shown.escape_ascii();
    if rest == 0 {
        format!("{text}")
    } else {
        format!("{text}… and {rest} bytes")
    }
}
