//! The six messages of MM4, listed once (TS 23.140, 8.4.1 to 8.4.3).

/// The six abstract messages of the MM4 reference point (TS 23.140, 8.4.1 to
/// 8.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// A multimedia message on its way to the recipient's MMS centre.
    ForwardReq,
    /// Whether that was accepted.
    ForwardRes,
    /// What became of a message, reported to the originator's MMS centre.
    DeliveryReportReq,
    /// Whether that report was accepted.
    DeliveryReportRes,
    /// That a message was read, reported to the originator's MMS centre.
    ReadReplyReportReq,
    /// Whether that report was accepted.
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
    pub(crate) fn short_name(self) -> &'static str {
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
    pub(crate) fn meaning(self) -> &'static str {
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
    pub(crate) fn clause(self) -> &'static str {
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
    pub(crate) fn is_request(self) -> bool {
        self.response().is_some()
    }

    /// The fields that TS 23.140 calls mandatory in this message, by the names
    /// of clause 8.4.4 (an address, the date and the content type are the
    /// fields of RFC 5322 and RFC 2045).
    pub(crate) fn mandatory_fields(self) -> &'static [&'static str] {
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
            // Not Message-ID: the transaction identifies the report.
            MessageType::ReadReplyReportRes => &[
                "X-Mms-3GPP-MMS-Version",
                "X-Mms-Message-Type",
                "X-Mms-Transaction-ID",
                "X-Mms-Request-Status-Code",
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
