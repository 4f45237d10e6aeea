//! Addresses as MM4 writes them (TS 23.140, 8.4.5).
//!
//! Lenient: every text is some address. Limit: [`Address::MAX_LIST`] addresses of
//! a list. Nothing fails; the time is linear.

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
    /// Whatever is not a number: `system-user@mms.example.net`, `PostMaster`.
    Mail {
        /// What was before the `@`, or all of the text.
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
    /// addresses unless they are in quotes, brackets or comments. At most
    /// [`Address::MAX_LIST`] of them.
    pub(crate) fn parse_list(value: &str) -> Vec<Address> {
        split_list(value)
            .into_iter()
            .filter_map(Address::parse)
            .take(Self::MAX_LIST)
            .collect()
    }

    /// Addresses read from one field; an MM4 message has 20 at most.
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
    super::unquote(text).trim()
}

/// Splits `+972500000001/TYPE=PLMN` into its number and its type; `TYPE` in any
/// case.
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
    super::is_digits(digits)
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
}
