//! What is different on a terminal: a table that fits, a hint, pictures.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::*;

/// A command on a terminal of its own, and what appears there.
struct OnTerminal {
    child: Child,
    screen: mpsc::Receiver<String>,
}

impl OnTerminal {
    fn start(arguments: &[&str], columns: u16, term: &str) -> OnTerminal {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let terminal = OpenOptions::new()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&terminal, size).unwrap();
        let child = command(arguments)
            .env("TERM", term)
            .env_remove("TMUX")
            .env_remove("STY")
            .stdout(terminal.try_clone().unwrap())
            .stderr(terminal)
            .spawn()
            .unwrap();
        OnTerminal {
            child,
            screen: chunks_of(controller),
        }
    }

    /// What appears until the command ends.
    fn rest(mut self) -> String {
        let mut text = String::new();
        // The reader ends when the last process closes the terminal.
        while let Ok(chunk) = self.screen.recv_timeout(DEADLINE) {
            text.push_str(&chunk);
        }
        assert!(self.child.wait().unwrap().success(), "{text}");
        text
    }

    /// What appears until there is such a text.
    fn until(&self, wanted: &str) -> String {
        let mut text = String::new();
        while !text.contains(wanted) {
            text.push_str(&self.screen.recv_timeout(DEADLINE).unwrap());
        }
        text
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn chunks_of(controller: OwnedFd) -> mpsc::Receiver<String> {
    let (sender, screen) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = rustix::io::read(&controller, &mut bytes[..]) {
            let chunk = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if sender.send(chunk).is_err() {
                return;
            }
        }
    });
    screen
}

/// The text without its colours.
fn plain(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let first = pieces.next().unwrap().to_owned();
    pieces.fold(first, |text, piece| text + piece.split_once('m').unwrap().1)
}

fn numbered(count: usize) -> Place {
    let place = Place::new();
    for number in 0..count {
        let id = format!("20220126T001743.{number:06}Z-7-{number:06}@mm4.example.com");
        let mail = "From: +972500000001/TYPE=PLMN\r\nTo: +972500000002/TYPE=PLMN\r\n\
                    X-Mms-Message-Type: MM4_forward.RES\r\nSubject: a subject of some length\r\n\
                    X-Mms-Request-Status-Code: Error-network-problem\r\n";
        place.publish(&id, mail.as_bytes());
    }
    place
}

#[test]
fn a_table_fits_the_terminal_and_older_messages_are_counted() {
    let place = numbered(25);
    for (columns, lines) in [(40, 42), (79, 42), (80, 21), (132, 21)] {
        let screen = OnTerminal::start(&["list", place.path()], columns, "xterm").rest();
        assert!(screen.contains("\x1b[31m"), "{screen}");
        let text = plain(&screen);
        let (hint, table): (Vec<&str>, Vec<&str>) = text
            .lines()
            .partition(|line| line.starts_with("mm4spool: "));
        assert_eq!(
            hint,
            ["mm4spool: 5 older messages are not shown; use --last N or a filter"]
        );
        assert_eq!(table.len(), lines, "{columns}: {text}");
        let width = table.iter().map(|line| line.chars().count()).max();
        assert!(width <= Some(columns.into()), "{columns}: {text}");
    }
    let screen = OnTerminal::start(&["list", "--type", "RES", place.path()], 80, "xterm").rest();
    assert_eq!(screen.lines().count(), 26, "{screen}");
}

#[test]
fn what_is_followed_fits_the_terminal() {
    let place = numbered(1);
    let following = OnTerminal::start(&["follow", place.path()], 60, "xterm");
    following.until("following");
    let id = "20220127T001743.000001Z-7-000077@mm4.example.com";
    place.publish(id, &sample("two_slides"));
    let text = plain(&following.until("000077"));
    let line = text.lines().find(|line| line.contains("7-000077")).unwrap();
    assert!(line.chars().count() <= 60, "{line}");
}

#[test]
fn pictures_are_shown_on_terminals_that_can_and_nowhere_else() {
    let place = Place::with_samples();
    let show = ["show", place.path(), "4711-000001"];
    let kitty = OnTerminal::start(&show, 80, "xterm-kitty").rest();
    assert_eq!(kitty.matches("\x1b_Ga=T,f=100").count(), 2);
    let arguments = [&["show", "--no-pictures"], &show[1..]].concat();
    for (arguments, term) in [(&arguments[..], "xterm-kitty"), (&show[..], "xterm")] {
        let screen = OnTerminal::start(arguments, 80, term).rest();
        assert!(screen.contains("Greetings from the lake") && !screen.contains("\x1b_G"));
    }
    let piped = command(&show).env("TERM", "xterm-kitty").output().unwrap();
    assert!(!stdout(&piped).contains('\x1b'));
}
