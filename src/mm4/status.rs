//! What answers and reports say became of a message, listed once (TS 23.140,
//! 8.4.4).

/// An enum of the values that a field may have, each with its spelling and its
/// meaning.
macro_rules! values {
    ($(#[$doc:meta])* $Name:ident { $($Value:ident = $name:literal: $meaning:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $Name {
            $(#[doc = concat!("`", $name, "`: ", $meaning, ".")] $Value,)+
        }

        impl $Name {
            /// All of them, in the order of the specification.
            pub const ALL: &[$Name] = &[$($Name::$Value,)+];
            /// Their spellings, in the same order.
            pub const NAMES: &[&str] = &[$($name,)+];

            /// The value of that spelling, in any case.
            pub fn parse(value: &str) -> Option<$Name> {
                let value = value.trim();
                let mut all = Self::ALL.iter().copied();
                all.find(|known| known.name().eq_ignore_ascii_case(value))
            }

            /// The spelling of TS 23.140.
            pub fn name(self) -> &'static str {
                match self { $($Name::$Value => $name,)+ }
            }

            /// One line for a reader who does not know TS 23.140 by heart.
            pub(crate) fn meaning(self) -> &'static str {
                match self { $($Name::$Value => $meaning,)+ }
            }
        }
    };
}

values! {
    /// `X-Mms-Request-Status-Code`: what a RES says of the REQ that it answers.
    RequestStatus {
        Ok = "Ok": "the request was accepted",
        Unspecified = "Error-unspecified": "the request was refused, without a reason",
        ServiceDenied = "Error-service-denied": "the request was refused: the service is denied",
        MessageFormatCorrupt = "Error-message-format-corrupt": "the request was refused: its format is corrupt",
        SendingAddressUnresolved = "Error-sending-address-unresolved": "the request was refused: the sender's address cannot be resolved",
        MessageNotFound = "Error-message-not-found": "the request was refused: the message it refers to is unknown",
        NetworkProblem = "Error-network-problem": "the request was refused: a network had a problem",
        ContentNotAccepted = "Error-content-not-accepted": "the request was refused: its content is not accepted",
        UnsupportedMessage = "Error-unsupported-message": "the request was refused: this kind of message is not supported",
    }
}

values! {
    /// `X-Mms-MM-Status-Code`: what a delivery report says of a message.
    MmStatus {
        Expired = "Expired": "it expired before it was retrieved",
        Retrieved = "Retrieved": "the recipient has it",
        Rejected = "Rejected": "the recipient or its MMS centre rejected it",
        Deferred = "Deferred": "the recipient has postponed retrieving it",
        Unrecognised = "Unrecognised": "the recipient's phone did not understand it",
        Indeterminate = "Indeterminate": "what became of it is unknown",
        Forwarded = "Forwarded": "the recipient forwarded it without retrieving it",
        Unreachable = "Unreachable": "the recipient could not be reached",
    }
}

values! {
    /// `X-Mms-Read-Status`: what a read report says of a message.
    ReadStatus {
        Read = "Read": "the recipient has read it",
        Deleted = "Deleted without being read": "the recipient deleted it without reading it",
    }
}

/// How a status is to be taken by a person who looks at many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded.
    Good,
    /// It failed.
    Bad,
    /// Neither is known yet.
    Open,
}

/// The status of a RES or a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Of a RES.
    Request(RequestStatus),
    /// Of a delivery report.
    Mm(MmStatus),
    /// Of a read report.
    Read(ReadStatus),
}

impl Status {
    /// The fields that hold a status, one for each kind.
    pub(crate) const FIELDS: [&str; 3] = [
        "X-Mms-Request-Status-Code",
        "X-Mms-MM-Status-Code",
        "X-Mms-Read-Status",
    ];

    /// The status that the value of a field names; `None` for another field or
    /// an unknown value.
    pub fn parse(field: &str, value: &str) -> Option<Status> {
        let [request, mm, read] = Self::FIELDS;
        if field.eq_ignore_ascii_case(request) {
            RequestStatus::parse(value).map(Status::Request)
        } else if field.eq_ignore_ascii_case(mm) {
            MmStatus::parse(value).map(Status::Mm)
        } else if field.eq_ignore_ascii_case(read) {
            ReadStatus::parse(value).map(Status::Read)
        } else {
            None
        }
    }

    /// The spelling of TS 23.140.
    pub fn name(self) -> &'static str {
        match self {
            Status::Request(status) => status.name(),
            Status::Mm(status) => status.name(),
            Status::Read(status) => status.name(),
        }
    }

    /// One line for a reader who does not know TS 23.140 by heart.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Status::Request(status) => status.meaning(),
            Status::Mm(status) => status.meaning(),
            Status::Read(status) => status.meaning(),
        }
    }

    /// How it is to be taken.
    pub fn outcome(self) -> Outcome {
        match self {
            Status::Request(RequestStatus::Ok)
            | Status::Mm(MmStatus::Retrieved | MmStatus::Forwarded)
            | Status::Read(ReadStatus::Read) => Outcome::Good,
            Status::Request(_)
            | Status::Mm(MmStatus::Expired | MmStatus::Rejected | MmStatus::Unrecognised)
            | Status::Read(ReadStatus::Deleted) => Outcome::Bad,
            Status::Mm(MmStatus::Deferred | MmStatus::Indeterminate | MmStatus::Unreachable) => {
                Outcome::Open
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_known_in_any_case_and_spelt_as_in_the_specification() {
        for (names, field) in [RequestStatus::NAMES, MmStatus::NAMES, ReadStatus::NAMES]
            .into_iter()
            .zip(Status::FIELDS)
        {
            for name in names {
                let status = Status::parse(field, &name.to_ascii_uppercase()).unwrap();
                assert_eq!(status.name(), *name);
            }
            assert_eq!(Status::parse(field, "well"), None);
        }
        assert_eq!(
            RequestStatus::parse("error-Network-Problem"),
            Some(RequestStatus::NetworkProblem)
        );
        assert_eq!(Status::parse("Subject", "Ok"), None);
    }

    #[test]
    fn an_error_is_bad_and_a_deferral_is_open() {
        let outcome =
            |field: usize, value| Status::parse(Status::FIELDS[field], value).map(Status::outcome);
        assert_eq!(outcome(0, "Ok"), Some(Outcome::Good));
        assert_eq!(outcome(0, "Error-unspecified"), Some(Outcome::Bad));
        assert_eq!(outcome(1, "Deferred"), Some(Outcome::Open));
        assert_eq!(outcome(1, "Retrieved"), Some(Outcome::Good));
    }
}
