//! Where a multipart is divided (RFC 2046 5.1).
//!
//! Lenient: a boundary that is missing or changed is guessed from the first
//! delimiter, a closing delimiter may be missing. Nothing fails; the time is linear.

use super::header::{line_at, without_line_end};
use super::{MAX_PARTS, Part};
use crate::inspect::finding::Code;

/// The bodies between the delimiters, and what is wrong with those.
#[derive(Debug, Default)]
pub(super) struct Division<'b> {
    /// `None` when it cannot be divided.
    pub(super) pieces: Vec<&'b [u8]>,
    pub(super) faults: Vec<(Code, String)>,
}

impl<'b> Division<'b> {
    /// Divides `body`, which is what `part` holds.
    pub(super) fn of(part: &Part<'_>, body: &'b [u8]) -> Division<'b> {
        let mut division = Division::default();
        let media_type = &part.media_type;
        let Some(boundary) = division.boundary(part, body) else {
            return division;
        };
        let (pieces, closed) = split(body, &boundary);
        division.pieces = pieces;
        if division.pieces.is_empty() {
            let text = format!("the boundary of a {media_type} never occurs in it");
            division.faults.push((Code::NoDelimiter, text));
            division.pieces = another_boundary(body);
        } else if !closed {
            let text = format!("a {media_type} ends without its closing delimiter");
            division.faults.push((Code::Unterminated, text));
        }
        division
    }

    /// What the multipart names, or what its first delimiter says.
    fn boundary(&mut self, part: &Part<'_>, body: &[u8]) -> Option<Vec<u8>> {
        let named = part.params.get("boundary").map(|named| named.trim_end());
        if let Some(named) = named.filter(|named| !named.is_empty()) {
            return Some(named.as_bytes().to_vec());
        }
        let guessed = guess_boundary(body);
        let what = match guessed {
            Some(_) => "; its first delimiter was taken",
            None => " and has no delimiter",
        };
        let text = format!("a {} names no boundary{what}", part.media_type);
        self.faults.push((Code::NoBoundary, text));
        guessed
    }
}

/// RFC 2046 5.1.1: a delimiter is a line of its own, the line end before it is
/// part of it, blanks after it are not.
fn split<'a>(body: &'a [u8], boundary: &[u8]) -> (Vec<&'a [u8]>, bool) {
    let mut pieces = Vec::new();
    let mut open = None;
    let delimiter = [b"--", boundary].concat();
    for at in line_starts(body, &delimiter) {
        let line = line_at(body, at);
        let rest = line.get(delimiter.len()..).unwrap_or_default();
        let closes = match rest.trim_ascii_end() {
            b"" => false,
            b"--" => true,
            _ => continue,
        };
        if let Some(start) = open {
            pieces.push(without_line_end(body.get(start..at).unwrap_or_default()));
        }
        open = Some(at + line.len());
        // Twice as many as are kept, so that the count of those left out is near.
        if closes || pieces.len() >= 2 * MAX_PARTS {
            return (pieces, true);
        }
    }
    if let Some(start) = open {
        pieces.push(body.get(start..).unwrap_or_default());
    }
    (pieces, false)
}

/// The places where a line begins with `text`.
fn line_starts(body: &[u8], text: &[u8]) -> impl Iterator<Item = usize> {
    let first = body.starts_with(text).then_some(0);
    let needle = [b"\n", text].concat();
    let mut from = 0;
    let rest = std::iter::from_fn(move || {
        let rest = body.get(from..)?;
        let at = from + memchr::memmem::find(rest, &needle)?;
        from = at + 1;
        Some(at + 1)
    });
    first.into_iter().chain(rest)
}

/// Gateways have changed a boundary in one of its two places: what looks like a
/// delimiter and occurs twice is taken for one.
fn another_boundary(body: &[u8]) -> Vec<&[u8]> {
    let Some(boundary) = guess_boundary(body) else {
        return Vec::new();
    };
    let (pieces, closed) = split(body, &boundary);
    if closed || pieces.len() > 1 {
        pieces
    } else {
        Vec::new()
    }
}

fn guess_boundary(body: &[u8]) -> Option<Vec<u8>> {
    let at = line_starts(body, b"--").next()?;
    let boundary = line_at(body, at).strip_prefix(b"--")?.trim_ascii_end();
    (!boundary.is_empty() && boundary.len() <= 200).then(|| boundary.to_vec())
}
