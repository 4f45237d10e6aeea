//! A client that costs little: one connection, plain or TLS, blocking.
//!
//! It sends what it is given in as few writes as it can and reads replies only
//! for their code. Every read and write has a deadline, so that a server that
//! hangs ends the measurement. Over TLS it takes whatever certificate it is shown
//! and checks no signature: it measures servers on
//! loopback, and the less it computes, the more of the two cores is theirs.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

/// How long a read, a write or a connect may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The MAIL command, a macro because `concat!` takes literals alone.
macro_rules! mail {
    () => {
        "MAIL FROM:<+972500000001/TYPE=PLMN@mms.example.net>\r\n"
    };
}

/// The RCPT command.
macro_rules! rcpt {
    () => {
        "RCPT TO:<+972500000002/TYPE=PLMN@mms.example.net>\r\n"
    };
}

/// How a server is spoken to.
#[derive(Clone)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// Over TLS, and how.
    pub tls: Option<Arc<ClientConfig>>,
    /// The AUTH line; none for a server that asks for no login.
    pub login: Option<Arc<str>>,
    /// MAIL, RCPT and DATA in one segment.
    pub pipelined: bool,
    /// No SMTP, mails alone.
    pub raw: bool,
}

/// A connection, logged in or about to be.
pub struct Client {
    stream: Stream,
    input: Vec<u8>,
    pipelined: bool,
    raw: bool,
}

// One of these lives for each connection; the larger variant is not worth a box.
#[allow(clippy::large_enum_variant)]
enum Stream {
    Plain(TcpStream),
    Tls(StreamOwned<ClientConnection, TcpStream>),
}

impl Client {
    /// Connects from `127.0.0.source`, says EHLO and logs in.
    pub fn connect(target: &Target, source: u8) -> io::Result<Self> {
        let tcp = connect_from(Ipv4Addr::new(127, 0, 0, source), target.address)?;
        let stream = match &target.tls {
            None => Stream::Plain(tcp),
            Some(config) => {
                let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
                let tls =
                    ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
                Stream::Tls(StreamOwned::new(tls, tcp))
            }
        };
        let mut client = Self {
            stream,
            input: Vec::new(),
            pipelined: target.pipelined,
            raw: target.raw,
        };
        if target.raw {
            return Ok(client);
        }
        client.reply(*b"220")?;
        client.command("EHLO bench.example.net\r\n", *b"250")?;
        if let Some(login) = &target.login {
            client.command(login, *b"235")?;
        }
        Ok(client)
    }

    /// Sends one mail; the time from its final dot to its 250.
    pub fn mail(&mut self, bytes: &[u8]) -> io::Result<Duration> {
        if !self.raw {
            self.envelope()?;
        }
        self.stream.write_all(bytes)?;
        self.stream.flush()?;
        let dot = Instant::now();
        self.reply(*b"250")?;
        Ok(dot.elapsed())
    }

    /// MAIL, RCPT and DATA, and their answers.
    pub fn envelope(&mut self) -> io::Result<()> {
        if self.pipelined {
            self.part(concat!(mail!(), rcpt!(), "DATA\r\n").as_bytes())?;
            self.reply(*b"250")?;
            self.reply(*b"250")?;
            return self.reply(*b"354");
        }
        self.command(mail!(), *b"250")?;
        self.command(rcpt!(), *b"250")?;
        self.command("DATA\r\n", *b"354")
    }

    /// Sends a part of a mail and waits for nothing.
    pub fn part(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Sends one line and takes its reply, which must have this code.
    pub fn command(&mut self, line: &str, code: [u8; 3]) -> io::Result<()> {
        self.part(line.as_bytes())?;
        self.reply(code)
    }

    /// Says goodbye; the server closes.
    pub fn quit(&mut self) -> io::Result<()> {
        if self.raw {
            return Ok(());
        }
        self.command("QUIT\r\n", *b"221")
    }

    /// Reads one reply, which must have this code.
    pub fn reply(&mut self, code: [u8; 3]) -> io::Result<()> {
        let mut line = 0;
        loop {
            while let Some(end) = memchr::memchr(b'\n', &self.input[line..]) {
                let text = &self.input[line..line + end];
                if text.len() < 4 || text[..3] != code {
                    let said = String::from_utf8_lossy(text).into_owned();
                    let wanted = String::from_utf8_lossy(&code);
                    return Err(io::Error::other(format!("wanted {wanted}, got {said}")));
                }
                let last = text[3] == b' ';
                line += end + 1;
                if last {
                    self.input.drain(..line);
                    return Ok(());
                }
            }
            let mut chunk = [0; 4_096];
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                return Err(io::Error::other("the server hung up"));
            }
            self.input.extend_from_slice(&chunk[..read]);
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Each source address has its own ephemeral ports, and its own count under a limit per address.
fn connect_from(source: Ipv4Addr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into())?;
    socket.connect_timeout(&address.into(), PATIENCE)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// A TLS 1.3 client that believes every certificate.
pub fn tls_config(resumption: Resumption) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let schemes = provider
        .signature_verification_algorithms
        .supported_schemes();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous(schemes)))
        .with_no_client_auth();
    config.resumption = resumption;
    Arc::new(config)
}

/// Believes everything.
#[derive(Debug)]
struct Credulous(Vec<SignatureScheme>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
