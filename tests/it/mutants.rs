//! Every patch of `tests/mutants/` still fits the code, and each promise has one. What the patches
//! prove takes `make mutants`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One change of a patch: the lines that it expects, in their file.
struct Hunk {
    file: String,
    expected: Vec<String>,
}

struct Mutant {
    name: String,
    header: Vec<(String, String)>,
    hunks: Vec<Hunk>,
}

impl Mutant {
    fn values(&self, key: &str) -> Vec<&str> {
        let of_key = self.header.iter().filter(|(name, _)| name == key);
        of_key.map(|(_, value)| value.as_str()).collect()
    }
}

#[test]
fn each_promise_has_a_mutant() {
    let mutants = mutants();
    let stated: BTreeSet<&str> = mutants.iter().flat_map(|one| one.values("promise")).collect();
    let promises = fs::read_dir(root().join("tests/it/promises")).unwrap();
    let modules: BTreeSet<String> = promises
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|module| module != "mod")
        .collect();
    assert_eq!(modules.iter().map(String::as_str).collect::<BTreeSet<_>>(), stated);
    for mutant in &mutants {
        let (promise, without) = (mutant.values("promise").len(), mutant.values("without").len());
        assert_eq!((promise, without), (1, 1), "{}", mutant.name);
    }
}

/// What Git would refuse, or put in another place, is not applied.
#[test]
fn every_mutant_fits_the_code_in_one_place() {
    let mut wrong = Vec::new();
    for mutant in mutants() {
        assert!(!mutant.hunks.is_empty(), "{} changes nothing", mutant.name);
        for hunk in mutant.hunks {
            let text = fs::read_to_string(root().join(&hunk.file)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let fits = lines.windows(hunk.expected.len()).filter(|part| *part == hunk.expected);
            let fits = fits.count();
            if fits != 1 {
                let first = &hunk.expected[0];
                wrong.push(format!("{} fits {} in {fits} places: {first}", mutant.name, hunk.file));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "write the patch anew: tests/mutants/README.md");
}

/// Where exactly a test stands is found out when it is run; that there is one of the name costs
/// nothing to know.
#[test]
fn every_mutant_names_tests_that_are_there() {
    let code: String = ["src", "tests"].iter().map(|folder| code(&root().join(folder))).collect();
    let mut missing = Vec::new();
    for mutant in mutants() {
        assert_ne!(mutant.values("fails"), Vec::<&str>::new(), "{}", mutant.name);
        for test in mutant.values("fails") {
            let name = test.rsplit([':', ' ']).next().unwrap();
            if !code.contains(&format!("fn {name}("))
                || !["it ", "lib ", "sim "].contains(&kind(test))
            {
                missing.push(format!("{}: {test}", mutant.name));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

fn kind(test: &str) -> &str {
    test.split_inclusive(' ').next().unwrap()
}

/// Everything that is written below a folder.
fn code(folder: &Path) -> String {
    let mut code = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            code.push_str(&self::code(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    code
}

fn mutants() -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for entry in fs::read_dir(root().join("tests/mutants")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "patch") {
            mutants.push(read(&path));
        }
    }
    mutants.sort_by(|a, b| a.name.cmp(&b.name));
    mutants
}

fn read(path: &Path) -> Mutant {
    let text = fs::read_to_string(path).unwrap();
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let (mut header, mut hunks) = (Vec::new(), Vec::<Hunk>::new());
    let mut file = None;
    for line in text.lines() {
        if let Some(of) = line.strip_prefix("--- a/") {
            file = Some(of.to_owned());
        } else if line.starts_with("@@ ") {
            let file = file.clone().unwrap();
            hunks.push(Hunk { file, expected: Vec::new() });
        } else if let Some(hunk) = hunks.last_mut().filter(|_| !line.starts_with("+")) {
            hunk.expected.extend(line.get(1..).map(str::to_owned));
        } else if let (None, Some((key, value))) = (&file, line.split_once(": ")) {
            header.push((key.to_owned(), value.to_owned()));
        }
    }
    Mutant { name, header, hunks }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
