//! What the `X-Mms-*` fields of a mail say (3GPP TS 23.140, clause 8.4).
//!
//! Real MMS centres vary names and values in case, quote their ids and leave
//! fields out, so nothing here judges: a field is found or it is not, a value
//! is understood or it is not. Nothing here fails. Pure: no file, no socket, no
//! clock.

use jiff::{SignedDuration, Timestamp};

/// The fields by which an operator finds a mail again, as the sender wrote
/// them: free text of the peer, to be escaped before it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// `X-Mms-Message-Type`, such as `MM4_forward.REQ`.
    pub message_type: Option<String>,
    /// `X-Mms-Transaction-ID`, which joins a RES to its REQ.
    pub transaction_id: Option<String>,
    /// `X-Mms-Message-ID`, the originator's id of the message.
    pub message_id: Option<String>,
}

/// Bytes of a field's value that [`summary`] keeps; real ids have at most 80.
pub const MAX_SUMMARY_VALUE: usize = 1024;

/// Reads the header block at the start of `mail`, which may be cut anywhere
/// and need not end in an empty line. `None` when it cannot be read as one.
///
/// Values are raw: unfolded (RFC 5322 2.2.3), at most [`MAX_SUMMARY_VALUE`]
/// bytes of each, encoded words (RFC 2047) as they were sent. The time is linear
/// in the length of `mail`; mailparse's decoder of encoded words is not, so it is
/// never called here.
pub fn summary(mail: &[u8]) -> Option<Summary> {
    let (headers, _) = mailparse::parse_headers(mail).ok()?;
    let mut summary = Summary::default();
    for header in &headers {
        let slot = match header.get_key_raw().trim_ascii_end() {
            name if name.eq_ignore_ascii_case(b"X-Mms-Message-Type") => &mut summary.message_type,
            name if name.eq_ignore_ascii_case(b"X-Mms-Transaction-ID") => {
                &mut summary.transaction_id
            }
            name if name.eq_ignore_ascii_case(b"X-Mms-Message-ID") => &mut summary.message_id,
            _ => continue,
        };
        if slot.is_none() {
            *slot = Some(raw_value(header.get_value_raw()));
        }
    }
    Some(summary)
}

/// The first [`MAX_SUMMARY_VALUE`] bytes of a value without its line ends and
/// without blanks around it; bytes that are not UTF-8 become U+FFFD.
fn raw_value(value: &[u8]) -> String {
    let value = value.trim_ascii_start();
    let value = value.get(..MAX_SUMMARY_VALUE).unwrap_or(value);
    let text = String::from_utf8_lossy(value).replace(['\r', '\n'], "");
    text.trim().to_owned()
}

/// The six abstract messages of the MM4 reference point (TS 23.140, 8.4.1 to
/// 8.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// A multimedia message on its way to the recipient's MMS centre.
    ForwardReq,
    /// Whether that was taken.
    ForwardRes,
    /// What became of a message, told to the originator's MMS centre.
    DeliveryReportReq,
    /// Whether that report was taken.
    DeliveryReportRes,
    /// That a message was read, told to the originator's MMS centre.
    ReadReplyReportReq,
    /// Whether that report was taken.
    ReadReplyReportRes,
}

impl MessageType {
    /// All six, in the order of the clauses.
    pub const ALL: [MessageType; 6] = [
        MessageType::ForwardReq,
        MessageType::ForwardRes,
        MessageType::DeliveryReportReq,
        MessageType::DeliveryReportRes,
        MessageType::ReadReplyReportReq,
        MessageType::ReadReplyReportRes,
    ];

    /// The type that a value of `X-Mms-Message-Type` names, in any case.
    pub fn parse(value: &str) -> Option<MessageType> {
        let value = value.trim();
        Self::ALL
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(value))
    }

    /// The value of `X-Mms-Message-Type`, spelt as TS 23.140 spells it.
    pub fn name(self) -> &'static str {
        match self {
            MessageType::ForwardReq => "MM4_forward.REQ",
            MessageType::ForwardRes => "MM4_forward.RES",
            MessageType::DeliveryReportReq => "MM4_delivery_report.REQ",
            MessageType::DeliveryReportRes => "MM4_delivery_report.RES",
            MessageType::ReadReplyReportReq => "MM4_read_reply_report.REQ",
            MessageType::ReadReplyReportRes => "MM4_read_reply_report.RES",
        }
    }

    /// A name for a narrow column, such as `forward.REQ`.
    pub fn short_name(self) -> &'static str {
        match self {
            MessageType::ForwardReq => "forward.REQ",
            MessageType::ForwardRes => "forward.RES",
            MessageType::DeliveryReportReq => "delivery.REQ",
            MessageType::DeliveryReportRes => "delivery.RES",
            MessageType::ReadReplyReportReq => "read.REQ",
            MessageType::ReadReplyReportRes => "read.RES",
        }
    }

    /// One line for a reader who does not know the names.
    pub fn meaning(self) -> &'static str {
        match self {
            MessageType::ForwardReq => "a multimedia message to deliver",
            MessageType::ForwardRes => "the answer to a forwarded message",
            MessageType::DeliveryReportReq => "a report of what became of a message",
            MessageType::DeliveryReportRes => "the answer to a delivery report",
            MessageType::ReadReplyReportReq => "a report that a message was read",
            MessageType::ReadReplyReportRes => "the answer to a read report",
        }
    }

    /// The clause of TS 23.140 that defines the message.
    pub fn clause(self) -> &'static str {
        match self {
            MessageType::ForwardReq | MessageType::ForwardRes => "8.4.1",
            MessageType::DeliveryReportReq | MessageType::DeliveryReportRes => "8.4.2",
            MessageType::ReadReplyReportReq | MessageType::ReadReplyReportRes => "8.4.3",
        }
    }

    /// The RES that answers a REQ; `None` for a RES, which nothing answers.
    pub fn response(self) -> Option<MessageType> {
        match self {
            MessageType::ForwardReq => Some(MessageType::ForwardRes),
            MessageType::DeliveryReportReq => Some(MessageType::DeliveryReportRes),
            MessageType::ReadReplyReportReq => Some(MessageType::ReadReplyReportRes),
            _ => None,
        }
    }

    /// Whether it asks for something, rather than answers.
    pub fn is_request(self) -> bool {
        self.response().is_some()
    }

    /// The fields that TS 23.140 calls mandatory in this message, by the names
    /// of clause 8.4.4 (an address, the date and the content type are the
    /// fields of RFC 5322 and RFC 2045).
    pub fn mandatory_fields(self) -> &'static [&'static str] {
        match self {
            MessageType::ForwardReq => &[
                "X-Mms-3GPP-MMS-Version",
                "X-Mms-Message-Type",
                "X-Mms-Transaction-ID",
                "X-Mms-Message-ID",
                "To",
                "From",
                "Content-Type",
                "Date",
            ],
            MessageType::ForwardRes | MessageType::DeliveryReportRes => &[
                "X-Mms-3GPP-MMS-Version",
                "X-Mms-Message-Type",
                "X-Mms-Transaction-ID",
                "X-Mms-Message-ID",
                "X-Mms-Request-Status-Code",
            ],
            MessageType::DeliveryReportReq => &[
                "X-Mms-3GPP-MMS-Version",
                "X-Mms-Message-Type",
                "X-Mms-Transaction-ID",
                "X-Mms-Message-ID",
                "To",
                "From",
                "Date",
                "X-Mms-MM-Status-Code",
            ],
            MessageType::ReadReplyReportReq => &[
                "X-Mms-3GPP-MMS-Version",
                "X-Mms-Message-Type",
                "X-Mms-Transaction-ID",
                "X-Mms-Message-ID",
                "To",
                "From",
                "Date",
                "X-Mms-Read-Status",
            ],
            // Not Message-ID: the transaction says which report is meant.
            MessageType::ReadReplyReportRes => &[
                "X-Mms-3GPP-MMS-Version",
                "X-Mms-Message-Type",
                "X-Mms-Transaction-ID",
                "X-Mms-Request-Status-Code",
            ],
        }
    }
}

/// The values of `X-Mms-Request-Status-Code` in a RES (TS 23.140, 8.4.4).
pub const REQUEST_STATUS_CODES: [&str; 9] = [
    "Ok",
    "Error-unspecified",
    "Error-service-denied",
    "Error-message-format-corrupt",
    "Error-sending-address-unresolved",
    "Error-message-not-found",
    "Error-network-problem",
    "Error-content-not-accepted",
    "Error-unsupported-message",
];

/// The values of each field that TS 23.140 (8.4.4) closes; a field of another
/// name takes any value. `name` is in lower case.
pub fn allowed_values(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "x-mms-request-status-code" => &REQUEST_STATUS_CODES,
        "x-mms-mm-status-code" => &[
            "Expired",
            "Retrieved",
            "Rejected",
            "Deferred",
            "Unrecognised",
            "Indeterminate",
            "Forwarded",
            "Unreachable",
        ],
        "x-mms-mm-status-extension" => &["Rejection-By-MMS-Recipient", "Rejection-By-Other-RS"],
        "x-mms-read-status" => &["Read", "Deleted without being read"],
        "x-mms-message-class" => &["Personal", "Advertisement", "Informational", "Auto"],
        "x-mms-priority" => &["Low", "Normal", "High"],
        "x-mms-sender-visibility" => &["Hide", "Show"],
        "x-mms-content-class" => &[
            "text",
            "image-basic",
            "image-rich",
            "video-basic",
            "video-rich",
            "megapixel",
            "content-basic",
            "content-rich",
        ],
        "x-mms-delivery-report"
        | "x-mms-read-reply"
        | "x-mms-originator-r/s-delivery-report"
        | "x-mms-ack-request"
        | "x-mms-forward-to-originator-ua" => &["Yes", "No"],
        _ => return None,
    })
}

/// What a value means, for a reader who does not know TS 23.140 by heart; `None`
/// where the value says it itself. `name` is in lower case.
pub fn meaning(name: &str, value: &str) -> Option<&'static str> {
    let is = |word: &str| value.trim().eq_ignore_ascii_case(word);
    let choose = |if_yes, if_no| yes(value).map(|yes| if yes { if_yes } else { if_no });
    match name {
        "x-mms-message-type" => MessageType::parse(value).map(MessageType::meaning),
        "x-mms-delivery-report" => choose(
            "the originator wants a delivery report",
            "no delivery report is wanted",
        ),
        "x-mms-originator-r/s-delivery-report" => choose(
            "the originator's MMS centre wants a delivery report",
            "the originator's MMS centre wants no delivery report",
        ),
        "x-mms-read-reply" => choose(
            "the originator wants to know when it is read",
            "no read report is wanted",
        ),
        "x-mms-forward-to-originator-ua" => choose(
            "the report is for the originator's phone too",
            "the report is for the MMS centre alone",
        ),
        "x-mms-sender-visibility" if is("Hide") => Some("the recipient must not learn who sent it"),
        "x-mms-request-status-code" => REQUEST_STATUS_CODES
            .iter()
            .position(|code| is(code))
            .and_then(|at| REQUEST_STATUS_MEANINGS.get(at))
            .copied(),
        "x-mms-mm-status-code" => MM_STATUS_MEANINGS
            .iter()
            .find(|(code, _)| is(code))
            .map(|(_, meaning)| *meaning),
        _ => None,
    }
}

const REQUEST_STATUS_MEANINGS: [&str; 9] = [
    "it was taken",
    "it was refused, without a reason",
    "it was refused: the service is denied",
    "it was refused: its format is corrupt",
    "it was refused: the sender's address does not resolve",
    "it was refused: the message it speaks of is not known",
    "it was refused: a network had a problem",
    "it was refused: its content is not accepted",
    "it was refused: this kind of message is not supported",
];

const MM_STATUS_MEANINGS: [(&str, &str); 8] = [
    ("Expired", "its time ran out before it was fetched"),
    ("Retrieved", "the recipient has it"),
    ("Rejected", "the recipient or its MMS centre turned it away"),
    ("Deferred", "the recipient has put off fetching it"),
    (
        "Unrecognised",
        "the recipient's phone did not understand it",
    ),
    ("Indeterminate", "nobody knows what became of it"),
    ("Forwarded", "the recipient had it sent on, unseen"),
    ("Unreachable", "the recipient could not be reached"),
];

/// What a Yes/No field says; `1`, `true`, `0` and `false` have been seen in its
/// place. `None` for anything else.
pub fn yes(value: &str) -> Option<bool> {
    let value = value.trim();
    let is = |word: &str| value.eq_ignore_ascii_case(word);
    if is("yes") || is("1") || is("true") {
        Some(true)
    } else if is("no") || is("0") || is("false") {
        Some(false)
    } else {
        None
    }
}

/// An id without the quotes that some MMS centres write around it; the rest is
/// opaque and stays as it is.
pub fn unquote(id: &str) -> &str {
    let id = id.trim();
    id.strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(id)
}

/// When a message expires, from a value of `X-Mms-Expiry` (TS 23.140, 8.4.4):
/// an HTTP date, an RFC 3339 date or seconds, which count from `sent`. `None`
/// when the value is none of these, or relative with nothing to count from.
pub fn expiry(value: &str, sent: Option<Timestamp>) -> Option<Timestamp> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit()) {
        let seconds = value.parse::<u32>().ok()?;
        return sent?
            .checked_add(SignedDuration::from_secs(seconds.into()))
            .ok();
    }
    date(value)
}

/// A date as RFC 5322, RFC 9110 (HTTP, its obsolete forms too) or RFC 3339
/// writes it. A wrong day of the week does no harm; a date that none of them
/// knows is `None`.
pub fn date(value: &str) -> Option<Timestamp> {
    let value = value.trim();
    jiff::fmt::rfc2822::DateTimeParser::new()
        .relaxed_weekday(true)
        .parse_timestamp(value)
        .or_else(|_| value.parse::<Timestamp>())
        .ok()
        .or_else(|| obsolete_date(value))
}

/// The two dates that RFC 9110 5.6.7 has a recipient take but nobody write.
fn obsolete_date(value: &str) -> Option<Timestamp> {
    let (_, rfc850) = value.split_once(", ")?;
    let civil = jiff::civil::DateTime::strptime("%d-%b-%y %H:%M:%S GMT", rfc850)
        .or_else(|_| jiff::civil::DateTime::strptime("%a %b %e %H:%M:%S %Y", value))
        .ok()?;
    Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

/// An address as MM4 writes them (TS 23.140, 8.4.5): a number with an optional
/// `/TYPE=…`, or an e-mail address; either often without a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `+972500000001/TYPE=PLMN@mms.example.net`.
    Number {
        /// The number with its `+`, if it had one, or the IP address that
        /// `/TYPE=IPv4` and `/TYPE=IPv6` announce.
        number: String,
        /// What followed `/TYPE=`, as written.
        kind: Option<String>,
        /// What followed the `@`, as written.
        domain: Option<String>,
    },
    /// Whatever is no number: `system-user@mms.example.net`, `PostMaster`.
    Mail {
        /// What stood before the `@`, or all there was.
        local: String,
        /// What followed the `@`, as written.
        domain: Option<String>,
    },
}

impl Address {
    /// Reads one address, with or without angle brackets and a display name
    /// (which is dropped). Every text is some address; `None` for no text.
    pub fn parse(text: &str) -> Option<Address> {
        let text = bare(text);
        if text.is_empty() {
            return None;
        }
        let (local, domain) = match text.rsplit_once('@') {
            Some((local, domain)) if !local.is_empty() => (local, Some(domain)),
            _ => (text, None),
        };
        let domain = domain
            .map(|domain| domain.trim().to_owned())
            .filter(|domain| !domain.is_empty());
        let (number, kind) = split_type(local.trim());
        if kind.is_some() || is_number(number) {
            return Some(Address::Number {
                number: number.to_owned(),
                kind: kind.map(str::to_owned),
                domain,
            });
        }
        Some(Address::Mail {
            local: local.trim().to_owned(),
            domain,
        })
    }

    /// Reads the value of a `To:` or `Cc:`: commas and semicolons part the
    /// addresses unless they stand in quotes, brackets or comments. At most
    /// [`Address::MAX_LIST`] of them.
    pub fn parse_list(value: &str) -> Vec<Address> {
        split_list(value)
            .into_iter()
            .filter_map(Address::parse)
            .take(Self::MAX_LIST)
            .collect()
    }

    /// Addresses read from one field; an MM4 mail has 20 at the utmost.
    pub const MAX_LIST: usize = 1000;

    /// The part that a person recognises: the number, or the e-mail address.
    pub fn short(&self) -> String {
        match self {
            Address::Number { number, .. } => number.clone(),
            Address::Mail { .. } => self.to_string(),
        }
    }

    /// The domain, where one was written.
    pub fn domain(&self) -> Option<&str> {
        match self {
            Address::Number { domain, .. } | Address::Mail { domain, .. } => domain.as_deref(),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Number { number, kind, .. } => {
                f.write_str(number)?;
                if let Some(kind) = kind {
                    write!(f, "/TYPE={kind}")?;
                }
            }
            Address::Mail { local, .. } => f.write_str(local)?,
        }
        match self.domain() {
            Some(domain) => write!(f, "@{domain}"),
            None => Ok(()),
        }
    }
}

/// `text` without display name, comment after it, brackets and quotes.
fn bare(text: &str) -> &str {
    let text = text.trim();
    let inner = match (text.rfind('<'), text.rfind('>')) {
        (Some(open), Some(close)) if open < close => text.get(open + 1..close),
        (Some(open), None) => text.get(open + 1..),
        _ => None,
    };
    let text = inner.unwrap_or(text);
    // A comment after an address without brackets, as in `a@example.com (A)`.
    let text = match text.split_once(" (") {
        Some((address, _)) if !address.is_empty() => address,
        _ => text,
    };
    unquote(text).trim()
}

/// `+972500000001/TYPE=PLMN` into its number and its type; the key in any case.
fn split_type(local: &str) -> (&str, Option<&str>) {
    let Some(at) = local.to_ascii_lowercase().find("/type=") else {
        return (local, None);
    };
    match (local.get(..at), local.get(at + "/type=".len()..)) {
        (Some(number), Some(kind)) => (number, Some(kind)),
        _ => (local, None),
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit())
}

fn split_list(value: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let (mut start, mut quoted, mut escaped, mut bracket, mut comment) =
        (0, false, false, false, 0);
    for (at, letter) in value.char_indices() {
        if escaped {
            escaped = false;
            continue;
        }
        match letter {
            '\\' if quoted || comment > 0 => escaped = true,
            '"' if comment == 0 => quoted = !quoted,
            _ if quoted => {}
            '(' => comment += 1,
            ')' if comment > 0 => comment -= 1,
            '<' if comment == 0 => bracket = true,
            '>' if comment == 0 => bracket = false,
            ',' | ';' if comment == 0 && !bracket => {
                items.extend(value.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    items.extend(value.get(start..));
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_values_kept_as_written() {
        let mail = b"X-MMS-Message-Type: MM4_forward.REQ\r\n\
            x-mms-transaction-id:\"1@mms.example.net\"\r\n\
            Subject: picture\r\n\r\nX-Mms-Message-ID: not a field\r\n";
        let found = summary(mail).unwrap();
        assert_eq!(found.message_type.as_deref(), Some("MM4_forward.REQ"));
        assert_eq!(
            found.transaction_id.as_deref(),
            Some("\"1@mms.example.net\"")
        );
        assert_eq!(found.message_id, None);
    }

    #[test]
    fn a_header_without_its_empty_line_is_read() {
        let found = summary(b"X-Mms-Message-Type: MM4_forward.RES").unwrap();
        assert_eq!(found.message_type.as_deref(), Some("MM4_forward.RES"));
    }

    #[test]
    fn a_value_is_raw_unfolded_and_cut_to_its_limit() {
        let id = "x".repeat(5000);
        let mail = format!(
            "X-Mms-Message-Type: =?utf-8?Q?MM4=5Fforward.REQ?=\r\n\
             X-Mms-Transaction-ID:\r\n T-1\r\n\t-a\r\nX-Mms-Message-ID: {id}\r\n"
        );
        let found = summary(mail.as_bytes()).unwrap();
        assert_eq!(
            found.message_type.as_deref(),
            Some("=?utf-8?Q?MM4=5Fforward.REQ?=")
        );
        assert_eq!(found.transaction_id.as_deref(), Some("T-1\t-a"));
        assert_eq!(found.message_id.unwrap().len(), MAX_SUMMARY_VALUE);
    }

    #[test]
    fn message_types_are_known_in_any_case() {
        assert_eq!(
            MessageType::parse(" MM4_Delivery_report.REQ"),
            Some(MessageType::DeliveryReportReq)
        );
        assert_eq!(MessageType::parse("MM1_notification.IND"), None);
        for kind in MessageType::ALL {
            assert_eq!(MessageType::parse(kind.name()), Some(kind));
            assert_ne!(kind.is_request(), kind.name().ends_with("RES"));
        }
    }

    #[test]
    fn a_response_answers_its_own_request() {
        assert_eq!(
            MessageType::ReadReplyReportReq.response(),
            Some(MessageType::ReadReplyReportRes)
        );
        assert_eq!(MessageType::ForwardRes.response(), None);
    }

    fn number(number: &str, kind: Option<&str>, domain: Option<&str>) -> Option<Address> {
        Some(Address::Number {
            number: number.to_owned(),
            kind: kind.map(str::to_owned),
            domain: domain.map(str::to_owned),
        })
    }

    fn mail(local: &str, domain: Option<&str>) -> Option<Address> {
        Some(Address::Mail {
            local: local.to_owned(),
            domain: domain.map(str::to_owned),
        })
    }

    #[test]
    fn addresses_are_read_in_every_form_seen_on_the_wire() {
        for (text, wanted) in [
            (
                "+972500000001/TYPE=PLMN",
                number("+972500000001", Some("PLMN"), None),
            ),
            (
                "<+972500000001/TYPE=PLMN@mms.example.net>",
                number("+972500000001", Some("PLMN"), Some("mms.example.net")),
            ),
            (
                "+972500000001/type=plmn@mms.example.net",
                number("+972500000001", Some("plmn"), Some("mms.example.net")),
            ),
            (
                "15551230001@mmsc.example.com",
                number("15551230001", None, Some("mmsc.example.com")),
            ),
            ("3456/TYPE=PLMN", number("3456", Some("PLMN"), None)),
            (
                "192.0.2.7/TYPE=IPv4@192.0.2.1",
                number("192.0.2.7", Some("IPv4"), Some("192.0.2.1")),
            ),
            (
                "<2001:db8::7/TYPE=IPv6@[IPv6:2001:db8::1]>",
                number("2001:db8::7", Some("IPv6"), Some("[IPv6:2001:db8::1]")),
            ),
            (
                "\"A, B\" <someone@example.com>",
                mail("someone", Some("example.com")),
            ),
            (
                "someone@example.com (A Name)",
                mail("someone", Some("example.com")),
            ),
            ("PostMaster", mail("PostMaster", None)),
            ("system-user", mail("system-user", None)),
            ("<>", None),
            ("  ", None),
        ] {
            assert_eq!(Address::parse(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_list_keeps_its_duplicates_and_its_quoted_commas() {
        let found = Address::parse_list(
            "+972500000002/TYPE=PLMN, \"Last, First\" <a@example.com>,, (x,y) 3456;\
             +972500000002/TYPE=PLMN",
        );
        let shown: Vec<_> = found.iter().map(Address::short).collect();
        assert_eq!(
            shown,
            [
                "+972500000002",
                "a@example.com",
                "(x,y) 3456",
                "+972500000002"
            ]
        );
    }

    #[test]
    fn an_expiry_is_a_date_or_seconds() {
        let sent = "2022-01-26T00:17:43Z".parse::<Timestamp>().ok();
        let at = |value| expiry(value, sent).map(|time| time.to_string());
        let wanted = Some("2022-02-01T22:17:44Z".to_owned());
        assert_eq!(at("Tue, 01 Feb 2022 22:17:44 GMT"), wanted);
        assert_eq!(at("2022-02-02T00:17:44+02:00"), wanted);
        assert_eq!(at("Tuesday, 01-Feb-22 22:17:44 GMT"), wanted);
        assert_eq!(at("86400"), Some("2022-01-27T00:17:43Z".to_owned()));
        assert_eq!(expiry("86400", None), None);
        assert_eq!(at("soon"), None);
        assert_eq!(at(""), None);
        assert_eq!(at("99999999999999999999"), None);
    }

    #[test]
    fn a_day_of_the_week_that_is_wrong_does_no_harm() {
        assert!(date("Mon, 26 Jan 2022 00:17:43 +0200").is_some());
        assert_eq!(date("26/01/22 at noon"), None);
    }

    #[test]
    fn ids_lose_their_quotes_and_nothing_else() {
        assert_eq!(unquote("\"1@mms.example.net\""), "1@mms.example.net");
        assert_eq!(
            unquote("v1x1Sv2C0TM.+972500000006"),
            "v1x1Sv2C0TM.+972500000006"
        );
        assert_eq!(unquote("\""), "\"");
    }

    #[test]
    fn yes_is_read_as_it_has_been_seen() {
        assert_eq!(yes("Yes"), Some(true));
        assert_eq!(yes("1"), Some(true));
        assert_eq!(yes("no"), Some(false));
        assert_eq!(yes("perhaps"), None);
    }
}
