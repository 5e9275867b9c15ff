//! The changing tools and the readers against somebody on the host who wants them to go wrong:
//! swapped paths, odd names, files that change at the wrong moment.

use super::testing::{Bench, Folder, NOW_MS, bounds};
use super::{Done, Output};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn bench(folder: &Folder) -> Bench {
    Bench::new(&format!(
        "hosts: [{{ name: box, reach: local, clean_roots: [{0}/logs] }}]\n\
         services: [{{ name: shop, hosts: [box], class: web, logs: {{ file: {0}/logs/shop.log }} }}]",
        folder.path().display()
    ))
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(NOW_MS.try_into().unwrap())
}

fn written(path: &Path, at: SystemTime) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::File::create(path).unwrap().set_modified(at).unwrap();
}

fn old(folder: &Folder, name: &str) -> String {
    let path = folder.path().join(name);
    written(&path, now() - 90 * DAY);
    path.to_str().unwrap().to_owned()
}

fn args(folder: &Folder) -> Value {
    json!({ "host": "box", "paths": [folder.at("logs")] })
}

fn names(basis: &Value) -> Vec<String> {
    let files = basis["files"].as_array().unwrap().iter();
    files.map(|file| file[0].as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
}

async fn clean(bench: &Bench, args: Value, basis: Value) -> Output {
    let done = bench.run_within("clean_disk_space", args, Some(basis), bounds()).await;
    let Ok(Done::Output(output)) = done else { panic!("gave {done:?}") };
    output
}

/// Ends the thread that swaps when the test ends, however it ends.
struct Swapping(Arc<AtomicBool>, Option<std::thread::JoinHandle<usize>>);

impl Swapping {
    fn start(mut swap: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut swaps = 0;
            while !told.load(Ordering::Relaxed) {
                swap();
                swaps += 1;
            }
            swaps
        });
        Self(stop, Some(thread))
    }

    fn end(mut self) -> usize {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().unwrap().join().unwrap()
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_folder_that_is_swapped_for_a_link_all_the_time_leads_nowhere() {
    let folder = Folder::new();
    let bench = bench(&folder);
    let precious: Vec<String> = (0..8).map(|n| old(&folder, &format!("outside/{n}.log"))).collect();
    fs::create_dir_all(folder.at("logs/app")).unwrap();
    let (app, hidden, outside) =
        (folder.at("logs/app"), folder.at("logs/hidden"), folder.at("outside"));
    let (link, spare) = (folder.at("link"), folder.at("spare"));
    let swapping = Swapping::start(move || {
        // The name `app` leads to a folder, to nothing, to a link, to nothing, and so on.
        let _ = fs::rename(&app, &hidden);
        let _ = symlink(&outside, &link).and_then(|()| fs::rename(&link, &app));
        let _ = fs::rename(&app, &spare).and_then(|()| fs::remove_file(&spare));
        let _ = fs::rename(&hidden, &app);
    });
    let (mut deleted, mut round) = (0, 0);
    while round < 150 {
        for n in 0..8 {
            for place in ["logs/app", "logs/hidden"] {
                if Path::new(&folder.at(place)).symlink_metadata().is_ok_and(|m| m.is_dir()) {
                    let path = folder.path().join(place).join(format!("{n}.log"));
                    let file = fs::File::options().create(true).append(true).open(path);
                    let _ = file.map(|file| file.set_modified(now() - 90 * DAY));
                }
            }
        }
        if let Ok(captured) = bench.capture("clean_disk_space", args(&folder)).await {
            deleted += clean(&bench, args(&folder), captured.basis.unwrap()).await.data["deleted"]
                .as_u64()
                .unwrap();
        }
        round += 1;
        let left = precious.iter().filter(|path| Path::new(path).exists()).count();
        assert_eq!(left, precious.len(), "round {round}");
    }
    let swaps = swapping.end();
    assert!(swaps > 100 && deleted > 0, "{swaps} swaps, {deleted} deleted: nothing was raced");
}

#[tokio::test]
async fn the_bound_of_age_is_exact() {
    let folder = Folder::new();
    let bound = now() - 7 * DAY;
    for (name, at) in [
        ("at", bound),
        ("after", bound + Duration::from_nanos(1)),
        ("before", bound - Duration::from_nanos(1)),
        ("future", now() + 400 * DAY),
        ("epoch", UNIX_EPOCH),
        ("before-epoch", UNIX_EPOCH - 40_000 * DAY),
    ] {
        written(&folder.path().join("logs").join(name), at);
    }
    let captured = bench(&folder).capture("clean_disk_space", args(&folder)).await.unwrap();
    assert_eq!(names(&captured.basis.unwrap()), ["before", "before-epoch", "epoch"]);
}

#[tokio::test]
async fn names_that_look_like_others_stay_and_are_not_shown() {
    let folder = Folder::new();
    let odd: [&[u8]; 9] = [
        b"two\nlines.log",
        b"back\rwards",
        b"bell\x07",
        b"esc\x1b[2Jape",
        b"not-\xff-text",
        "gol.\u{202e}txt".as_bytes(),
        "zero\u{200b}width".as_bytes(),
        "tag\u{e0041}".as_bytes(),
        "para\u{2029}graph".as_bytes(),
    ];
    for name in odd {
        let path = folder.path().join("logs").join(std::ffi::OsStr::from_bytes(name));
        written(&path, now() - 90 * DAY);
    }
    for name in ["-rf", "--help", "a b", "$(id)", "*", "日志.log", "'quoted'", "..."] {
        old(&folder, &format!("logs/{name}"));
    }
    let bench = bench(&folder);
    let captured = bench.capture("clean_disk_space", args(&folder)).await.unwrap();
    let basis = captured.basis.unwrap();
    assert_eq!(
        names(&basis),
        ["$(id)", "'quoted'", "*", "--help", "-rf", "...", "a b", "日志.log"]
    );
    let preview = captured.preview.unwrap();
    assert!(preview.contains("stays: 9 with names that are not plain text"), "{preview}");
    assert!(preview.chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}')));
    let output = clean(&bench, args(&folder), basis).await;
    assert_eq!(output.data["deleted"], 8);
    assert_eq!(fs::read_dir(folder.at("logs")).unwrap().count(), odd.len());
}

#[tokio::test]
async fn what_is_no_file_stays() {
    let folder = Folder::new();
    old(&folder, "logs/file");
    let _socket = std::os::unix::net::UnixListener::bind(folder.at("logs/socket")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, folder.at("logs/pipe"), fifo, mode, 0).unwrap();
    symlink("/dev/zero", folder.at("logs/zero")).unwrap();
    symlink("/proc/self", folder.at("logs/magic")).unwrap();
    fs::create_dir(folder.at("logs/folder")).unwrap();
    // Everything is a year old by a clock that is a year ahead.
    let bench = bench(&folder);
    bench.clock.advance(365 * 24 * 60 * 60 * 1_000);
    let captured = bench.capture("clean_disk_space", args(&folder)).await.unwrap();
    assert_eq!(names(&captured.basis.unwrap()), ["file"]);
    assert_eq!(captured.state["kept"], 4);
}

#[tokio::test]
async fn what_changes_between_the_list_and_the_run_stays() {
    let folder = Folder::new();
    let bench = bench(&folder);
    let paths: Vec<String> = ["held", "linked", "longer", "mode", "gone", "kept", "plain"]
        .iter()
        .map(|name| old(&folder, &format!("logs/{name}")))
        .collect();
    let judged = bench.capture("clean_disk_space", args(&folder)).await.unwrap().basis.unwrap();
    let _held = fs::File::open(&paths[0]).unwrap();
    fs::hard_link(&paths[1], folder.at("other-name")).unwrap();
    // Written and given its old time again: only the size tells.
    fs::write(&paths[2], "more").unwrap();
    fs::File::options()
        .write(true)
        .open(&paths[2])
        .unwrap()
        .set_modified(now() - 90 * DAY)
        .unwrap();
    fs::remove_file(&paths[4]).unwrap();
    fs::create_dir(&paths[4]).unwrap();
    // The same name, time and size in another file.
    let twin = old(&folder, "twin");
    fs::rename(twin, &paths[5]).unwrap();
    let output = clean(&bench, args(&folder), judged).await;
    assert_eq!(output.data["deleted"], 2, "{}", output.text);
    for (path, stays) in paths.iter().zip([true, true, true, false, true, true, false]) {
        assert_eq!(Path::new(path).exists(), stays, "{path}: {}", output.text);
    }
}

#[tokio::test]
async fn a_hundred_thousand_files_give_a_list_that_somebody_can_read() {
    let folder = Folder::new();
    let at = now() - 90 * DAY;
    for part in 0..100 {
        let below = folder.path().join(format!("logs/{part}"));
        fs::create_dir_all(&below).unwrap();
        for n in 0..1_000 {
            fs::File::create(below.join(n.to_string())).unwrap().set_modified(at).unwrap();
        }
    }
    let bench = bench(&folder);
    let captured = bench.capture("clean_disk_space", args(&folder)).await.unwrap();
    assert_eq!(captured.state, json!({ "files": 1_000, "bytes": 0, "kept": 99_000 }));
    assert!(captured.preview.as_ref().unwrap().lines().count() < 110);
    let output = clean(&bench, args(&folder), captured.basis.unwrap()).await;
    assert_eq!(output.data["deleted"], 1_000);
    let left: usize = fs::read_dir(folder.at("logs"))
        .unwrap()
        .map(|part| fs::read_dir(part.unwrap().path()).unwrap().count())
        .sum();
    assert_eq!(left, 99_000);
}

#[tokio::test]
async fn a_log_that_became_a_link_of_somebody_else_is_not_followed() {
    let folder = Folder::new();
    let bench = bench(&folder);
    let log = folder.write("logs/shop.log", "ERROR one\n");
    let shown = async || bench.run_within("get_service_logs", logs(), None, bounds()).await;
    assert!(matches!(shown().await, Ok(Done::Output(output)) if output.text.contains("one")));

    // Our own link is configuration.
    let real = folder.write("real/shop.log", "ERROR two\n");
    fs::remove_file(&log).unwrap();
    symlink(&real, &log).unwrap();
    assert!(matches!(shown().await, Ok(Done::Output(output)) if output.text.contains("two")));

    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root may give a link away");
        return;
    }
    let secret = folder.write("outside/shadow", "ERROR root:$6$secret\n");
    for target in [secret.as_str(), "/etc/shadow", "/proc/self/environ"] {
        fs::remove_file(&log).unwrap();
        symlink(target, &log).unwrap();
        std::os::unix::fs::lchown(&log, Some(12_345), None).unwrap();
        let why = bench.told("get_service_logs", logs()).await;
        assert!(why.contains(" leads to "), "{why}");
    }
    // Nor over a folder on the way.
    fs::remove_file(&log).unwrap();
    fs::rename(folder.at("logs"), folder.at("moved")).unwrap();
    fs::rename(&secret, folder.at("outside/shop.log")).unwrap();
    symlink(folder.at("outside"), folder.at("logs")).unwrap();
    std::os::unix::fs::lchown(folder.at("logs"), Some(12_345), None).unwrap();
    let why = bench.told("get_service_logs", logs()).await;
    assert!(why.contains(" leads to "), "{why}");
}

#[tokio::test]
async fn a_log_that_is_swapped_all_the_time_never_shows_the_secret() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root may give a link away");
        return;
    }
    let folder = Folder::new();
    let bench = bench(&folder);
    let log = folder.write("logs/shop.log", "ERROR plain\n");
    let secret = folder.write("outside/key", "ERROR the-secret\n");
    let (file, link) = (folder.write("file", "ERROR plain\n"), folder.at("link"));
    let swapping = Swapping::start(move || {
        let _ = symlink(&secret, &link);
        let _ = std::os::unix::fs::lchown(&link, Some(12_345), None);
        let _ = fs::rename(&link, &log);
        let _ = fs::copy(&file, &link).and_then(|_| fs::rename(&link, &log));
    });
    let (mut shown, mut refused) = (0, 0);
    for _ in 0..600 {
        match bench.run_within("get_service_logs", logs(), None, bounds()).await {
            Ok(Done::Output(output)) => {
                assert!(!output.text.contains("the-secret"), "{}", output.text);
                shown += 1;
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => refused += 1,
        }
    }
    swapping.end();
    assert!(shown > 0 && refused > 0, "{shown} shown, {refused} refused: nothing was raced");
}

fn logs() -> Value {
    json!({ "service": "shop", "level": "all" })
}

#[test]
fn no_name_reaches_a_service_that_is_not_listed() {
    let bench = Bench::new(
        "hosts: [{ name: box, reach: local }]\n\
         services: [{ name: shop, unit: shop@1, hosts: [box], class: web }]",
    );
    for name in [
        "",
        " ",
        "shop ",
        " shop",
        "shop\n",
        "shop\0",
        "shop\t",
        "shop shop",
        "shop,shop",
        "shop;id",
        "shop*",
        "sho?",
        "[s]hop",
        "shop@*",
        "shop@2",
        "shop@",
        "@1",
        "-H",
        "--all",
        "--",
        "-",
        "shop --force",
        "shop.socket",
        "shop.target",
        "shop.timer",
        "shop.service.service",
        "reboot.target",
        "default.target",
        "../shop",
        "shop/..",
        "./shop",
        "/shop",
        "$(shop)",
        "`shop`",
        "${shop}",
        "sh\u{43e}p",
        "shop\u{200b}",
        "\u{202e}pohs",
        "ｓｈｏｐ",
        "shop\u{301}",
        "%i",
        "shop%i",
        "shop\\x2d",
        "shop&&id",
        "shop|id",
        "shop>x",
        "'shop'",
        "\"shop\"",
        "shop=1",
        "user@0",
        "box:shop",
        "box/shop",
        "shop.",
        ".shop",
        "sshd",
        "watchkeeper",
        "init.scope",
    ] {
        let args = json!({ "service": name, "host": "box", "reason": "r" });
        let answer = bench.complete("restart_service", args);
        assert!(answer.is_err(), "{name:?} was taken as {answer:?}");
    }
    for wrong in [json!(["shop"]), json!({ "name": "shop" }), json!(1), json!(true), Value::Null] {
        let args = json!({ "service": wrong, "host": "box", "reason": "r" });
        assert!(bench.complete("restart_service", args).is_err());
    }
    for host in ["", "box box", "box,far", "*", "-oProxyCommand=id", "169.254.169.254", "box\n"] {
        let args = json!({ "service": "shop", "host": host, "reason": "r" });
        assert!(bench.complete("restart_service", args).is_err(), "{host:?} was taken");
    }
}
