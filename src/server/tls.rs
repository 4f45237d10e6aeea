//! TLS 1.2 and 1.3 by rustls, the only file that names it. TLS 1.1 is not
//! offered: RFC 8996 forbids it.
//!
//! The socket underneath does not block and is driven by the caller, who waits
//! for it with the clocks of the session: a record that drips in does not hold
//! them up, nor does a client that does not read.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::{ProtocolVersion, ServerConfig, ServerConnection};

#[cfg(feature = "post-quantum")]
use rustls::crypto::aws_lc_rs as provider;
#[cfg(not(feature = "post-quantum"))]
use rustls::crypto::ring as provider;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// Tickets that a client gets for coming back without a full handshake.
const TICKETS: usize = 1;

/// Certificate, key and versions: what a handshake needs.
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    not_after: Option<SystemTime>,
}

/// Why there can be no TLS.
#[derive(Debug)]
pub struct TlsError {
    option: &'static str,
    path: PathBuf,
    fault: String,
    denied: bool,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TlsError {
            option,
            path,
            fault,
            ..
        } = self;
        write!(
            f,
            "cannot use {} for TLS: {fault}; give a PEM file with {option}, \
             or make a certificate with scripts/certs.sh",
            path.display()
        )
    }
}

impl std::error::Error for TlsError {}

impl TlsError {
    /// Whether the file is there and may not be read.
    pub fn is_denied(&self) -> bool {
        self.denied
    }
}

impl Acceptor {
    /// Reads the PEM chain and its key; they must belong together.
    pub fn load(cert: &Path, key: &Path) -> Result<Acceptor, TlsError> {
        let wrong = |option, path: &Path, fault: &dyn fmt::Display| TlsError {
            option,
            path: path.to_owned(),
            fault: fault.to_string(),
            denied: false,
        };
        let open = |option, path: &Path| {
            File::open(path)
                .map(BufReader::new)
                .map_err(|error| TlsError {
                    denied: error.kind() == io::ErrorKind::PermissionDenied,
                    ..wrong(option, path, &error)
                })
        };
        let chain = rustls_pemfile::certs(&mut open("--cert", cert)?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| wrong("--cert", cert, &error))?;
        if chain.is_empty() {
            return Err(wrong("--cert", cert, &"no certificate in it"));
        }
        let private_key = rustls_pemfile::private_key(&mut open("--key", key)?)
            .map_err(|error| wrong("--key", key, &error))?
            .ok_or_else(|| wrong("--key", key, &"no private key in it"))?;
        let not_after = chain.first().and_then(|der| not_after(der));
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
                .map_err(|error| wrong("--cert", cert, &error))?
                .with_no_client_auth()
                .with_single_cert(chain, private_key)
                .map_err(|error| wrong("--key", key, &error))?;
        // Tickets hold the state of a session, the server none of it.
        config.send_tls13_tickets = TICKETS;
        config.ticketer =
            provider::Ticketer::new().map_err(|error| wrong("--cert", cert, &error))?;
        Ok(Acceptor {
            config: Arc::new(config),
            not_after,
        })
    }

    /// When the server's own certificate, the first of the chain, expires
    /// (RFC 5280 4.1.2.5). `None` if it has a form that only rustls can read.
    pub fn not_after(&self) -> Option<SystemTime> {
        self.not_after
    }

    /// A session that waits for its ClientHello. It is large, and boxed here for
    /// no stack to hold its pages.
    #[inline(never)]
    pub fn session(&self) -> io::Result<Box<TlsSession>> {
        ServerConnection::new(Arc::clone(&self.config))
            .map(|connection| {
                Box::new(TlsSession {
                    connection,
                    records: Vec::new(),
                    taken: 0,
                })
            })
            .map_err(io::Error::other)
    }
}

/// The notAfter of a certificate in DER.
fn not_after(certificate: &[u8]) -> Option<SystemTime> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let not_after = certificate.tbs_certificate().validity().not_after;
    let since_1970: Duration = not_after.to_unix_duration();
    SystemTime::UNIX_EPOCH.checked_add(since_1970)
}

/// The TLS half of one connection.
#[derive(Debug)]
pub struct TlsSession {
    connection: ServerConnection,
    /// Records as they came from the socket. rustls takes 4 KiB at a time, which
    /// would be a system call each.
    records: Vec<u8>,
    /// How much of them rustls has taken.
    taken: usize,
}

/// What there is to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plaintext {
    /// The number of bytes read.
    Bytes(usize),
    /// Nothing yet: records are needed from the socket.
    Wanting,
    /// The client has said close_notify, or gone.
    End,
}

impl TlsSession {
    /// Whether the handshake goes on.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// The version for the log, once it is agreed on.
    pub fn version(&self) -> Option<&'static str> {
        match self.connection.protocol_version()? {
            ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
            ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
            _ => Some("TLS"),
        }
    }

    /// Whether there are records that came with earlier ones: the socket need
    /// not be waited for.
    pub fn has_records(&self) -> bool {
        self.taken < self.records.len()
    }

    /// Gives back the memory of records that were taken.
    pub fn release(&mut self) {
        if !self.has_records() {
            self.records = Vec::new();
            self.taken = 0;
        }
    }

    /// Whether something encrypted waits to be sent.
    pub fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// Takes records, from the socket where none are left, up to `size` bytes
    /// at once. `false` when the client has closed. What TLS has to answer waits
    /// to be sent.
    pub fn receive(&mut self, mut socket: impl Read + Write, size: usize) -> io::Result<bool> {
        if !self.has_records() {
            self.taken = 0;
            self.records.resize(size, 0);
            self.records.shrink_to(size);
            let result = socket.read(&mut self.records);
            self.records.truncate(*result.as_ref().unwrap_or(&0));
            result?;
        }
        let mut records = self.records.get(self.taken..).unwrap_or_default();
        let count = self.connection.read_tls(&mut records)?;
        self.taken += count;
        if let Err(error) = self.connection.process_new_packets() {
            // The alert that says why; whether it arrives is no matter.
            let _ = self.send(&mut socket);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(count > 0)
    }

    /// Takes decrypted bytes.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Plaintext> {
        match self.connection.reader().read(buffer) {
            Ok(0) => Ok(Plaintext::End),
            Ok(count) => Ok(Plaintext::Bytes(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Plaintext::Wanting),
            // The client closed without close_notify: an end like any other,
            // since SMTP says itself where a mail is complete.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Plaintext::End),
            Err(error) => Err(error),
        }
    }

    /// Encrypts `bytes`; [`TlsSession::send`] sends them. Says how many fit.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.connection.writer().write(bytes)
    }

    /// Adds close_notify to what is to be sent.
    pub fn close(&mut self) {
        self.connection.send_close_notify();
    }

    /// Sends of what is encrypted what the socket takes at once.
    pub fn send(&mut self, mut socket: impl Write) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut socket)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_expiry_is_that_of_the_first_certificate_of_the_chain() {
        // UTCTime holds years up to 2049, GeneralizedTime the others.
        for (year, expected) in [(2031, 1_924_992_000), (2150, 5_680_281_600)] {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            leaf.not_after = rcgen::date_time_ymd(year, 1, 1);
            let leaf = leaf.self_signed(&key).unwrap();
            let other_key = rcgen::KeyPair::generate().unwrap();
            let mut other = rcgen::CertificateParams::new(Vec::new()).unwrap();
            other.not_after = rcgen::date_time_ymd(2020, 1, 1);
            let other = other.self_signed(&other_key).unwrap();

            let directory = tempfile::tempdir().unwrap();
            let (cert, private) = (directory.path().join("c"), directory.path().join("k"));
            fs::write(&cert, leaf.pem() + &other.pem()).unwrap();
            fs::write(&private, key.serialize_pem()).unwrap();
            let acceptor = Acceptor::load(&cert, &private).unwrap();
            assert_eq!(
                acceptor.not_after(),
                Some(SystemTime::UNIX_EPOCH + Duration::from_secs(expected)),
                "{year}"
            );
        }
    }
}
