//! The accounts file and the verification of logins.
//!
//! `file.rs` has the form of the file. An account with a hash and with networks
//! accepts logins only from there; an account without a hash has every client
//! from its networks logged in from the start.
//!
//! A hash costs milliseconds by design, so a correct login that is repeated is
//! recognised by a digest, keyed with random bytes of this process and forgotten
//! on reload. Every refusal costs the same, one hash of the most expensive kind in
//! the file, whether the id is known or not (see `hash_cost.rs`).

mod error;
mod file;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::OnceLock;

use hmac::{Hmac, KeyInit, Mac};
use ipnet::IpNet;
use sha_crypt::{PasswordVerifier, ShaCrypt};
use sha2::Sha256;

pub use self::error::AccountsError;
use self::error::Fault;
use self::file::Parsed;
pub(super) use self::file::{check, parse_network};
use super::files::{self, Source};
use super::hash_cost::{Refusal, Work};
use crate::smtp::limits::MAX_PASSWORD;
use crate::smtp::{Credentials, SystemId};

/// Bytes of an accounts file at most.
pub(super) const MAX_FILE: u64 = 16 * 1024 * 1024;

/// The accounts in force.
pub struct Accounts {
    by_id: HashMap<SystemId, Account>,
    /// The accounts without a hash.
    by_network: HashMap<IpNet, SystemId>,
    /// What a refusal costs.
    refusal: Refusal,
    /// Keys the digests of correct logins.
    secret: [u8; 64],
}

struct Account {
    /// `None`: nobody can log in by AUTH.
    password: Option<Password>,
    /// Where the account is used from; empty: from anywhere.
    networks: Vec<IpNet>,
    max: Option<u32>,
}

struct Password {
    hash: String,
    work: Work,
    /// The digest of the correct login, once it has been verified.
    remembered: OnceLock<Digest>,
}

type Digest = [u8; 32];

/// What is known of credentials before any hash is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recognition {
    /// They are correct.
    Correct(SystemId),
    /// They are refused, whatever accounts there are.
    Refused,
    /// Only [`Accounts::verify`] can tell.
    Unknown,
}

/// Why a login is refused; the client does not learn it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Unknown id, wrong password, or an account without a password.
    Credentials,
    /// The account is not used from the client's address.
    Network,
}

impl Accounts {
    /// Reads `path`; reports the first error.
    pub fn load(path: &Path) -> Result<Accounts, AccountsError> {
        Accounts::read(path, Source::Anything)
    }

    /// As [`Accounts::load`], from a `source`.
    pub(super) fn read(path: &Path, source: Source) -> Result<Accounts, AccountsError> {
        let failed = |fault| AccountsError {
            path: path.to_owned(),
            fault,
        };
        let text = files::read(path, MAX_FILE, source)
            .map_err(|error| AccountsError::unreadable(path, error))?;
        let Parsed { by_id, by_network } = file::parse(&text).map_err(failed)?;
        let mut secret = [0; 64];
        rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| failed(Fault::NoRandomness(error.into())))?;
        Ok(Accounts {
            refusal: Refusal::new(by_id.values().filter_map(Account::work)),
            by_id,
            by_network,
            secret,
        })
    }

    /// The accounts' names, in no order.
    pub fn ids(&self) -> impl Iterator<Item = &SystemId> {
        self.by_id.keys()
    }

    /// The account without a hash whose network `address` is in; the longest
    /// prefix counts.
    pub(crate) fn of_network(&self, address: IpAddr) -> Option<&SystemId> {
        if self.by_network.is_empty() {
            return None;
        }
        let address = address.to_canonical();
        let longest = IpNet::from(address).max_prefix_len();
        (0..=longest).rev().find_map(|length| {
            let network = IpNet::new(address, length).ok()?.trunc();
            self.by_network.get(&network)
        })
    }

    /// Whether `address` is in a network of any account.
    pub(crate) fn is_known(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.of_network(address).is_some()
            || self.by_id.values().any(|account| account.is_from(address))
    }

    /// How many connections the account may have at a time; `None` is no limit.
    pub(crate) fn max_connections(&self, id: &SystemId) -> Option<u32> {
        self.by_id.get(id)?.max
    }

    /// Checks `credentials` from `address` as far as that costs no hash.
    pub fn recognise(&self, credentials: &Credentials, address: IpAddr) -> Recognition {
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
            // From elsewhere even a correct password takes the time of a wrong one.
            Some((id, account))
                if account.accepts(address) && account.recognises(self.mac(authcid, password)) =>
            {
                Recognition::Correct(id.clone())
            }
            _ => Recognition::Unknown,
        }
    }

    /// Whether there is an account of this id.
    pub fn knows(&self, authcid: &[u8]) -> bool {
        std::str::from_utf8(authcid).is_ok_and(|id| self.by_id.contains_key(id))
    }

    /// The account whose credentials these are. Costs one hash, unless
    /// [`Accounts::recognise`] knows already. A refusal takes as long for an
    /// unknown id as for a wrong password.
    pub fn verify(&self, credentials: &Credentials, address: IpAddr) -> Result<SystemId, Refused> {
        match self.recognise(credentials, address) {
            Recognition::Correct(id) => return Ok(id),
            Recognition::Refused => return Err(Refused::Credentials),
            Recognition::Unknown => {}
        }
        let password = credentials.password.expose();
        let found = self.find(&credentials.authcid);
        let accepted = found.is_none_or(|(_, account)| account.accepts(address));
        if let Some((id, account)) = found {
            if let Some(known) = &account.password {
                if known.is_correct(password) && accepted {
                    let mac = self.mac(&credentials.authcid, password);
                    let _ = known.remembered.set(mac.finalize().into_bytes().into());
                    return Ok(id.clone());
                }
            }
        }
        let work = found.and_then(|(_, account)| account.work());
        self.refusal.pay(work, password);
        Err(if accepted {
            Refused::Credentials
        } else {
            Refused::Network
        })
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
    fn work(&self) -> Option<Work> {
        Some(self.password.as_ref()?.work)
    }

    /// Whether the account is used from `address`.
    fn accepts(&self, address: IpAddr) -> bool {
        self.networks.is_empty() || self.is_from(address.to_canonical())
    }

    fn is_from(&self, address: IpAddr) -> bool {
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }

    /// Compares in constant time.
    fn recognises(&self, mac: Hmac<Sha256>) -> bool {
        let digest = self
            .password
            .as_ref()
            .and_then(|password| password.remembered.get());
        digest.is_some_and(|digest| mac.verify_slice(digest).is_ok())
    }
}

impl Password {
    fn is_correct(&self, password: &[u8]) -> bool {
        ShaCrypt::default()
            .verify_password(password, self.hash.as_str())
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::smtp::sasl::Secret;

    /// `openssl passwd -6 -salt abcdefgh test`
    const SHA512: &str = "$6$abcdefgh$3rj1vTLX64btReFsM4MQ22otcD40l7vbtw7qCyr0dxc4kxNmgx53xVM8gWiLYbCqTHTbXFaVFU7ZT28pnvdyu0";

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

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
                .verify(&credentials(authzid, authcid, password), HERE)
                .ok()
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
            // Its last character has more bits than the digest has left.
            (format!("peer1:{}2", &SHA512[..SHA512.len() - 1]), "line 1"),
            (format!("peer1:$5$salt${}E", "z".repeat(42)), "line 1"),
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
            assert_eq!(accounts.recognise(login, HERE), Recognition::Unknown);
            let _ = accounts.verify(login, HERE);
        }
        let id = SystemId::parse("peer1").unwrap();
        assert_eq!(accounts.recognise(&right, HERE), Recognition::Correct(id));
        assert_eq!(accounts.recognise(&wrong, HERE), Recognition::Unknown);
        let other = credentials("peer2", "peer1", "test");
        assert_eq!(accounts.recognise(&other, HERE), Recognition::Refused);
    }

    #[test]
    fn the_longest_prefix_wins_among_the_accounts_without_a_hash() {
        let accounts = load(&format!(
            "wide::192.0.2.0/24,2001:db8::/32\nnarrow::192.0.2.128/25:max=2\n\
             host::192.0.2.129/32\npassword:{SHA512}:192.0.2.130/32\n\
             six::2001:db8:1::/48,::1/128:max=7"
        ))
        .unwrap();
        let of = |address: &str| {
            let id = accounts.of_network(address.parse().unwrap());
            id.map(SystemId::as_str)
        };
        assert_eq!(of("192.0.2.1"), Some("wide"));
        assert_eq!(of("::ffff:192.0.2.200"), Some("narrow"));
        assert_eq!(of("192.0.2.129"), Some("host"));
        assert_eq!(of("192.0.2.130"), Some("narrow"));
        assert_eq!(of("2001:db8:1::1"), Some("six"));
        assert_eq!(of("2001:db8:2::1"), Some("wide"));
        assert_eq!(of("::1"), Some("six"));
        assert_eq!(of("198.51.100.1"), None);
        let max = |id: &str| accounts.max_connections(&SystemId::parse(id).unwrap());
        assert_eq!(
            [max("wide"), max("narrow"), max("six")],
            [None, Some(2), Some(7)]
        );
    }

    #[test]
    fn a_login_is_accepted_only_from_the_networks_of_its_account() {
        let accounts = load(&format!(
            "peer1:{SHA512}:127.0.0.0/8,2001:db8::/32\nopen::192.0.2.0/24"
        ))
        .unwrap();
        let login = credentials("", "peer1", "test");
        let elsewhere = "192.0.2.1".parse().unwrap();
        assert!(accounts.verify(&login, HERE).is_ok());
        assert_eq!(accounts.verify(&login, elsewhere), Err(Refused::Network));
        assert_eq!(accounts.recognise(&login, elsewhere), Recognition::Unknown);
        // Nobody logs in by AUTH to an account without a hash.
        let open = credentials("", "open", "test");
        assert_eq!(accounts.verify(&open, elsewhere), Err(Refused::Credentials));
    }

    #[test]
    fn a_faulty_network_or_option_is_named_with_its_line() {
        for (line, expected) in [
            ("a:", "needs networks"),
            ("a::", "needs networks"),
            ("a::max=1", "not a network"),
            ("a:::max=1", "needs networks"),
            ("a::192.0.2.1/24", "host bits"),
            ("a::2001:db8::1/32", "host bits"),
            ("a::192.0.2.0", "not a network"),
            ("a::192.0.2.0/33", "not a network"),
            ("a::::ffff:192.0.2.0/120", "IPv4-mapped"),
            ("a::192.0.2.0/24:max=0", "max=N"),
            ("a::192.0.2.0/24:max=+1", "max=N"),
            ("a::192.0.2.0/24:min=1", "max=N"),
            ("a::192.0.2.0/24:max=1:max=2", "twice"),
            ("a::192.0.2.0/24,192.0.2.0/24", "before"),
            ("b::192.0.2.0/24,", "not a network"),
        ] {
            let error = load(&format!("# first\n{line}")).err().unwrap();
            assert!(error.contains("line 2: "), "{line}: {error}");
            assert!(error.contains(expected), "{line}: {error}");
        }
        let error = load("a::192.0.2.0/24\n\nb::192.0.2.0/24").err().unwrap();
        assert!(error.contains("line 3: this network"), "{error}");
        assert!(load(&format!("a:{SHA512}::max=3")).is_ok());
    }
}
