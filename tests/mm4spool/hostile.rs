//! What the inspector must never do, whatever is in a mail.

use mm4d::inspect::check::{self, Profile};
use mm4d::inspect::message::Message;
use mm4d::inspect::output::page::Page;
use mm4d::inspect::output::terminal::Terminal;
use mm4d::inspect::output::{files, json, text};
use mm4d::inspect::response::{self, Answer};
use mm4d::inspect::store::Store;
use mm4d::mm4::RequestStatus;
use proptest::prelude::*;

use super::*;

/// Everything that the inspector does with a mail; fails by panicking.
fn do_everything(mail: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mail.eml");
    fs::write(&path, mail).unwrap();
    let store = Store::open(&path).unwrap();
    let entries = store.entries().unwrap();
    let file = store.read(&entries[0]).unwrap();
    let message = Message::read(&entries[0], &file);
    let mut out = Vec::new();
    let extras = text::Extras::default();
    text::write(&message, &extras, &Terminal::in_colour(), &mut out).unwrap();
    let now = "2022-01-26T00:17:43Z".parse().unwrap();
    Page::prepare(&store, entries.clone(), &entries)
        .write(&store, "x", now, &mut out)
        .unwrap();
    assert!(String::from_utf8(out).is_ok());
    let mut out = Vec::new();
    json::write(&message, &mut out).unwrap();
    let object: Value = serde_json::from_slice(&out).unwrap();
    assert!(object.is_object());
    check::findings(&message, &Profile::default());
    let to = dir.path().join("to");
    let written = files::extract(&message, None, &to).unwrap();
    assert_eq!(written.len(), fs::read_dir(&to).unwrap().count());
    // mail.eml and to/: nothing was written elsewhere.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    for force in [false, true] {
        let answer = Answer {
            status: RequestStatus::Ok,
            text: None,
            force,
        };
        let _ = response::compose(&message, &answer, now, 1);
    }
}

#[test]
fn endless_nesting_and_headers_are_read_within_limits() {
    let nest: String = (0..100_000)
        .map(|level| format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n"))
        .collect();
    do_everything(nest.as_bytes());
    let same = "Content-Type: multipart/mixed; boundary=b\n\n--b\n".repeat(100_000);
    do_everything(same.as_bytes());
    do_everything("To: a\n".repeat(200_000).as_bytes());
    do_everything(format!("To: {}\n", "a,".repeat(500_000)).as_bytes());
    do_everything(format!("Subject: {}\n", "=?utf-8?Q?=".repeat(100_000)).as_bytes());
    do_everything(format!("Content-Type: {}\n\nx", "a*0*=x;".repeat(10_000)).as_bytes());
    do_everything(format!("To: {}\n", "(".repeat(500_000)).as_bytes());
    do_everything(
        format!(
            "Content-Type: application/smil\n\n{}",
            "<par><img src='a' ".repeat(50_000)
        )
        .as_bytes(),
    );
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let samples: Vec<Vec<u8>> = all_samples().into_iter().map(|(_, mail)| mail).collect();
    let edits = proptest::collection::vec(
        (
            any::<prop::sample::Index>(),
            any::<u8>(),
            0..4_usize,
            0..400_usize,
        ),
        0..12,
    );
    (proptest::sample::select(samples), edits).prop_map(|(mut mail, edits)| {
        for (place, octet, kind, length) in edits {
            if mail.is_empty() {
                break;
            }
            let start = place.index(mail.len());
            let end = (start + length).min(mail.len());
            match kind {
                0 => mail[start] = octet,
                1 => drop(mail.drain(start..end)),
                2 => mail.truncate(start.max(1)),
                _ => {
                    let piece = mail[start..end].to_vec();
                    mail.extend(piece);
                }
            }
        }
        mail
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(mail in proptest::collection::vec(any::<u8>(), 0..2000)) {
        do_everything(&mail);
    }

    #[test]
    fn no_damage_to_a_mail_makes_it_panic(mail in mutated()) {
        do_everything(&mail);
    }

    #[test]
    fn no_fields_make_it_panic(
        fields in proptest::collection::vec((
            "(Content-Type|Content-Disposition|Content-ID|Content-Transfer-Encoding|From|To|Date|Subject\
             |X-Mms-Expiry|X-Mms-Message-Type|X-Mms-Originator-System|X-Mms-Ack-Request|Return-Path|Received)",
            "(multipart/mixed|application/smil|text/plain|;|=|\"|boundary|charset|name\\*0\\*|utf-8''|%|=\\?|\\?=|\\?Q\\?|<|>|@|,|/TYPE=|base64|quoted-printable|MM4_forward\\.REQ|Yes|[0-9]{1,20}|\\PC|\r\n |é){0,12}",
        ), 0..12),
        body in "(--boundary|--|\r\n|<par|<img|src=|'|>|=|[A-Za-z0-9+/=]{0,8}|\\PC){0,30}",
    ) {
        let mut mail = String::new();
        for (name, value) in fields {
            mail.push_str(&format!("{name}: {value}\r\n"));
        }
        mail.push_str(&format!("\r\n{body}"));
        do_everything(mail.as_bytes());
    }
}
