//! `mm4spool serve`: the messages in a browser, live.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;

use super::{Command, Failure, Given, Manual, Outcome, Syntax, filters, warn};
use crate::inspect::filter::Filter;
use crate::inspect::serve::Server;

pub(super) const COMMAND: Command = Command {
    name: "serve",
    summary: "the messages in a browser, live",
    run,
};

const MANUAL: Manual = Manual {
    name: COMMAND.name,
    usage: "[OPTIONS] [SPOOL]",
    about: "Serves a page that shows the messages, and new ones as they are published, until it is\n\
            interrupted. It is read-only and has an API: /api/messages, /api/messages/ID with\n\
            /raw and /parts/N, /api/events and /healthz.",
    examples: "mm4spool serve spool\n\
               mm4spool serve --listen 192.0.2.1:2580 --token \"$(openssl rand -hex 16)\" spool\n\
               curl 'http://127.0.0.1:2580/api/messages?type=RES&since=1h'",
    exit: "1 the address cannot be bound or the spool not be read; 2 usage error",
};

/// Where it listens by default.
const DEFAULT_LISTEN: &str = "127.0.0.1:2580";

fn run(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let syntax = syntax();
    let Some(given) = syntax.parse(arguments, out)? else {
        return Ok(std::process::ExitCode::SUCCESS);
    };
    let listen = given
        .text("listen")
        .unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
    let token = given.text("token");
    if token
        .as_deref()
        .is_some_and(|token| token.trim().is_empty())
    {
        return Err(given.usage_error("invalid --token: expected at least one letter"));
    }
    let (name, addresses) = parse_listen(&given, &listen)?;
    let root = given.only_root()?;
    if !Path::new(&root).is_dir() {
        return Err(Failure::on(
            &root,
            std::io::Error::other("it is not a directory; name a spool"),
        ));
    }
    let listener = TcpListener::bind(addresses.as_slice());
    let listener = listener.map_err(|error| Failure::on(format!("--listen {listen}"), error))?;
    let failed = |error: std::io::Error| Failure::on(&root, error);
    let server = Server::start(listener, &name, &root, token.as_deref()).map_err(failed)?;
    let address = server.address();
    if !address.ip().to_canonical().is_loopback() {
        warn(match token {
            Some(_) => {
                "messages and token go over the network unencrypted; an SSH tunnel to 127.0.0.1 is safer"
            }
            None => {
                "whoever can reach this address can read the messages; use --token, or listen on 127.0.0.1"
            }
        });
    }
    for missing in server.confine() {
        warn(&format!("not confined as far as possible: {missing}"));
    }
    writeln!(out, "listening http://{address}/")
        .and_then(|()| out.flush())
        .map_err(Failure::Output)?;
    server.run().map_err(failed)?;
    Ok(std::process::ExitCode::SUCCESS)
}

fn syntax() -> Syntax {
    let mut syntax = Syntax::new(MANUAL);
    syntax
        .options
        .optopt(
            "",
            "listen",
            "address and port to listen on (default 127.0.0.1:2580)",
            "ADDR:PORT",
        )
        .optopt(
            "",
            "token",
            "answer only requests with this token, as Authorization: Bearer TOKEN or by the \
             cookie that /?token=TOKEN sets (default none)",
            "TOKEN",
        );
    syntax
}

/// The name in `--listen`, without its port, and the addresses that it has.
fn parse_listen(given: &Given, listen: &str) -> Result<(String, Vec<SocketAddr>), Failure> {
    let expected = "expected ADDR:PORT, such as 127.0.0.1:2580";
    let invalid = |why: &str| given.usage_error(&format!("invalid --listen '{listen}': {why}"));
    let (name, _) = listen
        .rsplit_once(':')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| invalid(expected))?;
    let addresses = listen
        .to_socket_addrs()
        .map_err(|error| invalid(&format!("{error}; {expected}")))?;
    let name = name.trim_start_matches('[').trim_end_matches(']');
    Ok((name.to_owned(), addresses.collect()))
}

/// The filter that the parameters of an address make: those of `list`, without dashes.
/// An error says which is wrong.
pub(crate) fn filter_of_query(query: &[(String, String)]) -> Result<Filter, String> {
    let mut syntax = Syntax::new(MANUAL);
    filters::add(&mut syntax);
    let allowed = |name: &str| name == "unanswered" || filters::is_option(name);
    if let Some((name, _)) = query.iter().find(|(name, _)| !allowed(name)) {
        return Err(format!(
            "unknown parameter '{name}': expected a filter of mm4spool list, limit or cursor"
        ));
    }
    let mut arguments = Vec::new();
    for (name, value) in query {
        match (name.as_str(), value.to_ascii_lowercase().as_str()) {
            ("unanswered", "" | "1" | "true" | "yes") => arguments.push(format!("--{name}")),
            ("unanswered", "0" | "false" | "no") => {}
            ("unanswered", _) => {
                return Err(format!("invalid unanswered '{value}': expected 1 or 0"));
            }
            // As a form sends a field that is empty.
            (_, "") => {}
            _ => arguments.push(format!("--{name}={value}")),
        }
    }
    let mut nowhere = std::io::sink();
    let given = match syntax.parse(&arguments, &mut nowhere) {
        Ok(Some(given)) => given,
        Ok(None) => return Ok(Filter::default()),
        Err(failure) => return Err(plain(&failure)),
    };
    filters::parse(&given).map_err(|failure| plain(&failure))
}

/// What is wrong with a parameter, without what is said of options.
fn plain(failure: &Failure) -> String {
    let text = failure.to_string();
    let text = text.strip_prefix("serve: ").unwrap_or(&text);
    let text = text.split("; see `").next().unwrap_or(text);
    text.replace("--", "")
}
