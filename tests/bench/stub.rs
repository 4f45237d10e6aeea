//! Servers with just enough SMTP to be compared with.
//!
//! `null` stores nothing: the cost of the dialogue and of loopback. `durable`
//! writes each mail to a file and makes it durable the way mm4d does: the cost
//! of a server without rules. `copy` knows no SMTP at all and copies what a
//! socket brings to files: the cost of moving bytes.
//!
//! Each listens without TLS and with rustls' own blocking stream, which resumes
//! sessions by tickets. One blocking thread a connection, as in mm4d. They check nothing, bound
//! nothing and trust the client; they listen on loopback and are never part of
//! the product. They end when their standard input does.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::limit::{Publisher, Spool, Strategy};

/// The bytes that end a mail; a client in a closed loop sends nothing after them.
const END: &[u8] = b"\r\n.\r\n";

/// Listens on two free loopback ports, says which, and serves until standard input ends.
/// The certificate and its key are in `work`.
pub fn serve(kind: &str, spool: &Path, work: &Path) -> io::Result<()> {
    let sink = Sink::new(kind, spool)?;
    for (name, tls) in [("plain", None), ("tls", Some(tls_config(work)?))] {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        listener.listen(1024)?;
        let listener = TcpListener::from(listener);
        println!("listening {name} {}", listener.local_addr()?);
        let sink = sink.clone_for_thread();
        thread::spawn(move || accept(&listener, &sink, tls.as_ref()));
    }
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// As mm4d's: TLS 1.2 and 1.3, one ticket, the state in it.
fn tls_config(work: &Path) -> io::Result<Arc<ServerConfig>> {
    let read = "the files of the bench are PEM";
    let chain = CertificateDer::pem_file_iter(work.join("server.pem"))
        .expect(read)
        .collect::<Result<_, _>>()
        .expect(read);
    let key = PrivateKeyDer::from_pem_file(work.join("server.key")).expect(read);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
        .map_err(io::Error::other)?;
    config.send_tls13_tickets = 1;
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(io::Error::other)?;
    Ok(Arc::new(config))
}

fn accept(listener: &TcpListener, sink: &Sink, tls: Option<&Arc<ServerConfig>>) {
    for stream in listener.incoming().flatten() {
        let mut sink = sink.clone_for_thread();
        let tls = tls.cloned();
        // A client that hangs up in the middle is the load generator's affair.
        thread::spawn(move || -> io::Result<()> {
            stream.set_nodelay(true)?;
            match tls {
                None => sink.serve(stream),
                Some(config) => {
                    let tls = ServerConnection::new(config).map_err(io::Error::other)?;
                    sink.serve(StreamOwned::new(tls, stream))
                }
            }
        });
    }
}

/// What becomes of a mail.
enum Sink {
    Null,
    Durable(Arc<Spool>, Publisher),
    Copy(Arc<(std::path::PathBuf, AtomicU64)>),
}

impl Sink {
    fn new(kind: &str, spool: &Path) -> io::Result<Self> {
        match kind {
            "null" => Ok(Self::Null),
            "durable" => {
                let spool = Arc::new(Spool::create(spool, Strategy::Grouped)?);
                let publisher = spool.publisher();
                Ok(Self::Durable(spool, publisher))
            }
            "copy" => {
                std::fs::create_dir_all(spool.join("new"))?;
                Ok(Self::Copy(Arc::new((spool.join("new"), AtomicU64::new(0)))))
            }
            _ => Err(io::Error::other(format!("no stub is called {kind}"))),
        }
    }

    fn clone_for_thread(&self) -> Self {
        match self {
            Self::Null => Self::Null,
            Self::Durable(spool, _) => Self::Durable(Arc::clone(spool), spool.publisher()),
            Self::Copy(place) => Self::Copy(Arc::clone(place)),
        }
    }

    fn serve(&mut self, stream: impl Read + Write) -> io::Result<()> {
        if matches!(self, Self::Copy(_)) {
            return self.copy(stream);
        }
        converse(stream, self)
    }

    /// Mail after mail, without a word between them but `250`.
    fn copy(&mut self, mut stream: impl Read + Write) -> io::Result<()> {
        let mut buffer = vec![0; 65_536];
        loop {
            let read = stream.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            self.take(&mut stream, &mut buffer, read)?;
            say(&mut stream, b"250 copied\r\n")?;
        }
    }

    /// Takes one mail to its end; `filled` bytes of it are in `buffer`.
    fn take(&mut self, stream: &mut impl Read, buffer: &mut [u8], filled: usize) -> io::Result<()> {
        match self {
            Self::Null => drain(stream, buffer, filled, &mut io::sink()),
            Self::Durable(_, publisher) => {
                let mut draft = publisher.draft()?;
                drain(stream, buffer, filled, &mut draft.file)?;
                publisher.publish(draft)
            }
            Self::Copy(place) => {
                let count = place.1.fetch_add(1, Ordering::Relaxed);
                let mut file = File::create_new(place.0.join(format!("{count}.eml")))?;
                drain(stream, buffer, filled, &mut file)
            }
        }
    }
}

/// Copies what is read until the end of the mail has been.
fn drain(
    stream: &mut impl Read,
    buffer: &mut [u8],
    mut filled: usize,
    to: &mut impl Write,
) -> io::Result<()> {
    let mut tail = [0; END.len()];
    loop {
        to.write_all(&buffer[..filled])?;
        keep_tail(&mut tail, &buffer[..filled]);
        if tail == END {
            return Ok(());
        }
        filled = stream.read(buffer)?;
        if filled == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The last bytes of all that were read.
fn keep_tail(tail: &mut [u8; END.len()], read: &[u8]) {
    let kept = END.len().saturating_sub(read.len());
    tail.rotate_left(END.len() - kept);
    tail[kept..].copy_from_slice(&read[read.len() - (END.len() - kept)..]);
}

fn say(stream: &mut impl Write, reply: &[u8]) -> io::Result<()> {
    stream.write_all(reply)?;
    stream.flush()
}

/// One client: commands by their first letter, answers in one write.
fn converse(mut stream: impl Read + Write, sink: &mut Sink) -> io::Result<()> {
    let mut buffer = vec![0; 65_536];
    let mut replies = Vec::with_capacity(256);
    say(&mut stream, b"220 stub\r\n")?;
    loop {
        let filled = stream.read(&mut buffer)?;
        if filled == 0 {
            return Ok(());
        }
        replies.clear();
        let mut data = false;
        for line in buffer[..filled].split_inclusive(|&byte| byte == b'\n') {
            replies.extend_from_slice(match line[0] {
                b'E' => b"250-stub\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n",
                b'A' => b"235 ok\r\n",
                b'D' => b"354 go on\r\n",
                b'Q' => b"221 bye\r\n",
                _ => b"250 ok\r\n".as_slice(),
            });
            data |= line[0] == b'D';
        }
        say(&mut stream, &replies)?;
        if buffer[0] == b'Q' {
            return Ok(());
        }
        if data {
            let filled = stream.read(&mut buffer)?;
            sink.take(&mut stream, &mut buffer, filled)?;
            say(&mut stream, b"250 queued\r\n")?;
        }
    }
}
