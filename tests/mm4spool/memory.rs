//! What `gallery` takes of memory with photographs.

use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// KiB of memory that the writer may take at most.
const MAX_MEMORY: u64 = 16 * 1024;
/// Bytes of a photograph.
const PHOTO: usize = 400_000;

fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
    [&[0xff, marker], &length[..], body].concat()
}

/// A picture of 1,600 by 1,200 pixels in one colour, with as many bytes as a photograph
/// has: colours at half the resolution, and all coefficients but the first zero.
fn photo(is_progressive: bool) -> Vec<u8> {
    let mut photo = b"\xff\xd8".to_vec();
    while photo.len() < PHOTO {
        photo.extend(segment(0xef, &[0; 50_000]));
    }
    // Quantization by 8: a coefficient is the mean of its block.
    photo.extend(segment(0xdb, &[&[0][..], &[8; 64]].concat()));
    let size = [
        8,
        1200_u16.to_be_bytes()[0],
        1200_u16.to_be_bytes()[1],
        6,
        64,
    ];
    let components = [3, 1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0];
    let frame = if is_progressive { 0xc2 } else { 0xc0 };
    photo.extend(segment(frame, &[&size[..], &components].concat()));
    // Codes of DC coefficients: 0 for the same as in the block before, 10 for six bits
    // more; of the others: 0 for the end of the block.
    let mut lengths = [0; 16];
    lengths[..2].copy_from_slice(&[1, 1]);
    photo.extend(segment(0xc4, &[&[0x00][..], &lengths, &[0, 6]].concat()));
    photo.extend(segment(0xc4, &[&[0x10][..], &lengths, &[0, 1]].concat()));
    let last = if is_progressive { 0 } else { 63 };
    photo.extend(segment(0xda, &[3, 1, 0, 2, 0, 3, 0, 0, last, 0]));
    let end = if is_progressive { "" } else { "0" };
    let first = format!("10101010{end}");
    let same = format!("0{end}");
    // An MCU has four blocks of luminance and one of each colour.
    let begin = [&first, &same, &same, &same, &first, &first];
    let blocks = 100 * 75 * 6;
    let mut bits: String = begin.into_iter().map(String::as_str).collect();
    bits.extend((begin.len()..blocks).map(|_| same.as_str()));
    bits.extend(std::iter::repeat_n('1', 8 - bits.len() % 8));
    let bytes = bits.as_bytes().chunks(8);
    photo.extend(bytes.map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | (bit - b'0'))));
    photo.extend(b"\xff\xd9");
    photo
}

fn mail(photo: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(photo);
    let lines: Vec<&[u8]> = text.as_bytes().chunks(76).collect();
    let header = "X-Mms-Message-Type: MM4_forward.REQ\r\nContent-Type: image/jpeg\r\n\
                  Content-Transfer-Encoding: base64\r\n\r\n";
    [header.as_bytes(), &lines.join(&b"\r\n"[..]), b"\r\n"].concat()
}

/// The kernel's count of a process, in KiB.
fn peak(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

#[test]
fn a_gallery_of_photographs_takes_little_memory() {
    let photos = [false, true].map(photo);
    for photo in &photos {
        let picture = image::load_from_memory(photo).unwrap();
        assert_eq!((picture.width(), picture.height()), (1600, 1200));
    }
    let place = Place::new();
    for number in 0..10 {
        let id = format!("20220125T221744.{number:06}Z-7-{number:06}@mm4.example.com");
        place.publish(&id, &mail(&photos[number % 2]));
    }
    let mut gallery = command(&["gallery", "--output", "-", place.path()]);
    let mut gallery = gallery.stdout(Stdio::piped()).spawn().unwrap();
    let mut page = BufReader::new(gallery.stdout.take().unwrap());
    // The line of the last message has its small picture, and then 500 kB that a pipe does
    // not hold: the process waits for its reader, and its memory can be read.
    for number in (0..10).rev() {
        through(&mut page, b"name=\"m\"><summary>");
        let summary = String::from_utf8(through(&mut page, b"</summary>")).unwrap();
        let is_progressive = number % 2 == 1;
        let has_picture = summary.contains("data:image/jpeg;base64,");
        assert_eq!(has_picture, !is_progressive, "{summary}");
    }
    let peak = peak(&gallery);
    page.read_to_end(&mut Vec::new()).unwrap();
    assert!(gallery.wait().unwrap().success());
    assert!(peak < MAX_MEMORY, "{peak} KiB");
}

/// Reads through those bytes.
fn through(page: &mut impl BufRead, end: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        let length = page.read_until(end[end.len() - 1], &mut read).unwrap();
        assert!(length > 0, "the page ends early");
    }
    read
}
