//! A disk of a few megabytes that can be filled, and made to refuse writes: ext4 in a file, mounted
//! on a loop device. Needs root and loop devices; where they are not to be had, the test is left out
//! and says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// More than a started server writes, few enough to fill quickly.
const BYTES: u64 = 24 << 20;

/// The mounted disk; gone when dropped.
pub struct Disk {
    image: PathBuf,
    folder: PathBuf,
}

impl Disk {
    /// Mounts a fresh disk on a folder, which is made.
    pub fn mount(folder: &Path) -> Option<Self> {
        let image = folder.with_extension("img");
        fs::create_dir_all(folder).unwrap();
        fs::File::create(&image).unwrap().set_len(BYTES).unwrap();
        // Without a journal and a reserve for root, so that "full" means the same for everybody.
        let disk = Self { image: image.clone(), folder: folder.to_owned() };
        let quiet = ["-q", "-F", "-m", "0", "-O", "^has_journal"];
        must(Command::new("mkfs.ext4").args(quiet).arg(&image));
        let mount = Command::new("mount").args(["-o", "loop"]).arg(&image).arg(folder).output();
        let mount = mount.unwrap();
        if !mount.status.success() {
            let why = String::from_utf8_lossy(&mount.stderr);
            eprintln!("LEFT OUT, because mounting a disk needs root and loop devices: {why}");
            return None;
        }
        Some(disk)
    }

    /// Writes until nothing more fits.
    pub fn fill(&self) {
        use std::io::Write as _;
        let mut file = fs::File::create(self.folder.join("filler")).unwrap();
        for size in [1 << 20, 1 << 12] {
            let block = vec![7; size];
            while file.write_all(&block).and_then(|()| file.sync_data()).is_ok() {}
        }
    }

    /// Gives the room back.
    pub fn make_room(&self) {
        fs::remove_file(self.folder.join("filler")).unwrap();
    }

    /// The database and its log cannot be written any more, open as they are. (A file system with
    /// files open for writing cannot be made read-only. `-shm` is memory that lies in a file: who may
    /// not write there dies of SIGBUS, and starts again under his supervisor.)
    pub fn freeze(&self) {
        self.each("+i");
    }

    pub fn thaw(&self) {
        self.each("-i");
    }

    fn each(&self, mode: &str) {
        for file in ["watchkeeper.db", "watchkeeper.db-wal"] {
            must(Command::new("chattr").arg(mode).arg(self.folder.join(file)));
        }
    }

    /// Makes the whole file system read-only; nothing may be open for writing.
    pub fn read_only(&self) {
        must(Command::new("mount").args(["-o", "remount,ro"]).arg(&self.folder));
    }

    pub fn read_write(&self) {
        must(Command::new("mount").args(["-o", "remount,rw"]).arg(&self.folder));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
        let _ = fs::remove_file(&self.image);
    }
}

fn must(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
