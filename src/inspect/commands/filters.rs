//! The filters that every command over many messages takes.

use jiff::Timestamp;

use super::Failure;
use super::syntax::{Given, Syntax};
use crate::inspect::filter::{
    AddressPattern, Content, DEFAULT_LAST, Filter, Needle, parse_end, parse_time, parse_types,
};

/// What a time may be.
const TIME: &str = "a date, an RFC 3339 time or an age such as 2h";

/// The options: name, description, value.
const OPTIONS: [(&str, &str, &str); 12] = [
    ("account", "only messages that this account sent", "ID"),
    (
        "type",
        "only REQ, RES, forward, delivery_report, read_reply_report, or one such as MM4_forward.REQ",
        "TYPE",
    ),
    (
        "from",
        "only from this address, or a piece of it; + and /TYPE= do not matter",
        "ADDRESS",
    ),
    (
        "to",
        "only to or cc this address, or a piece of it, by header or envelope",
        "ADDRESS",
    ),
    (
        "subject",
        "only with this in the subject, in any case",
        "TEXT",
    ),
    (
        "grep",
        "only with this in a field or in a text, in any case",
        "TEXT",
    ),
    (
        "transaction",
        "only with this in X-Mms-Transaction-ID",
        "TEXT",
    ),
    ("message-id", "only with this in X-Mms-Message-ID", "TEXT"),
    (
        "status",
        "only with this in the reported status: Ok, Error, Retrieved, Read",
        "TEXT",
    ),
    (
        "since",
        "only received since a date, a time as `list` prints it (UTC; or with +02:00, or with \
         `local`) or an age (90s, 10m, 2h, 3d, 1w)",
        "TIME",
    ),
    (
        "until",
        "only received until a date, a time or an age",
        "TIME",
    ),
    (
        "has",
        "only with image, audio, video, text or findings; repeatable",
        "WHAT",
    ),
];

/// Adds the filters.
pub(super) fn add(syntax: &mut Syntax) {
    add_with(syntax, "to");
}

/// Adds the filters to a command whose `--to` is something else: the recipient's is
/// `--recipient` there.
pub(super) fn add_beside_to(syntax: &mut Syntax) {
    add_with(syntax, RECIPIENT);
}

/// The name of `--to` where that is taken.
const RECIPIENT: &str = "recipient";

fn add_with(syntax: &mut Syntax, to: &str) {
    for (name, description, value) in OPTIONS {
        match name {
            "has" => syntax.options.optmulti("", name, description, value),
            "to" => syntax.options.optopt("", to, description, value),
            _ => syntax.options.optopt("", name, description, value),
        };
    }
    syntax.options.optflag(
        "",
        "unanswered",
        "only requests that ask for an answer which is not in SPOOL",
    );
}

/// Whether a filter with a value has that name.
pub(super) fn is_option(name: &str) -> bool {
    OPTIONS.iter().any(|(known, _, _)| *known == name)
}

/// Adds `--last`.
pub(super) fn add_last(syntax: &mut Syntax) {
    syntax.options.optopt(
        "",
        "last",
        "only the last N of them (default 20, with a filter all)",
        "N",
    );
}

/// The filter that the options make, of all messages.
pub(super) fn parse(given: &Given) -> Result<Filter, Failure> {
    parse_with(given, "to")
}

/// The same after [`add_beside_to`].
pub(super) fn parse_beside_to(given: &Given) -> Result<Filter, Failure> {
    parse_with(given, RECIPIENT)
}

fn parse_with(given: &Given, to: &str) -> Result<Filter, Failure> {
    let now = Timestamp::now();
    let needle = |option: &str| given.text(option).map(|text| Needle::new(&text));
    let address = |option: &str| given.text(option).map(|text| AddressPattern::new(&text));
    Ok(Filter {
        account: given.text("account"),
        types: given.parsed(
            "type",
            "REQ, RES or a type such as MM4_forward.REQ",
            parse_types,
        )?,
        from: address("from"),
        to: address(to),
        subject: needle("subject"),
        grep: needle("grep"),
        transaction: needle("transaction"),
        message_id: needle("message-id"),
        status: needle("status"),
        since: given.parsed("since", TIME, |word| parse_time(word, now))?,
        until: given.parsed("until", TIME, |word| parse_end(word, now))?,
        has: given.all(
            "has",
            "image, audio, video, text or findings",
            Content::parse,
        )?,
        unanswered: given.has("unanswered"),
        last: None,
    })
}

/// The filter that the options and `--last` make: the last few of all messages where
/// no filter is given, else every match.
pub(super) fn parse_last(given: &Given) -> Result<Filter, Failure> {
    let mut filter = parse(given)?;
    let default = filter.is_empty().then_some(DEFAULT_LAST);
    filter.last = given.number("last")?.or(default);
    Ok(filter)
}
