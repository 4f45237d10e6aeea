//! Good and bad clients together, for a few hundred mails here, for minutes by
//! `scripts/soak.sh`. A consumer takes the mails out of new/ as they come. At
//! the end every acknowledged mail has been there, none twice, and the server
//! has the threads, descriptors and memory that it had at rest.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use support::guard::{self, Stop};
use support::server::THREADS_AT_REST;
use support::{Builder, Client, DEADLINE, Server, content, plain_response, wait_for, wire};

/// Mails after which a run without a duration ends.
const MAILS: usize = 400;
/// Good clients of each kind.
const GOOD: usize = 4;
/// Between two deeds of a client: the server is to be busy, not starved of the
/// processor by its tests.
const PACE: Duration = Duration::from_millis(50);

/// What the clients have done.
struct Ledger {
    /// The id of each 250, and the mark of its mail.
    acknowledged: Mutex<HashMap<String, String>>,
    /// How often each mark has been found in new/.
    found: Mutex<HashMap<String, (String, usize)>>,
    number: AtomicUsize,
    bad: AtomicUsize,
    stop: Stop,
}

impl Ledger {
    fn stopped_after(mails: usize) -> Ledger {
        Ledger {
            acknowledged: Mutex::default(),
            found: Mutex::default(),
            number: AtomicUsize::default(),
            bad: AtomicUsize::default(),
            stop: Stop::after(mails),
        }
    }

    fn goes_on(&self) -> bool {
        self.stop.goes_on()
    }

    /// A mail like no other: its first line is its mark.
    fn mail(&self, size: usize) -> (String, Vec<u8>) {
        self.stop.one_more();
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let mark = format!("Subject: mail {number} of {size} lines");
        let mut mail = format!("{mark}\r\n\r\n").into_bytes();
        mail.extend(b".dots and lines\r\n".repeat(size));
        mail.extend_from_slice(format!("the end of {number}\r\n").as_bytes());
        (mark, mail)
    }

    /// Notes a 250, and rests.
    fn acknowledge(&self, id: String, mark: String) {
        thread::sleep(PACE);
        let twice = self.acknowledged.lock().unwrap().insert(id, mark);
        assert!(twice.is_none(), "one id for two mails");
    }
}

#[test]
fn good_and_bad_clients_together_lose_nothing_and_leave_nothing() {
    let minutes = std::env::var("MM4D_SOAK_MINUTES")
        .ok()
        .map(|text| Duration::from_secs(60 * text.parse::<u64>().expect("MM4D_SOAK_MINUTES")));
    let server = Builder::new()
        .env("RUST_LOG", "warn")
        .options(["--max-connections-per-ip", "500", "--timeout", "10"])
        .options(["--login-timeout", "10", "--max-message-size", "200000"])
        .start();
    let longest = minutes.unwrap_or_default();
    guard::limit(longest + guard::LIMIT);
    // Four clients of each kind rest between mails: 320 mails a second at most.
    let seconds = usize::try_from(longest.as_secs()).unwrap();
    let ledger = Ledger::stopped_after(20 * MAILS + 400 * seconds);
    thread::scope(|scope| {
        let _guard = ledger.stop.guard();
        let clients: [fn(&Server, &Ledger); 4] = [kept, one_mail_each, pipelined, kept_over_tls];
        for client in clients {
            for _ in 0..GOOD {
                let (server, ledger) = (&server, &ledger);
                scope.spawn(move || client(server, ledger));
            }
        }
        let bad: [fn(&Server); 9] = [
            garbage,
            wrong_keys,
            smuggler,
            too_big,
            gone_in_the_middle,
            half_handshake,
            slow_login,
            silent_reader,
            reload,
        ];
        for client in bad {
            let (server, ledger) = (&server, &ledger);
            scope.spawn(move || {
                while ledger.goes_on() {
                    client(server);
                    ledger.bad.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(PACE);
                }
            });
        }
        scope.spawn(|| consume(&server, &ledger));
        supervise(&server, &ledger, minutes);
    });
    wait_for("the last session's end", || {
        (server.threads() == THREADS_AT_REST).then_some(())
    });
    check(&server, &ledger);
}

/// Waits for the end of the run, and looks at what the server takes meanwhile.
fn supervise(server: &Server, ledger: &Ledger, minutes: Option<Duration>) {
    let begin = Instant::now();
    let mut first = None;
    let mut shown = Instant::now();
    let over = || match minutes {
        Some(minutes) => begin.elapsed() >= minutes,
        None => {
            let mails = ledger.acknowledged.lock().unwrap().len();
            mails >= MAILS && ledger.bad.load(Ordering::Relaxed) >= 30
        }
    };
    let mut last = 0;
    while !over() {
        assert!(ledger.goes_on(), "more mails than there may be");
        thread::sleep(Duration::from_millis(50));
        if shown.elapsed() >= Duration::from_secs(10) {
            shown = Instant::now();
            last = server.private_memory();
            // What the first minute has warmed up is what there should be.
            if begin.elapsed() >= Duration::from_secs(60) {
                first.get_or_insert(last);
            }
            eprintln!(
                "{:4} s: {} mails, {} bad clients, {} threads, {} descriptors, {} KiB",
                begin.elapsed().as_secs(),
                ledger.acknowledged.lock().unwrap().len(),
                ledger.bad.load(Ordering::Relaxed),
                server.threads(),
                server.descriptors(),
                last / 1024
            );
        }
    }
    ledger.stop.stop();
    if let Some(first) = first {
        assert!(last < first + (16 << 20), "memory grows: {first} to {last}");
    }
}

fn check(server: &Server, ledger: &Ledger) {
    let found = ledger.found.lock().unwrap();
    let acknowledged = ledger.acknowledged.lock().unwrap();
    for (id, mark) in acknowledged.iter() {
        let (file, times) = found
            .get(mark)
            .unwrap_or_else(|| panic!("{id} is acknowledged and lost: {mark}"));
        assert_eq!((file, *times), (&format!("{id}.eml"), 1), "{mark}");
    }
    for (mark, (_, times)) in found.iter() {
        assert_eq!(*times, 1, "{mark} is there twice");
    }
    assert!(server.names("tmp").is_empty());
    assert!(!server.log().contains("panicked"));
    eprintln!(
        "{} mails acknowledged, each found once; {} bad clients",
        acknowledged.len(),
        ledger.bad.load(Ordering::Relaxed)
    );
}

/// Takes mails out of new/ as a consumer does, until all clients have ended and
/// nothing is left.
fn consume(server: &Server, ledger: &Ledger) {
    loop {
        let last = !ledger.goes_on() && server.threads() == THREADS_AT_REST;
        for name in server.names("new") {
            if !name.starts_with('.') {
                take(&server.spool.join("new").join(&name), &name, ledger);
            }
        }
        if last {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn take(path: &Path, name: &str, ledger: &Ledger) {
    let content = content(&fs::read(path).unwrap());
    fs::remove_file(path).unwrap();
    let text = String::from_utf8(content).unwrap();
    let mark = text.lines().next().unwrap().to_owned();
    assert!(
        text.ends_with("\r\n") && text.contains("the end of "),
        "{name} is in part"
    );
    let mut found = ledger.found.lock().unwrap();
    found.entry(mark).or_insert((name.to_owned(), 0)).1 += 1;
}

fn kept(server: &Server, ledger: &Ledger) {
    while ledger.goes_on() {
        let mut client = Client::logged_in(server, false);
        for size in [1, 10, 100, 1000] {
            let (mark, mail) = ledger.mail(size);
            ledger.acknowledge(client.deliver(&mail), mark);
        }
        client.command("QUIT", 221);
        client.expect_close();
    }
}

fn kept_over_tls(server: &Server, ledger: &Ledger) {
    while ledger.goes_on() {
        let mut client = Client::logged_in(server, true);
        for size in [5, 50, 5000] {
            let (mark, mail) = ledger.mail(size);
            ledger.acknowledge(client.deliver(&mail), mark);
        }
        client.command("QUIT", 221);
        client.expect_close();
    }
}

fn one_mail_each(server: &Server, ledger: &Ledger) {
    while ledger.goes_on() {
        let mut client = Client::logged_in(server, false);
        let (mark, mail) = ledger.mail(20);
        ledger.acknowledge(client.deliver(&mail), mark);
    }
}

fn pipelined(server: &Server, ledger: &Ledger) {
    while ledger.goes_on() {
        let mut client = Client::greeted(server, true);
        let mut all = format!("EHLO x\r\nAUTH PLAIN {}\r\n", plain_response()).into_bytes();
        let mut marks = Vec::new();
        for size in [3, 30] {
            let (mark, mail) = ledger.mail(size);
            all.extend_from_slice(b"MAIL FROM:<>\r\nRCPT TO:<123@x>\r\nDATA\r\n");
            all.extend_from_slice(&wire(&mail));
            marks.push(mark);
        }
        all.extend_from_slice(b"QUIT\r\n");
        client.send(&all);
        client.expect(250);
        client.expect(235);
        for mark in marks {
            for code in [250, 250, 354] {
                client.expect(code);
            }
            let id = support::id(&client.expect(250));
            ledger.acknowledge(id, mark);
        }
        client.expect(221);
        client.expect_close();
    }
}

fn garbage(server: &Server) {
    for address in [server.plain, server.tls] {
        let mut socket = connect(address);
        let bytes: Vec<u8> = (0..5000u32)
            .map(|number| ((number.wrapping_mul(2_654_435_761)) >> 13) as u8)
            .collect();
        let _ = socket.write_all(&bytes);
        let _ = socket.read_to_end(&mut Vec::new());
    }
}

fn wrong_keys(server: &Server) {
    let mut client = Client::greeted(server, true);
    client.command("EHLO x", 250);
    client.command("AUTH PLAIN AHBlZXIxAHdyb25n", 535);
    client.command("AUTH PLAIN AG5vYm9keQB3cm9uZw==", 535);
    client.command("AUTH PLAIN AHBlZXIxAHdyb25n", 421);
    client.expect_close();
}

fn smuggler(server: &Server) {
    let mut client = Client::logged_in(server, false);
    client.command("MAIL FROM:<>", 250);
    client.command("RCPT TO:<123@x>", 250);
    client.command("DATA", 354);
    client.send(b"Subject: first\r\n\r\nx\n.\nMAIL FROM:<>\r\nRCPT TO:<123@x>\r\nDATA\r\nSubject: second\r\n.\r\nQUIT\r\n");
    client.expect(554);
    client.expect_close();
}

fn too_big(server: &Server) {
    let mut client = Client::logged_in(server, true);
    client.command("MAIL FROM:<>", 250);
    client.command("RCPT TO:<123@x>", 250);
    client.command("DATA", 354);
    client.send(&b"0123456789\r\n".repeat(20_000));
    client.send(b".\r\n");
    client.expect(552);
    client.command("QUIT", 221);
}

fn gone_in_the_middle(server: &Server) {
    for tls in [false, true] {
        let mut client = Client::logged_in(server, tls);
        client.command("MAIL FROM:<>", 250);
        client.command("RCPT TO:<123@x>", 250);
        client.command("DATA", 354);
        client.send(b"half of a mail\r\n");
    }
}

fn half_handshake(server: &Server) {
    let mut socket = connect(server.tls);
    let _ = socket.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
}

/// Is sent away by the login deadline.
fn slow_login(server: &Server) {
    let mut client = Client::greeted(server, false);
    client.expect_exactly("421 ERROR: timeout");
}

/// Asks and does not read; is sent away by the write deadline or gives up.
fn silent_reader(server: &Server) {
    let mut client = Client::logged_in(server, false);
    for _ in 0..50 {
        if client.try_send(&b"HELP\r\n".repeat(1000)).is_err() {
            return;
        }
    }
}

fn reload(server: &Server) {
    server.signal("HUP");
    thread::sleep(Duration::from_millis(200));
}

/// Strangers come from an address of their own, as they do in life: what they
/// take counts against it, and the good clients' places stay theirs.
fn connect(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    let strangers = SocketAddr::from(([127, 0, 0, 2], 0));
    socket.bind(&strangers.into()).unwrap();
    socket.connect_timeout(&address.into(), DEADLINE).unwrap();
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}
