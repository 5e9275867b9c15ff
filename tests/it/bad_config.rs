//! Walks the wrong configuration files of `tests/data/bad_config/<kind>/`, compares every answer.
//!
//! Each file begins with one line `# expect: LINE:COLUMN: PATH: MESSAGE` for every problem, in the
//! order of the answer; the message may be cut short. The word `hunter2` stands for a password and
//! must not appear in an answer. To add a case add a file; to add a kind of
//! file add a folder, and a test that calls [`every_answer_fits`] with its loader.

use std::path::{Path, PathBuf};

use watchkeeper::config::{self, Environment, Problem};
use watchkeeper::knowledge::runbooks;
use watchkeeper::model::tool::ToolSpec;

#[test]
fn every_bad_settings_file_gets_its_answer() {
    let load = |path: &Path| match config::load(Some(path), &Environment::default(), &[]) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0,
    };
    let walked = every_answer_fits("settings", load);
    assert!(walked >= 50, "only {walked} files");
}

#[test]
fn every_bad_runbooks_file_gets_its_answer() {
    let tools: Vec<ToolSpec> = serde_json::from_str(include_str!("../data/tools.json")).unwrap();
    let load = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        match runbooks::load(&path.display().to_string(), &text, &tools) {
            Ok(_) => Vec::new(),
            Err(problems) => problems,
        }
    };
    let walked = every_answer_fits("runbooks", load);
    assert!(walked >= 25, "only {walked} files");
}

/// Loads each file of a kind and fails with all answers that differ; returns the number of files.
pub fn every_answer_fits(kind: &str, load: impl Fn(&Path) -> Vec<Problem>) -> usize {
    let files = files_of(kind);
    let mut wrong = String::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let expected: Vec<&str> =
            text.lines().map_while(|line| line.strip_prefix("# expect: ")).collect();
        let answers: Vec<String> = load(file).iter().map(|problem| answer(file, problem)).collect();
        let fits = |(answer, expected): (&String, &&str)| answer.starts_with(*expected);
        assert!(!answers.concat().contains("hunter2"), "{answers:?} shows a password");
        let all_fit = answers.iter().zip(&expected).all(fits);
        if expected.is_empty() || answers.len() != expected.len() || !all_fit {
            let answers = answers.join("\n# expect: ");
            wrong.push_str(&format!("{}\n# expect: {answers}\n\n", file.display()));
        }
    }
    assert!(wrong.is_empty(), "these files got other answers:\n{wrong}");
    files.len()
}

fn files_of(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bad_config").join(kind);
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

/// The problem as it is printed, without the folder, which differs from machine to machine.
fn answer(file: &Path, problem: &Problem) -> String {
    let text = problem.to_string();
    let name = file.display().to_string();
    let text = text.strip_prefix(&name).unwrap_or(&text).trim_start_matches([':', ' ']);
    text.replace(&format!("{}/", file.parent().unwrap().display()), "")
}
