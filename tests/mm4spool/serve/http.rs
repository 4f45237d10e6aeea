//! What goes over the connection: methods, targets, names of the server.

use super::*;

#[test]
fn another_method_is_not_allowed_with_a_body_too() {
    let place = Place::with_samples();
    let live = Live::start(&place, &[]);
    for method in ["POST", "PUT", "PATCH"] {
        let refused = live.raw(&format!(
            "{method} /api/messages HTTP/1.1\r\nHost: {}\r\nContent-Length: 3\r\n\r\nx=1",
            live.address
        ));
        assert_eq!(
            (refused.status, refused.field("allow")),
            (405, Some("GET, HEAD")),
            "{method}"
        );
    }
}

#[test]
fn requests_that_are_sent_at_once_are_answered_in_their_order() {
    let place = Place::with_samples();
    let live = Live::start(&place, &[]);
    let host = live.address;
    let three = live.raw(&format!(
        "GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\nHEAD /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n\
         GET /none HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive, close\r\n\r\n"
    ));
    assert_eq!(three.status, 200);
    let rest = three.text();
    assert_eq!(rest.matches("HTTP/1.1 200 OK").count(), 1, "{rest}");
    assert!(rest.starts_with("ok\n") && rest.contains("HTTP/1.1 404 "));
}

#[test]
fn a_target_may_be_a_whole_address_whose_name_counts() {
    let place = Place::with_samples();
    let live = Live::start(&place, &[]);
    let ask = |target: &str, host: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        live.raw(&request).status
    };
    let own = live.address.to_string();
    assert_eq!(ask(&format!("http://{own}/healthz"), &own), 200);
    assert_eq!(ask(&format!("HTTP://{own}/healthz"), "evil.example"), 200);
    assert_eq!(ask("http://evil.example/healthz", &own), 421);
    assert_eq!(ask("healthz", &own), 400);
}

#[test]
fn head_has_the_head_of_get_and_no_content_has_no_length() {
    let place = Place::with_samples();
    let live = Live::start(&place, &[]);
    let head = live.raw(&format!(
        "HEAD /api/events HTTP/1.1\r\nHost: {}\r\n\r\n",
        live.address
    ));
    assert_eq!(
        (head.status, head.field("content-type")),
        (200, Some("text/event-stream"))
    );
    let empty = live.get("/favicon.ico");
    assert_eq!((empty.status, empty.field("content-length")), (204, None));
}

#[test]
fn the_address_that_is_printed_can_be_opened() {
    let place = Place::with_samples();
    let live = Live::start(&place, &["--listen", "0.0.0.0:0"]);
    let port = live.address.port();
    for (host, status) in [
        (format!("0.0.0.0:{port}"), 200),
        (format!("localhost.:{port}"), 200),
        ("evil.example".to_owned(), 421),
    ] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(live.raw(&request).status, status, "{host}");
    }
}

#[test]
fn a_file_to_save_has_a_name_that_every_client_reads() {
    let place = Place::with_samples();
    let id = "20300125T221744.000001Z-7-000001@mm4.example.com";
    let mail = "Content-Type: application/pdf; name*=UTF-8''%22%0d%0aX:%20y%3B%20%E2%82%AC%20caf%C3%A9.pdf\r\n\r\nhello";
    place.publish(id, mail.as_bytes());
    let live = Live::start(&place, &[]);
    let field = |path: &str| {
        let answer = live.get(&format!("/api/messages/{id}/{path}"));
        assert_eq!((answer.status, answer.field("x")), (200, None));
        answer.field("content-disposition").unwrap().to_owned()
    };
    // RFC 6266 appendix D: the plain name first. RFC 8187 3.2.1: no @ and no colon.
    assert_eq!(
        field("raw"),
        format!(
            "attachment; filename=\"{id}.eml\"; filename*=UTF-8''{}.eml",
            id.replace('@', "%40")
        )
    );
    assert_eq!(
        field("parts/1"),
        "attachment; filename=\"X__y____caf_.pdf\"; filename*=UTF-8''X__y____caf%C3%A9.pdf"
    );
}
