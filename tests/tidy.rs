//! The house rules as a test: floors, the place of `unsafe` and of clocks, headers, lengths,
//! banned words. Each rule is a function from text to complaints, and has a test that it can
//! complain.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder (or root file) of `src/` imports only from lower floors.
const FLOORS: [&[&str]; 6] = [
    &["base"],
    &["rtp", "rtcp", "payload", "sdp", "model"],
    &[
        "auth",
        "srtp",
        "transport",
        "stream",
        "bwe",
        "signal",
        "datachannel",
    ],
    &["peer", "router", "store"],
    &["engine", "control"],
    &[
        "worker", "net", "front", "config", "metrics", "main", "fuzzing", "bench", "doctor",
    ],
];

/// Imports within a floor that are allowed all the same: who, from whom.
const SIDEWAYS: [(&str, &str); 18] = [
    ("fuzzing", "bench"),
    ("fuzzing", "config"),
    ("fuzzing", "front"),
    ("fuzzing", "worker"),
    ("bench", "net"),
    ("bench", "worker"),
    ("doctor", "config"),
    ("doctor", "front"),
    ("doctor", "net"),
    ("peer", "router"),
    ("transport", "srtp"),
    ("stream", "srtp"),
    ("front", "worker"),
    ("front", "metrics"),
    ("front", "config"),
    ("worker", "net"),
    ("worker", "metrics"),
    ("sdp", "payload"),
];

const MAX_COLUMNS: usize = 100;
const MAX_FILE_LINES: usize = 800;
const MAX_FUNCTION_LINES: usize = 70;

/// Spelt in halves, so that this file does not hold them.
const BANNED: [[&str; 2]; 6] = [
    ["TO", "DO"],
    ["FIX", "ME"],
    ["XX", "X"],
    ["to", "do!("],
    ["unimpl", "emented!("],
    ["db", "g!("],
];

const CLOCK_READS: [&str; 3] = ["Instant::now(", "SystemTime::now(", "thread::sleep("];

#[test]
fn the_house_is_tidy() {
    let mut complaints = Vec::new();
    let mut seen = 0;
    for folder in ["src", "tests", "benches", "fuzz"] {
        for path in rust_files(Path::new(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            complaints.extend(check(&path.to_string_lossy(), &text));
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} files were found");
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn check(path: &str, text: &str) -> Vec<String> {
    let mut complaints = header(text);
    complaints.extend(columns(text));
    complaints.extend(banned(text));
    if let Some(inside) = path.strip_prefix("src/") {
        let product = without_tests(inside, text);
        complaints.extend(functions(product));
        complaints.extend(file_length(product));
        complaints.extend(floors(inside, product));
        complaints.extend(clocks(inside, product));
    }
    complaints.extend(unsafe_code(path, text));
    complaints.iter().map(|c| format!("{path}: {c}")).collect()
}

fn header(text: &str) -> Vec<String> {
    let is_there = text.starts_with("//!") || text.starts_with("#![");
    complain_unless(is_there, "does not begin with a //! header")
}

/// Addresses cannot be broken, so their lines may be long.
fn columns(text: &str) -> Vec<String> {
    numbered(text)
        .filter(|(_, line)| line.chars().count() > MAX_COLUMNS && !line.contains("://"))
        .map(|(number, _)| format!("line {number} is longer than {MAX_COLUMNS} columns"))
        .collect()
}

fn banned(text: &str) -> Vec<String> {
    let words = BANNED.map(|halves| halves.concat());
    numbered(text)
        .flat_map(|(number, line)| {
            let found = words.iter().filter(move |word| has_word(line, word));
            found.map(move |word| format!("line {number} holds {word}"))
        })
        .collect()
}

fn file_length(product: &str) -> Vec<String> {
    let lines = product.lines().count();
    let complaint = format!("{lines} lines without tests");
    complain_unless(lines <= MAX_FILE_LINES, &complaint)
}

/// Finds each `fn` by its indentation: rustfmt puts its closing brace into the same column.
fn functions(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut open: Option<(usize, usize, &str)> = None;
    for (number, line) in numbered(text) {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        match open {
            None if is_function(code) && !code.ends_with(['}', ';']) => {
                open = Some((number, indent, code));
            }
            Some((begin, depth, name)) if indent == depth && code.starts_with('}') => {
                let lines = number - begin + 1;
                if lines > MAX_FUNCTION_LINES {
                    complaints.push(format!("line {begin}: {lines} lines: {name}"));
                }
                open = None;
            }
            Some((_, depth, _)) if indent == depth && code.ends_with(';') => open = None,
            None | Some(_) => {}
        }
    }
    complaints
}

fn is_function(code: &str) -> bool {
    let words = ["pub", "const", "async", "unsafe", "extern", "\"C\""];
    let mut rest = code.split_whitespace();
    rest.find(|word| !words.contains(word) && !word.starts_with("pub(")) == Some("fn")
}

fn floors(inside: &str, product: &str) -> Vec<String> {
    let from = first_segment(inside);
    let Some(own) = floor_of(from) else {
        return complain_unless(from == "lib", &format!("the folder {from} is on no floor"));
    };
    let mut complaints = Vec::new();
    for (number, line) in numbered(product).filter(|(_, line)| !is_comment(line)) {
        for to in imports(line) {
            let allowed = floor_of(to).is_some_and(|floor| floor < own)
                || to == from
                || from == "main"
                || SIDEWAYS.contains(&(from, to));
            if !allowed {
                complaints.push(format!("line {number}: {from} may not import {to}"));
            }
        }
    }
    complaints
}

/// Every folder that a line names behind `crate::`, one level of braces included.
fn imports(line: &str) -> Vec<&str> {
    line.split("crate::")
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or("").split(',').collect(),
            None => vec![rest],
        })
        .map(|path| {
            let path = path.trim();
            let end = path.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            &path[..end.unwrap_or(path.len())]
        })
        .filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect()
}

fn clocks(inside: &str, product: &str) -> Vec<String> {
    if ["worker/clock.rs", "main.rs"].contains(&inside) {
        return Vec::new();
    }
    numbered(product)
        .filter(|(_, line)| !is_comment(line))
        .filter(|(_, line)| CLOCK_READS.iter().any(|read| line.contains(read)))
        .map(|(number, _)| format!("line {number} reads a clock or sleeps"))
        .collect()
}

fn unsafe_code(path: &str, text: &str) -> Vec<String> {
    // An allocator that counts can be written in no other way.
    if path.starts_with("src/net/sys/") || path == "tests/allocations.rs" {
        return Vec::new();
    }
    let word = ["un", "safe"].concat();
    numbered(text)
        .filter(|(_, line)| !is_comment(line))
        .filter(|(_, line)| {
            let opens = [" {", " fn", " impl", " extern"];
            opens
                .iter()
                .any(|next| has_word(line, &format!("{word}{next}")))
        })
        .map(|(number, _)| format!("line {number}: {word} outside src/net/sys"))
        .collect()
}

fn floor_of(folder: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&folder))
}

fn first_segment(inside: &str) -> &str {
    let segment = inside.split('/').next().unwrap_or(inside);
    segment.strip_suffix(".rs").unwrap_or(segment)
}

/// The text up to its unit tests, which by house order come last; empty for a file of tests.
fn without_tests<'a>(inside: &str, text: &'a str) -> &'a str {
    if inside.ends_with("tests.rs") || inside.contains("/tests/") {
        return "";
    }
    ["mod tests", "pub(crate) mod tests"]
        .into_iter()
        .fold(text, |text, tests| {
            let start = format!("\n#[cfg(test)]\n{tests}");
            text.split(start.as_str()).next().unwrap_or("")
        })
}

/// Whether `line` holds `word` with no letter or digit directly before or behind it.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let joins = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let before = line[..at].chars().next_back();
        let behind = line[at + word.len()..].chars().next();
        let is_open = word.ends_with('(');
        !before.is_some_and(joins) && (is_open || !behind.is_some_and(joins))
    })
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

fn complain_unless(is_well: bool, complaint: &str) -> Vec<String> {
    (!is_well)
        .then(|| complaint.to_owned())
        .into_iter()
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            if !["target", "node_modules", "corpus", "artifacts"].contains(&name.as_str())
                && !name.starts_with('.')
            {
                files.extend(rust_files(&path));
            }
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

mod can_complain {
    use super::*;

    #[test]
    fn about_floors() {
        let use_of = |folder: &str| format!("//! x\nuse crate::{folder}::thing;\n");
        let cases = [
            ("rtp/mod.rs", "base", 0),
            ("rtp/mod.rs", "rtcp", 1),
            ("base/ids.rs", "model", 1),
            ("engine/mod.rs", "control", 1),
            ("control/mod.rs", "engine", 1),
            ("control/x.rs", "worker", 1),
            ("front/x.rs", "control", 0),
            ("front/x.rs", "worker", 0),
            ("worker/x.rs", "net", 0),
            ("worker/x.rs", "front", 1),
            ("front/x.rs", "front", 0),
            ("main.rs", "front", 0),
            ("elsewhere/mod.rs", "base", 1),
        ];
        for (path, to, expected) in cases {
            assert_eq!(floors(path, &use_of(to)).len(), expected, "{path} -> {to}");
        }
        let braces = "use crate::{base::ids, control::{self}};";
        assert_eq!(imports(braces), ["base", "control"]);
        assert_eq!(imports("fn f(x: crate::net::Y, z: crate::Z)"), ["net"]);
        assert_eq!(floors("rtp/x.rs", "// crate::engine\n").len(), 0);
        let tests = "//! x\n#[cfg(test)]\nmod tests {\nuse crate::engine::X;\n}\n";
        assert_eq!(
            floors("rtp/x.rs", without_tests("rtp/x.rs", tests)).len(),
            0
        );
    }

    #[test]
    fn about_words_lines_headers_and_clocks() {
        for [one, two] in BANNED {
            assert_eq!(banned(&format!("a {one}{two} b")).len(), 1, "{one}{two}");
        }
        assert_eq!(banned("mastodon XXXL").len(), 0);
        assert_eq!(columns(&"x".repeat(101)).len(), 1);
        assert_eq!(columns(&format!("http://{}", "x".repeat(101))).len(), 0);
        assert_eq!(columns(&"é".repeat(100)).len(), 0);
        assert_eq!(header("use x;").len(), 1);
        assert_eq!(header("//! x").len(), 0);
        assert_eq!(file_length(&"x\n".repeat(801)).len(), 1);
        assert_eq!(without_tests("a/tests.rs", "x"), "");
        assert_eq!(without_tests("a/tests/b.rs", "x"), "");
        assert_eq!(without_tests("a/contests/b.rs", "x"), "x");
        let clock = "let now = Instant::now();";
        assert_eq!(clocks("front/x.rs", clock).len(), 1);
        assert_eq!(clocks("worker/clock.rs", clock).len(), 0);
    }

    #[test]
    fn about_unsafe_code() {
        let word = ["un", "safe"].concat();
        let block = format!("    let x = {word} {{ y() }};");
        assert_eq!(unsafe_code("src/front/x.rs", &block).len(), 1);
        assert_eq!(
            unsafe_code("tests/x.rs", &format!("{word} fn f() {{}}")).len(),
            1
        );
        assert_eq!(unsafe_code("src/net/sys/x.rs", &block).len(), 0);
        assert_eq!(
            unsafe_code("src/lib.rs", &format!("#![deny({word}_code)]")).len(),
            0
        );
    }

    #[test]
    fn about_long_functions() {
        let body = |lines: usize| {
            format!(
                "    pub(super) async fn f(\n    ) {{\n{}    }}\n",
                "        x;\n".repeat(lines)
            )
        };
        assert_eq!(functions(&body(67)).len(), 0);
        assert_eq!(functions(&body(68)).len(), 1);
        assert_eq!(functions("fn one() {}\nfn two();\n").len(), 0);
        let two = format!("{}{}", body(60), body(60));
        assert_eq!(functions(&two).len(), 0);
    }
}
