//! The limits of carriers, as `check --profile` reads them.
//!
//! Limits: none beyond those of the file, which the command reads to its own limit.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use crate::inspect::finding::Code;

/// What a carrier accepts. Without a limit, anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Bytes of the mail, as SMTP counts them (RFC 1870).
    pub max_size: Option<u64>,
    /// Parts, the presentation included.
    pub max_parts: Option<u64>,
    /// Addresses in `To` and `Cc`.
    pub max_recipients: Option<u64>,
    /// Characters of the subject.
    pub max_subject: Option<u64>,
    /// Media types, `image/*` for all of a kind, in lower case; empty for all
    /// that are known.
    pub types: Vec<String>,
    /// Findings that are not reported.
    pub ignored: Vec<Code>,
}

/// The profile of all accounts, and those of single ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profiles {
    /// Of every account that has none of its own.
    pub general: Profile,
    by_account: BTreeMap<String, Profile>,
}

impl Profiles {
    /// Parses a profile: lines of `key = value`; `#` begins a comment, blank lines
    /// are ignored. The keys are `max-size`, `max-parts`, `max-recipients`,
    /// `max-subject`, `types` and `ignore`; sizes take K and M (1024). A line
    /// `[ACCOUNT]` begins what holds for one account, besides the lines before the
    /// first of these.
    ///
    /// # Errors
    ///
    /// The first line that is none of these, with its number.
    pub fn parse(text: &str) -> Result<Profiles, ProfileError> {
        let mut profiles = Profiles::default();
        let mut account: Option<String> = None;
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let section = line
                .strip_prefix('[')
                .and_then(|line| line.strip_suffix(']'));
            let set = match (section.map(str::trim), &account) {
                _ if line.is_empty() => Ok(()),
                (Some(name), _) => {
                    account = Some(name.to_owned());
                    Ok(())
                }
                (None, None) => profiles.general.set(line),
                (None, Some(name)) => {
                    let general = &profiles.general;
                    let own = profiles.by_account.entry(name.clone());
                    own.or_insert_with(|| general.clone()).set(line)
                }
            };
            set.map_err(|error| ProfileError::Line(at + 1, Box::new(error)))?;
        }
        Ok(profiles)
    }

    /// The profile of an account.
    pub fn of(&self, account: Option<&str>) -> &Profile {
        let own = account.and_then(|account| self.by_account.get(account));
        own.unwrap_or(&self.general)
    }

    /// Sets the limit of bytes of every profile.
    pub(crate) fn set_max_size(&mut self, bytes: u64) {
        let all = self.by_account.values_mut().chain([&mut self.general]);
        all.for_each(|profile| profile.max_size = Some(bytes));
    }
}

/// Why a line is not one of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileError {
    /// It has no `=`.
    NotAPair(String),
    /// The key is unknown.
    UnknownKey(String),
    /// The key takes a number.
    NotANumber(String, String),
    /// The key takes a size.
    Size(SizeError),
    /// It is not a media type.
    NotAType(String),
    /// There are no types.
    NoTypes,
    /// It is not the code of a finding.
    UnknownCode(String),
    /// One of the above, on a line, counted from 1.
    Line(usize, Box<ProfileError>),
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProfileError::NotAPair(line) => {
                write!(f, "invalid line '{line}': expected key = value")
            }
            ProfileError::UnknownKey(key) => write!(
                f,
                "unknown key '{key}': the keys are max-size, max-parts, max-recipients, \
                 max-subject, types and ignore"
            ),
            ProfileError::NotANumber(key, value) => {
                write!(f, "invalid {key} '{value}': expected a number")
            }
            ProfileError::Size(error) => error.fmt(f),
            ProfileError::NotAType(name) => write!(
                f,
                "invalid media type '{name}': expected one such as image/jpeg or image/*"
            ),
            ProfileError::UnknownCode(code) => write!(
                f,
                "unknown code '{code}': `mm4spool check` prints the codes of its findings"
            ),
            ProfileError::NoTypes => f.write_str("types is empty: name at least one media type"),
            ProfileError::Line(line, error) => write!(f, "line {line}: {error}"),
        }
    }
}

impl Error for ProfileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ProfileError::Size(error) => Some(error),
            ProfileError::Line(_, error) => Some(error),
            _ => None,
        }
    }
}

impl Profile {
    fn set(&mut self, line: &str) -> Result<(), ProfileError> {
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| ProfileError::NotAPair(line.to_owned()))?;
        let (key, value) = (key.trim(), value.trim());
        let number = || {
            let number = value.parse().ok();
            number.ok_or_else(|| ProfileError::NotANumber(key.to_owned(), value.to_owned()))
        };
        match key {
            "max-size" => self.max_size = Some(parse_size(value).map_err(ProfileError::Size)?),
            "max-parts" => self.max_parts = Some(number()?),
            "max-recipients" => self.max_recipients = Some(number()?),
            "max-subject" => self.max_subject = Some(number()?),
            "types" => self.types = types(value)?,
            "ignore" => self.ignored = codes(value)?,
            _ => return Err(ProfileError::UnknownKey(key.to_owned())),
        }
        Ok(())
    }

    /// Whether the types allow this one.
    pub(crate) fn allows(&self, media_type: &str) -> bool {
        let mut types = self.types.iter();
        types.any(|allowed| match allowed.strip_suffix("/*") {
            Some(kind) => media_type.split('/').next() == Some(kind),
            None => allowed == media_type,
        })
    }
}

fn codes(value: &str) -> Result<Vec<Code>, ProfileError> {
    let names = value.split([',', ' ']).filter(|name| !name.is_empty());
    names
        .map(|name| Code::parse(name).ok_or_else(|| ProfileError::UnknownCode(name.to_owned())))
        .collect()
}

fn types(value: &str) -> Result<Vec<String>, ProfileError> {
    let types: Vec<String> = value
        .split([',', ' '])
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect();
    match types.iter().find(|name| name.split('/').count() != 2) {
        Some(name) => Err(ProfileError::NotAType(name.clone())),
        None if types.is_empty() => Err(ProfileError::NoTypes),
        None => Ok(types),
    }
}

/// A text that is not a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeError(String);

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "invalid size '{}': expected bytes, or 300K or 2M",
            self.0
        )
    }
}

impl Error for SizeError {}

/// Bytes, with K or M for times 1024 or 1024².
///
/// # Errors
///
/// When `text` is anything else, or more than fits 64 bits.
pub(crate) fn parse_size(text: &str) -> Result<u64, SizeError> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (text.get(..text.len() - 1), 1024),
        Some(b'M' | b'm') => (text.get(..text.len() - 1), 1024 * 1024),
        _ => (Some(text), 1),
    };
    let count = digits.and_then(|digits| digits.parse::<u64>().ok());
    count
        .and_then(|count| count.checked_mul(unit))
        .ok_or_else(|| SizeError(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_parsed_with_its_comments() {
        let profiles = Profiles::parse(
            "# A carrier.\nmax-size = 300K\n\nmax-subject=40 # characters\ntypes = image/*, TEXT/plain\n",
        )
        .unwrap();
        let profile = profiles.of(Some("any"));
        assert_eq!(profile.max_size, Some(300 * 1024));
        assert_eq!(profile.max_subject, Some(40));
        assert!(profile.allows("image/jpeg") && profile.allows("text/plain"));
        assert!(!profile.allows("audio/amr"));
    }

    #[test]
    fn an_account_has_a_profile_of_its_own_beside_the_general_one() {
        let mut profiles = Profiles::parse(
            "max-size = 300K\nmax-parts = 9\n[north]\nmax-size = 600K\nignore = duplicate, smil-unresolved\n\
             [ south ]\nmax-subject = 3\n",
        )
        .unwrap();
        let north = profiles.of(Some("north"));
        assert_eq!(
            (north.max_size, north.max_parts),
            (Some(600 * 1024), Some(9))
        );
        assert_eq!(north.ignored, [Code::Duplicate, Code::SmilUnresolved]);
        assert_eq!(profiles.of(Some("south")).max_subject, Some(3));
        assert_eq!(profiles.of(None), profiles.of(Some("west")));
        assert_eq!(profiles.of(None).max_size, Some(300 * 1024));
        profiles.set_max_size(1);
        assert_eq!(profiles.of(Some("north")).max_size, Some(1));
        let error = Profiles::parse("[a]\nignore = nonsense").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("line 2: unknown code 'nonsense'")
        );
    }

    #[test]
    fn an_error_names_its_line_and_what_was_expected() {
        for (text, wanted) in [
            (
                "\nmax-colours = 3",
                "line 2: unknown key 'max-colours': the keys are",
            ),
            (
                "max-size = big",
                "line 1: invalid size 'big': expected bytes, or 300K or 2M",
            ),
            (
                "max-parts = x",
                "line 1: invalid max-parts 'x': expected a number",
            ),
            (
                "types = jpeg",
                "line 1: invalid media type 'jpeg': expected one such as",
            ),
            ("types =", "line 1: types is empty"),
            (
                "max-size",
                "line 1: invalid line 'max-size': expected key = value",
            ),
        ] {
            let error = Profiles::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{error}");
        }
    }

    #[test]
    fn sizes_take_k_and_m() {
        assert_eq!(parse_size("300k"), Ok(300 * 1024));
        assert_eq!(parse_size("2M"), Ok(2 * 1024 * 1024));
        assert_eq!(parse_size("17"), Ok(17));
        for text in ["", "K", "KK", "-1", "99999999999999999999", "1G", "é"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
