//! Which paths a read-only command may be given.
//!
//! In: a raw path and what a program does with it. Out: the normalised path, or why not.
//! Never: a look at the disk (a target resolves symbolic links and asks again), a match inside a
//! component. To open a place, add it to `READ`, if and only if nothing below it holds a secret.

use crate::safety::command::pattern::path_matches;

/// What a program does with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Prints or digests the content of one file.
    Read,
    /// Prints the content of every file below a folder.
    ReadTree,
    /// Shows names, sizes, owners and times only.
    List,
    /// Decodes a public certificate and prints nothing else.
    Certificate,
}

/// Why a path may not be given to a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("a path must be absolute")]
    Relative,
    #[error("a path holds neither `.` nor `..`; write where it leads")]
    Climbing,
    #[error("a path holds printable ASCII characters only")]
    Character,
    #[error("a path has at most {PATH_MAX} characters")]
    TooLong,
    #[error("it may hold a secret")]
    Secret,
    #[error("it is outside the readable places ({0})")]
    Outside(&'static str),
}

/// Linux's own limit (`PATH_MAX` in `linux/limits.h`).
const PATH_MAX: usize = 4096;

/// Files whose content may be printed.
const READ: &[&str] = &[
    "/var/log/**",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/cpuinfo",
    "/proc/stat",
    "/proc/vmstat",
    "/proc/uptime",
    "/proc/version",
    "/proc/cmdline",
    "/proc/mounts",
    "/proc/swaps",
    "/proc/mdstat",
    "/proc/diskstats",
    "/proc/partitions",
    "/proc/filesystems",
    "/proc/interrupts",
    "/proc/softirqs",
    "/proc/locks",
    "/proc/modules",
    "/proc/devices",
    "/proc/slabinfo",
    "/proc/buddyinfo",
    "/proc/zoneinfo",
    "/proc/pagetypeinfo",
    "/proc/schedstat",
    "/proc/pressure/*",
    "/proc/net/*",
    "/proc/net/stat/*",
    "/proc/spl/kstat/zfs/arcstats",
    "/proc/sys/vm/*",
    "/proc/sys/fs/**",
    "/proc/sys/kernel/**",
    "/proc/sys/net/core/*",
    "/proc/sys/net/netfilter/*",
    "/proc/sys/net/ipv4/*",
    "/proc/#/status",
    "/proc/#/stat",
    "/proc/#/statm",
    "/proc/#/limits",
    "/proc/#/io",
    "/proc/#/sched",
    "/proc/#/schedstat",
    "/proc/#/cgroup",
    "/proc/#/comm",
    "/proc/#/wchan",
    "/proc/#/stack",
    "/proc/#/oom_score",
    "/proc/#/oom_score_adj",
    "/proc/#/smaps_rollup",
    "/proc/#/numa_maps",
    "/proc/#/mountinfo",
    "/proc/#/net/*",
    "/sys/class/net/*/*",
    "/sys/class/net/*/statistics/*",
    "/sys/class/net/*/queues/*/*",
    "/sys/class/thermal/*/*",
    "/sys/class/hwmon/*/*",
    "/sys/class/power_supply/*/*",
    "/sys/class/fc_host/*/*",
    "/sys/block/*/stat",
    "/sys/block/*/size",
    "/sys/block/*/inflight",
    "/sys/block/*/queue/*",
    "/sys/block/*/device/state",
    "/sys/devices/system/cpu/**",
    "/sys/devices/system/node/**",
    "/sys/devices/system/clocksource/**",
    "/sys/fs/cgroup/**",
    "/sys/kernel/mm/**",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/hosts.allow",
    "/etc/hosts.deny",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/os-release",
    "/etc/lsb-release",
    "/etc/debian_version",
    "/etc/redhat-release",
    "/etc/system-release",
    "/etc/timezone",
    "/etc/fstab",
    "/etc/mtab",
    "/etc/passwd",
    "/etc/group",
    "/etc/services",
    "/etc/protocols",
    "/etc/sysctl.conf",
    "/etc/sysctl.d/**",
    "/etc/security/limits.conf",
    "/etc/security/limits.d/**",
    "/etc/logrotate.conf",
    "/etc/logrotate.d/**",
    "/etc/crontab",
    "/etc/cron.d/**",
    "/etc/chrony.conf",
    "/etc/chrony/chrony.conf",
    "/etc/ntp.conf",
    "/etc/rsyslog.conf",
    "/etc/rsyslog.d/**",
    "/etc/modules",
    "/etc/modprobe.d/**",
    "/etc/network/interfaces",
    "/etc/ssh/sshd_config",
    "/etc/systemd/**",
    "/lib/systemd/**",
    "/usr/lib/systemd/**",
    "/usr/lib/os-release",
    "/run/systemd/resolve/*",
    "/run/motd.dynamic",
    "/etc/nginx/**",
    "/etc/apache2/**",
    "/etc/httpd/**",
    "/etc/docker/daemon.json",
    "/etc/mysql/mysql.conf.d/mysqld.cnf",
    "/etc/mysql/mariadb.conf.d/50-server.cnf",
    "/etc/postgresql/*/*/postgresql.conf",
    "/etc/postgresql/*/*/pg_hba.conf",
];

/// Folders in which no file has to be kept back, so that a whole tree may be read.
const READ_TREE: &[&str] = &[
    "/var/log/**",
    "/sys/fs/cgroup/**",
    "/etc/sysctl.d/**",
    "/etc/security/limits.d/**",
    "/etc/logrotate.d/**",
    "/etc/modprobe.d/**",
    "/etc/systemd/**",
    "/lib/systemd/**",
    "/usr/lib/systemd/**",
];

/// Folders of public certificates; keys lie beside some of them, so the file's name counts too.
const CERTIFICATE: &[&str] = &[
    "/etc/ssl/certs/**",
    "/etc/pki/tls/certs/**",
    "/etc/letsencrypt/live/*/*",
    "/etc/nginx/**",
    "/etc/apache2/**",
    "/etc/httpd/**",
    "/etc/haproxy/**",
    "/etc/kubernetes/pki/**",
    "/usr/share/ca-certificates/**",
    "/usr/local/share/ca-certificates/**",
    "/var/lib/kubelet/pki/**",
];

/// Places whose very names stay hidden, or where a name leads into another process's view.
const UNLISTED: &[&str] = &[
    "/dev/**",
    "/root/**",
    "/run/secrets/**",
    "/var/run/secrets/**",
    "/run/credentials/**",
    "/run/user/**",
    "/etc/ssl/private/**",
    "/etc/pki/tls/private/**",
    "/etc/letsencrypt/keys/**",
    "/etc/letsencrypt/archive/**",
    "/proc/*/environ",
    "/proc/*/mem",
    "/proc/*/root/**",
    "/proc/*/cwd/**",
    "/proc/*/map_files/**",
    "/proc/*/task/**",
    "/proc/kcore",
    "/proc/kmsg",
    "/sys/kernel/debug/**",
    "/sys/kernel/tracing/**",
    "/sys/firmware/**",
];

/// Folders with this name hold credentials wherever they are.
const SECRET_FOLDERS: &[&str] =
    &[".ssh", ".gnupg", ".aws", ".kube", ".docker", ".config", "private"];

/// Ends of names that key material has.
const SECRET_ENDS: &[&str] = &[
    ".key",
    ".pem",
    ".p12",
    ".pfx",
    ".jks",
    ".keystore",
    ".kdbx",
    ".kubeconfig",
    ".env",
    ".gpg",
    ".asc",
    ".ppk",
    ".pk8",
    ".keytab",
    ".netrc",
    ".pgpass",
    ".my.cnf",
    ".htpasswd",
    "shadow",
    "shadow-",
    "_key",
    "-key",
];

/// Parts of names that files with credentials have, also of kernel settings that are keys.
const SECRET_PARTS: &[&str] = &[
    "secret",
    "credential",
    "password",
    "passwd",
    "htpass",
    "private",
    "apikey",
    "api_key",
    "api-key",
    "id_rsa",
    "id_ed25519",
    "id_ecdsa",
    "id_dsa",
    "fastopen_key",
    "token",
];

/// Brings a path into the one form in which it is compared.
///
/// Repeated and trailing slashes go; `.` and `..` are refused rather than resolved, since the
/// kernel resolves `..` after symbolic links and text cannot.
///
/// # Errors
/// `Denied`, for a relative path, a climbing one, one with other characters, or one too long.
pub fn normalise(raw: &str) -> Result<String, Denied> {
    if raw.len() >= PATH_MAX {
        return Err(Denied::TooLong);
    }
    if !raw.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        return Err(Denied::Character);
    }
    if !raw.starts_with('/') {
        return Err(Denied::Relative);
    }
    let mut path = String::with_capacity(raw.len());
    for part in raw.split('/').filter(|part| !part.is_empty()) {
        if part == "." || part == ".." {
            return Err(Denied::Climbing);
        }
        path.push('/');
        path.push_str(part);
    }
    if path.is_empty() {
        path.push('/');
    }
    Ok(path)
}

/// Tells whether a normalised path is one of `roots` or lies below one.
pub fn is_within(path: &str, roots: &[impl AsRef<str>]) -> bool {
    roots.iter().any(|root| {
        let root = root.as_ref().trim_end_matches('/');
        path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Judges a path for one use and returns it normalised.
///
/// # Errors
/// `Denied`, with the reason; `Secret` where the place would be readable but for its name.
pub fn permit(access: Access, raw: &str) -> Result<String, Denied> {
    let path = normalise(raw)?;
    match access {
        Access::Read => {
            inside(&path, READ, "logs, listed files of /proc and /sys, plain configuration")?;
            refuse_secret(&path)?;
        }
        Access::ReadTree => {
            inside(&path, READ_TREE, "a whole tree only below /var/log and a few others")?;
            refuse_secret(&path)?;
        }
        Access::List => {
            let hidden = UNLISTED.iter().any(|pattern| path_matches(&path, pattern));
            if hidden || in_secret_folder(&path) {
                return Err(Denied::Secret);
            }
        }
        Access::Certificate => {
            inside(&path, CERTIFICATE, "certificate folders such as /etc/ssl/certs")?;
            let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
            let public = [".crt", ".cer", ".pem"].iter().any(|end| name.ends_with(end));
            if !public || name.contains("key") || in_secret_folder(&path) {
                return Err(Denied::Secret);
            }
        }
    }
    Ok(path)
}

fn inside(path: &str, patterns: &[&str], places: &'static str) -> Result<(), Denied> {
    if patterns.iter().any(|pattern| path_matches(path, pattern)) {
        return Ok(());
    }
    Err(Denied::Outside(places))
}

fn in_secret_folder(path: &str) -> bool {
    path.split('/').any(|part| SECRET_FOLDERS.contains(&part))
}

fn refuse_secret(path: &str) -> Result<(), Denied> {
    let lower = path.to_ascii_lowercase();
    // The world-readable user list holds no password, in spite of its name.
    if lower == "/etc/passwd" {
        return Ok(());
    }
    let ends = SECRET_ENDS.iter().any(|end| lower.ends_with(end));
    // Logs are redacted when read, and are named after services: `token-service.log` is a log.
    let named = !is_within(path, &["/var/log"]) && SECRET_PARTS.iter().any(|p| lower.contains(p));
    if ends || named || in_secret_folder(path) {
        return Err(Denied::Secret);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_into_one_form() {
        for (raw, expected) in
            [("/var//log/", "/var/log"), ("/", "/"), ("///", "/"), ("/a/b c", "/a/b c")]
        {
            assert_eq!(normalise(raw).unwrap(), expected, "{raw}");
        }
    }

    #[test]
    fn paths_that_climb_or_start_elsewhere_are_denied() {
        for (raw, expected) in [
            ("/var/log/../../etc/shadow", Denied::Climbing),
            ("/var/log/./x", Denied::Climbing),
            ("/..", Denied::Climbing),
            ("var/log", Denied::Relative),
            ("", Denied::Relative),
            ("~/x", Denied::Relative),
            ("/var/log/a\0b", Denied::Character),
            ("/var/log/a\nb", Denied::Character),
            ("/var/log/\u{e9}", Denied::Character),
        ] {
            assert_eq!(normalise(raw).unwrap_err(), expected, "{raw:?}");
        }
        assert_eq!(normalise(&format!("/{}", "a".repeat(5000))).unwrap_err(), Denied::TooLong);
    }

    #[test]
    fn boundaries_are_whole_components() {
        let roots = ["/var/log", "/tmp/"];
        for (path, expected) in [
            ("/var/log", true),
            ("/var/log/nginx/error.log", true),
            ("/var/logs", false),
            ("/tmp/x", true),
            ("/tmpfoo", false),
            ("/var", false),
        ] {
            assert_eq!(is_within(path, &roots), expected, "{path}");
        }
    }

    #[test]
    fn readable_places_hold_no_secret() {
        for path in [
            "/var/log/nginx/error.log",
            "/var/log/token-service.log",
            "/proc/meminfo",
            "/proc/812/limits",
            "/etc/passwd",
            "/etc/nginx/sites-enabled/default",
            "/etc/systemd/system/api.service",
        ] {
            assert_eq!(permit(Access::Read, path).unwrap(), path);
        }
        for path in [
            "/etc/shadow",
            "/etc/shadow-",
            "/etc/gshadow",
            "/etc/nginx/ssl/site.key",
            "/etc/nginx/.htpasswd",
            "/etc/nginx/private/x.conf",
            "/etc/systemd/api.env",
            "/proc/1/environ",
            "/proc/self/status",
            "/proc/1/root/etc/shadow",
            "/proc/sys/net/ipv4/tcp_fastopen_key",
            "/proc/kcore",
            "/dev/watchdog",
            "/root/.bash_history",
            "/var/log/backup.pem",
            "/",
            "/etc",
        ] {
            assert!(permit(Access::Read, path).is_err(), "{path}");
        }
    }

    #[test]
    fn trees_are_read_only_where_no_key_lies() {
        assert!(permit(Access::ReadTree, "/var/log").is_ok());
        for path in ["/etc/nginx", "/proc", "/sys", "/", "/etc"] {
            assert!(permit(Access::ReadTree, path).is_err(), "{path}");
        }
    }

    #[test]
    fn names_may_be_listed_except_in_hidden_places() {
        for path in ["/", "/opt/app", "/var/lib/docker", "/proc/1/fd", "/etc"] {
            assert!(permit(Access::List, path).is_ok(), "{path}");
        }
        for path in
            ["/dev/watchdog", "/root", "/home/bob/.ssh", "/proc/1/environ", "/run/secrets/a"]
        {
            assert!(permit(Access::List, path).is_err(), "{path}");
        }
    }

    #[test]
    fn certificates_are_not_keys() {
        assert!(permit(Access::Certificate, "/etc/letsencrypt/live/a.org/fullchain.pem").is_ok());
        for path in [
            "/etc/letsencrypt/live/a.org/privkey.pem",
            "/etc/nginx/site.key",
            "/etc/nginx/nginx.conf",
            "/home/a/x.pem",
        ] {
            assert!(permit(Access::Certificate, path).is_err(), "{path}");
        }
    }
}
