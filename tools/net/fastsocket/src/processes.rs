// SPDX-License-Identifier: GPL-2.0

//! Who descends from whom, as `/proc` has it.

use crate::sys::Pid;
use std::fs;

/// The children of `pid`.
pub(crate) fn children(pid: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&child| parent(child) == Some(pid))
        .collect()
}

/// Whether `pid` is a descendant of `ancestor`. One that is gone is none.
pub(crate) fn descends(pid: Pid, ancestor: Pid) -> bool {
    let mut parents = std::iter::successors(parent(pid), |&pid| parent(pid));
    parents.any(|parent| parent == ancestor)
}

fn parent(pid: Pid) -> Option<Pid> {
    parent_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The parent in a line of `stat`: the second field after the name, which is
/// in parentheses and may hold anything.
fn parent_in(stat: &str) -> Option<Pid> {
    let (_, after) = stat.rsplit_once(')')?;
    let parent = after.split_ascii_whitespace().nth(1)?.parse().ok()?;
    (parent > 0).then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_stat() {
        assert_eq!(parent_in("42 (sh) S 7 42 42 0 -1"), Some(7));
        assert_eq!(parent_in("42 (a) R 1 (b c)) Z 7 42"), Some(7));
        assert_eq!(parent_in("1 (init) S 0 1 1"), None);
        assert_eq!(parent_in(""), None);
    }

    #[test]
    fn family() {
        let own = std::process::id() as Pid;
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = child.id() as Pid;
        assert!(children(own).contains(&pid));
        assert!(descends(pid, own));
        assert!(!descends(own, pid));
        assert!(!descends(own, own));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!descends(pid, own));
    }
}
