//! The commands for backup and restore in `docs/operating.md` do what the page says.

use crate::support::binary::{Home, run};
use crate::support::engines::{Ground, for_each_engine};
use secrecy::ExposeSecret as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use watchkeeper::store::db::Location;

/// Of all commands together; reached only when one hangs.
const WITHIN: Duration = Duration::from_secs(300);

/// The blocks that are marked, in order.
fn blocks() -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md");
    let text = std::fs::read_to_string(file).unwrap();
    let marked = text.split("<!-- run by tests/it/backup_docs.rs").skip(1);
    let block = |part: &str| {
        let (_, rest) = part.split_once("```sh\n").unwrap();
        rest.split_once("```").unwrap().0.to_owned()
    };
    marked.map(block).collect()
}

/// A host with the packaged unit: its folders, `systemctl` and `runuser` are stand-ins.
struct Host {
    home: Home,
}

const SYSTEMCTL: &str = r#"#!/bin/sh
case $1 in
  stop)
    pid=$(cat ROOT/pid)
    kill "$pid"
    # Its parent may not have looked yet: then it is a zombie.
    while [ -e "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status"; do sleep 0.05; done
    ;;
  start)
    (
      set -a
      . ROOT/etc/environment
      WATCHKEEPER__DATA_DIR=ROOT/lib
      exec watchkeeper --config ROOT/etc/watchkeeper.yaml serve >>ROOT/log 2>&1 </dev/null
    ) &
    echo $! >ROOT/pid
    tries=0
    until watchkeeper --config ROOT/etc/watchkeeper.yaml healthcheck >/dev/null 2>&1; do
      tries=$((tries + 1))
      [ "$tries" -lt 600 ] || exit 1
      sleep 0.1
    done
    ;;
esac
"#;
const RUNUSER: &str =
    "#!/bin/sh\n[ \"$1 $2 $3\" = '-u watchkeeper --' ] || exit 1\nshift 3\nexec \"$@\"\n";

impl Host {
    async fn new(ground: &Ground) -> Self {
        let host = Self { home: Home::new() };
        let root = &host.home.folder;
        for folder in ["bin", "lib", "backup", "etc"] {
            std::fs::create_dir(root.join(folder)).unwrap();
        }
        host.home.run(&["init", "--yes"]).await.ok();
        for file in std::fs::read_dir(root.join("config")).unwrap() {
            let file = file.unwrap();
            if file.path().is_file() {
                std::fs::copy(file.path(), root.join("etc").join(file.file_name())).unwrap();
            }
        }
        let port = crate::support::real::free_port();
        host.home.write("etc/watchkeeper.yaml", &format!("listen: 127.0.0.1:{port}\n"));
        let environment = match ground.location() {
            Location::Folder(_) => String::new(),
            Location::Postgres { url, .. } => format!("DATABASE_URL='{}'\n", url.expose_secret()),
        };
        host.home.write("etc/environment", &environment);
        let here = root.display().to_string();
        for (name, text) in [("systemctl", SYSTEMCTL), ("runuser", RUNUSER)] {
            let file = root.join("bin").join(name);
            std::fs::write(&file, text.replace("ROOT", &here)).unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let program = env!("CARGO_BIN_EXE_watchkeeper");
        std::os::unix::fs::symlink(program, root.join("bin/watchkeeper")).unwrap();
        let config = ["--config", "etc/watchkeeper.yaml"];
        let args = ["token", "create", "ops", "--kind", "api", "--role", "sre", "-o", "json"];
        let token = run(root, None, &[&config[..], &args].concat(), "").await.json();
        host.home.write("token", token["token"].as_str().unwrap());
        host
    }

    /// Runs a script of the page, its folders being those of this host; returns what it said.
    async fn run(&self, script: &str) -> String {
        let root = self.home.folder.display().to_string();
        let script = script
            .replace("/etc/watchkeeper", &format!("{root}/etc"))
            .replace("/var/lib/watchkeeper", &format!("{root}/lib"))
            .replace("/backup/", &format!("{root}/backup/"))
            .replace("/root/watchkeeper.token", &format!("{root}/token"));
        let child = Command::new("/bin/sh")
            .args(["-euc", &script])
            .env_clear()
            .env("PATH", format!("{root}/bin:/usr/bin:/bin"))
            .current_dir(&self.home.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let ended = tokio::time::timeout(WITHIN, child.wait_with_output()).await;
        let ended = ended.unwrap_or_else(|_| panic!("hangs: {script}")).unwrap();
        let said = String::from_utf8(ended.stdout).unwrap();
        let errors = String::from_utf8(ended.stderr).unwrap();
        let log = std::fs::read_to_string(self.home.folder.join("log")).unwrap_or_default();
        assert!(ended.status.success(), "{script}\n{said}\n{errors}\n{log}");
        said
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let Ok(pid) = std::fs::read_to_string(self.home.folder.join("pid")) else { return };
        let ours = format!("/proc/{}/cmdline", pid.trim());
        let ours = std::fs::read_to_string(ours).unwrap_or_default();
        if ours.contains(&self.home.folder.display().to_string()) {
            let _ = std::process::Command::new("kill").args(["-9", pid.trim()]).status();
        }
    }
}

#[tokio::test]
async fn the_commands_of_the_page_back_up_and_restore_on_both_engines() {
    let [restore, drill] = <[String; 2]>::try_from(blocks()).unwrap();
    for_each_engine(|ground| {
        let (restore, drill) = (restore.clone(), drill.clone());
        async move {
            let host = Host::new(&ground).await;
            host.run("systemctl start watchkeeper").await;
            let said = host.run(&restore).await;
            for part in [
                "keep ",
                "restored the backup of",
                "every change is halted",
                "what was there before lies in",
                "the history is whole",
                "restored from backup of",
                "not halted; changes go on",
            ] {
                assert!(said.contains(part), "{part}: {said}");
            }
            if ground.engine() == "sqlite" {
                let wk = restore.split_once("wk backup").unwrap().0;
                let said = host.run(&format!("{wk}{drill}")).await;
                assert!(said.contains("the history is whole"), "{said}");
                assert!(!host.home.folder.join("lib/drill").exists());
            }
            host.run("systemctl stop watchkeeper").await;
        }
    })
    .await;
}
