//! seccomp on a system or a processor that `calls.rs` does not know.

use super::NotConfined;

pub(super) fn confine() -> Result<(), NotConfined> {
    Err(NotConfined::Unsupported(
        "there is no filter for this system or processor",
    ))
}
