//! What the package says about the options: made from `--help`, and complete.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

use std::fs;
use std::path::Path;
use std::process::Command;

const MM4D: &str = env!("CARGO_BIN_EXE_mm4d");
const MM4SPOOL: &str = env!("CARGO_BIN_EXE_mm4spool");

/// What a program prints on standard output.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The long options that a help text describes, without dashes: those that begin a
/// line, with or without a letter.
fn options(help: &str) -> Vec<&str> {
    let option = |line: &'_ str| -> Option<usize> {
        let text = line.trim_start();
        let text = match text.as_bytes() {
            [b'-', b'A'..=b'Z' | b'a'..=b'z', b',', ..] => text[3..].trim_start(),
            _ => text,
        };
        (line.starts_with(' ') && text.starts_with("--")).then(|| line.len() - text.len() + 2)
    };
    let lines = help.lines();
    let names = lines.filter_map(|line| line[option(line)?..].split_whitespace().next());
    names.collect()
}

/// `  list      a table of the last messages`: the words.
fn commands(help: &str) -> Vec<&str> {
    let entries = help.lines().filter_map(|line| line.strip_prefix("  "));
    let entries =
        entries.filter(|line| line.starts_with(|letter: char| letter.is_ascii_lowercase()));
    let words = entries.filter_map(|line| Some(line.split_once("  ")?.0));
    words.collect()
}

struct Generated(tempfile::TempDir);

impl Generated {
    fn new() -> Generated {
        let dir = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/package/generate.sh");
        let programs = Path::new(MM4D).parent().unwrap();
        let target = dir.path().to_str().unwrap();
        output(
            script.to_str().unwrap(),
            &[programs.to_str().unwrap(), target],
        );
        Generated(dir)
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.0.path().join(file)).unwrap()
    }
}

#[test]
fn man_pages_completions_and_configuration_are_as_help_says() {
    let generated = Generated::new();
    mm4d(&generated);
    mm4spool(&generated);
    default_configuration(&generated);
}

/// Every option is in the page, in each completion, and in the file if it may be.
fn mm4d(generated: &Generated) {
    let help = output(MM4D, &["--help"]);
    let names = options(&help);
    assert!(
        names.len() > 25 && names.contains(&"tls-listen"),
        "{names:?}"
    );
    let page = generated.text("man/mm4d.8");
    let bash = generated.text("completions/mm4d.bash");
    let zsh = generated.text("completions/_mm4d");
    let fish = generated.text("completions/mm4d.fish");
    let file = generated.text("mm4d.conf");
    let command_line_only = [
        "config",
        "check",
        "add-account",
        "generate",
        "networks",
        "max",
        "help",
        "version",
    ];
    for name in names {
        let tag = format!("\\fB\\-\\-{}\\fR", name.replace('-', "\\-"));
        assert!(page.contains(&tag), "mm4d.8 lacks {name}");
        let bash = bash
            .split(['"', ' '])
            .any(|word| word == format!("--{name}"));
        assert!(bash, "mm4d.bash lacks {name}");
        assert!(zsh.contains(&format!("--{name}[")), "_mm4d lacks {name}");
        assert!(
            fish.contains(&format!(" -l {name} ")),
            "mm4d.fish lacks {name}"
        );
        let in_file = file.lines().any(|line| {
            let line = line.strip_prefix('#').unwrap_or(line);
            line.split(' ').next() == Some(name)
        });
        assert_eq!(
            in_file,
            !command_line_only.contains(&name),
            "mm4d.conf: {name}"
        );
    }
}

/// Every command is in the page and in each completion, with its options.
fn mm4spool(generated: &Generated) {
    let help = output(MM4SPOOL, &["--help"]);
    let commands = commands(&help);
    assert!(
        commands.len() > 7 && commands.contains(&"gallery"),
        "{commands:?}"
    );
    let page = generated.text("man/mm4spool.1");
    let texts = [
        "completions/mm4d.bash",
        "completions/_mm4spool",
        "completions/mm4spool.fish",
    ]
    .map(|file| generated.text(file));
    for command in commands {
        let section = format!(".SS {command}\n");
        let (_, section) = page.split_once(&section).expect(command);
        let section = section.split("\n.S").next().unwrap();
        let help = output(MM4SPOOL, &[command, "--help"]);
        for name in options(&help) {
            let tag = format!("\\fB\\-\\-{}\\fR", name.replace('-', "\\-"));
            assert!(section.contains(&tag), "mm4spool.1, {command} lacks {name}");
            for text in &texts {
                assert!(text.contains(name), "{command} lacks {name} in {text}");
            }
        }
    }
}

/// The file has no error of its own.
fn default_configuration(generated: &Generated) {
    let file = generated.0.path().join("mm4d.conf");
    let output = Command::new(MM4D)
        .arg("--check")
        .arg("--config")
        .arg(&file)
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    // That its files are missing is no fault of it.
    assert!(!errors.contains("mm4d.conf:"), "{errors}");
    assert!(errors.contains("/etc/mm4d/accounts"), "{errors}");
}
