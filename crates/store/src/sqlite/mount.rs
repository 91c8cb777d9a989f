//! Which file system a path is on: SQLite's locks and shared memory do not hold across machines.

use std::path::Path;

/// Network and cluster file systems, as Linux names them in `/proc/self/mountinfo`.
const REMOTE: &[&str] = &[
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "fuse.ceph",
    "fuse.davfs",
    "fuse.davfs2",
    "fuse.gcsfuse",
    "fuse.glusterfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.sshfs",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "smb3",
    "smbfs",
];

/// The network file system that a path is on, if it is on one and the system can tell.
pub(super) fn network_file_system(path: &Path) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let kind = file_system(&mounts, path)?;
    REMOTE.contains(&kind).then(|| kind.to_owned())
}

/// The type of the file system that an absolute path is on: that of the longest mount point above it, the last one
/// where several are mounted on each other.
fn file_system<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        // proc(5): the mount point is the fifth field; the type is the first after a lone dash.
        let Some((mount, rest)) = line.split_once(" - ") else { continue };
        let Some(point) = mount.split(' ').nth(4).map(unescape) else { continue };
        let Some(kind) = rest.split(' ').next() else { continue };
        let depth = Path::new(&point).components().count();
        if path.starts_with(&point) && best.is_none_or(|(d, _)| depth >= d) {
            best = Some((depth, kind));
        }
    }
    best.map(|(_, kind)| kind)
}

/// Spaces, tabs, line ends and backslashes are written as three octal digits.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
40 22 0:35 / /srv rw shared:2 master:1 - nfs4 filer:/srv rw
41 40 0:36 / /srv/my\\040disk rw - xfs /dev/sdb1 rw
42 22 0:37 / /tmp rw - ext4 /dev/sdc1 rw
43 22 0:38 / /tmp rw - tmpfs tmpfs rw";

    #[test]
    fn the_nearest_mount_point_decides() {
        for (path, kind) in [
            ("/home/anna/shop", "ext4"),
            ("/srv/shop/.polder", "nfs4"),
            ("/srvX", "ext4"),
            ("/srv/my disk/shop", "xfs"),
            ("/tmp/x", "tmpfs"),
        ] {
            assert_eq!(file_system(MOUNTS, Path::new(path)), Some(kind), "{path}");
        }
        assert!(REMOTE.contains(&"nfs4") && !REMOTE.contains(&"ext4"));
    }

    #[test]
    fn this_machine_can_be_asked() {
        assert_eq!(network_file_system(&std::env::temp_dir()), None);
    }
}
