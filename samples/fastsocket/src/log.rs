// SPDX-License-Identifier: GPL-2.0

//! Lines of output, each written by one system call, so that those of several
//! processes do not mix.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

/// Lets stdout and stderr go to the end of a file.
pub(crate) fn redirect(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    for fd in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: both descriptors stay open for the life of the process.
        if unsafe { libc::dup2(file.as_raw_fd(), fd) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Writes one line. A log that cannot be written is no reason to stop serving.
pub(crate) fn line(who: impl std::fmt::Display, what: std::fmt::Arguments<'_>) {
    let text = format!("{who}: {what}\n");
    let _ = io::stdout().lock().write_all(text.as_bytes());
}
