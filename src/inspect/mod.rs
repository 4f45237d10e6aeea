//! The inspector: what `mm4spool` does, command by command.
//!
//! ```text
//!   maildir ── header ── mime ── smil ── message ─┬─ list, follow   a line each
//!   names,     fields    parts   slides  all of   ├─ show           everything
//!   octets                               it       ├─ extract        the parts
//!                                                 ├─ gallery        a page
//!                                                 ├─ check          what is wrong
//!                                                 ├─ respond        the RES
//!                                                 └─ json           for programs
//! ```
//!
//! Whoever hands in a mail decides what is in it, so nothing here trusts it:
//! reading never fails and never panics, every size has a limit, every text goes
//! through [`terminal`], [`json`] or the gallery's escaping before it is shown,
//! and no name in a mail is ever a path. The modules to the left read, those to
//! the right write; only [`maildir`], [`extract`] and [`follow`] touch files.

pub mod check;
pub mod extract;
pub mod follow;
pub mod gallery;
pub mod header;
pub mod json;
pub mod list;
pub mod maildir;
pub mod message;
pub mod mime;
pub mod respond;
pub mod show;
pub mod smil;
pub mod terminal;
