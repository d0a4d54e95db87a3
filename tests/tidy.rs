//! The repository tests itself: layering, sizes, banned calls, dead files and format documents.
//!
//! Source is read as text with comments and literals blanked out, so a rule sees code only. Each failure names file and line.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The engine's modules from the bottom up. A module imports from its own folder and from lower rows, never from its own row.
const LAYERS: &[&[&str]] = &[
    &["error", "histogram", "options", "time", "value"],
    &["budget"],
    &["labels", "pattern", "retention", "rows", "samples", "watch", "windows"],
    &["matcher"],
    &["directory", "encoding"],
    &["chunk", "index", "manifest", "tombstones", "wal"],
    &["block", "head"],
    &["merge"],
    &["compaction", "querier"],
    &["db"],
    &["inspect", "verify"],
    &["repair"],
];

/// What a crate must not depend on.
const BANNED_DEPENDENCIES: &[(&str, &[&str])] = &[
    ("engine", &["timberline-query", "timberline", "axum", "hyper", "tokio"]),
    ("query", &["timberline", "axum", "hyper", "tokio"]),
];

/// Code that nobody may write, and where it is welcome all the same (path prefixes).
const BANNED_CODE: &[(&str, &[&str])] = &[
    ("todo!", &[]),
    ("unimplemented!", &[]),
    ("dbg!", &[]),
    ("println!", PRINTING),
    ("print!", PRINTING),
    ("eprintln!", PRINTING),
    ("eprint!", PRINTING),
];
const PRINTING: &[&str] =
    &["server/src/main.rs", "server/src/cli", "server/src/demo", "benches", "tests", "fuzz"];

/// Files are reached through the `Directory` trait; this is its real implementation.
const BANNED_IN_ENGINE: &[&str] = &["std::fs", "fs::", "File::", "OpenOptions::"];
const REAL_FILES: &str = "engine/src/directory/real.rs";

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 100;

/// One source file.
struct Source {
    /// Relative to the workspace, with `/`.
    path: String,
    text: String,
    /// The text with comments and literals blanked, byte for byte as long.
    code: String,
    /// The byte at which the unit tests start: the end when there are none, 0 when all of the file is tests.
    tests_start: usize,
}

impl Source {
    fn read(root: &Path, file: &Path) -> Self {
        let path = file.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        let text = fs::read_to_string(file).unwrap();
        let code = blank_comments_and_literals(&text);
        let only_tests =
            path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
        let tests_start =
            if only_tests { 0 } else { code.find("\n#[cfg(test)]\nmod tests {").unwrap_or(code.len()) };
        Self { path, text, code, tests_start }
    }

    fn line(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    fn at(&self, at: usize) -> String {
        format!("{}:{}", self.path, self.line(at))
    }

    /// The code that is not tests.
    fn production(&self) -> &str {
        &self.code[..self.tests_start]
    }

    /// The path of the file's module in its crate: `engine/src/a/b.rs` is `[a, b]`, `engine/src/lib.rs` is empty.
    fn module(&self) -> Vec<&str> {
        let inside = self.path.split_once("src/").map_or("", |(_, inside)| inside).trim_end_matches(".rs");
        let mut module: Vec<_> = inside.split('/').collect();
        if matches!(module.last(), Some(&("mod" | "lib" | "main"))) {
            module.pop();
        }
        module
    }
}

fn workspace() -> PathBuf {
    let start =
        option_env!("CARGO_MANIFEST_DIR").map_or_else(|| std::env::current_dir().unwrap(), PathBuf::from);
    let is_workspace = |dir: &&Path| {
        fs::read_to_string(dir.join("Cargo.toml")).is_ok_and(|manifest| manifest.contains("[workspace]"))
    };
    start.ancestors().find(is_workspace).expect("a Cargo.toml with [workspace]").to_owned()
}

/// All source files below some folders of the workspace.
fn sources(folders: &[&str]) -> Vec<Source> {
    let root = workspace();
    let mut files = Vec::new();
    let mut pending: Vec<_> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort_unstable();
    files.iter().map(|file| Source::read(&root, file)).collect()
}

fn all_sources() -> Vec<Source> {
    sources(&["engine/src", "query/src", "server/src", "benches", "tests", "fuzz"])
}

fn report(rule: &str, failures: &[String]) {
    let mut message = String::new();
    for failure in failures {
        write!(message, "\n  {failure}").unwrap();
    }
    assert!(failures.is_empty(), "{rule}:{message}");
}

#[test]
fn engine_imports_run_one_way() {
    let sources = sources(&["engine/src"]);
    let exports = exports(sources.iter().find(|source| source.path == "engine/src/lib.rs").unwrap());
    let mut failures = Vec::new();
    for source in &sources {
        let module = source.module();
        let Some(&importer) = module.first() else { continue };
        let Some(importer_layer) = layer(importer) else {
            failures.push(format!("{}: add the module `{importer}` to LAYERS", source.at(0)));
            continue;
        };
        for (at, name) in imports(source) {
            let imported = if layer(&name).is_some() { &name } else { exports.get(&name).unwrap_or(&name) };
            if imported == importer {
                continue;
            }
            match layer(imported) {
                Some(imported_layer) if imported_layer < importer_layer => {}
                Some(_) => failures.push(format!(
                    "{}: `{importer}` imports `{name}` from `{imported}`, which is not below it",
                    source.at(at)
                )),
                None => failures.push(format!(
                    "{}: cannot tell which module `{name}` comes from: name the module",
                    source.at(at)
                )),
            }
        }
    }
    report("imports in engine run upwards or sideways", &failures);
}

#[test]
fn the_architecture_page_lists_the_layers() {
    let page = fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    let listed = LAYERS.iter().enumerate().rev().map(|(i, modules)| {
        let modules: Vec<String> = modules.iter().map(|module| format!("`{module}`")).collect();
        format!("| {} | {} |", i + 1, modules.join(", "))
    });
    let missing: Vec<String> = listed.filter(|row| !page.contains(row)).collect();
    report("ARCHITECTURE.md lacks rows of the table of layers", &missing);
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

/// What the crate's root re-exports, and from which module.
fn exports(root: &Source) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    for statement in root.code.split("pub use ").skip(1) {
        let statement = statement.split(';').next().unwrap();
        let mut names = statement.split(|c: char| !is_word(c)).filter(|name| !name.is_empty());
        let module = names.next().unwrap();
        exports.extend(names.map(|name| (name.to_owned(), module.to_owned())));
    }
    exports
}

/// Where the file names something by a path from the crate's root, and its first segment.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let module = source.module();
    let mut imports = Vec::new();
    for at in words(&source.code, "crate::") {
        imports.extend(heads(&source.code[at + "crate::".len()..]).into_iter().map(|head| (at, head)));
    }
    for at in words(&source.code, "super::") {
        let rest = source.code[at..].trim_start_matches("super::");
        let supers = (source.code.len() - at - rest.len()) / "super::".len();
        let in_tests = usize::from(at >= source.tests_start && source.tests_start > 0);
        if source.code[..at].ends_with("super::") || supers < module.len() + in_tests {
            continue;
        }
        imports.extend(heads(rest).into_iter().map(|head| (at, head)));
    }
    imports
}

/// The first segments of a path or of a group of paths: `a` for `a::b`, `a` and `c` for `{a::b, c}`.
fn heads(path: &str) -> Vec<String> {
    let head = |text: &str| -> String {
        let text = text.trim_start();
        if text.starts_with('*') {
            "*".to_owned()
        } else {
            text.chars().take_while(|c| is_word(*c)).collect()
        }
    };
    let Some(group) = path.strip_prefix('{') else { return vec![head(path)] };
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' | ',' if depth == 0 => {
                found.push(head(&group[start..i]));
                start = i + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

#[test]
fn crates_depend_one_way() {
    let root = workspace();
    let mut failures = Vec::new();
    for (package, banned) in BANNED_DEPENDENCIES {
        let path = format!("{package}/Cargo.toml");
        let manifest = fs::read_to_string(root.join(&path)).unwrap();
        let mut in_dependencies = false;
        for (i, line) in manifest.lines().enumerate() {
            if let Some(section) = line.strip_prefix('[') {
                in_dependencies = section.contains("dependencies");
            }
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if in_dependencies && banned.contains(&name) {
                failures.push(format!("{path}:{}: {package} must not depend on {name}", i + 1));
            }
        }
    }
    report("a crate depends on one above it", &failures);
}

#[test]
fn files_and_functions_stay_small() {
    let mut failures = Vec::new();
    for source in &all_sources() {
        let lines = source.production().lines().count();
        if lines > FILE_LINES_MAX {
            failures.push(format!("{}: {lines} lines without tests, at most {FILE_LINES_MAX}", source.at(0)));
        }
        for (at, name, lines) in functions(source.production()) {
            if lines > FUNCTION_LINES_MAX {
                failures.push(format!(
                    "{}: function `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}",
                    source.at(at)
                ));
            }
        }
    }
    report("too long", &failures);
}

/// Where each function starts, its name and its number of lines.
fn functions(code: &str) -> Vec<(usize, String, usize)> {
    let mut functions = Vec::new();
    for at in words(code, "fn ") {
        let (mut nesting, mut body) = (0_usize, None);
        for (i, c) in code[at..].char_indices() {
            match c {
                '(' | '[' => nesting += 1,
                ')' | ']' => nesting = nesting.saturating_sub(1),
                ';' if nesting == 0 => break,
                '{' if nesting == 0 => {
                    body = Some(at + i);
                    break;
                }
                _ => {}
            }
        }
        let Some(body) = body else { continue };
        let end = body + closing_brace(&code[body..]);
        let name = code[at + 3..].chars().take_while(|c| is_word(*c)).collect();
        functions.push((at, name, code[at..end].matches('\n').count() + 1));
    }
    functions
}

/// Where the brace that opens `code` is closed.
fn closing_brace(code: &str) -> usize {
    let mut depth = 0;
    for (i, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    code.len()
}

#[test]
fn nothing_banned_is_called() {
    let mut failures = Vec::new();
    for source in &all_sources() {
        for (banned, welcome) in BANNED_CODE {
            if !welcome.iter().any(|prefix| source.path.starts_with(prefix)) {
                failures
                    .extend(words(&source.code, banned).map(|at| format!("{}: `{banned}`", source.at(at))));
            }
        }
        if source.path.starts_with("engine/") && source.path != REAL_FILES {
            for banned in BANNED_IN_ENGINE {
                failures.extend(
                    words(source.production(), banned)
                        .map(|at| format!("{}: `{banned}`: go through `Directory`", source.at(at))),
                );
            }
        }
        let tests = &source.code[source.tests_start..];
        failures.extend(words(tests, "thread::sleep").map(|at| source.at(source.tests_start + at)).map(
            |place| format!("{place}: a test that sleeps is slow or flaky: wait for what it waits for"),
        ));
    }
    report("banned code", &failures);
}

#[test]
fn every_file_says_its_purpose_first() {
    let sources = all_sources();
    let speaks = |source: &&Source| {
        ["//! ", "#![doc = include_str!("].iter().any(|start| source.text.starts_with(start))
    };
    let silent = sources.iter().filter(|source| !speaks(source));
    let failures: Vec<_> = silent.map(|source| format!("{}: begin with `//! `", source.at(0))).collect();
    report("a file does not say what it is for", &failures);
}

#[test]
fn every_file_is_a_module_of_its_parent() {
    let sources = sources(&["engine/src", "query/src", "server/src"]);
    let code: BTreeMap<_, _> = sources.iter().map(|source| (source.path.as_str(), &source.code)).collect();
    let mut failures = Vec::new();
    for source in &sources {
        let (crate_name, inside) = source.path.split_once("/src/").unwrap();
        let Some((&name, parents)) =
            source.module().split_last().map(|(name, parents)| (name, parents.join("/")))
        else {
            continue;
        };
        if inside.starts_with("bin/") {
            continue;
        }
        let candidates = match parents.as_str() {
            "" => ["lib.rs", "main.rs"].map(|file| format!("{crate_name}/src/{file}")),
            _ => ["/mod.rs", ".rs"].map(|end| format!("{crate_name}/src/{parents}{end}")),
        };
        let declared = candidates.iter().filter_map(|parent| code.get(parent.as_str())).any(|parent| {
            words(parent, "mod ").any(|at| parent[at + 4..].trim_start().starts_with(&format!("{name};")))
        });
        if !declared {
            failures.push(format!("{}: no `mod {name};` in {}", source.at(0), candidates.join(" or ")));
        }
    }
    report("dead files", &failures);
}

#[test]
fn every_format_document_is_part_of_the_documentation() {
    let sources = sources(&["engine/src"]);
    let mut failures = Vec::new();
    for entry in fs::read_dir(workspace().join("engine/docs/format")).into_iter().flatten() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let included = |source: &Source| {
            let mut lines = source.text.lines();
            lines.any(|line| line.contains("include_str!") && line.contains(&format!("docs/format/{name}")))
        };
        if !sources.iter().any(included) {
            failures.push(format!(
                "engine/docs/format/{name}: no module includes it with `#![doc = include_str!(…)]`"
            ));
        }
    }
    report("format documents that no module shows", &failures);
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `needle` stands in `code`, not as the end of a longer word.
fn words<'a>(code: &'a str, needle: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(needle).map(|(at, _)| at).filter(|at| !code[..*at].ends_with(is_word))
}

/// Replaces what is in comments and literals by spaces; lines and offsets stay.
fn blank_comments_and_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + blank_len(&text[at..], text[..at].ends_with(is_word));
        if end == at {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
            continue;
        }
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(out).unwrap()
}

/// The length of the comment or literal that `rest` begins with, 0 for anything else.
fn blank_len(rest: &str, inside_word: bool) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_len(rest);
    }
    let raw = rest.trim_start_matches(['b', 'c']);
    if let Some(raw) = raw.strip_prefix('r').filter(|_| !inside_word && rest.len() - raw.len() <= 1) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let start = rest.len() - raw.len() + hashes + 1;
            let close = format!("\"{}", "#".repeat(hashes));
            return rest[start..].find(&close).map_or(rest.len(), |i| start + i + close.len());
        }
    }
    if rest.starts_with('"') {
        return quoted_len(rest, '"');
    }
    // A lifetime is a quote and a word without a second quote.
    let mut chars = rest.strip_prefix('\'').unwrap_or_default().chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => quoted_len(rest, '\''),
        _ => 0,
    }
}

fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (i, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return i + 1,
            _ => {}
        }
    }
    rest.len()
}

fn block_comment_len(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

#[test]
fn comments_and_literals_are_blanked() {
    let code =
        "let a = \"x\\\"{\"; // {\nlet b = '{'; /* { /* { */ */ let c: &'a str = r#\"\"{\"#; let d = b\"{\";";
    let blanked = blank_comments_and_literals(code);
    assert_eq!(blanked.len(), code.len());
    assert!(!blanked.contains('{'), "{blanked}");
    assert!(
        blanked.contains("let b =") && blanked.contains("let c: &'a str =") && blanked.contains("let d = b")
    );
}

#[test]
fn imports_are_found_in_paths_and_groups() {
    let source = |path: &str, code: &str| Source {
        path: path.to_owned(),
        text: String::new(),
        code: code.to_owned(),
        tests_start: code.find("mod tests").unwrap_or(code.len()),
    };
    let names = |source: &Source| imports(source).into_iter().map(|(_, name)| name).collect::<Vec<_>>();
    let file = source(
        "engine/src/a/b.rs",
        "use crate::{c::{d, e}, f};\nuse super::g;\nuse super::super::h;\ncrate::i::j();",
    );
    assert_eq!(names(&file), ["c", "f", "i", "h"]);
    let file =
        source("engine/src/a/mod.rs", "use super::g;\nmod tests { use super::*; use super::super::h; }");
    assert_eq!(names(&file), ["g", "h"]);
}

#[test]
fn functions_are_measured() {
    let code = "fn a(x: [u8; 2]) -> u8 {\n  x[0]\n}\ntrait T {\n  fn b();\n}\n";
    let found: Vec<_> = functions(code).into_iter().map(|(_, name, lines)| (name, lines)).collect();
    assert_eq!(found, [("a".to_owned(), 3)]);
}
