//! Break the disk at its n-th call, for n = 1, 2, 3 … until nothing breaks any
//! more, and cut the power after it: no 250 without the whole file in new/.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mm4d::server::accounts::Accounts;
use mm4d::server::connection;
use mm4d::server::shared::{Clocks, Shared};
use mm4d::server::slots::Slots;
use mm4d::smtp::{Addresses, Limits, Policy};
use mm4d::spool::disk::Disk;
use mm4d::spool::leftovers::remove_leftovers;
use mm4d::spool::{Reserve, Spool};
use support::disk::{Fault, FaultyDisk, Kept};
use support::spool::{NO_RESERVE, check, deliver_all, mails};
use support::{ACCOUNTS, Client, content, plain_response};

/// Spools `mails` at once on `disk`; gives what was acknowledged, by file name.
fn run(disk: &FaultyDisk, mails: &[Vec<u8>]) -> Vec<(String, Vec<u8>)> {
    let (spool, writer) = Spool::new(disk.clone(), "test.example", NO_RESERVE);
    let writer = thread::spawn(writer);
    let spool = Arc::new(spool);
    let acknowledged = deliver_all(&spool, mails);
    drop(spool);
    writer.join().unwrap();
    acknowledged
}

/// Runs `mails` with a fault at each call in turn until no call is left to
/// break, and says how many there were.
fn break_each_call(mails: &[Vec<u8>], fault: fn(usize) -> Fault) -> usize {
    for number in 1.. {
        let disk = FaultyDisk::broken(fault(number));
        let acknowledged = run(&disk, mails);
        let what = format!("{:?} {:?}", fault(number), disk.calls());
        check(&disk, &acknowledged, mails, &what);
        if disk.calls().len() < number {
            assert_eq!(acknowledged.len(), mails.len(), "{what}");
            assert!(disk.tmp().is_empty(), "{what}");
            return number - 1;
        }
        assert!(number < 1000, "no end of calls");
    }
    0
}

#[test]
fn one_mail_survives_any_single_fault_or_is_refused() {
    for fault in [Fault::Once, Fault::From, Fault::Unheard] {
        let calls = break_each_call(&mails(1), fault);
        // create, writes, sync, rename, sync new.
        assert!(calls >= 5, "{calls}");
    }
}

#[test]
fn messages_that_share_a_directory_sync_share_its_outcome() {
    for fault in [Fault::Once, Fault::From, Fault::Unheard] {
        assert!(break_each_call(&mails(4), fault) >= 16);
    }
}

#[test]
fn a_draft_whose_sync_failed_is_removed_and_not_tried_again() {
    let mail = mails(1);
    let calls = {
        let disk = FaultyDisk::default();
        run(&disk, &mail);
        disk.calls()
    };
    let sync = calls.iter().position(|call| call == "sync draft").unwrap() + 1;
    let disk = FaultyDisk::broken(Fault::Once(sync));
    assert!(run(&disk, &mail).is_empty());
    let calls = disk.calls();
    assert_eq!(calls.len(), sync + 1, "{calls:?}");
    assert!(calls[sync].starts_with("remove "), "{calls:?}");
    assert!(disk.tmp().is_empty() && disk.new_now().is_empty());
}

#[test]
fn a_failed_directory_sync_takes_the_name_back() {
    let disk = FaultyDisk::default();
    let mail = mails(1);
    run(&disk, &mail);
    let sync = disk.calls().iter().position(|call| call == "sync new");
    let disk = FaultyDisk::broken(Fault::Once(sync.unwrap() + 1));
    assert!(run(&disk, &mail).is_empty());
    assert!(disk.new_now().is_empty(), "{:?}", disk.calls());
    assert!(disk.tmp().is_empty());
}

/// Every way in which a crash without a journal may keep names.
fn crashes() -> impl Iterator<Item = (Kept, Kept)> {
    const KEPT: [Kept; 3] = [Kept::Synced, Kept::Current, Kept::Both];
    KEPT.into_iter().flat_map(|tmp| KEPT.map(|new| (tmp, new)))
}

#[test]
fn a_start_after_a_crash_without_a_journal_destroys_no_acknowledged_mail() {
    let disk = FaultyDisk::without_journal();
    let mails = mails(3);
    // The names of drafts may reach the device at any time.
    let acknowledged = run(&disk, &mails);
    assert_eq!(acknowledged.len(), mails.len());
    let names: Vec<String> = acknowledged.iter().map(|(name, _)| name.clone()).collect();
    let files = disk.files();
    for (tmp, new) in crashes() {
        // Whether or not a consumer had moved the mails before the crash.
        for consumed in [&names[..1], &names[..], &[]] {
            let after = disk.after_crash(tmp, new, consumed);
            assert!(remove_leftovers(&after, "test.example").unwrap());
            for (name, mail) in &acknowledged {
                let what = format!("{tmp:?} {new:?} {consumed:?} {name}");
                assert!(after.is_whole(files[name]), "{what} is destroyed");
                if !consumed.contains(name) {
                    assert!(content(&after.new_now()[name]) == *mail, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_leftover_that_is_also_a_message_is_kept() {
    let disk = FaultyDisk::without_journal();
    let name = "1@test.example.eml";
    disk.create(name).unwrap();
    disk.sync_tmp().unwrap();
    disk.publish(name).unwrap();
    disk.sync_new().unwrap();
    let file = disk.files()[name];
    let after = disk.after_crash(Kept::Synced, Kept::Synced, &[]);
    assert_eq!(after.tmp(), [name]);
    assert!(remove_leftovers(&after, "test.example").unwrap());
    assert!(after.is_whole(file), "{:?}", after.calls());
}

#[test]
fn any_single_fault_without_a_journal_is_survived_or_refused() {
    let mail = mails(1);
    for number in 1.. {
        let disk = FaultyDisk::without_journal();
        disk.break_call(Fault::Once(number));
        let acknowledged = run(&disk, &mail);
        let what = format!("{number} {:?}", disk.calls());
        check(&disk, &acknowledged, &mail, &what);
        let files = disk.files();
        for (tmp, new) in crashes() {
            let after = disk.after_crash(tmp, new, &[]);
            assert!(remove_leftovers(&after, "test.example").unwrap());
            for (name, mail) in &acknowledged {
                assert!(after.is_whole(files[name]), "{what} {tmp:?} {new:?}");
                assert!(content(&after.new_now()[name]) == *mail, "{what}");
            }
        }
        if disk.calls().len() < number {
            assert_eq!(acknowledged.len(), 1, "{what}");
            return;
        }
        assert!(number < 1000, "no end of calls");
    }
}

#[test]
fn nothing_is_acknowledged_in_a_directory_that_is_no_longer_new() {
    let disk = FaultyDisk::default();
    disk.move_new(true);
    let mail = mails(2);
    assert!(run(&disk, &mail).is_empty());
    assert!(disk.new_now().is_empty() && disk.tmp().is_empty());
    disk.move_new(false);
    assert_eq!(run(&disk, &mail).len(), 2);
}

/// A real connection, over TCP, to a spool on `disk`.
fn connect(disk: &FaultyDisk, min_free: u64) -> (Client, thread::JoinHandle<()>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), ACCOUNTS).unwrap();
    let accounts = Accounts::load(file.path()).unwrap();
    let reserve = Reserve {
        min_free,
        ..NO_RESERVE
    };
    let (spool, writer) = Spool::new(disk.clone(), "test.example", reserve);
    thread::spawn(writer);
    let policy = Policy {
        hostname: "test.example".to_owned(),
        addresses: Addresses::E164,
        limits: Limits::default(),
    };
    let clocks = Clocks {
        login_timeout: Duration::from_secs(60),
        timeout: Duration::from_secs(60),
        min_rate: 0,
    };
    let shared = Shared::new(policy, Arc::new(spool), clocks, accounts, None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = Client::plain(listener.local_addr().unwrap());
    let (socket, peer) = listener.accept().unwrap();
    let server = thread::spawn(move || {
        let slots = Slots::new(1, 1, crossbeam_channel::unbounded().0);
        let client = connection::Client {
            socket,
            peer,
            accepted: Instant::now(),
            proxied: false,
            slot: &mut slots.take(peer.ip(), false).ok().unwrap(),
        };
        connection::serve(client, None, &shared);
    });
    client.expect(220);
    client.command("EHLO client.example", 250);
    client.command(&format!("AUTH PLAIN {}", plain_response()), 235);
    (client, server)
}

#[test]
fn the_wire_says_250_for_a_whole_durable_file_and_452_otherwise() {
    let mail = &mails(2)[1];
    for number in 1.. {
        let disk = FaultyDisk::broken(Fault::Once(number));
        let (mut client, server) = connect(&disk, 0);
        client.command("MAIL FROM:<>", 250);
        client.command("RCPT TO:<+972500000001@test.example>", 250);
        client.command("DATA", 354);
        client.send(&support::wire(mail));
        let reply = client.reply();
        let calls = disk.calls();
        let worst = disk.new_after_the_worst_cut();
        if let Some(id) = reply.strip_prefix("250 queued as <") {
            let name = format!("{}.eml", id.trim_end_matches('>'));
            assert_eq!(content(&worst[&name]), *mail, "{calls:?}");
        } else {
            assert!(reply.starts_with("452 ERROR: "), "{reply} {calls:?}");
            assert!(worst.is_empty(), "{calls:?}");
            // The session goes on, and so does the spool.
            let id = client.deliver(mail);
            let worst = disk.new_after_the_worst_cut();
            assert_eq!(content(&worst[&format!("{id}.eml")]), *mail);
        }
        client.command("QUIT", 221);
        drop(client);
        server.join().unwrap();
        if disk.calls().len() < number {
            return;
        }
    }
}

#[test]
fn messages_are_refused_while_space_is_low_and_accepted_when_it_is_back() {
    let disk = FaultyDisk::default();
    let (mut client, _server) = connect(&disk, 1_000);
    disk.set_free(NO_RESERVE.max_message_size + 999);
    client.command("MAIL FROM:<>", 452);
    client.command("RCPT TO:<+972500000001@test.example>", 503);
    disk.set_free(NO_RESERVE.max_message_size + 1_000);
    client.command("MAIL FROM:<>", 250);
    client.command("RSET", 250);
    // A transaction that has ended needs no room any more.
    let id = client.deliver(b"enough\r\n");
    assert!(
        disk.new_after_the_worst_cut()
            .contains_key(&format!("{id}.eml"))
    );
}
