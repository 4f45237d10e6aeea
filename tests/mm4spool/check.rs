//! `check` and `respond`.

use super::*;

#[test]
fn everything_that_is_wrong_is_found() {
    let place = Place::with_samples();
    let output = mm4spool(&["check", "--format", "lines", place.path()]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    for wanted in [
        "000004@mm4.example.com: missing-field: X-Mms-Message-ID is missing (mandatory in MM4_forward.REQ, TS 23.140 8.4.1)",
        "000004@mm4.example.com: start-unresolved: Start names <nowhere>",
        "000004@mm4.example.com: smil-unresolved: part 1: slide 1 shows cid:lost",
        "000004@mm4.example.com: bad-base64: part 3: ",
        "000004@mm4.example.com: unknown-media-type: part 4: application/x-carrier-secret",
        "000001@mm4.example.com: duplicate: account carrier sent transaction 38637220220126001740001@mms.example.net also in 20220125T221744.001000Z-4711-000005@mm4.example.com",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    let output = mm4spool(&[
        "check",
        "--format",
        "lines",
        place.path(),
        "000002",
        "000011",
    ]);
    assert_eq!(
        (output.status.code(), stdout(&output).as_str()),
        (Some(0), "")
    );
    let output = mm4spool(&["check", "--format", "lines", place.path(), "4711-000005"]);
    assert_eq!(stdout(&output).lines().count(), 1);
    assert!(stdout(&output).contains("duplicate"));
}

#[test]
fn a_limit_counts_the_bytes_of_the_message_and_not_the_trace() {
    let place = Place::with_samples();
    let size = at(&object_at(&place, "000002"), "/size").as_u64().unwrap();
    let code = |limit: u64| {
        mm4spool(&[
            "check",
            "--max-size",
            &limit.to_string(),
            place.path(),
            "000002",
        ])
        .status
        .code()
    };
    assert_eq!(code(size), Some(0));
    assert_eq!(code(size - 1), Some(1));
    let file = fs::metadata(place.file("20220125T221745.002000Z-4711-000002@mm4.example.com"));
    assert!(file.unwrap().len() > size);
}

#[test]
fn a_check_is_a_report_by_account_and_code_with_counts() {
    let place = Place::with_samples();
    let output = mm4spool(&["check", place.path()]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    for wanted in [
        "carrier: 10 messages, ",
        "  error    missing-field ",
        "  warning  smil-unresolved ",
        "  note     unknown-media-type ",
        "X-Mms-Message-ID is missing",
        "4711-000004",
        "11 messages of 2 accounts: ",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    let clean = said(&["check", place.path(), "000002", "000011"]);
    assert!(
        clean.ends_with("2 messages of 1 account: nothing is wrong\n"),
        "{clean}"
    );
}

#[test]
fn findings_as_json_have_their_severity_and_decide_the_exit_status() {
    let place = Place::with_samples();
    let output = mm4spool(&["check", "--json", place.path()]);
    let found = objects(&stdout(&output));
    assert!(found.len() > 5);
    for object in &found {
        let keys: Vec<&str> = object
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(keys, ["account", "code", "id", "part", "severity", "text"]);
    }
    let duplicate = found
        .iter()
        .find(|object| at(object, "/code") == "duplicate")
        .unwrap();
    assert_eq!(at(duplicate, "/severity"), "warning");
    assert_eq!(at(duplicate, "/account"), "carrier");
    // A duplicate alone is a warning.
    let code = |options: &[&str]| {
        let arguments = [&["check"], options, &[place.path(), "000005"]].concat();
        mm4spool(&arguments).status.code()
    };
    assert_eq!(code(&[]), Some(0));
    assert_eq!(code(&["--strict"]), Some(1));
    assert_eq!(code(&["--strict", "--ignore", "duplicate"]), Some(0));
    let ignored = [
        "--ignore",
        "missing-field,bad-base64",
        "--ignore",
        "duplicate",
    ];
    let arguments = [&["check", "--json"], &ignored[..], &[place.path()]].concat();
    let text = stdout(&mm4spool(&arguments));
    for code in ["missing-field", "bad-base64", "duplicate"] {
        assert!(!text.contains(code), "{code}: {text}");
    }
}

#[test]
fn each_account_can_have_a_profile() {
    let place = Place::with_samples();
    let profile = place.dir.path().join("carriers.profile");
    fs::write(
        &profile,
        "[carrier]\nmax-size = 1\nignore = missing-field\n[other-carrier]\nmax-subject = 99\n",
    )
    .unwrap();
    let arguments = [
        "check",
        "--json",
        "--profile",
        profile.to_str().unwrap(),
        place.path(),
    ];
    let found = objects(&stdout(&mm4spool(&arguments)));
    let count = |account: &str, code: &str| {
        let found = found.iter();
        found
            .filter(|object| at(object, "/account") == account && at(object, "/code") == code)
            .count()
    };
    assert_eq!(count("carrier", "over-limit"), 10);
    assert_eq!(count("carrier", "missing-field"), 0);
    assert_eq!(count("other-carrier", "over-limit"), 0);
}

#[test]
fn a_profile_limits_size_parts_recipients_subject_and_types() {
    let place = Place::with_samples();
    let profile = place.dir.path().join("carrier.profile");
    fs::write(
        &profile,
        "# A carrier of our own.\nmax-size = 10K\nmax-parts = 3 # the presentation too\n\
         max-recipients=20\nmax-subject = 10\ntypes = image/*, text/plain application/smil\n",
    )
    .unwrap();
    let profile = profile.to_str().unwrap();
    let text = |id: &str| {
        stdout(&mm4spool(&[
            "check",
            "--format",
            "lines",
            "--profile",
            profile,
            place.path(),
            id,
        ]))
    };
    let found = text("000002");
    for wanted in [
        "over-limit: 11385 bytes, 1145 over the limit of 10240",
        "over-limit: 4 parts, 1 over the limit of 3",
        "over-limit: 14 characters of subject, 4 over the limit of 10",
        "type-not-allowed: part 4: the profile does not allow audio/wav",
    ] {
        assert!(found.contains(wanted), "{wanted}\n{found}");
    }
    assert!(text("000010").contains("over-limit: 21 recipients, 1 over the limit of 20"));
}

#[test]
fn a_response_has_the_right_recipient_and_names_its_request() {
    let place = Place::with_samples();
    let res = mm4spool(&[
        "respond",
        "--status",
        "error-Network-Problem",
        "--text",
        "try later",
        place.path(),
        "4711-000001",
    ]);
    assert!(res.status.success(), "{}", stderr(&res));
    let res = stdout(&res);
    for wanted in [
        "From: system-user@mms.example.com\n",
        "To: PostMaster@mms.example.net\n",
        "X-Mms-3GPP-MMS-Version: 6.10.0\n",
        "X-Mms-Message-Type: MM4_forward.RES\n",
        "X-Mms-Transaction-ID: \"38637220220126001740001@mms.example.net\"\n",
        "X-Mms-Message-ID: \"kyuoj0sgre0001@w.mms.example.net\"\n",
        "X-Mms-Request-Status-Code: Error-network-problem\n",
        "X-Mms-Status-Text: try later\n",
    ] {
        assert!(res.contains(wanted), "{wanted}\n{res}");
    }
    assert!(res.ends_with("\n\n") && !res.contains('\r'));
    // It is itself a message without a fault.
    let found = object(res.as_bytes());
    assert_eq!(at(&found, "/findings"), &Value::Array(Vec::new()));
    assert!(
        said(&["respond", place.path(), "000007"]).contains("To: system-user@mms.example.net\n")
    );
    assert!(said(&["respond", place.path(), "000008"]).contains("MM4_read_reply_report.RES\n"));
}

#[test]
fn no_response_is_made_where_none_is_wanted() {
    let place = Place::with_samples();
    assert!(refused(1, &["respond", place.path(), "000009"]).contains("itself an answer"));
    assert!(refused(1, &["respond", place.path(), "000004"]).contains("--force"));
    // Without a Message-ID in the REQ there is none in the RES.
    let res = said(&["respond", "--force", place.path(), "000004"]);
    assert!(res.contains("X-Mms-Request-Status-Code: Ok\n") && !res.contains("X-Mms-Message-ID"));
}
