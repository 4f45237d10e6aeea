//! The accounts file and the verification of logins.
//!
//! `system_id:hash` lines; the hash is SHA-crypt, `$6$…` or `$5$…`, as `openssl
//! passwd -6` prints it. A hash costs milliseconds by design, so a correct login
//! that is repeated is recognised by a digest, keyed with random bytes of this
//! process and forgotten on reload. Every refusal costs the same, one hash of
//! the dearest kind in the file, whether the id is known or not
//! ([`super::hash_cost`]). A file with any error is rejected as a whole.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hmac::{Hmac, KeyInit, Mac};
use sha_crypt::{PasswordVerifier, ShaCrypt};
use sha2::Sha256;

use super::hash_cost::{Kind, Refusal, Work};
use crate::smtp::limits::MAX_PASSWORD;
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
    refusal: Refusal,
    /// Keys the digests of correct logins.
    secret: [u8; 64],
}

struct Account {
    hash: String,
    work: Work,
    /// The digest of the correct login, once it has been verified.
    remembered: OnceLock<Digest>,
}

type Digest = [u8; 32];

/// What can be said of credentials without a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recognition {
    /// They are correct.
    Correct(SystemId),
    /// They are refused, whatever accounts there are.
    Refused,
    /// Only [`Accounts::verify`] can tell.
    Unknown,
}

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
    /// Reads `path`; reports the first error.
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
            refusal: Refusal::new(by_id.values().map(|account| account.work)),
            by_id,
            secret,
        })
    }

    /// The accounts' names, in no order.
    pub fn ids(&self) -> impl Iterator<Item = &SystemId> {
        self.by_id.keys()
    }

    /// Judges `credentials` as far as that costs no hash.
    pub fn recognise(&self, credentials: &Credentials) -> Recognition {
        let Credentials {
            authzid,
            authcid,
            password,
        } = credentials;
        let password = password.expose();
        // Neither depends on which accounts there are.
        if password.len() > MAX_PASSWORD || !(authzid.is_empty() || authzid == authcid) {
            return Recognition::Refused;
        }
        match self.find(authcid) {
            Some((id, account)) if account.recognises(self.mac(authcid, password)) => {
                Recognition::Correct(id.clone())
            }
            _ => Recognition::Unknown,
        }
    }

    /// The account whose credentials these are. Costs one hash, unless
    /// [`Accounts::recognise`] knows already. A refusal takes as long for an
    /// unknown id as for a wrong password.
    pub fn verify(&self, credentials: &Credentials) -> Option<SystemId> {
        match self.recognise(credentials) {
            Recognition::Correct(id) => return Some(id),
            Recognition::Refused => return None,
            Recognition::Unknown => {}
        }
        let password = credentials.password.expose();
        let found = self.find(&credentials.authcid);
        if let Some((id, account)) = found
            && account.is_correct(password)
        {
            let mac = self.mac(&credentials.authcid, password);
            let _ = account.remembered.set(mac.finalize().into_bytes().into());
            return Some(id.clone());
        }
        let work = found.map(|(_, account)| account.work);
        self.refusal.pay(work, password);
        None
    }

    fn find(&self, id: &[u8]) -> Option<(&SystemId, &Account)> {
        let id = std::str::from_utf8(id).ok()?;
        self.by_id.get_key_value(id)
    }

    fn mac(&self, authcid: &[u8], password: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new(&self.secret.into());
        mac.update(authcid);
        // An authcid holds no NUL: the two cannot run into each other.
        mac.update(&[0]);
        mac.update(password);
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

    fn is_correct(&self, password: &[u8]) -> bool {
        ShaCrypt::default()
            .verify_password(password, self.hash.as_str())
            .is_ok()
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
    if salt.is_empty() {
        // `openssl passwd -6` does not accept it either.
        return Err("the hash has an empty salt; make one with `openssl passwd -6`");
    }
    if salt.len() > MAX_SALT || !alphabet(salt) || digest.len() != length || !alphabet(digest) {
        return Err(FORM);
    }
    let account = Account {
        hash: hash.to_owned(),
        work: Work {
            kind,
            salt: salt.len(),
            rounds,
        },
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

    fn credentials(authzid: &str, authcid: &str, password: &str) -> Credentials {
        Credentials {
            authzid: authzid.into(),
            authcid: authcid.into(),
            password: Secret::new(password.into()),
        }
    }

    #[test]
    fn the_correct_password_is_accepted_again_and_again_and_no_other() {
        let accounts = load(&format!("# peers\n\npeer1:{SHA512}\r\n")).unwrap();
        let verify = |authzid, authcid, password| {
            accounts
                .verify(&credentials(authzid, authcid, password))
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
        assert_eq!(verify("", "peer1", &"x".repeat(MAX_PASSWORD + 1)), None);
    }

    #[test]
    fn a_faulty_line_is_named() {
        for (text, expected) in [
            ("peer1".to_owned(), "line 1"),
            (format!("\n:{SHA512}"), "line 2"),
            (format!("a b:{SHA512}"), "line 1"),
            ("peer1:secret".to_owned(), "openssl passwd -6"),
            ("peer1:$1$abc$def".to_owned(), "openssl passwd -6"),
            (
                format!("#\n{}", SHA512.replace("$6$abcdefgh", "peer1:$6$")),
                "line 2: the hash has an empty salt",
            ),
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
    fn only_a_correct_login_is_recognised_without_a_hash() {
        let accounts = load(&format!("peer1:{SHA512}")).unwrap();
        let right = credentials("", "peer1", "test");
        let wrong = credentials("", "peer1", "tess");
        for login in [&right, &wrong] {
            assert_eq!(accounts.recognise(login), Recognition::Unknown);
            accounts.verify(login);
        }
        let id = SystemId::parse("peer1").unwrap();
        assert_eq!(accounts.recognise(&right), Recognition::Correct(id));
        assert_eq!(accounts.recognise(&wrong), Recognition::Unknown);
        let other = credentials("peer2", "peer1", "test");
        assert_eq!(accounts.recognise(&other), Recognition::Refused);
    }
}
