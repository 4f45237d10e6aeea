//! The accounts file and the judgement of logins.
//!
//! `system_id:hash` lines; the hash is SHA-crypt, `$6$…` or `$5$…`, as `openssl
//! passwd -6` prints it. A hash costs milliseconds by design, so a right login
//! that comes again is recognised by a digest keyed with random octets of this
//! process and forgotten on reload; a wrong one always costs the full hash. An
//! unknown id costs what a wrong key costs, whatever the accounts' rounds and
//! salts.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hmac::{Hmac, KeyInit, Mac};
use sha_crypt::{Params, PasswordVerifier, ShaCrypt};
use sha2::Sha256;

use crate::smtp::limits::MAX_KEY;
use crate::smtp::{Credentials, SystemId};

/// Rounds that a hash may ask for; the lower bound is SHA-crypt's own, the
/// upper one keeps a login under a second.
const ROUNDS: std::ops::RangeInclusive<u32> = 1_000..=100_000;
/// What a hash without `rounds=` means.
const DEFAULT_ROUNDS: u32 = 5_000;
/// Characters of a salt at most.
const MAX_SALT: usize = 16;

/// The accounts in force.
pub struct Accounts {
    by_id: HashMap<SystemId, Account>,
    /// What a refusal costs.
    refusal: Cost,
    /// Keys the digests of right logins.
    secret: [u8; 64],
}

struct Account {
    hash: String,
    work: Work,
    rounds: u32,
    /// The digest of the right login, once it has been seen.
    remembered: OnceLock<Digest>,
}

type Digest = [u8; 32];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Sha256,
    Sha512,
}

/// What a round of a hash costs depends on: the salt's length decides how many
/// blocks it takes, together with the key's, which the client chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Work {
    kind: Kind,
    salt: usize,
}

/// Rounds of each kind of work that the accounts have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Cost(BTreeMap<Work, u32>);

/// Why the accounts file cannot be used.
#[derive(Debug)]
pub struct AccountsError {
    path: PathBuf,
    fault: Fault,
}

#[derive(Debug)]
enum Fault {
    Unreadable(io::Error),
    Line { number: usize, fault: &'static str },
    Empty,
    NoRandomness(io::Error),
}

impl fmt::Display for AccountsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.fault {
            Fault::Unreadable(error) => write!(
                f,
                "cannot read the accounts file {path}: {error}; make one of system_id:hash lines, \
                 the hash by `openssl passwd -6`, or name it with --accounts"
            ),
            Fault::Line { number, fault } => {
                write!(f, "the accounts file {path}, line {number}: {fault}")
            }
            Fault::Empty => write!(
                f,
                "the accounts file {path} holds no account; add a system_id:hash line, \
                 the hash made by `openssl passwd -6`"
            ),
            Fault::NoRandomness(error) => write!(
                f,
                "no random octets to keep the accounts {path} with: {error}; mm4d needs getrandom(2)"
            ),
        }
    }
}

impl std::error::Error for AccountsError {}

impl AccountsError {
    /// Whether the file is there and may not be read.
    pub fn is_denied(&self) -> bool {
        matches!(&self.fault, Fault::Unreadable(error)
            if error.kind() == io::ErrorKind::PermissionDenied)
    }
}

impl Accounts {
    /// Reads `path`. The first fault ends it: half the accounts are none.
    pub fn load(path: &Path) -> Result<Accounts, AccountsError> {
        let failed = |fault| AccountsError {
            path: path.to_owned(),
            fault,
        };
        let text = fs::read(path).map_err(|error| failed(Fault::Unreadable(error)))?;
        let by_id = parse(&text).map_err(failed)?;
        let mut secret = [0; 64];
        rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| failed(Fault::NoRandomness(error.into())))?;
        Ok(Accounts {
            refusal: Cost::of_refusal(&by_id),
            by_id,
            secret,
        })
    }

    /// The accounts' names, in no order.
    pub fn ids(&self) -> impl Iterator<Item = &SystemId> {
        self.by_id.keys()
    }

    /// The account that `credentials` are right for. Takes as long for an
    /// unknown id as for a wrong key.
    pub fn verify(&self, credentials: &Credentials) -> Option<SystemId> {
        let Credentials {
            authzid,
            authcid,
            key,
        } = credentials;
        let key = key.expose();
        // Neither says anything about which accounts there are.
        if key.len() > MAX_KEY || !(authzid.is_empty() || authzid == authcid) {
            return None;
        }
        let known = std::str::from_utf8(authcid)
            .ok()
            .and_then(|id| self.by_id.get_key_value(id));
        let mac = self.mac(authcid, key);
        if let Some((id, account)) = known {
            if account.recognises(mac.clone()) {
                return Some(id.clone());
            }
            if account.is_right(key) {
                let _ = account.remembered.set(mac.finalize().into_bytes().into());
                return Some(id.clone());
            }
        }
        self.refusal.pay(known.map(|(_, account)| account), key);
        None
    }

    fn mac(&self, authcid: &[u8], key: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new(&self.secret.into());
        mac.update(authcid);
        // An authcid holds no NUL: the two cannot run into each other.
        mac.update(&[0]);
        mac.update(key);
        mac
    }
}

impl Account {
    /// Compares in constant time.
    fn recognises(&self, mac: Hmac<Sha256>) -> bool {
        self.remembered
            .get()
            .is_some_and(|digest| mac.verify_slice(digest).is_ok())
    }

    fn is_right(&self, key: &[u8]) -> bool {
        ShaCrypt::default()
            .verify_password(key, self.hash.as_str())
            .is_ok()
    }
}

impl Cost {
    /// The dearest hash of each kind of work: every refusal pays them all, and
    /// nearly every file has one. Where accounts differ in rounds, what a
    /// cheaper one lacks must be payable, and that is no less than the fewest
    /// rounds of SHA-crypt.
    fn of_refusal(accounts: &HashMap<SystemId, Account>) -> Cost {
        let mut range: BTreeMap<Work, (u32, u32)> = BTreeMap::new();
        for Account { work, rounds, .. } in accounts.values() {
            let (least, most) = range.entry(*work).or_insert((*rounds, *rounds));
            (*least, *most) = ((*least).min(*rounds), (*most).max(*rounds));
        }
        let rounds = |(least, most)| {
            if least == most {
                most
            } else {
                most + Params::ROUNDS_MIN
            }
        };
        Cost(
            range
                .into_iter()
                .map(|(work, range)| (work, rounds(range)))
                .collect(),
        )
    }

    /// Pays what is left behind the hash of `known`.
    fn pay(&self, known: Option<&Account>, key: &[u8]) {
        for (work, rounds) in self.rest(known) {
            const SALT: [u8; MAX_SALT] = [b'.'; MAX_SALT];
            let salt = SALT.get(..work.salt).unwrap_or(&SALT);
            match (work.kind, Params::new(rounds)) {
                (Kind::Sha256, Ok(params)) => {
                    black_box(sha_crypt::sha256_crypt(key, salt, params));
                }
                (Kind::Sha512, Ok(params)) => {
                    black_box(sha_crypt::sha512_crypt(key, salt, params));
                }
                // Nothing is left.
                (_, Err(_)) => {}
            }
        }
    }

    fn rest(&self, known: Option<&Account>) -> impl Iterator<Item = (Work, u32)> {
        self.0.iter().map(move |(work, rounds)| {
            let paid = match known {
                Some(account) if account.work == *work => account.rounds,
                _ => 0,
            };
            (*work, rounds.saturating_sub(paid))
        })
    }
}

fn parse(text: &[u8]) -> Result<HashMap<SystemId, Account>, Fault> {
    let mut accounts = HashMap::new();
    for (index, line) in text.split(|&octet| octet == b'\n').enumerate() {
        let number = index + 1;
        let wrong = |fault| Fault::Line { number, fault };
        let line = std::str::from_utf8(line)
            .map_err(|_| wrong("not UTF-8; a line is system_id:hash"))?
            .trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (id, hash) = line
            .split_once(':')
            .ok_or_else(|| wrong("no colon; a line is system_id:hash"))?;
        let id = SystemId::parse(id).ok_or_else(|| {
            wrong("the system_id must be 1 to 255 printable ASCII characters without blanks")
        })?;
        let account = parse_hash(hash).map_err(wrong)?;
        if accounts.insert(id, account).is_some() {
            return Err(wrong(
                "this system_id stands on an earlier line; remove one",
            ));
        }
    }
    if accounts.is_empty() {
        return Err(Fault::Empty);
    }
    Ok(accounts)
}

/// `$5$` or `$6$`, `rounds=N$` where given, the salt, `$`, the hash.
fn parse_hash(hash: &str) -> Result<Account, &'static str> {
    const FORM: &str =
        "the hash must be SHA-crypt, $6$… or $5$…; make one with `openssl passwd -6`";
    let (kind, rest, length) = if let Some(rest) = hash.strip_prefix("$6$") {
        (Kind::Sha512, rest, 86)
    } else if let Some(rest) = hash.strip_prefix("$5$") {
        (Kind::Sha256, rest, 43)
    } else {
        return Err(FORM);
    };
    let (rounds, rest) = match rest.strip_prefix("rounds=") {
        Some(rest) => {
            let (digits, rest) = rest.split_once('$').ok_or(FORM)?;
            let plain = digits.bytes().all(|octet| octet.is_ascii_digit());
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
            .all(|octet| octet.is_ascii_alphanumeric() || octet == b'.' || octet == b'/')
    };
    if salt.len() > MAX_SALT || !alphabet(salt) || digest.len() != length || !alphabet(digest) {
        return Err(FORM);
    }
    let account = Account {
        hash: hash.to_owned(),
        work: Work {
            kind,
            salt: salt.len(),
        },
        rounds,
        remembered: OnceLock::new(),
    };
    Ok(account)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::sasl::Secret;

    /// `openssl passwd -6 -salt abcdefgh test`
    const SHA512: &str = "$6$abcdefgh$3rj1vTLX64btReFsM4MQ22otcD40l7vbtw7qCyr0dxc4kxNmgx53xVM8gWiLYbCqTHTbXFaVFU7ZT28pnvdyu0";

    fn load(text: &str) -> Result<Accounts, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        Accounts::load(file.path()).map_err(|error| error.to_string())
    }

    fn credentials(authzid: &str, authcid: &str, key: &str) -> Credentials {
        Credentials {
            authzid: authzid.into(),
            authcid: authcid.into(),
            key: Secret::new(key.into()),
        }
    }

    #[test]
    fn the_right_key_is_let_in_again_and_again_and_no_other() {
        let accounts = load(&format!("# peers\n\npeer1:{SHA512}\r\n")).unwrap();
        let verify = |authzid, authcid, key| {
            accounts
                .verify(&credentials(authzid, authcid, key))
                .map(|id| id.to_string())
        };
        for _ in 0..3 {
            assert_eq!(verify("", "peer1", "test").as_deref(), Some("peer1"));
            assert_eq!(verify("peer1", "peer1", "test").as_deref(), Some("peer1"));
            assert_eq!(verify("", "peer1", "tes"), None);
            assert_eq!(verify("", "peer1", "testt"), None);
            assert_eq!(verify("", "peer2", "test"), None);
            assert_eq!(verify("peer2", "peer1", "test"), None);
            assert_eq!(verify("", "", ""), None);
        }
        assert_eq!(verify("", "peer1", &"x".repeat(MAX_KEY + 1)), None);
    }

    #[test]
    fn a_faulty_line_is_named() {
        for (text, expected) in [
            ("peer1".to_owned(), "line 1"),
            (format!("\n:{SHA512}"), "line 2"),
            (format!("a b:{SHA512}"), "line 1"),
            ("peer1:secret".to_owned(), "openssl passwd -6"),
            ("peer1:$1$abc$def".to_owned(), "openssl passwd -6"),
            (format!("peer1:{SHA512}x"), "line 1"),
            (SHA512.replace("$6$", "peer1:$6$rounds=999$"), "rounds"),
            (SHA512.replace("$6$", "peer1:$6$rounds=100001$"), "rounds"),
            (format!("peer1:{SHA512}\n#\npeer1:{SHA512}"), "line 3"),
            ("# nobody\n".to_owned(), "no account"),
        ] {
            let error = load(&text).err().unwrap();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn every_refusal_costs_the_same_whoever_is_asked_for() {
        let hash = |prefix: &str| SHA512.replace("$6$", prefix);
        let cheap = hash("$6$rounds=1000$");
        let dear = hash("$6$rounds=1500$");
        let other = format!("$5$rounds=7000$salt${}", "x".repeat(43));
        let short = SHA512.replace("abcdefgh", "ab");
        let accounts = load(&format!("a:{cheap}\nb:{dear}\nc:{other}\nd:{short}")).unwrap();
        let total = |id: &str| {
            let account = accounts.by_id.get(id);
            let mut paid = BTreeMap::new();
            for (work, rest) in accounts.refusal.rest(account) {
                // A rest that SHA-crypt cannot pay would be free.
                assert!(rest == 0 || rest >= Params::ROUNDS_MIN);
                paid.insert((work.kind, work.salt), rest);
            }
            if let Some(Account { work, rounds, .. }) = account {
                *paid.get_mut(&(work.kind, work.salt)).unwrap() += rounds;
            }
            paid.into_iter().collect::<Vec<_>>()
        };
        let expected = [
            ((Kind::Sha256, 4), 7000),
            ((Kind::Sha512, 2), 5000),
            ((Kind::Sha512, 8), 2500),
        ];
        for id in ["a", "b", "c", "d", "unknown"] {
            assert_eq!(total(id), expected, "{id}");
        }
    }
}
