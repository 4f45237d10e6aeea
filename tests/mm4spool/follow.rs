//! `follow` and `wait`: messages as they are published.

use super::*;

/// A `follow` that has begun, and the lines that it prints.
struct Following {
    child: Child,
    lines: mpsc::Receiver<String>,
}

/// The lines of a stream, read as they come, so that waiting has a deadline.
fn lines_of(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            if sender.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    lines
}

/// Starts `follow`, and waits until it says that it has begun.
fn follow(arguments: &[&str]) -> Child {
    let mut child = command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let notes = lines_of(child.stderr.take().unwrap());
    let line = notes.recv_timeout(DEADLINE).unwrap();
    assert!(line.contains("following"), "{line}");
    child
}

impl Following {
    fn of(arguments: &[&str]) -> Following {
        let mut child = follow(arguments);
        let lines = lines_of(child.stdout.take().unwrap());
        Following { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).unwrap()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_burst_of_a_thousand_is_followed_once_each() {
    let place = Place::with_samples();
    let following = Following::of(&["follow", place.path()]);
    let mail = sample("two_slides");
    let id = |number: usize| format!("20220126T001743.{number:06}Z-7-000001@mm4.example.com");
    for number in 0..1000 {
        place.publish(&id(number), &mail);
        if number % 3 == 0 {
            let seen = place.dir.path().join(format!("cur/{}.eml:2,S", id(number)));
            fs::rename(place.file(&id(number)), seen).unwrap();
        }
    }
    place.publish("20220127T000000.000000Z-7-000001@mm4.example.com", &mail);
    for number in 0..1000 {
        let line = following.line();
        assert!(line.contains(&id(number)), "{number}: {line}");
        assert!(line.contains("“Greetings from the lake”"), "{line}");
    }
    assert!(following.line().contains("20220127T000000"));
}

#[test]
fn following_as_json_gives_an_object_a_line() {
    let place = Place::new();
    let following = Following::of(&["follow", "--json", place.path()]);
    for (name, mail) in samples() {
        place.publish(&name, &mail);
        let found = objects(&following.line()).remove(0);
        assert_eq!(at(&found, "/id"), &name);
    }
}

#[test]
fn only_what_matches_the_filters_is_followed() {
    let place = Place::new();
    let following = Following::of(&[
        "follow",
        "--subject",
        "LAKE",
        "--has",
        "image",
        place.path(),
    ]);
    let id = |number: u32| format!("20220126T001743.{number:06}Z-7-{number:06}@mm4.example.com");
    place.publish(&id(1), b"Subject: a lake\r\n\r\nwithout a picture\r\n");
    place.publish(&id(2), &sample("delivery_report"));
    place.publish(&id(3), &sample("two_slides"));
    assert!(following.line().contains(&id(3)));
}

#[test]
fn following_ends_when_nobody_reads() {
    let place = Place::new();
    let mut child = follow(&["follow", place.path()]);
    drop(child.stdout.take());
    let status = wait_for("follow to end", || child.try_wait().unwrap());
    assert!(status.success());
}

#[test]
fn waiting_ends_with_a_match_or_at_the_timeout() {
    let place = Place::new();
    let root = place.dir.path().join("later");
    let child = command(&[
        "wait",
        "--transaction",
        "T7",
        "--timeout",
        "60s",
        root.to_str().unwrap(),
    ])
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    for sub in ["tmp", "new"] {
        fs::create_dir_all(root.join(sub)).unwrap();
    }
    for transaction in ["T6", "T7"] {
        let mail = format!("X-Mms-Transaction-ID: {transaction}\r\nSubject: {transaction}\r\n\r\n");
        let id = format!(
            "20220126T001743.00000{}Z-7-000001@mm4.example.com",
            &transaction[1..]
        );
        fs::write(root.join("tmp/draft"), mail).unwrap();
        fs::rename(root.join("tmp/draft"), root.join(format!("new/{id}.eml"))).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(stdout(&output).lines().count(), 1);
    assert!(stdout(&output).contains("“T7”"));
    let text = refused(
        1,
        &[
            "wait",
            "--subject",
            "never",
            "--timeout",
            "100ms",
            root.to_str().unwrap(),
        ],
    );
    assert!(text.contains("0 of 1 messages matched"), "{text}");
    // Without a filter the next message counts, not one that exists already.
    refused(1, &["wait", "--timeout", "100ms", root.to_str().unwrap()]);
}
