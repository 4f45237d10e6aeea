//! Errors that keep the server from starting: one line that says what failed, why,
//! and what to do about it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{ACCOUNTS, Builder, Client, guard, make_certificate, wait_for};

/// `openssl x509 -req` without extensions.
const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBIzCBywIUMBfYkRCwnicfpny86AlBIf18/dYwCgYIKoZIzj0EAwIwFDESMBAG
A1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNTAwMzE0NloYDzIxMjYxMTAxMDAzMTQ2
WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AARehx94Bb6b5y6gcum79UikOj9YiQr04I5rUXEOIJvP0x1CE4RiglHorz0b7DCA
EpcXUZlGG2NboFcy2vzVLnwXMAoGCCqGSM49BAMCA0cAMEQCIG0Kp3C0mdhM2rap
wi5Fki0O2hnyCWy7vMjQqjjLO/0fAiBnxMEu1cu3yqtBNW4K3NUhMkjVbgQARM4q
kPkLzAiMeg==
-----END CERTIFICATE-----
";

/// A key on secp256k1, which TLS does not have.
const OTHER_CURVE: &str = "\
-----BEGIN PRIVATE KEY-----
MIGEAgEAMBAGByqGSM49AgEGBSuBBAAKBG0wawIBAQQgU3hPXJaHeFciy0RJ/JdA
kDXHSMD3RoTynrNYUWf6EuKhRANCAATQF8e2qMzh3xIb/VEVlDOVd0kS33Gv6SXV
0q+mkGMc+sbXdrTR9Q9Ix9YBHNJOWmUDXjwQqpj9aD1gIv4PVgKB
-----END PRIVATE KEY-----
";

/// The same certificate as [`VERSION_1`] of version 2 (RFC 5280 4.1.2.1).
fn version_2() -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let lines = VERSION_1.lines().filter(|line| !line.starts_with('-'));
    let mut der = STANDARD.decode(lines.collect::<String>()).unwrap();
    // The lengths of Certificate and TBSCertificate, and the version before the rest.
    der[3] += 5;
    der[6] += 5;
    der.splice(7..7, [0xa0, 3, 2, 1, 1]);
    certificate_of(&STANDARD.encode(der))
}

fn certificate_of(lines: &str) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}

/// A directory that anybody may enter, in which the defaults work.
fn prepared() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(dir.path().join("certs")).unwrap();
    make_certificate(&dir.path().join("certs"));
    fs::write(dir.path().join("accounts"), ACCOUNTS).unwrap();
    dir
}

/// Runs it until it ends: exit status and standard error.
fn run(dir: &Path, program: &[&str], arguments: &[&str]) -> (i32, String) {
    let (first, rest) = program.split_first().unwrap();
    let mut command = Command::new(first);
    command
        .args(rest)
        .args(arguments)
        .current_dir(dir)
        .env("RUST_LOG", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = guard::spawn(&mut command).unwrap();
    let status = wait_for("its end", || child.try_wait().unwrap());
    guard::release(child.id());
    let output = child.wait_with_output().unwrap();
    (
        status.code().unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// What it says when it does not start, without `mm4d: `.
fn error(dir: &Path, arguments: &[&str], status: i32) -> String {
    let free = ["-l", "127.0.0.1:0", "-t", "127.0.0.1:0", "-n", "here"];
    let arguments = match arguments
        .iter()
        .any(|argument| ["-l", "-t", "-n"].contains(argument))
    {
        true => arguments.to_vec(),
        false => [arguments, &free].concat(),
    };
    let (code, text) = run(dir, &[env!("CARGO_BIN_EXE_mm4d")], &arguments);
    assert_eq!(code, status, "{arguments:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{arguments:?}: {text}");
    text.trim_end().strip_prefix("mm4d: ").unwrap().to_owned()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn an_invalid_command_line_names_what_is_expected() {
    let dir = prepared();
    for (arguments, expected) in [
        (
            &["start"][..],
            "unexpected argument 'start'; see mm4d --help",
        ),
        (
            &["-n", "-a"],
            "invalid --hostname '-a': expected 1 to 190 letters, digits, '-', '.' and '_', not beginning with '-' and not dots alone; see mm4d --help",
        ),
        (
            &["-n", ".."],
            "invalid --hostname '..': expected 1 to 190 letters, digits, '-', '.' and '_', not beginning with '-' and not dots alone; see mm4d --help",
        ),
        (
            &["--listen", "2525"],
            "invalid --listen '2525': expected ADDR:PORT, with an IPv6 address in brackets; see mm4d --help",
        ),
        (
            &["--proxy-from", "10.0.0.1/8"],
            "invalid --proxy-from '10.0.0.1/8': the network has host bits set; the bits after the prefix must be 0; see mm4d --help",
        ),
        (
            &["--add-account", "a", "--networks", "office"],
            "invalid --networks 'office': not a network; write it as 192.0.2.0/24, 2001:db8::/32 or 192.0.2.1/32; see mm4d --help",
        ),
    ] {
        assert_eq!(error(dir.path(), arguments, 2), expected);
    }
}

/// With the file replaced by a text, or removed, the error has each of these parts.
fn expect_each(cases: &[(&str, Option<&str>, &[&str])]) {
    for (file, text, expected) in cases {
        let dir = prepared();
        let path = dir.path().join(file);
        match text {
            Some(text) => fs::write(path, text).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        let said = error(dir.path(), &[], 1);
        for expected in *expected {
            assert!(said.contains(expected), "{expected} in {said}");
        }
        // The scripts exist in the source tree alone.
        assert!(!said.contains("scripts/"), "{said}");
    }
}

#[test]
fn accounts_and_spools_that_do_not_work_are_named_with_line_and_remedy() {
    expect_each(&[
        (
            "accounts",
            None,
            &[
                "cannot read the accounts file accounts: No such file",
                "make it with `mm4d --add-account ID --accounts accounts`",
            ],
        ),
        (
            "accounts",
            Some("# nobody\n"),
            &["the accounts file accounts holds no account; add one with `mm4d --add-account"],
        ),
        (
            "accounts",
            Some("\npeer1:secret\n"),
            &["the accounts file accounts, line 2: ", "openssl passwd -6"],
        ),
        (
            "spool",
            Some("a file"),
            &[
                "the spool spool does not work: cannot create it: it is not a directory",
                "give another --spool",
            ],
        ),
    ]);
}

#[test]
fn a_byte_order_mark_before_a_file_is_no_part_of_it() {
    let dir = prepared();
    let mark = |name: &str, text: &[u8]| {
        fs::write(dir.path().join(name), [b"\xef\xbb\xbf", text].concat()).unwrap();
    };
    mark("accounts", ACCOUNTS.as_bytes());
    mark("mm4d.conf", b"timeout 30\n");
    for name in ["certs/server.pem", "certs/server.key"] {
        mark(name, &fs::read(dir.path().join(name)).unwrap());
    }
    let arguments = ["--check", "--config", "mm4d.conf", "-n", "here"];
    let result = run(dir.path(), &[env!("CARGO_BIN_EXE_mm4d")], &arguments);
    assert_eq!(result, (0, String::new()));
}

#[test]
fn certificates_and_keys_that_do_not_work_are_named_with_line_and_remedy() {
    let other_key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    expect_each(&[
        (
            "certs/server.pem",
            None,
            &[
                "cannot read the certificate certs/server.pem: No such file",
                "give a PEM file with --cert, or only --listen, which needs no certificate",
            ],
        ),
        (
            "certs/server.key",
            None,
            &[
                "cannot read the private key certs/server.key: No such file",
                "give a PEM file with --key, or only --listen, which needs no certificate",
            ],
        ),
        (
            "certs/server.key",
            Some(&other_key),
            &[
                "the private key certs/server.key does not belong to the certificate \
                 certs/server.pem; give the two that were made together",
            ],
        ),
        (
            "certs/server.pem",
            Some(VERSION_1),
            &[
                "cannot use the certificate certs/server.pem: it is X.509 version 1, and TLS \
                 needs version 3 with a subjectAltName; give another with --cert",
            ],
        ),
        (
            "certs/server.pem",
            Some(&certificate_of("AAAA\nA?AA")),
            &[
                "cannot use the certificate certs/server.pem, line 3: ",
                "base64",
                "give a PEM file with --cert",
            ],
        ),
        (
            "certs/server.pem",
            Some(&certificate_of("AAAA")),
            &[
                "cannot use the certificate certs/server.pem: ",
                "give another with --cert",
            ],
        ),
    ]);
}

#[test]
fn a_certificate_or_key_that_tls_does_not_take_is_named_with_the_reason() {
    expect_each(&[
        (
            "certs/server.pem",
            Some(&version_2()),
            &["cannot use the certificate certs/server.pem: it is X.509 version 2, and TLS"],
        ),
        (
            "certs/server.key",
            Some(OTHER_CURVE),
            &[
                "cannot use the private key certs/server.key: TLS needs RSA with 2048 to 4096 \
                 bits, ECDSA with P-256 or P-384, or Ed25519; give another with --key",
            ],
        ),
    ]);
}

/// The operator has never seen a path below /run/credentials.
#[test]
fn an_error_about_a_copy_of_systemd_says_where_the_file_comes_from() {
    let dir = prepared();
    let certs = dir.path().join("certs");
    fs::write(certs.join("server.pem"), "missing").unwrap();
    let credentials = format!("CREDENTIALS_DIRECTORY={}", certs.display());
    let cert = certs.join("server.pem");
    let cert = cert.to_str().unwrap();
    for check in [&[][..], &["--check"]] {
        let program = [
            "env",
            &credentials,
            env!("CARGO_BIN_EXE_mm4d"),
            "-n",
            "here",
        ];
        let arguments = [&["-t", "127.0.0.1:0", "--cert", cert][..], check].concat();
        let (code, text) = run(dir.path(), &program, &arguments);
        assert_eq!(code, 1, "{text}");
        let expected = format!(
            "mm4d: cannot use the certificate {cert}: there is no certificate in it; give a PEM \
             file with --cert; {} has systemd's copies of the files that LoadCredential= names \
             (systemctl cat)\n",
            certs.display()
        );
        assert_eq!(text, expected);
        let (_, text) = run(dir.path(), &program, &["-a", "/nonexistent"]);
        assert!(!text.contains("systemd"), "{text}");
    }
}

/// Root reads everything, but not as another user.
#[test]
fn a_file_that_may_not_be_used_is_named_with_its_owner_and_mode() {
    let user: &[&str] = if is_root() {
        &["--user", "nobody"]
    } else {
        &[]
    };
    let suffix = if is_root() {
        "; mm4d opens files as --user nobody"
    } else {
        ""
    };
    for (name, mode, letters, what) in [
        (
            "accounts",
            0o000,
            "r",
            "cannot read the accounts file accounts: Permission denied",
        ),
        (
            "certs/server.pem",
            0o000,
            "r",
            "cannot read the certificate certs/server.pem: Permission denied",
        ),
        (
            "certs/server.key",
            0o000,
            "r",
            "cannot read the private key certs/server.key: Permission denied",
        ),
        ("spool", 0o550, "wx", "the spool spool does not work: "),
    ] {
        let dir = prepared();
        fs::create_dir(dir.path().join("spool")).unwrap();
        let path = dir.path().join(name);
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let text = error(dir.path(), user, 1);
        fs::set_permissions(&path, Permissions::from_mode(0o750)).unwrap();
        let command = format!(" && chmod g+{letters} {name}");
        let owner = format!("{name} belongs to user ");
        for expected in [
            what,
            &owner,
            &format!("with mode {mode:04o}"),
            "chgrp ",
            &command,
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        assert!(text.ends_with(suffix), "{text}");
    }
}

#[test]
fn a_spool_that_cannot_be_made_in_the_current_directory_is_reported_with_what_to_do() {
    let dir = prepared();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o555)).unwrap();
    let user: &[&str] = if is_root() {
        &["--user", "nobody"]
    } else {
        &[]
    };
    let text = error(dir.path(), user, 1);
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    assert!(
        text.starts_with(
            "the spool spool does not work: cannot create it: Permission denied (os error 13); \
             . belongs to user "
        ),
        "{text}"
    );
    assert!(
        text.contains(" && chmod g+wx ., or give another --spool"),
        "{text}"
    );
}

#[test]
fn a_port_that_cannot_be_bound_is_reported_with_what_to_do() {
    let dir = prepared();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let text = error(dir.path(), &["-l", &taken], 1);
    assert!(text.starts_with(&format!(
        "cannot listen on --listen {taken}: Address already in use"
    )));
    assert!(
        text.ends_with("; stop the program that uses it, or give another"),
        "{text}"
    );

    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if first.is_ok_and(|first| first.trim() != "1024") {
        eprintln!("SKIPPED a_port_that_cannot_be_had: anybody may bind ports below 1024 here");
        return;
    }
    let mut program = vec![env!("CARGO_BIN_EXE_mm4d")];
    if is_root() {
        program.splice(0..0, ["setpriv", "--bounding-set", "-net_bind_service"]);
    }
    let (code, text) = run(dir.path(), &program, &["-t", "127.0.0.1:465"]);
    assert_eq!(code, 1, "{text}");
    let expected = "mm4d: cannot listen on --tls-listen 127.0.0.1:465: Permission denied (os error 13); \
        a port below 1024 needs the capability CAP_NET_BIND_SERVICE, or a start as root with --user NAME\n";
    assert_eq!(text, expected);
}

#[test]
fn low_space_is_logged_with_the_spool_and_its_limit() {
    let min_free = "9000000000000000000";
    let server = Builder::new().options(["--min-free", min_free]).start();
    let mut client = Client::logged_in(&server, false);
    client.command("MAIL FROM:<>", 452);
    let spool = server.spool.to_str().unwrap();
    server.wait_for_log(&format!(
        "spool low on space, messages are refused: free some, or lower --min-free spool=\"{spool}\" min_free={min_free} free="
    ));
}

#[test]
fn check_reads_files_as_the_user_of_the_server() {
    let dir = prepared();
    let check = |user: &str| {
        run(
            dir.path(),
            &[env!("CARGO_BIN_EXE_mm4d")],
            &["--check", "-l", "127.0.0.1:0", "-n", "here", "--user", user],
        )
    };
    let (code, text) = check("no-such-user");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("cannot run as --user no-such-user: there is no such user; make it (useradd --system no-such-user) or give another"), "{text}");
    if !is_root() {
        eprintln!("SKIPPED check_reads_files_as_the_user: only root can become another user");
        return;
    }
    fs::create_dir(dir.path().join("spool")).unwrap();
    for folder in ["", "tmp", "new", "cur"] {
        let path = dir.path().join("spool").join(folder);
        let _ = fs::create_dir(&path);
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
    }
    assert_eq!(check("nobody"), (0, String::new()));
    fs::set_permissions(dir.path().join("accounts"), Permissions::from_mode(0o600)).unwrap();
    let (code, text) = check("nobody");
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("cannot read the accounts file accounts: Permission denied"),
        "{text}"
    );
    assert!(text.contains("chgrp "), "{text}");
}
