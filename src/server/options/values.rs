//! The options as they were given: texts, each with the place it is from.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::{OptionsError, build, usage_error};

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    CommandLine,
    Line { file: String, number: usize },
}

impl Origin {
    /// An error about something that was given there.
    pub(crate) fn error(&self, text: &str) -> OptionsError {
        match self {
            Origin::CommandLine => usage_error(text),
            Origin::Line { file, number } => OptionsError::File(format!("{file}:{number}: {text}")),
        }
    }
}

/// One option as it was given; an option without a value has an empty text.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    name: &'static str,
    pub(super) text: String,
    origin: Origin,
}

impl Value {
    /// This value is not what the option expects.
    pub(super) fn invalid(&self, expected: impl fmt::Display) -> OptionsError {
        self.wrong(format_args!("expected {expected}"))
    }

    /// This value has a fault.
    pub(super) fn wrong(&self, fault: impl fmt::Display) -> OptionsError {
        let Value { name, text, origin } = self;
        let dashes = match origin {
            Origin::CommandLine => "--",
            Origin::Line { .. } => "",
        };
        origin.error(&format!("invalid {dashes}{name} '{text}': {fault}"))
    }
}

/// Something that was given and cannot be used.
#[derive(Debug)]
pub(crate) struct Invalid {
    /// The option that it is about, if it is about one.
    pub(crate) name: Option<&'static str>,
    pub(crate) error: OptionsError,
    /// Whether nothing is known of the file.
    pub(crate) is_whole_file: bool,
}

/// The options that were given, in any order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values(Vec<Value>);

impl Values {
    pub(crate) fn add(
        &mut self,
        name: &'static str,
        texts: impl IntoIterator<Item = String>,
        origin: &Origin,
    ) {
        self.0.extend(texts.into_iter().map(|text| Value {
            name,
            text,
            origin: origin.clone(),
        }));
    }

    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.one(name).is_some()
    }

    pub(super) fn one(&self, name: &str) -> Option<&Value> {
        self.all(name).next()
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |value| value.name == name)
    }

    /// These, and those of `other` for the options that are not given here.
    pub(super) fn or(mut self, other: Values) -> Values {
        let rest = other
            .0
            .into_iter()
            .filter(|value| !self.is_given(value.name));
        let rest: Vec<_> = rest.collect();
        self.0.extend(rest);
        self
    }

    /// Those that are valid in themselves, and what is wrong with the others.
    pub(crate) fn split_invalid(self) -> (Values, Vec<Invalid>) {
        let alone = |value: &Value| {
            let mut values = vec![value.clone()];
            if value.name != "hostname" {
                // Where no value is given, the system's name counts, which is
                // checked elsewhere.
                values.push(Value {
                    name: "hostname",
                    text: "localhost".to_owned(),
                    origin: Origin::CommandLine,
                });
            }
            let values = Values(values);
            let error = build::options(&values).err();
            error.or_else(|| build::account_values(&values).err())
        };
        let (mut valid, mut invalid) = (Values::default(), Vec::new());
        for value in self.0 {
            match alone(&value) {
                None => valid.0.push(value),
                Some(error) => invalid.push(Invalid {
                    name: Some(value.name),
                    error,
                    is_whole_file: false,
                }),
            }
        }
        (valid, invalid)
    }

    pub(super) fn path(&self, name: &str, default: &str) -> Result<PathBuf, OptionsError> {
        match self.one(name) {
            Some(value) if value.text.is_empty() => Err(value.invalid("a path")),
            Some(value) => Ok(PathBuf::from(&value.text)),
            None => Ok(PathBuf::from(default)),
        }
    }

    /// A decimal number without a sign.
    pub(super) fn number(
        &self,
        name: &str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, OptionsError> {
        let Some(value) = self.one(name) else {
            return Ok(default);
        };
        whole_number(&value.text)
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let (least, most) = range.into_inner();
                value.invalid(format_args!("a whole number from {least} to {most}"))
            })
    }

    pub(super) fn count(&self, name: &str, default: u32) -> Result<u32, OptionsError> {
        let number = self.number(name, default.into(), 1..=u32::MAX.into())?;
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// Whole seconds, as many as fit into 32 bits.
    pub(super) fn seconds(
        &self,
        name: &str,
        default: u64,
        least: u64,
    ) -> Result<Duration, OptionsError> {
        self.number(name, default, least..=u32::MAX.into())
            .map(Duration::from_secs)
    }
}

pub(super) fn whole_number(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}
