//! Holds the code to the design: who may import whom, where SQL, permits and status codes stand,
//! and that nothing in `src/` knows an alert, a service or a remedy by name.
//!
//! It reads the source as text, without comments and without unit tests. To let a folder import
//! another one, add it to [`TABLE`] and say why in `docs/decisions/0001-import-table.md`.

use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use watchkeeper::model::matcher::Matcher;

/// Who may import whom. Every line names only what stands further down, so that no circle can be
/// written here.
const TABLE: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    // These two know every concrete type.
    ("cli", EVERYTHING_BELOW),
    ("app", EVERYTHING_BELOW),
    // An alert comes in.
    ("web", &["ingest", "approval", "report", "store"]),
    ("ingest", &["incident", "store", "clients"]),
    // It becomes an incident, and each step of it asks those below.
    ("incident", &["agent", "knowledge", "report", "action", "tools", "safety", "store"]),
    ("agent", &["knowledge", "clients"]),
    // What is done, and what it did.
    ("action", &["knowledge", "tools", "targets", "safety", "store", "clients"]),
    ("tools", &["targets", "safety", "clients"]),
    ("targets", &["safety"]),
    // Side rooms: they are told what to do and ask nobody but the store.
    ("audit", &["store", "clients"]),
    ("notify", &["store", "clients"]),
    ("schedule", &["store"]),
    ("approval", &["store"]),
    ("report", &[]),
    ("knowledge", &[]),
    ("safety", &[]),
    ("store", &[]),
    ("clients", &[]),
    // The ground.
    ("telemetry", &["config"]),
    ("config", &["crash"]),
    ("crash", &[]),
    ("clock", &[]),
    ("redact", &[]),
    ("tasks", &[]),
    ("model", &[]),
];

const EVERYTHING_BELOW: &[&str] = &["*"];
/// What every folder may import besides.
const GROUND: &[&str] = &["telemetry", "config", "crash", "clock", "redact", "tasks", "model"];
/// Of the ground, these folders may import only this much: the safety rules read arguments,
/// inventory, counters and the time that they are given, and `model` is words alone.
const LESS_GROUND: &[(&str, &[&str])] = &[
    ("safety", &["model"]),
    ("model", &[]),
    ("crash", &[]),
    ("clock", &[]),
    ("redact", &[]),
    ("tasks", &[]),
    ("config", &["crash", "model"]),
    ("telemetry", &["config"]),
];

/// A file is one idea; past this there is a second one in it.
const LINES_MAX: usize = 500;

#[test]
fn the_table_runs_downwards_and_names_every_module() {
    let order: Vec<&str> = TABLE.iter().map(|(name, _)| *name).collect();
    for (position, (name, imports)) in TABLE.iter().enumerate() {
        for import in imports.iter().filter(|import| **import != "*") {
            let below = order.iter().position(|other| other == import);
            assert!(below > Some(position), "{name} > {import} does not run downwards");
        }
    }
    let there: BTreeSet<String> = sources().into_iter().map(|source| source.module).collect();
    let named: BTreeSet<String> = order.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(there.difference(&named).collect::<Vec<_>>(), ["lib"], "not in the table");
    assert_eq!(named.difference(&there).collect::<Vec<_>>(), Vec::<&String>::new(), "not in src/");
    let declared: BTreeSet<String> = read("src/lib.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .chain(["main"])
        .map(str::to_owned)
        .collect();
    assert_eq!(declared, named, "lib.rs declares other modules");
}

#[test]
fn imports_follow_the_table() {
    let mut wrong = Vec::new();
    let mut used: BTreeSet<(String, String)> = BTreeSet::new();
    for source in sources() {
        for import in imports(&source) {
            if import != source.module && !may_import(&source.module, &import) {
                wrong.push(format!("{}: {} > {import}", source.path, source.module));
            }
            used.insert((source.module.clone(), import));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    let idle: Vec<String> = TABLE
        .iter()
        .flat_map(|(name, imports)| imports.iter().map(move |import| (*name, *import)))
        .filter(|(_, import)| *import != "*")
        .filter(|(name, import)| !used.contains(&((*name).to_owned(), (*import).to_owned())))
        .map(|(name, import)| format!("{name} > {import}"))
        .collect();
    assert_eq!(idle, Vec::<String>::new(), "the table allows what nobody needs");
}

#[test]
fn only_the_store_speaks_sql() {
    let sql = Regex::new(r"\bsqlx\b").unwrap();
    assert_eq!(holding(&sql, &["src/store/"]), Vec::<String>::new());
}

/// Every commit and every call to the outside passes by a place at which a test can end the process:
/// a new way out needs points of its own in `crash.rs`.
#[test]
fn commits_and_calls_to_the_outside_stand_where_a_test_can_end_the_process() {
    let ways = [
        (
            "a commit",
            r#"\.commit\(\)|execute\("commit"\)|ncommit""#,
            &[
                "src/store/db.rs",
                "src/store/deliveries.rs",
                // Its first transaction makes room; nothing is in force before the points come.
                "src/store/restore.rs",
                "src/store/writer.rs",
            ][..],
        ),
        (
            "a request",
            r"\.execute\(request\)|\.send\(\)",
            &["src/clients/chat/transport.rs", "src/clients/http.rs"],
        ),
        ("a mail", r"transport\.send\(", &["src/notify/email.rs"]),
        ("a program", r"\bCommand::new\(", &["src/targets/launch.rs", "src/targets/process.rs"]),
        (
            "a file put in place",
            r"\brename\(",
            &["src/approval/access.rs", "src/store/backup.rs", "src/store/restore.rs"],
        ),
        ("a line that leaves the machine", r"target\.send\(", &["src/audit/writer.rs"]),
    ];
    // Verbs that only look and the demo, tools of the Postgres client, the function that renames.
    let elsewhere = ["src/cli/", "src/store/postgres_tools.rs", "src/store/files.rs"];
    for (what, way, places) in ways {
        let way = Regex::new(way).unwrap();
        assert_eq!(
            holding(&way, &[places, &elsewhere[..]].concat()),
            Vec::<String>::new(),
            "{what}"
        );
        for source in sources().iter().filter(|source| places.contains(&source.path.as_str())) {
            assert!(way.is_match(&source.code), "{}: {what} no more", source.path);
            assert!(source.code.contains("crash::at(Point::"), "{}: {what}", source.path);
        }
    }
}

#[test]
fn only_the_gate_mints_permits() {
    let mint = Regex::new(r"::\s*mint\b|\bPermit\s*\{").unwrap();
    let allowed = ["src/action/gate.rs", "src/safety/permit.rs"];
    assert_eq!(holding(&mint, &allowed), Vec::<String>::new());
    let gate = sources().into_iter().find(|source| source.path == "src/action/gate.rs").unwrap();
    assert_eq!(mint.find_iter(&gate.code).count(), 3, "a read, a look at a target, an intent");
}

/// A page that is no error may carry a status of its own: the form after a wrong password, the
/// way on after a form, and readiness.
#[test]
fn errors_get_their_status_in_one_file() {
    let status = Regex::new(r"StatusCode::([A-Z_]+|from_u16)").unwrap();
    let elsewhere: Vec<String> = sources()
        .iter()
        .filter(|source| source.module == "web" && source.path != "src/web/error.rs")
        .flat_map(|source| {
            let found = status.captures_iter(&source.code);
            found.map(|found| format!("{} {}", source.path, &found[1])).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(
        elsewhere,
        [
            "src/web/health.rs OK",
            "src/web/health.rs SERVICE_UNAVAILABLE",
            "src/web/sign_in.rs UNAUTHORIZED",
            "src/web/sign_in.rs SEE_OTHER",
        ]
    );
}

#[test]
fn no_alert_has_its_name_in_the_code() {
    let shipped = [read("config/runbooks.yaml"), read("config/safety_rules.yaml")].concat();
    let matchers: Vec<Matcher> = Regex::new(r#"alertname=~?"[^"]+""#)
        .unwrap()
        .find_iter(&shipped)
        .map(|found| Matcher::parse(found.as_str()).unwrap())
        .collect();
    assert!(matchers.len() > 10, "only {} matchers were found", matchers.len());
    let word = Regex::new(r"[A-Za-z][A-Za-z0-9]{4,}").unwrap();
    let known = |name: &str| {
        let labels = BTreeMap::from([("alertname".to_owned(), name.to_owned())]);
        matchers.iter().any(|matcher| matcher.matches(&labels))
    };
    assert!(known("DiskSpaceLow") && !known("Anything"));
    let found: Vec<String> = texts()
        .iter()
        .flat_map(|(path, text)| {
            let words = word.find_iter(text).map(|word| word.as_str()).filter(|word| known(word));
            words.map(|word| format!("{path}: {word}")).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

/// The demo shows one service of its own, and the floor knows what no rule may touch.
#[test]
fn no_service_has_its_name_in_the_code() {
    let rules = read("config/safety_rules.yaml");
    let targets = rules.split("\n  services:\n").last().unwrap();
    let names: Vec<&str> = Regex::new(r"name: (\w+), class: (?:web|database)")
        .unwrap()
        .captures_iter(targets)
        .map(|found| found.get(1).unwrap().as_str())
        .collect();
    assert_eq!(names, ["nginx", "checkout", "postgresql"]);
    let word = Regex::new(&format!(r#""(?:{})(?:\.service)?""#, names.join("|"))).unwrap();
    let found: Vec<String> = texts()
        .iter()
        .filter(|(path, text)| path != "src/safety/floor.rs" && word.is_match(text))
        .map(|(path, _)| path.clone())
        // The schemes of a Postgres address.
        .filter(|path| path != "src/config/check.rs")
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

/// What to do about an alert stands in runbooks or in a model's answer. A changing tool is named
/// by its own file alone, so no step of an incident can choose one.
#[test]
fn no_remedy_has_its_name_in_the_code() {
    let shipped = [read("config/runbooks.yaml"), read("config/safety_rules.yaml")].concat();
    let looks = ["get_", "check_", "run_diagnosis_command", "send_", "request_human_confirmation"];
    let changes: BTreeSet<&str> = Regex::new(r"\btool: ([a-z_]+)")
        .unwrap()
        .captures_iter(&shipped)
        .map(|found| found.get(1).unwrap().as_str())
        .filter(|tool| !looks.iter().any(|look| tool.starts_with(look)))
        .collect();
    assert!(changes.contains("restart_service") && changes.contains("clean_disk_space"));
    let names: Vec<&str> = changes.into_iter().collect();
    let tools = Regex::new(&format!(r#""({})""#, names.join("|"))).unwrap();
    let found: Vec<String> = texts()
        .iter()
        .flat_map(|(path, text)| {
            let named = tools.captures_iter(text).map(|found| found[1].to_owned());
            named.map(|tool| format!("{path}: {tool}")).collect::<BTreeSet<_>>()
        })
        .collect();
    let own = |line: &&String| {
        let (path, tool) = line.split_once(": ").unwrap();
        path != format!("src/tools/{tool}.rs")
    };
    assert_eq!(found.iter().filter(own).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn files_are_short() {
    let long: Vec<String> = ["src", "tests"]
        .iter()
        .flat_map(|folder| rust_files(&root().join(folder)))
        .map(|path| (fs::read_to_string(&path).unwrap().lines().count(), path))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .map(|(lines, path)| format!("{}: {lines} lines", relative(&path)))
        .collect();
    assert_eq!(long, Vec::<String>::new());
}

struct Source {
    /// Relative to the repository.
    path: String,
    /// The top-level module.
    module: String,
    /// How many times `super` reaches the crate.
    depth: usize,
    /// Without comments and without unit tests.
    code: String,
}

fn may_import(module: &str, import: &str) -> bool {
    let less = LESS_GROUND.iter().find(|(name, _)| *name == module);
    let ground = less.map_or(GROUND, |(_, ground)| *ground);
    let Some(position) = TABLE.iter().position(|(name, _)| *name == module) else {
        return module == "lib";
    };
    let own = TABLE[position].1;
    let below = || TABLE[position + 1..].iter().any(|(name, _)| *name == import);
    ground.contains(&import) || own.contains(&import) || (own == EVERYTHING_BELOW && below())
}

/// The top-level modules that a file names, in `use` lines and in paths.
fn imports(source: &Source) -> BTreeSet<String> {
    // The binary names the library as other crates would.
    let name = if source.module == "main" { "watchkeeper" } else { "crate" };
    let supers = source.depth - 1;
    let crate_root = format!(r"(?:\b{name}|(?:\bsuper::){{{supers}}}\bsuper)");
    let one = Regex::new(&format!(r"{crate_root}::([a-z_]+)")).unwrap();
    let several = Regex::new(&format!(r"{crate_root}::\{{")).unwrap();
    let mut found: BTreeSet<String> =
        one.captures_iter(&source.code).map(|found| found[1].to_owned()).collect();
    for group in several.find_iter(&source.code) {
        let mut depth = 0_usize;
        let mut word = String::new();
        for c in source.code[group.end()..].chars() {
            match c {
                '{' => depth += 1,
                '}' | ',' | ':' if depth == 0 && !word.is_empty() => {
                    found.insert(std::mem::take(&mut word));
                }
                c if depth == 0 && (c.is_ascii_lowercase() || c == '_') => word.push(c),
                _ => {}
            }
            match c {
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                // The rest of a path is about another module.
                ':' => word.clear(),
                _ => {}
            }
        }
    }
    let modules: BTreeSet<&str> = TABLE.iter().map(|(name, _)| *name).collect();
    // `crate::main` and macros are no modules.
    found.into_iter().filter(|name| modules.contains(name.as_str())).collect()
}

fn holding(pattern: &Regex, allowed: &[&str]) -> Vec<String> {
    sources()
        .into_iter()
        .filter(|source| !allowed.iter().any(|allowed| source.path.starts_with(allowed)))
        .filter(|source| pattern.is_match(&source.code))
        .map(|source| source.path)
        .collect()
}

/// Path and code of every file but the demo's.
fn texts() -> Vec<(String, String)> {
    sources()
        .into_iter()
        .filter(|source| !source.path.starts_with("src/cli/demo"))
        .map(|source| (source.path, source.code))
        .collect()
}

fn sources() -> Vec<Source> {
    rust_files(&root().join("src"))
        .iter()
        .filter(|path| !is_for_tests(&relative(path)))
        .map(|path| {
            let path_text = relative(path);
            let inner = path_text.trim_start_matches("src/").trim_end_matches(".rs");
            let parts: Vec<&str> = inner.split('/').filter(|part| *part != "mod").collect();
            Source {
                module: parts[0].to_owned(),
                depth: parts.len(),
                code: code(&fs::read_to_string(path).unwrap()),
                path: path_text,
            }
        })
        .collect()
}

/// Whether a file exists in unit tests only.
fn is_for_tests(path: &str) -> bool {
    let ends = ["/tests.rs", "/testing.rs", "/samples.rs"];
    path.contains("/tests/") || ends.iter().any(|end| path.ends_with(end))
}

/// The code of a file: no comment, and nothing from its unit tests on, which stand last.
fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut is_for_tests = false;
    for line in text.lines() {
        let trimmed = line.trim_start();
        if is_for_tests && trimmed.starts_with("mod ") {
            if trimmed.ends_with('{') {
                break;
            }
            is_for_tests = false;
            continue;
        }
        is_for_tests = trimmed == "#[cfg(test)]" || (is_for_tests && trimmed.starts_with("#["));
        if !trimmed.starts_with("//") {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}
