//! What confines a running server: Landlock, the filter on system calls, and
//! the user of `--user`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use mm4d::server::sandbox::{Confinement, Needs, confine};

use support::{Builder, Client, Server, make_certificate};

/// The user whom the tests run as, if they run as root.
const USER: &str = "nobody";

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("not root: nothing to switch from");
    }
    root
}

/// The value of a field in each thread's status.
fn status(server: &Server, field: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let value = |task: PathBuf| {
        // A client's thread may have ended by now.
        let text = fs::read_to_string(task.join("status")).ok()?;
        let line = text.lines().find(|line| line.starts_with(field))?;
        let (_, value) = line.split_once(':').unwrap();
        Some(value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    tasks
        .filter_map(|task| value(task.unwrap().path()))
        .collect()
}

/// Runs `check` in a thread that is confined as the server is.
fn confined(needs: &Needs<'_>, check: impl FnOnce(&Confinement) + Send) {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let confinement = confine(needs);
            check(&confinement);
        });
        thread.join().unwrap();
    });
}

fn is_denied(path: &Path) -> bool {
    match File::open(path) {
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => true,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// A directory with a spool and some other files.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["etc", "data/spool/tmp", "data/spool/new", "releases/1"] {
        fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    for name in [
        "data/secret",
        "data/accounts",
        "releases/secret",
        "releases/1/accounts",
    ] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    dir
}

#[test]
fn every_thread_is_confined_unless_no_sandbox_is_given() {
    let server = Server::start();
    let mut client = Client::logged_in(&server, true);
    client.deliver(b"x\r\n");
    let seccomp = status(&server, "Seccomp:");
    assert!(seccomp.len() >= 5, "{seccomp:?}");
    assert!(seccomp.iter().all(|mode| mode == "2"), "{seccomp:?}");
    let no_new = status(&server, "NoNewPrivs:");
    assert!(no_new.iter().all(|value| value == "1"), "{no_new:?}");
    server.wait_for_log("sandbox of system calls");

    let server = Builder::new().options(["--no-sandbox"]).start();
    assert!(status(&server, "Seccomp:").iter().all(|mode| mode == "0"));
    assert!(!server.log().contains("sandbox"));
}

#[test]
fn a_confined_thread_opens_no_socket_and_starts_no_program() {
    let dir = directory();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let needs = Needs {
        spool: &dir.path().join("data/spool"),
        configuration: &[],
        metrics: None,
    };
    confined(&needs, |confinement| {
        assert!(confinement.calls.is_ok(), "{confinement:?}");
        assert!(TcpStream::connect(address).is_err());
        assert!(TcpListener::bind("127.0.0.1:0").is_err());
        assert!(UdpSocket::bind("127.0.0.1:0").is_err());
        assert!(UnixStream::pair().is_err());
        assert!(Command::new("/bin/true").status().is_err());
        let pid = rustix::process::getpid();
        assert!(rustix::process::test_kill_process(pid).is_err());
        assert!(rustix::process::chdir("/").is_err());
        // A thread can start, and what it has inherited holds for it.
        let started = thread::spawn(move || TcpStream::connect(address).is_err());
        assert!(started.join().unwrap());
    });
}

#[test]
fn links_open_up_their_targets_but_neither_the_root_nor_what_holds_the_spool() {
    let dir = directory();
    let path = |name: &str| dir.path().join(name);
    // Its target's parent is the root directory.
    symlink("/tmp", path("etc/tmp")).unwrap();
    let through_root = path("etc/tmp").join("mm4d-there-is-no-such-directory/accounts");
    // The target is a directory: its parent was opened up.
    symlink("releases/1", path("current")).unwrap();
    // The target's directory holds the spool.
    symlink("../data/accounts", path("etc/accounts")).unwrap();
    let needs = Needs {
        spool: &path("data/spool"),
        configuration: &[
            &through_root,
            &path("current/accounts"),
            &path("etc/accounts"),
        ],
        metrics: None,
    };
    confined(&needs, |confinement| {
        assert!(confinement.files.is_ok(), "{confinement:?}");
        assert!(is_denied(Path::new("/etc/passwd")));
        assert!(is_denied(&path("releases/secret")));
        assert!(is_denied(&path("data/secret")));
        assert!(!is_denied(&path("current/accounts")));
        assert!(!is_denied(&path("etc/accounts")));
        fs::write(path("data/spool/tmp/1"), "x").unwrap();
        fs::rename(path("data/spool/tmp/1"), path("data/spool/new/1")).unwrap();
        assert!(fs::write(path("data/other"), "x").is_err());
        assert!(fs::write(path("etc/other"), "x").is_err());
    });
}

#[test]
fn a_file_in_the_root_directory_opens_up_itself_alone() {
    let dir = directory();
    let needs = Needs {
        spool: &dir.path().join("data/spool"),
        configuration: &[Path::new("/mm4d-there-is-no-such-file")],
        metrics: Some(Path::new("/mm4d-there-is-no-such-file.prom")),
    };
    confined(&needs, |confinement| {
        let files = confinement.files.as_ref().unwrap();
        assert!(files.readable.is_empty(), "{files:?}");
        assert_eq!(files.writable.len(), 1, "{files:?}");
        assert!(is_denied(Path::new("/etc/passwd")));
    });
}

#[test]
fn a_renewed_certificate_is_read_where_a_chain_of_links_leads() {
    let builder = Builder::new();
    // As certbot does it, and not in the directory of the accounts, which is readable.
    let certbot = tempfile::tempdir().unwrap();
    let live = certbot.path().join("live/x");
    let archive = certbot.path().join("archive/x");
    fs::create_dir_all(&live).unwrap();
    fs::create_dir_all(&archive).unwrap();
    let renew = |count: usize| {
        let new = tempfile::tempdir().unwrap();
        let ca = make_certificate(new.path());
        for (name, link) in [("server.pem", "fullchain"), ("server.key", "privkey")] {
            let file = format!("{link}{count}.pem");
            fs::copy(new.path().join(name), archive.join(&file)).unwrap();
            let link = live.join(format!("{link}.pem"));
            let _ = fs::remove_file(&link);
            symlink(format!("../../archive/x/{file}"), link).unwrap();
        }
        ca
    };
    renew(1);
    let (cert, key) = (live.join("fullchain.pem"), live.join("privkey.pem"));
    let mut server = builder.pem(&cert, &key).start();
    let ca = renew(2);
    server.signal("HUP");
    server.wait_for_log("reloaded certificate and key");
    Client::tls(server.tls, &ca).expect(220);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_server_that_root_has_started_serves_as_the_given_user() {
    if !is_root() {
        return;
    }
    let (uid, gid) = ids();
    for sandbox in [&[][..], &["--no-sandbox"]] {
        let builder = Builder::new();
        let dir = builder.path().to_owned();
        chown(&dir, Some(uid), Some(gid)).unwrap();
        let metrics = dir.join("mm4d.prom");
        let options = ["--user", USER, "--metrics-file", metrics.to_str().unwrap()];
        let builder = builder.options(options).options(sandbox.iter().copied());
        let mut server = builder.owner(uid).start();
        let ids = |id: u32| format!("{id} {id} {id} {id}");
        let every = |field: &str, expected: &str| {
            let found = status(&server, field);
            assert!(
                found.iter().all(|value| value == expected),
                "{field} {found:?}"
            );
        };
        let id = Client::logged_in(&server, true).deliver(b"x\r\n");
        every("Uid:", &ids(uid));
        every("Gid:", &ids(gid));
        every("Groups:", &gid.to_string());
        every("CapEff:", "0000000000000000");
        every("CapPrm:", "0000000000000000");
        every("NoNewPrivs:", "1");
        let mail = server.spool.join("new").join(format!("{id}.eml"));
        assert_eq!(fs::metadata(mail).unwrap().uid(), uid);
        assert_eq!(fs::metadata(metrics).unwrap().uid(), uid);
        assert!(!server.log().contains("running as root"));
        server.signal("HUP");
        server.wait_for_log("reloaded certificate and key");
        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0));
    }
}

#[test]
fn what_the_given_user_may_not_use_is_reported_at_the_start() {
    if !is_root() {
        return;
    }
    let (uid, gid) = ids();
    // The spool belongs to the user, but not the way to it.
    let outer = tempfile::tempdir().unwrap();
    fs::set_permissions(outer.path(), Permissions::from_mode(0o700)).unwrap();
    let spool = outer.path().join("spool");
    fs::create_dir(&spool).unwrap();
    chown(&spool, Some(uid), Some(gid)).unwrap();
    let builder = Builder::new();
    fs::set_permissions(builder.path(), Permissions::from_mode(0o755)).unwrap();
    let builder = builder.options(["--user", USER]).owner(uid);
    let (status, text) = builder.spool(&spool).fail();
    assert_eq!(status, Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(spool.to_str().unwrap()), "{text}");
    assert!(text.contains("Permission denied"), "{text}");
    assert!(text.contains("--user nobody"), "{text}");

    // A key for root alone could not be read by a reload.
    let builder = Builder::new();
    make_certificate(builder.path());
    fs::set_permissions(builder.path(), Permissions::from_mode(0o755)).unwrap();
    let key = builder.path().join("server.key");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let (status, text) = builder.options(["--user", USER]).fail();
    assert_eq!(status, Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(key.to_str().unwrap()), "{text}");
    assert!(text.contains("--user nobody"), "{text}");
}

#[test]
fn a_reload_of_what_the_user_may_not_read_names_the_user() {
    if !is_root() {
        return;
    }
    let (uid, gid) = ids();
    let builder = Builder::new();
    let dir = builder.path().to_owned();
    chown(&dir, Some(uid), Some(gid)).unwrap();
    let mut server = builder.options(["--user", USER]).owner(uid).start();
    let accounts = dir.join("accounts");
    chown(&accounts, Some(0), Some(0)).unwrap();
    fs::set_permissions(&accounts, Permissions::from_mode(0o600)).unwrap();
    server.signal("HUP");
    server.wait_for_log(&format!("mm4d runs as user {uid} and group {gid}"));
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn an_unknown_user_is_reported() {
    let (status, text) = Builder::new().options(["--user", "no-such-user"]).fail();
    assert_eq!(status, Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("--user no-such-user"), "{text}");
    assert!(text.contains("there is no such user"), "{text}");
}

#[test]
fn only_a_server_with_the_rights_of_root_is_warned_of_them() {
    let server = Server::start();
    server.wait_for_log("started version=");
    let warnings = server.log().matches("running as root").count();
    assert_eq!(warnings, usize::from(is_root()));
}

/// Of [`USER`].
fn ids() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.starts_with("nobody:"));
    let fields: Vec<_> = line.unwrap().split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}
