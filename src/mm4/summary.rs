//! The fields by which an operator finds a message again, for the server's log.

/// The fields by which an operator finds a message again, as the sender wrote
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
}
