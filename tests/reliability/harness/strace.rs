//! Faults at a system call, by strace: a kill at the Nth call, an error from the Nth call on, a delay; and counting the calls of a clean
//! run. strace counts per thread, so a walk over N is narrowed to what one thread does (`paths`: exact files, not folders).

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context as _;

/// What happens, as strace writes it: `signal=SIGKILL:when=3`, `error=EIO:when=3+`, `delay_enter=5s`.
///
/// Without `--seccomp-bpf`, although that is faster: with it strace 6.1 forgets how often it was called, and only `when=1` ever comes true.
pub fn inject(calls: &[&str], paths: &[&Path], what: &str) -> Vec<String> {
    let calls = calls.join(",");
    let mut words = strace("/dev/null", &calls);
    words.extend(paths.iter().flat_map(|path| ["-P".to_owned(), path.display().to_string()]));
    words.extend(["-e".to_owned(), format!("inject={calls}:{what}")]);
    words
}

/// Writes every call to `output`, for [`counted`].
pub fn record(output: &Path, calls: &[&str]) -> Vec<String> {
    let mut words = strace(&output.display().to_string(), &calls.join(","));
    words.push("--seccomp-bpf".to_owned());
    words
}

fn strace(output: &str, calls: &str) -> Vec<String> {
    let mut words: Vec<String> = ["strace", "-f", "-qq", "-o", output, "-e"].map(str::to_owned).to_vec();
    words.push(format!("trace={calls}"));
    words
}

/// How often each call was made by the thread that made it most: the range of N.
pub fn counted(output: &Path) -> anyhow::Result<BTreeMap<String, usize>> {
    let text = fs::read_to_string(output).with_context(|| output.display().to_string())?;
    let mut by_thread: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        if call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            *by_thread.entry((call.to_owned(), thread.to_owned())).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((call, _), count) in by_thread {
        let entry = most.entry(call).or_insert(0);
        *entry = count.max(*entry);
    }
    Ok(most)
}
