// SPDX-License-Identifier: GPL-2.0

//! The one line that a program without the device prints.

use crate::sys::{self, Errno};
use core::ffi::c_int;
use core::sync::atomic::{AtomicBool, Ordering};

static SAID: AtomicBool = AtomicBool::new(false);

const PLAIN: &[u8] = b"libfsocket: cannot use /dev/fastsocket (error %): plain sockets\n";
const STRICT: &[u8] = b"libfsocket: cannot use /dev/fastsocket (error %), FSOCKET_STRICT is set\n";

/// Says, once in a process, that its sockets stay plain.
pub(crate) fn plain(error: Errno) {
    if !SAID.swap(true, Ordering::Relaxed) {
        say(PLAIN, error);
    }
}

/// Says why the program is refused.
pub(crate) fn strict(error: Errno) {
    say(STRICT, error);
}

/// Writes to stderr if that is what descriptor 2 is: a daemon may have put a
/// connection there, and a pipe without reader would raise a signal.
fn say(template: &[u8], error: Errno) {
    let ours = match sys::socket_option(libc::STDERR_FILENO, libc::SO_DOMAIN) {
        Some(domain) => domain == libc::AF_UNIX,
        None => true,
    };
    if ours && sys::is_writable(libc::STDERR_FILENO) {
        let mut line = Line::new();
        line.fill(template, error.0);
        sys::write(libc::STDERR_FILENO, line.text());
    }
}

/// A line of bounded length; what does not fit is left out.
struct Line {
    bytes: [u8; 128],
    len: usize,
}

impl Line {
    fn new() -> Self {
        Self {
            bytes: [0; 128],
            len: 0,
        }
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    /// Adds `template` with its `%` replaced by the error.
    fn fill(&mut self, template: &[u8], error: c_int) {
        for &byte in template {
            match (byte, name(error)) {
                (b'%', Some(name)) => name.bytes().for_each(|byte| self.push(byte)),
                (b'%', None) => self.number(error.unsigned_abs()),
                _ => self.push(byte),
            }
        }
    }

    fn number(&mut self, value: u32) {
        let mut power: u32 = 1_000_000_000;
        let mut started = false;
        while power > 0 {
            let digit = value / power % 10;
            started |= digit != 0 || power == 1;
            if started {
                self.push(b'0' + digit as u8);
            }
            power /= 10;
        }
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// The errors that open(2) of the device is likely to give.
fn name(error: c_int) -> Option<&'static str> {
    Some(match error {
        libc::ENOENT => "ENOENT, is the module loaded?",
        libc::ENODEV => "ENODEV",
        libc::ENXIO => "ENXIO",
        libc::EACCES => "EACCES",
        libc::EPERM => "EPERM",
        libc::EMFILE => "EMFILE",
        libc::ENFILE => "ENFILE",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &[u8], error: c_int) -> String {
        let mut line = Line::new();
        line.fill(template, error);
        String::from_utf8(line.text().to_vec()).unwrap()
    }

    #[test]
    fn errors_by_name_or_number() {
        assert_eq!(filled(b"(%)\n", libc::EMFILE), "(EMFILE)\n");
        assert_eq!(filled(b"(%)\n", 105), "(105)\n");
        assert_eq!(filled(b"%", 0), "0");
        assert_eq!(filled(b"%", i32::MIN), "2147483648");
    }

    #[test]
    fn every_message_fits() {
        for template in [PLAIN, STRICT] {
            assert!(filled(template, libc::ENOENT).ends_with('\n'));
        }
    }

    #[test]
    fn too_long_is_cut() {
        assert_eq!(filled(&[b'x'; 200], 0).len(), 128);
    }
}
