#![doc = include_str!("README.md")]
//!
//! # Modules
//!
//! ```text
//!   store ── mime ── smil ── message ─┬─ check     what is wrong
//!   files    parts   slides  all of   ├─ exchange  what answers what
//!                            it       ├─ filter    which messages
//!                                     ├─ response  the RES
//!                                     └─ output    table, text, JSON, HTML, files
//!   commands: one for each command of mm4spool; watch: what is published from now on;
//!   serve: the live page
//! ```
//!
//! The sender of a mail decides what is in it, so nothing here trusts it: reading
//! never fails and never panics, every size has a limit, the time is linear in
//! the size of the mail, every text is escaped by [`output`] before it is shown,
//! and no name in a mail is ever a path. Only [`store`], [`watch`] and
//! [`output::files`] touch files, only [`serve`] the network.

pub mod check;
pub mod commands;
pub mod exchange;
pub mod filter;
pub mod finding;
pub mod message;
pub mod mime;
pub mod output;
pub mod response;
pub mod serve;
pub mod smil;
pub mod store;
pub mod watch;
