//! What the page of `gallery` holds of the parts, so that a browser can still open it.
//!
//! A page of few messages shows each picture as it was sent, and has its bytes a second
//! time in the link that saves it. A page of messages of more than [`SMALL`] bytes shows
//! pictures of more than [`MAX_COPY`] bytes smaller, and only the link has their bytes.
//! Beyond [`MAX_EMBEDDED`] bytes, newest messages first, parts of more than [`MAX_COPY`]
//! are not in the page; it says by which command they are had. Nothing fails.

use std::cell::Cell;

/// Bytes of messages up to which a page has its pictures twice.
const SMALL: u64 = 32 * 1024 * 1024;
/// Bytes of a part that may be in the page twice, and that is always in it.
pub(super) const MAX_COPY: usize = 16 * 1024;
/// Bytes of a part that are put into the page; a bigger one is named.
pub(super) const MAX_PART: usize = 16 * 1024 * 1024;
/// Bytes of all parts that are put into the page.
const MAX_EMBEDDED: usize = 192 * 1024 * 1024;

/// What a page still has room for.
#[derive(Clone, Debug)]
pub(crate) struct Embedding {
    /// Whether pictures are shown smaller.
    shows_smaller: bool,
    left: Cell<usize>,
    /// The spool, as a word of a command.
    spool: String,
}

impl Embedding {
    /// For a page of messages of together that many bytes, in the spool at `root`.
    pub(super) fn of(messages: u64, root: &str) -> Embedding {
        Embedding {
            shows_smaller: messages > SMALL,
            left: Cell::new(MAX_EMBEDDED),
            spool: word(root),
        }
    }

    /// Takes room for a part, if it is in the page.
    pub(super) fn take(&self, length: usize) -> bool {
        let left = self.left.get();
        if length > MAX_PART || (length > MAX_COPY && length > left) {
            return false;
        }
        self.left.set(left.saturating_sub(length));
        true
    }

    /// Whether a picture of that many bytes is shown smaller, so that its bytes are in the
    /// page once.
    pub(super) fn shows_smaller(&self, length: usize) -> bool {
        length > MAX_COPY && (self.shows_smaller || length > self.left.get())
    }

    /// The command that saves a part.
    pub(super) fn command(&self, id: &str, number: usize) -> String {
        format!(
            "mm4spool extract --part {number} {} {}",
            self.spool,
            word(id)
        )
    }
}

/// Text as one word of a shell's command.
fn word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@%+=:,./_-".contains(&byte);
    match text.bytes().all(is_plain) && !text.is_empty() {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_few_messages_shows_pictures_as_they_are() {
        assert!(!Embedding::of(SMALL, "spool").shows_smaller(MAX_COPY + 1));
        let big = Embedding::of(SMALL + 1, "spool");
        assert!(big.shows_smaller(MAX_COPY + 1) && !big.shows_smaller(MAX_COPY));
    }

    #[test]
    fn a_full_page_takes_small_parts_alone() {
        let page = Embedding::of(u64::MAX, "spool");
        for _ in 0..MAX_EMBEDDED / MAX_PART {
            assert!(page.take(MAX_PART));
        }
        assert!(!page.take(MAX_COPY + 1) && page.take(MAX_COPY));
        assert!(!Embedding::of(0, "spool").take(MAX_PART + 1));
    }

    #[test]
    fn the_command_is_for_a_shell() {
        let page = Embedding::of(0, "/var/spool/mm4d");
        let command = page.command("20260101T000000.000000Z-7-1@mm4.example.com", 2);
        let words =
            "mm4spool extract --part 2 /var/spool/mm4d 20260101T000000.000000Z-7-1@mm4.example.com";
        assert_eq!(command, words);
        let page = Embedding::of(0, "it's $(here)");
        assert_eq!(
            page.command("", 1),
            "mm4spool extract --part 1 'it'\\''s $(here)' ''"
        );
    }
}
