//! The last messages as a page for a browser, each as a phone would show it.
//!
//! The page is complete in itself and has nothing active: no script, no link, a
//! Content-Security-Policy that allows its own style by digest and pictures and
//! sound as data, and nothing else. Every text is escaped. A part is shown as a
//! picture only if its octets are one, of a kind that holds no script: HTML and
//! SVG are never more than text or a name. Limits: [`MAX_INLINE`] octets of a
//! part, [`MAX_TEXT`] characters of a text, [`MAX_FIELDS`] fields of a header.
//! Fails when nothing can be written.

use std::io::{self, ErrorKind, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::check::{self, Duplicates, Profile};
use super::header::Field;
use super::json::sha256;
use super::list::{self, Filter, Unreadable};
use super::maildir::{Entry, Spool};
use super::message::{Message, readable};
use super::mime::{Decoded, Part};
use super::show::{moment, seconds};
use super::terminal::{self, is_unsafe};
use crate::mm4::{self, Address, MessageType};

/// Octets of a part that are put into the page; a bigger one is named.
pub const MAX_INLINE: usize = 16 * 1024 * 1024;
/// Characters of a text that are shown.
pub const MAX_TEXT: usize = 20_000;
/// Header fields that are shown.
pub const MAX_FIELDS: usize = 200;

/// Octets below which nothing is a picture: a GIF of one pixel has 35.
const SMALLEST_PICTURE: usize = 32;

const STYLE: &str = include_str!("gallery.css");

/// Writes the page of the last of `entries`, newest first; gives back those that
/// could not be read. `title` names the spool, `now` is the time of the page.
///
/// # Errors
///
/// When nothing can be written.
pub fn write(
    spool: &Spool,
    entries: &[Entry],
    title: &str,
    last: usize,
    now: Timestamp,
    out: &mut dyn Write,
) -> io::Result<Vec<Unreadable>> {
    let filter = Filter {
        last,
        ..Filter::default()
    };
    let (taken, mut unreadable) = list::select(spool, entries, &filter);
    head(title, taken.len(), entries.len(), now, out)?;
    if taken.is_empty() {
        writeln!(out, "<p class=\"empty\">No message is here.</p>")?;
    }
    let mut duplicates = Duplicates::default();
    for entry in &taken {
        // What cannot be read is told of below.
        if let Ok(file) = spool.read_header(entry) {
            duplicates.note(&Message::read_header(entry, &file));
        }
    }
    for entry in taken.iter().rev() {
        match spool.read(entry) {
            Ok(file) => card(&Message::read(entry, &file), &duplicates, out)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => unreadable.push((entry.id.clone(), error)),
        }
    }
    writeln!(out, "</main>\n</body>\n</html>")?;
    Ok(unreadable)
}

/// The policy: nothing but this style, and pictures and sound that are data.
fn policy() -> String {
    let digest = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; img-src data:; media-src data:; \
         base-uri 'none'; form-action 'none'"
    )
}

fn head(
    title: &str,
    shown: usize,
    all: usize,
    now: Timestamp,
    out: &mut dyn Write,
) -> io::Result<()> {
    let (policy, title) = (escaped(&policy()), escaped(title));
    let count = match (shown, all) {
        (1, 1) => "1 message".to_owned(),
        (shown, all) if shown == all => format!("{all} messages"),
        (shown, all) => format!("the last {shown} of {all} messages"),
    };
    let now = moment(now);
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{title}: MM4 messages</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1>{title}</h1>\n<p>{count}, newest first. Made {now}; times are UTC.</p>\n\
         </header>\n<main>\n"
    )
}

fn card(message: &Message<'_>, duplicates: &Duplicates, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "<article class=\"card\">")?;
    title(message, out)?;
    writeln!(out, "<div class=\"screen\">")?;
    screen(message, out)?;
    writeln!(out, "</div>")?;
    findings(message, duplicates, out)?;
    fields(message, out)?;
    parts(message, out)?;
    writeln!(out, "<footer>{}</footer>\n</article>", escaped(message.id))
}

fn title(message: &Message<'_>, out: &mut dyn Write) -> io::Result<()> {
    let name = |address: Option<Address>| {
        let text = address.map_or_else(|| "nobody".to_owned(), |address| address.short());
        format!("<b>{}</b>", escaped(&text))
    };
    let (from, to) = message.route();
    let more = match to.len() {
        0 | 1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let (from, first) = (name(from), name(to.into_iter().next()));
    writeln!(
        out,
        "<header>\n<p class=\"route\">{from} → {first}{more}</p>"
    )?;
    match message.header.value("Subject") {
        Some(subject) => writeln!(out, "<h2 dir=\"auto\">{}</h2>", escaped(&subject))?,
        None => {
            let kind = message
                .kind()
                .filter(|kind| *kind != MessageType::ForwardReq);
            let what = kind.map_or("no subject", MessageType::meaning);
            writeln!(out, "<h2 class=\"none\">{what}</h2>")?;
        }
    }
    let written = message.header.value("X-Mms-Message-Type");
    let kind = match (message.kind(), written) {
        (Some(kind), _) => kind.short_name().to_owned(),
        (None, Some(written)) => terminal::cut(&written, 30),
        (None, None) => "no MM4 type".to_owned(),
    };
    write!(
        out,
        "<p class=\"meta\"><span class=\"badge\">{}</span>",
        escaped(&kind)
    )?;
    if let Some(time) = message.time {
        let shown = time.strftime("%-d %b %Y, %H:%M:%S");
        write!(out, "<time datetime=\"{time}\">{shown}</time>")?;
    }
    if let Some(account) = message.account() {
        write!(out, "<span>by {}</span>", escaped(account))?;
    }
    let size = terminal::octets(message.size);
    writeln!(out, "<span>{size}</span></p>\n</header>")
}

/// What a phone would show: the slides, then what is on none of them; of a
/// report or a response what it says.
fn screen(message: &Message<'_>, out: &mut dyn Write) -> io::Result<()> {
    status(message, out)?;
    let mut shown = Vec::new();
    if let Some((number, presentation)) = &message.presentation {
        shown.push(*number);
        let count = presentation.slides.len();
        for (at, slide) in presentation.slides.iter().enumerate() {
            let duration = slide.duration_ms.map(seconds).unwrap_or_default();
            writeln!(
                out,
                "<section class=\"slide\"><p class=\"tick\"><span>Slide {} of {count}</span>\
                 <span>{duration}</span></p>",
                at + 1
            )?;
            for item in &slide.items {
                match item.part.and_then(|part| message.leaf(part)) {
                    // A part that hostile slides show a thousand times is put in once.
                    Some(part) if shown.contains(&part.number.unwrap_or(0)) => again(part, out)?,
                    Some(part) => {
                        shown.extend(part.number);
                        medium(part, out)?;
                    }
                    None => writeln!(
                        out,
                        "<p class=\"chip missing\">{} names no part</p>",
                        escaped(&item.src)
                    )?,
                }
            }
            writeln!(out, "</section>")?;
        }
    }
    let rest: Vec<_> = message
        .leaves()
        .filter(|part| part.number.is_none_or(|number| !shown.contains(&number)))
        .collect();
    if !rest.is_empty() {
        writeln!(out, "<section class=\"slide rest\">")?;
        if message.presentation.is_some() {
            writeln!(out, "<p class=\"tick\">On no slide</p>")?;
        }
        for part in rest {
            medium(part, out)?;
        }
        writeln!(out, "</section>")?;
    } else if message.parts.is_empty() && !is_report(message) {
        writeln!(out, "<p class=\"empty\">A header alone.</p>")?;
    }
    Ok(())
}

const STATUS_FIELDS: [&str; 3] = [
    "X-Mms-Request-Status-Code",
    "X-Mms-MM-Status-Code",
    "X-Mms-Read-Status",
];

fn is_report(message: &Message<'_>) -> bool {
    let mut fields = STATUS_FIELDS.iter();
    fields.any(|name| message.header.value(name).is_some())
}

fn status(message: &Message<'_>, out: &mut dyn Write) -> io::Result<()> {
    for name in STATUS_FIELDS {
        let Some(value) = message.header.value(name) else {
            continue;
        };
        let is = |word: &str| value.eq_ignore_ascii_case(word);
        let tone = if is("Ok") || is("Retrieved") || is("Read") || is("Forwarded") {
            " good"
        } else if value.to_ascii_lowercase().starts_with("error") || is("Rejected") || is("Expired")
        {
            " bad"
        } else {
            ""
        };
        write!(out, "<p class=\"status{tone}\"><b>{}</b>", escaped(&value))?;
        let meaning = mm4::meaning(&name.to_ascii_lowercase(), &value).unwrap_or_default();
        let text = message.header.value("X-Mms-Status-Text");
        let text = text.filter(|text| !text.eq_ignore_ascii_case(&value));
        writeln!(
            out,
            "{meaning}{}</p>",
            text.map_or_else(String::new, |text| {
                format!(
                    "{}{}",
                    if meaning.is_empty() { "" } else { ": " },
                    escaped(&text)
                )
            })
        )?;
    }
    Ok(())
}

fn medium(part: &Part<'_>, out: &mut dyn Write) -> io::Result<()> {
    let decoded = part.decode();
    if part.is_text() {
        return text(part, &decoded, out);
    }
    let name = escaped(part.name.as_deref().unwrap_or("without a name"));
    if let Some(media_type) = playable(part, &decoded.octets) {
        let data = STANDARD.encode(&decoded.octets);
        let source = format!("src=\"data:{media_type};base64,{data}\"");
        return match media_type.split('/').next() {
            Some("image") => writeln!(out, "<img {source} alt=\"{name}\">"),
            Some("audio") => writeln!(
                out,
                "<audio controls {source}></audio>{}",
                chip(part, &decoded, "")
            ),
            _ => writeln!(
                out,
                "<video controls {source}></video>{}",
                chip(part, &decoded, "")
            ),
        };
    }
    let why = match part.kind() {
        "image" | "audio" | "video" if decoded.octets.len() > MAX_INLINE => "too big for this page",
        "image" if decoded.octets.is_empty() => "empty",
        "image" => "no picture that a browser shows",
        "audio" | "video" => "browsers do not play it",
        _ => "",
    };
    writeln!(out, "{}", chip(part, &decoded, why))
}

fn again(part: &Part<'_>, out: &mut dyn Write) -> io::Result<()> {
    let name = part.name.as_deref().unwrap_or(&part.media_type);
    writeln!(out, "<p class=\"chip\"><b>{}</b> again</p>", escaped(name))
}

fn chip(part: &Part<'_>, decoded: &Decoded, why: &str) -> String {
    let name = part.name.as_deref().unwrap_or("without a name");
    let size = terminal::octets(decoded.octets.len() as u64);
    let why = if why.is_empty() {
        String::new()
    } else {
        format!(", {why}")
    };
    format!(
        "<p class=\"chip\"><b>{}</b><span>{}, {size}{why}</span></p>",
        escaped(name),
        escaped(&part.media_type)
    )
}

fn text(part: &Part<'_>, decoded: &Decoded, out: &mut dyn Write) -> io::Result<()> {
    // No charset takes more than four octets for a character.
    let begin = decoded.octets.get(..4 * MAX_TEXT);
    let text = part.text(begin.unwrap_or(&decoded.octets));
    let text = readable(&text);
    let end = text.char_indices().nth(MAX_TEXT).map(|(end, _)| end);
    let shown = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
    writeln!(out, "<p class=\"text\" dir=\"auto\">{}</p>", escaped(shown))?;
    match end {
        Some(_) => writeln!(
            out,
            "<p class=\"chip\">The rest of this text is not shown.</p>"
        ),
        None => Ok(()),
    }
}

/// The type under which a browser may have the octets. A picture must be one by
/// its first octets, since its type is only what its sender says.
fn playable(part: &Part<'_>, octets: &[u8]) -> Option<&'static str> {
    if octets.is_empty() || octets.len() > MAX_INLINE {
        return None;
    }
    if let Some(picture) = picture_type(octets) {
        return Some(picture);
    }
    Some(match part.media_type.as_str() {
        "audio/mpeg" | "audio/mp3" | "audio/mpg" | "audio/mpeg3" => "audio/mpeg",
        "audio/mp4" | "audio/x-m4a" | "audio/m4a" => "audio/mp4",
        "audio/aac" => "audio/aac",
        "audio/ogg" | "application/ogg" => "audio/ogg",
        "audio/wav" | "audio/x-wav" => "audio/wav",
        "video/mp4" => "video/mp4",
        "video/3gpp" => "video/3gpp",
        "video/webm" => "video/webm",
        _ => return None,
    })
}

/// What kind of picture octets are, by their first; only kinds that hold nothing
/// active.
fn picture_type(octets: &[u8]) -> Option<&'static str> {
    if octets.len() < SMALLEST_PICTURE {
        return None;
    }
    let riff = octets.starts_with(b"RIFF") && octets.get(8..12) == Some(b"WEBP");
    let avif = octets.get(4..12) == Some(b"ftypavif");
    if octets.starts_with(b"\xff\xd8\xff") {
        Some("image/jpeg")
    } else if octets.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some("image/png")
    } else if octets.starts_with(b"GIF87a") || octets.starts_with(b"GIF89a") {
        Some("image/gif")
    } else if riff {
        Some("image/webp")
    } else if avif {
        Some("image/avif")
    } else if octets.starts_with(b"BM") {
        Some("image/bmp")
    } else {
        None
    }
}

fn findings(message: &Message<'_>, duplicates: &Duplicates, out: &mut dyn Write) -> io::Result<()> {
    let mut findings = check::findings(message, &Profile::default());
    findings.extend(duplicates.finding(message));
    if findings.is_empty() {
        return Ok(());
    }
    writeln!(out, "<ul class=\"findings\">")?;
    for finding in findings {
        let part = finding
            .part
            .map_or_else(String::new, |part| format!("part {part}: "));
        let text = escaped(&finding.text);
        writeln!(out, "<li><b>{}</b>: {part}{text}</li>", finding.code)?;
    }
    writeln!(out, "</ul>")
}

fn fields(message: &Message<'_>, out: &mut dyn Write) -> io::Result<()> {
    let above = message.trace.as_ref().map_or(0, |trace| trace.octets);
    let own = message.header.fields.iter();
    let (mms, others): (Vec<&Field<'_>>, Vec<&Field<'_>>) = own
        .filter(|field| field.start() >= above)
        .partition(|field| field.name().to_ascii_lowercase().starts_with("x-mms-"));
    let mut rest: Vec<_> = message.header.fields.iter().collect();
    rest.retain(|field| field.start() < above);
    rest.extend(others);
    for (what, fields) in [("MM4 field", mms), ("line of envelope and header", rest)] {
        if fields.is_empty() {
            continue;
        }
        let plural = match fields.len() {
            1 => what.to_owned(),
            _ => what.replace("field", "fields").replace("line", "lines"),
        };
        writeln!(
            out,
            "<details><summary>{} {plural}</summary>\n<dl>",
            fields.len()
        )?;
        for field in fields.iter().take(MAX_FIELDS) {
            let (name, value) = (field.name(), field.value());
            write!(
                out,
                "<dt>{}</dt><dd dir=\"auto\">{}",
                escaped(&name),
                escaped(&value)
            )?;
            if let Some(meaning) = field_meaning(message, &name.to_ascii_lowercase(), &value) {
                write!(out, " <i>({})</i>", escaped(&meaning))?;
            }
            writeln!(out, "</dd>")?;
        }
        if let Some(left) = fields
            .len()
            .checked_sub(MAX_FIELDS)
            .filter(|left| *left > 0)
        {
            writeln!(out, "<dt>and {left} more</dt>")?;
        }
        writeln!(out, "</dl></details>")?;
    }
    Ok(())
}

fn field_meaning(message: &Message<'_>, name: &str, value: &str) -> Option<String> {
    match name {
        "x-mms-expiry" => message.expiry().map(moment),
        "x-mms-ack-request" => Some(match mm4::yes(value)? {
            true => "an answer is wanted".to_owned(),
            false => "no answer is wanted".to_owned(),
        }),
        _ => mm4::meaning(name, value).map(str::to_owned),
    }
}

fn parts(message: &Message<'_>, out: &mut dyn Write) -> io::Result<()> {
    let count = message.leaves().count();
    if count == 0 {
        return Ok(());
    }
    let parts = if count == 1 { "part" } else { "parts" };
    writeln!(out, "<details><summary>{count} {parts}</summary>\n<dl>")?;
    for part in message.leaves() {
        let octets = part.decode().octets;
        let name = part.name.as_deref().unwrap_or("without a name");
        writeln!(
            out,
            "<dt>{}, {}</dt><dd>{}</dd><dd class=\"digest\">sha256 {}</dd>",
            escaped(&part.media_type),
            terminal::octets(octets.len() as u64),
            escaped(name),
            sha256(&octets)
        )?;
    }
    writeln!(out, "</dl></details>")
}

/// Text that is nothing but text, in an element as in a quoted attribute.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            '\n' | '\t' => html.push(letter),
            letter if letter.is_control() || is_unsafe(letter) => html.push('\u{fffd}'),
            letter => html.push(letter),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::message::tests::given;
    use proptest::prelude::*;

    const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";

    fn page(mail: &[u8]) -> String {
        let (entry, file) = given(mail);
        let mut out = Vec::new();
        card(
            &Message::read(&entry, &file),
            &Duplicates::default(),
            &mut out,
        )
        .unwrap();
        String::from_utf8(out).unwrap()
    }

    fn with_part(header: &str, body: &str) -> String {
        page(format!("{header}\r\n\r\n{body}\r\n").as_bytes())
    }

    #[test]
    fn a_picture_is_inline_data() {
        let page = with_part(
            "Content-Type: image/png\r\nContent-Transfer-Encoding: base64",
            PNG,
        );
        assert!(
            page.contains(&format!("<img src=\"data:image/png;base64,{PNG}\"")),
            "{page}"
        );
        let page = with_part(
            "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64",
            PNG,
        );
        assert!(page.contains("<img src=\"data:image/png"), "{page}");
    }

    #[test]
    fn what_is_active_is_never_more_than_text() {
        let svg = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
        for header in [
            "Content-Type: image/svg+xml; name=x.svg",
            "Content-Type: image/png; name=x.png",
            "Content-Type: text/html",
            "Content-Type: application/xhtml+xml",
            "Content-Type: \"><script>alert(1)</script>",
        ] {
            let page = with_part(header, svg);
            assert!(!page.contains("<script"), "{page}");
            assert!(!page.contains("<svg"), "{page}");
            assert!(!page.contains("data:"), "{page}");
        }
    }

    #[test]
    fn slides_come_in_order_and_what_is_missing_is_said() {
        let mail = format!(
            "Content-Type: multipart/related; boundary=x\r\n\r\n--x\r\nContent-Type: application/smil\r\n\r\n\
             <par dur='3s'><text src='two.txt'/></par><par><img src='one.png'/><img src='no.png'/></par>\
             \r\n--x\r\nContent-Type: image/png; name=one.png\r\nContent-Transfer-Encoding: base64\r\n\r\n{PNG}\
             \r\n--x\r\nContent-Type: text/plain; name=two.txt\r\n\r\nsecond & first\r\n--x\r\n\
             Content-Type: audio/amr; name=voice.amr\r\n\r\nx\r\n--x--\r\n"
        );
        let page = page(mail.as_bytes());
        let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
        assert!(at("Slide 1 of 2") < at("second &amp; first"));
        assert!(at("second &amp; first") < at("Slide 2 of 2"));
        assert!(at("Slide 2 of 2") < at("<img src"));
        assert!(at("<img src") < at("no.png names no part"));
        assert!(at("On no slide") < at("voice.amr"));
        assert!(at("smil-unresolved") > 0);
    }

    #[test]
    fn a_report_shows_its_status() {
        let page = page(
            b"X-Mms-Message-Type: MM4_delivery_report.REQ\r\nX-Mms-MM-Status-Code: Retrieved\r\n",
        );
        assert!(
            page.contains("<p class=\"status good\"><b>Retrieved</b>the recipient has it</p>"),
            "{page}"
        );
    }

    #[test]
    fn a_part_on_a_thousand_slides_is_put_in_once() {
        let slides = "<par><img src='one.png'/></par>".repeat(1000);
        let page = page(
            format!(
                "Content-Type: multipart/related; boundary=x\r\n\r\n--x\r\nContent-Type: application/smil\r\n\r\n\
                 {slides}\r\n--x\r\nContent-Type: image/png; name=one.png\r\n\
                 Content-Transfer-Encoding: base64\r\n\r\n{PNG}\r\n--x--\r\n"
            )
            .as_bytes(),
        );
        assert_eq!(page.matches("data:image/png").count(), 1);
    }

    #[test]
    fn the_policy_holds_the_digest_of_the_style_that_is_there() {
        let mut out = Vec::new();
        head("<spool>", 1, 1, Timestamp::UNIX_EPOCH, &mut out).unwrap();
        let head = String::from_utf8(out).unwrap();
        assert!(head.contains("default-src &#39;none&#39;; style-src &#39;sha256-"));
        assert!(head.contains(&format!("<style>{STYLE}</style>")));
        assert!(head.contains("<h1>&lt;spool&gt;</h1>"));
        assert!(!STYLE.contains('<') && !STYLE.contains("url("));
    }

    proptest! {
        #[test]
        fn no_octets_of_a_mail_become_markup(
            subject in any::<String>(),
            name in "[<>\"'&a-z/=! ]{0,40}",
            body in proptest::collection::vec(any::<u8>(), 0..200),
            media_type in "(text/html|image/svg\\+xml|<script>|application/smil|text/plain)",
        ) {
            let mut mail = format!(
                "Subject: {subject}\r\nContent-Type: {media_type}; name=\"{name}\"\r\nFrom: {name}\r\n\
                 X-Mms-Message-Type: {name}\r\nX-Mms-Expiry: {name}\r\n\r\n<script>{name}"
            )
            .into_bytes();
            mail.extend_from_slice(&body);
            let page = page(&mail);
            // Every tag in the page is one that this module writes.
            for piece in page.split('<').skip(1) {
                let name: String = piece
                    .trim_start_matches('/')
                    .chars()
                    .take_while(char::is_ascii_alphanumeric)
                    .collect();
                prop_assert!(
                    ["article", "header", "p", "b", "h2", "span", "time", "div", "section", "ul", "li",
                     "details", "summary", "dl", "dt", "dd", "i", "footer"].contains(&name.as_str()),
                    "{}", piece
                );
            }
        }
    }
}
