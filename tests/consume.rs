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

    /// What the workers have reported.
    fn errors(&self) -> String {
        fs::read_to_string(self.0.path().join("errors")).unwrap()
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
        self.start_command(options, &["sh", "-c", script, "sh"])
    }

    /// A worker with that command, both run beside the spool.
    fn start_command(&self, options: &[&str], arguments: &[&str]) -> Worker {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/consume.sh");
        let mut command = Command::new(program);
        command
            .args(options)
            .arg("spool")
            .args(arguments)
            .current_dir(self.0.path())
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
    let errors = place.errors();
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

#[test]
fn the_command_and_its_arguments_may_be_relative_paths() {
    let place = Place::with(1);
    let sh = ["/bin/sh", "/usr/bin/sh"]
        .into_iter()
        .find(|sh| Path::new(sh).exists());
    std::os::unix::fs::symlink(sh.unwrap(), place.0.path().join("handler")).unwrap();
    fs::write(place.0.path().join("script"), HANDLE).unwrap();
    let mut worker = place.start_command(&["--tries", "1"], &["./handler", "script"]);
    assert_eq!(worker.wait().code(), Some(0), "{}", place.errors());
    assert_eq!(place.handled(), ["m000.eml:2,"]);
}

#[test]
fn a_word_of_the_shell_is_not_a_command() {
    let place = Place::with(1);
    for word in ["exit", "usage", "for"] {
        let mut worker = place.start_command(&["--once"], &[word]);
        assert_eq!(worker.wait().code(), Some(2));
        assert!(place.errors().contains("is not a program"));
        assert_eq!(place.names("new"), ["m000.eml"]);
    }
}

#[test]
fn a_command_that_the_signal_ended_too_has_not_failed() {
    let place = Place::with(1);
    let mut worker = place.start(&["--follow", "--tries", "1"], "kill -TERM $PPID; exit 1");
    assert_eq!(worker.wait().code(), Some(0), "{}", place.errors());
    assert_eq!(place.names("cur"), ["m000.eml:2,"]);
    assert_eq!(place.start(&["--once"], HANDLE).wait().code(), Some(0));
    assert_eq!(place.names("cur"), ["m000.eml:2,S"]);
}

#[test]
fn a_worker_that_is_killed_in_a_pause_leaves_its_claim_at_once() {
    let place = Place::with(1);
    let mut killed = place.start(&["--once"], "exit 1");
    wait_for("the third pause, which is the first long one", || {
        place.errors().contains("try 4 of 5").then_some(())
    });
    killed.0.kill().unwrap();
    killed.wait();
    assert_eq!(place.start(&["--once"], HANDLE).wait().code(), Some(0));
    assert_eq!(place.names("cur"), ["m000.eml:2,S"]);
}

#[test]
fn a_message_that_cannot_be_claimed_is_reported_and_does_not_hold_up_the_others() {
    let place = Place::with(2);
    fs::create_dir(place.spool().join("cur/m000.eml:2,")).unwrap();
    fs::create_dir(place.spool().join("new/directory.eml")).unwrap();
    assert_eq!(place.start(&["--once"], HANDLE).wait().code(), Some(1));
    assert_eq!(place.handled(), ["m001.eml:2,"]);
    let errors = place.errors();
    assert!(errors.contains("m000.eml is left where it is"), "{errors}");
}

#[test]
fn a_cur_on_another_file_system_is_refused() {
    let place = Place::with(1);
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
        println!("SKIPPED a_cur_on_another_file_system: there is no /dev/shm");
        return;
    };
    let device = |path: &Path| std::os::unix::fs::MetadataExt::dev(&fs::metadata(path).unwrap());
    if device(elsewhere.path()) == device(&place.spool()) {
        println!("SKIPPED a_cur_on_another_file_system: /dev/shm is not one");
        return;
    }
    fs::remove_dir(place.spool().join("cur")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), place.spool().join("cur")).unwrap();
    assert_eq!(place.start(&["--once"], HANDLE).wait().code(), Some(2));
    assert_eq!(place.names("new"), ["m000.eml"]);
}
