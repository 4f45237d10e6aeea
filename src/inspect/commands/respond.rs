//! `mm4spool respond`: the RES that answers a REQ.

use std::io::Write;
use std::process::ExitCode;

use jiff::Timestamp;

use super::{Command, Failure, Manual, Outcome, Syntax};
use crate::inspect::message::Message;
use crate::inspect::response::{self, Answer};
use crate::mm4::RequestStatus;

pub(super) const COMMAND: Command = Command {
    name: "respond",
    summary: "the RES that answers a REQ",
    run,
};

const MANUAL: Manual = Manual {
    name: COMMAND.name,
    usage: "[OPTIONS] [SPOOL] ID\n[OPTIONS] FILE",
    about: "Prints the RES that answers a REQ, for `sendmail -t` or `swaks --data -`: line\n\
            ends are LF. It goes to X-Mms-Originator-System, else to Sender.",
    examples: "mm4spool respond spool 4711-000023 | sendmail -t\n\
               mm4spool respond --status Error-network-problem --text 'try later' spool 4711-000023",
    exit: "0 done; 1 there is no such message, or it cannot be answered; 2 usage error",
};

fn run(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut syntax = Syntax::new(MANUAL);
    syntax
        .options
        .optopt(
            "",
            "status",
            "X-Mms-Request-Status-Code (default Ok)",
            "CODE",
        )
        .optopt("", "text", "X-Mms-Status-Text", "TEXT")
        .optflag(
            "",
            "force",
            "answer although none was asked for, or although swaks would replace a part of a value",
        );
    let Some(given) = syntax.parse(arguments, out)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let codes = format!("one of {}", RequestStatus::NAMES.join(", "));
    let status = given.parsed("status", &codes, RequestStatus::parse)?;
    let text = given.parsed("text", "one line without control characters", |text| {
        let plain = !text.chars().any(char::is_control);
        plain.then(|| text.to_owned())
    })?;
    let answer = Answer {
        status: status.unwrap_or(RequestStatus::Ok),
        text,
        force: given.has("force"),
    };
    let (_, entry, raw) = given.message()?;
    let message = Message::read(&entry, &raw);
    let mail = response::compose(&message, &answer, Timestamp::now(), std::process::id())
        .map_err(|error| Failure::on(&entry.id, error))?;
    out.write_all(mail.as_bytes()).map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}
