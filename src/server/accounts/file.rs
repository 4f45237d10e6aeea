//! The form of the accounts file.
//!
//! A line is `system_id:hash[:networks[:option…]]`. The hash is SHA-crypt, `$6$…`
//! or `$5$…`, as `openssl passwd -6` prints it. `networks` is a comma list of
//! CIDR networks. The only option is `max=N`, connections of the account at a
//! time. Blank lines and lines that begin with `#` are skipped. A file with any
//! error is rejected as a whole.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::OnceLock;

use ipnet::IpNet;

use super::error::{AccountsError, Fault};
use super::{Account, Password};
use crate::server::hash_cost::{Kind, Work};
use crate::smtp::SystemId;

/// Rounds that a hash may ask for; the lower bound is SHA-crypt's own, the
/// upper one keeps a login under a second.
const ROUNDS: std::ops::RangeInclusive<u32> = 1_000..=100_000;
/// What a hash without `rounds=` means.
const DEFAULT_ROUNDS: u32 = 5_000;
/// Characters of a salt at most.
const MAX_SALT: usize = 16;

/// The names in `text`, which is to be, or was, in the accounts file `path`.
pub(in crate::server) fn check(
    text: &[u8],
    path: &Path,
) -> Result<HashSet<SystemId>, AccountsError> {
    match parse(text) {
        Ok(parsed) => Ok(parsed.by_id.into_keys().collect()),
        Err(fault) => Err(AccountsError {
            path: path.to_owned(),
            fault,
        }),
    }
}

/// The accounts of a file.
pub(super) struct Parsed {
    pub(super) by_id: HashMap<SystemId, Account>,
    pub(super) by_network: HashMap<IpNet, SystemId>,
}

/// Reads the whole file; reports the first fault.
pub(super) fn parse(text: &[u8]) -> Result<Parsed, Fault> {
    let mut by_id = HashMap::new();
    let mut by_network = HashMap::new();
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let number = index + 1;
        let wrong = |fault| Fault::Line { number, fault };
        let line = std::str::from_utf8(line)
            .map_err(|_| wrong("not UTF-8; a line is system_id:hash"))?
            .trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (id, rest) = line
            .split_once(':')
            .ok_or_else(|| wrong("no colon; a line is system_id:hash"))?;
        let id = SystemId::parse(id).ok_or_else(|| {
            wrong("the system_id must be 1 to 255 printable ASCII characters without blanks")
        })?;
        let account = parse_account(rest).map_err(wrong)?;
        if account.password.is_none() {
            for network in &account.networks {
                if by_network.insert(*network, id.clone()).is_some() {
                    return Err(wrong(
                        "this network is given for an account without a hash before; remove one",
                    ));
                }
            }
        }
        if by_id.insert(id, account).is_some() {
            return Err(wrong(
                "this system_id is on an earlier line too; remove one",
            ));
        }
    }
    if by_id.is_empty() {
        return Err(Fault::Empty);
    }
    Ok(Parsed { by_id, by_network })
}

/// `hash[:networks[:option…]]`. IPv6 networks hold colons, options hold `=`.
fn parse_account(text: &str) -> Result<Account, &'static str> {
    let (hash, rest) = match text.split_once(':') {
        Some((hash, rest)) => (hash, Some(rest)),
        None => (text, None),
    };
    let mut networks = rest.unwrap_or_default();
    let mut max = None;
    while let Some((before, option)) = networks.rsplit_once(':') {
        if !option.contains('=') {
            break;
        }
        if max.replace(parse_option(option)?).is_some() {
            return Err("max is given twice; remove one");
        }
        networks = before;
    }
    let networks = match networks {
        "" => Vec::new(),
        networks => networks
            .split(',')
            .map(|network| parse_network(network.trim()))
            .collect::<Result<_, _>>()?,
    };
    if hash.is_empty() && networks.is_empty() {
        return Err("an account without a hash needs networks; add a hash or networks");
    }
    let password = match hash {
        "" => None,
        hash => Some(parse_hash(hash)?),
    };
    Ok(Account {
        password,
        networks,
        max,
    })
}

fn parse_option(text: &str) -> Result<u32, &'static str> {
    const EXPECTED: &str = "unknown option; max=N with N from 1 is the only one";
    let digits = text.strip_prefix("max=").ok_or(EXPECTED)?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let max = plain.then(|| digits.parse().ok()).flatten();
    max.filter(|&max| max > 0).ok_or(EXPECTED)
}

/// A CIDR network such as 192.0.2.0/24 or 2001:db8::/32.
pub(in crate::server) fn parse_network(text: &str) -> Result<IpNet, &'static str> {
    let network: IpNet = text
        .parse()
        .map_err(|_| "not a network; write it as 192.0.2.0/24, 2001:db8::/32 or 192.0.2.1/32")?;
    if network != network.trunc() {
        return Err("the network has host bits set; the bits after the prefix must be 0");
    }
    match network {
        IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => {
            Err("an IPv4-mapped network never matches; write it as an IPv4 network")
        }
        network => Ok(network),
    }
}

/// `$5$` or `$6$`, `rounds=N$` where given, the salt, `$`, the hash.
fn parse_hash(hash: &str) -> Result<Password, &'static str> {
    const FORM: &str =
        "the hash must be SHA-crypt, $6$… or $5$…; make one with `openssl passwd -6`";
    // The last character has the bits that are left of the digest: 2 or 4.
    let (kind, rest, length, last) = if let Some(rest) = hash.strip_prefix("$6$") {
        (Kind::Sha512, rest, 86, "./01")
    } else if let Some(rest) = hash.strip_prefix("$5$") {
        (Kind::Sha256, rest, 43, "./0123456789ABCD")
    } else {
        return Err(FORM);
    };
    let (rounds, rest) = match rest.strip_prefix("rounds=") {
        Some(rest) => {
            let (digits, rest) = rest.split_once('$').ok_or(FORM)?;
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            let rounds = plain.then(|| digits.parse().ok()).flatten().unwrap_or(0);
            (rounds, rest)
        }
        None => (DEFAULT_ROUNDS, rest),
    };
    if !ROUNDS.contains(&rounds) {
        return Err("the rounds of the hash must be 1000 to 100000");
    }
    let (salt, digest) = rest.split_once('$').ok_or(FORM)?;
    let alphabet = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'/')
    };
    if salt.is_empty() {
        // `openssl passwd -6` does not accept it either.
        return Err("the hash has an empty salt; make one with `openssl passwd -6`");
    }
    // One that cannot be decoded would refuse every password, and without a hash.
    let is_digest =
        digest.len() == length && alphabet(digest) && digest.ends_with(|end| last.contains(end));
    if salt.len() > MAX_SALT || !alphabet(salt) || !is_digest {
        return Err(FORM);
    }
    let password = Password {
        hash: hash.to_owned(),
        work: Work {
            kind,
            salt: salt.len(),
            rounds,
        },
        remembered: OnceLock::new(),
    };
    Ok(password)
}
