//! Full TLS 1.3 handshakes a second, as OpenSSL's own programs reach them.
//!
//! `openssl s_server` serves the certificate that mm4d serves, `openssl s_time
//! -new` connects again and again; one, two and four of the latter, and the
//! best counts, since s_server has one thread and s_time one connection. Needs
//! the openssl command; a failure is an error.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The best rate of one, two and four clients.
pub fn handshakes(work: &Path, time: Duration) -> io::Result<f64> {
    // The listener is closed when the port is used; nobody else takes it in
    // between, or the run fails.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let mut server = Command::new("openssl")
        .args([
            "s_server", "-accept", &address, "-www", "-quiet", "-tls1_3", "-cert",
        ])
        .arg(work.join("server.pem"))
        .arg("-key")
        .arg(work.join("server.key"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let best = wait_for(&address).and_then(|()| {
        [1, 2, 4].into_iter().try_fold(0.0_f64, |best, clients| {
            Ok(best.max(rate(&address, clients, time)?))
        })
    });
    server.kill()?;
    server.wait()?;
    best
}

fn wait_for(address: &str) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect(address) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// What these clients reach together.
fn rate(address: &str, clients: usize, time: Duration) -> io::Result<f64> {
    // s_time counts whole seconds.
    let seconds = time.as_secs().max(1);
    let begin = Instant::now();
    let children: Vec<Child> = (0..clients)
        .map(|_| {
            Command::new("openssl")
                .args(["s_time", "-new", "-tls1_3", "-connect", address, "-time"])
                .arg(seconds.to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
        })
        .collect::<io::Result<_>>()?;
    let mut handshakes = 0;
    for child in children {
        let output = child.wait_with_output()?;
        handshakes += connections(&String::from_utf8_lossy(&output.stdout))?;
    }
    Ok(handshakes as f64 / begin.elapsed().as_secs_f64())
}

/// From a line such as `4242 connections in 3 real seconds, 0 bytes read per connection`.
fn connections(output: &str) -> io::Result<u64> {
    output
        .lines()
        .find(|line| line.contains("real seconds"))
        .and_then(|line| line.split_ascii_whitespace().next()?.parse().ok())
        .ok_or_else(|| io::Error::other(format!("s_time says: {output}")))
}
