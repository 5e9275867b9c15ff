//! How full the mounted file systems are.
//!
//! In: `/proc/self/mountinfo` (proc(5)). Out: each device once, at its shortest mount point.
//! Never: a wait for a network file system whose server is gone; it is reported as silent.

use crate::targets::resources::Disk;
use rustix::fs::{StatVfs, StatVfsMountFlags, statvfs};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// File systems that hold no files of anybody's, or are always exactly full.
const UNINTERESTING: [&str; 25] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "ramfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
];
/// A local file system answers in microseconds.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Mounts that were asked and have not answered; each keeps a thread, so none is asked twice.
pub(super) type Silent = Arc<Mutex<BTreeSet<String>>>;

struct Mount {
    device_number: String,
    root: String,
    mount: String,
    kind: String,
    device: String,
    read_only: bool,
}

/// Every file system with its use, and the troubles.
pub(super) fn disks(mountinfo: &str, silent: &Silent) -> (Vec<Disk>, Vec<String>) {
    let (mut disks, mut troubles) = (Vec::new(), Vec::new());
    for mount in chosen(mountinfo) {
        match ask(&mount.mount, silent) {
            Ok(stat) if stat.f_blocks == 0 => {}
            Ok(stat) => disks.push(disk(mount, &stat)),
            Err(why) => troubles.push(format!("disk: {} {why}", mount.mount)),
        }
    }
    disks.sort_by(|a, b| b.used_percent.total_cmp(&a.used_percent));
    (disks, troubles)
}

fn chosen(mountinfo: &str) -> Vec<Mount> {
    let mut visible: BTreeMap<String, Mount> = BTreeMap::new();
    for mount in mountinfo.lines().filter_map(parse) {
        // A later mount hides an earlier one at the same place.
        visible.insert(mount.mount.clone(), mount);
    }
    let mut by_device: BTreeMap<String, Mount> = BTreeMap::new();
    for mount in visible.into_values() {
        if UNINTERESTING.contains(&mount.kind.as_str()) {
            continue;
        }
        // Bind mounts show a part of a device that is mounted elsewhere, too.
        let rank = |m: &Mount| (m.root != "/", m.mount.len());
        match by_device.get(&mount.device_number) {
            Some(other) if rank(other) <= rank(&mount) => {}
            Some(_) | None => {
                by_device.insert(mount.device_number.clone(), mount);
            }
        }
    }
    by_device.into_values().collect()
}

fn parse(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(2);
    let (device_number, root, mount, options) =
        (before.next()?, before.next()?, before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (kind, device) = (after.next()?, after.next()?);
    Some(Mount {
        device_number: device_number.to_owned(),
        root: unescaped(root),
        mount: unescaped(mount),
        kind: kind.to_owned(),
        device: unescaped(device),
        read_only: options.split(',').any(|option| option == "ro"),
    })
}

/// Blanks and backslashes are written as three octal digits.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                out.push_str(&part[3..]);
            }
            None => {
                out.push('\\');
                out.push_str(part);
            }
        }
    }
    out
}

fn ask(mount: &str, silent: &Silent) -> Result<StatVfs, String> {
    let lock = || silent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !lock().insert(mount.to_owned()) {
        return Err("has not answered an earlier question yet".to_owned());
    }
    let (send, answer) = mpsc::channel();
    let (path, done) = (mount.to_owned(), Arc::clone(silent));
    // A thread of its own: one that hangs in the kernel must not hold up the shutdown.
    let spawned = std::thread::Builder::new().name("statvfs".to_owned()).spawn(move || {
        let stat = statvfs(path.as_str());
        done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&path);
        let _ = send.send(stat);
    });
    if let Err(error) = spawned {
        lock().remove(mount);
        return Err(format!("cannot be asked: {error}"));
    }
    match answer.recv_timeout(ANSWERS_WITHIN) {
        Ok(Ok(stat)) => Ok(stat),
        Ok(Err(error)) => Err(format!("cannot be asked: {error}")),
        Err(_) => Err(format!("does not answer within {} s", ANSWERS_WITHIN.as_secs())),
    }
}

fn disk(mount: Mount, stat: &StatVfs) -> Disk {
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let inodes_used = stat.f_files.saturating_sub(stat.f_ffree);
    Disk {
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        used_percent: super::percent(used, used + stat.f_bavail),
        inodes_used_percent: (stat.f_files > 0)
            .then(|| super::percent(inodes_used, inodes_used + stat.f_favail)),
        read_only: mount.read_only || stat.f_flag.contains(StatVfsMountFlags::RDONLY),
        mount: mount.mount,
        device: mount.device,
        kind: mount.kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_is_shown_once_and_hidden_mounts_are_not() {
        let text = "\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
23 22 0:5 / /proc rw - proc proc rw\n\
24 22 8:1 /srv/data /mnt/bind\\040mount rw - ext4 /dev/sda1 rw\n\
25 22 8:2 / /data ro,noatime shared:1 - xfs /dev/sdb1 rw\n\
26 22 0:40 / /data rw - tmpfs none rw\n\
27 22 8:3 / /a\\134b rw - ext4 /dev/sd\\040c rw\n\
broken line\n";
        let seen: Vec<(String, String)> =
            chosen(text).into_iter().map(|m| (m.mount, m.device)).collect();
        assert_eq!(
            seen,
            [
                ("/data".to_owned(), "none".to_owned()),
                ("/".to_owned(), "/dev/sda1".to_owned()),
                ("/a\\b".to_owned(), "/dev/sd c".to_owned()),
            ]
        );
    }

    #[test]
    fn a_mount_that_has_not_answered_is_not_asked_again() {
        let silent = Silent::default();
        silent.lock().unwrap().insert("/".to_owned());
        let (disks, troubles) = disks("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", &silent);
        assert_eq!(disks, []);
        assert_eq!(troubles, ["disk: / has not answered an earlier question yet"]);
    }
}
