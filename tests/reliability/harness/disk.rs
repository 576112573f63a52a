//! Small file systems of our own on loop devices, which can fill, run out of inodes, or lose their power. Unmounted with this value, and
//! by whoever started the row in any case ([`sweep`]).

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

/// A mounted image.
pub struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// An ext4 of so many MiB in `folder`, with further words for mkfs.ext4 (`-N 64` for few inodes).
    pub fn ext4(folder: &Path, mebibytes: u64, words: &[&str]) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let disk = Self { image: folder.join("disk.img"), at: folder.join("disk") };
        fs::create_dir_all(&disk.at)?;
        File::create(&disk.image)?.set_len(mebibytes << 20)?;
        // No space for root alone: redflag runs as root here, and is to meet the disk as everybody does.
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).args(words).arg(&disk.image))?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn at(&self) -> &Path {
        &self.at
    }

    /// The power fails: what was not synced is gone (FS_IOC_SHUTDOWN without flushing the log). Whatever runs on it must be dead or
    /// will be refused from here on.
    pub fn cut_power(&self) -> anyhow::Result<()> {
        const SHUTDOWN: &str = "import fcntl, os, struct, sys\n\
            fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";
        run(Command::new("python3").args(["-c", SHUTDOWN]).arg(&self.at))
    }

    /// Unmounts and mounts again, as a boot would: the file system's own journal is replayed.
    pub async fn reboot(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while let Err(error) = run(Command::new("umount").arg(&self.at)) {
            if begun.elapsed() > Duration::from_secs(10) {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.mount()
    }

    /// Whether the file system itself is sound. Unmounts it.
    pub fn check(self) -> anyhow::Result<()> {
        run(Command::new("umount").arg(&self.at))?;
        run(Command::new("e2fsck").arg("-fn").arg(&self.image))
    }

    /// Again, after it was unmounted.
    pub fn mount(&self) -> anyhow::Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.at))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let quiet = |command: &mut Command| drop(command.stdout(Stdio::null()).stderr(Stdio::null()).status());
        quiet(Command::new("umount").arg("--lazy").arg(&self.at));
    }
}

/// Unmounts whatever is mounted below a folder, deepest first: what a row that was killed has left.
pub fn sweep(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut below: Vec<_> =
        mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new).filter(|at| at.starts_with(folder)).collect();
    below.sort_by_key(|at| std::cmp::Reverse(at.as_os_str().len()));
    for at in below {
        let _ = Command::new("umount").arg("--lazy").arg(at).status();
    }
}

/// Runs a tool; what it said is in the error.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .with_context(|| format!("{}; `make reliability` installs what is missing", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}: {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
