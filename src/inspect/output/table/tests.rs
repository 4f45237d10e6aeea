use super::*;
use crate::inspect::filter::{Filter, parse_types};
use crate::inspect::message::Message;
use crate::inspect::store::Store;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::fs::{self, File};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

fn id(number: usize) -> String {
    let (hour, minute, second) = (number / 3600, number / 60 % 60, number % 60);
    format!("20220126T{hour:02}{minute:02}{second:02}.000000Z-7-{number:06}@mm4.example.com")
}

/// A spool of `count` messages, all but the last of them empty.
fn big_spool(count: usize, last: &[u8]) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("new")).unwrap();
    for number in 0..count {
        let path = dir.path().join(format!("new/{}.eml", id(number)));
        match number + 1 == count {
            true => fs::write(path, last).unwrap(),
            false => drop(File::create(path).unwrap()),
        }
    }
    let spool = Store::open(dir.path()).unwrap();
    (dir, spool)
}

fn listed(spool: &Store, filter: &Filter) -> Vec<String> {
    let entries = spool.entries().unwrap();
    let selection = filter.select(spool, &entries);
    assert!(selection.unreadable.is_empty());
    let text = table(spool, &selection.entries, &entries, 200);
    text.lines().map(str::to_owned).collect()
}

/// The table of `shown`, among `all`, on a terminal of that many columns.
fn table(spool: &Store, shown: &[Entry], all: &[Entry], columns: usize) -> String {
    let rows = shown.iter().map(|entry| {
        let raw = spool.read(entry).unwrap();
        Row::of(&Message::read(entry, &raw))
    });
    let mut out = Vec::new();
    let terminal = Terminal::of_columns(columns);
    write(rows.collect(), all, &terminal, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// The files of one directory that are opened, as the system reports them.
struct Opened(OwnedFd);

impl Opened {
    fn watch(directory: &Path) -> Opened {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&events, directory, WatchFlags::OPEN).unwrap();
        Opened(events)
    }

    /// How many since the last call.
    fn count(&self) -> usize {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.0, &mut buffer);
        let mut count = 0;
        while let Ok(event) = events.next() {
            assert!(!event.events().contains(ReadFlags::QUEUE_OVERFLOW));
            count += usize::from(event.file_name().is_some());
        }
        count
    }
}

#[test]
fn of_a_hundred_thousand_messages_only_those_shown_are_opened() {
    let (_dir, spool) = big_spool(80_000, b"Subject: the last\r\n");
    for number in 0..20_000 {
        let name = format!("{}.M{number}P1.host", 1_500_000_000 + number);
        File::create(spool.directories()[0].join(name)).unwrap();
    }
    assert_eq!(spool.entries().unwrap().len(), 100_000);
    let opened = Opened::watch(&spool.directories()[0]);
    let lines = listed(
        &spool,
        &Filter {
            last: Some(20),
            ..Filter::default()
        },
    );
    assert_eq!(lines.len(), 21);
    assert!(lines[20].contains("the last"), "{}", lines[20]);
    assert_eq!(opened.count(), 20);

    let since = "2022-01-26T22:13:00Z".parse().ok();
    let types = parse_types("RES");
    let lines = listed(
        &spool,
        &Filter {
            last: Some(20),
            since,
            types,
            ..Filter::default()
        },
    );
    assert!(lines.is_empty());
    // 22:13:00 to 22:13:19: twenty header blocks, none older.
    assert_eq!(opened.count(), 20);
}

#[test]
fn ids_are_shortened_to_what_is_unique_in_the_spool() {
    let (_dir, spool) = big_spool(100, b"");
    let lines = listed(
        &spool,
        &Filter {
            last: Some(3),
            ..Filter::default()
        },
    );
    let shown = lines[3].split_whitespace().nth(2).unwrap();
    assert_eq!(shown, "20220126T000139");
    assert_eq!(spool.find(shown).unwrap().id, id(99));
}

fn printed(mails: &[String], columns: usize) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("new")).unwrap();
    for (number, mail) in mails.iter().enumerate() {
        fs::write(dir.path().join(format!("new/{}.eml", id(number))), mail).unwrap();
    }
    let spool = Store::open(dir.path()).unwrap();
    let entries = spool.entries().unwrap();
    table(&spool, &entries, &entries, columns)
}

/// Messages of these accounts, with everything that a line can hold.
fn mails(accounts: &[&str]) -> Vec<String> {
    let trace = crate::inspect::message::tests::TRACE;
    let rest = format!(
        "From: +972500000001/TYPE=PLMN\r\nTo: +972500000002/TYPE=PLMN, b@example.com\r\n\
         X-Mms-Message-Type: MM4_read_reply_report.REQ\r\nX-Mms-Read-Status: Deleted without being read\r\n\
         Subject: {}\r\n\r\nhello",
        "a long subject ".repeat(20)
    );
    let accounts = accounts.iter();
    accounts
        .map(|account| format!("{}{rest}", trace.replace("carrier", account)))
        .collect()
}

#[test]
fn a_table_fits_the_terminal_and_has_one_line_for_each_message_from_80_columns_on() {
    let mails = mails(&["carrier", "other"]);
    for columns in [20, 30, 40, 50, 60, 70, 79, 80, 81, 90, 100, 120, 200, 500] {
        let text = printed(&mails, columns);
        for line in text.lines() {
            assert!(terminal::width(line) <= columns, "{columns}: {line}");
        }
        let lines = if columns >= ONE_LINE { 3 } else { 6 };
        assert_eq!(text.lines().count(), lines, "{columns}: {text}");
        if columns >= 40 {
            let ids = ["20220126T000001", "7-000001"];
            assert!(ids.iter().any(|id| text.contains(id)), "{columns}: {text}");
            let route = columns < 60 || text.contains("01 → ");
            assert!(route, "{columns}: {text}");
            assert!(text.contains("Deleted"), "{columns}: {text}");
        }
    }
}

#[test]
fn a_long_status_does_not_take_the_subject_out_of_80_columns() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("new")).unwrap();
    let trace = crate::inspect::message::tests::TRACE;
    let fields = "From: +972500000001/TYPE=PLMN\r\nTo: +972500000002/TYPE=PLMN\r\n";
    for (number, rest) in [
        "X-Mms-Message-Type: MM4_forward.REQ\r\nSubject: holiday pictures\r\n\r\nhello",
        "X-Mms-Message-Type: MM4_forward.RES\r\nX-Mms-Request-Status-Code: Error-network-problem\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("20220126T001743.000001Z-4711-{number:06}@mm4.example.com.eml");
        fs::write(dir.path().join("new").join(name), format!("{trace}{fields}{rest}")).unwrap();
    }
    let spool = Store::open(dir.path()).unwrap();
    let entries = spool.entries().unwrap();
    let text = table(&spool, &entries, &entries, 80);
    assert!(
        text.contains("holiday") && text.contains("Error-n"),
        "{text}"
    );
    assert!(
        text.lines().all(|line| terminal::width(line) <= 80),
        "{text}"
    );
}

#[test]
fn a_route_that_is_cut_shows_the_ends_of_its_numbers() {
    let route = "+972500000001 → +972500000002";
    assert_eq!(cut_route(route, 29), route);
    assert_eq!(cut_route(route, 15), "…00001 → …00002");
    assert_eq!(
        cut_route("postmaster → +972500000002", 15),
        "postm… → …00002"
    );
    assert_eq!(cut_route(route, 6), "+9725…");
    let several = "+972500000001 → +972500000002 (+1)";
    assert_eq!(cut_route(several, 15), "…00001 → …00002");
    assert_eq!(cut_route(several, 27), "…72500000001 → …000002 (+1)");
}

#[test]
fn a_type_that_is_cut_still_says_which_it_is() {
    let short = |kind| cut_kind(kind, 8);
    let kinds = ["forward.REQ", "forward.RES", "delivery.REQ", "delivery.RES"].map(short);
    assert_eq!(kinds, ["fwd.REQ", "fwd.RES", "dlv.REQ", "dlv.RES"]);
    assert_eq!(cut_kind("forward.REQ", 11), "forward.REQ");
}

#[test]
fn accounts_are_not_all_cut_to_the_same_letters() {
    let text = printed(
        &mails(&["international-carrier-north", "international-carrier-south"]),
        80,
    );
    assert!(text.contains("north") && text.contains("south"), "{text}");
    let text = printed(
        &mails(&["north-of-the-whole-country", "south-of-the-whole-country"]),
        80,
    );
    assert!(text.contains("north") && text.contains("south"), "{text}");
}

#[test]
fn accounts_that_differ_in_the_middle_or_in_two_lines_are_not_cut_to_the_same_letters() {
    let middle = [
        "carrier-of-the-north-gateway",
        "carrier-of-the-south-gateway",
    ];
    let end = ["international-north", "international-south"];
    for accounts in [middle, end] {
        let mails = mails(&accounts);
        for columns in [40, 50, 60, 70, 79, 80, 100] {
            let text = printed(&mails, columns);
            let is_shown = text.contains("nor") && text.contains("sou");
            assert!(is_shown, "{columns}: {text}");
            let fits = |line: &str| terminal::width(line) <= columns;
            assert!(text.lines().all(fits), "{columns}: {text}");
        }
    }
}

#[test]
fn in_a_pipe_columns_are_separated_by_tabs_and_nothing_is_cut() {
    let text = printed(&mails(&["carrier"]), usize::MAX);
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(lines[0], HEADINGS);
    assert_eq!(lines[1].len(), HEADINGS.len());
    assert_eq!(lines[1][ID], id(0));
    assert_eq!(lines[1][STATUS], "Deleted without being read");
    assert!(lines[1][SUBJECT].starts_with("a long subject a long") && !text.contains('…'));
}

#[test]
fn after_a_burst_a_narrow_table_shows_process_and_count() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("new")).unwrap();
    for number in 1..=3 {
        let name = format!("20220126T001743.000001Z-4711-{number:06}@mm4.example.com.eml");
        let mail = "From: +972500000001/TYPE=PLMN\r\nTo: +972500000002/TYPE=PLMN\r\n\r\n";
        fs::write(dir.path().join("new").join(name), mail).unwrap();
    }
    let spool = Store::open(dir.path()).unwrap();
    let entries = spool.entries().unwrap();
    let text = table(&spool, &entries, &entries, 80);
    assert!(text.contains(" 4711-000003 "), "{text}");
    let found = spool.find("4711-000003").unwrap();
    assert!(found.id.contains("4711-000003"));
}
