use super::*;
use crate::inspect::message::tests::given;
use proptest::prelude::*;

const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";

fn page(mail: &[u8]) -> String {
    page_of(mail, &Embedding::of(0, "spool"))
}

fn page_of(mail: &[u8], embedding: &Embedding) -> String {
    let (entry, raw) = given(mail);
    let message = Message::read(&entry, &raw);
    let findings = check::findings(&message, &Profile::default());
    let context = Context {
        source: Source::Inline(embedding),
        findings: &findings,
        related: &[],
    };
    let row = Row::of(&message, findings.len()).markup(None).into_string();
    let mut page = row.into_bytes();
    let article = article(&message, &context, "m0").into_string();
    write_with_parts(&article, &message, &mut page).unwrap();
    readable(&String::from_utf8(page).unwrap())
}

/// The page with the characters that its decimal references stand for.
fn readable(page: &str) -> String {
    let mut pieces = page.split("&#");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| {
        let (number, rest) = piece.split_once(';').unwrap();
        text + &char::from_u32(number.parse().unwrap()).unwrap().to_string() + rest
    })
}

fn with_part(header: &str, body: &str) -> String {
    page(format!("{header}\r\n\r\n{body}\r\n").as_bytes())
}

#[test]
fn a_picture_is_inline_data() {
    let page = with_part(
        "Content-Type: image/png\r\nContent-Transfer-Encoding: base64",
        PNG,
    );
    assert!(
        page.contains(&format!("<img src=\"data:image/png;base64,{PNG}\"")),
        "{page}"
    );
    let page = with_part(
        "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64",
        PNG,
    );
    assert!(page.contains("<img src=\"data:image/png"), "{page}");
}

/// A mail with a picture of noise, and the picture in base64.
fn mail_with_noise() -> (String, String) {
    let mut state = 1_u32;
    let noise = image::RgbImage::from_fn(100, 100, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        image::Rgb([state.to_be_bytes()[0], state.to_be_bytes()[1], 0])
    });
    let mut png = std::io::Cursor::new(Vec::new());
    noise.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let png = png.into_inner();
    assert!(png.len() > embed::MAX_COPY);
    let png = STANDARD.encode(png);
    let header = "Content-Type: image/png; name=noise.png\r\nContent-Transfer-Encoding: base64";
    (format!("{header}\r\n\r\n{png}\r\n"), png)
}

#[test]
fn a_small_page_has_a_picture_as_it_is_and_a_big_one_its_bytes_once() {
    let (mail, png) = mail_with_noise();
    let link = format!("<a class=\"save\" href=\"data:application/octet-stream;base64,{png}\"");
    let page = page_of(mail.as_bytes(), &Embedding::of(0, "spool"));
    assert!(page.contains(&format!("<img src=\"data:image/png;base64,{png}\"")));
    assert!(page.contains(&link));
    let page = page_of(mail.as_bytes(), &Embedding::of(u64::MAX, "spool"));
    assert_eq!(page.matches(&png).count(), 1);
    assert!(page.contains(&link) && page.contains("<img src=\"data:image/jpeg;base64,"));
    assert!(page.contains("width=\"100\" height=\"100\""));
}

#[test]
fn a_message_of_many_pictures_decodes_few_of_them() {
    let (mail, _) = mail_with_noise();
    let parts = format!("--x\r\n{mail}").repeat(media::MAX_SMALLER + 2);
    let mail = format!("Content-Type: multipart/mixed; boundary=x\r\n\r\n{parts}--x--\r\n");
    let page = page_of(mail.as_bytes(), &Embedding::of(u64::MAX, "spool"));
    assert_eq!(page.matches("<img ").count(), media::MAX_SMALLER);
    assert_eq!(
        page.matches("<a class=\"save\"").count(),
        media::MAX_SMALLER + 2
    );
}

#[test]
fn a_full_page_says_which_command_saves_a_part() {
    let (mail, png) = mail_with_noise();
    let embedding = Embedding::of(0, "my spool");
    while embedding.take(embed::MAX_COPY + 1) {}
    let page = page_of(mail.as_bytes(), &embedding);
    assert!(!page.contains(&png) && page.contains("<img src=\"data:image/jpeg;base64,"));
    assert!(
        page.contains("mm4spool extract --part 1 'my spool' "),
        "{page}"
    );
}

#[test]
fn a_picture_that_is_to_be_turned_is_small_and_upright() {
    // Red at the left, green at the right; turned clockwise red is above.
    let picture = image::RgbImage::from_fn(400, 200, |x, _| match x < 200 {
        true => image::Rgb([250, 0, 0]),
        false => image::Rgb([0, 250, 0]),
    });
    let mut jpeg = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut jpeg, image::ImageFormat::Jpeg)
        .unwrap();
    let jpeg = jpeg.into_inner();
    // An Exif segment after the start of the image: orientation 6.
    let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let turned = [&jpeg[..2], exif, &jpeg[2..]].concat();
    assert_eq!(thumbnail::size(&jpeg), Some((400, 200)));
    assert_eq!(thumbnail::size(&turned), Some((200, 400)));
    let header = "Content-Type: image/jpeg\r\nContent-Transfer-Encoding: base64";
    let mail = format!("{header}\r\n\r\n{}\r\n", STANDARD.encode(&turned));
    let (entry, raw) = given(mail.as_bytes());
    let small = thumbnail(&Message::read(&entry, &raw)).unwrap();
    let small = image::load_from_memory(&small).unwrap().to_rgb8();
    let (above, below) = (small.get_pixel(44, 5), small.get_pixel(44, 82));
    assert!(above.0[0] > 200 && above.0[1] < 50, "{above:?}");
    assert!(below.0[1] > 200 && below.0[0] < 50, "{below:?}");
}

#[test]
fn what_is_active_is_never_more_than_text() {
    let svg = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
    for header in [
        "Content-Type: image/svg+xml; name=x.svg",
        "Content-Type: image/png; name=x.png",
        "Content-Type: text/html",
        "Content-Type: application/xhtml+xml",
        "Content-Type: \"><script>alert(1)</script>",
    ] {
        let page = with_part(header, svg);
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains("<svg"), "{page}");
        // What is saved has a type that no browser shows.
        let data = page.matches("data:").count();
        assert_eq!(
            page.matches("href=\"data:application/octet-stream;base64,")
                .count(),
            data,
            "{page}"
        );
    }
}

#[test]
fn slides_are_in_order_and_what_is_missing_is_said() {
    let mail = format!(
        "Content-Type: multipart/related; boundary=x\r\n\r\n--x\r\nContent-Type: application/smil\r\n\r\n\
         <par dur='3s'><text src='two.txt'/></par><par><img src='one.png'/><img src='no.png'/></par>\
         \r\n--x\r\nContent-Type: image/png; name=one.png\r\nContent-Transfer-Encoding: base64\r\n\r\n{PNG}\
         \r\n--x\r\nContent-Type: text/plain; name=two.txt\r\n\r\nsecond & first\r\n--x\r\n\
         Content-Type: audio/amr; name=voice.amr\r\n\r\nx\r\n--x--\r\n"
    );
    let page = page(mail.as_bytes());
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
    assert!(at("Slide 1 of 2") < at("<p class=\"text\" dir=\"auto\">second &amp; first"));
    assert!(at("<p class=\"text\" dir=\"auto\">second &amp; first") < at("Slide 2 of 2"));
    assert!(at("Slide 2 of 2") < at("<img src"));
    assert!(at("<img src") < at("no.png</bdi> names no part"));
    assert!(at("On no slide") < at("voice.amr"));
    assert!(at("smil-unresolved") > 0);
}

#[test]
fn marks_of_direction_and_joined_emoji_are_kept() {
    let text =
        "\u{200f}\u{5e9}\u{202e}a\u{202c} \u{1f468}\u{200d}\u{1f469} \u{1f3f4}\u{e0067}\u{e007f}";
    let page = page(format!("Subject: {text}\r\n\r\n{text}\x1b\r\n").as_bytes());
    assert_eq!(page.matches(text).count(), 5, "{page}");
    assert!(!page.contains('\x1b'));
    assert!(STYLE.contains("unicode-bidi: isolate"));
}

#[test]
fn html_is_shown_as_text_and_its_source_on_demand() {
    let page = with_part("Content-Type: text/html", "<p>one &amp; two</p>");
    assert!(
        page.contains("<p class=\"text\" dir=\"auto\">one &amp; two</p>"),
        "{page}"
    );
    assert!(
        page.contains("&lt;p&gt;one &amp;amp; two&lt;/p&gt;"),
        "{page}"
    );
}

#[test]
fn a_report_shows_its_status() {
    let page =
        page(b"X-Mms-Message-Type: MM4_delivery_report.REQ\r\nX-Mms-MM-Status-Code: Retrieved\r\n");
    assert!(
        page.contains("<p class=\"status good\"><b>Retrieved</b> the recipient has it</p>"),
        "{page}"
    );
}

#[test]
fn a_part_on_a_thousand_slides_is_put_in_once() {
    let slides = "<par><img src='one.png'/></par>".repeat(1000);
    let page = page(
        format!(
            "Content-Type: multipart/related; boundary=x\r\n\r\n--x\r\nContent-Type: application/smil\r\n\r\n\
             {slides}\r\n--x\r\nContent-Type: image/png; name=one.png\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n{PNG}\r\n--x--\r\n"
        )
        .as_bytes(),
    );
    assert_eq!(page.matches("<img src=\"data:image/png").count(), 1);
}

#[test]
fn the_policy_holds_the_digest_of_the_style_that_is_there() {
    let page = Page::default();
    let head = page.head("<spool>", Timestamp::UNIX_EPOCH, &Chips::default());
    let head = head.into_string();
    let (_, style) = head.split_once("<style>").unwrap();
    let (style, _) = style.split_once("</style>").unwrap();
    let digest = STANDARD.encode(Sha256::digest(style));
    assert!(head.contains(&format!("default-src 'none'; style-src 'sha256-{digest}'")));
    assert!(head.contains(">&lt;spool&gt;</h1>"));
    assert!(!style.contains('<') && !style.contains("url(h") && !style.contains("@import"));
    assert!(style.is_ascii());
}

#[test]
fn the_page_is_ascii_and_no_rule_looks_through_the_list() {
    let mut out = Vec::new();
    write_text("<p>\u{2192} &amp; \u{1f600}</p>", &mut out).unwrap();
    assert_eq!(out, b"<p>&#8594; &amp; &#128512;</p>");
    assert_eq!(readable("&#8594; &amp;"), "\u{2192} &amp;");
    let mut chips = Chips::default();
    for name in ["north", "south"] {
        let facts = Facts {
            kind: Kind::Message,
            account: chips.account(name),
            has_findings: name == "south",
        };
        chips.count(&facts);
    }
    let style = format!("{STYLE}{STILL_STYLE}{}", chips.style());
    assert!(style.is_ascii() && !style.contains(":has("), "{style}");
    assert!(
        chips
            .style()
            .contains("#f:checked~#a0:checked~.list .nothing{")
    );
    assert!(
        !chips
            .style()
            .contains("#f:checked~#a1:checked~.list .nothing{")
    );
}

#[test]
fn a_day_has_the_classes_of_its_messages_and_of_what_comes_together() {
    let facts = |kind, account, has_findings| Facts {
        kind,
        account,
        has_findings,
    };
    let of_day = [
        facts(Kind::Message, Some(0), false),
        facts(Kind::Report, Some(1), true),
        facts(Kind::Answer, None, false),
    ];
    assert_eq!(
        chips::class_of_day(of_day.iter()),
        "a0 a1 f fa1 k0 k0a0 k1 k2 k2a1"
    );
}

#[test]
fn a_contact_and_an_event_are_cards() {
    let page = with_part(
        "Content-Type: text/x-vcard; name=a.vcf",
        "BEGIN:VCARD\r\nFN:<b>Dana\r\nTEL;CELL:+15550000001\r\nEND:VCARD",
    );
    assert!(
        page.contains("<p class=\"title\" dir=\"auto\">&lt;b&gt;Dana</p>"),
        "{page}"
    );
    assert!(
        page.contains("<dt>Telephone</dt><dd dir=\"auto\">+15550000001</dd>"),
        "{page}"
    );
    assert!(page.contains("download=\"a.vcf\""), "{page}");
    let page = with_part(
        "Content-Type: text/calendar",
        "BEGIN:VEVENT\r\nSUMMARY:Dinner\r\nDTSTART:20261124T180000Z\r\nEND:VEVENT",
    );
    assert!(page.contains("2026-11-24 18:00 UTC"), "{page}");
}

#[test]
fn what_a_browser_does_not_show_is_saved_by_a_link() {
    for media_type in [
        "audio/amr",
        "application/pdf",
        "image/svg+xml",
        "video/3gpp2",
    ] {
        let page = with_part(
            &format!("Content-Type: {media_type}; name=\"../x<y\""),
            "abc",
        );
        let link = "<a class=\"save\" href=\"data:application/octet-stream;base64,YWJjDQo=\" download=\"x_y";
        assert!(page.contains(link), "{page}");
    }
}

proptest! {
    #[test]
    fn no_bytes_of_a_mail_become_markup(
        subject in any::<String>(),
        name in "[<>\"'&a-z/=! ]{0,40}",
        body in proptest::collection::vec(any::<u8>(), 0..200),
        media_type in "(text/html|image/svg\\+xml|<script>|application/smil|text/plain)",
    ) {
        let mut mail = format!(
            "Subject: {subject}\r\nContent-Type: {media_type}; name=\"{name}\"\r\nFrom: {name}\r\n\
             X-Mms-Message-Type: {name}\r\nX-Mms-Expiry: {name}\r\n\r\n<script>{name}"
        )
        .into_bytes();
        mail.extend_from_slice(&body);
        let page = page(&mail);
        // Every tag in the page is one that this module writes.
        for piece in page.split('<').skip(1) {
            let name: String = piece
                .trim_start_matches('/')
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            prop_assert!(
                ["article", "header", "p", "h3", "h4", "ol", "bdi", "a", "small", "img", "b", "h2", "span", "time", "div", "section", "ul", "li",
                 "details", "summary", "dl", "dt", "dd", "i", "footer"].contains(&name.as_str()),
                "{}", piece
            );
        }
    }
}
