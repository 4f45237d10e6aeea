//! TLS 1.2 and 1.3 by rustls, the only file that names it. TLS 1.1 is not
//! offered: RFC 8996 forbids it.
//!
//! The socket underneath is driven by the caller, who waits for it with the clocks of
//! the session: a record that arrives slowly does not delay them, nor does a client
//! that does not read.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};

#[cfg(feature = "post-quantum")]
use rustls::crypto::aws_lc_rs as provider;
#[cfg(not(feature = "post-quantum"))]
use rustls::crypto::ring as provider;
use x509_cert::der::Decode;
use x509_cert::{Certificate, Version};

use super::files::{self, Source};
use crate::access::{self, Use};

/// Bytes of a PEM file at most.
const MAX_FILE: u64 = 1024 * 1024;
/// A certificate with less time left than this gets a warning in the log.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

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
pub enum TlsError {
    /// A file cannot be read.
    Unreadable {
        /// Which one.
        file: PemFile,
        /// Where it is.
        path: PathBuf,
        /// Why not.
        error: io::Error,
        /// What to do about it, where that is known.
        remedy: Option<String>,
    },
    /// A file is not PEM, or holds nothing of use.
    Pem {
        /// Which one.
        file: PemFile,
        /// Where it is.
        path: PathBuf,
        /// The line, counted from 1.
        line: Option<usize>,
        /// What is wrong.
        fault: String,
    },
    /// The certificate cannot be used for TLS.
    Certificate {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        fault: String,
    },
    /// The key cannot be used for TLS.
    Key {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        fault: String,
    },
    /// The key is not the certificate's.
    Mismatch {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The library has no random numbers or no protocol versions.
    Library(rustls::Error),
}

/// One of the two files that TLS needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PemFile {
    /// `--cert`
    Certificate,
    /// `--key`
    Key,
}

impl PemFile {
    fn option(self) -> &'static str {
        match self {
            PemFile::Certificate => "--cert",
            PemFile::Key => "--key",
        }
    }
}

impl fmt::Display for PemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PemFile::Certificate => "certificate",
            PemFile::Key => "private key",
        })
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Unreadable {
                file,
                path,
                error,
                remedy,
            } => {
                let path = path.display();
                write!(f, "cannot read the {file} {path}: {error}; ")?;
                match remedy {
                    Some(remedy) => f.write_str(remedy),
                    None => write!(
                        f,
                        "give a PEM file with {}, or only --listen, which needs no certificate",
                        file.option()
                    ),
                }
            }
            TlsError::Pem {
                file,
                path,
                line,
                fault,
            } => {
                write!(f, "cannot use the {file} {}", path.display())?;
                if let Some(line) = line {
                    write!(f, ", line {line}")?;
                }
                write!(f, ": {fault}; give a PEM file with {}", file.option())
            }
            TlsError::Certificate { path, fault } => write!(
                f,
                "cannot use the certificate {}: {fault}; give another with --cert",
                path.display()
            ),
            TlsError::Key { path, fault } => write!(
                f,
                "cannot use the private key {}: {fault}; give another with --key",
                path.display()
            ),
            TlsError::Mismatch { cert, key } => write!(
                f,
                "the private key {} does not belong to the certificate {}; \
                 give the two that were made together with --key and --cert, \
                 the server's own certificate first in its file",
                key.display(),
                cert.display()
            ),
            TlsError::Library(error) => write!(f, "cannot prepare TLS: {error}"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TlsError::Unreadable { error, .. } => Some(error),
            TlsError::Library(error) => Some(error),
            _ => None,
        }
    }
}

impl TlsError {
    /// Whether the file exists and may not be read.
    pub fn is_denied(&self) -> bool {
        matches!(self, TlsError::Unreadable { error, .. }
            if error.kind() == io::ErrorKind::PermissionDenied)
    }
}

impl Acceptor {
    /// Reads the PEM chain and its key; they must belong together.
    pub fn load(cert: &Path, key: &Path) -> Result<Acceptor, TlsError> {
        Acceptor::read(cert, key, Source::Anything)
    }

    /// The same from a `source`; reports the first error.
    pub(super) fn read(cert: &Path, key: &Path, source: Source) -> Result<Acceptor, TlsError> {
        let chain = read_chain(cert, source)?;
        let private_key = read_key(key, source)?;
        Acceptor::new(chain, private_key, cert, key)
    }

    /// Everything that is wrong with the two files.
    pub(super) fn check(cert: &Path, key: &Path) -> Result<Acceptor, Vec<TlsError>> {
        let source = Source::RegularFile;
        match (read_chain(cert, source), read_key(key, source)) {
            (Ok(chain), Ok(private_key)) => {
                Acceptor::new(chain, private_key, cert, key).map_err(|error| vec![error])
            }
            (chain, private_key) => Err([chain.err(), private_key.err()]
                .into_iter()
                .flatten()
                .collect()),
        }
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        private_key: PrivateKeyDer<'static>,
        cert: &Path,
        key: &Path,
    ) -> Result<Acceptor, TlsError> {
        let leaf = chain
            .first()
            .and_then(|der| Certificate::from_der(der).ok());
        let version = leaf.as_ref().map(|leaf| leaf.tbs_certificate().version());
        let old = match version {
            Some(Version::V1) => Some(1),
            Some(Version::V2) => Some(2),
            Some(Version::V3) | None => None,
        };
        if let Some(old) = old {
            return Err(TlsError::Certificate {
                path: cert.to_owned(),
                fault: format!(
                    "it is X.509 version {old}, and TLS needs version 3 with a subjectAltName"
                ),
            });
        }
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
                .map_err(TlsError::Library)?
                .with_no_client_auth()
                .with_single_cert(chain, private_key)
                .map_err(|error| unusable(error, cert, key))?;
        // Tickets hold the state of a session, the server none of it.
        config.send_tls13_tickets = TICKETS;
        config.ticketer = provider::Ticketer::new().map_err(TlsError::Library)?;
        Ok(Acceptor {
            config: Arc::new(config),
            not_after: leaf.and_then(|leaf| not_after(&leaf)),
        })
    }

    /// When the server's own certificate, the first of the chain, expires
    /// (RFC 5280 4.1.2.5). `None` if it has a form that only rustls can read.
    pub fn not_after(&self) -> Option<SystemTime> {
        self.not_after
    }

    /// Whether the certificate in `path` has expired at `now`, or soon will have.
    pub(super) fn expiry_warning(&self, path: &Path, now: SystemTime) -> Option<ExpiryWarning> {
        let not_after = self.not_after?;
        let left = not_after.duration_since(now).ok();
        left.is_none_or(|left| left < SOON).then(|| ExpiryWarning {
            path: path.to_owned(),
            not_after,
            left,
        })
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

fn read_chain(path: &Path, source: Source) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read_pem(PemFile::Certificate, path, source)?;
    let chain = rustls_pemfile::certs(&mut text.as_slice())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| not_pem(PemFile::Certificate, path, &text, &error))?;
    if chain.is_empty() {
        return Err(empty(PemFile::Certificate, path));
    }
    Ok(chain)
}

fn read_key(path: &Path, source: Source) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read_pem(PemFile::Key, path, source)?;
    let key = rustls_pemfile::private_key(&mut text.as_slice())
        .map_err(|error| not_pem(PemFile::Key, path, &text, &error))?;
    let is_encrypted = || memchr::memmem::find(&text, b"ENCRYPTED").is_some();
    match key {
        None if is_encrypted() => Err(TlsError::Key {
            path: path.to_owned(),
            fault: "it is encrypted; decrypt it with `openssl pkey`".to_owned(),
        }),
        None => Err(empty(PemFile::Key, path)),
        Some(key) => Ok(key),
    }
}

fn read_pem(file: PemFile, path: &Path, source: Source) -> Result<Vec<u8>, TlsError> {
    files::read(path, MAX_FILE, source).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied => access::remedy(path, Use::Read),
            _ => None,
        };
        TlsError::Unreadable {
            file,
            path: path.to_owned(),
            error,
            remedy,
        }
    })
}

fn empty(file: PemFile, path: &Path) -> TlsError {
    TlsError::Pem {
        file,
        path: path.to_owned(),
        line: None,
        fault: format!("there is no {file} in it"),
    }
}

fn not_pem(file: PemFile, path: &Path, text: &[u8], error: &io::Error) -> TlsError {
    let (line, fault) = match bad_line(text) {
        Some((line, fault)) => (Some(line), fault.to_owned()),
        None => (None, error.to_string()),
    };
    TlsError::Pem {
        file,
        path: path.to_owned(),
        line,
        fault,
    }
}

/// The first line of a PEM section that is invalid (RFC 7468 2), and why.
fn bad_line(text: &[u8]) -> Option<(usize, &'static str)> {
    let mut begin = None;
    let mut characters = 0;
    let mut number = 0;
    for line in text.split(|&byte| byte == b'\n') {
        number += 1;
        let line = line.trim_ascii();
        if line.starts_with(b"-----BEGIN ") {
            (begin, characters) = (Some(number), 0);
        } else if line.starts_with(b"-----END ") {
            if begin.take().is_some() && characters % 4 != 0 {
                return Some((number, "the base64 before this line is incomplete"));
            }
        } else if begin.is_some() {
            let is_base64 =
                |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
            if !line.iter().all(is_base64) {
                return Some((number, "invalid base64"));
            }
            characters += line.len();
        }
    }
    begin.map(|begin| (begin, "the section that begins here has no end"))
}

/// Which of the two files rustls rejects.
fn unusable(error: rustls::Error, cert: &Path, key: &Path) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
            cert: cert.to_owned(),
            key: key.to_owned(),
        },
        rustls::Error::InvalidCertificate(why) => TlsError::Certificate {
            path: cert.to_owned(),
            fault: format!("it is not a certificate that TLS can use ({why:?})"),
        },
        // The library has no error of its own for a key of another kind.
        rustls::Error::General(_) => TlsError::Key {
            path: key.to_owned(),
            fault: "TLS needs RSA with 2048 to 4096 bits, ECDSA with P-256 or P-384, or Ed25519"
                .to_owned(),
        },
        error => TlsError::Key {
            path: key.to_owned(),
            fault: error.to_string(),
        },
    }
}

/// The notAfter of a certificate.
fn not_after(certificate: &Certificate) -> Option<SystemTime> {
    let not_after = certificate.tbs_certificate().validity().not_after;
    let since_1970: Duration = not_after.to_unix_duration();
    SystemTime::UNIX_EPOCH.checked_add(since_1970)
}

/// A certificate that has expired, or soon will have.
#[derive(Clone, Debug)]
pub(crate) struct ExpiryWarning {
    path: PathBuf,
    not_after: SystemTime,
    /// `None`: it has expired.
    left: Option<Duration>,
}

impl fmt::Display for ExpiryWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let date = super::check::date(self.not_after);
        match self.left {
            None => write!(f, "the certificate {path} expired at {date}")?,
            Some(left) => {
                let days = left.as_secs() / (24 * 3600);
                write!(
                    f,
                    "the certificate {path} expires in {days} days, at {date}"
                )?;
            }
        }
        f.write_str("; renew it, then send SIGHUP or give --cert")
    }
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
    /// The client has sent close_notify, or closed.
    End,
}

impl TlsSession {
    /// Whether the handshake goes on.
    pub(crate) fn is_handshaking(&self) -> bool {
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
    pub(crate) fn has_records(&self) -> bool {
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
            if result.is_err() {
                // The wait for a client may be long.
                self.release();
            }
            result?;
        }
        let mut records = self.records.get(self.taken..).unwrap_or_default();
        let count = self.connection.read_tls(&mut records)?;
        self.taken += count;
        if let Err(error) = self.connection.process_new_packets() {
            // The alert that says why; it does not matter whether it arrives.
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
            // since SMTP itself marks the end of a message.
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
    fn the_line_with_invalid_base64_is_found() {
        let begin = "text\n-----BEGIN CERTIFICATE-----\n";
        for (rest, expected) in [
            ("AAAA\nAAA*\n-----END CERTIFICATE-----\n", Some(4)),
            ("AAAA\nAAA\n-----END CERTIFICATE-----\n", Some(5)),
            ("AAAA\nAAAA\n", Some(2)),
            ("AAAA\r\nAAA=\r\n-----END CERTIFICATE-----\n", None),
        ] {
            let found = bad_line(format!("{begin}{rest}").as_bytes());
            assert_eq!(found.map(|(line, _)| line), expected, "{rest}");
        }
    }

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
