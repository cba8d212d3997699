// SPDX-License-Identifier: GPL-2.0

//! Programs that forbid themselves nearly all system calls.

use crate::{expect, reason, Outcome};
use std::net::TcpListener;
use std::os::fd::AsRawFd;

/// Listens under a filter that ends whoever does anything else but write and end.
pub(crate) fn strict() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(reason)?;
    let allowed = [
        libc::SYS_listen,
        libc::SYS_write,
        libc::SYS_munmap,
        libc::SYS_sigaltstack,
        libc::SYS_close,
        // The standard library's checks, before it closes.
        libc::SYS_fcntl,
        libc::SYS_exit_group,
    ];
    filter(&allowed)?;
    // SAFETY: an open socket.
    let result = unsafe { libc::listen(listener.as_raw_fd(), 9) };
    expect("listen under a filter", result, 0)
}

fn filter(allowed: &[libc::c_long]) -> Outcome {
    let step = |code: u32, jt: usize, jf, k| libc::sock_filter {
        code: code as u16,
        jt: jt as u8,
        jf,
        k,
    };
    // The number of the system call is what it begins with.
    let mut program = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for (n, &number) in allowed.iter().enumerate() {
        let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        program.push(step(equal, allowed.len() - n, 0, number as u32));
    }
    let end = libc::BPF_RET | libc::BPF_K;
    program.push(step(end, 0, 0, libc::SECCOMP_RET_KILL_PROCESS));
    program.push(step(end, 0, 0, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the program lives until the call is over.
    unsafe {
        expect(
            "no new privileges",
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            0,
        )?;
        let mode = libc::SECCOMP_MODE_FILTER as libc::c_ulong;
        expect(
            "a filter",
            libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program, 0, 0),
            0,
        )
    }
}

/// prctl(2) is what it was.
pub(crate) fn prctl() -> Outcome {
    let mut name = [0u8; 16];
    // SAFETY: there is room for the name; the others are integers.
    unsafe {
        expect(
            "set the name",
            libc::prctl(libc::PR_SET_NAME, c"renamed".as_ptr()),
            0,
        )?;
        expect(
            "get it",
            libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()),
            0,
        )?;
        expect("the name", &name[..8], b"renamed\0")?;
        expect("a flag", libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0), 0)?;
        expect(
            "its value",
            libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0),
            1,
        )?;
        crate::set_errno(0);
        expect("no such option", libc::prctl(-1, 0, 0, 0, 0), -1)?;
    }
    expect("its error", crate::errno(), libc::EINVAL)
}
