//! What can be wrong with a message, listed once.

use std::fmt;

/// A kind of finding. Its name stays what it is: scripts compare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// A mandatory or conditional field is missing (TS 23.140, 8.4).
    MissingField,
    /// An MM4_forward.REQ without content.
    MissingContent,
    /// A field that can only mean one thing occurs more than once.
    RepeatedField,
    /// A value is none of those that TS 23.140 8.4.4 lists for its field.
    BadValue,
    /// `X-Mms-Message-Type` is none of the six.
    UnknownMessageType,
    /// A media type that MMS does not use.
    UnknownMediaType,
    /// A media type that the profile does not allow.
    TypeNotAllowed,
    /// A limit of the profile is exceeded.
    OverLimit,
    /// `Start` names no part.
    StartUnresolved,
    /// A slide shows something that is not a part.
    SmilUnresolved,
    /// Base64 that cannot be decoded whole.
    BadBase64,
    /// Quoted-printable that cannot be decoded whole.
    BadQuotedPrintable,
    /// Uuencoded text that cannot be decoded whole, or that has text around it.
    BadUuencode,
    /// A transfer encoding that is unknown.
    UnknownEncoding,
    /// A charset that is unknown, or that has no letter for some bytes of a text.
    BadCharset,
    /// Another message has the same account and transaction.
    Duplicate,
    /// The file does not begin with header fields.
    NoHeader,
    /// Lines of the header are not fields.
    HeaderJunk,
    /// A header ends without its empty line, and text follows it.
    NoEmptyLine,
    /// The header is longer than what is read of it.
    HeaderTooLong,
    /// A multipart names no boundary.
    NoBoundary,
    /// The boundary of a multipart never occurs in it.
    NoDelimiter,
    /// A multipart has no closing delimiter.
    Unterminated,
    /// Multiparts are nested deeper than what is divided.
    TooDeep,
    /// There are more parts than what is kept.
    TooManyParts,
    /// The file is longer than what is read of it.
    NotReadWhole,
}

impl Code {
    /// All of them, in the order of the list in README.md.
    pub const ALL: [Code; 26] = [
        Code::MissingField,
        Code::MissingContent,
        Code::RepeatedField,
        Code::BadValue,
        Code::UnknownMessageType,
        Code::UnknownMediaType,
        Code::TypeNotAllowed,
        Code::OverLimit,
        Code::StartUnresolved,
        Code::SmilUnresolved,
        Code::BadBase64,
        Code::BadQuotedPrintable,
        Code::BadUuencode,
        Code::UnknownEncoding,
        Code::BadCharset,
        Code::Duplicate,
        Code::NoHeader,
        Code::HeaderJunk,
        Code::NoEmptyLine,
        Code::HeaderTooLong,
        Code::NoBoundary,
        Code::NoDelimiter,
        Code::Unterminated,
        Code::TooDeep,
        Code::TooManyParts,
        Code::NotReadWhole,
    ];

    /// The name that `check` prints, such as `missing-field`.
    pub fn name(self) -> &'static str {
        match self {
            Code::MissingField => "missing-field",
            Code::MissingContent => "missing-content",
            Code::RepeatedField => "repeated-field",
            Code::BadValue => "bad-value",
            Code::UnknownMessageType => "unknown-message-type",
            Code::UnknownMediaType => "unknown-media-type",
            Code::TypeNotAllowed => "type-not-allowed",
            Code::OverLimit => "over-limit",
            Code::StartUnresolved => "start-unresolved",
            Code::SmilUnresolved => "smil-unresolved",
            Code::BadBase64 => "bad-base64",
            Code::BadQuotedPrintable => "bad-quoted-printable",
            Code::BadUuencode => "bad-uuencode",
            Code::BadCharset => "bad-charset",
            Code::UnknownEncoding => "unknown-encoding",
            Code::Duplicate => "duplicate",
            Code::NoHeader => "no-header",
            Code::HeaderJunk => "header-junk",
            Code::NoEmptyLine => "no-empty-line",
            Code::HeaderTooLong => "header-too-long",
            Code::NoBoundary => "no-boundary",
            Code::NoDelimiter => "no-delimiter",
            Code::Unterminated => "unterminated",
            Code::TooDeep => "too-deep",
            Code::TooManyParts => "too-many-parts",
            Code::NotReadWhole => "not-read-whole",
        }
    }
}

impl Code {
    /// The code of that name.
    pub fn parse(name: &str) -> Option<Code> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }

    /// How severe it is: an error breaks TS 23.140, a limit or the content; a
    /// warning is repaired by the reader; a note is only unusual.
    pub fn severity(self) -> Severity {
        match self {
            Code::MissingField
            | Code::MissingContent
            | Code::BadValue
            | Code::UnknownMessageType
            | Code::TypeNotAllowed
            | Code::OverLimit
            | Code::BadBase64
            | Code::BadQuotedPrintable
            | Code::BadUuencode
            | Code::UnknownEncoding
            | Code::NoHeader
            | Code::HeaderTooLong
            | Code::NoBoundary
            | Code::NoDelimiter
            | Code::TooDeep
            | Code::TooManyParts
            | Code::NotReadWhole => Severity::Error,
            Code::RepeatedField
            | Code::StartUnresolved
            | Code::SmilUnresolved
            | Code::BadCharset
            | Code::Duplicate
            | Code::HeaderJunk
            | Code::NoEmptyLine
            | Code::Unterminated => Severity::Warning,
            Code::UnknownMediaType => Severity::Note,
        }
    }
}

/// How severe a finding is, the most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// It breaks TS 23.140, a limit of the carrier, or the content.
    Error,
    /// It is wrong, and the message can be read all the same.
    Warning,
    /// It is unusual.
    Note,
}

impl Severity {
    /// All of them, the most severe first.
    pub const ALL: [Severity; 3] = [Severity::Error, Severity::Warning, Severity::Note];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub code: Code,
    /// The number of the part that it concerns, if it is one.
    pub part: Option<usize>,
    /// A sentence for a person. It may quote the peer, unescaped.
    pub text: String,
}

impl Finding {
    /// A finding about the message as a whole.
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Finding {
        Finding {
            code,
            part: None,
            text: text.into(),
        }
    }

    /// A finding about a part.
    pub(crate) fn in_part(code: Code, part: Option<usize>, text: impl Into<String>) -> Finding {
        Finding {
            part,
            ..Finding::new(code, text)
        }
    }

    /// What follows the code: `part 3: ` where it concerns one, and the sentence.
    pub fn details(&self) -> String {
        match self.part {
            Some(part) => format!("part {part}: {}", self.text),
            None => self.text.clone(),
        }
    }
}

/// `bad-base64: part 3: …`, the line of `check` and `show`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.details())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_readme_in_its_order() {
        let readme = include_str!("README.md");
        let rows: Vec<&str> = readme
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
            .filter(|(code, _)| Code::parse(code).is_some())
            .map(|(code, rest)| {
                let severity = Code::parse(code).unwrap().severity().name();
                assert!(
                    rest.starts_with(&format!("{severity} | ")),
                    "{code}: {rest}"
                );
                code
            })
            .collect();
        assert_eq!(rows, Code::ALL.map(Code::name));
    }
}
