//! A JPEG that is made smaller. Its headers say what decoding it takes, and it is decoded
//! from where its bytes are: `image` holds them a second time, and counts the pixels alone.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer, Luma, Rgb, imageops};
use memmap2::MmapMut;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// What the headers of a JPEG say.
pub(super) struct Jpeg<'b> {
    bytes: &'b [u8],
    pub(super) width: u32,
    pub(super) height: u32,
    /// How it is to be turned (Exif).
    pub(super) orientation: Orientation,
    /// Bytes that decoding takes: the pixels, and the coefficients where it keeps them. A
    /// picture whose colours are sampled in an odd way may take half as much again.
    pub(super) memory: u64,
    is_grey: bool,
}

impl Jpeg<'_> {
    /// Of a picture of at most that many pixels a side.
    pub(super) fn read(bytes: &[u8], side: u32) -> Option<Jpeg<'_>> {
        let mut stream = Cursor::new(bytes);
        let options = DecoderOptions::default()
            .set_strict_mode(false)
            .set_max_width(side as usize)
            .set_max_height(side as usize);
        let mut decoder = JpegDecoder::new_with_options(&mut stream, options);
        decoder.decode_headers().ok()?;
        let info = decoder.info()?;
        let is_grey = decoder.input_colorspace()? == ColorSpace::Luma;
        let orientation = info.exif_data.as_deref();
        let orientation = orientation.and_then(Orientation::from_exif_chunk);
        let pixels = u64::from(info.width) * u64::from(info.height);
        // Coefficients of two bytes are kept until the last scan, where there are some.
        let begun = bytes.get(..usize::try_from(stream.position()).ok()?)?;
        let coefficients = match info.sof.is_sequential_dct() && scans_all(begun, info.components) {
            true => 0,
            // Colours have fewer samples where a component has more than one in a unit.
            false if info.components == 3 => {
                2 * (pixels + 2 * pixels / info.sample_ratio.sample() as u64)
            }
            false => 2 * pixels * u64::from(info.components),
        };
        Some(Jpeg {
            bytes,
            width: info.width.into(),
            height: info.height.into(),
            orientation: orientation.unwrap_or(Orientation::NoTransforms),
            memory: pixels * if is_grey { 1 } else { 3 } + coefficients,
            is_grey,
        })
    }

    /// The picture, made smaller. Its pixels are mapped: the allocator might keep what it
    /// gets back of millions of them.
    pub(super) fn shrunk(&self, (width, height): (u32, u32)) -> Option<DynamicImage> {
        let (colours, channels) = match self.is_grey {
            true => (ColorSpace::Luma, 1),
            false => (ColorSpace::RGB, 3),
        };
        let options = DecoderOptions::default()
            .set_strict_mode(false)
            .jpeg_set_out_colorspace(colours);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(self.bytes), options);
        let length = self.width as usize * self.height as usize * channels;
        let mut pixels = MmapMut::map_anon(length).ok()?;
        decoder.decode_into(&mut pixels).ok()?;
        drop(decoder);
        let (own_width, own_height) = (self.width, self.height);
        Some(match self.is_grey {
            true => {
                let picture = ImageBuffer::<Luma<u8>, _>::from_raw(own_width, own_height, pixels)?;
                imageops::thumbnail(&picture, width, height).into()
            }
            false => {
                let picture = ImageBuffer::<Rgb<u8>, _>::from_raw(own_width, own_height, pixels)?;
                imageops::thumbnail(&picture, width, height).into()
            }
        })
    }
}

/// Whether the header of the first scan, at the end of `begun`, names all components.
fn scans_all(begun: &[u8], components: u8) -> bool {
    let header = [0xff, 0xda, 0, 6 + 2 * components, components];
    let length = header.len() + 2 * usize::from(components) + 3;
    let start = begun.len().checked_sub(length);
    start.is_some_and(|start| {
        begun
            .get(start..)
            .is_some_and(|end| end.starts_with(&header))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of 100 by 50 pixels.
    fn picture(is_grey: bool) -> Vec<u8> {
        let mut jpeg = Vec::new();
        let picture = DynamicImage::from(image::RgbImage::new(100, 50));
        let picture = match is_grey {
            true => DynamicImage::from(picture.to_luma8()),
            false => picture,
        };
        let mut to = Cursor::new(&mut jpeg);
        picture.write_to(&mut to, image::ImageFormat::Jpeg).unwrap();
        jpeg
    }

    fn replaced(jpeg: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        let at = jpeg.windows(from.len()).position(|bytes| bytes == from);
        let (begin, rest) = jpeg.split_at(at.unwrap());
        [begin, to, &rest[from.len()..]].concat()
    }

    #[test]
    fn the_headers_say_what_decoding_takes() {
        let (colours, grey) = (picture(false), picture(true));
        let memory = |jpeg: &[u8]| Jpeg::read(jpeg, 100).unwrap().memory;
        assert_eq!(memory(&colours), 3 * 5_000);
        assert_eq!(memory(&grey), 5_000);
        // Progressive.
        let frame = |jpeg: &[u8]| replaced(jpeg, b"\xff\xc0\0", b"\xff\xc2\0");
        let full = 3 * 5_000 + 2 * 3 * 5_000;
        assert_eq!(memory(&frame(&colours)), full);
        assert_eq!(memory(&frame(&grey)), 3 * 5_000);
        // Colours with a quarter of the samples.
        let fewer = replaced(&frame(&colours), b"\x03\x01\x11", b"\x03\x01\x22");
        assert_eq!(memory(&fewer), 6 * 5_000);
        // A scan for each component.
        let scan = b"\xff\xda\0\x0c\x03\x01\0\x02\x11\x03\x11";
        let first = b"\xff\xda\0\x08\x01\x01\0";
        assert_eq!(memory(&replaced(&colours, scan, first)), full);
    }

    #[test]
    fn what_is_no_jpeg_or_too_wide_is_not_read() {
        let jpeg = picture(false);
        assert!(Jpeg::read(&jpeg, 99).is_none());
        for length in 0..20 {
            assert!(Jpeg::read(&jpeg[..length], 100).is_none());
        }
        assert!(Jpeg::read(&jpeg, 100).unwrap().shrunk((10, 5)).is_some());
    }
}
