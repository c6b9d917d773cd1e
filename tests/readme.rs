//! The README's first command does what the README says, and what it names is there.

use std::path::Path;
use std::process::{Command, Stdio};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("there is a README.md")
}

#[test]
fn the_first_command_does_the_main_job_and_only_once() {
    let readme = readme();
    // Cargo has built the command already; the release build of the README would take minutes.
    let arguments = readme
        .lines()
        .find_map(|line| line.strip_prefix("cargo run --release --features cli -- "))
        .expect("the README begins with a command to run");
    let folder = tempfile::tempdir().expect("a temporary directory");
    let run = || {
        let output = Command::new("timeout")
            .args(["60", "sh", "-c", &format!("exec \"$0\" {arguments}")])
            .arg(env!("CARGO_BIN_EXE_elect"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("there is a shell");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("the output is text")
    };
    assert_eq!(run(), "I lead\n");
    assert_eq!(run(), "", "the task was completed before");
}

#[test]
fn every_link_to_a_file_leads_somewhere() {
    let readme = readme();
    let targets = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for target in targets.filter(|target| !target.contains("://")) {
        assert!(root().join(target).exists(), "the README links to {target}, which is not there");
    }
}

#[test]
fn every_check_that_it_names_is_there() {
    let readme = readme();
    let words: Vec<&str> = readme.split(|c: char| c.is_whitespace() || c == '`').collect();
    let tests = words.windows(2).filter(|pair| pair[0] == "--test").map(|pair| pair[1]);
    for test in tests {
        let exists = [format!("tests/{test}.rs"), format!("tests/{test}/main.rs")]
            .iter()
            .any(|path| root().join(path).exists());
        assert!(exists, "the README names the test {test}, which is not there");
    }
    for script in words.iter().filter(|word| word.starts_with("tests/")) {
        assert!(root().join(script).exists(), "the README names {script}, which is not there");
    }
}
