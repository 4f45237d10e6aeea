//! What the `X-Mms-*` fields of a mail say (3GPP TS 23.140, clause 8.4).
//!
//! Real MMS centres vary names and values in case, quote their ids and leave
//! fields out, so nothing here judges: a field is found or it is not. Pure: no
//! file, no socket, no clock.

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

/// Reads the header block at the start of `mail`, which may be cut anywhere
/// and need not end in an empty line. `None` when it cannot be read as one.
pub fn summary(mail: &[u8]) -> Option<Summary> {
    let (headers, _) = mailparse::parse_headers(mail).ok()?;
    let mut summary = Summary::default();
    for header in &headers {
        let slot = match header.get_key_ref().to_ascii_lowercase().as_str() {
            "x-mms-message-type" => &mut summary.message_type,
            "x-mms-transaction-id" => &mut summary.transaction_id,
            "x-mms-message-id" => &mut summary.message_id,
            _ => continue,
        };
        if slot.is_none() {
            *slot = Some(header.get_value().trim().to_owned());
        }
    }
    Some(summary)
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
}
