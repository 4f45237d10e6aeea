//! `serve`: the page, and the parts that it shows and saves.

use super::*;

#[test]
fn parts_are_shown_only_where_nothing_in_them_is_active() {
    let place = Place::new();
    let id = "20220125T221744.000001Z-7-000001@mm4.example.com";
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
    let mail = format!(
        "Content-Type: multipart/mixed; boundary=x\r\n\r\n\
         --x\r\nContent-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: base64\r\n\r\n{png}\r\n\
         --x\r\nContent-Type: text/html; name=\"../b.html\"\r\n\r\n<script>1</script>\r\n\
         --x\r\nContent-Type: image/svg+xml; name=\"c\r\n d.svg\"\r\n\r\n<svg onload='1'/>\r\n\
         --x\r\nContent-Type: image/png; name=d.png\r\n\r\n<html>this is no picture, but long enough to be one\r\n\
         --x\r\nContent-Type: audio/amr; name=e.amr\r\n\r\n#!AMR\r\n--x--\r\n"
    );
    place.publish(id, mail.as_bytes());
    let live = Live::start(&place, &[]);
    for (number, how, media_type) in [
        (1, "inline", "image/png"),
        (2, "attachment", "application/octet-stream"),
        (3, "attachment", "application/octet-stream"),
        (4, "attachment", "application/octet-stream"),
        (5, "attachment", "application/octet-stream"),
    ] {
        let part = live.get(&format!("/api/messages/{id}/parts/{number}"));
        assert_eq!(part.field("content-type"), Some(media_type), "{number}");
        let disposition = part.field("content-disposition").unwrap();
        assert!(
            disposition.starts_with(&format!("{how}; filename=\"")),
            "{disposition}"
        );
        assert!(!disposition.contains('/'), "{disposition}");
        assert_eq!(part.field("x-content-type-options"), Some("nosniff"));
        let policy = part.field("content-security-policy").unwrap();
        assert!(
            policy.contains("sandbox") && policy.contains("default-src 'none'"),
            "{policy}"
        );
        let known = object_at(&place, id);
        assert_eq!(
            at(&known, &format!("/parts/{}/sha256", number - 1)),
            &sha256(&part.body)
        );
    }
    for path in [
        "parts/0",
        "parts/6",
        "parts/x",
        "parts/1/x",
        "../../etc/passwd",
    ] {
        assert_eq!(
            live.get(&format!("/api/messages/{id}/{path}")).status,
            404,
            "{path}"
        );
    }
    let raw = live.get(&format!("/api/messages/{id}/raw"));
    assert_eq!(raw.body, mail.as_bytes());
    assert_eq!(raw.field("content-type"), Some("message/rfc822"));
}

#[test]
fn a_range_of_a_part_or_of_the_file_is_answered() {
    let place = Place::with_samples();
    let live = Live::start(&place, &[]);
    let object = object_at(&place, "000002");
    let id = at(&object, "/id").as_str().unwrap().to_owned();
    for path in ["raw", "parts/1"] {
        let path = format!("/api/messages/{id}/{path}");
        let whole = live.get(&path);
        assert_eq!(whole.field("accept-ranges"), Some("bytes"), "{path}");
        let (all, length) = (whole.body.clone(), whole.body.len());
        for (range, from, to) in [
            ("0-0", 0, 1),
            ("5-9", 5, 10),
            ("7-", 7, length),
            ("-4", length - 4, length),
            ("1-99999999999999999999", 1, length),
        ] {
            let part = live.get_with(&path, &format!("Range: bytes={range}\r\n"));
            assert_eq!(part.status, 206, "{path} {range}");
            assert_eq!(part.body, all[from..to], "{path} {range}");
            let described = format!("bytes {from}-{}/{length}", to - 1);
            assert_eq!(part.field("content-range"), Some(described.as_str()));
            assert_eq!(part.field("content-type"), whole.field("content-type"));
            assert_eq!(part.field("x-content-type-options"), Some("nosniff"));
        }
        let none = live.get_with(&path, &format!("Range: bytes={length}-\r\n"));
        let described = format!("bytes */{length}");
        assert_eq!(none.status, 416, "{path}");
        assert_eq!(none.field("content-range"), Some(described.as_str()));
        for fields in [
            "Range: bytes=0-1,4-5\r\n",
            "Range: bytes=5-1\r\n",
            "Range: bytes=0-1\r\nIf-Range: \"x\"\r\n",
        ] {
            let whole = live.get_with(&path, fields);
            assert_eq!((whole.status, whole.body), (200, all.clone()), "{fields}");
        }
    }
}

#[test]
fn the_filters_of_the_page_count_what_they_select() {
    let place = Place::with_samples();
    let live = Live::start(&place, &[]);
    let page = || live.get("/").text();
    let count = |page: &str, name: &str| -> Option<usize> {
        let (_, rest) = page.split_once(&format!("<bdi>{name}</bdi> <small>"))?;
        rest.split('<').next()?.parse().ok()
    };
    let counted = wait_for("counts", || count(&page(), "All").is_some().then(page));
    assert_eq!(count(&counted, "All"), Some(11));
    for (name, address) in [
        ("All", "/"),
        ("Messages", "/?kind=messages"),
        ("Answers", "/?kind=answers"),
        ("Reports", "/?kind=reports"),
        ("With findings", "/?has=findings"),
        ("carrier", "/?account=carrier"),
    ] {
        let selected = live.get(address).text();
        let rows = selected.matches("<a class=\"row\"").count();
        assert_eq!(count(&counted, name), Some(rows), "{name}");
    }
    // A search has counts of its own that nobody knows.
    assert_eq!(count(&live.get("/?grep=lake").text(), "All"), None);
    // A transaction that comes twice is a finding here as it is for check.
    let id = "20300125T221744.000001Z-7-000001@mm4.example.com";
    let once = format!(
        "Return-Path: <>\r\nX-Envelope-To: <+15550000001/TYPE=PLMN@mms.example.com>\r\nX-MM4-System-ID: single\r\n\
         Received: from a ([192.0.2.1]) by mm4.example.com (mm4d) with ESMTPSA\r\n  \
         id {id}; Tue, 25 Jan 2022 22:17:44 +0000\r\nX-Mms-Transaction-ID: once\r\n\r\n"
    );
    place.publish(id, once.as_bytes());
    wait_for("the twelfth", || {
        (count(&page(), "All") == Some(12)).then_some(())
    });
    assert!(
        !live
            .get(&format!("/?id={id}"))
            .text()
            .contains("<b>duplicate</b>")
    );
    let again = id.replace("000001@", "000002@");
    place.publish(&again, once.as_bytes());
    wait_for("the thirteenth", || {
        (count(&page(), "All") == Some(13)).then_some(())
    });
    let with_findings = live.get("/?has=findings&account=single").text();
    assert_eq!(with_findings.matches("<a class=\"row\"").count(), 2);
    let opened = live.get(&format!("/?id={id}")).text();
    assert!(opened.contains("<b>duplicate</b>") && opened.contains(&again));
}

#[test]
fn the_live_page_has_no_script_but_its_own_and_escapes_the_mail() {
    let place = Place::with_samples();
    let script = "<script>alert(1)</script>";
    let mail = format!(
        "Subject: {script}\"'\r\nFrom: {script}\r\nContent-Type: text/html\r\n\r\n{script}<img src=x onerror=1>"
    );
    let id = "20220126T221744.000001Z-7-000001@mm4.example.com";
    place.publish(id, mail.as_bytes());
    let live = Live::start(&place, &[]);
    for path in [
        "/".to_owned(),
        format!("/?id={id}"),
        format!("/?grep={script}&account={script}"),
        format!("/?since={script}"),
    ] {
        let path = path.replace('<', "%3C").replace('>', "%3E");
        let page = live.get(&path);
        let policy = page.field("content-security-policy").unwrap();
        assert!(
            policy.contains("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"),
            "{policy}"
        );
        let text = page.text();
        assert_eq!(text.matches("<script").count(), 1, "{path}: {text}");
        assert!(text.contains("<script src=\"/script.js\" defer></script>"));
        for unwanted in [
            "<img src=\"x\"",
            "<img src=x",
            " onerror=1>",
            " style=",
            "javascript:",
        ] {
            assert!(!text.contains(unwanted), "{path}: {unwanted}");
        }
    }
    assert!(
        live.get(&format!("/?id={id}"))
            .text()
            .contains("&lt;script&gt;alert(1)&lt;/script&gt;")
    );
    assert_eq!(live.get("/?since=yesterday").status, 400);
}
