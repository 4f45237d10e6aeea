//! Pictures on terminals that can show them, by the protocols of kitty and of iTerm2.
//!
//! The terminal never gets the bytes of a mail: a picture is decoded here, within
//! limits, made as small as the terminal needs it, and encoded anew as PNG. A picture
//! that cannot be decoded is left out; its name and size are in the text anyway. Sixel is
//! not written: of the libraries for it `icy_sixel` needs Rust 1.90, `sixel-rs` the C library
//! and `a-sixel` some 90 more crates, and no variable says which terminals know it. Limits:
//! [`MAX_SIDE`] pixels of a side and [`MAX_MEMORY`] bytes while decoding,
//! [`MAX_PICTURES`] pictures of a message. Fails only when nothing can be written.

use std::ffi::OsString;
use std::io::{self, Cursor, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{DynamicImage, ImageFormat, ImageReader, Limits};

/// Pixels of a side of a picture that is decoded; phones make 4,000.
pub const MAX_SIDE: u32 = 16_384;
/// Bytes that decoding a picture may take.
pub const MAX_MEMORY: u64 = 256 * 1024 * 1024;
/// Pictures of one message that are shown.
pub const MAX_PICTURES: usize = 20;
/// Pixels of a picture on the terminal.
const SHOWN: (u32, u32) = (480, 320);
/// Bytes of base64 that kitty takes at once.
const CHUNK: usize = 4096;

/// How a terminal takes pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// kitty's graphics protocol; Ghostty and Konsole know it too.
    Kitty,
    /// iTerm2's inline images; `WezTerm` and mintty know them too.
    Iterm,
}

impl Protocol {
    /// What the terminal says of itself in the environment; `None` where that is
    /// nothing, and inside tmux and screen, which pass no pictures on.
    pub(crate) fn of_environment() -> Option<Protocol> {
        Self::of(|name| std::env::var_os(name))
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Option<Protocol> {
        let text = |name: &str| {
            let value = variable(name).unwrap_or_default();
            value.to_string_lossy().into_owned()
        };
        let term = text("TERM");
        let is_inside = ["screen", "tmux"].iter().any(|name| term.starts_with(name));
        if is_inside || !text("TMUX").is_empty() || !text("STY").is_empty() {
            return None;
        }
        let program = text("TERM_PROGRAM");
        let is_kitty = term.contains("kitty") || !text("KITTY_WINDOW_ID").is_empty();
        if is_kitty || program == "ghostty" || term.contains("ghostty") {
            return Some(Protocol::Kitty);
        }
        if !text("KONSOLE_VERSION").is_empty() {
            return Some(Protocol::Kitty);
        }
        let is_iterm = ["iTerm.app", "WezTerm", "mintty"].contains(&program.as_str());
        (is_iterm || text("LC_TERMINAL") == "iTerm2").then_some(Protocol::Iterm)
    }

    /// Writes a picture, and a line end; false when the bytes are none that can be
    /// decoded within the limits.
    ///
    /// # Errors
    ///
    /// When nothing can be written.
    pub fn write(self, bytes: &[u8], out: &mut dyn Write) -> io::Result<bool> {
        let Some(png) = small_png(bytes) else {
            return Ok(false);
        };
        let encoded = STANDARD.encode(&png);
        match self {
            Protocol::Iterm => write!(
                out,
                "\x1b]1337;File=inline=1;size={};preserveAspectRatio=1:{encoded}\x07",
                png.len()
            )?,
            Protocol::Kitty => write_kitty(&encoded, out)?,
        }
        writeln!(out)?;
        Ok(true)
    }
}

fn write_kitty(encoded: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut rest = encoded;
    // Transmit and display a PNG, without answers that nobody reads.
    let mut keys = "a=T,f=100,q=2,";
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at_checked(CHUNK).unwrap_or((rest, ""));
        let more = u8::from(!after.is_empty());
        write!(out, "\x1b_G{keys}m={more};{chunk}\x1b\\")?;
        (rest, keys) = (after, "");
    }
    Ok(())
}

/// The picture as a PNG as small as the terminal needs it.
fn small_png(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .ok()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    reader.limits(limits);
    let picture = reader.decode().ok()?;
    let (width, height) = SHOWN;
    let picture = match picture.width() > width || picture.height() > height {
        true => picture.thumbnail(width, height),
        false => picture,
    };
    let picture = DynamicImage::ImageRgba8(picture.into_rgba8());
    let mut png = Vec::new();
    picture
        .write_to(&mut Cursor::new(&mut png), ImageFormat::Png)
        .ok()?;
    Some(png)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn picture(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let picture = DynamicImage::new_rgb8(width, height);
        picture
            .write_to(&mut Cursor::new(&mut bytes), format)
            .unwrap();
        bytes
    }

    fn written(protocol: Protocol, bytes: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        let is_written = protocol.write(bytes, &mut out).unwrap();
        assert_eq!(is_written, !out.is_empty());
        is_written.then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn pictures_are_sent_anew_and_small() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif] {
            let bytes = picture(format, 2000, 1000);
            let text = written(Protocol::Iterm, &bytes).unwrap();
            let encoded = text
                .split_once("Ratio=1:")
                .unwrap()
                .1
                .strip_suffix("\x07\n")
                .unwrap();
            let png = STANDARD.decode(encoded).unwrap();
            assert!(text.contains(&format!("size={};", png.len())));
            let shown = image::load_from_memory(&png).unwrap();
            assert_eq!((shown.width(), shown.height()), (480, 240));
        }
    }

    #[test]
    fn kitty_takes_chunks() {
        let mut noise = image::RgbImage::new(100, 100);
        for (at, pixel) in noise.pixels_mut().enumerate() {
            let value = (at * 7919 % 251) as u8;
            *pixel = image::Rgb([value, value.wrapping_mul(31), value.wrapping_mul(17)]);
        }
        let mut bytes = Vec::new();
        noise
            .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
            .unwrap();
        let text = written(Protocol::Kitty, &bytes).unwrap();
        let chunks: Vec<&str> = text.trim_end().split_terminator("\x1b\\").collect();
        assert!(chunks.len() > 1, "{}", text.len());
        assert!(chunks[0].starts_with("\x1b_Ga=T,f=100,q=2,m=1;"));
        assert!(chunks.last().unwrap().starts_with("\x1b_Gm=0;"));
        assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK + 40));
    }

    #[test]
    fn what_is_no_picture_or_too_big_is_left_out() {
        assert_eq!(written(Protocol::Kitty, b"not a picture"), None);
        let mut huge = picture(ImageFormat::Png, 1, 1);
        // The width in the header of a PNG.
        huge[16..20].copy_from_slice(&1_000_000_u32.to_be_bytes());
        assert_eq!(written(Protocol::Iterm, &huge), None);
    }

    #[test]
    fn the_environment_says_what_a_terminal_can() {
        let of = |variables: &[(&str, &str)]| {
            Protocol::of(|name| {
                let mut found = variables.iter().filter(|(known, _)| *known == name);
                found.next().map(|(_, value)| OsString::from(value))
            })
        };
        assert_eq!(of(&[("TERM", "xterm-kitty")]), Some(Protocol::Kitty));
        assert_eq!(of(&[("TERM_PROGRAM", "WezTerm")]), Some(Protocol::Iterm));
        assert_eq!(of(&[("LC_TERMINAL", "iTerm2")]), Some(Protocol::Iterm));
        assert_eq!(of(&[("TERM", "xterm-256color")]), None);
        assert_eq!(of(&[("TERM", "xterm-kitty"), ("TMUX", "/tmp/x")]), None);
        assert_eq!(of(&[]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            magic in proptest::sample::select(vec![&b""[..], b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM"]),
        ) {
            bytes.splice(0..0, magic.iter().copied());
            prop_assert!(Protocol::Iterm.write(&bytes, &mut io::sink()).is_ok());
        }
    }
}
