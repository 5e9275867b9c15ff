use super::*;

const USEFUL: &str = include_str!("../../../tests/data/commands/useful.txt");
const ATTACKS: &str = include_str!("../../../tests/data/commands/attacks.txt");

const REFUSED_FLAGS: &str = include_str!("../../../tests/data/commands/refused_flags.txt");

fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")).collect()
}

#[test]
fn useful_commands_are_allowed() {
    let lines = lines(USEFUL);
    let refused: Vec<String> = lines
        .iter()
        .filter_map(|line| judge(line).outcome.err().map(|refusal| format!("{line}: {refusal}")))
        .collect();
    assert!(lines.len() >= 200, "{}", lines.len());
    assert!(
        refused.len() * 20 <= lines.len(),
        "{} refused:\n{}",
        refused.len(),
        refused.join("\n")
    );
}

#[test]
fn attacks_are_refused() {
    let lines = lines(ATTACKS);
    let allowed: Vec<&str> =
        lines.iter().copied().filter(|line| judge(line).outcome.is_ok()).collect();
    assert!(lines.len() >= 400, "{}", lines.len());
    assert_eq!(allowed, [""; 0]);
}

#[test]
fn every_program_is_attacked() {
    let attacked: std::collections::BTreeSet<&str> =
        lines(ATTACKS).iter().filter_map(|line| line.split(' ').next()).collect();
    // Programs that are given nothing they could be turned with: no flag, or only harmless ones.
    let harmless = |form: &table::Form| {
        form.refuse.is_empty() && form.require.is_empty() && form.subs.is_empty()
    };
    let missing: Vec<&str> = table::builtin()
        .programs()
        .filter(|(name, form)| !harmless(form) && !attacked.contains(name))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(missing, [""; 0]);
}

/// Allows a flag in a form and everywhere below it.
fn loosen(form: &mut table::Form, flag: &str) {
    form.flags.insert(flag.to_owned(), notation::Takes::Maybe(kind::Kind::Pattern));
    form.subs.values_mut().chain(&mut form.forms).for_each(|below| loosen(below, flag));
}

/// Lines with a flag that must never be allowed, made from lines that are.
fn with_refused_flags(name: &str) -> Vec<Vec<String>> {
    let own = lines(REFUSED_FLAGS).into_iter().filter_map(|line| line.split_once(' '));
    let flags = own.filter(|(program, _)| *program == name).flat_map(|(_, flags)| flags.split(' '));
    let (_, form) = table::builtin().program(name).unwrap();
    let mut made = Vec::new();
    for flag in flags {
        for line in lines(USEFUL).into_iter().chain(form.nearest.as_deref()) {
            // An alias of a program is offered under the program's first name.
            let mut words: Vec<String> = match lexer::split(line) {
                Ok(words) => words.into_iter().map(|word| word.text).collect(),
                Err(_) => continue,
            };
            if words[0] != name && form.nearest.as_deref() != Some(line) {
                continue;
            }
            words[0] = name.to_owned();
            for at in [1, words.len()] {
                let mut line = words.clone();
                line.insert(at, flag.to_owned());
                made.push(line.clone());
                line.insert(at + 1, "x".to_owned());
                made.push(line);
            }
        }
    }
    made
}

#[test]
fn refused_flags_are_refused_in_every_place() {
    for (name, _) in table::builtin().programs() {
        for argv in with_refused_flags(name) {
            assert!(judge_argv(&argv).outcome.is_err(), "{argv:?}");
        }
    }
}

#[test]
fn loosening_the_table_is_noticed() {
    let mut unnoticed = Vec::new();
    for (name, form) in table::builtin().programs() {
        let own = lines(ATTACKS).into_iter().filter(|line| line.split(' ').next() == Some(name));
        let made = with_refused_flags(name);
        let tried: Vec<_> =
            own.map(lexer::split).chain(made.iter().map(|argv| lexer::take(argv))).collect();
        let noticed = |table: &table::Table| {
            tried.iter().any(|words| judge::judge_with(table, words.clone()).outcome.is_ok())
        };
        if !form.require.is_empty() {
            let loose = table::builtin().changed(name, |form| form.require.clear());
            if !noticed(&loose) {
                unnoticed.push(format!("{name} without what it requires"));
            }
        }
        for flag in form.refuse.keys().filter(|flag| flag.starts_with(['-', '+'])) {
            let loose = table::builtin().changed(name, |form| loosen(form, flag));
            if !noticed(&loose) {
                unnoticed.push(format!("{name} {flag}"));
            }
        }
    }
    assert_eq!(unnoticed, [""; 0]);
}

/// Calls `check` for every form below `form`, with the words that lead to it.
fn each_form(
    called: Vec<String>,
    form: &table::Form,
    check: &mut impl FnMut(&[String], &table::Form),
) {
    check(&called, form);
    for (name, sub) in &form.subs {
        let mut called = called.clone();
        called.push(name.clone());
        each_form(called, sub, check);
    }
    form.forms.iter().for_each(|form| each_form(called.clone(), form, check));
}

#[test]
fn what_the_table_names_as_refused_is_refused() {
    for (name, form) in table::builtin().programs() {
        each_form(vec![name.to_owned()], form, &mut |called, form| {
            for word in form.refuse.keys().filter(|word| word.starts_with(['-', '+'])) {
                for tail in [vec![], vec!["x"], vec!["/var/log/syslog"], vec!["1"]] {
                    let mut argv = called.to_vec();
                    argv.push(word.clone());
                    argv.extend(tail.iter().map(|word| (*word).to_owned()));
                    assert!(judge_argv(&argv).outcome.is_err(), "{argv:?}");
                }
            }
        });
    }
}

#[test]
fn an_unknown_letter_refuses_any_allowed_line() {
    let letters: Vec<char> = ('a'..='z').chain('A'..='Z').chain('0'..='9').collect();
    for line in lines(USEFUL).into_iter().filter(|line| judge(line).outcome.is_ok()) {
        let words: Vec<String> = lexer::split(line).unwrap().into_iter().map(|w| w.text).collect();
        let (_, form) = table::builtin().program(&words[0]).unwrap();
        let mut known = std::collections::BTreeSet::new();
        each_form(Vec::new(), form, &mut |_, form| {
            known.extend(form.flags.keys().map(|flag| flag.trim_start_matches('-').to_owned()));
        });
        for letter in letters.iter().filter(|letter| !known.contains(&letter.to_string())) {
            // `-3` is a count to programs that take one.
            if letter.is_ascii_digit() && known.contains("NUM") {
                continue;
            }
            let mut more = words.clone();
            more.insert(1, format!("-{letter}"));
            assert!(judge_argv(&more).outcome.is_err(), "{more:?}");
            // At the end a number can be the value of what stands before it: `journalctl -b -1`.
            if letter.is_ascii_alphabetic() {
                more.push(more[1].clone());
                more.remove(1);
                assert!(judge_argv(&more).outcome.is_err(), "{more:?}");
            }
        }
        for long in ["--watchkeeper-unknown", "--watchkeeper-unknown=1", "-", "\u{7f}"] {
            let mut more = words.clone();
            more.push(long.to_owned());
            assert!(judge_argv(&more).outcome.is_err(), "{more:?}");
        }
    }
}

#[test]
fn abbreviated_long_flags_are_refused() {
    for (line, offered) in [
        ("journalctl --vac-size=1M", None),
        ("tail --line=5 /var/log/syslog", Some("--lines")),
        ("df --human", Some("--human-readable")),
    ] {
        let refusal = judge(line).outcome.unwrap_err();
        assert_eq!(
            offered.is_some(),
            refusal.reason.contains(offered.unwrap_or("in full")),
            "{refusal}"
        );
    }
}

#[test]
fn a_judged_line_is_written_so_that_it_reads_back() {
    for line in lines(USEFUL) {
        let Ok(argv) = judge(line).outcome else { continue };
        let read: Vec<String> =
            lexer::split(&argv.to_string()).unwrap().into_iter().map(|w| w.text).collect();
        assert_eq!((read[0].as_str(), &read[1..]), (argv.program(), argv.args()), "{line}");
        assert_eq!(judge(&argv.to_string()).outcome.unwrap().args(), argv.args(), "{line}");
    }
}

/// A word in front is left out where the line has the flag already; its value must go with it.
#[test]
fn what_is_put_in_front_stands_alone() {
    for (name, form) in table::builtin().programs() {
        for pair in form.add.windows(2).filter(|pair| !pair[1].starts_with('-')) {
            assert!(!form.flags.contains_key(&pair[0]), "{name} {pair:?}");
        }
    }
}

#[test]
fn every_form_that_is_offered_is_allowed() {
    let mut offered = Vec::new();
    for (_, form) in table::builtin().programs() {
        each_form(Vec::new(), form, &mut |_, form| offered.extend(form.nearest.clone()));
    }
    offered.extend(table::builtin().instead_forms().map(str::to_owned));
    assert!(offered.len() > 200);
    for line in offered {
        assert_eq!(judge(&line).outcome.err(), None, "{line}");
    }
}

#[test]
fn a_refusal_names_the_word_and_the_way() {
    for (line, expected) in [
        ("ss -K", "`-K` at column 4 is not allowed: `ss -K` kills sockets; use `ss -tanp`"),
        (
            "ps aux | sort",
            "`|` at column 8 is not allowed: it joins commands; send one command and narrow it \
             with its own flags",
        ),
        ("top -b", "`top` at column 1 is not allowed: `top` needs -n; use `top -b -n 1`"),
        (
            "kubectl get secrets",
            "`secrets` at column 13 is not allowed: `kubectl get secrets` shows secrets; \
             use `kubectl get pods -A`",
        ),
        (
            "/bin/ps aux",
            "`/bin/ps` at column 1 is not allowed: a program is named without a path; use `ps`",
        ),
        (
            "cat /etc/shadow",
            "`/etc/shadow` at column 5 is not allowed: it is outside the readable places (logs, \
             listed files of /proc and /sys, plain configuration); use `cat /var/log/syslog`",
        ),
        (
            "uptimee",
            "`uptimee` at column 1 is not allowed: `uptimee` is not in the table of read-only \
             programs; use `uptime`",
        ),
        (
            "frobnicate",
            "`frobnicate` at column 1 is not allowed: `frobnicate` is not in the table of \
             read-only programs",
        ),
    ] {
        assert_eq!(judge(line).outcome.unwrap_err().to_string(), expected);
    }
}

#[test]
fn every_word_is_explained() {
    let judgement = judge("tail -n 20 /var/log/syslog");
    let roles: Vec<Role> = judgement.words.iter().map(|word| word.role).collect();
    assert_eq!(roles, [Role::Program, Role::Flag, Role::Value, Role::Positional]);
    let judgement = judge("tail -n 20 -f /var/log/syslog");
    assert_eq!(
        judgement.words[3].verdict,
        WordVerdict::Refused("`tail -f` follows without end".to_owned())
    );
    assert_eq!(judgement.words[4].verdict, WordVerdict::NotReached);
    assert_eq!(judgement.words.len(), 5);
    let roles: Vec<Role> = judge("frobnicate now").words.iter().map(|word| word.role).collect();
    assert_eq!(roles, [Role::Program, Role::Unknown]);
}

#[test]
fn pagers_are_switched_off_once() {
    let args = |line: &str| judge(line).outcome.unwrap().args().to_vec();
    assert_eq!(args("systemctl status nginx"), ["--no-pager", "status", "nginx"]);
    assert_eq!(args("systemctl --no-pager status nginx"), ["--no-pager", "status", "nginx"]);
}

#[test]
fn an_argv_names_only_pinned_files_and_its_reach() {
    let argv = judge("ping -c 1 10.0.0.1").outcome.unwrap();
    let files: Vec<String> = argv.candidates().iter().map(|p| p.display().to_string()).collect();
    assert_eq!(files, ["/usr/bin/ping", "/bin/ping", "/usr/sbin/ping", "/sbin/ping"]);
    assert_eq!(argv.reach(), Reach::Network);
    assert_eq!(judge("uptime").outcome.unwrap().reach(), Reach::Local);
}

/// The name of a host can carry something away, even if nothing is sent to it.
#[test]
fn an_argv_names_every_host_that_would_hear_of_it() {
    for (line, expected) in [
        ("ping -c 1 10.0.0.1", &[("10.0.0.1", 11)][..]),
        (
            "host secret.example.org ns.example.org",
            &[("secret.example.org", 6), ("ns.example.org", 25)],
        ),
        ("getent hosts a.example.org", &[("a.example.org", 14)]),
        ("arp secret.example.org", &[("secret.example.org", 5)]),
        ("arp 10.0.0.1", &[]),
        ("uptime", &[]),
    ] {
        let argv = judge(line).outcome.unwrap();
        let peers: Vec<(&str, usize)> =
            argv.peers().iter().map(|peer| (peer.name.as_str(), peer.column)).collect();
        assert_eq!(peers, expected, "{line}");
    }
}

#[test]
fn a_link_out_of_the_readable_places_is_refused() {
    let argv = judge("tail -n 5 /var/log//app.log").outcome.unwrap();
    assert_eq!(argv.paths()[0].path, "/var/log/app.log");
    assert_eq!(argv.check_resolved(|path| Some(path.to_owned())), Ok(()));
    assert_eq!(argv.check_resolved(|_| None), Ok(()));
    let refusal = argv.check_resolved(|_| Some("/etc/shadow".to_owned())).unwrap_err();
    assert_eq!((refusal.word.as_str(), refusal.column), ("/var/log/app.log", 11));
}

mod shell {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::super::lexer;

    /// Words as bash sees them, for each line, in one bash process.
    fn by_bash(lines: &[String]) -> Vec<Vec<String>> {
        // `printf` shows the words of a line; the handler shows those of a line that is a command
        // of its own, which an assignment in front would not be.
        let mut script =
            "command_not_found_handle() { printf '%s\\0' \"$#\" \"$@\"; }\nPATH=/none\n".to_owned();
        for line in lines {
            script.push_str(&format!("set -- {line}\nprintf '%s\\0' \"$#\" \"$@\"\nxq{line}\n"));
        }
        let mut bash = Command::new("bash")
            .args(["--norc", "--noprofile", "-s"])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = bash.stdin.take().unwrap();
        let writer = std::thread::spawn(move || input.write_all(script.as_bytes()).unwrap());
        let output = bash.wait_with_output().unwrap();
        writer.join().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut fields = text.split('\0');
        let mut seen = Vec::new();
        while let Some(count) = fields.next().filter(|field| !field.is_empty()) {
            seen.push(fields.by_ref().take(count.parse().unwrap()).map(str::to_owned).collect());
        }
        seen
    }

    fn by_us(line: &str) -> Option<Vec<String>> {
        let words = lexer::split(line).ok()?;
        Some(words.into_iter().map(|word| word.text).collect())
    }

    fn line() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            12 => "[a-zA-Z0-9_.:=@%+,-]{1,4}",
            4 => Just(" ".to_owned()),
            3 => "'[ -~]{0,6}'",
            3 => "\"[ a-zA-Z0-9;|&<>*?(){}'#~^\\[\\]=]{0,6}\"",
            1 => "[ -~]",
            1 => "[\t\n\r\u{7f}\u{a0}\u{e9}]",
        ];
        proptest::collection::vec(piece, 1..10).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 6,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn bash_sees_the_words_that_were_judged(lines in proptest::collection::vec(line(), 600)) {
            // A slash in the first word is a file to bash and never reaches its handler.
            let accepted: Vec<String> = lines
                .into_iter()
                .filter(|line| {
                    let first = by_us(&format!("xq{line}")).map(|words| words[0].clone());
                    by_us(line).is_some() && first.is_some_and(|word| !word.contains('/'))
                })
                .collect();
            prop_assert!(accepted.len() > 30, "{}", accepted.len());
            let seen = by_bash(&accepted);
            let ours: Vec<Vec<String>> = accepted
                .iter()
                .flat_map(|line| [by_us(line).unwrap(), by_us(&format!("xq{line}")).unwrap()])
                .collect();
            prop_assert_eq!(seen, ours);
        }

        #[test]
        fn no_line_makes_the_judge_fail(line in line(), program in "[a-z]{1,3}") {
            let _ = super::judge(&line);
            let _ = super::judge(&format!("{program} {line}"));
            let _ = super::judge(&format!("find {line}"));
        }
    }
}
