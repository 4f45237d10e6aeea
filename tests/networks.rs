//! Accounts by network: logins only from there, clients that are logged in by
//! their address, and the maximum of connections of an account.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::fs;

use support::{ACCOUNTS, Builder, Client, Server, plain_response, wait_for};

/// A server with these accounts.
fn server(accounts: &str, options: &[&str]) -> Server {
    let builder = Builder::new().options(options.iter().copied());
    fs::write(builder.path().join("accounts"), accounts).unwrap();
    builder.start()
}

/// The line of peer1 in the tests' accounts.
fn peer1() -> &'static str {
    let line = |line: &&str| line.starts_with("peer1:");
    ACCOUNTS.lines().find(line).unwrap()
}

#[test]
fn a_client_from_a_network_is_logged_in_from_the_start_and_without_a_deadline() {
    let server = server(
        "local::127.0.0.0/8\nother::127.0.0.2/32\n",
        &["--login-timeout", "1"],
    );
    for tls in [false, true] {
        let mut client = Client::greeted(&server, tls);
        std::thread::sleep(std::time::Duration::from_millis(1500));
        client.command("MAIL FROM:<>", 503);
        client.command("HELO client.example", 250);
        let id = client.deliver(b"x\r\n");
        let mail = String::from_utf8(server.mail(&id)).unwrap();
        assert!(mail.contains("\r\nX-MM4-System-ID: local\r\n"), "{mail}");
    }
    let mut client = Client::plain_from("127.0.0.2", server.plain);
    client.expect(220);
    client.command("HELO client.example", 250);
    let id = client.deliver(b"x\r\n");
    let mail = String::from_utf8(server.mail(&id)).unwrap();
    assert!(mail.contains("\r\nX-MM4-System-ID: other\r\n"), "{mail}");
}

#[test]
fn an_explicit_login_replaces_the_account_of_the_network() {
    let server = server(&format!("local::127.0.0.0/8\n{}\n", peer1()), &[]);
    let mut client = Client::greeted(&server, false);
    let reply = client.command("EHLO client.example", 250);
    assert!(reply.ends_with("250 AUTH PLAIN LOGIN"), "{reply}");
    let login = format!("AUTH PLAIN {}", plain_response());
    client.command("MAIL FROM:<>", 250);
    client.send(format!("{login}\r\n").as_bytes());
    client.expect_exactly("503 ERROR: AUTH is not allowed in a transaction");
    client.command("RSET", 250);
    // A refused login leaves the account as it was.
    client.command("AUTH PLAIN AHBlZXIxAHdyb25n", 535);
    let local = client.deliver(b"x\r\n");
    client.command(&login, 235);
    client.command(&login, 503);
    let peer1 = client.deliver(b"x\r\n");
    for (id, account) in [(local, "local"), (peer1, "peer1")] {
        let mail = String::from_utf8(server.mail(&id)).unwrap();
        assert!(mail.contains(&format!("X-MM4-System-ID: {account}\r\n")));
    }
    // Nobody logs in by AUTH to an account without a hash: \0local\0x
    let mut client = Client::greeted(&server, false);
    client.command("EHLO client.example", 250);
    client.command("AUTH PLAIN AGxvY2FsAHg=", 535);
}

#[test]
fn a_login_from_outside_the_networks_of_its_account_is_refused_and_logged() {
    let server = server(&format!("{}:127.0.0.2/31\n", peer1()), &[]);
    let login = format!("AUTH PLAIN {}", plain_response());
    for (address, code) in [("127.0.0.3", 235), ("127.0.0.1", 535), ("127.0.0.2", 235)] {
        let mut client = Client::plain_from(address, server.plain);
        client.expect(220);
        client.command("EHLO client.example", 250);
        client.command(&login, code);
    }
    server.wait_for_log("reason=\"the account is not used from this address\"");
}

#[test]
fn one_connection_more_than_the_maximum_of_an_account_is_refused() {
    let accounts = format!("local::127.0.0.2/32:max=1\n{}::max=2\n", peer1());
    let server = server(&accounts, &[]);
    let first = Client::logged_in(&server, false);
    let _second = Client::logged_in(&server, true);
    let login = |server: &Server| {
        let mut client = Client::greeted(server, false);
        client.command("EHLO client.example", 250);
        client.send(format!("AUTH PLAIN {}\r\n", plain_response()).as_bytes());
        client
    };
    let mut third = login(&server);
    third.expect_exactly("421 ERROR: too many connections");
    third.expect_close();
    let by_network = Client::plain_from("127.0.0.2", server.plain);
    let mut held = by_network;
    held.expect(220);
    let mut refused = Client::plain_from("127.0.0.2", server.plain);
    refused.expect_exactly("421 ERROR: too many connections");
    refused.expect_close();
    drop(first);
    wait_for("a slot of the account", || {
        login(&server).reply().starts_with("235 ").then_some(())
    });
}

#[test]
fn networks_are_read_again_by_a_reload() {
    let server = server(&format!("{}\n", peer1()), &[]);
    let accounts = server.dir.path().join("accounts");
    fs::write(&accounts, "local::127.0.0.1/24\n").unwrap();
    server.signal("HUP");
    server.wait_for_log("reload failed");
    fs::write(&accounts, "local::127.0.0.0/24\n").unwrap();
    server.signal("HUP");
    server.wait_for_log("reloaded accounts");
    let mut client = Client::greeted(&server, false);
    client.command("HELO client.example", 250);
    client.deliver(b"x\r\n");
}

#[test]
fn a_reload_keeps_sessions_and_counts_them_for_the_new_maximum() {
    let server = server("local::127.0.0.0/8:max=3\nother::127.0.0.9/32\n", &[]);
    let mut clients: Vec<_> = (0..3).map(|_| Client::greeted(&server, false)).collect();
    let reload = |accounts: &str, times: usize| {
        fs::write(server.dir.path().join("accounts"), accounts).unwrap();
        server.signal("HUP");
        wait_for("the reload", || {
            (server.log().matches("reloaded accounts").count() == times).then_some(())
        });
    };
    let refused = || {
        let mut client = Client::plain(server.plain);
        client.expect_exactly("421 ERROR: too many connections");
        client.expect_close();
    };
    refused();
    // Fewer than there are: none is closed, and none is added.
    reload("local::127.0.0.0/8:max=2\n", 1);
    refused();
    drop(clients.pop());
    refused();
    // The account was removed: its sessions stay what they are.
    reload("other::127.0.0.0/8\n", 2);
    let mut other = Client::greeted(&server, false);
    for (client, account) in [(&mut clients[0], "local"), (&mut other, "other")] {
        client.command("HELO client.example", 250);
        let id = client.deliver(b"x\r\n");
        let mail = String::from_utf8(server.mail(&id)).unwrap();
        assert!(
            mail.contains(&format!("X-MM4-System-ID: {account}\r\n")),
            "{mail}"
        );
    }
    // It is back, and so is what counts for it.
    reload("local::127.0.0.0/8:max=3\n", 3);
    let third = Client::greeted(&server, true);
    refused();
    drop((clients, third));
    wait_for("slots of the account", || {
        let reply = Client::plain(server.plain).reply();
        reply.starts_with("220 ").then_some(())
    });
}

#[test]
fn networks_of_prefix_0_take_everyone_of_their_family() {
    let accounts = format!("four::0.0.0.0/0\nsix::::/0\n{}:192.0.2.0/24\n", peer1());
    let server = server(&accounts, &["--proxy-from", "127.0.0.1/32"]);
    for (header, account) in [
        ("TCP4 203.0.113.1 198.51.100.1", "four"),
        ("TCP6 2001:db8::1 2001:db8::2", "six"),
        // An IPv4 client, however its address is written.
        ("TCP6 ::ffff:203.0.113.1 ::1", "four"),
        ("TCP4 0.0.0.0 255.255.255.255", "four"),
    ] {
        let mut client = Client::plain(server.plain);
        client.send(format!("PROXY {header} 0 65535\r\n").as_bytes());
        client.expect(220);
        client.command("EHLO client.example", 250);
        // The account of the network stays when a login is refused.
        client.command(&format!("AUTH PLAIN {}", plain_response()), 535);
        let id = client.deliver(b"x\r\n");
        let mail = String::from_utf8(server.mail(&id)).unwrap();
        assert!(
            mail.contains(&format!("X-MM4-System-ID: {account}\r\n")),
            "{mail}"
        );
    }
}
