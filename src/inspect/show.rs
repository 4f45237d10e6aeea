//! Everything that a message says, for a person at a terminal.
//!
//! Every text of the message goes through [`terminal`]. Limits are those of the
//! modules that read; text parts are shown in full. Fails only when nothing can
//! be written.

use std::io::{self, Write};

use jiff::Timestamp;

use super::check::{self, Profile};
use super::header::Field;
use super::json;
use super::message::{Message, readable};
use super::mime::Part;
use super::terminal::{self, Terminal, Tone};
use crate::mm4::{self, Address};

/// Columns of a field's name before its value.
const NAME: usize = 26;

/// Prints the message.
///
/// # Errors
///
/// When nothing can be written.
pub fn print(message: &Message<'_>, terminal: &Terminal, out: &mut dyn Write) -> io::Result<()> {
    let mut page = Page { terminal, out };
    page.title(message)?;
    page.envelope(message)?;
    page.fields(message)?;
    page.parts(message)?;
    page.slides(message)?;
    page.texts(message)?;
    page.findings(message)
}

struct Page<'p> {
    terminal: &'p Terminal,
    out: &'p mut dyn Write,
}

impl Page<'_> {
    fn title(&mut self, message: &Message<'_>) -> io::Result<()> {
        let id = self.terminal.paint(Tone::Bold, &terminal::line(message.id));
        writeln!(self.out, "{id}")?;
        let path = terminal::line(&message.path.to_string_lossy());
        let size = terminal::octets(message.size);
        let exact = match message.size {
            0..1000 => String::new(),
            octets => format!(" ({octets} octets)"),
        };
        writeln!(self.out, "{path}, {size}{exact}")
    }

    fn heading(&mut self, text: &str) -> io::Result<()> {
        let text = self.terminal.paint(Tone::Bold, text);
        writeln!(self.out, "\n{text}")
    }

    fn field(&mut self, name: &str, value: &str, meaning: Option<String>) -> io::Result<()> {
        let name = terminal::pad(&terminal::line(name), NAME);
        let name = self.terminal.paint(Tone::Cyan, &name);
        let value = terminal::line(value);
        let meaning = meaning
            .map(|text| format!("  ({})", terminal::line(&text)))
            .unwrap_or_default();
        let meaning = self.terminal.paint(Tone::Dim, &meaning);
        writeln!(self.out, "  {name} {value}{meaning}")
    }

    fn envelope(&mut self, message: &Message<'_>) -> io::Result<()> {
        let Some(trace) = &message.trace else {
            self.heading("Envelope")?;
            return writeln!(self.out, "  none: mm4d did not write this mail");
        };
        self.heading("Envelope")?;
        let null = (trace.return_path == "<>").then(|| "made by a machine (RFC 4356)".to_owned());
        self.field("from", &trace.return_path, null)?;
        for recipient in &trace.recipients {
            self.field("to", recipient, None)?;
        }
        self.field("account", &trace.system_id, None)?;
        self.heading("Trace")?;
        let or = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let date = trace.date.map_or_else(|| "-".to_owned(), moment);
        self.field("received", &date, None)?;
        let peer = format!("{} {}", or(&trace.client), or(&trace.peer));
        self.field("client", &peer, None)?;
        let tls = match trace.protocol.as_deref() {
            Some("ESMTPSA") => Some("over TLS".to_owned()),
            Some("ESMTPA") => Some("in clear".to_owned()),
            _ => None,
        };
        self.field("server", &or(&trace.server), None)?;
        self.field("protocol", &or(&trace.protocol), tls)
    }

    /// The fields of MM4 first, then the others, each as it was written.
    fn fields(&mut self, message: &Message<'_>) -> io::Result<()> {
        let above = message.trace.as_ref().map_or(0, |trace| trace.octets);
        let fields = message.header.fields.iter();
        let (mms, others): (Vec<&Field<'_>>, Vec<&Field<'_>>) = fields
            .filter(|field| field.start() >= above)
            .partition(|field| field.name().to_ascii_lowercase().starts_with("x-mms-"));
        self.heading(match message.kind() {
            Some(_) => "MM4",
            None if mms.is_empty() => "MM4: no X-Mms-* field",
            None => "MM4: none of the six messages",
        })?;
        for field in mms {
            self.field(&field.name(), &field.value(), meaning(message, field))?;
        }
        if !others.is_empty() {
            self.heading("Header")?;
        }
        for field in others {
            self.field(&field.name(), &field.value(), other_meaning(message, field))?;
        }
        Ok(())
    }

    fn parts(&mut self, message: &Message<'_>) -> io::Result<()> {
        if message.parts.is_empty() {
            self.heading("Parts")?;
            return writeln!(self.out, "  none: a header alone");
        }
        self.heading("Parts")?;
        for (at, part) in message.parts.iter().enumerate() {
            let (branch, below) = branches(&message.parts, at);
            let Some(number) = part.number else {
                let media_type = terminal::line(&part.media_type);
                writeln!(self.out, "  {branch}{media_type}")?;
                continue;
            };
            let octets = part.decode().octets;
            let number = self.terminal.paint(Tone::Cyan, &number.to_string());
            let mut words = vec![part.media_type.clone()];
            words.extend(part.name.clone());
            words.push(terminal::octets(octets.len() as u64));
            let words: Vec<_> = words.iter().map(|word| terminal::line(word)).collect();
            writeln!(self.out, "  {branch}{number}  {}", words.join("  "))?;
            let digest = format!("sha256 {}", json::sha256(&octets));
            let digest = self.terminal.paint(Tone::Dim, &digest);
            writeln!(self.out, "  {below}   {digest}")?;
        }
        Ok(())
    }

    fn slides(&mut self, message: &Message<'_>) -> io::Result<()> {
        let Some((number, presentation)) = &message.presentation else {
            return Ok(());
        };
        self.heading(&format!("Slides, by part {number}"))?;
        if presentation.slides.is_empty() {
            return writeln!(self.out, "  none: it shows nothing");
        }
        for (at, slide) in presentation.slides.iter().enumerate() {
            let duration = slide.duration_ms.map(seconds).unwrap_or_default();
            for (item_at, item) in slide.items.iter().enumerate() {
                let number = match item_at {
                    0 => format!("{:>3}  {duration:<6}", at + 1),
                    _ => " ".repeat(11),
                };
                let src = terminal::line(&item.src);
                let part = match item.part {
                    Some(part) => format!("part {part}"),
                    None => self.terminal.paint(Tone::Red, "no such part"),
                };
                let element = terminal::line(&item.element);
                writeln!(self.out, "{number}  {element:<6} {src}, {part}")?;
            }
        }
        Ok(())
    }

    fn texts(&mut self, message: &Message<'_>) -> io::Result<()> {
        for part in message.leaves().filter(|part| part.is_text()) {
            self.heading(&terminal::line(&text_heading(part)))?;
            let text = part.text(&part.decode().octets);
            for line in terminal::block(&readable(&text)).lines() {
                writeln!(self.out, "  {line}")?;
            }
        }
        Ok(())
    }

    fn findings(&mut self, message: &Message<'_>) -> io::Result<()> {
        let findings = check::findings(message, &Profile::default());
        self.heading("Check")?;
        if findings.is_empty() {
            let well = self.terminal.paint(Tone::Green, "nothing is wrong with it");
            return writeln!(self.out, "  {well}");
        }
        for finding in findings {
            let code = self.terminal.paint(Tone::Red, finding.code);
            let text = terminal::line(&finding.text);
            writeln!(self.out, "  {code}: {text}")?;
        }
        Ok(())
    }
}

/// What a field of MM4 means in this message.
fn meaning(message: &Message<'_>, field: &Field<'_>) -> Option<String> {
    let name = field.name().to_ascii_lowercase();
    let value = field.value();
    match name.as_str() {
        "x-mms-expiry" => Some(match message.expiry() {
            Some(expiry) => moment(expiry),
            None => "no date and no seconds".to_owned(),
        }),
        "x-mms-ack-request" => Some(match (mm4::yes(&value)?, message.response_address()) {
            (false, _) => "no answer is wanted".to_owned(),
            (true, Some((by, to))) => format!("an answer is wanted, to {to}, by {by}"),
            (true, None) => "an answer is wanted, but nothing says where".to_owned(),
        }),
        "x-mms-transaction-id" => Some(match message.kind().map(|kind| kind.is_request()) {
            Some(true) => "its answer will bear the same".to_owned(),
            Some(false) => "that of the message it answers".to_owned(),
            None => return None,
        }),
        _ => mm4::meaning(&name, &value).map(str::to_owned),
    }
}

fn other_meaning(message: &Message<'_>, field: &Field<'_>) -> Option<String> {
    if field.is("Date") {
        return Some(match message.date() {
            Some(date) => moment(date),
            None => "no date that RFC 5322 knows".to_owned(),
        });
    }
    if field.is("To") || field.is("Cc") {
        let count = Address::parse_list(&field.raw_value()).len();
        return (count > 1).then(|| format!("{count} addresses"));
    }
    None
}

fn text_heading(part: &Part<'_>) -> String {
    let mut heading = format!("Part {}, {}", part.number.unwrap_or(0), part.media_type);
    for word in [part.params.get("charset"), part.name.as_ref()]
        .into_iter()
        .flatten()
    {
        heading.push_str(", ");
        heading.push_str(word);
    }
    heading
}

/// What is drawn before a part in the tree, and below it.
fn branches(parts: &[Part<'_>], at: usize) -> (String, String) {
    let Some(depth) = parts
        .get(at)
        .map(|part| part.depth)
        .filter(|depth| *depth > 0)
    else {
        return (String::new(), String::new());
    };
    let goes_on = |depth: usize| {
        let after = parts.iter().skip(at + 1).map(|part| part.depth);
        after
            .take_while(|other| *other >= depth)
            .any(|other| other == depth)
    };
    let stem: String = (1..depth)
        .map(|level| if goes_on(level) { "│  " } else { "   " })
        .collect();
    match goes_on(depth) {
        true => (format!("{stem}├─ "), format!("{stem}│  ")),
        false => (format!("{stem}└─ "), format!("{stem}   ")),
    }
}

/// A moment as a person reads it.
pub fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A duration as a person reads it: `5 s`, `1.5 s`.
pub fn seconds(milliseconds: u64) -> String {
    match milliseconds % 1000 {
        0 => format!("{} s", milliseconds / 1000),
        _ => format!("{:.1} s", milliseconds as f64 / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::message::tests::{TRACE, given};

    fn shown(mail: &[u8]) -> String {
        let (entry, file) = given(mail);
        let mut out = Vec::new();
        print(&Message::read(&entry, &file), &Terminal::plain(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn everything_is_shown_with_its_meaning() {
        let mail = format!(
            "{TRACE}From: +972500000001/TYPE=PLMN\r\nX-Mms-Message-Type: MM4_forward.REQ\r\n\
             X-Mms-Expiry: Tue, 01 Feb 2022 22:17:44 GMT\r\nX-Mms-Ack-Request: Yes\r\n\
             X-Mms-Originator-System: PostMaster@mms.example.net\r\n\
             Content-Type: multipart/related; boundary=x\r\n\r\n\
             --x\r\nContent-Type: application/smil\r\n\r\n\
             <par dur=\"5s\"><text src=\"a.txt\"/><img src=\"b.jpg\"/></par>\r\n\
             --x\r\nContent-Type: text/plain; name=a.txt\r\n\r\nhello\r\nworld\r\n--x--\r\n"
        );
        let shown = shown(mail.as_bytes());
        for wanted in [
            "<+972500000003/TYPE=PLMN@mms.example.com>",
            "carrier",
            "mms.example.net [192.0.2.1]",
            "(over TLS)",
            "(a multimedia message to deliver)",
            "(2022-02-01 22:17:44 UTC)",
            "(an answer is wanted, to PostMaster@mms.example.net, by X-Mms-Originator-System)",
            "multipart/related\n  ├─ 1  application/smil",
            "  └─ 2  text/plain  a.txt  12 B\n        sha256 ",
            "  1  5 s     text   a.txt, part 2\n             img    b.jpg, no such part\n",
            "\n  hello\n  world\n",
            "smil-unresolved: slide 1 shows b.jpg",
        ] {
            assert!(shown.contains(wanted), "{wanted}\n{shown}");
        }
    }

    #[test]
    fn nothing_in_a_mail_steers_the_terminal() {
        let shown = shown(
            b"Subject: \x1b]0;owned\x07\r\nX-Mms-Message-Type: \x9b31m\r\n\
              Content-Type: text/plain; name=\"\x1b[2J\"\r\n\r\n\x1b[31m\xe2\x80\xaehello\r\n",
        );
        let steers =
            |letter: char| (letter.is_control() && letter != '\n') || terminal::is_unsafe(letter);
        assert!(!shown.chars().any(steers), "{shown:?}");
    }

    #[test]
    fn a_mail_of_nothing_is_shown() {
        assert!(shown(b"").contains("none: a header alone"));
    }
}
