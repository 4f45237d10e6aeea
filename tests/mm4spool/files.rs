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
    assert!(page.contains("<audio controls preload=\"none\" src=\"data:audio/wav;base64,"));
    assert!(page.contains("Content-Security-Policy"));
    for unwanted in [
        "<script",
        "<svg",
        "<iframe",
        "<link",
        "http:",
        "https:",
        " style=",
        " onclick=",
        "href=\"javascript:",
    ] {
        // The subject of a sample says so, but only as text.
        let found = page.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !found.replace("%3Csvg", "").contains(unwanted),
            "{unwanted}"
        );
    }
    // Every link opens a message of this page, or saves data.
    for link in page.split(" href=\"").skip(1) {
        assert!(
            link.starts_with("#m") || link.starts_with("data:application/octet-stream;base64,")
        );
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    let newest = page.find("Fwd: Greetings").unwrap();
    assert!(newest < page.find("Greetings from the lake").unwrap());
    let last = said(&["gallery", "--last", "1", place.path()]);
    assert_eq!(last.matches("<article").count(), 1);
    assert!(last.contains("1 of 11 messages"));
}

#[test]
fn a_saved_part_of_the_gallery_is_that_of_the_mail() {
    let place = Place::with_samples();
    let page = said(&[
        "gallery",
        place.path(),
        "--transaction",
        "38637220220126001740002",
    ]);
    let found = page.split("<a class=\"save\" href=\"").skip(1).map(|link| {
        let data = link.split_once("base64,").unwrap().1;
        let (data, rest) = data.split_once('"').unwrap();
        let name = rest.split('"').nth(1).unwrap();
        (name.to_owned(), decoded(data))
    });
    let found: std::collections::BTreeMap<_, _> = found.collect();
    let object = object_at(&place, "000002");
    for part in at(&object, "/parts").as_array().unwrap() {
        let name = at(part, "/name").as_str().unwrap();
        let bytes = found
            .get(name)
            .unwrap_or_else(|| panic!("{name}: {:?}", found.keys()));
        assert_eq!(at(part, "/sha256"), &sha256(bytes));
    }
}

fn decoded(base64: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD
        .decode(base64)
        .unwrap()
}

#[test]
fn a_request_and_its_answer_in_the_gallery_open_each_other() {
    let place = exchange();
    let page = said(&["gallery", place.path()]);
    let link = |text: &str| {
        let before = page.split(text).next().unwrap();
        before
            .rsplit("href=\"#")
            .next()
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned()
    };
    let article = |id: &str| {
        let rest = page.split(&format!("<article id=\"{id}\"")).nth(1).unwrap();
        rest.split("</article>").next().unwrap().to_owned()
    };
    let answer = link("Answered: Ok after 0.8 s");
    assert!(article(&answer).contains("ID 20220125T221700.800000Z"));
    assert!(
        article(&link("Answers the request of 22:17:00")).contains("ID 20220125T221700.000000Z")
    );
    let report = link("Delivery report: Retrieved after 2 min, from +972500000002");
    assert!(article(&report).contains("ID 20220125T221900"));
}

#[test]
fn an_empty_spool_says_how_to_send_a_first_message() {
    let place = Place::new();
    let page = said(&["gallery", place.path()]);
    assert!(
        page.contains("No messages yet") && page.contains("swaks --server"),
        "{page}"
    );
    let place = exchange();
    let page = said(&["gallery", "--subject", "nothing has this", place.path()]);
    assert!(page.contains("No message matches"), "{page}");
}

#[test]
fn the_filters_of_the_gallery_count_what_they_select() {
    let page = said(&["gallery", exchange().path()]);
    for chip in [
        "All <small>5</small>",
        "Messages <small>2</small>",
        "Answers <small>2</small>",
        "Reports <small>1</small>",
        "<bdi>north</bdi> <small>2</small>",
        "<bdi>south</bdi> <small>3</small>",
    ] {
        assert!(page.contains(chip), "{chip}: {page}");
    }
    assert_eq!(page.matches("<details class=\"m k1 a0").count(), 1);
}

#[test]
fn no_part_is_written_into_a_spool() {
    let place = Place::with_samples();
    let count = |sub: &str| fs::read_dir(place.dir.path().join(sub)).unwrap().count();
    for sub in [
        "new",
        "cur",
        "tmp",
        "new/../cur",
        "new/x",
        "new/no/../../cur",
    ] {
        let to = place.dir.path().join(sub);
        let to = to.to_str().unwrap();
        for selected in [
            ["--has", "image", place.path()].as_slice(),
            &[place.path(), "000002"],
        ] {
            let text = refused(1, &[&["extract", "--to", to], selected].concat());
            assert!(
                text.contains("--to") && text.contains("elsewhere"),
                "{text}"
            );
        }
    }
    assert_eq!((count("new"), count("cur"), count("tmp")), (11, 0, 0));
    let link = place.dir.path().join("link");
    std::os::unix::fs::symlink("new", &link).unwrap();
    let to = link.to_str().unwrap();
    refused(1, &["extract", "--to", to, place.path(), "000002"]);
    assert_eq!((count("new"), count("cur"), count("tmp")), (11, 0, 0));
    // A directory that is only called like that is no spool's.
    let other = tempfile::tempdir().unwrap();
    let to = other.path().join("new");
    for _ in ["missing", "there"] {
        let to = to.to_str().unwrap();
        said(&["extract", "--to", to, place.path(), "000002"]);
    }
}

#[test]
fn in_a_spool_a_part_goes_to_standard_output_and_nowhere_else() {
    let place = Place::with_samples();
    let extract = |to: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_mm4spool"))
            .current_dir(place.dir.path().join("new"))
            .args(["extract", "--part", "1"])
            .args(to)
            .args([place.path(), "000002"])
            .output()
            .unwrap()
    };
    let written = extract(&["--to", "-"]);
    assert!(written.status.success() && !written.stdout.is_empty());
    assert_eq!(extract(&[]).status.code(), Some(1));
    let count = fs::read_dir(place.dir.path().join("new")).unwrap().count();
    assert_eq!(count, 11);
}

#[test]
fn a_gallery_is_never_written_over_a_message_or_into_the_spool() {
    let place = Place::with_samples();
    let id = object_at(&place, "000002")["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let message = place.file(&id);
    let before = fs::read(&message).unwrap();
    let symbolic = place.dir.path().join("symbolic.html");
    std::os::unix::fs::symlink(&message, &symbolic).unwrap();
    let hard = place.dir.path().join("hard.html");
    fs::hard_link(&message, &hard).unwrap();
    for path in [
        message.clone(),
        symbolic,
        hard,
        place.dir.path().join("new/page.html"),
        place.dir.path().join("new/../cur/page.html"),
        place.dir.path().join("tmp/draft.eml"),
    ] {
        let path = path.to_str().unwrap();
        let text = refused(1, &["gallery", "--output", path, place.path()]);
        assert!(
            text.contains("--output") && text.contains("spool"),
            "{text}"
        );
        assert_eq!(fs::read(&message).unwrap(), before, "{path}");
    }
    let file = message.to_str().unwrap();
    refused(1, &["gallery", "--output", file, file]);
    assert_eq!(fs::read(&message).unwrap(), before);
    let names = |sub: &str| fs::read_dir(place.dir.path().join(sub)).unwrap().count();
    assert_eq!((names("new"), names("cur"), names("tmp")), (11, 0, 0));
    // A directory of mails may have the page beside them, under a name that is no mail's.
    let new = place.dir.path().join("new");
    let page = new.join("page.html");
    let (new, page) = (new.to_str().unwrap(), page.to_str().unwrap());
    said(&["gallery", "--output", page, new]);
    refused(
        1,
        &["gallery", "--output", &page.replace(".html", ".eml"), new],
    );
}
