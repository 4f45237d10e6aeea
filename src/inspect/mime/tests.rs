use super::*;

fn read(mail: &[u8]) -> (Vec<Part<'_>>, Vec<Finding>) {
    let header = Header::parse(mail);
    let body = &mail[header.length..];
    parts(&header, body)
}

fn types(parts: &[Part<'_>]) -> Vec<String> {
    parts
        .iter()
        .map(|part| format!("{}{}", " ".repeat(part.depth), part.media_type))
        .collect()
}

#[test]
fn a_header_block_alone_has_no_parts() {
    assert!(read(b"To: a\r\n").0.is_empty());
    assert!(read(b"To: a\r\n\r\n").0.is_empty());
}

#[test]
fn capitals_and_missing_spaces_do_no_harm() {
    let (parts, findings) = read(
        b"Content-Type: multipart/related;Start=\"<smil>\";Type=\"application/smil\";\r\n\
          \tboundary=\"----=_Part_1\"\r\n\r\n\
          preamble\r\n------=_Part_1\r\nContent-Type:application/smil;Name=0.smil\r\n\
          Content-ID:<smil>\r\n\r\n<smil/>\r\n------=_Part_1  \r\n\
          Content-Type:image/jpeg\r\nContent-Disposition:attachment;FileName=1.jpg\r\n\
          Content-Transfer-Encoding:BASE64\r\n\r\nAAEC\r\n------=_Part_1--\r\nepilogue\r\n",
    );
    assert_eq!(
        types(&parts),
        ["multipart/related", " application/smil", " image/jpeg"]
    );
    assert!(findings.is_empty());
    assert_eq!(parts[0].params["start"], "<smil>");
    assert_eq!(parts[1].content_id.as_deref(), Some("smil"));
    assert_eq!(*parts[1].body, *b"<smil/>");
    assert_eq!(parts[2].name.as_deref(), Some("1.jpg"));
    assert_eq!(parts[2].number, Some(2));
    assert_eq!(parts[2].decode().bytes, [0, 1, 2]);
}

#[test]
fn a_part_without_a_header_is_body() {
    let (parts, _) = read(
        b"Content-Type: multipart/mixed; boundary=x\n\n--x\nhello\n\nworld\n--x\n\nbare\n--x--\n",
    );
    assert_eq!(*parts[1].body, *b"hello\n\nworld");
    assert_eq!(*parts[2].body, *b"bare");
}

#[test]
fn a_multipart_that_is_cut_gives_what_is_there() {
    let (parts, findings) =
        read(b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\none\n--x\n\ntw");
    assert_eq!(parts.len(), 3);
    assert_eq!(findings[0].code, Code::Unterminated);
}

#[test]
fn a_boundary_that_is_missing_is_guessed() {
    let (parts, findings) = read(b"Content-Type: multipart/mixed\n\n--abc\n\none\n--abc--\n");
    assert_eq!(*parts[1].body, *b"one");
    assert_eq!(findings[0].code, Code::NoBoundary);
    let (parts, findings) =
        read(b"Content-Type: multipart/mixed; boundary=y\n\n--z\n\none\n--z--\n");
    assert_eq!(*parts[1].body, *b"one");
    assert_eq!(findings[0].code, Code::NoDelimiter);
    let (parts, _) = read(b"Content-Type: multipart/mixed boundary=y\n\n--y\n\none\n--y--\n");
    assert_eq!(*parts[1].body, *b"one");
    let (parts, findings) = read(b"Content-Type: multipart/mixed; boundary=y\n\n--sig\n");
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].number, Some(1));
    assert_eq!(findings[0].code, Code::NoDelimiter);
}

#[test]
fn a_hundred_thousand_nested_multiparts_are_left_undivided() {
    let mut mail = Vec::new();
    for level in 0..100_000 {
        mail.extend_from_slice(
            format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n").as_bytes(),
        );
    }
    let (parts, findings) = read(&mail);
    assert_eq!(parts.len(), MAX_DEPTH + 1);
    assert!(findings.iter().any(|finding| finding.code == Code::TooDeep));
}

#[test]
fn a_hundred_thousand_parts_are_cut_to_the_limit() {
    let mut mail = b"Content-Type: multipart/mixed; boundary=x\n\n".to_vec();
    for _ in 0..100_000 {
        mail.extend_from_slice(b"--x\n\n");
    }
    let (parts, findings) = read(&mail);
    assert_eq!(parts.len(), MAX_PARTS);
    assert!(
        findings
            .iter()
            .any(|finding| finding.code == Code::TooManyParts)
    );
}

#[test]
fn the_name_of_an_encoding_may_be_misspelt() {
    for (name, wanted) in [
        ("7-bit", "=41QUJD"),
        ("8bits", "=41QUJD"),
        ("Quoted Printable;", "AQUJD"),
        ("BASE64", "ABC"),
    ] {
        let body = if wanted == "ABC" { "QUJD" } else { "=41QUJD" };
        let mail = format!("Content-Transfer-Encoding: {name}\n\n{body}");
        let decoded = read(mail.as_bytes()).0[0].decode();
        assert_eq!(decoded.bytes, wanted.as_bytes(), "{name}");
        assert_eq!(decoded.fault, None, "{name}");
    }
    let (parts, _) = read(b"Content-Transfer-Encoding: x-uuencode\n\nx");
    assert!(parts[0].decode().fault.is_some());
}

#[test]
fn a_part_whose_header_has_no_end_keeps_its_text() {
    let (parts, findings) = read(
        b"Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain\n\
          hello there\nTo: nobody\n\nbye\n--x--\n",
    );
    assert_eq!(*parts[1].body, *b"hello there\nTo: nobody\n\nbye");
    assert_eq!(findings[0].code, Code::NoEmptyLine);
}

#[test]
fn a_multipart_that_cannot_be_divided_is_text() {
    let (parts, _) = read(b"Content-Type: multipart/mixed; boundary=y\n\nhello\n");
    assert!(parts[0].is_text());
    assert_eq!(parts[0].text(&parts[0].body), "hello\n");
    let (parts, _) = read(b"Content-Type: multipart/mixed; boundary=y\n\n\x00\x01");
    assert!(!parts[0].is_text());
}

#[test]
fn a_multipart_of_wap_is_divided_as_text_and_in_its_binary_form() {
    let (parts, findings) = read(
        b"Content-Type: application/vnd.wap.multipart.related; boundary=x\n\n\
          --x\n\none\n--x\n\ntwo\n--x--\n",
    );
    assert_eq!(parts.len(), 3);
    assert!(findings.is_empty());
    let mail = b"Content-Type: application/vnd.wap.multipart.mixed\n\
          Content-Transfer-Encoding: base64\n\nAQEFg2hlbGxv\n";
    let (parts, findings) = read(mail);
    assert_eq!(
        types(&parts),
        ["application/vnd.wap.multipart.mixed", " text/plain"]
    );
    assert_eq!(*parts[1].body, *b"hello");
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn a_multipart_that_was_encoded_as_a_whole_is_divided() {
    // base64 of "--x\n\none\n--x--\n"
    let (parts, findings) = read(
        b"Content-Type: multipart/mixed; boundary=x\nContent-Transfer-Encoding: base64\n\n\
          LS14CgpvbmUKLS14LS0K\n",
    );
    assert_eq!(*parts[1].body, *b"one");
    assert!(findings.is_empty(), "{findings:?}");
    // Only the name of the encoding is wrong.
    let (parts, _) = read(
        b"Content-Type: multipart/mixed; boundary=x\n\
          Content-Transfer-Encoding: quoted-printable\n\n--x\n\na=41\n--x--\n",
    );
    assert_eq!(*parts[1].body, *b"a=41");
}

#[test]
fn a_uuencoded_file_in_a_plain_text_is_a_part() {
    let mail = b"Subject: x\n\nlook:\nbegin 644 a.gif\n#86)C\n`\nend\nbye\n\
          begin 644 b\nM86)C\n\nlast\n";
    let (parts, findings) = read(mail);
    assert_eq!(types(&parts), ["text/plain", "image/gif"]);
    assert!(findings.is_empty());
    assert_eq!(*parts[0].body, *b"look:\nbye\nbegin 644 b\nM86)C\n\nlast\n");
    assert_eq!(parts[1].name.as_deref(), Some("a.gif"));
    assert_eq!(parts[1].number, Some(2));
    let decoded = parts[1].decode();
    assert_eq!((&*decoded.bytes, decoded.fault), (&b"abc"[..], None));
    // A text that is nothing but a file, in a multipart.
    let (parts, _) = read(
        b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\nbegin 644 a\n#86)C\n`\nend\n--x--\n",
    );
    assert_eq!(
        types(&parts),
        ["multipart/mixed", " application/octet-stream"]
    );
    // Bytes that are encoded otherwise are data.
    let (parts, _) =
        read(b"Content-Transfer-Encoding: quoted-printable\n\nbegin 644 a\n#86)C\n`\nend\n");
    assert_eq!(types(&parts), ["text/plain"]);
    // No more parts than the limit; what is beyond stays text.
    let mail = format!("\n{}", "begin 644 a\n#86)C\n`\nend\n".repeat(2000));
    let (parts, _) = read(mail.as_bytes());
    assert_eq!(parts.len(), MAX_PARTS);
    assert!(parts[0].body.len() > 1000 * 20);
}

#[test]
fn text_is_read_in_its_charset() {
    let (parts, _) = read(b"Content-Type: text/plain; charset=windows-1255\n\n\xf9\xec\xe5\xed");
    assert_eq!(parts[0].text(&parts[0].body), "שלום");
    let (parts, _) = read(b"Content-Type: text/plain; charset=\"no \\\" such\"\n\nabc");
    assert_eq!(parts[0].text(&parts[0].body), "abc");
    let (parts, _) = read("Content-Type: text/plain\n\nשלום".as_bytes());
    assert_eq!(parts[0].text(&parts[0].body), "שלום");
}

#[test]
fn types_are_shortened_for_a_table() {
    let short = |content_type: &str| {
        let mail = format!("Content-Type: {content_type}\n\nx");
        read(mail.as_bytes()).0[0].short_type()
    };
    assert_eq!(short("application/smil"), "smil");
    assert_eq!(short("text/plain; charset=utf-8"), "text");
    assert_eq!(short("IMAGE/JPEG"), "jpeg");
    assert_eq!(short("text/x-vCard"), "vcard");
    assert_eq!(short("application/vnd.oma.drm.message"), "message");
    assert_eq!(short("nonsense"), "nonsense");
}
