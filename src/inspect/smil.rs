//! The presentation of a message: SMIL, as much of it as phones follow (OMA MMS
//! Conformance Document, 7; 3GPP TS 26.246).
//!
//! A scanner of tags rather than a parser of XML: what phones and gateways write
//! is often not well-formed, and the order of the slides can be seen all the
//! same. Nothing fails; the time is linear. Limits: [`MAX_CHARACTERS`] of SMIL, [`MAX_ITEMS`] media on all
//! slides together.

use std::collections::HashMap;

use super::mime::Part;
use super::mime::params::percent_decoded;

/// Characters of a presentation that are read; real ones have a few hundred.
pub const MAX_CHARACTERS: usize = 256 * 1024;
/// Media elements that are kept.
pub const MAX_ITEMS: usize = 1000;

/// What is shown, in its order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Presentation {
    /// One for each `par`; a medium outside of any `par` is a slide of its own.
    pub slides: Vec<Slide>,
}

/// What is shown at the same time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Slide {
    /// How long, in milliseconds; `None` when it does not say or never ends.
    pub duration_ms: Option<u64>,
    /// In their order on the screen, top first; what has no
    /// place there comes last.
    pub items: Vec<Item>,
}

/// One medium on a slide.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// The element: `img`, `text`, `audio`, `video`, `ref`, ….
    pub element: String,
    /// What `src` says, entities decoded.
    pub src: String,
    /// The number of the part that it refers to; `None` when there is none.
    pub part: Option<usize>,
    /// Where its region begins, from the top of the screen, in its own unit.
    top: u32,
}

const MEDIA: [&str; 8] = [
    "img",
    "text",
    "audio",
    "video",
    "ref",
    "textstream",
    "animation",
    "vcard",
];

/// Reads a presentation and finds the part that each medium means.
pub fn read(smil: &str, parts: &[Part<'_>]) -> Presentation {
    let smil = smil
        .char_indices()
        .nth(MAX_CHARACTERS)
        .map_or(smil, |(end, _)| smil.get(..end).unwrap_or(smil));
    let mut reader = Reader {
        names: Names::of(parts),
        ..Reader::default()
    };
    for tag in (Tags { rest: smil }) {
        reader.tag(&tag);
    }
    reader.presentation()
}

#[derive(Default)]
struct Reader {
    names: Names,
    slides: Vec<Slide>,
    /// By its id, where a region begins.
    regions: HashMap<String, u32>,
    in_par: bool,
    items: usize,
}

impl Reader {
    fn tag(&mut self, tag: &Tag<'_>) {
        match tag.name.as_str() {
            "region" => {
                let id = tag.attribute("id").or_else(|| tag.attribute("xml:id"));
                if let (Some(id), true) = (id, self.regions.len() < MAX_ITEMS) {
                    let top = tag.attribute("top");
                    let top = top.map_or(0, |top| leading_number(&top));
                    self.regions.entry(id).or_insert(top);
                }
            }
            "par" if tag.closing => self.in_par = false,
            "par" => {
                if self.slides.len() < MAX_ITEMS {
                    self.slides.push(Slide {
                        duration_ms: tag.attribute("dur").and_then(|dur| clock_value(&dur)),
                        items: Vec::new(),
                    });
                }
                self.in_par = !tag.empty;
            }
            name if MEDIA.contains(&name) && !tag.closing => self.medium(tag),
            _ => {}
        }
    }

    fn medium(&mut self, tag: &Tag<'_>) {
        let Some(src) = tag.attribute("src").filter(|_| self.items < MAX_ITEMS) else {
            return;
        };
        self.items += 1;
        let region = tag.attribute("region");
        let top = region.and_then(|name| self.regions.get(&name).copied());
        let item = Item {
            part: self.names.resolve(&src),
            top: top.unwrap_or(u32::MAX),
            element: tag.name.clone(),
            src,
        };
        match self.slides.last_mut() {
            Some(slide) if self.in_par => slide.items.push(item),
            _ => self.slides.push(Slide {
                duration_ms: tag.attribute("dur").and_then(|dur| clock_value(&dur)),
                items: vec![item],
            }),
        }
    }

    fn presentation(mut self) -> Presentation {
        for slide in &mut self.slides {
            // Stable: what has no region keeps the order of the file.
            slide.items.sort_by_key(|item| item.top);
        }
        self.slides.retain(|slide| !slide.items.is_empty());
        Presentation {
            slides: self.slides,
        }
    }
}

/// What the parts of a message are called: their `Content-ID`,
/// `Content-Location` and names. Looking up a name takes the same time however
/// many parts there are.
#[derive(Debug, Default)]
pub struct Names {
    /// The number of the first part of each name.
    exact: HashMap<String, usize>,
    /// The same for the names in lower case.
    folded: HashMap<String, usize>,
}

impl Names {
    /// The names of these parts.
    pub fn of(parts: &[Part<'_>]) -> Names {
        let mut names = Names::default();
        for part in parts {
            let Some(number) = part.number else { continue };
            let known = [
                part.content_id.as_ref(),
                part.location.as_ref(),
                part.name.as_ref(),
                part.params.get("name"),
            ];
            for name in known.into_iter().flatten() {
                names.exact.entry(name.clone()).or_insert(number);
                let folded = name.to_ascii_lowercase();
                names.folded.entry(folded).or_insert(number);
            }
        }
        names
    }

    /// The number of the part that a `src` refers to: by a `cid:` URL (RFC
    /// 2392), a `Content-Location` or, as phones do it, a name. Exactly first,
    /// then in any case.
    pub(crate) fn resolve(&self, src: &str) -> Option<usize> {
        let src = src.trim();
        let wanted = match src.get(..4) {
            Some(scheme) if scheme.eq_ignore_ascii_case("cid:") => src.get(4..).unwrap_or_default(),
            _ => src.strip_prefix("./").unwrap_or(src),
        };
        let wanted = wanted.trim_start_matches('<').trim_end_matches('>');
        if wanted.is_empty() {
            return None;
        }
        let decoded = percent_decoded(wanted.as_bytes());
        let decoded = String::from_utf8_lossy(&decoded);
        let first = |names: &HashMap<String, usize>, wanted: &str, decoded: &str| {
            [names.get(wanted), names.get(decoded)]
                .into_iter()
                .flatten()
                .min()
                .copied()
        };
        first(&self.exact, wanted, &decoded).or_else(|| {
            let (wanted, decoded) = (wanted.to_ascii_lowercase(), decoded.to_ascii_lowercase());
            first(&self.folded, &wanted, &decoded)
        })
    }
}

/// SMIL 2.0 10.3.1: `5s`, `5000ms`, `1.5s`, `2min`, `1h`, `02:30`, `1:02:30`, a
/// bare number of seconds. `None` for `indefinite` and for anything else.
fn clock_value(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    if text.contains(':') {
        let mut seconds = 0_f64;
        for field in text.split(':') {
            seconds = seconds * 60.0 + decimal(field)?;
        }
        return milliseconds(seconds);
    }
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let number = decimal(text.strip_suffix(unit)?)?;
    match unit {
        "ms" => milliseconds(number / 1000.0),
        "" | "s" | "sec" => milliseconds(number),
        "min" => milliseconds(number * 60.0),
        "h" => milliseconds(number * 3600.0),
        _ => None,
    }
}

fn decimal(text: &str) -> Option<f64> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    plain.then(|| text.parse().ok())?
}

fn milliseconds(seconds: f64) -> Option<u64> {
    // A day is longer than any slide; more is nonsense.
    (0.0..=86_400.0)
        .contains(&seconds)
        .then_some((seconds * 1000.0).round() as u64)
}

fn leading_number(text: &str) -> u32 {
    let digits: String = text
        .trim()
        .chars()
        .take_while(char::is_ascii_digit)
        .take(9)
        .collect();
    digits.parse().unwrap_or(0)
}

/// A start, end or empty tag; its name in lower case and without a prefix.
struct Tag<'a> {
    name: String,
    closing: bool,
    empty: bool,
    attributes: &'a str,
}

impl Tag<'_> {
    /// The value of an attribute, quoted in either way or not at all.
    fn attribute(&self, wanted: &str) -> Option<String> {
        let mut rest = self.attributes;
        while let Some((name, after)) = rest.split_once('=') {
            let name = name.trim();
            let name = name.rsplit(char::is_whitespace).next().unwrap_or(name);
            let after = after.trim_start();
            let quote = after
                .chars()
                .next()
                .filter(|letter| "\"'".contains(*letter));
            let (value, left) = match quote {
                Some(quote) => {
                    let inner = after.get(1..).unwrap_or_default();
                    inner.split_once(quote).unwrap_or((inner, ""))
                }
                None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
            };
            if name.eq_ignore_ascii_case(wanted) {
                return Some(decode_entities(value.trim()));
            }
            rest = left;
        }
        None
    }
}

/// The tags of a text; comments, declarations and what is between them are
/// passed over.
struct Tags<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        loop {
            let (_, after) = self.rest.split_once('<')?;
            if let Some(comment) = after.strip_prefix("!--") {
                self.rest = comment.split_once("-->").map_or("", |(_, rest)| rest);
                continue;
            }
            let end = tag_end(after);
            let tag = after.get(..end).unwrap_or_default();
            self.rest = after.get(end..).unwrap_or_default();
            if let Some(tag) = tag_of(tag) {
                return Some(tag);
            }
        }
    }
}

/// Where a tag ends: at its `>`, which may also be in a quoted value.
fn tag_end(text: &str) -> usize {
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (None, '>' | '<') => return at,
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), letter) if open == letter => quote = None,
            _ => {}
        }
    }
    text.len()
}

fn tag_of(tag: &str) -> Option<Tag<'_>> {
    let (closing, tag) = match tag.strip_prefix('/') {
        Some(tag) => (true, tag),
        None => (false, tag),
    };
    let (empty, tag) = match tag.trim_end().strip_suffix('/') {
        Some(tag) => (true, tag),
        None => (false, tag),
    };
    let end = tag.find(char::is_whitespace).unwrap_or(tag.len());
    let name = tag.get(..end)?.rsplit(':').next()?;
    if !name.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
        return None;
    }
    Some(Tag {
        name: name.to_ascii_lowercase(),
        closing,
        empty,
        attributes: tag.get(end..)?,
    })
}

fn decode_entities(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::mime;
    use crate::inspect::mime::header::Header;

    const MAIL: &[u8] = b"Content-Type: multipart/related; boundary=x\n\n\
        --x\nContent-Type: image/jpeg\nContent-ID: <pic>\nContent-Location: Pic One.jpg\n\njpg\n\
        --x\nContent-Type: text/plain; name=\"text.txt\"\n\nhello\n--x--\n";

    /// The duration of a slide, and what it shows with the part that it refers to.
    type Shown = (Option<u64>, Vec<(String, Option<usize>)>);

    fn slides(smil: &str) -> Vec<Shown> {
        let header = Header::parse(MAIL);
        let (parts, _) = mime::parts(&header, &MAIL[header.length..]);
        read(smil, &parts)
            .slides
            .into_iter()
            .map(|slide| {
                let items = slide.items.into_iter();
                (
                    slide.duration_ms,
                    items.map(|item| (item.src, item.part)).collect(),
                )
            })
            .collect()
    }

    #[test]
    fn slides_come_in_order_and_their_media_from_top_to_bottom() {
        let found = slides(
            "<?xml version=\"1.0\"?><!DOCTYPE smil><smil><head><layout>\
             <region id=\"Text\" top=\"0%\" height=\"20%\"/><region id='Image' top='20%'/>\
             </layout></head><body><par dur=\"5000ms\"><img src=\"cid:pic\" region=\"Image\"/>\
             <text src=\"text.txt\" region=\"Text\"/></par><!-- <par> --><par dur=8s>\
             <IMG SRC='pic%20one.jpg' /></par></body></smil>",
        );
        assert_eq!(
            found,
            [
                (
                    Some(5000),
                    vec![
                        ("text.txt".to_owned(), Some(2)),
                        ("cid:pic".to_owned(), Some(1))
                    ]
                ),
                (Some(8000), vec![("pic%20one.jpg".to_owned(), Some(1))]),
            ]
        );
    }

    #[test]
    fn a_reference_to_no_part_is_kept() {
        assert_eq!(
            slides("<par><img src=\"cid:none\"/></par>"),
            [(None, vec![("cid:none".to_owned(), None)])]
        );
        assert_eq!(slides("<par><img src=\"\"/></par>")[0].1[0].1, None);
    }

    #[test]
    fn a_medium_outside_of_a_par_is_a_slide() {
        assert_eq!(slides("<body><img src=pic dur=3s></body>").len(), 1);
    }

    #[test]
    fn what_is_not_smil_has_no_slides() {
        for text in [
            "",
            "<",
            "<par",
            "<<<>>>",
            "a & b",
            "<par><img></par>",
            "<!--",
        ] {
            assert!(slides(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn entities_in_a_reference_are_undone() {
        assert_eq!(slides("<img src=\"a&amp;b\"/>")[0].1[0].0, "a&b");
    }

    #[test]
    fn clock_values_are_read_in_each_of_their_forms() {
        for (text, wanted) in [
            ("5s", Some(5000)),
            ("5000ms", Some(5000)),
            ("1.5s", Some(1500)),
            ("2min", Some(120_000)),
            ("02:30", Some(150_000)),
            ("1:00:01", Some(3_601_000)),
            ("7", Some(7000)),
            ("indefinite", None),
            ("", None),
            ("-5s", None),
            ("99999999999h", None),
        ] {
            assert_eq!(clock_value(text), wanted, "{text}");
        }
    }
}
