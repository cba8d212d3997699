// SPDX-License-Identifier: GPL-2.0

//! `fastsocket run`: a program whose sockets are spawned, and the process that
//! keeps it so.
//!
//! That process is a small init. It does not put the program into a process
//! group of its own: a terminal signals both, and what a shell does with jobs
//! works as ever. So what the kernel sends is not handed on to those that have
//! got it as well, nor is what one of its descendants sends handed back.

use crate::args::RunArgs;
use crate::complain;
use crate::device::{Device, Error};
use crate::processes;
use crate::sys::{self, Pid, Reaped, Signal, Signals};
use std::ffi::CStr;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

/// The status if it is us who failed.
pub(crate) const OWN_ERROR: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
const SIGNALLED: u8 = 128;

/// Runs the program, and ends as it did.
pub(crate) fn run(args: &RunArgs) -> ExitCode {
    let device = match open() {
        Ok(device) => Some(device),
        Err(error) if args.strict => {
            complain(error);
            return OWN_ERROR.into();
        }
        Err(error) => {
            complain(format_args!("plain sockets: {error}"));
            None
        }
    };
    let signals = match sys::adopt_orphans().and_then(|()| Signals::block()) {
        Ok(signals) => signals,
        Err(error) => {
            complain(error);
            return OWN_ERROR.into();
        }
    };
    let Some((program, arguments)) = args.program.split_first() else {
        return OWN_ERROR.into();
    };
    match sys::spawn(program, arguments, &signals, named_us()) {
        Ok(program) => {
            sys::close_others(device.as_ref().map(Device::number));
            look_after(program, &signals).into()
        }
        Err(error) => {
            complain(format_args!("{}: {error}", program.to_string_lossy()));
            status_without(&error).into()
        }
    }
}

fn open() -> Result<Device, Error> {
    let device = Device::open()?;
    device.run()?;
    Ok(device)
}

/// The variables by which a service manager says which process its sockets and
/// its watchdog are for, where that is this one.
fn named_us() -> Vec<&'static CStr> {
    let own = std::process::id().to_string();
    [c"LISTEN_PID", c"WATCHDOG_PID"]
        .into_iter()
        .filter(|name| {
            let value = name.to_str().ok().and_then(|name| std::env::var(name).ok());
            value.is_some_and(|pid| pid == own)
        })
        .collect()
}

/// The status when the program could not be started.
fn status_without(error: &io::Error) -> u8 {
    match error.raw_os_error() {
        Some(libc::ENOENT) => NOT_FOUND,
        Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE) => OWN_ERROR,
        _ => NOT_EXECUTABLE,
    }
}

/// Stays until there is no descendant any more; then the program's status.
fn look_after(program: Pid, signals: &Signals) -> u8 {
    let mut status = None;
    loop {
        match sys::reap() {
            Reaped::Child(pid, ended) if pid == program => status = Some(status_of(ended)),
            Reaped::Child(..) => (),
            Reaped::NoChild => return status.unwrap_or(OWN_ERROR),
            Reaped::NoneYet => match signals.next() {
                Signal {
                    number: libc::SIGCHLD,
                    ..
                } => (),
                signal if status.is_none() => hand_on(signal, &[program]),
                // A daemon, whose parent has ended.
                signal => hand_on(signal, &processes::children(own_pid())),
            },
        }
    }
}

fn status_of(ended: ExitStatus) -> u8 {
    let status = ended
        .code()
        .or_else(|| Some(ended.signal()? + i32::from(SIGNALLED)));
    status.map_or(OWN_ERROR, |status| status as u8)
}

/// Lets the processes have the signal, if they do not have it already.
fn hand_on(signal: Signal, to: &[Pid]) {
    let ours = match signal.sender {
        Some(sender) => processes::descends(sender, own_pid()),
        None => false,
    };
    for &pid in to {
        let had_it = ours || signal.sender.is_none() && sys::group(pid) == sys::group(0);
        if !had_it {
            sys::kill(pid, signal.number);
        }
    }
    // Whoever stops the program has us stop, too: a shell waits for that.
    if signal.number == libc::SIGTSTP {
        sys::kill(own_pid(), libc::SIGSTOP);
    }
}

fn own_pid() -> Pid {
    std::process::id() as Pid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        assert_eq!(status_of(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(status_of(ExitStatus::from_raw(255 << 8)), 255);
        assert_eq!(status_of(ExitStatus::from_raw(libc::SIGKILL)), 137);
        // With a core dump.
        assert_eq!(status_of(ExitStatus::from_raw(libc::SIGQUIT | 0x80)), 131);
    }

    #[test]
    fn statuses_without_a_program() {
        for (error, status) in [
            (libc::ENOENT, 127),
            (libc::EACCES, 126),
            (libc::ENOEXEC, 126),
            (libc::EAGAIN, 125),
        ] {
            assert_eq!(status_without(&io::Error::from_raw_os_error(error)), status);
        }
    }
}
