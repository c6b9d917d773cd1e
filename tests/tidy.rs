//! The house rules, as a test: which file may use which, how long files, functions and lines are,
//! and what must not be left behind in them.
//!
//! Sources are read as tokens, so a word in a comment or a string is not taken for code, and code
//! in a macro's arguments is. Each check is fed a bad sample too, at the end of this file.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// The library's modules, each of which may use itself and what stands before it. A module's
/// children belong to it, unless they stand here themselves.
const ORDER: &[&str] = &[
    "sync",
    "clock",
    "record",
    "error",
    "term",
    "callbacks",
    "lock",
    "lock/memory",
    "lock/file",
    "config",
    "election",
    "elector",
    "observer",
    "reset",
    "testing",
];

/// What the pure state machine may use of the library, and what it must not touch of the world.
const ELECTION_USES: &[&str] = &["clock", "record", "error", "config"];
const ELECTION_AVOIDS: &[&str] = &[
    "crossbeam_channel",
    "fs2",
    "log",
    "parking_lot",
    "rand",
    "rustix",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::sync::Condvar",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::mpsc",
    "std::thread",
];

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;
const MAX_COLUMNS: usize = 100;

/// Where sources, scripts and texts of the project lie.
const PLACES: &[&str] = &[
    ".ci",
    "CHANGELOG.md",
    "Cargo.toml",
    "README.md",
    "benches",
    "clippy.toml",
    "deny.toml",
    "docs",
    "examples",
    "fuzz/Cargo.toml",
    "fuzz/fuzz_targets",
    "src",
    "tests",
];

#[test]
fn uses_point_one_way() {
    expect_none(each_source(|source| match source.path.strip_prefix("src/") {
        Some(path) if path.starts_with("bin/") => uses_of_the_bin(source),
        Some("lib.rs") | None => Vec::new(),
        Some(_) => uses_of_the_library(source),
    }));
}

#[test]
fn files_functions_and_lines_are_short() {
    expect_none(each_source(|source| {
        let mut complaints = long_functions(source);
        if source.path.starts_with("src/") {
            complaints.extend(long_file(source));
        }
        complaints
    }));
    expect_none(each_text(|path, text| match path.ends_with(".rs") || !path.contains('.') {
        true => long_lines(path, text),
        false => Vec::new(),
    }));
}

#[test]
fn every_source_says_what_it_is() {
    expect_none(each_source(no_opening_doc));
}

#[test]
fn nothing_is_left_undone() {
    expect_none(each_source(unfinished_code));
    expect_none(each_text(unfinished_text));
}

#[test]
fn nothing_sleeps() {
    expect_none(each_source(|source| match source.path.starts_with("src/") {
        true => sleeps(source),
        false => Vec::new(),
    }));
}

#[test]
fn no_path_of_this_machine_is_named() {
    expect_none(each_text(|path, text| machine_paths(path, text, root())));
}

#[test]
fn the_changelog_has_an_entry_for_the_version() {
    let changelog = read(&root().join("CHANGELOG.md"));
    expect_none(missing_entry(&changelog, env!("CARGO_PKG_VERSION")));
}

// ---- The checks: from a file to complaints, each of which names the file and the line. ----

fn uses_of_the_library(source: &Source) -> Vec<String> {
    let module = module_of(&source.path);
    let Some(own) = place_of(&module) else {
        let path = &source.path;
        return vec![format!("{path}:1: has no place in ORDER of tests/tidy.rs; give it one")];
    };
    if source.is_test() {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for (line, path) in paths(without_tests(source.tokens.clone())) {
        let problem = match resolve(&module, &path) {
            Some(target) => wrong_use(own, &target),
            None if path[0] == env!("CARGO_PKG_NAME") => {
                Some("the library calls itself `crate`".to_owned())
            }
            None if ORDER[own] == "election" => touches_the_world(&path),
            None => None,
        };
        complaints.extend(problem.map(|what| source.complain(line, &what)));
    }
    complaints
}

/// What is wrong with a use of `target` in the module at `own` in the order.
fn wrong_use(own: usize, target: &[String]) -> Option<String> {
    let name = target.join("::");
    let Some(place) = place_of(target) else {
        return Some(format!("`crate::{name}` hides which module it is of; name the module"));
    };
    let (user, used) = (ORDER[own], ORDER[place]);
    if user == "election" && place != own && !ELECTION_USES.contains(&used) {
        return Some(format!("the state machine must not use {used} (`crate::{name}`)"));
    }
    (place > own).then(|| format!("{user} must not use {used}, which comes later"))
}

fn touches_the_world(path: &[String]) -> Option<String> {
    let name = path.join("::");
    let avoided = ELECTION_AVOIDS.iter().find(|avoided| {
        name.strip_prefix(**avoided).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    })?;
    Some(format!("the state machine must not use {avoided} (`{name}`)"))
}

fn uses_of_the_bin(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (line, path) in paths(source.tokens.clone()) {
        let segments: Vec<&str> = path.iter().map(String::as_str).collect();
        match segments[..] {
            [env!("CARGO_PKG_NAME"), "testing", ..] => {
                complaints.push(source.complain(line, "the command must not depend on `testing`"))
            }
            // The two ways in which a binary could take a file of the library into itself.
            ["include"] => complaints.push(source.complain(line, "no `include!` in the command")),
            ["path"] if source.line(line).trim_start().starts_with("#[path") => {
                complaints.push(source.complain(line, "no `#[path]` in the command"));
            }
            _ => {}
        }
    }
    complaints
}

fn long_file(source: &Source) -> Vec<String> {
    if source.is_test() {
        return Vec::new();
    }
    let lines = lines_of_code(without_tests(source.tokens.clone())).len();
    match lines > MAX_FILE_LINES {
        true => {
            vec![source.complain(1, &format!("{lines} lines of code; at most {MAX_FILE_LINES}"))]
        }
        false => Vec::new(),
    }
}

fn long_functions(source: &Source) -> Vec<String> {
    let code = lines_of_code(source.tokens.clone());
    let mut complaints = Vec::new();
    for (line, name, body) in functions(source.tokens.clone()) {
        let lines = code.range(body).count();
        if lines > MAX_FUNCTION_LINES {
            let what = format!("`{name}` has {lines} lines of code; at most {MAX_FUNCTION_LINES}");
            complaints.push(source.complain(line, &what));
        }
    }
    complaints
}

fn long_lines(path: &str, text: &str) -> Vec<String> {
    let columns = text.lines().map(|line| line.chars().count());
    let long = columns.enumerate().filter(|(_, columns)| *columns > MAX_COLUMNS);
    long.map(|(i, columns)| format!("{path}:{}: {columns} columns; at most {MAX_COLUMNS}", i + 1))
        .collect()
}

fn no_opening_doc(source: &Source) -> Vec<String> {
    // A script that cargo can run may open with a shebang; nothing else goes before the doc.
    let first = source.text.lines().find(|line| !line.starts_with("#!/"));
    match first.is_some_and(|line| line.starts_with("//! ")) {
        true => Vec::new(),
        false => vec![source.complain(1, "must open with a `//!` that says what the file does")],
    }
}

fn unfinished_code(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (line, path) in paths(source.tokens.clone()) {
        let Some(name) =
            path.last().filter(|name| ["todo", "unimplemented"].contains(&name.as_str()))
        else {
            continue;
        };
        if source.line(line).contains(&format!("{name}!")) {
            complaints.push(source.complain(line, &format!("`{name}!` is left")));
        }
    }
    for (line, attribute) in attributes(source.tokens.clone()) {
        if attribute.into_iter().any(|token| token.to_string() == "ignore") {
            complaints.push(source.complain(line, "a test that is ignored tests nothing"));
        }
    }
    complaints
}

fn unfinished_text(path: &str, text: &str) -> Vec<String> {
    let marks = [concat!("FIX", "ME"), concat!("X", "XX")];
    let mut complaints = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let words = line.split(|c: char| !c.is_ascii_alphanumeric());
        if let Some(mark) = words.into_iter().find(|word| marks.contains(word)) {
            complaints.push(format!("{path}:{}: a {mark} is left", i + 1));
        }
    }
    complaints
}

fn sleeps(source: &Source) -> Vec<String> {
    let paths = paths(source.tokens.clone()).into_iter();
    paths
        .filter(|(_, path)| path.ends_with(&["thread".to_owned(), "sleep".to_owned()]))
        .map(|(line, _)| source.complain(line, "a wait is a select with a deadline, not a sleep"))
        .collect()
}

/// Absolute paths that exist here, in `root` or in a folder above it. Folders for temporary files
/// are anybody's, so a text may name them.
fn machine_paths(path: &str, text: &str, root: &Path) -> Vec<String> {
    let shared = [std::env::temp_dir(), "/".into(), "/tmp".into(), "/var/tmp".into()];
    let own = root.ancestors().filter(|folder| !shared.iter().any(|one| one == folder));
    let own: Vec<&Path> = own.collect();
    let named = text.lines().enumerate();
    named
        .filter(|(_, line)| own.iter().any(|folder| names_a_child(line, folder)))
        .map(|(i, _)| format!("{path}:{}: names a path of this machine", i + 1))
        .collect()
}

/// Whether `line` names something that exists in `folder`, by its absolute path.
fn names_a_child(line: &str, folder: &Path) -> bool {
    let start = format!("{}/", folder.display());
    line.match_indices(&start).any(|(at, _)| {
        let is_part = |c: char| c.is_alphanumeric() || "._-".contains(c);
        let continues = line[..at].ends_with(|c| is_part(c) || "~$}".contains(c));
        let name = line[at + start.len()..].split(|c| !is_part(c)).next().unwrap_or_default();
        !continues && !name.is_empty() && folder.join(name).exists()
    })
}

fn missing_entry(changelog: &str, version: &str) -> Vec<String> {
    let heading = format!("## [{version}]");
    let Some(at) = changelog.lines().position(|line| line.starts_with(&heading)) else {
        return vec![format!("CHANGELOG.md:1: has no entry `{heading}`")];
    };
    let entry = changelog.lines().skip(at + 1).take_while(|line| !line.starts_with("## "));
    match entry.into_iter().any(|line| line.starts_with("- ")) {
        true => Vec::new(),
        false => vec![format!("CHANGELOG.md:{}: the entry says nothing", at + 1)],
    }
}

// ---- The project's files. ----

/// A Rust source, its path relative to the project with `/` between folders.
struct Source {
    path: String,
    text: String,
    tokens: TokenStream,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let tokens = match text.parse::<TokenStream>() {
            Ok(tokens) => without_docs(tokens),
            Err(error) => panic!("{path} can't be read as tokens: {error}"),
        };
        Self { path: path.to_owned(), text: text.to_owned(), tokens }
    }

    fn line(&self, number: usize) -> &str {
        self.text.lines().nth(number - 1).unwrap_or_default()
    }

    /// A file of unit tests, declared as `#[cfg(test)] mod tests;` by the file above it.
    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    fn complain(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn each_source(check: impl Fn(&Source) -> Vec<String>) -> Vec<String> {
    each_text(|path, text| match path.ends_with(".rs") {
        true => check(&Source::new(path, text)),
        false => Vec::new(),
    })
}

/// Runs `check` on every text file; what isn't UTF-8 is no text.
fn each_text(check: impl Fn(&str, &str) -> Vec<String>) -> Vec<String> {
    let mut files = BTreeSet::new();
    PLACES.iter().for_each(|place| collect(place, &mut files));
    assert!(files.contains("src/lib.rs"), "the sources were not found");
    let mut complaints = Vec::new();
    for path in files {
        if let Ok(text) = String::from_utf8(std::fs::read(root().join(&path)).unwrap_or_default()) {
            complaints.extend(check(&path, &text));
        }
    }
    complaints
}

fn collect(path: &str, files: &mut BTreeSet<String>) {
    let Ok(kind) = root().join(path).symlink_metadata().map(|metadata| metadata.file_type()) else {
        return;
    };
    if kind.is_file() {
        files.insert(path.to_owned());
    }
    if !kind.is_dir() || path.ends_with("/target") {
        return;
    }
    for entry in root().join(path).read_dir().into_iter().flatten().flatten() {
        collect(&format!("{path}/{}", entry.file_name().to_string_lossy()), files);
    }
}

fn expect_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "house rules are broken:\n{}", complaints.join("\n"));
}

/// `src/lock/file/claim.rs` is the module `lock::file::claim`.
fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

/// The place in the order of a module, or of an item in it.
fn place_of(module: &[String]) -> Option<usize> {
    let place = |name: &String| ORDER.iter().position(|known| known == name);
    (1..=module.len()).rev().find_map(|depth| place(&module[..depth].join("/")))
}

/// What `path` means from the crate's root, where it is relative to the crate. A lone `crate` or
/// `super` is the reach of a `pub(crate)`.
fn resolve(module: &[String], path: &[String]) -> Option<Vec<String>> {
    if path.len() == 1 {
        return None;
    }
    let ups = path.iter().take_while(|segment| *segment == "super").count();
    match path[0].as_str() {
        "crate" => Some(path[1..].to_vec()),
        "super" => {
            let above = &module[..module.len().saturating_sub(ups)];
            Some([above, &path[ups..]].concat())
        }
        _ => None,
    }
}

// ---- Tokens. ----

fn without_docs(tokens: TokenStream) -> TokenStream {
    let is_doc = |attribute: &TokenStream| starts_with(attribute, "doc");
    without(tokens, &|rest| match attribute_at(rest) {
        Some((length, attribute)) if is_doc(&attribute) => length,
        _ => 0,
    })
}

/// Without the modules under `#[cfg(test)]`.
fn without_tests(tokens: TokenStream) -> TokenStream {
    without(tokens, &|rest| {
        let Some((mut end, attribute)) = attribute_at(rest) else { return 0 };
        if !attribute.to_string().replace(' ', "").starts_with("cfg(test") {
            return 0;
        }
        while let Some((length, _)) = attribute_at(&rest[end..]) {
            end += length;
        }
        match rest.get(end).map(TokenTree::to_string).as_deref() {
            // The keyword, the name, and the body or a semicolon.
            Some("mod") => end + 3,
            _ => 0,
        }
    })
}

/// Without the stretches that begin where `length` is not zero, at any depth.
fn without(tokens: TokenStream, length: &dyn Fn(&[TokenTree]) -> usize) -> TokenStream {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let skip = length(&tokens[at..]);
        if skip > 0 {
            at += skip;
            continue;
        }
        kept.push(match &tokens[at] {
            TokenTree::Group(group) => {
                let mut pruned = Group::new(group.delimiter(), without(group.stream(), length));
                pruned.set_span(group.span());
                TokenTree::Group(pruned)
            }
            other => other.clone(),
        });
        at += 1;
    }
    kept.into_iter().collect()
}

/// The attribute that `tokens` begins with: how many tokens it has, and what is in its brackets.
fn attribute_at(tokens: &[TokenTree]) -> Option<(usize, TokenStream)> {
    let is = |at: usize, c| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == c);
    let at = match (is(0, '#'), is(1, '!')) {
        (true, true) => 2,
        (true, false) => 1,
        (false, _) => return None,
    };
    match tokens.get(at) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => {
            Some((at + 1, group.stream()))
        }
        _ => None,
    }
}

fn attributes(tokens: TokenStream) -> Vec<(usize, TokenStream)> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let line = token.span().start().line;
        found.extend(attribute_at(&tokens[at..]).map(|(_, attribute)| (line, attribute)));
        if let TokenTree::Group(group) = token {
            found.extend(attributes(group.stream()));
        }
    }
    found
}

fn starts_with(tokens: &TokenStream, word: &str) -> bool {
    tokens.clone().into_iter().next().is_some_and(|first| first.to_string() == word)
}

/// The numbers of the lines on which there is code.
fn lines_of_code(tokens: TokenStream) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                lines.insert(group.span_open().start().line);
                lines.extend(lines_of_code(group.stream()));
                lines.insert(group.span_close().end().line);
            }
            // A string may have many lines.
            other => lines.extend(other.span().start().line..=other.span().end().line),
        }
    }
    lines
}

/// Every function with a body: its line, its name, and the lines between its braces.
fn functions(tokens: TokenStream) -> Vec<(usize, String, RangeInclusive<usize>)> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            found.extend(functions(group.stream()));
        }
        let (TokenTree::Ident(keyword), Some(TokenTree::Ident(name))) = (token, tokens.get(at + 1))
        else {
            continue;
        };
        if keyword != "fn" {
            continue;
        }
        let body = tokens[at + 2..].iter().find_map(|token| match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(Some(group)),
            TokenTree::Punct(end) if end.as_char() == ';' => Some(None),
            _ => None,
        });
        if let Some(Some(body)) = body {
            let (first, last) = (body.span_open().start().line, body.span_close().end().line);
            let lines = first + 1..=(last - 1).max(first + 1);
            found.push((keyword.span().start().line, name.to_string(), lines));
        }
    }
    found
}

/// Every path with its line, the braces of a `use` written out.
fn paths(tokens: TokenStream) -> Vec<(usize, Vec<String>)> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(_) => at += path_at(&tokens[at..], &[], &mut found),
            TokenTree::Group(group) => {
                found.extend(paths(group.stream()));
                at += 1;
            }
            _ => at += 1,
        }
    }
    found
}

/// Reads the path that `tokens` begins with, below `prefix`, and returns how many tokens it has.
fn path_at(
    tokens: &[TokenTree],
    prefix: &[String],
    found: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let is_colon = |at: usize| tokens.get(at).is_some_and(|token| token.to_string() == ":");
    let mut path = prefix.to_vec();
    let mut at = 0;
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(name)) => path.push(name.to_string()),
            Some(TokenTree::Punct(star)) if star.as_char() == '*' => path.push("*".to_owned()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let is_comma = |token: &TokenTree| token.to_string() == ",";
                for branch in inner.split(is_comma).filter(|branch| !branch.is_empty()) {
                    path_at(branch, &path, found);
                }
                return at + 1;
            }
            // A turbofish: the path ends before it.
            _ => break,
        }
        at += 1;
        if !(is_colon(at) && is_colon(at + 1)) {
            break;
        }
        at += 2;
    }
    found.push((tokens[0].span().start().line, path));
    at.max(1)
}

// ---- Each check can fail. ----

mod bad_samples {
    use super::*;

    #[track_caller]
    fn expect_lines(complaints: &[String], lines: &[usize]) {
        let found: Vec<usize> = complaints
            .iter()
            .map(|complaint| complaint.split(':').nth(1).unwrap_or_default().parse().unwrap_or(0))
            .collect();
        assert_eq!(found, lines, "{complaints:#?}");
    }

    #[test]
    fn a_use_of_a_later_module_is_caught() {
        let text = "use crate::clock::Clock;\nuse crate::{record, elector::{Elector as E}};\n\
                    fn f() { select! { recv(crate::config::X) -> _ => {} } }\n\
                    use super::observer::*;\nuse crate::FileLock;\nuse leaderelection::Term;\n\
                    #[cfg(test)]\nmod tests { use crate::testing; }\n";
        let complaints = uses_of_the_library(&Source::new("src/lock.rs", text));
        expect_lines(&complaints, &[2, 3, 4, 5, 6]);
        let complaints = uses_of_the_library(&Source::new("src/lock/file/claim.rs", text));
        expect_lines(&complaints, &[2, 3, 5, 6]);
        expect_lines(&uses_of_the_library(&Source::new("src/new.rs", "")), &[1]);
    }

    #[test]
    fn a_state_machine_that_touches_the_world_is_caught() {
        let text = "use crate::lock::Intent;\nuse crate::term::Term;\nuse crate::error::Error;\n\
                    use std::{fmt, thread};\nfn f() { std::fs::read(\"\"); }\n\
                    use crossbeam_channel::select;\nuse std::time::Duration;\n";
        let complaints = uses_of_the_library(&Source::new("src/election.rs", text));
        expect_lines(&complaints, &[1, 2, 4, 5, 6]);
    }

    #[test]
    fn a_command_that_goes_around_the_public_interface_is_caught() {
        let text = "use leaderelection::{Config, testing};\n#[path = \"../../term.rs\"]\n\
                    mod term;\n\
                    include!(\"../../clock.rs\");\nlet path = crate::options::path();\n";
        expect_lines(&uses_of_the_bin(&Source::new("src/bin/elect/main.rs", text)), &[1, 2, 4]);
    }

    #[test]
    fn a_long_file_is_caught_and_tests_comments_and_blank_lines_do_not_count() {
        let short = "/// Doc.\n// Comment.\n\nconst A: &str = \"\n\n\";\n".repeat(166);
        let text = format!("{short}#[cfg(test)]\nmod tests {{\n{short}}}\nfn f() {{}}\n");
        expect_lines(&long_file(&Source::new("src/a.rs", &text)), &[]);
        expect_lines(&long_file(&Source::new("src/a.rs", &format!("{text}fn g() {{\n}}"))), &[1]);
    }

    #[test]
    fn a_long_function_is_caught_wherever_it_is() {
        let with_lines = |count| {
            let body = "    // Comment.\n\n    call();\n".repeat(count);
            format!(
                "impl A {{\nfn short();\nfn f<T>(x: [u8; 3]) -> u8\nwhere T: B {{\n{body}}}\n}}\n"
            )
        };
        expect_lines(&long_functions(&Source::new("src/a.rs", &with_lines(70))), &[]);
        expect_lines(&long_functions(&Source::new("src/a.rs", &with_lines(71))), &[3]);
    }

    #[test]
    fn a_long_line_is_caught_by_its_characters() {
        let text = format!("{}\n{}\n", "é".repeat(100), "e".repeat(101));
        expect_lines(&long_lines("a", &text), &[2]);
    }

    #[test]
    fn a_file_without_an_opening_doc_is_caught() {
        expect_lines(&no_opening_doc(&Source::new("src/a.rs", "//! Does.\nfn f() {}")), &[]);
        expect_lines(&no_opening_doc(&Source::new("src/a.rs", "// Does.\nfn f() {}")), &[1]);
    }

    #[test]
    fn code_that_is_unfinished_is_caught() {
        let text = "fn f() { todo!() }\nfn g() { assert!(core::unimplemented!(\"x\")) }\n\
                    #[ignore = \"slow\"]\nfn ignore(todo: u8) {}\n#[cfg_attr(miri, ignore)]\n";
        let complaints = unfinished_code(&Source::new("tests/a.rs", text));
        expect_lines(&complaints, &[1, 2, 3]);
        let text = concat!("// FIX", "ME: later\n# X", "XX\nmktemp X", "XX", "XX", "XX\n");
        expect_lines(&unfinished_text("a", text), &[1, 2]);
    }

    #[test]
    fn a_sleep_is_caught_under_any_path() {
        let text = "fn f() { std::thread::sleep(d); }\nuse std::{thread::{self, sleep}};\n\
                    fn g() { thread::sleep(d) }\nfn sleep() {}\n// thread::sleep\n";
        expect_lines(&sleeps(&Source::new("src/a.rs", text)), &[1, 2, 3]);
    }

    #[test]
    fn a_path_of_this_machine_is_caught() {
        let text = format!("fine\nsee {}/Cargo.toml\n/tmp/x /dev/null\n", root().display());
        expect_lines(&machine_paths("a", &text, root()), &[2]);
        let text = format!("https://host{}/Cargo.toml\n", root().display());
        expect_lines(&machine_paths("a", &text, root()), &[]);
    }

    #[test]
    fn a_version_without_an_entry_is_caught() {
        let changelog = "# Changelog\n## [1.1.0] - soon\n## [1.0.0] - 2026-11-24\n- It works.\n";
        expect_lines(&missing_entry(changelog, "1.0.0"), &[]);
        expect_lines(&missing_entry(changelog, "1.1.0"), &[2]);
        expect_lines(&missing_entry(changelog, "1.2.0"), &[1]);
    }
}
