use super::*;
use std::os::fd::AsRawFd;

/// A real program run through `sh` as a fixture; what is under test has no shell.
fn script(text: &str) -> Spec {
    Spec::new(vec!["/bin/sh".into()], ["-c", text])
}

fn alive(pid: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    // A zombie that nobody reaped yet runs nothing any more.
    state.is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

/// Waits for a fact about another process, for at most ten seconds.
async fn becomes(fact: impl Fn() -> bool) -> bool {
    for _ in 0..1000 {
        if fact() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test]
async fn output_and_code_come_back() {
    let done = run(&script("echo out; echo err >&2; exit 3")).await.unwrap();
    assert_eq!(
        Finished { duration_ms: 0, ..done },
        Finished {
            exit: Exit::Code(3),
            stdout: "out\n".into(),
            stderr: "err\n".into(),
            truncated: false,
            duration_ms: 0,
            timed_out: false,
        }
    );
}

#[tokio::test]
async fn words_arrive_as_they_are() {
    let words = ["", "a b", "$(id)", "'\"", "*", "-n", "a\\nb"];
    let spec = Spec::new(
        vec!["/bin/sh".into()],
        ["-c", "printf '%s|' \"$@\"", "sh"].into_iter().chain(words),
    );
    assert_eq!(run(&spec).await.unwrap().stdout, "|a b|$(id)|'\"|*|-n|a\\nb|");
}

#[tokio::test]
async fn the_environment_is_empty_but_for_two() {
    let done = run(&Spec::new(vec!["/usr/bin/env".into()], Vec::<String>::new())).await.unwrap();
    let mut lines: Vec<&str> = done.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["LANG=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
}

#[tokio::test]
async fn input_is_closed_and_the_folder_is_the_root() {
    let done = run(&script("cat; pwd; test -t 0 || echo no-terminal")).await.unwrap();
    assert_eq!(done.stdout, "/\nno-terminal\n");
}

#[tokio::test]
async fn a_timeout_ends_grandchildren_too() {
    let spec = Spec {
        timeout: Duration::from_millis(300),
        ..script("sh -c 'sleep 600 & echo $!; wait' & wait")
    };
    let done = run(&spec).await.unwrap();
    assert!(done.timed_out);
    assert_eq!(done.exit, Exit::Signal(15));
    assert!(becomes(|| !alive(&done.stdout)).await, "pid {}", done.stdout);
}

#[tokio::test]
async fn a_program_that_ignores_term_is_killed() {
    let spec = Spec {
        timeout: Duration::from_millis(300),
        ..script("trap '' TERM; echo $$; while :; do sleep 1; done")
    };
    let done = run(&spec).await.unwrap();
    assert_eq!((done.timed_out, done.exit), (true, Exit::Signal(9)));
    assert!(!alive(&done.stdout));
}

#[tokio::test]
async fn children_left_behind_are_ended() {
    let done = run(&script("sleep 600 & echo $!")).await.unwrap();
    assert_eq!((done.exit, done.timed_out), (Exit::Code(0), false));
    assert!(becomes(|| !alive(&done.stdout)).await, "pid {}", done.stdout);
}

#[tokio::test]
async fn a_dropped_run_ends_the_group() {
    let folder = std::env::temp_dir().join(format!("wk-process-{}", uuid::Uuid::new_v4()));
    let text = format!("sleep 600 & echo $! > {}.new; mv {0}.new {0}; wait", folder.display());
    let spec = script(&text);
    let pid = {
        let running = run(&spec);
        tokio::pin!(running);
        tokio::select! {
            done = &mut running => panic!("ended early: {done:?}"),
            written = becomes(|| folder.exists()) => assert!(written),
        }
        std::fs::read_to_string(&folder).unwrap()
    };
    assert!(becomes(|| !alive(&pid)).await, "pid {pid}");
    std::fs::remove_file(folder).unwrap();
}

#[tokio::test]
async fn output_is_capped_over_both_pipes() {
    let spec = Spec {
        output_bytes_max: 10_000,
        ..script("while :; do echo aaaaaaaaaaaaaaaa; echo bbbbbbbb >&2; done")
    };
    let done = run(&spec).await.unwrap();
    assert_eq!(done.stdout.len() + done.stderr.len(), 10_000);
    assert_eq!((done.truncated, done.timed_out), (true, false));
}

#[tokio::test]
async fn output_of_exactly_the_cap_is_whole() {
    let spec = Spec { output_bytes_max: 5, ..script("printf 12345") };
    let done = run(&spec).await.unwrap();
    assert_eq!((done.stdout.as_str(), done.truncated), ("12345", false));
}

#[tokio::test]
async fn hostile_output_is_visible() {
    let done = run(&script("printf '\\033[2J\\377ok'")).await.unwrap();
    assert_eq!(done.stdout, "\\x1b[2J\\xffok");
}

#[tokio::test]
async fn a_missing_program_names_what_was_tried() {
    let tried = vec![PathBuf::from("/usr/bin/no-such"), PathBuf::from("sh")];
    let error = run(&Spec::new(tried, Vec::<String>::new())).await.unwrap_err();
    assert_eq!(error.to_string(), "no such program; tried /usr/bin/no-such, sh");
}

#[tokio::test]
async fn a_file_that_may_not_run_is_not_permitted() {
    let path = std::env::temp_dir().join(format!("wk-process-{}", uuid::Uuid::new_v4()));
    std::fs::write(&path, "#!/bin/sh\n").unwrap();
    let error = run(&Spec::new(vec![path.clone()], Vec::<String>::new())).await.unwrap_err();
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(&error, Error::NotPermitted { path: found } if *found == path), "{error}");
}

#[tokio::test]
async fn words_that_no_program_can_take_are_unavailable() {
    let error = run(&Spec::new(vec!["/bin/sh".into()], ["a\0b"])).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn the_second_candidate_serves_when_the_first_is_absent() {
    let spec = Spec::new(vec!["/usr/bin/no-such".into(), "/bin/sh".into()], ["-c", "echo hi"]);
    assert_eq!(run(&spec).await.unwrap().stdout, "hi\n");
}

#[tokio::test]
async fn a_grandchild_that_ignores_term_goes_with_the_group() {
    let spec = Spec {
        timeout: Duration::from_millis(300),
        // The leader ends at once when it is told to; its grandchild does not listen.
        ..script(
            "(trap '' TERM HUP INT; echo $(exec sh -c 'echo $PPID'); sleep 600; sleep 600) & wait",
        )
    };
    let done = run(&spec).await.unwrap();
    assert_eq!((done.timed_out, done.exit), (true, Exit::Signal(15)));
    assert!(done.stdout.trim().parse::<u32>().is_ok(), "{}", done.stdout);
    assert!(becomes(|| !alive(&done.stdout)).await, "pid {}", done.stdout);
}

#[tokio::test]
async fn a_child_that_holds_the_pipes_and_floods_them_does_not_keep_the_call() {
    let flood = "trap '' TERM; while :; do echo aaaaaaaaaaaaaaaaaaaaaaaa; done";
    let spec = Spec {
        output_bytes_max: 50_000,
        timeout: Duration::from_secs(20),
        ..script(&format!("({flood}) & ({flood}) & echo $!; exit 0"))
    };
    let done = run(&spec).await.unwrap();
    assert!(!done.timed_out && done.stdout.len() <= 50_000);
    let pid = done.stdout.lines().find(|line| line.parse::<u32>().is_ok());
    assert!(becomes(|| pid.is_none_or(|pid| !alive(pid))).await, "{pid:?}");
}

#[tokio::test]
async fn no_file_of_ours_is_open_in_it() {
    let path = std::env::temp_dir().join(format!("wk-process-{}", uuid::Uuid::new_v4()));
    let held = std::fs::File::create(&path).unwrap();
    let done = run(&script("ls -l /proc/self/fd")).await.unwrap();
    let mine = std::fs::read_link(format!("/proc/self/fd/{}", held.as_raw_fd())).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(done.stdout.contains("/dev/null"), "{}", done.stdout);
    assert!(!done.stdout.contains(&mine.display().to_string()), "{}", done.stdout);
}

#[tokio::test]
async fn the_cap_may_cut_a_character_and_the_rest_is_shown() {
    let spec = Spec { output_bytes_max: 4, ..script("printf '\\347\\243\\201\\347\\233\\230'") };
    let done = run(&spec).await.unwrap();
    assert_eq!((done.stdout.as_str(), done.truncated), ("\u{78c1}\\xe7", true));
}

#[tokio::test]
async fn what_is_run_is_the_pinned_file_and_no_namesake() {
    let folder = std::env::temp_dir().join(format!("wk-process-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    let mine = folder.join("uptime");
    std::fs::write(&mine, "#!/bin/sh\necho mine\n").unwrap();
    // A folder, a relative name and a dangling link are no programs.
    let dangling = folder.join("dangling");
    std::os::unix::fs::symlink("/no/such", &dangling).unwrap();
    let spec = Spec::new(
        vec![folder.clone(), "uptime".into(), dangling, "/usr/bin/env".into()],
        ["uptime", "--version"],
    );
    let done = run(&spec).await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(done.stdout.contains("uptime from"), "{done:?}");
}
