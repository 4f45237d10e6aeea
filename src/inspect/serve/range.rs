//! A part of an answer, as RFC 9110 section 14 has it: what a browser asks for to seek in
//! a sound or video, and to continue a download.
//!
//! One range of bytes is answered; for several, and for a field that cannot be read, the
//! whole is sent, as the RFC allows. Nothing has a validator, so `If-Range` never holds
//! and the whole is sent. Fails when a file cannot be positioned.

use std::io::{self, Seek, SeekFrom};

use super::http::{Answer, Body, Request};

/// What a Range field asks for.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// Everything, or more than is answered.
    Whole,
    /// From the first to the last of these bytes.
    Bytes(u64, u64),
    /// Bytes that are not there.
    Unsatisfiable,
}

/// The answer that has everything, or as much of it as the request asks for.
pub(super) fn ranged(mut answer: Answer, request: &Request) -> io::Result<Answer> {
    if answer.status != 200 {
        return Ok(answer);
    }
    answer = answer.with("Accept-Ranges", "bytes");
    let length = answer.body.len();
    // RFC 9110 14.2: for GET alone. 13.1.5: without a validator that matches, not at all.
    let asked = match &request.range {
        Some(text) if !request.is_head && !request.has_if_range => parse(text, length),
        _ => Range::Whole,
    };
    Ok(match asked {
        Range::Whole => answer,
        Range::Bytes(first, last) => {
            answer.status = 206;
            cut(&mut answer.body, first, last)?;
            answer.with("Content-Range", format!("bytes {first}-{last}/{length}"))
        }
        Range::Unsatisfiable => Answer::text(416, "there are no such bytes")
            .with("Content-Range", format!("bytes */{length}")),
    })
}

/// RFC 9110 14.1.2: `first-last`, `first-`, or `-length`.
fn parse(text: &str, length: u64) -> Range {
    let spec = text.split_once('=').and_then(|(unit, spec)| {
        let is_bytes = unit.trim().eq_ignore_ascii_case("bytes");
        is_bytes.then(|| spec.trim().split_once('-')).flatten()
    });
    let Some((first, last)) = spec else {
        return Range::Whole;
    };
    match (number(first), number(last)) {
        (None, Some(0)) if first.is_empty() => Range::Unsatisfiable,
        (None, Some(_)) if first.is_empty() && length == 0 => Range::Whole,
        (None, Some(count)) if first.is_empty() => {
            Range::Bytes(length.saturating_sub(count), length - 1)
        }
        (Some(first), Some(last)) if first > last => Range::Whole,
        (Some(first), Some(_)) if first >= length => Range::Unsatisfiable,
        (Some(first), None) if last.is_empty() && first >= length => Range::Unsatisfiable,
        (Some(first), Some(last)) => Range::Bytes(first, last.min(length - 1)),
        (Some(first), None) if last.is_empty() => Range::Bytes(first, length - 1),
        _ => Range::Whole,
    }
}

/// A number of digits alone; one beyond what fits is beyond every length.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Leaves the bytes from `first` to `last`, which are there.
fn cut(body: &mut Body, first: u64, last: u64) -> io::Result<()> {
    match body {
        Body::Bytes(bytes) => {
            bytes.truncate((last + 1) as usize);
            bytes.drain(..first as usize);
        }
        Body::File(file, length) => {
            file.seek(SeekFrom::Start(first))?;
            *length = last + 1 - first;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_read_as_the_rfc_has_it() {
        for (text, range) in [
            ("bytes=0-0", Range::Bytes(0, 0)),
            ("bytes=2-4", Range::Bytes(2, 4)),
            ("Bytes = 2-4", Range::Bytes(2, 4)),
            ("bytes=2-", Range::Bytes(2, 9)),
            ("bytes=-3", Range::Bytes(7, 9)),
            ("bytes=-30", Range::Bytes(0, 9)),
            ("bytes=9-99999999999999999999999", Range::Bytes(9, 9)),
            ("bytes=10-", Range::Unsatisfiable),
            ("bytes=10-12", Range::Unsatisfiable),
            ("bytes=99999999999999999999999-", Range::Unsatisfiable),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=4-2", Range::Whole),
            ("bytes=0-1,3-4", Range::Whole),
            ("bytes=-", Range::Whole),
            ("bytes=", Range::Whole),
            ("bytes=a-b", Range::Whole),
            ("bytes=+1-2", Range::Whole),
            ("bytes=1-2-3", Range::Whole),
            ("lines=1-2", Range::Whole),
            ("", Range::Whole),
        ] {
            assert_eq!(parse(text, 10), range, "{text}");
        }
        assert_eq!(parse("bytes=0-", 0), Range::Unsatisfiable);
        assert_eq!(parse("bytes=0-0", 0), Range::Unsatisfiable);
        assert_eq!(parse("bytes=-1", 0), Range::Whole);
    }
}
