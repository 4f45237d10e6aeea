//! A real mm4d in a directory of its own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use super::{ACCOUNTS, DEADLINE, guard, wait_for};

/// Threads of a server with two listeners and no client: the supervisor, the
/// signals, the log, the writer, and one for each listener.
pub const THREADS_AT_REST: usize = 6;

/// Says how a server is to be started.
pub struct Builder {
    dir: TempDir,
    options: Vec<String>,
    spool: Option<PathBuf>,
    env: Vec<(String, String)>,
    descriptors: Option<u64>,
    wrapper: Vec<String>,
    hostname: String,
    unread_log: bool,
    owner: Option<u32>,
    pem: Option<(PathBuf, PathBuf)>,
}

/// A running server; killed when it is dropped.
pub struct Server {
    /// Where its files are.
    pub dir: TempDir,
    /// The Maildir.
    pub spool: PathBuf,
    /// The plain listener.
    pub plain: SocketAddr,
    /// The TLS listener.
    pub tls: SocketAddr,
    /// What the server's certificate is signed by.
    pub ca: CertificateDer<'static>,
    command: Command,
    unread_log: bool,
    child: Option<Child>,
}

impl Builder {
    /// A server with the tests' accounts, a new certificate, and two listeners
    /// on free ports of 127.0.0.1, named `test.example`.
    pub fn new() -> Builder {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("accounts"), ACCOUNTS).unwrap();
        Builder {
            dir,
            options: Vec::new(),
            spool: None,
            env: Vec::new(),
            descriptors: None,
            wrapper: Vec::new(),
            hostname: "test.example".to_owned(),
            unread_log: false,
            owner: None,
            pem: None,
        }
    }

    /// Gives the accounts, the certificate and the key to this user.
    pub fn owner(mut self, uid: u32) -> Builder {
        self.owner = Some(uid);
        self
    }

    /// Uses this certificate and key, and makes none.
    pub fn pem(mut self, cert: &Path, key: &Path) -> Builder {
        self.pem = Some((cert.to_owned(), key.to_owned()));
        self
    }

    /// Adds options of the command line.
    pub fn options<'a>(mut self, options: impl IntoIterator<Item = &'a str>) -> Builder {
        self.options.extend(options.into_iter().map(str::to_owned));
        self
    }

    /// Logs into a pipe that nobody reads.
    pub fn unread_log(mut self) -> Builder {
        self.unread_log = true;
        self
    }

    /// Gives it another name than `test.example`.
    pub fn hostname(mut self, hostname: &str) -> Builder {
        self.hostname = hostname.to_owned();
        self
    }

    /// Spools elsewhere.
    pub fn spool(mut self, spool: &Path) -> Builder {
        self.spool = Some(spool.to_owned());
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Builder {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Limits the server's file descriptors, soft and hard.
    pub fn descriptors(mut self, limit: u64) -> Builder {
        self.descriptors = Some(limit);
        self
    }

    /// Runs it by another program, such as a tracer.
    pub fn wrapper<'a>(mut self, wrapper: impl IntoIterator<Item = &'a str>) -> Builder {
        self.wrapper = wrapper.into_iter().map(str::to_owned).collect();
        self
    }

    /// Starts it and waits for its listeners.
    pub fn start(self) -> Server {
        let ca = make_certificate(self.dir.path());
        self.give_away();
        let spool = self
            .spool
            .clone()
            .unwrap_or_else(|| self.dir.path().join("spool"));
        let command = self.command(&spool);
        let mut server = Server {
            dir: self.dir,
            spool,
            plain: UNKNOWN,
            tls: UNKNOWN,
            ca,
            command,
            unread_log: self.unread_log,
            child: None,
        };
        server.spawn();
        server
    }

    /// Runs a server that must not come up: its exit status and standard error.
    pub fn fail(self) -> (Option<i32>, String) {
        if !self.dir.path().join("server.pem").exists() {
            make_certificate(self.dir.path());
        }
        self.give_away();
        let spool = self
            .spool
            .clone()
            .unwrap_or_else(|| self.dir.path().join("spool"));
        let mut command = self.command(&spool);
        let mut child = command
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + DEADLINE;
        // One that starts after all must not keep the test waiting.
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    }

    fn give_away(&self) {
        for name in ["accounts", "server.pem", "server.key"] {
            if let Some(uid) = self.owner {
                chown(self.dir.path().join(name), Some(uid), None).unwrap();
            }
        }
    }

    /// Begins to start it, and does not wait for anything.
    pub fn spawn(&self) -> Child {
        let log = File::create(self.dir.path().join("log")).unwrap();
        let spool = self.dir.path().join("spool");
        self.command(&spool).stderr(log).spawn().unwrap()
    }

    /// The directory that it will have, for files to be put into.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, spool: &Path) -> Command {
        let dir = self.dir.path();
        let own = || (dir.join("server.pem"), dir.join("server.key"));
        let (cert, key) = self.pem.clone().unwrap_or_else(own);
        let mut command = match self.descriptors {
            Some(limit) => {
                let mut command = Command::new("sh");
                let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
                command.arg("-c").arg(script);
                command.arg(env!("CARGO_BIN_EXE_mm4d"));
                command
            }
            None => match self.wrapper.split_first() {
                Some((program, arguments)) => {
                    let mut command = Command::new(program);
                    command.args(arguments).arg(env!("CARGO_BIN_EXE_mm4d"));
                    command
                }
                None => Command::new(env!("CARGO_BIN_EXE_mm4d")),
            },
        };
        command
            .args(["--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0"])
            .args(["--hostname", &self.hostname])
            .arg("--cert")
            .arg(cert)
            .arg("--key")
            .arg(key)
            .arg("--accounts")
            .arg(dir.join("accounts"))
            .arg("--spool")
            .arg(spool)
            .args(&self.options)
            .env("RUST_LOG", "debug")
            .envs(self.env.clone())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }
}

/// Where a server listens before it has said so.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Server {
    /// A server as it comes.
    pub fn start() -> Server {
        Builder::new().start()
    }

    /// Starts it, and waits for its listeners; the log goes on where it was.
    fn spawn(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        let stderr = if self.unread_log {
            Stdio::piped()
        } else {
            log.into()
        };
        let mut child = guard::spawn(self.command.stderr(stderr)).unwrap();
        let stdout = child.stdout.take().unwrap();
        self.child = Some(child);
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let address = |kind: &str| -> SocketAddr {
            let line = lines
                .recv_timeout(DEADLINE)
                .unwrap_or_else(|_| panic!("no line for the {kind} listener"));
            let prefix = format!("listening {kind} ");
            line.strip_prefix(&prefix).unwrap().parse().unwrap()
        };
        self.plain = address("plain");
        self.tls = address("tls");
    }

    /// Kills it as a power cut would, and starts it again on the same spool.
    pub fn crash_and_restart(&mut self) {
        self.crash();
        self.spawn();
    }

    /// Kills it as a power cut would.
    pub fn crash(&mut self) {
        if let Some(mut child) = self.child.take() {
            guard::kill(&mut child);
        }
    }

    /// Starts it again, once it has ended.
    pub fn start_again(&mut self) {
        self.spawn();
    }

    /// The pipe of a log that is not read yet.
    pub fn stderr(&mut self) -> std::process::ChildStderr {
        self.child.as_mut().unwrap().stderr.take().unwrap()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Its private memory now, in bytes.
    pub fn private_memory(&self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.pid());
        fs::read_to_string(path)
            .unwrap()
            .lines()
            .filter(|line| line.starts_with("Private_"))
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .sum::<u64>()
            * 1024
    }

    /// Its open file descriptors now.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }

    /// Its threads now.
    pub fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid()))
            .unwrap()
            .count()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        guard::signal(self.pid(), name);
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let child = self.child.as_mut().unwrap();
        wait_for("the server's end", || child.try_wait().unwrap())
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Waits until `text` is in the log.
    pub fn wait_for_log(&self, text: &str) {
        wait_for(&format!("{text:?} in the log"), || {
            self.log().contains(text).then_some(())
        });
    }

    /// The names of the files in a folder of the spool, in order.
    pub fn names(&self, folder: &str) -> Vec<String> {
        names(&self.spool.join(folder))
    }

    /// The file of a mail, by the id in its 250.
    pub fn mail(&self, id: &str) -> Vec<u8> {
        fs::read(self.spool.join("new").join(format!("{id}.eml"))).unwrap()
    }

    /// The client's bytes in the file of a mail: what follows the trace.
    pub fn content(&self, id: &str) -> Vec<u8> {
        content(&self.mail(id))
    }
}

/// The names of the files in `directory`, in order.
pub fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What follows the trace: it ends with the line that follows `Received:`.
pub fn content(mail: &[u8]) -> Vec<u8> {
    let text = b"\r\nReceived: ";
    let received = mail
        .windows(text.len())
        .position(|window| window == text)
        .unwrap()
        + 2;
    let line = |from: usize| {
        let end = mail[from..].windows(2).position(|two| two == b"\r\n");
        from + end.unwrap() + 2
    };
    mail[line(line(received))..].to_vec()
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // The whole group: a killed tracer leaves what it traces running.
            guard::kill(child);
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(40)..];
            eprintln!("--- the end of the server's log\n{}", last.join("\n"));
        }
    }
}

/// Writes server.pem and server.key into `dir`, signed by a new CA.
pub fn make_certificate(dir: &Path) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &ca)
        .unwrap();
    write(dir, &certificate, &key);
    ca.der().clone()
}

/// Writes a self-signed server.pem that expires when `year` begins, and its server.key.
pub fn make_certificate_until(dir: &Path, year: i32) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let key = KeyPair::generate().unwrap();
    write(dir, &params.self_signed(&key).unwrap(), &key);
}

fn write(dir: &Path, certificate: &Certificate, key: &KeyPair) {
    fs::write(dir.join("server.pem"), certificate.pem()).unwrap();
    fs::write(dir.join("server.key"), key.serialize_pem()).unwrap();
}
