//! A command line to a verb (RFC 5321 4.1.1), and the arguments of the verbs that
//! have any. The session checks its state first and parses the arguments then, so
//! the two are parsed apart.

use super::limits::{MAX_HELLO, MAX_SIZE_DIGITS};
use super::mailbox::{self, ForwardPath, PathError, ReversePath};
use super::reply::{self, Reply};

/// What a line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// HELO.
    Helo,
    /// EHLO.
    Ehlo,
    /// AUTH (RFC 4954).
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
    /// HELP.
    Help,
    /// VRFY and EXPN, which would reveal accounts.
    NotImplemented,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// A request line of HTTP, with which a web page can make a browser send SMTP
    /// commands.
    Http,
    /// None of these.
    Unrecognized,
}

/// Splits a line into its verb and its argument, without the blanks around it.
pub fn parse(line: &[u8]) -> (Verb, &[u8]) {
    let line = trim_end(line);
    let end = line
        .iter()
        .position(|&byte| byte == b' ')
        .unwrap_or(line.len());
    let (word, argument) = line.split_at_checked(end).unwrap_or((line, &[]));
    (verb(word), trim_start(argument))
}

fn verb(word: &[u8]) -> Verb {
    const VERBS: [(&[u8], Verb); 13] = [
        (b"MAIL", Verb::Mail),
        (b"RCPT", Verb::Rcpt),
        (b"DATA", Verb::Data),
        (b"EHLO", Verb::Ehlo),
        (b"HELO", Verb::Helo),
        (b"AUTH", Verb::Auth),
        (b"RSET", Verb::Rset),
        (b"NOOP", Verb::Noop),
        (b"QUIT", Verb::Quit),
        (b"HELP", Verb::Help),
        (b"VRFY", Verb::NotImplemented),
        (b"EXPN", Verb::NotImplemented),
        (b"STARTTLS", Verb::StartTls),
    ];
    const HTTP: [&[u8]; 10] = [
        b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT",
        b"PRI",
    ];
    let known = VERBS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word));
    match known {
        Some(&(_, verb)) => verb,
        None if HTTP.contains(&word) => Verb::Http,
        None => Verb::Unrecognized,
    }
}

/// Commands may have trailing blanks (RFC 5321 4.1.1).
fn trim_end(mut line: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = line {
        line = rest;
    }
    line
}

fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = text {
        text = rest;
    }
    text
}

/// The name in HELO and EHLO: letters, digits and `-._:[]`, at most
/// [`MAX_HELLO`] bytes. Names that no DNS knows are usual and pass.
pub(crate) fn hello_name(argument: &[u8]) -> Option<&str> {
    let valid = (1..=MAX_HELLO).contains(&argument.len())
        && argument
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(byte));
    valid.then(|| std::str::from_utf8(argument).ok()).flatten()
}

/// A mechanism of AUTH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// AUTH LOGIN, which no RFC defines.
    Login,
}

/// The mechanism, and the initial response where there is one (RFC 4954 4).
pub fn auth(argument: &[u8]) -> Result<(Mechanism, Option<&[u8]>), Reply> {
    let mut words = argument.splitn(2, |&byte| byte == b' ');
    let name = words.next().unwrap_or_default();
    let initial = words.next().map(trim_start);
    if name.is_empty() {
        return Err(reply::AUTH_MECHANISM_501);
    }
    if name.eq_ignore_ascii_case(b"PLAIN") {
        Ok((Mechanism::Plain, initial))
    } else if name.eq_ignore_ascii_case(b"LOGIN") {
        Ok((Mechanism::Login, initial))
    } else {
        Err(reply::MECHANISM_504)
    }
}

/// The arguments of MAIL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailArguments {
    /// The sender.
    pub reverse_path: ReversePath,
    /// SIZE in bytes (RFC 1870); numbers past 64 bits are the largest of them.
    pub size: Option<u64>,
}

/// `FROM:<path> [SIZE=n] [BODY=7BIT|8BITMIME] [AUTH=x]`.
pub fn mail(argument: &[u8]) -> Result<MailArguments, Reply> {
    let text = printable(argument)?;
    let path = strip_keyword(text, "FROM:").ok_or(reply::REVERSE_PATH_501)?;
    let (reverse_path, rest) = mailbox::reverse_path(path).map_err(|error| match error {
        PathError::Malformed => reply::REVERSE_PATH_501,
        PathError::TooLong => reply::PATH_TOO_LONG_501,
    })?;
    let (mut size, mut body, mut auth) = (None, None, None);
    for parameter in parameters(rest) {
        let (keyword, value) = parameter?;
        if keyword.eq_ignore_ascii_case("SIZE") {
            once(&mut size, parse_size(value)?)?;
        } else if keyword.eq_ignore_ascii_case("BODY") {
            once(&mut body, check_body(value)?)?;
        } else if keyword.eq_ignore_ascii_case("AUTH") {
            once(&mut auth, check_xtext(value)?)?;
        } else {
            return Err(reply::PARAMETER_555);
        }
    }
    Ok(MailArguments { reverse_path, size })
}

/// `TO:<path>`; no extension of RCPT is offered, so no parameter is known.
pub fn rcpt(argument: &[u8]) -> Result<ForwardPath, Reply> {
    let text = printable(argument)?;
    let path = strip_keyword(text, "TO:").ok_or(reply::FORWARD_PATH_501)?;
    let (forward_path, rest) = mailbox::forward_path(path).map_err(|error| match error {
        PathError::Malformed => reply::FORWARD_PATH_501,
        PathError::TooLong => reply::PATH_TOO_LONG_501,
    })?;
    match parameters(rest).next() {
        None => Ok(forward_path),
        Some(Err(reply)) => Err(reply),
        Some(Ok(_)) => Err(reply::PARAMETER_555),
    }
}

/// RFC 5321 2.4: commands are ASCII without controls.
fn printable(argument: &[u8]) -> Result<&str, Reply> {
    let valid = argument.iter().all(|byte| (32..=126).contains(byte));
    valid
        .then(|| std::str::from_utf8(argument).ok())
        .flatten()
        .ok_or(reply::NOT_ASCII_501)
}

fn strip_keyword<'a>(text: &'a str, keyword: &str) -> Option<&'a str> {
    let (found, rest) = text.split_at_checked(keyword.len())?;
    found.eq_ignore_ascii_case(keyword).then_some(rest)
}

/// `keyword[=value]`, separated by blanks (RFC 5321 4.1.2).
fn parameters(text: &str) -> impl Iterator<Item = Result<(&str, Option<&str>), Reply>> {
    text.split(' ').filter(|word| !word.is_empty()).map(|word| {
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let keyword_is_right = keyword.starts_with(|first: char| first.is_ascii_alphanumeric())
            && keyword
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let value_is_right = value.is_none_or(|text| !text.is_empty() && !text.contains('='));
        if keyword_is_right && value_is_right {
            Ok((keyword, value))
        } else {
            Err(reply::PARAMETER_501)
        }
    })
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Reply> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(reply::PARAMETER_TWICE_501),
    }
}

/// `1*20DIGIT` (RFC 1870 4).
fn parse_size(value: Option<&str>) -> Result<u64, Reply> {
    let digits = value.ok_or(reply::PARAMETER_501)?;
    if digits.len() > MAX_SIZE_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(reply::PARAMETER_501);
    }
    Ok(digits.parse().unwrap_or(u64::MAX))
}

/// RFC 6152 2; the content goes to the spool byte by byte either way.
fn check_body(value: Option<&str>) -> Result<(), Reply> {
    let value = value.ok_or(reply::PARAMETER_501)?;
    if value.eq_ignore_ascii_case("7BIT") || value.eq_ignore_ascii_case("8BITMIME") {
        Ok(())
    } else {
        Err(reply::PARAMETER_501)
    }
}

/// AUTH=x (RFC 4954 5): xtext of RFC 3461 4. The value is not used: no client
/// is trusted to vouch for another.
fn check_xtext(value: Option<&str>) -> Result<(), Reply> {
    let mut bytes = value.ok_or(reply::PARAMETER_501)?.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'+' {
            let hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
            if !(hex(bytes.next()) && hex(bytes.next())) {
                return Err(reply::PARAMETER_501);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_found_in_any_case_and_blanks_around_arguments_pass() {
        assert_eq!(
            parse(b"noop  any thing \t "),
            (Verb::Noop, &b"any thing"[..])
        );
        assert_eq!(parse(b"Mail FROM:<>"), (Verb::Mail, &b"FROM:<>"[..]));
        assert_eq!(parse(b"starttls"), (Verb::StartTls, &b""[..]));
        assert_eq!(parse(b""), (Verb::Unrecognized, &b""[..]));
        assert_eq!(parse(b"MAILFROM:<>"), (Verb::Unrecognized, &b""[..]));
        assert_eq!(parse(b"GET / HTTP/1.1").0, Verb::Http);
        assert_eq!(parse(b"get / HTTP/1.1").0, Verb::Unrecognized);
    }

    #[test]
    fn a_hello_name_is_letters_digits_and_a_few_marks() {
        assert_eq!(hello_name(b"mms_1.example.net"), Some("mms_1.example.net"));
        assert_eq!(hello_name(b"[IPv6:::1]"), Some("[IPv6:::1]"));
        assert_eq!(hello_name(b""), None);
        assert_eq!(hello_name(b"a b"), None);
        assert_eq!(hello_name(b"a\xe4"), None);
        assert_eq!(hello_name(b"(a)"), None);
        assert!(hello_name(&[b'a'; 255]).is_some());
        assert_eq!(hello_name(&[b'a'; 256]), None);
    }

    #[test]
    fn mail_takes_its_three_parameters_once() {
        let found =
            mail(b"from: <+972500000001/TYPE=PLMN@b> size=42 BODY=8bitmime AUTH=<>").unwrap();
        assert_eq!(found.size, Some(42));
        for (argument, expected) in [
            (&b""[..], reply::REVERSE_PATH_501),
            (b"TO:<a@b>", reply::REVERSE_PATH_501),
            (b"FROM <a@b>", reply::REVERSE_PATH_501),
            (b"FROM:<a@b> SIZE", reply::PARAMETER_501),
            (b"FROM:<a@b> SIZE=", reply::PARAMETER_501),
            (b"FROM:<a@b> SIZE=-1", reply::PARAMETER_501),
            (
                b"FROM:<a@b> SIZE=123456789012345678901",
                reply::PARAMETER_501,
            ),
            (b"FROM:<a@b> SIZE=1 size=1", reply::PARAMETER_TWICE_501),
            (b"FROM:<a@b> BODY=BINARYMIME", reply::PARAMETER_501),
            (b"FROM:<a@b> AUTH=+4", reply::PARAMETER_501),
            (b"FROM:<a@b> =1", reply::PARAMETER_501),
            (b"FROM:<a@b> RET=FULL", reply::PARAMETER_555),
            (b"FROM:<a@b>\tSIZE=1", reply::NOT_ASCII_501),
            (b"FROM:<\xc3\xa4@b>", reply::NOT_ASCII_501),
        ] {
            assert_eq!(mail(argument), Err(expected), "{argument:?}");
        }
        let huge = mail(b"FROM:<a@b> SIZE=99999999999999999999").unwrap();
        assert_eq!(huge.size, Some(u64::MAX));
    }

    #[test]
    fn rcpt_knows_no_parameter() {
        assert!(rcpt(b"TO:<a@b>").is_ok());
        assert_eq!(rcpt(b"TO:<>"), Err(reply::FORWARD_PATH_501));
        assert_eq!(rcpt(b"TO:<a@b> NOTIFY=NEVER"), Err(reply::PARAMETER_555));
        assert_eq!(rcpt(b"TO:<a@b> =x"), Err(reply::PARAMETER_501));
    }
}
