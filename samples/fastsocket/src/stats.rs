// SPDX-License-Identifier: GPL-2.0

//! What the workers count, in memory that the master shares with them.

use std::fmt::Write;
use std::io;
use std::mem::size_of;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one process adds to and others read.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds without a locked instruction: there is one writer.
    pub(crate) fn add(&self, amount: u64) {
        let value = self.0.load(Ordering::Relaxed);
        self.0.store(value.wrapping_add(amount), Ordering::Relaxed);
    }

    /// The value.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One worker's counters, on cache lines of their own. They go on when the
/// worker is replaced.
#[derive(Default)]
#[repr(C, align(128))]
pub(crate) struct Counters {
    /// Connections accepted.
    pub(crate) accepted: Counter,
    /// Connections closed.
    pub(crate) closed: Counter,
    /// Requests answered with 200.
    pub(crate) requests: Counter,
    /// Requests answered with 4xx.
    pub(crate) bad: Counter,
    /// Backends that could not be reached (502).
    pub(crate) unreachable: Counter,
    /// Connections that were ended by an error.
    pub(crate) errors: Counter,
    /// Connections that were ended because nothing happened.
    pub(crate) timeouts: Counter,
    /// Bytes relayed, both ways.
    pub(crate) relayed: Counter,
}

/// Shared counters for `count` workers, for the life of the process.
pub(crate) fn share(count: usize) -> io::Result<&'static [Counters]> {
    // SAFETY: a new mapping, page-aligned, of zeros, which are valid counters,
    // and never unmapped.
    unsafe {
        let memory = libc::mmap(
            ptr::null_mut(),
            count * size_of::<Counters>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(std::slice::from_raw_parts(memory.cast(), count))
    }
}

/// A row of the table: who, and where.
pub(crate) struct Row<'a> {
    /// The process, if there is one at present.
    pub(crate) pid: Option<libc::pid_t>,
    /// The CPU, if it is bound to one.
    pub(crate) cpu: Option<usize>,
    /// What it has counted.
    pub(crate) counters: &'a Counters,
}

/// All counters as text.
pub(crate) fn table(rows: &[Row<'_>]) -> String {
    const COLUMNS: [&str; 8] = [
        "accepted", "open", "requests", "bad", "502", "errors", "timeouts", "relayed",
    ];
    let mut text = format!("{:>6} {:>8} {:>4}", "worker", "pid", "cpu");
    for name in COLUMNS {
        let _ = write!(text, " {name:>10}");
    }
    let mut sums = [0u64; COLUMNS.len()];
    for (index, row) in rows.iter().enumerate() {
        let cpu = row.cpu.map_or("any".into(), |cpu| cpu.to_string());
        let pid = row.pid.map_or("-".into(), |pid| pid.to_string());
        let _ = write!(text, "\n{index:>6} {pid:>8} {cpu:>4}");
        let c = row.counters;
        let open = c.accepted.get().saturating_sub(c.closed.get());
        let values = [
            c.accepted.get(),
            open,
            c.requests.get(),
            c.bad.get(),
            c.unreachable.get(),
            c.errors.get(),
            c.timeouts.get(),
            c.relayed.get(),
        ];
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value;
            let _ = write!(text, " {value:>10}");
        }
    }
    let _ = write!(text, "\n{:>6} {:>8} {:>4}", "all", "", "");
    for sum in sums {
        let _ = write!(text, " {sum:>10}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_sums_up() {
        let counters = share(2).unwrap();
        counters[0].accepted.add(3);
        counters[1].accepted.add(4);
        counters[1].closed.add(4);
        let rows: Vec<_> = counters
            .iter()
            .map(|counters| Row {
                pid: Some(1),
                cpu: None,
                counters,
            })
            .collect();
        let text = table(&rows);
        let last: Vec<_> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(last[..3], ["all", "7", "3"]);
        assert_eq!(text.lines().count(), 4);
    }
}
