//! What `check` says of many messages: by account, by code, with counts.
//!
//! Limits: [`MAX_IDS`] ids for each kind of finding. Fails only when nothing can be
//! written.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::inspect::finding::{Code, Finding, Severity};
use crate::inspect::message::Message;
use crate::inspect::output::terminal::{self, Terminal, Tone};
use crate::inspect::store::short_id;

/// Ids named for each kind of finding of an account.
pub const MAX_IDS: usize = 3;

/// Columns of an account's name that are shown, however narrow the terminal is.
const SHORTEST_NAME: usize = 8;

/// What was found so far.
#[derive(Debug, Default)]
pub struct Report {
    accounts: BTreeMap<String, Account>,
}

#[derive(Debug, Default)]
struct Account {
    messages: usize,
    /// Messages that have findings.
    faulty: usize,
    groups: BTreeMap<(Severity, Code), Group>,
}

/// The findings of one code.
#[derive(Debug, Default)]
struct Group {
    findings: usize,
    messages: usize,
    /// The first of them.
    example: String,
    ids: Vec<String>,
}

impl Report {
    /// Adds a message and what was found in it.
    pub fn add(&mut self, message: &Message<'_>, findings: &[Finding]) {
        let account = message.account().unwrap_or("without an account");
        let account = self.accounts.entry(account.to_owned()).or_default();
        account.messages += 1;
        account.faulty += usize::from(!findings.is_empty());
        let id = short_id(message.id).unwrap_or(message.id);
        for finding in findings {
            let key = (finding.code.severity(), finding.code);
            let group = account.groups.entry(key).or_default();
            if group.findings == 0 {
                group.example = finding.details();
            }
            group.findings += 1;
            if group.ids.last().is_none_or(|last| last != id) {
                group.messages += 1;
                // One more than is named: the last one recognises its message again.
                group.ids.truncate(MAX_IDS);
                group.ids.push(id.to_owned());
            }
        }
    }

    /// Findings of that severity.
    pub fn count(&self, severity: Severity) -> usize {
        let groups = self.accounts.values().flat_map(|account| &account.groups);
        let groups = groups.filter(|((known, _), _)| *known == severity);
        groups.map(|(_, group)| group.findings).sum()
    }

    /// Writes the report, and a line that sums it up.
    ///
    /// # Errors
    ///
    /// When nothing can be written.
    pub fn write(&self, terminal: &Terminal, out: &mut dyn Write) -> io::Result<()> {
        for (name, account) in &self.accounts {
            account.write(name, terminal, out)?;
        }
        let messages: usize = self.accounts.values().map(|account| account.messages).sum();
        let counts = Severity::ALL
            .into_iter()
            .map(|severity| (self.count(severity), severity.name()))
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| number(count, name));
        let counts: Vec<String> = counts.collect();
        let counts = match counts.is_empty() {
            true => "nothing is wrong".to_owned(),
            false => counts.join(", "),
        };
        let (messages, accounts) = (
            number(messages, "message"),
            number(self.accounts.len(), "account"),
        );
        let line = format!("{messages} of {accounts}: {counts}");
        let line = terminal::cut(&line, terminal.columns);
        writeln!(out, "{}", terminal.paint(Tone::Bold, &line))
    }
}

impl Account {
    fn write(&self, name: &str, terminal: &Terminal, out: &mut dyn Write) -> io::Result<()> {
        let faulty = match self.faulty {
            0 => "nothing is wrong".to_owned(),
            faulty => format!("{faulty} with findings"),
        };
        let rest = format!(": {}, {faulty}", number(self.messages, "message"));
        let room = terminal.columns.saturating_sub(terminal::width(&rest));
        let name = terminal::cut(&terminal::line(name), room.max(SHORTEST_NAME));
        let rest = terminal::cut(
            &rest,
            terminal.columns.saturating_sub(terminal::width(&name)),
        );
        writeln!(out, "{}{rest}", terminal.paint(Tone::Bold, &name))?;
        for ((severity, code), group) in &self.groups {
            let count = match group.messages {
                messages if messages == group.findings => number(messages, "message"),
                messages => format!("{} in {}", group.findings, number(messages, "message")),
            };
            let mut head = format!("  {:<7}  {:<20}  {count}", severity.name(), code.name());
            if terminal::width(&head) > terminal.columns {
                head = format!("  {} {} {count}", severity.name(), code.name());
            }
            let head = terminal::cut(&head, terminal.columns);
            writeln!(out, "{}", terminal.paint(tone(*severity), &head))?;
            let example = format!("           {}", terminal::line(&group.example));
            writeln!(out, "{}", terminal::cut(&example, terminal.columns))?;
            let shown: Vec<String> = group
                .ids
                .iter()
                .take(MAX_IDS)
                .map(|id| terminal::line(id))
                .collect();
            let more = if group.messages > MAX_IDS { " …" } else { "" };
            let ids = format!("           {}{more}", shown.join(" "));
            let ids = terminal::cut(&ids, terminal.columns);
            writeln!(out, "{}", terminal.paint(Tone::Dim, &ids))?;
        }
        writeln!(out)
    }
}

fn tone(severity: Severity) -> Tone {
    match severity {
        Severity::Error => Tone::Red,
        Severity::Warning => Tone::Yellow,
        Severity::Note => Tone::Cyan,
    }
}

/// `1 message`, `2 messages`
fn number(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::message::tests::{TRACE, given};

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mail = TRACE.replace("ID: carrier", "ID: a-carrier-with-a-long-name");
        let (entry, raw) = given(mail.as_bytes());
        let mut report = Report::default();
        for code in [Code::MissingField, Code::SmilUnresolved] {
            let findings = vec![Finding::new(code, "x".repeat(100)); 2];
            report.add(&Message::read(&entry, &raw), &findings);
        }
        for columns in [20, 40, 80] {
            let mut out = Vec::new();
            let terminal = Terminal::of_columns(columns);
            report.write(&terminal, &mut out).unwrap();
            for line in String::from_utf8(out).unwrap().lines() {
                assert!(terminal::width(line) <= columns, "{columns}: {line}");
            }
        }
    }

    #[test]
    fn findings_are_counted_by_account_and_code() {
        let mut report = Report::default();
        let mail = format!("{TRACE}To: a\r\n");
        let (entry, raw) = given(mail.as_bytes());
        let message = Message::read(&entry, &raw);
        let finding = |code, text: &str| Finding::new(code, text);
        report.add(
            &message,
            &[
                finding(Code::MissingField, "Date is missing"),
                finding(Code::MissingField, "From is missing"),
                finding(Code::SmilUnresolved, "slide 1"),
            ],
        );
        report.add(&message, &[]);
        let mut out = Vec::new();
        report.write(&Terminal::plain(), &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "carrier: 2 messages, 1 with findings\n\
             \x20 error    missing-field         2 in 1 message\n\
             \x20          Date is missing\n\
             \x20          7-000001\n\
             \x20 warning  smil-unresolved       1 message\n\
             \x20          slide 1\n\
             \x20          7-000001\n\n\
             2 messages of 1 account: 2 errors, 1 warning\n"
        );
    }
}
