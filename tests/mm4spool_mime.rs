//! The texts, subjects and parts that the inspector reads: a corpus of our own making
//! with what a phone shows of each mail, and the same mails read by Python's email
//! package, an implementation that shares nothing with ours.
//!
//! `MM4SPOOL_CORPUS=DIR cargo test --test mm4spool_mime` compares the `.eml` files of
//! another directory with Python too. Without `python3` the comparisons are left out and
//! say so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A mail, and what is read in it.
struct Mail {
    name: &'static str,
    /// With LF for line ends.
    mail: &'static [u8],
    subject: Option<&'static str>,
    /// The type of each part and, of text, the text.
    parts: &'static [(&'static str, Option<&'static str>)],
    /// Whether Python's email package reads it otherwise, and how.
    python: Option<&'static str>,
}

const CORPUS: &[Mail] = &[
    Mail {
        name: "plain",
        mail: b"Subject: plain\n\nhello\nworld\n",
        subject: Some("plain"),
        parts: &[("text/plain", Some("hello\nworld"))],
        python: None,
    },
    Mail {
        name: "charset_unknown_keeps_utf_8",
        mail: "Content-Type: text/plain; charset=x-unknown\n\nשלום\n".as_bytes(),
        subject: None,
        parts: &[("text/plain", Some("שלום"))],
        python: None,
    },
    Mail {
        name: "charset_default_keeps_utf_8",
        mail: "Content-Type: text/plain; charset=default\n\nשלום\n".as_bytes(),
        subject: None,
        parts: &[("text/plain", Some("שלום"))],
        python: None,
    },
    Mail {
        name: "charset_empty_keeps_utf_8",
        mail: "Content-Type: text/plain; charset=\"\"\n\nשלום\n".as_bytes(),
        subject: None,
        parts: &[("text/plain", Some("שלום"))],
        python: None,
    },
    Mail {
        name: "charset_unknown_8bit_keeps_utf_8",
        mail: "Content-Type: text/plain; charset=unknown-8bit\n\nשלום\n".as_bytes(),
        subject: None,
        parts: &[("text/plain", Some("שלום"))],
        python: Some("reads unknown-8bit as ASCII"),
    },
    Mail {
        name: "charset_mibenum_utf_8",
        mail: "Content-Type: text/plain; charset=106\n\nשלום\n".as_bytes(),
        subject: None,
        parts: &[("text/plain", Some("שלום"))],
        python: None,
    },
    Mail {
        name: "charset_mibenum_latin_1",
        mail: b"Content-Type: text/plain; charset=4\n\ncaf\xe9\n",
        subject: None,
        parts: &[("text/plain", Some("café"))],
        python: None,
    },
    Mail {
        name: "charset_mibenum_ucs_2",
        mail: b"Content-Type: text/plain; charset=1000\nContent-Transfer-Encoding: base64\n\nAGgAaQXp\n",
        subject: None,
        parts: &[("text/plain", Some("hiש"))],
        python: None,
    },
    Mail {
        name: "charset_ucs_2_is_big_endian",
        mail: b"Content-Type: text/plain; charset=iso-10646-ucs-2\nContent-Transfer-Encoding: base64\n\nBekF3AXVBd0=\n",
        subject: None,
        parts: &[("text/plain", Some("שלום"))],
        python: None,
    },
    Mail {
        name: "charset_ucs_2_with_a_mark",
        mail: b"Content-Type: text/plain; charset=ucs-2\nContent-Transfer-Encoding: base64\n\n//7pBdwF\n",
        subject: None,
        parts: &[("text/plain", Some("של"))],
        python: None,
    },
    Mail {
        name: "charset_csunicode_little_endian_by_its_content",
        mail: b"Content-Type: text/plain; charset=csUnicode\nContent-Transfer-Encoding: base64\n\naABpAA==\n",
        subject: None,
        parts: &[("text/plain", Some("hi"))],
        python: None,
    },
    Mail {
        name: "charset_utf_16_without_a_mark",
        mail: b"Content-Type: text/plain; charset=utf-16\nContent-Transfer-Encoding: base64\n\nAGgAaQ==\n",
        subject: None,
        parts: &[("text/plain", Some("hi"))],
        python: Some("takes utf-16 without a mark for little-endian"),
    },
    Mail {
        name: "subject_words_that_split_a_letter",
        mail: b"Subject: =?utf-8?B?16k=?= =?utf-8?B?1w==?= =?utf-8?B?nA==?=\n\nx\n",
        subject: Some("של"),
        parts: &[("text/plain", Some("x"))],
        python: Some("decodes each word alone"),
    },
    Mail {
        name: "subject_words_in_a_charset_with_states",
        mail: b"Subject: =?ISO-2022-JP?B?GyRCJUYlOSVIGyhC?=\n =?ISO-2022-JP?B?GyRCJUYlOSVIGyhC?=\n\nx\n",
        subject: Some("\u{30c6}\u{30b9}\u{30c8}\u{30c6}\u{30b9}\u{30c8}"),
        parts: &[("text/plain", Some("x"))],
        python: None,
    },
    Mail {
        name: "subject_word_in_an_unknown_charset",
        mail: b"Subject: =?x-unknown?Q?caf=C3=A9?=\n\nx\n",
        subject: Some("café"),
        parts: &[("text/plain", Some("x"))],
        python: Some("decodes it as ASCII"),
    },
    Mail {
        name: "subject_word_with_raw_octets",
        mail: b"Subject: =?iso-8859-1?Q?caf\xe9?=\n\nx\n",
        subject: Some("café"),
        parts: &[("text/plain", Some("x"))],
        python: Some("keeps no raw octets"),
    },
    Mail {
        name: "subject_in_a_charset_by_its_name_in_python",
        mail: b"Subject: =?big5_tw?b?pKSk5Q==?= =?eucgb2312_cn?b?1tDOxA==?=\n\nx\n",
        subject: Some("\u{4e2d}\u{6587}\u{4e2d}\u{6587}"),
        parts: &[("text/plain", Some("x"))],
        python: None,
    },
    Mail {
        name: "subject_raw_utf_8",
        mail: "Subject: שלום\n\nx\n".as_bytes(),
        subject: Some("שלום"),
        parts: &[("text/plain", Some("x"))],
        python: None,
    },
    Mail {
        name: "subject_raw_latin_1",
        mail: b"Subject: caf\xe9\n\nx\n",
        subject: Some("café"),
        parts: &[("text/plain", Some("x"))],
        python: None,
    },
    Mail {
        name: "part_without_the_empty_line",
        mail: b"Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain\nhello there\n\nbye\n--x--\n",
        subject: None,
        parts: &[("text/plain", Some("hello there\n\nbye"))],
        python: None,
    },
    Mail {
        name: "mail_without_the_empty_line",
        mail: b"Subject: x\nhello there\n\nbye\n",
        subject: Some("x"),
        parts: &[("text/plain", Some("hello there\n\nbye"))],
        python: None,
    },
    Mail {
        name: "mail_without_a_header",
        mail: b"hello there\n\nbye\n",
        subject: None,
        parts: &[("text/plain", Some("hello there\n\nbye"))],
        python: None,
    },
    Mail {
        name: "multipart_that_cannot_be_divided",
        mail: b"Content-Type: multipart/mixed; boundary=x\n\nhello\n",
        subject: None,
        parts: &[("multipart/mixed", Some("hello"))],
        python: Some("has no type for it"),
    },
    Mail {
        name: "wap_multipart",
        mail: b"Content-Type: application/vnd.wap.multipart.related; boundary=x\n\n--x\nContent-Type: text/plain\n\none\n--x--\n",
        subject: None,
        parts: &[("text/plain", Some("one"))],
        python: Some("does not divide WAP's types"),
    },
    Mail {
        name: "wap_multipart_in_binary",
        mail: b"Content-Type: application/vnd.wap.multipart.mixed\nContent-Transfer-Encoding: base64\n\nAQEFg2hlbGxv\n",
        subject: None,
        parts: &[("text/plain", Some("hello"))],
        python: Some("does not know WSP"),
    },
    Mail {
        name: "uuencoded",
        mail: b"Content-Type: text/plain\nContent-Transfer-Encoding: x-uuencode\n\nbegin 644 a.txt\n+:&5L;&\\@=V]R;&0 \n`\nend\n",
        subject: None,
        parts: &[("text/plain", Some("hello world"))],
        python: None,
    },
    Mail {
        name: "uuencoded_within_a_text",
        mail: b"Subject: x\n\nlook:\nbegin 644 a.gif\n#86)C\n`\nend\nbye\n",
        subject: Some("x"),
        parts: &[("text/plain", Some("look:\nbye")), ("image/gif", None)],
        python: Some("leaves it in the text"),
    },
    Mail {
        name: "html",
        mail: b"Content-Type: text/html; charset=utf-8\n\n<p>one &amp; two</p>\n",
        subject: None,
        parts: &[("text/html", Some("<p>one &amp; two</p>"))],
        python: None,
    },
    Mail {
        name: "marks_of_direction_and_emoji",
        mail: "Subject: \u{200f}\u{5e9}\u{202b}\u{1f468}\u{200d}\u{1f469}\n\n\u{200f}\u{1f3f4}\u{e0067}\u{e007f}\n".as_bytes(),
        subject: Some("\u{200f}\u{5e9}\u{202b}\u{1f468}\u{200d}\u{1f469}"),
        parts: &[("text/plain", Some("\u{200f}\u{1f3f4}\u{e0067}\u{e007f}"))],
        python: None,
    },
    Mail {
        name: "multimedia_message",
        mail: b"Subject: =?utf-8?Q?caf=C3=A9?=\nContent-Type: multipart/related; boundary=\"b\"; start=\"<smil>\"\n\n\
            --b\nContent-Type: application/smil\nContent-ID: <smil>\n\n<smil/>\n\
            --b\nContent-Type: image/jpeg\nContent-Transfer-Encoding: base64\n\n/9j/4AAQ\n\
            --b\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\ncaf=E9\n--b--\n",
        subject: Some("café"),
        parts: &[("application/smil", None), ("image/jpeg", None), ("text/plain", Some("café"))],
        python: None,
    },
    Mail {
        name: "report_without_a_body",
        mail: b"X-Mms-Message-Type: MM4_delivery_report.REQ\nX-Mms-MM-Status-Code: Retrieved\n",
        subject: None,
        parts: &[],
        python: None,
    },
];

/// The objects, one per line, that a program printed before it ended well.
fn printed_by(output: Output) -> Vec<Value> {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What the inspector reads in the `.eml` files of a directory, by their names.
fn inspected(dir: &Path) -> BTreeMap<String, Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_mm4spool"))
        .args(["list", "--json", "--last", "100000"])
        .arg(dir)
        .output()
        .unwrap();
    printed_by(output)
        .into_iter()
        .map(|object| (format!("{}.eml", object["id"].as_str().unwrap()), object))
        .collect()
}

/// What Python reads, by name; `None` where there is no Python.
fn read_by_python(dir: &Path) -> Option<BTreeMap<String, Value>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/read_mails.py");
    let output = match Command::new("python3").arg(script).arg(dir).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("left out: python3: {error}");
            return None;
        }
    };
    Some(
        printed_by(output)
            .into_iter()
            .map(|object| (object["name"].as_str().unwrap().to_owned(), object))
            .collect(),
    )
}

/// Where the two differ, of what Python can say.
fn differences(name: &str, ours: &Value, theirs: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if theirs["error"].is_string() {
        return found;
    }
    let subject = ours["subject"].as_str().unwrap_or_default();
    let subject = subject.split_whitespace().collect::<Vec<_>>().join(" ");
    if theirs["subject"]
        .as_str()
        .is_some_and(|theirs| theirs != subject)
    {
        found.push(format!(
            "{name}: subject {subject:?}, by Python {}",
            theirs["subject"]
        ));
    }
    let (parts, others) = (
        ours["parts"].as_array().unwrap(),
        theirs["parts"].as_array().unwrap(),
    );
    if parts.len() != others.len() {
        let types = |parts: &[Value]| {
            parts
                .iter()
                .map(|part| part["type"].to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        found.push(format!(
            "{name}: parts {}, by Python {}",
            types(parts),
            types(others)
        ));
        return found;
    }
    for (part, other) in parts.iter().zip(others) {
        for key in ["type", "sha256", "text"] {
            // Ours is HTML's source too, and Python says no text of other types.
            let is_broken = key != "type" && is_broken(ours, &part["number"]);
            let same = is_broken || other[key].is_null() || part[key] == other[key];
            if !same {
                found.push(format!(
                    "{name}: part {} {key} {}, by Python {}",
                    part["number"], part[key], other[key]
                ));
            }
        }
    }
    found
}

/// Whether a part is encoded so badly that each reader decodes it in its own way.
fn is_broken(ours: &Value, part: &Value) -> bool {
    let mut findings = ours["findings"].as_array().unwrap().iter();
    findings.any(|finding| {
        let code = finding["code"].as_str().unwrap();
        code.starts_with("bad-") && finding["part"] == *part
    })
}

fn written() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for mail in CORPUS {
        // Once with each line end.
        fs::write(dir.path().join(format!("{}.eml", mail.name)), mail.mail).unwrap();
        let crlf = String::from_utf8_lossy(mail.mail).replace('\n', "\r\n");
        if !crlf.contains('\u{fffd}') {
            fs::write(dir.path().join(format!("{}.crlf.eml", mail.name)), crlf).unwrap();
        }
    }
    dir
}

#[test]
fn each_mail_of_the_corpus_is_read_as_a_phone_shows_it() {
    let dir = written();
    let found = inspected(dir.path());
    for mail in CORPUS {
        for ending in ["eml", "crlf.eml"] {
            let Some(object) = found.get(&format!("{}.{ending}", mail.name)) else {
                assert_eq!(ending, "crlf.eml", "{}", mail.name);
                continue;
            };
            assert_eq!(object["subject"].as_str(), mail.subject, "{}", mail.name);
            let parts: Vec<(&str, Option<&str>)> = object["parts"]
                .as_array()
                .unwrap()
                .iter()
                .map(|part| (part["type"].as_str().unwrap(), part["text"].as_str()))
                .collect();
            assert_eq!(parts, mail.parts, "{}", mail.name);
        }
    }
}

#[test]
fn python_reads_the_same_but_for_what_is_named() {
    let dir = written();
    let Some(theirs) = read_by_python(dir.path()) else {
        return;
    };
    let ours = inspected(dir.path());
    for mail in CORPUS {
        let name = format!("{}.eml", mail.name);
        let found = differences(&name, &ours[&name], &theirs[&name]);
        assert!(found.is_empty() || mail.python.is_some(), "{found:#?}");
    }
}

#[test]
fn python_reads_our_samples_the_same() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages");
    for place in [samples.join("inspect"), samples] {
        let Some((found, _)) = compared(&place) else {
            return;
        };
        assert!(found.is_empty(), "{found:#?}");
    }
}

/// A foreign corpus has mails that each reader takes apart in its own way: the
/// differences are printed to be judged, and most mails have none.
#[test]
fn python_reads_most_of_a_foreign_corpus_the_same() {
    let place = std::env::var_os("MM4SPOOL_CORPUS").map(PathBuf::from);
    let Some((found, count)) = place.and_then(|place| compared(&place)) else {
        return;
    };
    eprintln!("{} differences in {count} mails: {found:#?}", found.len());
    assert!(10 * found.len() < 3 * count, "{} differences", found.len());
}

/// The differences between the readings of a directory, and how many mails it has.
fn compared(place: &Path) -> Option<(Vec<String>, usize)> {
    let theirs = read_by_python(place)?;
    let ours = inspected(place);
    let found = theirs
        .iter()
        .filter_map(|(name, theirs)| Some(differences(name, ours.get(name)?, theirs)));
    Some((found.flatten().collect(), theirs.len()))
}
