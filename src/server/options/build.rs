//! From the given texts to [`Options`]: every number has a range, and an error
//! says what is expected.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::values::{Values, whole_number};
use super::{Listen, NewAccount, Options, OptionsError, usage_error};
use crate::server::accounts::parse_network;
use crate::smtp::{Addresses, Limits, SystemId};
use crate::spool::id::{MAX_SERVER_NAME, is_server_name};

/// The accounts file where none is given.
pub(super) const ACCOUNTS: &str = "accounts";

/// The account to add, if one is to be added.
pub(super) fn new_account(values: &Values) -> Result<Option<NewAccount>, OptionsError> {
    let account = account_values(values)?;
    if account.is_none() {
        let extra = ["generate", "networks", "max"];
        if let Some(name) = extra.into_iter().find(|name| values.is_given(name)) {
            return Err(usage_error(format!(
                "option --{name} is of use with --add-account alone"
            )));
        }
    }
    if account.is_some() && values.is_given("check") {
        return Err(usage_error(
            "--check and --add-account exclude each other; give one of them",
        ));
    }
    Ok(account)
}

/// The same, looking at each value alone.
pub(super) fn account_values(values: &Values) -> Result<Option<NewAccount>, OptionsError> {
    let max = match values.is_given("max") {
        true => Some(values.count("max", 1)?),
        false => None,
    };
    let networks = networks(values, "networks")?;
    let Some(value) = values.one("add-account") else {
        return Ok(None);
    };
    // A line that begins with '#' is a comment.
    let id = SystemId::parse(&value.text).filter(|id| !id.as_str().starts_with('#'));
    let expected = "1 to 255 printable ASCII characters without blanks and ':', \
                    not beginning with '#'";
    Ok(Some(NewAccount {
        id: id.ok_or_else(|| value.invalid(expected))?,
        generate: values.is_given("generate"),
        networks,
        max,
    }))
}

pub(super) fn options(values: &Values) -> Result<Options, OptionsError> {
    let largest = i64::MAX as u64;
    let default_size = Limits::default().max_message_size;
    Ok(Options {
        listeners: listeners(values)?,
        has_default_listeners: !(values.is_given("listen") || values.is_given("tls-listen")),
        cert: values.path("cert", "certs/server.pem")?,
        key: values.path("key", "certs/server.key")?,
        accounts: values.path("accounts", ACCOUNTS)?,
        spool: values.path("spool", "spool")?,
        hostname: hostname(values)?,
        addresses: addresses(values)?,
        limits: Limits {
            max_message_size: values.number("max-message-size", default_size, 1..=largest)?,
            max_recipients: values.count("max-recipients", 100)? as usize,
        },
        max_connections: values.count("max-connections", 1000)?,
        max_connections_per_ip: values.count("max-connections-per-ip", 100)?,
        login_timeout: values.seconds("login-timeout", 60, 1)?,
        timeout: values.seconds("timeout", 300, 1)?,
        shutdown_grace: values.seconds("shutdown-grace", 30, 0)?,
        drain: values.seconds("drain", 0, 0)?,
        min_free: values.number("min-free", 64 * 1024 * 1024, 0..=largest)?,
        min_rate: values.number("min-rate", 100, 0..=u32::MAX.into())?,
        sandbox: !values.is_given("no-sandbox"),
        proxy_from: networks(values, "proxy-from")?,
        metrics_file: values
            .is_given("metrics-file")
            .then(|| values.path("metrics-file", ""))
            .transpose()?,
        user: user(values)?,
    })
}

fn listeners(values: &Values) -> Result<Vec<Listen>, OptionsError> {
    let mut found = Vec::new();
    for (name, tls) in [("listen", false), ("tls-listen", true)] {
        for value in values.all(name) {
            let listen = listen(&value.text, tls)
                .ok_or_else(|| value.invalid("ADDR:PORT, with an IPv6 address in brackets"))?;
            found.push(listen);
        }
    }
    if found.is_empty() {
        for (tls, port) in [(false, 2525), (true, 2465)] {
            let host = Ipv4Addr::LOCALHOST.to_string();
            found.push(Listen { tls, host, port });
        }
    }
    Ok(found)
}

fn listen(text: &str, tls: bool) -> Option<Listen> {
    let (host, port) = text.rsplit_once(':')?;
    let port = whole_number(port)?.try_into().ok()?;
    let host = match host.strip_prefix('[') {
        Some(rest) => {
            let address: Ipv6Addr = rest.strip_suffix(']')?.parse().ok()?;
            address.to_string()
        }
        // An IPv6 address without brackets.
        None if host.contains(':') => return None,
        None => host.to_owned(),
    };
    (!host.is_empty()).then_some(Listen { tls, host, port })
}

fn hostname(values: &Values) -> Result<String, OptionsError> {
    let expected = format!(
        "1 to {MAX_SERVER_NAME} letters, digits, '-', '.' and '_', \
         not beginning with '-' and not dots alone"
    );
    match values.one("hostname") {
        Some(value) if is_hostname(&value.text) => Ok(value.text.clone()),
        Some(value) => Err(value.invalid(expected)),
        None => {
            let system = rustix::system::uname();
            let name = system.nodename().to_string_lossy().into_owned();
            if is_hostname(&name) {
                return Ok(name);
            }
            Err(usage_error(format!(
                "invalid system host name '{name}': expected {expected}; give --hostname NAME"
            )))
        }
    }
}

/// The name is part of file names, and of command lines of those who handle
/// these files.
fn is_hostname(name: &str) -> bool {
    is_server_name(name) && !name.starts_with('-') && name.bytes().any(|byte| byte != b'.')
}

fn networks(values: &Values, name: &str) -> Result<Vec<IpNet>, OptionsError> {
    let Some(value) = values.one(name) else {
        return Ok(Vec::new());
    };
    value
        .text
        .split(',')
        .map(|network| parse_network(network.trim()).map_err(|fault| value.wrong(fault)))
        .collect()
}

fn user(values: &Values) -> Result<Option<String>, OptionsError> {
    match values.one("user") {
        Some(value) if value.text.is_empty() || value.text.contains('\0') => {
            Err(value.invalid("the name of a user"))
        }
        value => Ok(value.map(|value| value.text.clone())),
    }
}

fn addresses(values: &Values) -> Result<Addresses, OptionsError> {
    let Some(value) = values.one("addresses") else {
        return Ok(Addresses::E164);
    };
    match value.text.as_str() {
        "e164" => Ok(Addresses::E164),
        "any" => Ok(Addresses::Any),
        _ => Err(value.invalid("e164 or any")),
    }
}
