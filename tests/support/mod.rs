//! What the tests share: a [`Server`] on free ports with a spool of its own,
//! and a [`Client`] with a deadline on every read.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod client;
pub mod dialog;
pub mod disk;
pub mod guard;
pub mod memory;
pub mod server;
pub mod smuggling;
pub mod spool;

#[allow(unused_imports, reason = "each test uses its part")]
pub use client::{Client, id, tls_connection, wire};
#[allow(unused_imports, reason = "each test uses its part")]
pub use server::{Builder, Server, content, make_certificate, make_certificate_until, names};

use std::time::{Duration, Instant};

/// How long anything may take before a test fails. Tests wait for conditions, so
/// only a failure takes this long; it leaves room for a slow, loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// The account of every test server, and its password.
pub const SYSTEM_ID: &str = "peer1";
/// See [`SYSTEM_ID`].
pub const PASSWORD: &str = "secret";
/// A second account: SHA-256, a password that is not ASCII.
pub const SYSTEM_ID_2: &str = "peer2";
/// See [`SYSTEM_ID_2`].
pub const PASSWORD_2: &str = "sésame ouvre toi";

/// The accounts file of every test server: the fewest rounds there may be.
pub const ACCOUNTS: &str = "# accounts of the tests\n\n\
    peer1:$6$rounds=1000$mm4dtests$v3./v3JPoxfRdecnzCdJMfaInByOY7ggivAO1c8.mTdR/FmUjkGBfDg2hcmBfES5s.vmPvMUwiohCL9jjN4ja/\n\
    peer2:$5$rounds=1000$mm4dtests$nkg1SB6HShiDBA0UNklY8tZ8w85Mv64njGO7vnxn0/7\n";

/// base64 of `\0peer1\0secret`.
pub fn plain_response() -> String {
    use base64::Engine;
    let message = format!("\0{SYSTEM_ID}\0{PASSWORD}");
    base64::engine::general_purpose::STANDARD.encode(message)
}

/// Waits until `condition` gives something, and fails at the deadline.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
