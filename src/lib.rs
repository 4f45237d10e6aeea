//! mm4d receives multimedia messages over MM4, the SMTP-based interface
//! between MMS centres (3GPP TS 23.140), and spools each as a durable `.eml`.
//!
//! ```text
//! TcpListener ─ server ─ connection ─ Session ─ Step ─ Draft ─ channel ─ writer ─ new/ID.eml
//!                           ▲ bytes in, replies out              │
//!                           └──────── Result<Id, SpoolError> ─────┘
//! ```
//!
//! Synchronous: one thread for each listener and each client, one writer. The
//! dialogue ([`smtp`]) is pure; the spool answers only what is on the device;
//! everything a client can take has a limit. Imports run one way: `main`,
//! [`server`], then [`smtp`] and [`spool`], then [`mm4`].
//! [`inspect`] is the other binary's, mm4spool: it reads what the spool holds.
//!
//! Standards: 3GPP TS 23.140 clause 8.4 (MM4), RFC 5321 (SMTP), RFC 4954 and
//! RFC 4616 (AUTH, PLAIN), RFC 1870 (SIZE), RFC 2920 (PIPELINING), RFC 6152
//! (8BITMIME), RFC 8446 and RFC 5246 (TLS).

mod access;
mod buffer;
pub mod inspect;
pub mod log;
pub mod mm4;
pub mod server;
pub mod smtp;
pub mod spool;
