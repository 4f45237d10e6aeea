//! The server under a service manager: sd_notify(3), and listeners that it is given.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use mm4d::server::accounts::Accounts;
use mm4d::server::inherited::Inherited;
use mm4d::server::listener::Listener;
use mm4d::server::shared::{Clocks, Shared};
use mm4d::server::slots::Slots;
use mm4d::smtp::{Addresses, Limits, Policy};
use mm4d::spool::maildir::Maildir;
use mm4d::spool::{Reserve, Spool};
use support::guard::{self, Stop};
use support::{
    ACCOUNTS, Builder, Client, DEADLINE, make_certificate, names, plain_response, wait_for,
};
use tempfile::TempDir;

/// A service manager that waits for one message after the other.
struct Manager(UnixDatagram);

impl Manager {
    fn at(dir: &Path) -> (Manager, String) {
        let path = dir.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        (Manager(socket), path.to_str().unwrap().to_owned())
    }

    fn message(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).expect("a message");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// The first message that begins like this; those before it are lost.
    fn wait_for(&self, what: &str) -> String {
        wait_for(what, || {
            let message = self.message();
            message.contains(what).then_some(message)
        })
    }
}

#[test]
fn the_service_manager_learns_of_start_reload_clients_and_stop() {
    let builder = Builder::new();
    let (manager, socket) = Manager::at(builder.path());
    let builder = builder.env("NOTIFY_SOCKET", &socket);
    let mut server = builder.env("WATCHDOG_USEC", "200000").start();
    assert_eq!(manager.message(), "READY=1");
    let alive = manager.wait_for("STATUS=");
    assert_eq!(
        alive,
        "WATCHDOG=1\nSTATUS=connections 0 (plain 0, TLS 0), messages 0"
    );

    let mut client = Client::logged_in(&server, true);
    client.deliver(b"a\r\n");
    manager.wait_for("WATCHDOG=1\nSTATUS=connections 1 (plain 0, TLS 1), messages 1");

    server.signal("HUP");
    let reloading = manager.wait_for("RELOADING=1\nMONOTONIC_USEC=");
    let (_, time) = reloading.rsplit_once('=').unwrap();
    assert!(time.parse::<u64>().unwrap() > 0, "{reloading}");
    manager.wait_for("READY=1");
    server.wait_for_log("reloaded accounts");

    // It goes on while a message in progress holds the shutdown up.
    client.command("MAIL FROM:<>", 250);
    client.command("RCPT TO:<123@test.example>", 250);
    client.command("DATA", 354);
    server.signal("TERM");
    let stopping = manager.wait_for("STOPPING=1\n");
    assert!(
        stopping.contains("\nEXTEND_TIMEOUT_USEC=45000000\n"),
        "{stopping}"
    );
    manager.wait_for("WATCHDOG=1");
    client.send(b"b\r\n.\r\n");
    client.expect(250);
    assert!(server.wait().success());
}

#[test]
fn a_name_in_the_abstract_namespace_is_reached_too() {
    let name = format!("mm4d-test-{}", std::process::id());
    let address = UnixAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let builder = Builder::new().env("NOTIFY_SOCKET", &format!("@{name}"));
    let builder = builder.env("WATCHDOG_USEC", "200000");
    let _server = builder.env("WATCHDOG_PID", "1").start();
    let manager = Manager(socket);
    assert_eq!(manager.message(), "READY=1");
    // Another process's watchdog; the socket works in the sandbox.
    let status = manager.message();
    assert!(status.starts_with("STATUS=connections 0 "), "{status}");
}

/// systemd waits for READY=1, and ends a service that does not send it.
#[test]
fn a_service_manager_that_did_not_read_for_a_while_learns_that_the_server_is_ready() {
    let builder = Builder::new();
    let (manager, socket) = Manager::at(builder.path());
    let filler = UnixDatagram::unbound().unwrap();
    filler.connect(&socket).unwrap();
    filler.set_nonblocking(true).unwrap();
    let sent = (0..100_000).take_while(|_| filler.send(b"x").is_ok());
    assert!(sent.count() < 100_000, "a socket that is never full");
    let server = builder.env("NOTIFY_SOCKET", &socket).start();
    // The thread that logs this has tried to report before.
    server.signal("USR1");
    server.wait_for_log("status uptime_seconds=");
    manager.wait_for("READY=1");
}

#[test]
fn a_service_manager_that_is_not_there_is_a_warning() {
    let server = Builder::new()
        .env("NOTIFY_SOCKET", "/nowhere/notify")
        .start();
    server.wait_for_log("cannot report to the service manager");
    Client::greeted(&server, false).command("QUIT", 221);
}

/// A server with sockets from its parent, in a directory of its own.
struct Activated {
    dir: TempDir,
    sockets: Vec<OwnedFd>,
    names: &'static str,
    options: Vec<String>,
}

impl Activated {
    fn new(names: &'static str, sockets: Vec<OwnedFd>) -> Activated {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("accounts"), ACCOUNTS).unwrap();
        make_certificate(dir.path());
        Activated {
            dir,
            sockets,
            names,
            options: Vec::new(),
        }
    }

    fn options(mut self, options: &[&str]) -> Activated {
        self.options = options.iter().map(|text| (*text).to_owned()).collect();
        self
    }

    /// The sockets are standard input and output, and become 3 and 4.
    fn spawn(&self) -> Child {
        let script = "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\"";
        let stream = |index: usize| match self.sockets.get(index) {
            Some(socket) => Stdio::from(socket.try_clone().unwrap()),
            None => Stdio::null(),
        };
        let path = self.dir.path().join("log");
        let log = File::options().create(true).append(true).open(path);
        let mut command = Command::new("sh");
        command
            .args(["-c", script, env!("CARGO_BIN_EXE_mm4d")])
            .args(["--hostname", "test.example", "--cert", "server.pem"])
            .args(["--key", "server.key"])
            .args(&self.options)
            .env("LISTEN_FDS", self.sockets.len().to_string())
            .env("LISTEN_FDNAMES", self.names)
            .current_dir(&self.dir)
            .stdin(stream(0))
            .stdout(stream(1))
            .stderr(log.unwrap());
        guard::spawn(&mut command).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn end(&self, child: &mut Child) -> i32 {
        let status = wait_for("the end", || child.try_wait().unwrap());
        guard::release(child.id());
        status.code().unwrap()
    }

    /// What it says when it does not start.
    fn error(&self) -> String {
        let mut child = self.spawn();
        assert_eq!(self.end(&mut child), 1, "{}", self.log());
        self.log()
    }
}

fn listener() -> (OwnedFd, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener.into(), address)
}

/// One mail in a connection of its own. The id, unless the server said that it
/// shuts down; an error if it did not answer at all.
fn deliver(address: SocketAddr) -> io::Result<Option<String>> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut replies = BufReader::new(stream.try_clone()?).lines();
    let mut reply = || -> io::Result<String> {
        loop {
            let line = replies.next().ok_or(io::ErrorKind::UnexpectedEof)??;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line);
            }
        }
    };
    let auth = format!("AUTH PLAIN {}", plain_response());
    let mut last = reply()?;
    for command in [
        "EHLO client.example",
        &auth,
        "MAIL FROM:<>",
        "RCPT TO:<123@test.example>",
        "DATA",
        "a mail\r\n.",
    ] {
        if last.starts_with("421 ") {
            return Ok(None);
        }
        // What is written after a 421 may fail; the 421 can be read all the same.
        let _ = stream.write_all(format!("{command}\r\n").as_bytes());
        last = reply()?;
    }
    let id = last.strip_prefix("250 queued as <");
    Ok(id.map(|id| id.trim_end_matches('>').to_owned()))
}

#[test]
fn no_connection_is_refused_while_a_server_with_inherited_sockets_is_restarted() {
    let (plain, plain_address) = listener();
    let (tls, tls_address) = listener();
    let server = Activated::new("plain:tls", vec![plain, tls]);
    let (stop, ids) = (Stop::after(20_000), Mutex::new(Vec::new()));
    let count = || ids.lock().unwrap().len();
    thread::scope(|scope| {
        let _guard = stop.guard();
        let load = || {
            while stop.one_more() {
                let id = deliver(plain_address).expect("an answer");
                ids.lock().unwrap().extend(id);
                let handshake = TcpStream::connect_timeout(&tls_address, DEADLINE);
                drop(handshake.expect("a connection"));
            }
        };
        let mut child = server.spawn();
        let senders: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
        for _ in 0..5 {
            let before = count();
            wait_for("mails", || {
                assert!(!senders.iter().any(|sender| sender.is_finished()));
                (count() > before + 10).then_some(())
            });
            guard::signal(child.id(), "TERM");
            assert_eq!(server.end(&mut child), 0, "{}", server.log());
            // It waits until there is a server again.
            let waiting = scope.spawn(|| deliver(plain_address));
            wait_for("a connection", || TcpStream::connect(plain_address).ok());
            child = server.spawn();
            assert!(waiting.join().unwrap().unwrap().is_some());
        }
        stop.stop();
        for sender in senders {
            sender.join().unwrap();
        }
        guard::signal(child.id(), "TERM");
        assert_eq!(server.end(&mut child), 0, "{}", server.log());
    });
    let spooled = names(&server.dir.path().join("spool/new"));
    for id in ids.into_inner().unwrap() {
        assert!(spooled.contains(&format!("{id}.eml")), "{id} is lost");
    }
}

/// What a server with its files in `dir` shares.
fn shared(dir: &Path) -> Shared {
    let accounts = dir.join("accounts");
    fs::write(&accounts, ACCOUNTS).unwrap();
    let maildir = Maildir::open(&dir.join("spool"), "test.example").unwrap();
    let reserve = Reserve {
        max_message_size: 1,
        min_free: 0,
    };
    let (spool, _) = Spool::new(maildir, "test.example", reserve);
    let policy = Policy {
        hostname: "test.example".to_owned(),
        addresses: Addresses::E164,
        limits: Limits::default(),
    };
    let clocks = Clocks {
        login_timeout: Duration::from_secs(60),
        timeout: Duration::from_secs(60),
        min_rate: 0,
    };
    let accounts = Accounts::load(&accounts).unwrap();
    Shared::new(policy, Arc::new(spool), clocks, accounts, None).unwrap()
}

#[test]
fn clients_in_the_backlog_of_an_inherited_socket_wait_for_the_next_server() {
    let dir = tempfile::tempdir().unwrap();
    let shared = Arc::new(shared(dir.path()));
    let slots = Slots::new(1, 1, crossbeam_channel::unbounded().0);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    let inherited = Inherited {
        tls: false,
        address,
        socket: socket.try_clone().unwrap(),
    };
    let client = TcpStream::connect(address).unwrap();
    shared.stop.end_listeners();
    Listener::inherit(inherited, &[]).run(&shared, &slots);
    let (_, peer) = socket.accept().expect("the client is still there");
    assert_eq!(peer, client.local_addr().unwrap());
}

#[test]
fn an_inherited_socket_replaces_the_listener_with_its_address_alone() {
    let (plain, address) = listener();
    let port = address.port();
    let listen = format!("localhost:{port}");
    let options = ["--listen", "127.0.0.1:0", "--listen", &listen];
    let server = Activated::new("plain", vec![plain]).options(&options);
    // Without a TLS listener the key is not read.
    fs::remove_file(server.dir.path().join("server.key")).unwrap();
    let mut child = server.spawn();
    assert!(deliver(address).unwrap().is_some());
    guard::kill(&mut child);
}

#[test]
fn an_inherited_socket_that_no_option_names_is_an_error() {
    let (plain, address) = listener();
    let options = ["--tls-listen", "127.0.0.1:0"];
    let error = Activated::new("plain", vec![plain])
        .options(&options)
        .error();
    let expected = format!(
        "mm4d: cannot use the socket 'plain' of the service manager: it is bound to {address}, \
         which no --listen names; give --listen {address}, or no listener at all\n"
    );
    assert!(error.ends_with(&expected), "{error}");
}

#[test]
fn what_is_no_listener_of_the_service_manager_is_an_error_that_names_it() {
    let tcp = || listener().0;
    let udp = || OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    let file = || OwnedFd::from(File::open("/dev/null").unwrap());
    let connected = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        OwnedFd::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap())
    };
    for (names, sockets, expected) in [
        (
            "smtp",
            vec![tcp()],
            "the socket 'smtp' of the service manager: its name is not known; name it plain or tls",
        ),
        ("mm4d.socket", vec![tcp()], "the socket 'mm4d.socket'"),
        (
            "plain",
            vec![tcp(), tcp()],
            "LISTEN_FDNAMES has 1 names for 2 sockets",
        ),
        ("", vec![tcp()], "LISTEN_FDNAMES has 0 names for 1 sockets"),
        (
            "plain",
            vec![udp()],
            "the socket 'plain' of the service manager: fd 3 is not a valid tcp socket; expected a TCP socket that listens",
        ),
        (
            "plain:tls",
            vec![tcp(), file()],
            "the socket 'tls' of the service manager: fd 4 is not a socket",
        ),
        (
            "tls",
            vec![connected()],
            "the socket 'tls' of the service manager: it does not listen",
        ),
    ] {
        let server = Activated::new(names, sockets);
        let error = server.error();
        assert!(error.contains(expected), "{names}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn sockets_of_another_process_are_not_taken() {
    let builder = Builder::new().env("LISTEN_FDS", "1");
    let server = builder.env("LISTEN_PID", "1").start();
    Client::greeted(&server, false).command("QUIT", 221);
}
