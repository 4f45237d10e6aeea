//! A spool that changes or fails while it is served.

use super::*;

fn rows(page: &Answer) -> usize {
    page.text().matches("<a class=\"row\"").count()
}

/// Messages that mm4d spooled, by their number.
fn many(place: &Place, count: usize, fields: impl Fn(usize) -> String) -> Vec<String> {
    let ids = (0..count).map(|at| {
        let id = format!("20300125T221744.{at:06}Z-7-{at:06}@mm4.example.com");
        let mail = format!(
            "Return-Path: <>\r\nX-Envelope-To: <+15550000001/TYPE=PLMN@mms.example.com>\r\n{}\r\n",
            fields(at)
        );
        place.publish(&id, mail.as_bytes());
        id
    });
    ids.collect()
}

/// mm4d's own trace, with which a message has an account.
fn trace(account: &str) -> String {
    format!(
        "X-MM4-System-ID: {account}\r\nReceived: from a ([192.0.2.1]) by mm4.example.com (mm4d) with ESMTPSA\r\n  \
         id 20300125T221744.000001Z-7-000001@mm4.example.com; Tue, 25 Jan 2022 22:17:44 +0000\r\n"
    )
}

#[test]
fn what_a_consumer_has_taken_leaves_no_empty_page() {
    let place = Place::new();
    let ids = many(&place, 120, |_| String::new());
    let live = Live::start(&place, &[]);
    assert_eq!(rows(&live.get("/")), 50);
    for id in &ids[60..] {
        fs::remove_file(place.file(id)).unwrap();
    }
    assert_eq!(rows(&live.get("/")), 50);
    let page = live.get("/api/messages?limit=500").json();
    assert_eq!(page["messages"].as_array().unwrap().len(), 60);
    // Moved by a consumer with flags of its own, it is there again soon.
    let moved = format!("cur/{}.eml:2,FRT", ids[59]);
    fs::rename(place.file(&ids[59]), place.dir.path().join(moved)).unwrap();
    assert_eq!(live.get(&format!("/api/messages/{}", ids[59])).status, 200);
    wait_for("the message that was moved", || {
        let page = live.get("/api/messages?limit=1").json();
        (page["messages"][0]["id"] == ids[59].as_str()).then_some(())
    });
}

#[test]
fn a_spool_that_cannot_be_read_is_no_fault_of_the_request() {
    let place = Place::new();
    let live = Live::start(&place, &[]);
    let root = place.dir.path();
    let other = root.with_extension("moved");
    fs::rename(root, &other).unwrap();
    for path in ["/", "/healthz", "/api/messages"] {
        assert_eq!(live.get(path).status, 503, "{path}");
    }
    fs::rename(&other, root).unwrap();
    wait_for("the spool", || live.is_healthy());
    assert_eq!(live.get("/").status, 200);
}

#[test]
fn findings_are_the_same_for_list_check_page_and_api() {
    let place = Place::new();
    let valid = "X-Mms-3GPP-MMS-Version: 6.3.0\r\nX-Mms-Message-Type: MM4_forward.RES\r\nX-Mms-Message-ID: m\r\n\
         X-Mms-Request-Status-Code: Ok\r\n";
    let ids = many(&place, 6, |at| {
        // The last two are one transaction, and the first has none.
        let transaction = match at {
            0 => String::new(),
            at => format!("X-Mms-Transaction-ID: {}\r\n", at.min(4)),
        };
        format!("{}{valid}{transaction}", trace("north"))
    });
    let expected = [&*ids[0], &ids[4], &ids[5]];
    let ids_of = |text: String| -> Vec<String> {
        let objects = objects(&text);
        objects
            .iter()
            .map(|object| at(object, "/id").as_str().unwrap().to_owned())
            .collect()
    };
    let listed = said(&["list", "--json", "--has", "findings", place.path()]);
    assert_eq!(ids_of(listed), expected);
    let output = mm4spool(&["check", "--json", "--has", "findings", place.path()]);
    let mut checked = ids_of(stdout(&output));
    checked.dedup();
    assert_eq!(checked, expected);
    let page = said(&["gallery", "--has", "findings", place.path()]);
    assert!(page.contains("With findings <small>3</small>"));
    // The page of one of the two says so, too.
    let page = said(&["gallery", "--last", "1", place.path()]);
    assert!(page.contains("<b>duplicate</b>"));
    let live = Live::start(&place, &[]);
    wait_for("the counts", || {
        let page = live.get("/").text();
        page.contains("With findings</bdi> <small>3").then_some(())
    });
    assert_eq!(rows(&live.get("/?has=findings")), 3);
    let found = live.get("/api/messages?has=findings").json();
    assert_eq!(found["messages"].as_array().unwrap().len(), 3);
}

#[test]
fn an_account_that_is_chosen_has_a_filter_among_many() {
    let place = Place::new();
    // The last one has the fewest messages.
    many(&place, 21, |at| trace(&format!("carrier-{:02}", at % 11)));
    let live = Live::start(&place, &[]);
    wait_for("the counts", || {
        let page = live.get("/").text();
        page.contains("All</bdi> <small>21").then_some(())
    });
    let page = live.get("/?account=carrier-10").text();
    assert!(
        page.contains("<a href=\"/\" aria-current=\"true\"><bdi>carrier-10</bdi> <small>1</small>")
    );
}

#[test]
fn streams_whose_clients_do_not_read_share_one_event() {
    let place = Place::new();
    let live = Live::start(&place, &[]);
    let request = format!("GET /api/events HTTP/1.1\r\nHost: {}\r\n\r\n", live.address);
    let mut streams: Vec<_> = (0..mm4d::inspect::serve::MAX_STREAMS)
        .map(|_| {
            let mut stream = BufReader::new(live.connect());
            stream.get_mut().write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    let mut read_until = |wanted: &str| {
        for stream in &mut streams {
            let mut line = String::new();
            while line.trim() != wanted {
                line.clear();
                assert!(stream.read_line(&mut line).unwrap() > 0, "no {wanted}");
            }
        }
    };
    read_until("retry: 2000");
    // As JSON each byte is six: 18 MB, more than the sockets take.
    let part = format!(
        "--x\r\n\r\n{}",
        format!("{}\r\n", "\u{1}".repeat(78)).repeat(12_500)
    );
    let mail = format!(
        "Content-Type: multipart/mixed; boundary=x\r\n\r\n{}--x--\r\n",
        part.repeat(3)
    );
    let id = "20300125T221744.000001Z-7-000001@mm4.example.com";
    place.publish(id, mail.as_bytes());
    read_until(&format!("id: {id}"));
    let status = fs::read_to_string(format!("/proc/{}/status", live.child.id())).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak: usize = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 200_000, "{peak} kB");
}

#[test]
fn a_message_that_cannot_be_read_is_named() {
    let place = Place::new();
    let ids = many(&place, 3, |_| String::new());
    let live = Live::start(&place, &[]);
    // Like a file without permission, which the superuser would read all the same.
    fs::remove_file(place.file(&ids[1])).unwrap();
    fs::create_dir(place.file(&ids[1])).unwrap();
    for path in ["/", "/?grep=example"] {
        let page = live.get(path);
        assert_eq!(rows(&page), 2, "{path}");
        let said = format!("The message {} cannot be read: it is a directory", ids[1]);
        assert!(page.text().contains(&said), "{path}: {}", page.text());
    }
    let opened = live.get(&format!("/?id={}", ids[1])).text();
    assert!(opened.contains("The message cannot be read"));
    for more in ["", "/raw", "/parts/1"] {
        let answer = live.get(&format!("/api/messages/{}{more}", ids[1]));
        assert_eq!(answer.status, 503, "{more}");
    }
}
