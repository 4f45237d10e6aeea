//! `serve`: the live page from outside, without a browser.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use super::*;

mod http;
mod page;
mod spool;

/// A running `mm4spool serve`, ended when dropped.
struct Live {
    child: Child,
    address: SocketAddr,
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer: its status, the lines of its head in lower case, and its body.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }
}

impl Live {
    fn start(place: &Place, options: &[&str]) -> Live {
        let listen = ["--listen", "127.0.0.1:0"];
        let listen = match options.contains(&"--listen") {
            true => &[][..],
            false => &listen,
        };
        let arguments = [&["serve"], listen, options, &[place.path()]].concat();
        let mut child = command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("listening http://")
            .unwrap_or_else(|| panic!("{line}"));
        let address = address.trim_end_matches('/').parse().unwrap();
        Live { child, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Sends a request as it is written, and reads to the end of the connection.
    fn raw(&self, request: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        answer(&bytes)
    }

    fn get_with(&self, path: &str, fields: &str) -> Answer {
        self.raw(&format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{fields}\r\n",
            self.address
        ))
    }

    fn get(&self, path: &str) -> Answer {
        self.get_with(path, "")
    }

    /// Whether a request is answered; one that finds no place may be reset.
    fn is_healthy(&self) -> Option<()> {
        let mut stream = self.connect();
        let host = self.address;
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(request.as_bytes());
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes.starts_with(b"HTTP/1.1 200 ").then_some(())
    }
}

fn answer(bytes: &[u8]) -> Answer {
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let (first, fields) = head.split_once("\r\n").unwrap();
    let fields = fields.lines().map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        format!("{}: {value}\n", name.to_ascii_lowercase())
    });
    Answer {
        status: first.split(' ').nth(1).unwrap().parse().unwrap(),
        head: fields.collect(),
        body: bytes[end + 4..].to_vec(),
    }
}

#[test]
fn the_api_gives_what_list_prints_page_by_page() {
    let place = Place::with_samples();
    let live = Live::start(&place, &[]);
    let listed = objects(&said(&["list", "--json", "--last", "100", place.path()]));
    let mut found = Vec::new();
    let mut path = "/api/messages?limit=3".to_owned();
    loop {
        let page = live.get(&path).json();
        let messages = at(&page, "/messages").as_array().unwrap().clone();
        assert!(messages.len() <= 3);
        found.extend(messages);
        match at(&page, "/next").as_str() {
            Some(cursor) => {
                path = format!(
                    "/api/messages?limit=3&cursor={}",
                    cursor.replace('~', "%7E")
                )
            }
            None => break,
        }
        assert!(found.len() <= listed.len(), "the cursor does not advance");
    }
    found.reverse();
    assert_eq!(found, listed);
    let known = object_at(&place, "000002");
    let id = at(&known, "/id").as_str().unwrap();
    assert_eq!(live.get(&format!("/api/messages/{id}")).json(), known);
    assert_eq!(live.get("/api/messages/none").status, 404);
    for wrong in [
        "limit=0",
        "limit=501",
        "limit=x",
        "cursor=x",
        "since=x",
        "colour=x",
        "colour",
        "unanswered=maybe",
        "has=x",
    ] {
        let refused = live.get(&format!("/api/messages?{wrong}"));
        assert_eq!(refused.status, 400, "{wrong}");
        assert!(at(&refused.json(), "/error").is_string());
    }
}

#[test]
fn every_filter_of_list_is_a_parameter() {
    let place = exchange();
    let live = Live::start(&place, &[]);
    for (filter, parameter) in [
        (&["--account", "north"][..], "account=north"),
        (&["--type", "RES"], "type=RES"),
        (&["--from", "972500000001"], "from=%2B972500000001"),
        (&["--to", "a@example.com"], "to=a@example.com"),
        (&["--subject", "holi"], "subject=holi"),
        (&["--grep", "the weather"], "grep=the+weather"),
        (&["--transaction", "T2"], "transaction=T2"),
        (&["--message-id", "m3"], "message-id=m3"),
        (&["--status", "error"], "status=error"),
        (&["--since", "2022-01-25 22:19"], "since=2022-01-25%2022:19"),
        (&["--until", "2022-01-25 22:18"], "until=2022-01-25%2022:18"),
        (&["--has", "image"], "has=image"),
        (&["--unanswered"], "unanswered=1"),
        (&["--unanswered"], "unanswered"),
        (&["--unanswered"], "unanswered=true"),
        (&["--last", "100"], "unanswered=false"),
    ] {
        let listed = said(&[&["list", "--json"], filter, &[place.path()]].concat());
        let mut listed = objects(&listed);
        listed.reverse();
        assert!(!listed.is_empty(), "{filter:?}");
        let page = live.get(&format!("/api/messages?{parameter}")).json();
        assert_eq!(
            at(&page, "/messages").as_array().unwrap(),
            &listed,
            "{parameter}"
        );
        let page = live.get(&format!("/?{parameter}")).text();
        assert_eq!(
            page.matches("class=\"row\"").count(),
            listed.len(),
            "{parameter}"
        );
    }
    assert_eq!(
        live.get("/?kind=reports")
            .text()
            .matches("class=\"row\"")
            .count(),
        1
    );
}

#[test]
fn a_host_of_another_name_is_misdirected_and_another_method_not_allowed() {
    let place = Place::with_samples();
    let live = Live::start(&place, &[]);
    let port = live.address.port();
    let with_host = |host: &str| {
        live.raw(&format!(
            "GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ))
        .status
    };
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        "localhost".to_owned(),
    ] {
        assert_eq!(with_host(&host), 200, "{host}");
    }
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "192.0.2.1",
        "localhost.evil.example",
    ] {
        assert_eq!(with_host(host), 421, "{host}");
    }
    assert_eq!(
        live.raw("GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
            .status,
        400
    );
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        let refused = live.raw(&format!(
            "{method} / HTTP/1.1\r\nHost: {}\r\n\r\n",
            live.address
        ));
        assert_eq!(
            (refused.status, refused.field("allow")),
            (405, Some("GET, HEAD")),
            "{method}"
        );
    }
    let head = live.raw(&format!(
        "HEAD /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        live.address
    ));
    assert_eq!(
        (head.status, head.body.len(), head.field("content-length")),
        (200, 0, Some("3"))
    );
}

#[test]
fn with_a_token_every_request_needs_it() {
    let place = Place::with_samples();
    let live = Live::start(&place, &["--token", "sesame"]);
    for path in [
        "/",
        "/healthz",
        "/api/messages",
        "/api/events",
        "/style.css",
        "/?token=wrong",
    ] {
        assert_eq!(live.get(path).status, 401, "{path}");
    }
    for (fields, status) in [
        ("Authorization: Bearer sesame\r\n", 200),
        ("Authorization: bearer sesame\r\n", 200),
        ("Authorization: Bearer wrong\r\n", 401),
        ("Authorization: Basic sesame\r\n", 401),
        ("Cookie: mm4spool=sesame\r\n", 401),
    ] {
        assert_eq!(live.get_with("/healthz", fields).status, status, "{fields}");
    }
    let redirected = live.get("/?token=sesame");
    assert_eq!(
        (redirected.status, redirected.field("location")),
        (303, Some("/"))
    );
    let kept = live.get("/?token=sesame&id=a%26b&since=2h");
    assert_eq!(kept.field("location"), Some("/?id=a%26b&since=2h"));
    let cookie = redirected.field("set-cookie").unwrap().to_owned();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite") && !cookie.contains("sesame"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(
        live.get_with("/", &format!("Cookie: a=b; {cookie}\r\n"))
            .status,
        200
    );
}

#[test]
fn a_published_message_arrives_as_an_event_with_its_json() {
    let place = Place::with_samples();
    let live = Live::start(&place, &[]);
    let mut stream = BufReader::new(live.connect());
    let request = format!("GET /api/events HTTP/1.1\r\nHost: {}\r\n\r\n", live.address);
    stream.get_mut().write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    while line.trim() != "retry: 2000" {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "no stream");
    }
    let id = "20300125T221744.000001Z-7-000001@mm4.example.com";
    place.publish(id, &sample("two_slides"));
    let mut lines = Vec::new();
    while lines
        .iter()
        .all(|line: &String| !line.starts_with("data: "))
    {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "{lines:?}");
        lines.push(line);
    }
    assert!(
        lines.contains(&format!("id: {id}\n")) && lines.contains(&"event: message\n".to_owned()),
        "{lines:?}"
    );
    let data = lines.last().unwrap().strip_prefix("data: ").unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(data).unwrap(),
        object_at(&place, id)
    );
    // It is in the list as well, and what was deleted is not.
    let newest =
        |live: &Live| live.get("/api/messages?limit=1").json()["messages"][0]["id"].clone();
    assert_eq!(newest(&live), id);
    fs::remove_file(place.file(id)).unwrap();
    let left = live.get("/api/messages").json()["messages"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(left, 11);
    assert_eq!(live.get(&format!("/?id={id}")).status, 200);
}

#[test]
fn requests_and_connections_have_limits() {
    let place = Place::with_samples();
    let live = Live::start(&place, &[]);
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(40_000));
    let mut stream = live.connect();
    let _ = stream.write_all(long.as_bytes());
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    assert!(bytes.starts_with(b"HTTP/1.1 431 ") || bytes.is_empty());
    assert_eq!(live.raw("nonsense\r\n\r\n").status, 400);
    let with_body = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nContent-Length: 3\r\n\r\nabc",
        live.address
    );
    assert_eq!(live.raw(&with_body).status, 400);
    // Clients that say nothing take all places; the first of them makes place for one that
    // asks, and all places are free when they leave.
    let mut silent: Vec<TcpStream> = (0..mm4d::inspect::serve::MAX_CONNECTIONS)
        .map(|_| live.connect())
        .collect();
    for _ in 0..3 {
        wait_for("the place of a silent client", || live.is_healthy());
    }
    let mut said = Vec::new();
    assert_eq!(silent[0].read_to_end(&mut said).unwrap(), 0);
    drop(silent);
    wait_for("a free place", || live.is_healthy());
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    assert!(refused(1, &["serve", "--listen", &taken, place.path()]).contains(&taken));
    assert!(
        refused(1, &["serve", "--listen", "127.0.0.1:0", "/nonexistent"]).contains("/nonexistent")
    );
    for wrong in [
        &["--listen", "2580"][..],
        &["--listen", ":80"],
        &["--listen", "x"],
        &["--token", ""],
    ] {
        let text = refused(2, &[&["serve"], wrong, &[place.path()]].concat());
        assert!(text.contains(wrong[0]), "{text}");
    }
}

#[test]
fn the_server_writes_nothing_and_opens_no_connection() {
    let place = Place::with_samples();
    let live = Live::start(&place, &[]);
    let status = fs::read_to_string(format!("/proc/{}/status", live.child.id())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    // Filtered system calls, and no way to gain a privilege.
    assert_eq!(
        (field("Seccomp:").as_str(), field("NoNewPrivs:").as_str()),
        ("2", "1")
    );
}
