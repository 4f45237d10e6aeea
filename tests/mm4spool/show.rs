//! `show` and `thread`, in text and as JSON.

use super::*;

#[test]
fn what_the_server_spools_is_understood() {
    let server = Server::start();
    let mut client = Client::logged_in(&server, true);
    let content = b"X-Mms-Message-Type: MM4_forward.REQ\r\nSubject: true\r\n\r\nhello\r\n";
    let id = client.deliver(content);
    let spool = server.spool.to_str().unwrap();
    let found = objects(&said(&["show", "--json", spool, &id])).remove(0);
    for (pointer, wanted) in [
        ("/account", Value::from("peer1")),
        ("/envelope/from/number", "+972500000001".into()),
        ("/envelope/client", "client.example".into()),
        ("/envelope/peer", "[127.0.0.1]".into()),
        ("/envelope/protocol", "ESMTPSA".into()),
        ("/size", content.len().into()),
        ("/subject", "true".into()),
        ("/parts/0/text", "hello".into()),
    ] {
        assert_eq!(at(&found, pointer), &wanted, "{pointer}");
    }
}

#[test]
fn a_message_is_shown_by_prefix_by_piece_and_by_path() {
    let place = Place::with_samples();
    let id = "20220125T221745.002000Z-4711-000002@mm4.example.com";
    let path = place.file(id);
    let shown = said(&["show", place.path(), id]);
    for wanted in ["20220125T221745", "4711-000002", path.to_str().unwrap()] {
        assert_eq!(said(&["show", place.path(), wanted]), shown);
    }
    for wanted in [
        "יום הולדת שמח!",
        "<+972500000002/TYPE=PLMN@mms.example.com>",
        "(2022-02-01 22:17:44 UTC)",
        "(an answer is wanted, to PostMaster@mms.example.net, by X-Mms-Originator-System)",
        "audio/wav  chime.wav  5.6 kB",
        "מזל טוב!",
        "nothing is wrong with it",
    ] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
}

#[test]
fn raw_and_headers_are_the_bytes_of_the_file() {
    let place = Place::with_samples();
    for (name, mail) in samples() {
        let path = place.dir.path().join(format!("{name}.eml"));
        fs::write(&path, &mail).unwrap();
        let raw = mm4spool(&["show", "--raw", path.to_str().unwrap()]);
        assert_eq!(raw.stdout, mail);
        let header = mm4spool(&["show", "--headers", path.to_str().unwrap()]).stdout;
        assert!(mail.starts_with(&header), "{name}");
        assert!(header.ends_with(b"\r\n"), "{name}");
    }
}

#[test]
fn nothing_shown_of_any_sample_steers_a_terminal() {
    let place = Place::with_samples();
    let mut texts = vec![said(&["list", place.path()])];
    for number in 1..=11 {
        if number != 5 {
            texts.push(said(&["show", place.path(), &format!("4711-{number:06}")]));
        }
    }
    texts.push(stdout(&mm4spool(&["check", place.path()])));
    texts.push(said(&["list", "--json", place.path()]));
    for text in texts {
        let control = |letter: &char| {
            (letter.is_control() && !['\n', '\t'].contains(letter))
                || ('\u{202a}'..='\u{202e}').contains(letter)
        };
        assert_eq!(text.chars().find(control), None, "{text}");
    }
}

#[test]
fn a_very_large_message_is_read_in_part() {
    let place = Place::new();
    let path = place.file("giant");
    fs::write(&path, "Subject: giant\r\n\r\nbegins\r\n").unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(5 << 30).unwrap();
    let found = object_at(&place, "giant");
    assert_eq!(at(&found, "/subject"), "giant");
    assert_eq!(at(&found, "/truncated"), true);
    assert_eq!(at(&found, "/size"), 5_u64 << 30);
    assert_eq!(at(&found, "/findings/0/code"), "not-read-whole");
}

/// The keys of a message.
const KEYS: [&str; 35] = [
    "id",
    "path",
    "time",
    "account",
    "envelope",
    "type",
    "version",
    "transaction_id",
    "message_id",
    "from",
    "to",
    "cc",
    "sender",
    "subject",
    "date",
    "expiry",
    "message_class",
    "content_class",
    "priority",
    "sender_visibility",
    "delivery_report",
    "read_reply",
    "ack_request",
    "originator_system",
    "request_status",
    "status_text",
    "mm_status",
    "mm_status_extension",
    "read_status",
    "fields",
    "size",
    "truncated",
    "parts",
    "slides",
    "findings",
];

#[test]
fn the_json_has_the_same_keys_for_every_message() {
    let place = Place::with_samples();
    let found = objects(&said(&["list", "--json", place.path()]));
    assert_eq!(found.len(), 11);
    let keys = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let wanted: BTreeSet<String> = KEYS.map(str::to_owned).into();
    for value in &found {
        assert_eq!(keys(value), wanted);
        for part in at(value, "/parts").as_array().unwrap() {
            assert_eq!(
                keys(part).into_iter().collect::<Vec<_>>(),
                [
                    "charset",
                    "content_id",
                    "encoding",
                    "location",
                    "name",
                    "number",
                    "sha256",
                    "size",
                    "text",
                    "type"
                ]
            );
        }
    }
    assert_eq!(keys(&object(b"")), wanted);
}

#[test]
fn the_json_says_what_the_mail_says() {
    let found = object(&sample("two_slides"));
    for (pointer, wanted) in [
        ("/account", Value::from("carrier")),
        ("/envelope/from/number", "+972500000001".into()),
        ("/envelope/to/1/domain", "mms.example.com".into()),
        ("/envelope/peer", "[192.0.2.1]".into()),
        ("/envelope/date", "2022-01-25T22:17:44Z".into()),
        ("/type", "MM4_forward.REQ".into()),
        (
            "/transaction_id",
            "38637220220126001740001@mms.example.net".into(),
        ),
        ("/from/type", "PLMN".into()),
        ("/from/domain", Value::Null),
        ("/to/1/number", "+972500000003".into()),
        ("/originator_system/local", "PostMaster".into()),
        ("/date", "2022-01-25T22:17:43Z".into()),
        ("/expiry", "2022-02-01T22:17:44Z".into()),
        ("/delivery_report", true.into()),
        ("/read_reply", Value::Null),
        ("/mm_status", Value::Null),
        ("/parts/1/type", "image/png".into()),
        ("/parts/1/size", 1587.into()),
        (
            "/parts/2/text",
            "The last boat came in just as the sun went down.".into(),
        ),
        ("/slides/0/duration_ms", 5000.into()),
        ("/slides/1/items/0/part", 4.into()),
        ("/findings", Value::Array(Vec::new())),
    ] {
        assert_eq!(at(&found, pointer), &wanted, "{pointer}");
    }
    let found = object(&sample("delivery_report"));
    assert_eq!(at(&found, "/envelope/from"), &Value::Null);
    assert_eq!(at(&found, "/mm_status"), "Retrieved");
    assert_eq!(at(&found, "/parts"), &Value::Array(Vec::new()));
}

#[test]
fn a_thread_is_a_request_with_its_answer_and_its_reports() {
    let place = exchange();
    for id in ["20220125T221700.0", "20220125T221900"] {
        let text = said(&["thread", place.path(), id]);
        for wanted in [
            "answered Ok after 0.8 s",
            "delivery report Retrieved after 2 min, by +972500000002",
            "answers 20220125T221700.000000Z-7-221700@mm4.example.com after 0.8 s",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        assert!(!text.contains("222000"), "{text}");
        let found = objects(&said(&["thread", "--json", place.path(), id]));
        assert_eq!(found.len(), 3);
        assert_eq!(at(&found[0], "/joined_to"), &Value::Null);
        assert_eq!(at(&found[1], "/after_ms"), 800);
        assert_eq!(at(&found[2], "/joined_to"), at(&found[0], "/id"));
        assert_eq!(at(&found[2], "/mm_status"), "Retrieved");
    }
    let shown = said(&["show", place.path(), "20220125T221700.0"]);
    assert!(
        shown.contains("\nExchange\n  answered Ok after 0.8 s\n"),
        "{shown}"
    );
    let shown = said(&["show", place.path(), "20220125T222000"]);
    assert!(shown.contains("  unanswered for "), "{shown}");
}
