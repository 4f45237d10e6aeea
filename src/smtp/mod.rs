#![doc = include_str!("README.md")]

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
