//! What holds for any bytes at all, on the session alone.
//!
//! `PROPTEST_CASES` sets the number of cases of each property; without it there
//! are as many as take a moment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::sync::OnceLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use mm4d::smtp::Envelope;

use support::dialog::Dialog;
use support::memory::{self, Memory};
use support::smuggling::{Fate, SMUGGLED, VARIANTS, fate, first_mail};
use support::{plain_response, wire};

fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.map_or(cases, |text| text.parse().unwrap()),
        // What is found becomes a dialog with a name, not a line of hex.
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// A session up to its 354.
fn up_to_354() -> Vec<u8> {
    format!(
        "EHLO mms.example.net\r\nAUTH PLAIN {}\r\n\
         MAIL FROM:<+972500000001/TYPE=PLMN@mms.example.net>\r\n\
         RCPT TO:<+972500000002/TYPE=PLMN@test.example>\r\nDATA\r\n",
        plain_response()
    )
    .into_bytes()
}

/// A session after its 354, with nothing left unread.
fn behind_354() -> Memory {
    let mut memory = Memory::new();
    memory.receive(&up_to_354());
    let said = memory.take_said();
    assert!(
        said.ends_with("354 enter mail, end with line containing only '.'\r\n"),
        "{said}"
    );
    memory
}

/// Runs a session in one piece and in `chunks`, which are used round and round;
/// both must go the same way, and neither may say anything that is no reply.
fn same_in_chunks(bytes: &[u8], chunks: &[usize]) -> Memory {
    let mut whole = Memory::new();
    whole.receive(bytes);
    let mut parts = Memory::new();
    let mut rest = bytes;
    for &size in chunks.iter().cycle() {
        let (now, later) = rest.split_at(size.min(rest.len()));
        parts.receive(now);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    assert_eq!(whole.events, parts.events);
    assert_eq!(whole.mails, parts.mails);
    assert_eq!(whole.closed, parts.closed);
    for line in String::from_utf8(whole.said.clone())
        .unwrap()
        .split_inclusive("\r\n")
    {
        let text = line.strip_suffix("\r\n").expect("a reply ends in CRLF");
        let code = text.as_bytes()[..3].iter().all(u8::is_ascii_digit);
        let mark = matches!(text.as_bytes()[3], b' ' | b'-');
        let printable = text.bytes().all(|byte| (32..127).contains(&byte));
        assert!(code && mark && printable, "no reply: {line:?}");
    }
    for mail in &whole.mails {
        assert!(is_crlf_only(&mail.content), "{:?}", mail.content);
    }
    whole
}

fn is_crlf_only(content: &[u8]) -> bool {
    let pairs = content.windows(2).filter(|two| two == b"\r\n").count();
    let ends = content
        .iter()
        .filter(|&&byte| byte == b'\r' || byte == b'\n');
    ends.count() == 2 * pairs
}

fn chunks() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![1]),
        vec(1_usize..8, 1..8),
        vec(1_usize..2000, 1..4)
    ]
}

/// Pieces of the dialogue, right ones and wrong ones, in any order.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let auth = format!("AUTH PLAIN {}\r\n", plain_response()).into_bytes();
    let pieces: Vec<Vec<u8>> = [
        &b"EHLO mms.example.net\r\n"[..],
        b"HELO [192.0.2.1]\r\n",
        b"EHLO\r\n",
        b"AUTH LOGIN\r\n",
        b"AUTH PLAIN\r\n",
        b"cGVlcjE=\r\n",
        b"c2VjcmV0\r\n",
        b"*\r\n",
        b"=\r\n",
        b"MAIL FROM:<>\r\n",
        b"MAIL FROM:<+972500000001@mms.example.net> SIZE=1\r\n",
        b"MAIL FROM:<\r\n",
        b"RCPT TO:<Postmaster>\r\n",
        b"RCPT TO:<+972500000002@test.example>\r\n",
        b"RCPT TO:<>\r\n",
        b"DATA\r\n",
        b"DATA",
        b".\r\n",
        b"\r\n.\r\n",
        b"..\r\n",
        b"text\r\n",
        b"text",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"QUIT\r\n",
        b"GET / HTTP/1.1\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b"\0",
        b".",
        b" ",
        b"\xff",
        b"<",
        b">",
        b"@",
        b"\"",
        b"\\",
    ]
    .into_iter()
    .map(<[u8]>::to_vec)
    .chain([auth.clone(), auth, up_to_354(), up_to_354()])
    .collect();
    vec(select(pieces), 0..30).prop_map(|pieces| pieces.concat())
}

/// The client's bytes of each dialog that is not made of long lines.
fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let sent = Dialog::all().into_iter().map(|dialog| dialog.sent());
        sent.filter(|bytes| bytes.len() < 2000).collect()
    })
}

#[derive(Clone, Debug)]
enum Mutation {
    Replace(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Repeat(Index, Index),
    Cut(Index, Index),
    Swap(Index, Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let byte = prop_oneof![
        any::<u8>(),
        select(b"\r\n\0. :<>@=*\"".to_vec()),
        select(b"\r\n.".to_vec()),
    ];
    let (at, to) = (any::<Index>, any::<Index>);
    prop_oneof![
        (at(), byte.clone()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        (at(), byte).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        at().prop_map(Mutation::Remove),
        (at(), to()).prop_map(|(from, to)| Mutation::Repeat(from, to)),
        (at(), to()).prop_map(|(from, to)| Mutation::Cut(from, to)),
        (at(), to()).prop_map(|(one, other)| Mutation::Swap(one, other)),
    ]
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        // An index needs something to point at.
        bytes.push(b'\n');
        let length = bytes.len();
        let range = |from: &Index, to: &Index| {
            let (from, to) = (from.index(length), to.index(length));
            from.min(to)..from.max(to).min(from.min(to) + 200)
        };
        match self {
            Mutation::Replace(at, byte) => bytes[at.index(length)] = *byte,
            Mutation::Insert(at, byte) => bytes.insert(at.index(length), *byte),
            Mutation::Remove(at) => {
                bytes.remove(at.index(length));
            }
            Mutation::Repeat(from, to) => {
                let range = range(from, to);
                let again = bytes[range.clone()].to_vec();
                bytes.splice(range.end..range.end, again);
            }
            Mutation::Cut(from, to) => {
                bytes.drain(range(from, to));
            }
            Mutation::Swap(one, other) => bytes.swap(one.index(length), other.index(length)),
        }
        bytes.pop();
    }
}

/// A mail as RFC 5321 has it: lines of any bytes but CR and LF, ended by CRLF,
/// with more dots than chance would give.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => any::<u8>().prop_map(|byte| if byte == b'\r' || byte == b'\n' { 0 } else { byte }),
        1 => Just(b'.'),
    ];
    let line = prop_oneof![
        vec(byte, 0..40),
        select(vec![
            b"".to_vec(),
            b".".to_vec(),
            b"..".to_vec(),
            b".\0".to_vec()
        ]),
    ];
    vec(line, 0..12).prop_map(|lines| {
        let ended = lines.into_iter().map(|line| [&line[..], b"\r\n"].concat());
        ended.collect::<Vec<_>>().concat()
    })
}

/// What may be a path: parts in any order, which mostly are none, and parts in
/// the order of a path, which mostly are one.
fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => vec(part_of_a_path(), 0..8).prop_map(|parts| parts.concat()),
        3 => parts_in_order(),
    ]
}

fn part_of_a_path() -> impl Strategy<Value = &'static str> {
    select(vec![
        "<",
        ">",
        "@",
        ":",
        ",",
        ".",
        "\"",
        "\\",
        "[",
        "]",
        "+",
        "/TYPE=",
        " ",
        "-",
        "_",
        "a",
        "1234",
        "host",
        "\"q s\"",
        "@relay:",
        "Postmaster",
        "1234@host",
    ])
}

fn parts_in_order() -> impl Strategy<Value = String> {
    let route = select(vec![
        "",
        "",
        "@relay.example:",
        "@a,@[IPv6:::1]:",
        "@[192.0.2.1]:",
        "@:",
    ]);
    let local = vec(
        select(vec![
            "1234",
            "+1",
            "/TYPE=",
            "a",
            ".",
            "-",
            "\"",
            "\"q s\"",
            "\"<@>\\\"\"",
            "!#$%",
            "=",
        ]),
        1..4,
    );
    let domain = vec(
        select(vec![
            "host",
            ".",
            "_a",
            "-",
            "192.0.2.1",
            "[192.0.2.1]",
            "[IPv6:2001:db8::1]",
            "[x:y]",
        ]),
        1..4,
    );
    (route, local, domain, any::<bool>()).prop_map(|(route, local, domain, open)| {
        let path = format!("{route}{}@{}", local.concat(), domain.concat());
        if open { path } else { format!(" <{path}>") }
    })
}

/// The envelope of a mail with these paths, if both are taken.
fn with_paths(from: &str, to: &str) -> Option<Envelope> {
    let mut memory = Memory::with(&memory::options(&["--addresses", "any"]));
    let wire = format!(
        "EHLO mms.example.net\r\nAUTH PLAIN {}\r\nMAIL FROM:{from}\r\nRCPT TO:{to}\r\n\
         DATA\r\n.\r\n",
        plain_response()
    );
    memory.receive(wire.as_bytes());
    memory.mails.pop().map(|mail| mail.envelope)
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn no_bytes_at_all_make_it_panic(bytes in vec(any::<u8>(), 0..400), chunks in chunks()) {
        same_in_chunks(&bytes, &chunks);
        // The same inside a mail.
        same_in_chunks(&[up_to_354(), bytes].concat(), &chunks);
    }

    #[test]
    fn commands_in_any_order_go_the_same_way_in_any_chunks(bytes in soup(), chunks in chunks()) {
        same_in_chunks(&bytes, &chunks);
    }

    #[test]
    fn a_mutated_session_goes_the_same_way_in_any_chunks(
        seed in any::<Index>(),
        mutations in vec(mutation(), 1..12),
        chunks in chunks(),
    ) {
        let mut bytes = seeds()[seed.index(seeds().len())].clone();
        mutations.iter().for_each(|mutation| mutation.apply(&mut bytes));
        same_in_chunks(&bytes, &chunks);
    }

    #[test]
    fn stuffed_content_decodes_to_what_was_sent(content in content(), chunks in chunks()) {
        let bytes = [up_to_354(), wire(&content), b"NOOP\r\n".to_vec()].concat();
        let memory = same_in_chunks(&bytes, &chunks);
        prop_assert_eq!(memory.mails.len(), 1);
        prop_assert_eq!(&memory.mails[0].content, &content);
        prop_assert!(memory.said.ends_with(b">\r\n250 OK\r\n"));
    }

    #[test]
    fn a_lone_cr_or_lf_anywhere_is_never_committed_and_nothing_after_it_executed(
        content in content(),
        at in any::<Index>(),
        end in select(vec![b'\r', b'\n']),
        chunks in chunks(),
    ) {
        let mut mail = wire(&content);
        // Before the dot that ends it: after that it would be in a command.
        mail.insert(at.index(mail.len() - 2), end);
        let bytes = [up_to_354(), mail, SMUGGLED.to_vec(), b"QUIT\r\n".to_vec()].concat();
        let memory = same_in_chunks(&bytes, &chunks);
        prop_assert_eq!(memory.mails.len(), 0);
        prop_assert!(memory.closed);
        let said = String::from_utf8(memory.said).unwrap();
        let (_, behind) = said.split_once("354 ").unwrap();
        let (_, behind) = behind.split_once("\r\n").unwrap();
        prop_assert_eq!(behind, "554 ERROR: lines must end with CRLF\r\n");
    }

    #[test]
    fn a_path_that_is_accepted_parses_again_to_the_same(text in path()) {
        if let Some(mail) = with_paths(&text, &text) {
            let from = mail.reverse_path.to_string();
            let to = mail.forward_paths[0].to_string();
            prop_assert!(from.starts_with('<') && from.ends_with('>') && from.len() <= 256);
            let again = with_paths(&from, &to).expect("taken once, taken again");
            prop_assert_eq!(again, mail);
        }
    }

    #[test]
    fn any_bytes_after_a_354_have_the_expected_outcome(
        pieces in vec(select(vec![&b"\r\n"[..], b"\r", b"\n", b".", b"\0", b"x"]), 0..14),
        chunks in chunks(),
    ) {
        has_its_fate(&pieces.concat(), &chunks);
    }
}

/// Sends `bytes` as a mail, and compares what comes of it with the judge.
fn has_its_fate(bytes: &[u8], chunks: &[usize]) {
    let memory = same_in_chunks(&[&up_to_354()[..], bytes].concat(), chunks);
    match fate(bytes) {
        Fate::Mail(content, _) => {
            assert_eq!(
                memory.mails[0].content,
                content,
                "{:?}",
                bytes.escape_ascii()
            );
        }
        Fate::Condemned => {
            assert_eq!(memory.mails, [], "{}", bytes.escape_ascii());
            // The 554 waits for a line that holds only a dot.
            assert!(
                memory
                    .said
                    .ends_with(b"354 enter mail, end with line containing only '.'\r\n")
                    || memory
                        .said
                        .ends_with(b"\r\n554 ERROR: lines must end with CRLF\r\n"),
                "{}",
                bytes.escape_ascii()
            );
        }
        Fate::Unfinished => {
            assert_eq!(memory.mails, [], "{}", bytes.escape_ascii());
            assert!(!memory.closed, "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn every_short_message_of_line_ends_and_dots_has_the_expected_outcome() {
    const OCTETS: [u8; 4] = *b"\r\n.x";
    for length in 0..=7 {
        for number in 0..OCTETS.len().pow(length) {
            let mut left = number;
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    let byte = OCTETS[left % OCTETS.len()];
                    left /= OCTETS.len();
                    byte
                })
                .collect();
            has_its_fate(&bytes, &[1]);
        }
    }
}

#[test]
fn no_false_end_of_data_lets_a_second_mail_in_wherever_it_is_split() {
    for variant in VARIANTS {
        let mail = first_mail(variant);
        let expected = fate(&mail);
        for at in 0..=mail.len() {
            let mut memory = behind_354();
            memory.receive(&mail[..at]);
            memory.receive(&mail[at..]);
            memory.receive(b"NOOP\r\n");
            let said = memory.take_said();
            let shown = variant.escape_ascii();
            match &expected {
                Fate::Condemned => {
                    assert_eq!(said, "554 ERROR: lines must end with CRLF\r\n", "{shown}");
                    assert!(memory.closed, "{shown}");
                    assert_eq!(memory.mails, [], "{shown}");
                }
                Fate::Mail(content, length) if *length == mail.len() => {
                    assert_eq!(memory.mails.len(), 1, "{shown}");
                    assert_eq!(&memory.mails[0].content, content, "{shown}");
                    assert!(said.starts_with("250 queued as <"), "{shown}: {said}");
                    assert!(said.ends_with(">\r\n250 OK\r\n"), "{shown}: {said}");
                    assert_eq!(said.lines().count(), 2, "{shown}: {said}");
                }
                other => panic!("{shown} has the fate {other:?}"),
            }
        }
    }
}
