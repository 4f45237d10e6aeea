//! `scripts/consume.sh`: each message is handled, by one worker at a time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use support::{guard, names, wait_for};
use tempfile::TempDir;

/// A spool, and what the command writes down beside it.
struct Place(TempDir);

/// A worker that ends with its test.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        guard::kill(&mut self.0);
    }
}

impl Worker {
    fn wait(&mut self) -> ExitStatus {
        wait_for("the worker's end", || self.0.try_wait().unwrap())
    }
}

impl Place {
    fn with(count: usize) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        for folder in ["tmp", "new", "cur"] {
            fs::create_dir_all(place.spool().join(folder)).unwrap();
        }
        for number in 0..count {
            place.publish(&format!("m{number:03}"));
        }
        place
    }

    fn spool(&self) -> PathBuf {
        self.0.path().join("spool")
    }

    fn publish(&self, id: &str) {
        let draft = self.spool().join("tmp").join(id);
        fs::write(&draft, "Subject: x\r\n\r\n").unwrap();
        fs::rename(&draft, self.spool().join(format!("new/{id}.eml"))).unwrap();
    }

    fn names(&self, folder: &str) -> Vec<String> {
        names(&self.spool().join(folder))
    }

    /// What the commands have written down, a line each.
    fn handled(&self) -> Vec<String> {
        let log = fs::read_to_string(self.0.path().join("handled")).unwrap_or_default();
        let mut lines: Vec<_> = log.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// A worker whose command is a line of shell with the file in `$1`, run beside the
    /// spool.
    fn start(&self, options: &[&str], script: &str) -> Worker {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/consume.sh");
        let script = format!("cd '{}' && {script}", self.0.path().display());
        let mut command = Command::new(program);
        command
            .args(options)
            .arg(self.spool())
            .args(["sh", "-c", &script, "sh"])
            .env_remove("INVOCATION_ID")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.0.path().join("errors")).unwrap());
        Worker(guard::spawn(&mut command).unwrap())
    }
}

const HANDLE: &str = "basename \"$1\" >> handled";

#[test]
fn workers_side_by_side_handle_each_message_once() {
    let place = Place::with(60);
    // Without a terminal and options they end when new/ is empty.
    let mut workers: Vec<_> = (0..4).map(|_| place.start(&[], HANDLE)).collect();
    for worker in &mut workers {
        assert_eq!(worker.wait().code(), Some(0));
    }
    let handled = place.handled();
    let expected: Vec<_> = (0..60)
        .map(|number| format!("m{number:03}.eml:2,"))
        .collect();
    assert_eq!(handled, expected);
    assert!(place.names("new").is_empty());
    let done = place.names("cur");
    assert_eq!(done.len(), 60);
    assert!(
        done.iter().all(|name| name.ends_with(".eml:2,S")),
        "{done:?}"
    );
}

#[test]
fn a_killed_worker_strands_no_message_and_no_other_handles_it_meanwhile() {
    let place = Place::with(1);
    // It waits until the test makes the file `go`, but not for ever.
    let slow = "echo begin >> handled; n=0; \
                while [ ! -e go ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n + 1)); done; \
                echo end >> handled";
    let mut killed = place.start(&["--once"], slow);
    wait_for("the command", || {
        (!place.handled().is_empty()).then_some(())
    });
    // The worker alone: its command goes on and keeps the lock.
    killed.0.kill().unwrap();
    killed.wait();
    assert_eq!(place.start(&["--once"], HANDLE).wait().code(), Some(0));
    assert_eq!(place.handled(), ["begin"]);
    assert_eq!(place.names("cur"), ["m000.eml:2,"]);
    fs::write(place.0.path().join("go"), "").unwrap();
    wait_for("the message to be taken over", || {
        assert_eq!(place.start(&["--once"], HANDLE).wait().code(), Some(0));
        (place.names("cur") == ["m000.eml:2,S"]).then_some(())
    });
    assert_eq!(place.handled(), ["begin", "end", "m000.eml:2,"]);
}

#[test]
fn a_message_whose_command_fails_is_set_aside_after_some_tries() {
    let place = Place::with(3);
    let mut worker = place.start(
        &["--once", "--tries", "2"],
        &format!("{HANDLE}; case $1 in *m001*) exit 3 ;; esac"),
    );
    assert_eq!(worker.wait().code(), Some(1));
    assert_eq!(
        place.names("cur"),
        ["m000.eml:2,S", "m001.eml:2,F", "m002.eml:2,S"]
    );
    assert_eq!(place.handled().len(), 4, "{:?}", place.handled());
    let errors = fs::read_to_string(place.0.path().join("errors")).unwrap();
    assert!(errors.contains("set aside as "), "{errors}");
    // It stays aside.
    assert_eq!(place.start(&["--once"], HANDLE).wait().code(), Some(0));
    assert_eq!(place.handled().len(), 4);
}

#[test]
fn a_following_worker_handles_what_arrives_and_ends_at_sigterm() {
    let place = Place::with(1);
    let mut worker = place.start(&["--follow"], HANDLE);
    wait_for("the first", || (place.handled().len() == 1).then_some(()));
    place.publish("later");
    wait_for("the second", || {
        (place.names("cur").last()? == "m000.eml:2,S" && place.handled().len() == 2).then_some(())
    });
    guard::signal(worker.0.id(), "TERM");
    assert_eq!(worker.wait().code(), Some(0));
    assert_eq!(place.names("cur"), ["later.eml:2,S", "m000.eml:2,S"]);
}

#[test]
fn a_command_may_move_or_delete_its_file_and_usage_errors_have_status_2() {
    let place = Place::with(2);
    let mut worker = place.start(&["--once"], "rm \"$1\"");
    assert_eq!(worker.wait().code(), Some(0));
    assert!(place.names("cur").is_empty() && place.names("new").is_empty());
    for options in [&["--tries", "0"][..], &["--sometimes"], &["/nonexistent"]] {
        assert_eq!(place.start(options, HANDLE).wait().code(), Some(2));
    }
}
