//! The metrics file from outside: its format, and whether its counts agree with
//! the spool and with what clients read.
//!
//! Counts belong to one run of the server: they start at 0, and the process id
//! in a message's id names the run. After an orderly end they equal the files
//! exactly. After a kill the last file counts at most as many messages as there
//! are, since a message is counted when it is in new/.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use support::{
    ACCOUNTS, Builder, Client, PASSWORD, PASSWORD_2, SYSTEM_ID, SYSTEM_ID_2, Server, content,
    make_certificate_until, names,
};

/// What the server writes its metrics to, in its directory.
const FILE: &str = "metrics/mm4d.prom";

#[test]
fn after_a_load_the_counts_agree_with_the_spool_and_with_the_replies() {
    let mut server = start(&[]);
    let replies: Replies = thread::scope(|scope| {
        let clients: Vec<_> = (0..12)
            .map(|number| {
                let server = &server;
                scope.spawn(move || load(server, number))
            })
            .collect();
        let replies = clients.into_iter().map(|client| client.join().unwrap());
        replies.fold(Replies::new(), |mut sum, replies| {
            for (code, count) in replies {
                *sum.entry(code).or_default() += count;
            }
            sum
        })
    });
    let metrics = stop(&mut server);

    let spooled = spooled(&server, |_| true);
    assert_eq!(spooled.len(), 2);
    assert_eq!(metrics.by_account(), spooled);
    assert_eq!(metrics.family("mm4d_replies_total", "code"), replies);
    let connections = metrics.family("mm4d_connections_total", "listener");
    assert_eq!(connections, counts([("plain", 6), ("tls", 6)]));
    let open = metrics.family("mm4d_open_connections", "listener");
    assert_eq!(open, counts([("plain", 0), ("tls", 0)]));
    let logins = metrics.family("mm4d_logins_total", "result");
    assert_eq!(logins, counts([("failed", 12), ("succeeded", 12)]));
    let messages: u64 = spooled.values().map(|(messages, _)| messages).sum();
    assert_eq!(metrics.count("mm4d_batch_messages_sum"), messages);
    let content = "mm4d_sync_duration_seconds_count{sync=\"content\"}";
    assert_eq!(metrics.count(content), messages);
    let directory = "mm4d_sync_duration_seconds_count{sync=\"directory\"}";
    let batches = metrics.count("mm4d_batch_messages_count");
    assert_eq!(metrics.count(directory), batches);
    assert!((1..=messages).contains(&batches));
    assert!(metrics.count("mm4d_spool_free_bytes") > 0);
    assert_eq!(metrics.count("mm4d_spool_min_free_bytes"), 67_108_864);
}

#[test]
fn a_spool_that_takes_no_messages_is_seen_in_the_metrics() {
    let mut server = start(&[]);
    assert_eq!(read(&server).count("mm4d_spool_available"), 1);
    fs::rename(server.spool.join("new"), server.spool.join("away")).unwrap();
    // A client causes the probe that finds it out.
    drop(Client::plain(server.plain));
    server.wait_for_log("spool unavailable");
    assert_eq!(stop(&mut server).count("mm4d_spool_available"), 0);
}

/// Logs in at the second attempt, sends some messages and makes some errors.
fn load(server: &Server, number: usize) -> Replies {
    let tls = number % 2 == 0;
    let mut client = Counted::connect(server, tls);
    client.command("EHLO client.example", 250);
    client.command("AUTH PLAIN AHBlZXIxAHdyb25n", 535);
    let (id, password) =
        [(SYSTEM_ID, PASSWORD), (SYSTEM_ID_2, PASSWORD_2)][usize::from(number % 3 == 0)];
    client.login(id, password);
    client.command("DATA", 503);
    client.command("nonsense", 500);
    for count in 0..=number {
        client.deliver(&message(number, count));
        client.command("NOOP", 250);
    }
    if tls {
        client.command("QUIT", 221);
    } else {
        // Lost in the middle of a message, which is then not one.
        client.command("MAIL FROM:<>", 250);
        client.command("RCPT TO:<123@test.example>", 250);
        client.command("DATA", 354);
        client.client.send(b"half a message\r\n");
    }
    client.replies
}

#[test]
fn a_kill_leaves_at_most_as_many_messages_counted_as_there_are_in_the_spool() {
    let mut server = start(&[]);
    let started = modified(&server);
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ = scope.spawn(|| {
            let mut client = Counted::connect(&server, false);
            client.command("EHLO client.example", 250);
            client.login(SYSTEM_ID, PASSWORD);
            // At most two minutes, whatever fails.
            for count in 0..6_000 {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                client.deliver(&message(0, count));
                // Few files: the load lasts as long as the interval.
                thread::sleep(Duration::from_millis(20));
            }
        });
        let mut idle = Client::greeted(&server, true);
        wait_for_rewrite(&server, started);
        let metrics = read(&server);
        let open = metrics.family("mm4d_open_connections", "listener");
        assert_eq!(open, counts([("plain", 1), ("tls", 1)]));
        stopped.store(true, Ordering::Relaxed);
        idle.command("QUIT", 221);
    });
    let first = format!("-{}-", server.pid());
    server.crash();

    let counted = read(&server).by_account();
    let spooled_at_kill = spooled(&server, |name| name.contains(&first));
    for (account, (messages, bytes)) in &spooled_at_kill {
        let (counted_messages, counted_bytes) = counted[account];
        assert!((1..=*messages).contains(&counted_messages));
        assert!((1..=*bytes).contains(&counted_bytes));
    }
    assert_eq!(spooled_at_kill.len(), 1);

    server.start_again();
    assert!(read(&server).by_account().is_empty(), "counts start at 0");
    let mut client = Counted::connect(&server, false);
    client.command("EHLO client.example", 250);
    client.login(SYSTEM_ID, PASSWORD);
    client.deliver(b"after the kill\r\n");
    let second = format!("-{}-", server.pid());
    let metrics = stop(&mut server);
    assert_eq!(
        metrics.by_account(),
        spooled(&server, |name| name.contains(&second))
    );
}

#[test]
fn accounts_and_the_certificate_are_those_in_force_after_a_reload() {
    let mut server = start(&[]);
    let metrics = read(&server);
    let accounts = metrics.family("mm4d_accepted_messages_total", "account");
    assert_eq!(accounts, counts([(SYSTEM_ID, 0), (SYSTEM_ID_2, 0)]));
    let mut client = Counted::connect(&server, false);
    client.command("EHLO client.example", 250);
    client.login(SYSTEM_ID, PASSWORD);
    client.deliver(b"before\r\n");

    let accounts = ACCOUNTS.replace("peer1:", "odd\"\\name:");
    fs::write(server.dir.path().join("accounts"), accounts).unwrap();
    make_certificate_until(server.dir.path(), 2031);
    server.signal("HUP");
    server.wait_for_log("reloaded accounts");
    server.wait_for_log("reloaded certificate");
    // A session that goes on is counted for the account it logged in with.
    client.deliver(b"after\r\n");
    let mut client = Counted::connect(&server, false);
    client.command("EHLO client.example", 250);
    client.login("odd\"\\name", PASSWORD);
    client.deliver(b"odd\r\n");

    let metrics = stop(&mut server);
    assert_eq!(metrics.by_account(), spooled(&server, |_| true));
    let accounts = metrics.family("mm4d_accepted_messages_total", "account");
    let expected = counts([(SYSTEM_ID, 2), (SYSTEM_ID_2, 0), ("odd\"\\name", 1)]);
    assert_eq!(accounts, expected);
    let expiry = metrics.count("mm4d_certificate_expiry_timestamp_seconds");
    assert_eq!(expiry, 1_924_992_000);
}

#[test]
fn refused_connections_are_counted_by_limit() {
    let mut server = start(&["--max-connections-per-ip", "1"]);
    let client = Client::greeted(&server, false);
    for _ in 0..3 {
        Client::plain(server.plain).expect_exactly("421 ERROR: too many connections");
    }
    let mut refused = Client::plain(server.tls);
    refused.expect_close();
    drop(client);
    // Otherwise the client may still be there to be sent a 421 at the stop.
    server.wait_for_log("disconnected");
    let metrics = stop(&mut server);
    let refused = metrics.family("mm4d_connections_refused_total", "limit");
    assert_eq!(refused["max-connections-per-ip"], 4);
    let replies = metrics.family("mm4d_replies_total", "code");
    assert_eq!((replies["220"], replies["421"]), (1, 3));
    let connections = metrics.family("mm4d_connections_total", "listener");
    assert_eq!(connections, counts([("plain", 1), ("tls", 0)]));
}

#[test]
fn a_connection_over_the_maximum_of_its_account_is_counted_as_refused() {
    let builder = builder(&[]);
    let accounts = ACCOUNTS.lines().fold(String::new(), |accounts, line| {
        match line.starts_with("peer1:") {
            true => format!("{accounts}{line}:127.0.0.0/8:max=1\n"),
            false => format!("{accounts}{line}\n"),
        }
    });
    fs::write(builder.path().join("accounts"), accounts).unwrap();
    let mut server = builder.start();
    let first = Client::logged_in(&server, false);
    let mut second = Client::greeted(&server, false);
    second.command("EHLO client.example", 250);
    let response = STANDARD.encode(format!("\0{SYSTEM_ID}\0{PASSWORD}"));
    second.command(&format!("AUTH PLAIN {response}"), 421);
    drop(first);
    let metrics = stop(&mut server);
    let refused = metrics.family("mm4d_connections_refused_total", "limit");
    assert_eq!(refused["max-of-the-account"], 1);
}

#[test]
fn the_file_is_readable_for_others_as_far_as_the_umask_permits() {
    for (umask, mode) in [("022", 0o644), ("027", 0o640), ("000", 0o644)] {
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        let builder = builder(&[]).wrapper(["sh", "-c", &script]);
        let server = builder.start();
        let found = fs::metadata(file(&server)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "umask {umask}");
        assert_eq!(names(&server.dir.path().join("metrics")), ["mm4d.prom"]);
    }
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_at_start() {
    for bad in ["missing/mm4d.prom", "metrics", "accounts/mm4d.prom"] {
        for sandbox in [&[][..], &["--no-sandbox"]] {
            let builder = Builder::new().options(sandbox.iter().copied());
            fs::create_dir(builder.path().join("metrics")).unwrap();
            let path = builder.path().join(bad).to_string_lossy().into_owned();
            let (status, error) = builder.options(["--metrics-file", &path]).fail();
            assert_eq!(status, Some(1), "{error}");
            let line = error.lines().last().unwrap();
            assert!(line.starts_with("mm4d: cannot write the metrics file "));
            assert!(line.contains(bad) && line.contains("--metrics-file"));
        }
    }
    let (status, error) = Builder::new().options(["--metrics-file", ""]).fail();
    assert_eq!(status, Some(2), "{error}");
}

#[test]
fn a_file_that_cannot_be_written_later_is_a_warning() {
    let mut server = start(&[]);
    let directory = server.dir.path().join("metrics");
    fs::rename(&directory, server.dir.path().join("elsewhere")).unwrap();
    let mut client = Client::logged_in(&server, false);
    client.deliver(b"goes on\r\n");
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let log = server.log();
    let warning = "WARN  mm4d] cannot write the metrics file=";
    assert_eq!(log.matches(warning).count(), 1, "{log}");
}

/// A server that writes metrics into a directory of their own.
fn builder(options: &[&str]) -> Builder {
    let builder = Builder::new().options(options.iter().copied());
    fs::create_dir(builder.path().join("metrics")).unwrap();
    let path = builder.path().join(FILE).to_string_lossy().into_owned();
    builder.options(["--metrics-file", &path])
}

fn start(options: &[&str]) -> Server {
    builder(options).start()
}

fn file(server: &Server) -> PathBuf {
    server.dir.path().join(FILE)
}

fn modified(server: &Server) -> std::time::SystemTime {
    fs::metadata(file(server)).unwrap().modified().unwrap()
}

/// Waits for the write that is due 15 seconds after the start.
fn wait_for_rewrite(server: &Server, started: std::time::SystemTime) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while modified(server) == started {
        assert!(Instant::now() < deadline, "the file is not written again");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Ends the server; its last metrics.
fn stop(server: &mut Server) -> Metrics {
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(names(&server.dir.path().join("metrics")), ["mm4d.prom"]);
    read(server)
}

fn read(server: &Server) -> Metrics {
    Metrics::parse(&fs::read_to_string(file(server)).unwrap())
}

fn message(number: usize, count: usize) -> Vec<u8> {
    format!("Subject: {number}\r\n\r\n.{count}\r\n")
        .repeat(1 + number * count)
        .into_bytes()
}

/// Messages and bytes of content by account, of the files in new/ whose name
/// is selected.
fn spooled(server: &Server, selected: impl Fn(&str) -> bool) -> BTreeMap<String, (u64, u64)> {
    let mut found = BTreeMap::<String, (u64, u64)>::new();
    for name in server.names("new").iter().filter(|name| selected(name)) {
        let file = fs::read(server.spool.join("new").join(name)).unwrap();
        let text = String::from_utf8_lossy(&file);
        let mut lines = text.lines();
        let account = lines
            .find_map(|line| line.strip_prefix("X-MM4-System-ID: "))
            .unwrap();
        let (messages, bytes) = found.entry(account.to_owned()).or_default();
        *messages += 1;
        *bytes += content(&file).len() as u64;
    }
    found
}

/// Replies by code, those of count 0 left out.
type Replies = BTreeMap<String, u64>;

/// A client that counts what it reads.
struct Counted {
    client: Client,
    replies: Replies,
}

impl Counted {
    fn connect(server: &Server, tls: bool) -> Counted {
        let replies = Replies::from([("220".to_owned(), 1)]);
        let client = Client::greeted(server, tls);
        Counted { client, replies }
    }

    fn command(&mut self, line: &str, code: u16) {
        self.client.command(line, code);
        *self.replies.entry(code.to_string()).or_default() += 1;
    }

    fn login(&mut self, id: &str, password: &str) {
        let response = STANDARD.encode(format!("\0{id}\0{password}"));
        self.command(&format!("AUTH PLAIN {response}"), 235);
    }

    fn deliver(&mut self, content: &[u8]) {
        self.client.deliver(content);
        *self.replies.entry("250".to_owned()).or_default() += 3;
        *self.replies.entry("354".to_owned()).or_default() += 1;
    }
}

fn counts<const N: usize>(expected: [(&str, u64); N]) -> BTreeMap<String, u64> {
    expected
        .map(|(value, count)| (value.to_owned(), count))
        .into()
}

/// The samples of a metrics file, by name and labels as they are written.
struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Parses the Prometheus text format, version 0.0.4, and fails at whatever
    /// it does not permit or the textfile collector does not take: a sample
    /// without HELP and TYPE before it, a metric in two places, a timestamp.
    fn parse(text: &str) -> Metrics {
        assert!(text.ends_with('\n'));
        let mut samples = BTreeMap::new();
        let mut finished = BTreeSet::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let help = line.strip_prefix("# HELP ").expect("HELP begins a metric");
            let (name, text) = help.split_once(' ').unwrap();
            assert!(is_name(name) && name.starts_with("mm4d_") && !text.is_empty());
            assert!(finished.insert(name.to_owned()), "{name} is there twice");
            let kind = lines
                .next()
                .and_then(|line| line.strip_prefix("# TYPE "))
                .and_then(|line| line.strip_prefix(name)?.strip_prefix(' '))
                .expect("TYPE of the same metric follows HELP");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            let mut histogram = BTreeMap::<String, Vec<(f64, f64)>>::new();
            let mut count = 0;
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let sample = Sample::parse(line);
                let suffix = sample.name.strip_prefix(name).expect("its metric's name");
                let allowed = match kind {
                    "counter" | "gauge" => [""].as_slice(),
                    "histogram" => ["_bucket", "_sum", "_count"].as_slice(),
                    other => panic!("unexpected type {other}"),
                };
                assert!(allowed.contains(&suffix), "{line}");
                assert!(sample.value >= 0.0, "{line}");
                assert_eq!(suffix == "_bucket", sample.label("le").is_some());
                if kind == "histogram" && suffix != "_sum" {
                    let bound = sample.label("le").map_or(f64::NAN, number);
                    let series = histogram.entry(sample.without("le")).or_default();
                    series.push((bound, sample.value));
                }
                let key = sample.key();
                assert!(samples.insert(key, sample.value).is_none(), "{line} twice");
                count += 1;
            }
            assert!(count > 0, "{name} has no sample");
            for series in histogram.into_values() {
                let (_, total) = series[series.len() - 1];
                let buckets = &series[..series.len() - 1];
                let ordered = |two: &[(f64, f64)]| two[0].0 < two[1].0 && two[0].1 <= two[1].1;
                assert!(buckets.windows(2).all(ordered), "{name}: {buckets:?}");
                assert_eq!(buckets.last(), Some(&(f64::INFINITY, total)));
            }
        }
        Metrics(samples)
    }

    /// One value that must be whole.
    fn count(&self, key: &str) -> u64 {
        let value = self.0[key];
        assert_eq!(value.fract(), 0.0, "{key}");
        value as u64
    }

    /// The values of a metric by its only label, those of replies without 0.
    fn family(&self, name: &str, label: &str) -> BTreeMap<String, u64> {
        let keys = self.0.keys().filter(|key| key.starts_with(name));
        keys.filter_map(|key| {
            let sample = Sample::parse(&format!("{key} 0"));
            let count = self.count(key);
            let shown = sample.name == name && (label != "code" || count > 0);
            shown.then(|| (sample.label(label).unwrap().to_owned(), count))
        })
        .collect()
    }

    /// Messages and bytes of the accounts that have some.
    fn by_account(&self) -> BTreeMap<String, (u64, u64)> {
        let bytes = self.family("mm4d_accepted_bytes_total", "account");
        self.family("mm4d_accepted_messages_total", "account")
            .into_iter()
            .filter(|(_, messages)| *messages > 0)
            .map(|(account, messages)| (account.clone(), (messages, bytes[&account])))
            .collect()
    }
}

/// One line: a name, labels, a value and no timestamp.
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Sample {
    fn parse(line: &str) -> Sample {
        let end = line.find(['{', ' ']).unwrap();
        let (name, mut rest) = line.split_at(end);
        assert!(is_name(name), "{line}");
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            loop {
                let (label, value) = rest.split_once("=\"").unwrap();
                assert!(is_name(label) && !label.contains(':'), "{line}");
                let mut text = String::new();
                let mut characters = value.char_indices();
                let end = loop {
                    match characters.next().unwrap() {
                        (end, '"') => break end,
                        (_, '\\') => text.push(match characters.next().unwrap().1 {
                            'n' => '\n',
                            escaped @ ('"' | '\\') => escaped,
                            other => panic!("\\{other} in {line}"),
                        }),
                        (_, other) => text.push(other),
                    }
                };
                labels.push((label.to_owned(), text));
                rest = &value[end + 1..];
                match rest.strip_prefix(',') {
                    Some(next) => rest = next,
                    None => break,
                }
            }
            rest = rest.strip_prefix('}').unwrap();
        }
        let value = number(rest.strip_prefix(' ').unwrap());
        let name = name.to_owned();
        Sample {
            name,
            labels,
            value,
        }
    }

    fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(label, _)| label == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The labels but one.
    fn without(&self, name: &str) -> String {
        let labels = self.labels.iter().filter(|(label, _)| label != name);
        format!("{:?}", labels.collect::<Vec<_>>())
    }

    fn key(&self) -> String {
        let labels: Vec<_> = self
            .labels
            .iter()
            .map(|(label, value)| {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"");
                format!("{label}=\"{value}\"")
            })
            .collect();
        match labels.is_empty() {
            true => self.name.clone(),
            false => format!("{}{{{}}}", self.name, labels.join(",")),
        }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || "_:".contains(character))
}

fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        text => text.parse().unwrap(),
    }
}
