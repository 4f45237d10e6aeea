//! What has been used to smuggle a second mail inside the first: the false ends
//! of data of the advisories of December 2023 (CVE-2023-51764, CVE-2023-51765,
//! CVE-2023-51766) and of the public scanners that followed, and more of their
//! kind; and a judge of what must become of each.

/// What is between the text of the first mail and the smuggled commands. NUL CRLF
/// . CRLF is not among them: it is the true end, which every sender knows and
/// stuffs (`data_nul_around_the_dot.txt`).
pub const VARIANTS: [&[u8]; 41] = [
    // LF and CR in the place of CRLF, before the dot, after it, or both.
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r.\n",
    b"\n.\r",
    // One more of them.
    b"\n\n.\r\n",
    b"\n\n.\n",
    b"\r\r.\r\n",
    b"\r\r.\r\r",
    b"\r\r\n.\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\r.\r\n",
    b"\r\n\n.\r\n",
    b"\r\n.\n\n",
    b"\r\n.\n\r\n",
    b"\r\n.\r\r",
    b"\n\r.\r\n",
    b"\n\r.\n\r",
    b"\r\n.\n\r",
    b"\n\r\n.\r\n",
    b"\r\r\n\n.\r\n",
    // A dot that is stuffed, next to a false line end.
    b"\n..\r\n",
    b"\n..\n",
    b"\r\n..\n",
    b"\r..\r",
    // NUL around the dot.
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\0\n.\r\n",
    b"\r\n.\r\0\n",
    b"\n\0.\0\n",
    // What is no line end at all: content.
    b"\r\n..\r\n",
    b"\r\n. \r\n",
    b"\r\n .\r\n",
    b"\r\n.\t\r\n",
    b"\x0b.\x0b",
    b"\x85.\x85",
    b"\xe2\x80\xa8.\xe2\x80\xa8",
];

/// What must become of the bytes after a 354.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// A mail of this content; the number of bytes that belong to it.
    Mail(Vec<u8>, usize),
    /// A CR or an LF alone is in it: 554 and the close.
    Condemned,
    /// Its end is still to come.
    Unfinished,
}

/// Judges byte by byte, knowing nothing of how the server does it.
pub fn fate(bytes: &[u8]) -> Fate {
    // Behind the CRLF of DATA, which counts (RFC 5321 4.1.1.4).
    let whole = [b"\r\n", bytes].concat();
    for at in 2..whole.len() {
        let lone_lf = whole[at] == b'\n' && whole[at - 1] != b'\r';
        let lone_cr = whole[at - 1] == b'\r' && whole[at] != b'\n';
        if lone_lf || lone_cr {
            return Fate::Condemned;
        }
        if whole[..=at].ends_with(b"\r\n.\r\n") {
            let content = &whole[2..at - 2];
            return Fate::Mail(unstuff(content), at - 1);
        }
    }
    Fate::Unfinished
}

/// RFC 5321 4.5.2, on whole lines.
fn unstuff(content: &[u8]) -> Vec<u8> {
    let lines = content.split_inclusive(|&byte| byte == b'\n');
    lines
        .flat_map(|line| line.strip_prefix(b".").unwrap_or(line))
        .copied()
        .collect()
}

/// A whole second mail, as an attacker would have it run.
pub const SMUGGLED: &[u8] = b"MAIL FROM:<+972500000009/TYPE=PLMN@mms.example.net>\r\n\
    RCPT TO:<+972500000008/TYPE=PLMN@test.example>\r\n\
    DATA\r\n\
    Subject: smuggled\r\n\
    \r\n\
    smuggled\r\n\
    .\r\n";

/// What the client of the first mail sends after its 354: the text that an
/// attacker has written, and then the true end.
pub fn first_mail(variant: &[u8]) -> Vec<u8> {
    [b"Subject: first\r\n\r\nfirst", variant, SMUGGLED].concat()
}
