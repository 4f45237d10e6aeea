//! `extract` and `gallery`: what is written into files.

use super::*;

#[test]
fn parts_are_extracted_as_they_were_before_they_were_encoded() {
    let place = Place::with_samples();
    let to = place.dir.path().join("out");
    let to = to.to_str().unwrap();
    let written = said(&["extract", "--to", to, place.path(), "000002"]);
    let names: Vec<_> = written
        .lines()
        .map(|line| line.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(names, ["0.smil", "cake.png", "t.txt", "chime.wav"]);
    let found = object_at(&place, "000002");
    for (index, line) in written.lines().enumerate() {
        let octets = fs::read(line).unwrap();
        assert_eq!(
            at(&found, &format!("/parts/{index}/sha256")),
            &sha256(&octets)
        );
    }
    let again = said(&["extract", "--part", "2", "--to", to, place.path(), "000002"]);
    assert!(again.ends_with("/cake-2.png\n"), "{again}");
}

#[test]
fn hostile_names_stay_in_the_directory() {
    let place = Place::with_samples();
    let to = place.dir.path().join("out");
    let written = said(&[
        "extract",
        "--to",
        to.to_str().unwrap(),
        place.path(),
        "000006",
    ]);
    assert_eq!(written.lines().count(), 6);
    for line in written.lines() {
        assert_eq!(Path::new(line).parent(), Some(to.as_path()));
    }
    assert_eq!(fs::read_dir(&to).unwrap().count(), 6);
    assert!(!Path::new("/tmp/mm4spool-escaped.txt").exists());
}

#[test]
fn a_gallery_is_a_page_complete_in_itself() {
    let place = Place::with_samples();
    let path = place.dir.path().join("page.html");
    let path = path.to_str().unwrap();
    assert_eq!(said(&["gallery", "--output", path, place.path()]), "");
    let page = fs::read_to_string(path).unwrap();
    assert_eq!(page.matches("<article").count(), 11);
    assert_eq!(page.matches("<img src=\"data:image/png;base64,").count(), 6);
    assert!(page.contains("<audio controls src=\"data:audio/wav;base64,"));
    assert!(page.contains("Content-Security-Policy"));
    for unwanted in [
        "<script",
        "<svg",
        "<iframe",
        "<link",
        "<a ",
        "http:",
        "https:",
        " style=",
        "javascript:",
    ] {
        // The subject of a sample says so, but only as text.
        assert!(!page.contains(unwanted), "{unwanted}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    let newest = page.find("Fwd: Greetings").unwrap();
    assert!(newest < page.find("Greetings from the lake").unwrap());
    let last = said(&["gallery", "--last", "1", place.path()]);
    assert_eq!(last.matches("<article").count(), 1);
    assert!(last.contains("the last 1 of 11 messages"));
}
