//! Small pictures: that of a message in the list, and what a big page shows of a picture.
//!
//! Made anew from a picture that can be decoded within limits: [`MAX_MEMORY`] bytes, and
//! for the list [`MAX_TRIES`] pictures of one message. Of one that takes more, such as a
//! progressive JPEG of 1,600 by 1,200 pixels, there is no small picture: the list shows the
//! message's icon, and a big page the picture as it is. Nothing fails.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};

use super::jpeg::Jpeg;
use super::media::picture_type;
use crate::inspect::message::Message;
use crate::inspect::mime::Part;

/// Pixels of a side: twice what the list shows, for dense screens.
const SIDE: u32 = 88;
/// Bytes that decoding a picture may take: 1,920 by 1,080 pixels, or 1,280 by 900 of a
/// progressive JPEG, whose coefficients count, too.
const MAX_MEMORY: u64 = 7 * 1024 * 1024;
/// Pixels of a side of a picture that is decoded.
const MAX_SIDE: u32 = 8192;
/// Bytes of an encoded picture that is decoded.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Pictures of a message that are tried.
const MAX_TRIES: usize = 3;
/// How good the JPEG is, of 100.
const QUALITY: u8 = 72;
/// Pixels of the longer side of a picture that is shown smaller: what a column has.
const SMALLER_SIDE: u32 = 480;
/// How good such a JPEG is, of 100.
const SMALLER_QUALITY: u8 = 78;

/// A JPEG of the first picture of a message.
pub(crate) fn thumbnail(message: &Message<'_>) -> Option<Vec<u8>> {
    candidates(message)
        .take(MAX_TRIES)
        .find_map(|part| small(&part.decode().bytes))
}

/// Whether a message may have a small picture: one of its parts begins as a picture does.
pub(crate) fn has_picture(message: &Message<'_>) -> bool {
    candidates(message)
        .take(MAX_TRIES)
        .any(|part| picture_type(&part.decode().bytes).is_some())
}

/// A picture without its type is one by its bytes; a text is not looked at.
fn candidates<'m>(message: &'m Message<'_>) -> impl Iterator<Item = &'m Part<'m>> {
    let may_be =
        |part: &&Part<'_>| matches!(part.kind(), "image" | "application") && !part.is_smil();
    message.leaves().filter(may_be)
}

fn small(bytes: &[u8]) -> Option<Vec<u8>> {
    // Each step that keeps the whole picture costs memory: first shrink, then crop.
    let (picture, orientation) = shrunk(bytes, |width, height| {
        let scale = f64::from(SIDE) / f64::from(width.min(height).max(1));
        let scaled = |side: u32| ((f64::from(side) * scale).ceil() as u32).clamp(SIDE, 8 * SIDE);
        (scaled(width), scaled(height))
    })?;
    let (left, top) = ((picture.width() - SIDE) / 2, (picture.height() - SIDE) / 2);
    jpeg(
        picture.crop_imm(left, top, SIDE, SIDE),
        orientation,
        QUALITY,
    )
}

/// A picture as a JPEG of at most [`SMALLER_SIDE`] pixels a side, where that has half its
/// bytes or less. What may move is left as it is, and what takes more than [`MAX_MEMORY`].
pub(super) fn smaller(bytes: &[u8]) -> Option<Vec<u8>> {
    let still = ["image/jpeg", "image/png", "image/bmp"];
    picture_type(bytes).filter(|kind| still.contains(kind))?;
    let (picture, orientation) = shrunk(bytes, |width, height| {
        let scale = (f64::from(SMALLER_SIDE) / f64::from(width.max(height).max(1))).min(1.0);
        let scaled = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
        (scaled(width), scaled(height))
    })?;
    jpeg(picture, orientation, SMALLER_QUALITY).filter(|jpeg| jpeg.len() <= bytes.len() / 2)
}

/// Width and height of a picture, as it is shown.
pub(super) fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    let ((width, height), orientation) = match picture_type(bytes) {
        Some("image/jpeg") => {
            let jpeg = Jpeg::read(bytes, MAX_SIDE)?;
            ((jpeg.width, jpeg.height), jpeg.orientation)
        }
        _ => {
            let mut decoder = reader(bytes)?.into_decoder().ok()?;
            let orientation = decoder.orientation();
            (
                decoder.dimensions(),
                orientation.unwrap_or(Orientation::NoTransforms),
            )
        }
    };
    Some(match turns(orientation) {
        true => (height, width),
        false => (width, height),
    })
}

/// Whether width and height change places.
fn turns(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(
        orientation,
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH
    )
}

/// A picture of the width and height that `size` makes of its own, and how it is to be
/// turned (Exif). The whole picture is dropped before it is turned and encoded.
fn shrunk(
    bytes: &[u8],
    size: impl Fn(u32, u32) -> (u32, u32),
) -> Option<(DynamicImage, Orientation)> {
    if picture_type(bytes).filter(|_| bytes.len() <= MAX_BYTES)? == "image/jpeg" {
        let jpeg = Jpeg::read(bytes, MAX_SIDE).filter(|jpeg| jpeg.memory <= MAX_MEMORY)?;
        return Some((
            jpeg.shrunk(size(jpeg.width, jpeg.height))?,
            jpeg.orientation,
        ));
    }
    let mut decoder = reader(bytes)?.into_decoder().ok()?;
    let mut limits = limits();
    limits.reserve(decoder.total_bytes()).ok()?;
    decoder.set_limits(limits).ok()?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let picture = DynamicImage::from_decoder(decoder).ok()?;
    let (width, height) = size(picture.width(), picture.height());
    Some((picture.thumbnail_exact(width, height), orientation))
}

fn reader(bytes: &[u8]) -> Option<ImageReader<Cursor<&[u8]>>> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .ok()?;
    reader.limits(limits());
    Some(reader)
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_MEMORY);
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits
}

fn jpeg(mut picture: DynamicImage, orientation: Orientation, quality: u8) -> Option<Vec<u8>> {
    picture.apply_orientation(orientation);
    let picture = match picture.color().has_alpha() {
        true => on_white(&picture),
        false => picture.into_rgb8(),
    };
    let mut jpeg = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, quality);
    encoder.encode_image(&picture).ok()?;
    Some(jpeg)
}

fn on_white(picture: &DynamicImage) -> RgbImage {
    let pixels = picture.to_rgba8();
    RgbImage::from_fn(pixels.width(), pixels.height(), |x, y| {
        let [red, green, blue, alpha] = pixels.get_pixel(x, y).0;
        let over = |colour: u8| {
            let sum = u32::from(colour) * u32::from(alpha) + 255 * (255 - u32::from(alpha));
            (sum / 255).min(255) as u8
        };
        image::Rgb([over(red), over(green), over(blue)])
    })
}
