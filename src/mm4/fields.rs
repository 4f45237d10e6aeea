//! The fields whose values TS 23.140 (8.4.4) lists, and what values mean.

use super::message_type::MessageType;
use super::status::{MmStatus, ReadStatus, RequestStatus, Status};

/// The values of a field that TS 23.140 8.4.4 lists; any other field takes any
/// value. `name` is in lower case.
pub(crate) fn allowed_values(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "x-mms-request-status-code" => RequestStatus::NAMES,
        "x-mms-mm-status-code" => MmStatus::NAMES,
        "x-mms-mm-status-extension" => &["Rejection-By-MMS-Recipient", "Rejection-By-Other-RS"],
        "x-mms-read-status" => ReadStatus::NAMES,
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

/// Whether a field can only mean one thing. `X-Mms-Previously-Sent-*` and
/// operators' own may be repeated. `name` is in lower case.
pub(crate) fn is_single(name: &str) -> bool {
    allowed_values(name).is_some()
        || matches!(
            name,
            "x-mms-message-type"
                | "x-mms-transaction-id"
                | "x-mms-message-id"
                | "x-mms-3gpp-mms-version"
                | "x-mms-originator-system"
                | "x-mms-expiry"
        )
}

/// What a value means, for a reader who does not know TS 23.140 by heart; `None`
/// where the value says it itself. `name` is in lower case.
pub(crate) fn meaning(name: &str, value: &str) -> Option<&'static str> {
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
        "x-mms-sender-visibility" if value.trim().eq_ignore_ascii_case("Hide") => {
            Some("the recipient must not learn who sent it")
        }
        _ => Status::parse(name, value).map(Status::meaning),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_is_understood_as_it_has_been_seen() {
        assert_eq!(yes("Yes"), Some(true));
        assert_eq!(yes("1"), Some(true));
        assert_eq!(yes("no"), Some(false));
        assert_eq!(yes("perhaps"), None);
    }

    #[test]
    fn a_value_is_explained_unless_it_says_it_itself() {
        assert_eq!(
            meaning("x-mms-mm-status-code", "retrieved"),
            Some("the recipient has it")
        );
        assert_eq!(
            meaning("x-mms-read-reply", "No"),
            Some("no read report is wanted")
        );
        assert_eq!(meaning("x-mms-priority", "High"), None);
    }
}
