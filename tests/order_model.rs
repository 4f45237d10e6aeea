//! Every sequence of up to four commands, from four starting points, on the
//! session alone against a model of one screen: what must come back after what.
//! The model is written from the table of replies in src/smtp/README.md and
//! shares nothing with the session but the wire.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use support::memory::Memory;
use support::plain_response;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Ehlo,
    Helo,
    EhloWithoutName,
    AuthRight,
    AuthWrong,
    Mail,
    MailMalformed,
    Rcpt,
    RcptMalformed,
    /// DATA, and after a 354 a mail.
    Data,
    /// DATA, and after a 354 a mail with a bare LF.
    DataBare,
    Rset,
    Noop,
    Quit,
}

use Command::*;

const COMMANDS: [Command; 14] = [
    Ehlo,
    Helo,
    EhloWithoutName,
    AuthRight,
    AuthWrong,
    Mail,
    MailMalformed,
    Rcpt,
    RcptMalformed,
    Data,
    DataBare,
    Rset,
    Noop,
    Quit,
];

/// Where the sequences begin, so that four commands reach every state.
const STARTS: [&[Command]; 4] = [
    &[],
    &[Ehlo],
    &[Helo, AuthRight],
    &[Ehlo, AuthRight, Mail, Rcpt],
];

const CONTENT: &[u8] = b"Subject: text\r\n\r\n.\r\n";

impl Command {
    fn line(self) -> String {
        match self {
            Ehlo => "EHLO mms.example.net".into(),
            Helo => "HELO mms.example.net".into(),
            EhloWithoutName => "EHLO".into(),
            AuthRight => format!("AUTH PLAIN {}", plain_response()),
            // \0peer1\0wrong
            AuthWrong => "AUTH PLAIN AHBlZXIxAHdyb25n".into(),
            Mail => "MAIL FROM:<+972500000001/TYPE=PLMN@mms.example.net>".into(),
            MailMalformed => "MAIL FROM:<+972500000001".into(),
            Rcpt => "RCPT TO:<+972500000002/TYPE=PLMN@test.example>".into(),
            RcptMalformed => "RCPT TO:<>".into(),
            Data | DataBare => "DATA".into(),
            Rset => "RSET".into(),
            Noop => "NOOP".into(),
            Quit => "QUIT".into(),
        }
    }
}

/// What a session must remember.
#[derive(Default)]
struct Model {
    hello: bool,
    login: bool,
    sender: bool,
    recipients: usize,
    refused_logins: u32,
    mails: usize,
    closed: bool,
}

impl Model {
    /// How the reply to `command` must begin; the rest is open.
    fn answer(&mut self, command: Command) -> &'static str {
        match command {
            Ehlo => {
                self.greet();
                "250-test.example Hello mms.example.net\r\n250-PIPELINING\r\n"
            }
            Helo => {
                self.greet();
                "250 test.example Hello mms.example.net\r\n"
            }
            EhloWithoutName => "501 ERROR: ",
            AuthRight | AuthWrong if !self.hello => "503 ERROR: send EHLO first\r\n",
            AuthRight | AuthWrong if self.login => "503 ERROR: ",
            AuthRight => {
                self.login = true;
                "235 Authentication successful\r\n"
            }
            AuthWrong => {
                self.refused_logins += 1;
                if self.refused_logins == 3 {
                    self.closed = true;
                    return "421 ERROR: too many authentication failures\r\n";
                }
                "535 ERROR: authentication failed\r\n"
            }
            Mail | MailMalformed | Rcpt | RcptMalformed if !self.hello => {
                "503 ERROR: send EHLO or HELO first\r\n"
            }
            Mail | MailMalformed | Rcpt | RcptMalformed if !self.login => {
                "530 ERROR: authentication required\r\n"
            }
            Mail | MailMalformed if self.sender => "503 ERROR: ",
            MailMalformed => "501 ERROR: ",
            Mail => {
                self.sender = true;
                "250 Sender OK\r\n"
            }
            Rcpt | RcptMalformed if !self.sender => "503 ERROR: send MAIL first\r\n",
            RcptMalformed => "501 ERROR: ",
            Rcpt => {
                self.recipients += 1;
                "250 Recipient OK\r\n"
            }
            Data | DataBare if !self.sender => "503 ERROR: need MAIL command\r\n",
            Data | DataBare if self.recipients == 0 => "503 ERROR: need RCPT command\r\n",
            Data | DataBare => "354 enter mail, end with line containing only '.'\r\n",
            Rset => {
                self.reset();
                "250 OK\r\n"
            }
            Noop => "250 OK\r\n",
            Quit => {
                self.closed = true;
                "221 BYE\r\n"
            }
        }
    }

    /// How the reply to the mail after a 354 must begin.
    fn answer_mail(&mut self, command: Command) -> &'static str {
        self.reset();
        if command == DataBare {
            self.closed = true;
            return "554 ERROR: lines must end with CRLF\r\n";
        }
        self.mails += 1;
        "250 queued as <"
    }

    fn greet(&mut self) {
        self.hello = true;
        self.reset();
    }

    fn reset(&mut self) {
        self.sender = false;
        self.recipients = 0;
    }
}

#[test]
fn every_sequence_of_four_commands_goes_as_the_model_says() {
    // The shorter ones are the beginnings of these.
    const LENGTH: u32 = 4;
    for start in STARTS {
        for number in 0..COMMANDS.len().pow(LENGTH) {
            let mut left = number;
            let tail = (0..LENGTH).map(|_| {
                let command = COMMANDS[left % COMMANDS.len()];
                left /= COMMANDS.len();
                command
            });
            check(&start.iter().copied().chain(tail).collect::<Vec<_>>());
        }
    }
}

fn check(sequence: &[Command]) {
    let mut memory = Memory::new();
    let mut model = Model::default();
    assert_eq!(memory.take_said(), "220 test.example MM4 ready\r\n");
    for (number, &command) in sequence.iter().enumerate() {
        let so_far = &sequence[..=number];
        let expected = model.answer(command);
        memory.receive(format!("{}\r\n", command.line()).as_bytes());
        compare(&mut memory, expected, so_far);
        if expected.starts_with("354") {
            let expected = model.answer_mail(command);
            let wire: &[u8] = match command {
                DataBare => b"Subject: text\n\r\n.\r\n",
                _ => b"Subject: text\r\n\r\n..\r\n.\r\n",
            };
            memory.receive(wire);
            compare(&mut memory, expected, so_far);
        }
        assert_eq!(memory.closed, model.closed, "closed behind {so_far:?}");
        if model.closed {
            // Whatever else the sequence holds is drained.
            let rest = sequence[number + 1..].iter();
            rest.for_each(|command| memory.receive(format!("{}\r\n", command.line()).as_bytes()));
            assert_eq!(memory.take_said(), "", "behind the close of {so_far:?}");
            break;
        }
    }
    assert_eq!(memory.mails.len(), model.mails, "mails of {sequence:?}");
    for mail in &memory.mails {
        assert_eq!(mail.content, CONTENT, "{sequence:?}");
        assert_eq!(mail.envelope.system_id.as_str(), "peer1", "{sequence:?}");
    }
}

fn compare(memory: &mut Memory, expected: &str, so_far: &[Command]) {
    let said = memory.take_said();
    assert!(
        said.starts_with(expected),
        "{said:?} in the place of {expected:?} behind {so_far:?}"
    );
    // One reply, not two: its only line with a blank after the code is its last.
    let replies = said.lines().filter(|line| line.as_bytes()[3] == b' ');
    assert_eq!(replies.count(), 1, "{said:?} behind {so_far:?}");
}
