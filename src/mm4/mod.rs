//! What MM4 is made of: the `X-Mms-*` fields, message types, status codes,
//! addresses and dates (3GPP TS 23.140, clause 8.4).
//!
//! Real MMS centres vary names and values in case, quote their ids and leave
//! fields out, so nothing here judges: a field is found or it is not, a value
//! is understood or it is not. Nothing here fails. Pure: no file, no socket, no
//! clock.

pub mod address;
pub mod date;
pub mod fields;
pub mod message_type;
pub mod status;
pub mod summary;

pub use self::address::Address;
pub use self::date::parse as date;
pub use self::message_type::MessageType;
pub use self::status::{MmStatus, ReadStatus, RequestStatus, Status};
pub use self::summary::{Summary, summary};

/// Whether `text` consists of decimal digits, at least one.
pub(crate) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// An id without the quotes that some MMS centres write around it; the rest is
/// opaque and stays as it is.
pub(crate) fn unquote(id: &str) -> &str {
    let id = id.trim();
    id.strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_lose_their_quotes_and_nothing_else() {
        assert_eq!(unquote("\"1@mms.example.net\""), "1@mms.example.net");
        assert_eq!(
            unquote("v1x1Sv2C0TM.+972500000006"),
            "v1x1Sv2C0TM.+972500000006"
        );
        assert_eq!(unquote("\""), "\"");
    }
}
