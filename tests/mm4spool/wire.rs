//! What has been seen on the wire is read.

use super::*;

/// A field that varies, and where the JSON must show it.
const SHAPES: &[(&str, &str, &str)] = &[
    // Names and values vary in case, a space may be missing.
    (
        "X-MMS-Message-Type: MM4_forward.REQ",
        "/type",
        "MM4_forward.REQ",
    ),
    (
        "X-Mms-Message-type:MM4_Delivery_report.REQ",
        "/type",
        "MM4_Delivery_report.REQ",
    ),
    (
        "X-Mms-Transaction-Id: 695308591",
        "/transaction_id",
        "695308591",
    ),
    ("X-Mms-3gpp-Mms-Version: 6.16.0", "/version", "6.16.0"),
    // Ids are opaque.
    (
        "X-Mms-Transaction-ID: \"38637220220126001745557@mms.example.net\"",
        "/transaction_id",
        "38637220220126001745557@mms.example.net",
    ),
    (
        "X-Mms-Message-ID: v1x1Sv2C0TM.+972500000006",
        "/message_id",
        "v1x1Sv2C0TM.+972500000006",
    ),
    (
        "X-Mms-Message-ID: ../../etc/passwd",
        "/message_id",
        "../../etc/passwd",
    ),
    // Addresses.
    (
        "From: +972500000001/TYPE=PLMN",
        "/from/number",
        "+972500000001",
    ),
    ("From: system-user", "/from/local", "system-user"),
    ("From: PostMaster", "/from/local", "PostMaster"),
    ("To: 3456/TYPE=PLMN", "/to/0/number", "3456"),
    (
        "To: 192.0.2.7/TYPE=IPv4@mms.mnc006.mcc260.gprs",
        "/to/0/domain",
        "mms.mnc006.mcc260.gprs",
    ),
    ("To: 2001:db8::1/TYPE=IPv6", "/to/0/type", "IPv6"),
    (
        "To: +972500000001/type=plmn@[IPv6:2001:db8::1]",
        "/to/0/domain",
        "[IPv6:2001:db8::1]",
    ),
    ("To: a,\r\n \r\n b", "/to/1/local", "b"),
    ("Cc: someone@example.com", "/cc/0/local", "someone"),
    // Expiry in its forms.
    (
        "X-Mms-Expiry: Tue, 01 Feb 2022 22:17:44 GMT",
        "/expiry",
        "2022-02-01T22:17:44Z",
    ),
    (
        "X-Mms-Expiry: 2022-02-01T22:17:44Z",
        "/expiry",
        "2022-02-01T22:17:44Z",
    ),
    (
        "Date: Tue, 01 Feb 2022 22:17:44 GMT\r\nX-Mms-Expiry: 60",
        "/expiry",
        "2022-02-01T22:18:44Z",
    ),
    // Responses and reports.
    (
        "X-Mms-Request-Status-Code: Error-content-not-accepted",
        "/request_status",
        "Error-content-not-accepted",
    ),
    (
        "X-Mms-Status-Text: =?utf-8?Q?too_big?=",
        "/status_text",
        "too big",
    ),
    (
        "X-Mms-MM-Status-Code: Unrecognised",
        "/mm_status",
        "Unrecognised",
    ),
    (
        "X-Mms-MM-Status-Extension: Rejection-By-Other-RS",
        "/mm_status_extension",
        "Rejection-By-Other-RS",
    ),
    (
        "X-Mms-Read-Status: Deleted without being read",
        "/read_status",
        "Deleted without being read",
    ),
    // The rest of the table.
    ("X-Mms-Message-Class: Auto", "/message_class", "Auto"),
    (
        "X-Mms-Content-Class: megapixel",
        "/content_class",
        "megapixel",
    ),
    ("X-Mms-Priority: High", "/priority", "High"),
    (
        "X-Mms-Sender-Visibility: Hide",
        "/sender_visibility",
        "Hide",
    ),
    (
        "X-Mms-Originator-System: PostMaster@mms.example.net",
        "/originator_system/domain",
        "mms.example.net",
    ),
    ("Subject: =?utf-8?B?16nXnNeV150=?=", "/subject", "שלום"),
    // What has no key of its own survives.
    (
        "X-Mms-Originator-R/S-Delivery-Report: Yes",
        "/fields/0/name",
        "X-Mms-Originator-R/S-Delivery-Report",
    ),
    ("X-Operator-Own: kept", "/fields/0/value", "kept"),
];

#[test]
fn every_field_seen_on_the_wire_is_read() {
    for (field, pointer, wanted) in SHAPES {
        // With the empty line, with a body, and with the dot right after.
        for rest in ["\r\n\r\n", "\r\n\r\nbody\r\n", "\r\n", ""] {
            let found = object(format!("{field}{rest}").as_bytes());
            assert_eq!(at(&found, pointer), wanted, "{field}");
        }
    }
    for (field, pointer, wanted) in [
        ("X-Mms-Ack-Request: 1", "/ack_request", true),
        ("X-Mms-Ack-Request: yes", "/ack_request", true),
        ("X-Mms-Delivery-Report: No", "/delivery_report", false),
        ("X-Mms-Read-Reply: YES", "/read_reply", true),
    ] {
        let found = object(format!("{field}\r\n").as_bytes());
        assert_eq!(at(&found, pointer), wanted, "{field}");
    }
    for unknown in [
        "Date: 26/01/22 at noon",
        "X-Mms-Expiry: soon",
        "Subject:",
        "X-Mms-Transaction-ID:",
    ] {
        let found = object(format!("{unknown}\r\n").as_bytes());
        for key in ["/date", "/expiry", "/subject", "/transaction_id"] {
            assert_eq!(at(&found, key), &Value::Null, "{unknown}");
        }
    }
}

#[test]
fn every_structure_seen_on_the_wire_is_taken_apart() {
    let part = "Content-Type:application/smil;name=0.smil\r\nContent-ID:0.smil\r\n\r\n\
                <smil><body><par dur=\"5s\"><img src=\"1.jpg\"/></par></body></smil>\r\n--x\r\n\
                Content-Type: image/jpeg\r\nContent-Disposition:attachment;FileName=1.jpg\r\n\
                Content-Transfer-Encoding: base64\r\n\r\n/9j/4AAQ\r\n--x--\r\n";
    for (content_type, start_is_found) in [
        (
            "multipart/related;Start=\"<0.smil>\";Type=\"application/smil\";boundary=x",
            true,
        ),
        ("multipart/related;Start=0.smil;boundary=\"x\"", true),
        (
            "MULTIPART/RELATED; start=\"<nowhere>\";\r\n\tboundary=x",
            false,
        ),
        ("multipart/mixed; boundary=x", true),
    ] {
        let found = object(format!("Content-Type: {content_type}\r\n\r\n--x\r\n{part}").as_bytes());
        assert_eq!(at(&found, "/parts/0/type"), "application/smil");
        assert_eq!(at(&found, "/parts/1/name"), "1.jpg");
        assert_eq!(at(&found, "/parts/1/size"), 6);
        assert_eq!(at(&found, "/slides/0/items/0/part"), 2);
        let codes = at(&found, "/findings").to_string();
        assert_eq!(
            codes.contains("start-unresolved"),
            !start_is_found,
            "{content_type}"
        );
    }
    let single = object(
        b"Content-Type: image/jpeg\r\nContent-Transfer-Encoding: base64\r\n\r\n/9j/4AAQ\r\n",
    );
    assert_eq!(at(&single, "/parts/0/size"), 6);
    let found = object(&sample("many_recipients"));
    assert_eq!(at(&found, "/to").as_array().unwrap().len(), 21);
    assert_eq!(at(&found, "/to/0"), at(&found, "/to/19"));
    assert_eq!(at(&found, "/envelope/to").as_array().unwrap().len(), 1);
    assert_eq!(at(&found, "/date"), &Value::Null);
    assert_eq!(
        at(&found, "/parts/0/text"),
        "שלום, the meeting moved to four o'clock."
    );
}

#[test]
fn text_is_shown_as_a_phone_shows_it_and_nothing_is_lost_without_a_finding() {
    for (mail, wanted, code) in [
        (
            "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain\n\
             hello there\nTo: you\n\nbye\n--x--\n",
            "hello there\nTo: you\n\nbye",
            "no-empty-line",
        ),
        (
            "Subject: x\nhello there\nbye\n",
            "hello there\nbye",
            "no-empty-line",
        ),
        (
            "Content-Type: multipart/mixed; boundary=y\n\nhello there\n",
            "hello there",
            "no-delimiter",
        ),
        (
            "Content-Type: text/plain\nContent-Transfer-Encoding: x-uuencode\n\n\
             begin 644 a.txt\n+:&5L;&\\@=V]R;&0 \n`\nend\n",
            "hello world",
            "",
        ),
        (
            "Content-Type: application/vnd.wap.multipart.related\n\
             Content-Transfer-Encoding: base64\n\nAQEFg2hlbGxv\n",
            "hello",
            "",
        ),
        (
            "Content-Type: text/plain; charset=x-no-such\n\nשלום\n",
            "שלום",
            "bad-charset",
        ),
    ] {
        let found = object(mail.as_bytes());
        assert_eq!(at(&found, "/parts/0/text"), wanted, "{mail}");
        let codes = at(&found, "/findings").to_string();
        assert!(code.is_empty() || codes.contains(code), "{mail}: {codes}");
    }
}

#[test]
fn every_command_has_an_answer_to_every_sample() {
    let mails = all_samples();
    let place = Place::new();
    for (name, mail) in &mails {
        place.publish(name, mail);
        let shown = said(&["show", place.path(), &format!("{name}.eml")]);
        assert!(
            shown.to_ascii_lowercase().contains("x-mms-message-type"),
            "{name}"
        );
        let to = place.dir.path().join("out").join(name);
        let extracted = mm4spool(&[
            "extract",
            "--to",
            to.to_str().unwrap(),
            place.path(),
            &format!("{name}.eml"),
        ]);
        assert!(extracted.status.success(), "{name}: {}", stderr(&extracted));
    }
    assert_eq!(
        objects(&said(&["list", "--json", "--last", "999", place.path()])).len(),
        mails.len()
    );
    assert!(said(&["gallery", place.path()]).ends_with("</html>\n"));
}
