//! Servers with just enough SMTP to be compared with.
//!
//! `null` stores nothing: the cost of the dialogue and of loopback. `durable`
//! writes each mail to a file and makes it durable the way mm4d does: the cost
//! of a server without rules. `copy` knows no SMTP at all and copies what a
//! socket brings to files: the cost of moving bytes.
//!
//! One blocking thread a connection, as in mm4d. They check nothing, bound
//! nothing and trust the client; they listen on loopback and are never part of
//! the product. They end when their standard input does.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::limit::{Publisher, Spool, Strategy};

/// The bytes that end a mail; a client in a closed loop sends nothing after them.
const END: &[u8] = b"\r\n.\r\n";

/// Listens on a free loopback port, says which, and serves until standard input ends.
pub fn serve(kind: &str, spool: &Path) -> io::Result<()> {
    let sink = Sink::new(kind, spool)?;
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    listener.listen(1024)?;
    let listener = TcpListener::from(listener);
    println!("listening plain {}", listener.local_addr()?);
    thread::spawn(move || accept(&listener, &sink));
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn accept(listener: &TcpListener, sink: &Sink) {
    for stream in listener.incoming().flatten() {
        let mut sink = sink.clone_for_thread();
        // A client that hangs up in the middle is the load generator's affair.
        thread::spawn(move || stream.set_nodelay(true).and_then(|()| sink.serve(stream)));
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

    fn serve(&mut self, stream: TcpStream) -> io::Result<()> {
        if matches!(self, Self::Copy(_)) {
            return self.copy(stream);
        }
        converse(stream, self)
    }

    /// Mail after mail, without a word between them but `250`.
    fn copy(&mut self, mut stream: TcpStream) -> io::Result<()> {
        let mut buffer = vec![0; 65_536];
        loop {
            let read = stream.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            self.take(&mut stream, &mut buffer, read)?;
            stream.write_all(b"250 copied\r\n")?;
        }
    }

    /// Takes one mail to its end; `filled` bytes of it are in `buffer`.
    fn take(&mut self, stream: &mut TcpStream, buffer: &mut [u8], filled: usize) -> io::Result<()> {
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
    stream: &mut TcpStream,
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

/// One client: commands by their first letter, answers in one write.
fn converse(mut stream: TcpStream, sink: &mut Sink) -> io::Result<()> {
    let mut buffer = vec![0; 65_536];
    let mut replies = Vec::with_capacity(256);
    stream.write_all(b"220 stub\r\n")?;
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
        stream.write_all(&replies)?;
        if buffer[0] == b'Q' {
            return Ok(());
        }
        if data {
            let filled = stream.read(&mut buffer)?;
            sink.take(&mut stream, &mut buffer, filled)?;
            stream.write_all(b"250 queued\r\n")?;
        }
    }
}
