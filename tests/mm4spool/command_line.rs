//! What the command line takes: options, help, exit status, the default spool, `-`.

use super::*;

#[test]
fn a_wrong_command_line_exits_2_with_one_line_that_helps() {
    let place = Place::new();
    for (arguments, wanted) in [
        (&[][..], "COMMAND"),
        (&["look"][..], "look"),
        (&["help", "look"][..], "look"),
        (&["list", "--lst", "3", place.path()][..], "lst"),
        (&["list", "--last", "many", place.path()][..], "--last"),
        (&["list", "--since", "soon", place.path()][..], "--since"),
        (&["list", "--type", "SMS", place.path()][..], "--type"),
        (&["list", place.path(), "more"][..], "more"),
        (&["list", "--has", "pictures", place.path()][..], "--has"),
        (&["list", "--color", "blue", place.path()][..], "--color"),
        (&["list", "--until", "soon", place.path()][..], "--until"),
        (&["extract", place.path()][..], "ID"),
        (&["thread", place.path()][..], "ID"),
        (&["wait", "--count", "0", place.path()][..], "--count"),
        (&["wait", "-"][..], "-"),
        (&["follow", "-"][..], "-"),
        (
            &["wait", "--timeout", "soon", place.path()][..],
            "--timeout",
        ),
        (
            &["check", "--ignore", "nonsense", place.path()][..],
            "--ignore",
        ),
        (&["check", "--format", "xml", place.path()][..], "--format"),
        (
            &["check", "--json", "--format", "lines", place.path()][..],
            "--json",
        ),
        (&["show", "--raw", "--json", place.path(), "x"][..], "--raw"),
        (&["extract", "--part", "x", place.path(), "x"][..], "--part"),
        (
            &["check", "--max-size", "big", place.path()][..],
            "--max-size",
        ),
        (
            &["respond", "--status", "fine", place.path(), "x"][..],
            "--status",
        ),
        (
            &["respond", "--text", "a\nb", place.path(), "x"][..],
            "--text",
        ),
    ] {
        let text = refused(2, arguments);
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains("--help"), "{text}");
    }
}

#[test]
fn what_cannot_be_done_exits_1() {
    let place = Place::with_samples();
    assert!(refused(1, &["list", "/nonexistent/spool"]).contains("/nonexistent/spool"));
    assert!(refused(1, &["show", place.path(), "2031"]).contains("2031"));
    let several = refused(1, &["show", place.path(), "20220125"]);
    assert!(several.contains("11 messages"), "{several}");
    assert!(several.contains("20220125T221744.001000Z-4711-000001@mm4.example.com"));
    assert!(refused(1, &["extract", "--part", "9", place.path(), "000001"]).contains("--part 9"));
    let profile = place.dir.path().join("profile");
    fs::write(&profile, "max-size = 300K\nmax-colours = 3\n").unwrap();
    let text = refused(
        1,
        &[
            "check",
            "--profile",
            profile.to_str().unwrap(),
            place.path(),
        ],
    );
    assert!(
        text.contains("line 2") && text.contains("max-colours"),
        "{text}"
    );
}

#[test]
fn every_command_has_its_help() {
    for name in [
        "list", "show", "thread", "extract", "gallery", "follow", "wait", "check", "respond",
        "serve",
    ] {
        let help = said(&[name, "--help"]);
        for section in ["Examples:", "Exit status:", "Environment:", "MM4SPOOL"] {
            assert!(help.contains(section), "{name}: {section}");
        }
        assert!(help.contains(&format!("Usage: mm4spool {name}")), "{help}");
        assert_eq!(said(&[name, "-h"]), help);
        assert_eq!(said(&["help", name]), help);
        assert!(said(&["--help"]).contains(name));
    }
    assert_eq!(
        said(&["-V"]),
        format!("mm4spool {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let place = Place::with_samples();
    for arguments in [
        &["list", "--json", place.path()][..],
        &["show", place.path(), "000001"][..],
        &["gallery", place.path()][..],
        &["--help"][..],
    ] {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        let output = command(arguments).stdout(writer).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        assert_eq!(stderr(&output), "");
    }
}

#[test]
fn without_an_id_the_newest_is_shown_and_without_a_spool_the_default() {
    let place = exchange();
    let shown = said(&["show", place.path()]);
    assert!(shown.starts_with("20220125T222100"), "{shown}");
    let in_default = |arguments: &[&str]| {
        let output = command(arguments)
            .env("MM4SPOOL", place.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
        stdout(&output)
    };
    assert_eq!(in_default(&["show"]), shown);
    assert_eq!(in_default(&["show", "20220125T222100"]), shown);
    assert_eq!(in_default(&["list"]), said(&["list", place.path()]));
    assert_eq!(
        in_default(&["thread", "222100"]),
        said(&["thread", place.path(), "222100"])
    );
    assert!(refused(1, &["list"]).contains("/var/spool/mm4d"));
}

#[test]
fn a_hyphen_is_standard_input_and_output() {
    let place = Place::with_samples();
    let mail = sample("two_slides");
    let input = place.dir.path().join("input");
    fs::write(&input, &mail).unwrap();
    let read = |arguments: &[&str]| {
        let input = fs::File::open(&input).unwrap();
        let output = command(arguments).stdin(input).output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
        output.stdout
    };
    let shown = String::from_utf8(read(&["show", "-"])).unwrap();
    assert!(shown.contains("Greetings from the lake"), "{shown}");
    assert_eq!(read(&["show", "--raw", "-"]), mail);
    let found = objects(&String::from_utf8(read(&["show", "--json", "-"])).unwrap()).remove(0);
    let part = read(&["extract", "--part", "2", "--to", "-", "-"]);
    assert_eq!(at(&found, "/parts/1/sha256"), &sha256(&part));
    assert!(refused(2, &["extract", "--to", "-", place.path(), "000001"]).contains("--part N"));
    let page = said(&["gallery", "--output", "-", "--last", "1", place.path()]);
    assert!(page.ends_with("</html>\n"));
}
