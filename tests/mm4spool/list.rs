//! `list`, and the filters that every command takes.

use super::*;

#[test]
fn a_list_is_a_table_with_the_newest_last() {
    let place = Place::with_samples();
    let text = said(&["list", place.path()]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 12, "{text}");
    assert!(lines[0].starts_with("TIME"));
    for wanted in [
        "2022-01-25 22:17:54",
        "carrier",
        "forward.REQ",
        "+972500000001 → +972500000002",
        "Fwd: Greetings",
        "smil png rfc822 pdf",
        "4.7 kB",
    ] {
        assert!(lines[11].contains(wanted), "{wanted}: {}", lines[11]);
    }
    assert!(text.contains("smil png×2 text×2"), "{text}");
    assert!(!text.contains('\x1b'));
    for columns in ["60", "80", "100", "132"] {
        let output = command(&["list", place.path()])
            .env("COLUMNS", columns)
            .output()
            .unwrap();
        for line in stdout(&output).lines() {
            assert!(
                line.chars().count() <= columns.parse().unwrap(),
                "{columns}: {line}"
            );
        }
    }
}

#[test]
fn a_list_is_filtered_from_the_newest_back() {
    let place = Place::with_samples();
    let ids = |options: &[&str]| -> Vec<String> {
        let arguments = [&["list", "--json"], options, &[place.path()]].concat();
        let found = objects(&said(&arguments));
        let ids = found
            .iter()
            .map(|found| at(found, "/id").as_str().unwrap().to_owned());
        ids.map(|id| id[29..35].to_owned()).collect()
    };
    assert_eq!(ids(&["--last", "2"]), ["000010", "000011"]);
    assert_eq!(ids(&["--type", "RES"]), ["000009"]);
    assert_eq!(ids(&["--type", "REQ", "--last", "1"]), ["000011"]);
    assert_eq!(ids(&["--type", "MM4_delivery_report.REQ"]), ["000007"]);
    assert_eq!(ids(&["--account", "other-carrier"]), ["000009"]);
    assert_eq!(ids(&["--account", "Carrier"]).len(), 0);
    assert_eq!(
        ids(&["--since", "2022-01-25T22:17:53Z"]),
        ["000010", "000011"]
    );
    assert_eq!(ids(&["--since", "1h"]).len(), 0);
    assert_eq!(
        ids(&["--since", "2022-01-25", "--type", "forward", "--last", "99"]).len(),
        9
    );
}

#[test]
fn a_filter_lists_every_match_and_no_filter_the_last_twenty() {
    let place = Place::new();
    for number in 0..25 {
        let id = format!("20220126T001743.{number:06}Z-7-000001@mm4.example.com");
        place.publish(&id, b"X-Mms-Message-Type: MM4_forward.RES\r\n");
    }
    let count = |options: &[&str]| {
        let arguments = [&["list", "--json"], options, &[place.path()]].concat();
        objects(&said(&arguments)).len()
    };
    assert_eq!(count(&[]), 20);
    assert_eq!(count(&["--last", "3"]), 3);
    assert_eq!(count(&["--type", "RES"]), 25);
    assert_eq!(count(&["--since", "2022-01-26"]), 25);
    assert_eq!(count(&["--type", "RES", "--last", "3"]), 3);
}

/// The times in the ids of all messages of the exchange.
const ALL: [&str; 5] = ["221700", "221700", "221900", "222000", "222100"];

/// Filters, and the times of the messages that they select.
const FILTERS: &[(&[&str], &[&str])] = &[
    (&["--account", "north"], &["221700", "221700"]),
    (&["--type", "RES"], &["221700", "222100"]),
    (&["--type", "delivery_report"], &["221900"]),
    (&["--from", "972500000001"], &ALL),
    (&["--from", "+15550000001/TYPE=PLMN"], &["222000"]),
    (&["--to", "A@EXAMPLE.com"], &["222000"]),
    (
        &["--to", "+972500000002", "--type", "forward.REQ"],
        &["221700", "222000"],
    ),
    (&["--subject", "holi"], &["221700"]),
    (&["--grep", "WEATHER"], &["222000"]),
    (&["--grep", "holiday"], &["221700"]),
    (&["--transaction", "t1"], &["221700", "221700"]),
    (&["--message-id", "M3"], &["222000"]),
    (&["--status", "ok"], &["221700"]),
    (&["--status", "error"], &["222100"]),
    (&["--since", "2022-01-25 22:20"], &["222000", "222100"]),
    (&["--until", "2022-01-25 22:17"], &["221700", "221700"]),
    (
        &[
            "--since",
            "2022-01-25 22:19:00",
            "--until",
            "2022-01-26 00:20 +02:00",
        ],
        &["221900", "222000"],
    ),
    (&["--has", "image"], &["221700"]),
    (&["--has", "text"], &["222000"]),
    (&["--has", "text,image"], &[]),
    (
        &["--has", "findings", "--type", "forward"],
        &["221700", "221700", "222000", "222100"],
    ),
    (&["--unanswered"], &["222000"]),
    (&["--unanswered", "--account", "north"], &[]),
];

#[test]
fn every_filter_selects_what_it_says_in_every_command() {
    let place = exchange();
    let times = |arguments: &[&str]| -> Vec<String> {
        let output = mm4spool(&[arguments, &[place.path()]].concat());
        let found = objects(&stdout(&output));
        let ids = found
            .iter()
            .map(|found| at(found, "/id").as_str().unwrap()[9..15].to_owned());
        ids.collect()
    };
    for (filter, wanted) in FILTERS {
        assert_eq!(
            times(&[&["list", "--json"], *filter].concat()),
            *wanted,
            "{filter:?}"
        );
        let page = said(&[&["gallery"], *filter, &[place.path()]].concat());
        assert_eq!(page.matches("<article").count(), wanted.len(), "{filter:?}");
        let checked = stdout(&mm4spool(&[&["check"], *filter, &[place.path()]].concat()));
        let count = if wanted.len() == 1 {
            "1 message of".to_owned()
        } else {
            format!("{} messages of", wanted.len())
        };
        assert!(checked.contains(&count), "{filter:?}: {checked}");
        if !wanted.is_empty() {
            let count = wanted.len().to_string();
            let mut waited = times(&[&["wait", "--json", "--count", &count], *filter].concat());
            waited.sort();
            assert_eq!(waited, *wanted, "{filter:?}");
        }
    }
}

#[test]
fn a_time_without_a_zone_may_be_local_and_extract_takes_filters() {
    let place = exchange();
    let mut local = command(&[
        "list",
        "--json",
        "--since",
        "2022-01-26 00:20 local",
        place.path(),
    ]);
    let local = local.env("TZ", "XXX-2").output().unwrap();
    assert_eq!(objects(&stdout(&local)).len(), 2);
    let to = place.dir.path().join("pictures");
    let written = said(&[
        "extract",
        "--has",
        "image",
        "--to",
        to.to_str().unwrap(),
        place.path(),
    ]);
    assert_eq!(written.lines().count(), 1);
}

#[test]
fn a_list_shows_statuses_and_counts_findings() {
    let place = exchange();
    let text = said(&["list", place.path()]);
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(rows[0][4], "STATUS");
    let statuses: Vec<&str> = rows.iter().skip(1).map(|row| row[4]).collect();
    assert_eq!(
        statuses,
        ["", "Ok", "Retrieved", "", "Error-network-problem"]
    );
    assert_eq!(rows[0][8], "FINDINGS");
    assert!(rows[5][8].parse::<usize>().unwrap() > 0, "{text}");
    let forced = stdout(
        &command(&["list", place.path()])
            .env("CLICOLOR_FORCE", "1")
            .output()
            .unwrap(),
    );
    assert!(forced.contains("\x1b[32mOk\x1b[0m"), "{forced}");
    assert!(
        forced.contains("\x1b[31mError-network-problem\x1b[0m"),
        "{forced}"
    );
    let forced = said(&["list", "--color", "always", place.path()]);
    assert!(forced.contains("\x1b["));
    let never = command(&["list", "--color=never", place.path()])
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap();
    assert!(!stdout(&never).contains('\x1b'));
}

#[test]
fn any_maildir_and_any_file_can_be_read() {
    let place = Place::new();
    let mail = b"From: a@example.com\nTo: b@example.net\nSubject: plain\n\nhello\n";
    fs::write(
        place
            .dir
            .path()
            .join("new/1643149063.M1P2.host.example.com"),
        mail,
    )
    .unwrap();
    fs::write(
        place
            .dir
            .path()
            .join("cur/1643149064.M1P2.host.example.com:2,RS"),
        mail,
    )
    .unwrap();
    let text = said(&["list", place.path()]);
    assert!(text.contains("2022-01-25 22:17:44"), "{text}");
    assert!(text.contains("a@example.com → b@example.net"), "{text}");
    let shown = said(&["show", place.path(), "1643149064"]);
    assert!(shown.contains("mm4d did not write this mail"), "{shown}");
    let file = place
        .dir
        .path()
        .join("cur/1643149064.M1P2.host.example.com:2,RS");
    assert_eq!(said(&["show", place.path(), file.to_str().unwrap()]), shown);
    assert_eq!(said(&["show", file.to_str().unwrap()]), shown);
}
