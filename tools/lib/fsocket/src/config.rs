// SPDX-License-Identifier: GPL-2.0

//! What the environment asks for.

use core::sync::atomic::{AtomicU8, Ordering};

const ENABLED: u8 = 1;
const STRICT: u8 = 2;

/// The flags, as the constructor found them. Until then: enabled, so that a
/// `listen` in an earlier constructor is not missed.
static FLAGS: AtomicU8 = AtomicU8::new(ENABLED);

/// Sets the flags from the values of `FSOCKET_DISABLE` and `FSOCKET_STRICT`.
pub(crate) fn set(disable: Option<&[u8]>, strict: Option<&[u8]>) {
    FLAGS.store(flags(disable, strict), Ordering::Relaxed);
}

fn flags(disable: Option<&[u8]>, strict: Option<&[u8]>) -> u8 {
    match (is_on(disable), is_on(strict)) {
        (true, _) => 0,
        (false, true) => ENABLED | STRICT,
        (false, false) => ENABLED,
    }
}

/// Whether the library does anything at all.
pub(crate) fn enabled() -> bool {
    FLAGS.load(Ordering::Relaxed) & ENABLED != 0
}

/// From now on a system call of ours may be one that the program has forbidden itself.
pub(crate) fn disable() {
    FLAGS.store(0, Ordering::Relaxed);
}

/// Whether a missing device is an error.
pub(crate) fn strict() -> bool {
    FLAGS.load(Ordering::Relaxed) & STRICT != 0
}

/// A switch is on unless it is unset, empty or 0.
fn is_on(value: Option<&[u8]>) -> bool {
    !matches!(value, None | Some(b"") | Some(b"0"))
}

/// Whether `LISTEN_PID` and `LISTEN_FDS` say that the service manager gave
/// this very process sockets.
pub(crate) fn given_sockets(pid: Option<&[u8]>, fds: Option<&[u8]>, own_pid: u32) -> bool {
    pid.and_then(decimal) == Some(own_pid) && fds.and_then(decimal).is_some_and(|count| count > 0)
}

fn decimal(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u32, |value, &byte| {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit < 10)?;
        value.checked_mul(10)?.checked_add(u32::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches() {
        assert_eq!(flags(None, None), ENABLED);
        assert_eq!(flags(Some(b""), Some(b"0")), ENABLED);
        assert_eq!(flags(None, Some(b"1")), ENABLED | STRICT);
        assert_eq!(flags(Some(b"1"), Some(b"1")), 0);
        assert_eq!(flags(Some(b"yes"), None), 0);
    }

    #[test]
    fn socket_activation() {
        assert!(given_sockets(Some(b"42"), Some(b"1"), 42));
        assert!(!given_sockets(Some(b"42"), Some(b"1"), 43));
        assert!(!given_sockets(Some(b"42"), Some(b"0"), 42));
        assert!(!given_sockets(Some(b"42"), None, 42));
        assert!(!given_sockets(None, Some(b"1"), 42));
    }

    #[test]
    fn decimals() {
        assert_eq!(decimal(b"4294967295"), Some(u32::MAX));
        assert_eq!(decimal(b"4294967296"), None);
        for bad in [&b""[..], b"-1", b"1x", b" 1"] {
            assert_eq!(decimal(bad), None);
        }
    }
}
