use super::*;
use std::fs;
use std::sync::mpsc;

fn maildir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for sub in ["tmp", "new", "cur"] {
        fs::create_dir(dir.path().join(sub)).unwrap();
    }
    dir
}

fn id(number: usize) -> String {
    format!("20220126T001743.{number:06}Z-7-000001@mm4.example.com")
}

fn publish(dir: &Path, number: usize) {
    let draft = dir.join(format!("tmp/{}.eml", id(number)));
    fs::write(&draft, "To: a\r\n").unwrap();
    fs::rename(&draft, dir.join(format!("new/{}.eml", id(number)))).unwrap();
}

/// What is published until there are `count`. After a minute the reader
/// closes, and waiting ends.
fn receive(follower: &mut Follower, count: usize) -> Vec<String> {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let (enough, wanted) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let _ = wanted.recv_timeout(Duration::from_secs(60));
        drop(reader);
    });
    let mut ids = Vec::new();
    while ids.len() < count {
        let Some(published) = follower.wait(&writer, TICK).unwrap() else {
            break;
        };
        ids.extend(published.into_iter().map(|entry| entry.id));
    }
    drop(enough);
    ids
}

#[test]
fn a_burst_is_reported_once_each_while_a_consumer_moves_it_away() {
    let dir = maildir();
    publish(dir.path(), 0);
    let mut follower = Follower::start(dir.path()).unwrap();
    for number in 1..=1000 {
        publish(dir.path(), number);
        let name = format!("{}.eml", id(number));
        if number % 2 == 0 {
            let seen = dir.path().join(format!("cur/{name}:2,S"));
            fs::rename(dir.path().join("new").join(&name), &seen).unwrap();
            if number % 4 == 0 {
                fs::remove_file(seen).unwrap();
            }
        }
    }
    let wanted: Vec<_> = (1..=1000).map(id).collect();
    assert_eq!(receive(&mut follower, 1000), wanted);
    publish(dir.path(), 1001);
    assert_eq!(receive(&mut follower, 1), [id(1001)]);
}

#[test]
fn messages_of_lost_events_are_reported() {
    let dir = maildir();
    let mut follower = Follower::start(dir.path()).unwrap();
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .ok()
        .and_then(|text| text.trim().parse::<usize>().ok())
        .unwrap_or(16_384);
    if most > 100_000 {
        eprintln!("skipped: the kernel queues {most} events here");
        return;
    }
    let count = most + 10;
    for number in 0..count {
        publish(dir.path(), number);
    }
    let mut ids = receive(&mut follower, count);
    assert_eq!(ids.len(), count);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn a_link_is_reported_too() {
    let dir = maildir();
    let mut follower = Follower::start(dir.path()).unwrap();
    let draft = dir.path().join("tmp/draft");
    fs::write(&draft, "To: a\r\n").unwrap();
    fs::hard_link(&draft, dir.path().join("new/1643156263.P1.host")).unwrap();
    assert_eq!(receive(&mut follower, 1), ["1643156263.P1.host"]);
}

#[test]
fn what_is_deleted_is_forgotten_and_still_not_reported_twice() {
    let dir = maildir();
    let mut follower = Follower::start(dir.path()).unwrap();
    follower.forget_at = 2;
    for number in 0..3 {
        publish(dir.path(), number);
    }
    assert_eq!(receive(&mut follower, 3).len(), 3);
    for number in 0..2 {
        let name = format!("new/{}.eml", id(number));
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    follower.forget_at = 2;
    publish(dir.path(), 3);
    assert_eq!(receive(&mut follower, 1), [id(3)]);
    publish(dir.path(), 4);
    assert_eq!(receive(&mut follower, 1), [id(4)]);
    assert_eq!(follower.seen.len(), 3);
}

#[test]
fn it_ends_when_the_reader_closes() {
    let dir = maildir();
    let mut follower = Follower::start(dir.path()).unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    drop(reader);
    assert!(follower.wait(&writer, TICK).unwrap().is_none());
}

#[test]
fn a_spool_that_is_made_or_replaced_later_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("spool");
    let mut follower = Follower::start(&root).unwrap();
    fs::create_dir(&root).unwrap();
    for sub in ["tmp", "new"] {
        fs::create_dir(root.join(sub)).unwrap();
    }
    publish(&root, 1);
    assert_eq!(receive(&mut follower, 1), [id(1)]);
    publish(&root, 2);
    assert_eq!(receive(&mut follower, 1), [id(2)]);
    fs::rename(&root, dir.path().join("old")).unwrap();
    for sub in ["tmp", "new", "cur"] {
        fs::create_dir_all(root.join(sub)).unwrap();
    }
    publish(&root, 3);
    assert_eq!(receive(&mut follower, 1), [id(3)]);
    fs::remove_dir_all(&root).unwrap();
    for sub in ["tmp", "new"] {
        fs::create_dir_all(root.join(sub)).unwrap();
    }
    publish(&root, 4);
    assert_eq!(receive(&mut follower, 1), [id(4)]);
}

#[test]
fn a_file_that_is_written_in_place_is_reported_when_it_is_whole() {
    use std::io::Write;
    let dir = maildir();
    let mut follower = Follower::start(dir.path()).unwrap();
    let path = dir.path().join(format!("new/{}.eml", id(1)));
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(b"Subject: one\r\n").unwrap();
    publish(dir.path(), 2);
    assert_eq!(receive(&mut follower, 1), [id(2)]);
    let until = Instant::now() + 3 * SETTLED;
    let (_reader, writer) = rustix::pipe::pipe().unwrap();
    while Instant::now() < until {
        assert!(follower.wait(&writer, SETTLED).unwrap().unwrap().is_empty());
    }
    file.write_all(b"To: a\r\n").unwrap();
    drop(file);
    assert_eq!(receive(&mut follower, 1), [id(1)]);
}

#[test]
fn a_pipe_is_not_a_message() {
    let dir = maildir();
    let mut follower = Follower::start(dir.path()).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    let draft = dir.path().join("tmp/pipe.eml");
    rustix::fs::mkfifoat(rustix::fs::CWD, &draft, mode).unwrap();
    fs::rename(&draft, dir.path().join("new/pipe.eml")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("new/other.eml"), mode).unwrap();
    publish(dir.path(), 1);
    assert_eq!(receive(&mut follower, 1), [id(1)]);
    assert!(follower.growing.is_empty());
}
