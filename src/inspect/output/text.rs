//! Everything that a message says, for a person at a terminal.
//!
//! Every text of the message goes through [`terminal`]. Limits are those of the
//! modules that read; text parts are shown in full. Fails only when nothing can
//! be written.

use std::io::{self, Write};

use super::picture::{MAX_PICTURES, Protocol};
use super::terminal::{self, Terminal, Tone};
use super::view::{self, Meanings, moment, seconds, sha256};
use crate::inspect::check::{self, Profile};
use crate::inspect::exchange::Remark;
use crate::inspect::message::Message;
use crate::inspect::mime::Part;
use crate::inspect::mime::header::Field;

/// Columns of a field's name before its value.
const NAME: usize = 26;

/// Writes the message.
///
/// # Errors
///
/// When nothing can be written.
pub fn write(
    message: &Message<'_>,
    extras: &Extras,
    terminal: &Terminal,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut page = Page {
        extras,
        terminal,
        out,
    };
    page.title(message)?;
    page.envelope(message)?;
    page.fields(message)?;
    page.exchange()?;
    page.parts(message)?;
    page.slides(message)?;
    page.pictures(message)?;
    page.texts(message)?;
    page.findings(message)
}

/// What is shown beyond the message itself.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// The source of HTML parts in the place of their text.
    pub source: bool,
    /// What became of the message, as the rest of the spool says.
    pub exchange: Vec<Remark>,
    /// How pictures are shown; `None` for not at all.
    pub pictures: Option<Protocol>,
}

struct Page<'p> {
    extras: &'p Extras,
    terminal: &'p Terminal,
    out: &'p mut dyn Write,
}

impl Page<'_> {
    fn title(&mut self, message: &Message<'_>) -> io::Result<()> {
        let id = self.terminal.paint(Tone::Bold, &terminal::line(message.id));
        writeln!(self.out, "{id}")?;
        let path = terminal::line(&message.path.to_string_lossy());
        let size = view::size(message.size);
        let exact = match message.size {
            0..1000 => String::new(),
            bytes => format!(" ({bytes} bytes)"),
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
        self.heading("Envelope")?;
        let Some(trace) = &message.trace else {
            return writeln!(self.out, "  none: mm4d did not write this mail");
        };
        let envelope = &trace.envelope;
        let null = envelope.reverse_path.mailbox().is_none();
        let null = null.then(|| "made by a machine (RFC 4356)".to_owned());
        self.field("from", &envelope.reverse_path.to_string(), null)?;
        for recipient in &envelope.forward_paths {
            self.field("to", &recipient.to_string(), None)?;
        }
        self.field("account", envelope.system_id.as_str(), None)?;
        self.heading("Trace")?;
        self.field("received", &moment(trace.date), None)?;
        let client = format!("{} {}", envelope.hello, trace.origin.address_literal());
        self.field("client", &client, None)?;
        self.field("server", &trace.server, None)?;
        let tls = if trace.origin.tls {
            "over TLS"
        } else {
            "without TLS"
        };
        self.field("protocol", trace.origin.protocol(), Some(tls.to_owned()))
    }

    /// The fields of MM4 first, then the others, each as it was written.
    fn fields(&mut self, message: &Message<'_>) -> io::Result<()> {
        let (mm4, others) = view::own_fields(message);
        self.heading(match message.kind() {
            Some(_) => "MM4",
            None if mm4.is_empty() => "MM4: no X-Mms-* field",
            None => "MM4: none of the six messages",
        })?;
        let meanings = Meanings::of(message);
        self.field_list(&meanings, &mm4)?;
        if !others.is_empty() {
            self.heading("Header")?;
        }
        self.field_list(&meanings, &others)
    }

    fn field_list(&mut self, meanings: &Meanings, fields: &[&Field<'_>]) -> io::Result<()> {
        for field in fields {
            let meaning = meanings.field(field);
            self.field(&field.name(), &field.value(), meaning)?;
        }
        Ok(())
    }

    fn exchange(&mut self) -> io::Result<()> {
        if self.extras.exchange.is_empty() {
            return Ok(());
        }
        self.heading("Exchange")?;
        for remark in &self.extras.exchange {
            let text = terminal::line(&remark.text);
            let text = self.terminal.paint(Tone::of(remark.outcome), &text);
            writeln!(self.out, "  {text}")?;
        }
        Ok(())
    }

    fn parts(&mut self, message: &Message<'_>) -> io::Result<()> {
        if message.parts.is_empty() {
            self.heading("Parts")?;
            return writeln!(self.out, "  none: only a header");
        }
        self.heading("Parts")?;
        for (at, part) in message.parts.iter().enumerate() {
            let (branch, below) = branches(&message.parts, at);
            let Some(number) = part.number else {
                let media_type = terminal::line(&part.media_type);
                writeln!(self.out, "  {branch}{media_type}")?;
                continue;
            };
            let bytes = part.decode().bytes;
            let number = self.terminal.paint(Tone::Cyan, &number.to_string());
            let mut words = vec![part.media_type.clone()];
            words.extend(part.name.clone());
            words.push(view::size(bytes.len() as u64));
            let words: Vec<_> = words.iter().map(|word| terminal::line(word)).collect();
            writeln!(self.out, "  {branch}{number}  {}", words.join("  "))?;
            let digest = format!("sha256 {}", sha256(&bytes));
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

    fn pictures(&mut self, message: &Message<'_>) -> io::Result<()> {
        let Some(protocol) = self.extras.pictures else {
            return Ok(());
        };
        let pictures = message.leaves().filter(|part| part.kind() == "image");
        for part in pictures.take(MAX_PICTURES) {
            let mut picture = Vec::new();
            if protocol.write(&part.decode().bytes, &mut picture)? {
                self.heading(&terminal::line(&part_heading(part)))?;
                self.out.write_all(&picture)?;
            }
        }
        Ok(())
    }

    fn texts(&mut self, message: &Message<'_>) -> io::Result<()> {
        for part in message.leaves().filter(|part| part.is_text()) {
            self.heading(&terminal::line(&part_heading(part)))?;
            let bytes = part.decode().bytes;
            let text = match self.extras.source {
                true => view::readable_text(part, &bytes),
                false => view::shown_text(part, &bytes),
            };
            for line in terminal::block(&text).lines() {
                writeln!(self.out, "  {line}")?;
            }
        }
        Ok(())
    }

    fn findings(&mut self, message: &Message<'_>) -> io::Result<()> {
        let findings = check::findings(message, &Profile::default());
        self.heading("Check")?;
        if findings.is_empty() {
            let ok = self.terminal.paint(Tone::Green, "nothing is wrong with it");
            return writeln!(self.out, "  {ok}");
        }
        for finding in findings {
            let code = self.terminal.paint(Tone::Red, finding.code.name());
            let details = terminal::line(&finding.details());
            writeln!(self.out, "  {code}: {details}")?;
        }
        Ok(())
    }
}

fn part_heading(part: &Part<'_>) -> String {
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
    let continues = |depth: usize| {
        let after = parts.iter().skip(at + 1).map(|part| part.depth);
        after
            .take_while(|other| *other >= depth)
            .any(|other| other == depth)
    };
    let stem: String = (1..depth)
        .map(|level| if continues(level) { "│  " } else { "   " })
        .collect();
    match continues(depth) {
        true => (format!("{stem}├─ "), format!("{stem}│  ")),
        false => (format!("{stem}└─ "), format!("{stem}   ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::message::tests::{TRACE, given};

    fn shown(mail: &[u8]) -> String {
        let (entry, file) = given(mail);
        let mut out = Vec::new();
        let message = Message::read(&entry, &file);
        write(&message, &Extras::default(), &Terminal::plain(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn html_is_shown_as_text_and_its_source_on_demand() {
        let mail = b"Content-Type: text/html\r\n\r\n<p>one &amp; two</p>\r\n";
        let text = shown(mail);
        assert!(
            text.contains("  one & two\n") && !text.contains("<p>"),
            "{text}"
        );
        let (entry, file) = given(mail);
        let (mut out, extras) = (Vec::new(), Extras::default());
        let extras = Extras {
            source: true,
            ..extras
        };
        let message = Message::read(&entry, &file);
        write(&message, &extras, &Terminal::plain(), &mut out).unwrap();
        assert!(
            String::from_utf8(out)
                .unwrap()
                .contains("<p>one &amp; two</p>")
        );
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
            "smil-unresolved: part 1: slide 1 shows b.jpg",
        ] {
            assert!(shown.contains(wanted), "{wanted}\n{shown}");
        }
    }

    #[test]
    fn nothing_in_a_mail_controls_the_terminal() {
        let shown = shown(
            b"Subject: \x1b]0;owned\x07\r\nX-Mms-Message-Type: \x9b31m\r\n\
              Content-Type: text/plain; name=\"\x1b[2J\"\r\n\r\n\x1b[31m\xe2\x80\xaehello\r\n",
        );
        let steers =
            |letter: char| (letter.is_control() && letter != '\n') || terminal::is_unsafe(letter);
        assert!(!shown.chars().any(steers), "{shown:?}");
    }

    #[test]
    fn an_empty_mail_is_shown() {
        assert!(shown(b"").contains("none: only a header"));
    }
}
