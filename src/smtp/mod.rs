//! The dialogue, pure: octets in, [`Step`]s out. Nothing here opens a socket
//! or a file, reads a clock, takes a lock or writes a log.
//!
//! | file | what |
//! | --- | --- |
//! | `session` | one client's dialogue: its state, its steps |
//! | `line` | octets to command lines |
//! | `command` | a command line to a verb and its arguments |
//! | `mailbox` | paths and mailboxes |
//! | `sasl` | AUTH PLAIN and LOGIN |
//! | `data` | where a mail ends, and its dots |
//! | `reply` | every reply there is |
//! | `limits` | every limit there is |
//!
//! RFC 5321 (SMTP), 4954 (AUTH), 4616 (PLAIN), 1870 (SIZE), 2920 (PIPELINING)
//! and 6152 (8BITMIME).

pub mod command;
pub mod data;
pub mod limits;
pub mod line;
pub mod mailbox;
pub mod reply;
pub mod sasl;
pub mod session;

pub use limits::Limits;
pub use mailbox::{Addresses, ForwardPath, Mailbox, ReversePath};
pub use reply::Reply;
pub use sasl::{Credentials, SystemId};
pub use session::{Envelope, Policy, Session, Step};
