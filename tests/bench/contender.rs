//! The servers that are measured: how each is started, spoken to and stopped.
//!
//! A server lives as long as its `Server`; when that is dropped the process is
//! ended, politely first. One that does not say where it listens within a
//! minute, or dies, ends the measurement with what it last said.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use crossbeam_channel::{Receiver, unbounded};
use rustix::process::{Pid, Signal, kill_process};
use rustls::ClientConfig;
use rustls::client::Resumption;

use crate::client::{Target, tls_config};
use crate::process;

/// How long a server may take to say where it listens.
const START: Duration = Duration::from_secs(60);
/// How long a server may take to end before it is killed.
const END: Duration = Duration::from_secs(30);

/// What the servers of one run share.
pub struct Yard {
    /// The program under test.
    pub mm4d: PathBuf,
    /// Certificate, key, accounts and logs.
    pub work: PathBuf,
    /// Where the spools are.
    pub spool: PathBuf,
    /// Postfix's configuration directory, if it takes part.
    pub postfix: Option<PathBuf>,
    /// The client's side of TLS.
    pub tls: Arc<ClientConfig>,
    /// The AUTH line of the account.
    pub login: Arc<str>,
}

impl Yard {
    /// Certificate, key and accounts are in `work` already.
    pub fn new(mm4d: PathBuf, work: PathBuf, spool: PathBuf, id: &str, key: &str) -> Self {
        let response = base64::engine::general_purpose::STANDARD.encode(format!("\0{id}\0{key}"));
        Self {
            mm4d,
            work,
            spool,
            postfix: None,
            tls: tls_config(Resumption::disabled()),
            login: format!("AUTH PLAIN {response}\r\n").into(),
        }
    }

    /// Starts mm4d on a spool of this name.
    pub fn mm4d(&self, name: &str) -> io::Result<Server> {
        self.mm4d_at(&self.spool.join(name))
    }

    /// Starts mm4d on this spool.
    pub fn mm4d_at(&self, spool: &Path) -> io::Result<Server> {
        self.start(&self.mm4d, spool)
    }

    /// Starts this build of mm4d on this spool.
    pub fn start(&self, program: &Path, spool: &Path) -> io::Result<Server> {
        let mut command = Command::new(program);
        command
            .args(["-l", "127.0.0.1:0", "-t", "127.0.0.1:0", "-n", "bench"])
            .args([
                "--max-connections",
                "15000",
                "--max-connections-per-ip",
                "15000",
            ])
            .args(["--timeout", "3600"])
            .arg("--cert")
            .arg(self.work.join("server.pem"))
            .arg("--key")
            .arg(self.work.join("server.key"))
            .arg("-a")
            .arg(self.work.join("accounts"))
            .arg("-s")
            .arg(spool);
        Server::start(command, &self.work.join("mm4d.log"), spool, 2)
    }

    /// Starts one of the stubs on a spool of this name.
    pub fn stub(&self, kind: &str) -> io::Result<Server> {
        self.stub_at(kind, &self.spool.join(format!("stub-{kind}")))
    }

    /// Starts one of the stubs on this spool.
    pub fn stub_at(&self, kind: &str, spool: &Path) -> io::Result<Server> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["stub", kind]).arg(spool).arg(&self.work);
        Server::start(command, &self.work.join("stub.log"), spool, 2)
    }

    /// mm4d or a stub as a client meets it, plain.
    pub fn plain(&self, server: &Server) -> Target {
        Target {
            address: server.plain,
            tls: None,
            login: Some(Arc::clone(&self.login)),
            pipelined: false,
            raw: false,
        }
    }

    /// mm4d or a stub over TLS.
    pub fn over_tls(&self, server: &Server) -> Target {
        Target {
            address: server.tls.expect("each server has a TLS listener"),
            tls: Some(Arc::clone(&self.tls)),
            ..self.plain(server)
        }
    }

    /// The same by a client that resumes its sessions.
    pub fn over_resumed_tls(&self, server: &Server) -> Target {
        Target {
            tls: Some(tls_config(Resumption::in_memory_sessions(256))),
            ..self.over_tls(server)
        }
    }
}

/// A running server.
pub struct Server {
    child: Child,
    _input: Option<ChildStdin>,
    /// Where it listens without TLS.
    pub plain: SocketAddr,
    /// Where it listens with TLS.
    pub tls: Option<SocketAddr>,
    /// From the start to the last `listening` line.
    pub started_in: Duration,
    /// Where its mails end up.
    pub mails: PathBuf,
}

impl Server {
    fn start(mut command: Command, log: &Path, spool: &Path, listeners: usize) -> io::Result<Self> {
        fs::create_dir_all(spool)?;
        let log_file = File::options().create(true).append(true).open(log)?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file);
        let begin = Instant::now();
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        let lines = lines_of(child.stdout.take().expect("the output is piped"));
        let mut server = Self {
            child,
            _input: input,
            plain: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            started_in: Duration::ZERO,
            mails: spool.join("new"),
        };
        for _ in 0..listeners {
            let line = lines.recv_timeout(START).map_err(|_| {
                io::Error::other(format!("{command:?} did not start: {}", last_line(log)))
            })?;
            server.listens(&line)?;
        }
        server.started_in = begin.elapsed();
        Ok(server)
    }

    fn listens(&mut self, line: &str) -> io::Result<()> {
        let strange = || io::Error::other(format!("not a listening line: {line}"));
        let (kind, address) = line
            .strip_prefix("listening ")
            .and_then(|rest| rest.split_once(' '))
            .ok_or_else(strange)?;
        let address = address.parse().map_err(|_| strange())?;
        match kind {
            "plain" => self.plain = address,
            "tls" => self.tls = Some(address),
            _ => return Err(strange()),
        }
        Ok(())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self._input = None;
        let pid = Pid::from_child(&self.child);
        // One that has ended already is as good as ended.
        let _ = kill_process(pid, Signal::TERM);
        let deadline = Instant::now() + END;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        eprintln!(
            "process {} did not end on SIGTERM and is killed",
            self.child.id()
        );
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(output: impl io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = unbounded();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Nobody listens after the start.
            let _ = sender.send(line);
        }
    });
    receiver
}

fn last_line(log: &Path) -> String {
    fs::read_to_string(log)
        .unwrap_or_default()
        .lines()
        .last()
        .unwrap_or("it said nothing")
        .to_owned()
}

/// Postfix with a configuration of its own, started and stopped by its own command.
pub struct Postfix {
    configuration: PathBuf,
    /// Where its smtpd listens.
    pub address: SocketAddr,
    /// Where its mails end up.
    pub mails: PathBuf,
    master: u32,
}

impl Postfix {
    /// Starts the instance whose main.cf is in this directory; `address` is in a file beside it.
    pub fn start(configuration: &Path) -> io::Result<Self> {
        let address = fs::read_to_string(configuration.join("address"))?;
        let queue = fs::read_to_string(configuration.join("queue"))?;
        let address = address.trim().parse().map_err(io::Error::other)?;
        say(configuration, "start")?;
        let queue = Path::new(queue.trim());
        let master = fs::read_to_string(queue.join("pid/master.pid"))?;
        Ok(Self {
            configuration: configuration.to_owned(),
            address,
            mails: queue.join("hold"),
            master: master.trim().parse().map_err(io::Error::other)?,
        })
    }

    /// How a client meets it: without a login, which Postfix would need another daemon for.
    pub fn target(&self) -> Target {
        Target {
            address: self.address,
            tls: None,
            login: None,
            pipelined: false,
            raw: false,
        }
    }

    /// The time of all its processes.
    pub fn cpu(&self) -> io::Result<Duration> {
        process::cpu_of_tree(self.master)
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if let Err(error) = say(&self.configuration, "stop") {
            eprintln!("{error}");
        }
    }
}

fn say(configuration: &Path, word: &str) -> io::Result<()> {
    let done = Command::new("postfix")
        .arg("-c")
        .arg(configuration)
        .arg(word)
        .stdin(Stdio::null())
        .output()?;
    if done.status.success() {
        return Ok(());
    }
    io::stderr().write_all(&done.stderr)?;
    Err(io::Error::other(format!("postfix {word} failed")))
}
