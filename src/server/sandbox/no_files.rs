//! Landlock on a system that is not Linux.

use super::{Files, Needs, NotConfined};

pub(super) fn confine(_: &Needs<'_>) -> Result<Files, NotConfined> {
    Err(NotConfined::Unsupported("this system has no Landlock"))
}
