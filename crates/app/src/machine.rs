//! What this machine has.

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;

/// Cores that this process may use; 2 at least, so that one waiting step does not stop the others.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, NonZeroUsize::get).max(2)
}

/// Memory that this process may use, in bytes: the machine's, or its control group's where that is less.
pub(crate) fn memory_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
    });
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|t| t.trim().parse().ok());
    [machine, group].into_iter().flatten().min()
}

/// Half of the memory, or 1 GiB where that cannot be found out.
pub(crate) fn default_memory_limit_bytes() -> u64 {
    memory_bytes().map_or(1 << 30, |bytes| bytes / 2)
}

/// The commit of the git repository that a folder lies in, and whether its files differ from it.
pub(crate) fn git_commit(folder: &Path) -> Option<(String, bool)> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "HEAD"])?;
    let dirty = git(&["status", "--porcelain", "--", "."]).is_some_and(|files| !files.is_empty());
    Some((commit, dirty))
}

/// What this machine is called.
pub(crate) fn host_name() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    Some(name.trim()).filter(|name| !name.is_empty()).unwrap_or("this machine").to_owned()
}

/// Who is at the keyboard.
pub(crate) fn user_name() -> String {
    ["POLDER_PRINCIPAL", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
        .unwrap_or_else(|| "local".to_owned())
}
