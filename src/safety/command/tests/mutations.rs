//! Every program of the table against the mistakes that allow-lists make: an unknown flag, an
//! abbreviated one, a letter in a cluster, a word too many, a redirection.

use std::collections::BTreeSet;

use super::super::table::{Form, Style, builtin};
use super::super::{judge, judge_argv, lexer};
use super::{USEFUL, each_form, lines};

/// Every form of a program with the words that lead to it.
fn forms(name: &str, form: &Form) -> Vec<(Vec<String>, Form)> {
    let mut all = Vec::new();
    each_form(vec![name.to_owned()], form, &mut |called, form| {
        all.push((called.to_vec(), form.clone()));
    });
    all
}

/// Everything that some form of the program reads as a flag or a word of its own.
fn known(forms: &[(Vec<String>, Form)]) -> BTreeSet<String> {
    let words = |form: &Form| -> Vec<String> {
        form.flags.keys().chain(form.subs.keys()).cloned().collect()
    };
    forms.iter().flat_map(|(_, form)| words(form)).collect()
}

/// Words for a line that begins like a form and goes on with these.
fn line(called: &[String], more: &[&str]) -> Vec<String> {
    called.iter().cloned().chain(more.iter().map(|word| (*word).to_owned())).collect()
}

#[derive(Default)]
struct Tried {
    count: usize,
    accepted: Vec<Vec<String>>,
}

impl Tried {
    fn argv(&mut self, argv: Vec<String>) {
        self.count += 1;
        if judge_argv(&argv).outcome.is_ok() {
            self.accepted.push(argv);
        }
    }

    fn line(&mut self, line: &str) {
        self.count += 1;
        if judge(line).outcome.is_ok() {
            self.accepted.push(vec![line.to_owned()]);
        }
    }
}

const TAILS: [&[&str]; 4] = [&[], &["1"], &["/var/log/syslog"], &["x"]];

#[test]
fn unknown_and_abbreviated_flags_of_every_program_are_refused() {
    let mut tried = Tried::default();
    let mut programs = 0;
    for (name, form) in builtin().programs() {
        programs += 1;
        let forms = forms(name, form);
        let known = known(&forms);
        for (called, form) in &forms {
            let mut wrong: BTreeSet<String> =
                ["--zzunknown", "--zzunknown=1", "---", "--=x", "-\u{e9}"]
                    .map(str::to_owned)
                    .into();
            for flag in form.flags.keys().filter(|flag| flag.len() > 3) {
                for end in (1..flag.len()).filter(|end| flag.is_char_boundary(*end)) {
                    let short = &flag[..end];
                    let words = form.style == Style::Words || flag.starts_with("--");
                    if words && end > 2 && !known.contains(short) && short.starts_with(['-', '+']) {
                        wrong.insert(short.to_owned());
                        wrong.insert(format!("{short}=1"));
                    }
                }
            }
            for flag in wrong {
                for tail in TAILS {
                    tried.argv(line(called, &[&[flag.as_str()], tail].concat()));
                }
            }
        }
    }
    assert_eq!(tried.accepted, Vec::<Vec<String>>::new());
    assert!(programs >= 181 && tried.count > 10_000, "{programs} programs, {} lines", tried.count);
    println!("{programs} programs, {} lines with a wrong flag", tried.count);
}

#[test]
fn an_unknown_letter_in_a_cluster_is_refused() {
    let letters: Vec<char> = ('a'..='z').chain('A'..='Z').collect();
    let mut tried = Tried::default();
    for (name, form) in builtin().programs() {
        let forms = forms(name, form);
        let known = known(&forms);
        for (called, form) in forms.iter().filter(|(_, form)| form.style != Style::Words) {
            let plain = form.flags.iter().filter(|(flag, takes)| {
                flag.len() == 2
                    && flag.starts_with('-')
                    && **takes == super::notation::Takes::Nothing
            });
            let unknown: Vec<&char> =
                letters.iter().filter(|letter| !known.contains(&format!("-{letter}"))).collect();
            for (flag, _) in plain {
                for letter in &unknown {
                    tried.argv(line(called, &[&format!("{flag}{letter}")]));
                    tried.argv(line(called, &[&format!("-{letter}{}", &flag[1..])]));
                }
            }
        }
    }
    let bsd_and_whole = |argv: &Vec<String>| {
        // `ps -aux` and the like are written out in the table.
        argv.last().is_none_or(|word| word != "-aux")
    };
    tried.accepted.retain(bsd_and_whole);
    assert_eq!(tried.accepted, Vec::<Vec<String>>::new());
    assert!(tried.count > 10_000, "{}", tried.count);
    println!("{} clusters with an unknown letter", tried.count);
}

#[test]
fn a_word_too_many_and_an_abbreviated_sub_command_are_refused() {
    let mut tried = Tried::default();
    for (name, form) in builtin().programs() {
        let forms = forms(name, form);
        let known = known(&forms);
        for (called, form) in &forms {
            let takes_none = match &form.args {
                Some(alternatives) => alternatives.iter().all(Vec::is_empty),
                None => true,
            };
            // Another form of the same words may take one.
            let same = forms.iter().filter(|(other, _)| other == called);
            let others =
                same.clone().any(|(_, other)| other.args.iter().flatten().any(|a| !a.is_empty()));
            let bsd = same.clone().any(|(_, other)| other.style == Style::Bsd);
            if takes_none && !others && !bsd {
                for word in ["zzextra", "/etc/shadow", "1", "localhost"] {
                    tried.argv(line(called, &[word]));
                    tried.argv(line(called, &["--", word]));
                }
                for sub in form.subs.keys() {
                    for end in 1..sub.len() {
                        if !known.contains(&sub[..end]) {
                            tried.argv(line(called, &[&sub[..end]]));
                        }
                    }
                }
            }
            let many: Vec<&str> = std::iter::repeat_n("/var/log/syslog", 40).collect();
            tried.argv(line(called, &many));
            tried.argv(line(called, &["-"]));
        }
    }
    assert_eq!(tried.accepted, Vec::<Vec<String>>::new());
    assert!(tried.count > 2_000, "{}", tried.count);
    println!("{} lines with a word too many", tried.count);
}

#[test]
fn a_second_command_or_a_redirection_is_refused_wherever_it_stands() {
    let mut all: BTreeSet<String> = lines(USEFUL).into_iter().map(str::to_owned).collect();
    all.extend(builtin().programs().filter_map(|(_, form)| form.nearest.clone()));
    let mut tried = Tried::default();
    for line in all.iter().filter(|line| judge(line).outcome.is_ok()) {
        for tail in [
            " > /tmp/x",
            " >x",
            ">x",
            " 2>&1",
            " < /etc/shadow",
            " <<<x",
            " >> x",
            " | sh",
            "|sh",
            " &",
            "&",
            " ; id",
            ";id",
            "\nid",
            "\rid",
            " && id",
            " || id",
            " $(id)",
            " `id`",
            " ${HOME}",
            " $HOME",
            " #x",
            " ~",
            " *",
            " ?",
            " {a,b}",
            " [a]",
            " \\",
            " !!",
            " \"$(id)\"",
            " \"`id`\"",
            " \"a\\\"; id\"",
            " '",
            " \"",
            "\0",
            "\u{a0}x",
            "\u{2028}id",
            "\u{1b}[0m",
            "\tx",
        ] {
            tried.line(&format!("{line}{tail}"));
        }
        for head in [
            "A=b ",
            "LD_PRELOAD=/tmp/x ",
            "sudo ",
            "env ",
            "time ",
            "! ",
            "exec ",
            "command ",
            "nohup ",
            "xargs ",
            "sh -c ",
            "nice ",
            "( ",
            "{ ",
            "if ",
            "\\",
            "/bin/",
            "./",
            "id;",
            "id\n",
            "<x ",
            ">x ",
        ] {
            tried.line(&format!("{head}{line}"));
        }
        for (at, _) in line.match_indices(' ') {
            for between in [" >x", ";", " |", "\n", " $(id)", " &", " `id`", " <x"] {
                tried.line(&format!("{}{between}{}", &line[..at], &line[at..]));
            }
        }
    }
    // Inside quotes these are text, and the line stays one command.
    tried
        .accepted
        .retain(|argv| lexer::split(&argv[0]).is_ok_and(|_| !argv[0].contains(['\'', '"'])));
    assert_eq!(tried.accepted, Vec::<Vec<String>>::new());
    assert!(tried.count > 20_000, "{}", tried.count);
    println!("{} lines with something of a shell's", tried.count);
}
