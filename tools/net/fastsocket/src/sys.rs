// SPDX-License-Identifier: GPL-2.0

//! What the standard library does not have. Everything unsafe is here.

use fsocket_sys::IoctlArg;
use std::ffi::{c_char, c_int, CStr, CString, OsStr, OsString};
use std::io;
use std::mem::{size_of, zeroed, MaybeUninit};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// The number of a process.
pub(crate) type Pid = libc::pid_t;

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Another descriptor for the same open file, close-on-exec, and not 0, 1
/// or 2, which may have been closed when we were started.
pub(crate) fn not_standard(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let first = libc::STDERR_FILENO + 1;
    // SAFETY: an open descriptor; what the kernel gives is owned by nobody.
    unsafe {
        let fd = check(libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, first))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Closes every descriptor but the standard ones and `keep`.
///
/// Sockets and pipes that are the program's would otherwise stay open for as
/// long as we are there.
pub(crate) fn close_others(keep: Option<RawFd>) {
    let first = libc::STDERR_FILENO + 1;
    let keep = keep.unwrap_or(first - 1);
    let close = |from: RawFd, to: RawFd| {
        // SAFETY: nothing here owns a descriptor but the standard ones and
        // `keep`. An empty range is refused, and closes nothing.
        unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
    };
    close(first, keep - 1);
    close(keep + 1, RawFd::MAX);
}

/// Gives the device a command that reads no field.
pub(crate) fn command(device: BorrowedFd<'_>, command: u32) -> io::Result<()> {
    ioctl(device, command, &IoctlArg::new(-1))
}

/// Gives the device a command about `address`.
pub(crate) fn command_at(
    device: BorrowedFd<'_>,
    command: u32,
    address: &SocketAddr,
) -> io::Result<()> {
    match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            let len = size_of::<libc::sockaddr_in>() as u32;
            ioctl(
                device,
                command,
                &IoctlArg::mark(ptr::from_ref(&raw).cast(), len),
            )
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            let len = size_of::<libc::sockaddr_in6>() as u32;
            ioctl(
                device,
                command,
                &IoctlArg::mark(ptr::from_ref(&raw).cast(), len),
            )
        }
    }
}

/// Only the two above call this, with pointers that are null or live.
fn ioctl(device: BorrowedFd<'_>, command: u32, arg: &IoctlArg) -> io::Result<()> {
    loop {
        // SAFETY: the kernel reads one `IoctlArg` and what it points to.
        let result = unsafe { libc::ioctl(device.as_raw_fd(), command.into(), arg) };
        match check(result) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            result => return result.map(|_| ()),
        }
    }
}

/// Locks a file for itself alone, until it is closed; `WouldBlock` if another open file has it.
pub(crate) fn lock(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: integers alone.
    check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }).map(|_| ())
}

/// Lets this process adopt the orphans among its descendants.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    // SAFETY: integers alone.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1 as libc::c_ulong) }).map(|_| ())
}

/// Whether SIGPIPE was ignored when we were started: the standard library has
/// it ignored before `main`.
static PIPE_IGNORED: AtomicBool = AtomicBool::new(false);

#[used]
#[link_section = ".init_array"]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    PIPE_IGNORED.store(is_ignored(libc::SIGPIPE), Ordering::Relaxed);
}

fn is_ignored(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only asks; zeros are a valid action should it fail.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

fn ignore(signal: c_int, ignore: bool) {
    let action = if ignore { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: no handler is installed.
    unsafe { libc::signal(signal, action) };
}

/// Signals that are not waited for: those of errors, which are about the
/// process that made them.
const OWN: [c_int; 7] = [
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGSYS,
];

/// The signals of this process, which are waited for and never handled.
pub(crate) struct Signals {
    waited_for: libc::sigset_t,
    inherited: Inherited,
}

/// What a program that we execute is to find.
#[derive(Clone, Copy)]
struct Inherited {
    mask: libc::sigset_t,
    child_ignored: bool,
}

/// A signal that was sent to this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signal {
    /// Which.
    pub(crate) number: c_int,
    /// Who sent it; `None` if the kernel did, as it does for a terminal.
    pub(crate) sender: Option<Pid>,
}

impl Signals {
    /// Blocks all signals that may be handed on, and SIGCHLD. From now on,
    /// ended children are there to be waited for, whatever our parent thought
    /// of its own.
    pub(crate) fn block() -> io::Result<Self> {
        let child_ignored = is_ignored(libc::SIGCHLD);
        ignore(libc::SIGCHLD, false);
        // SAFETY: the sets are initialised before they are used.
        unsafe {
            let mut waited_for: libc::sigset_t = zeroed();
            let mut mask: libc::sigset_t = zeroed();
            libc::sigfillset(&mut waited_for);
            for signal in OWN {
                libc::sigdelset(&mut waited_for, signal);
            }
            check(libc::sigprocmask(libc::SIG_BLOCK, &waited_for, &mut mask))?;
            Ok(Self {
                waited_for,
                inherited: Inherited {
                    mask,
                    child_ignored,
                },
            })
        }
    }

    /// Waits for the next one.
    pub(crate) fn next(&self) -> Signal {
        loop {
            let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
            // SAFETY: both structures live, and zeros are a valid siginfo.
            let (number, info) = unsafe {
                let number = libc::sigwaitinfo(&self.waited_for, info.as_mut_ptr());
                (number, info.assume_init())
            };
            if number > 0 {
                // Above 0 are the kernel's own reasons.
                let by_process = info.si_code <= 0;
                // SAFETY: a signal that a process has sent has this field.
                let sender = by_process.then(|| unsafe { info.si_pid() });
                return Signal { number, sender };
            }
        }
    }
}

impl Inherited {
    fn restore(&self) {
        ignore(libc::SIGPIPE, PIPE_IGNORED.load(Ordering::Relaxed));
        ignore(libc::SIGCHLD, self.child_ignored);
        // SAFETY: an initialised set.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &self.mask, ptr::null_mut()) };
    }
}

/// Starts a program with the signals, descriptors and the environment that we
/// were given. The variables `own_pid` are to hold the number of its process.
pub(crate) fn spawn(
    program: &OsStr,
    args: &[OsString],
    signals: &Signals,
    own_pid: Vec<&'static CStr>,
) -> io::Result<Pid> {
    let inherited = signals.inherited;
    let mut command = Command::new(program);
    command.args(args);
    // SAFETY: this process has one thread, so that its child is a whole copy
    // and may do what it could.
    unsafe {
        command.pre_exec(move || {
            let pid = CString::new(std::process::id().to_string())?;
            for name in &own_pid {
                // Not `set_var`, which would wait for the parent's lock.
                libc::setenv(name.as_ptr(), pid.as_ptr(), 1);
            }
            inherited.restore();
            Ok(())
        });
    }
    Ok(command.spawn()?.id() as Pid)
}

/// A look at the children of this process.
pub(crate) enum Reaped {
    /// One has ended, and how.
    Child(Pid, ExitStatus),
    /// There are some, and none has ended.
    NoneYet,
    /// There is none.
    NoChild,
}

/// Takes the status of a child that has ended.
pub(crate) fn reap() -> Reaped {
    loop {
        let mut status = 0;
        // SAFETY: a live integer.
        match check(unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) }) {
            Ok(0) => return Reaped::NoneYet,
            Ok(pid) => return Reaped::Child(pid, ExitStatus::from_raw(status)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(_) => return Reaped::NoChild,
        }
    }
}

/// kill(2); a process that is gone needs no signal.
pub(crate) fn kill(pid: Pid, signal: c_int) {
    // SAFETY: integers alone.
    unsafe { libc::kill(pid, signal) };
}

/// The process group of a process, 0 being this one.
pub(crate) fn group(pid: Pid) -> Pid {
    // SAFETY: an integer.
    unsafe { libc::getpgid(pid) }
}

/// The number of a network device of this network namespace.
pub(crate) fn interface_index(device: &str) -> io::Result<u32> {
    let name = CString::new(device)?;
    // SAFETY: a string that ends in 0.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// What a network device's driver is asked. C header: `linux/ethtool.h`.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum EthtoolCommand {
    GetCoalesce = 0x0e,
    SetCoalesce = 0x0f,
    GetStrings = 0x1b,
    CountRules = 0x2e,
    GetRule = 0x2f,
    ListRules = 0x30,
    DeleteRule = 0x31,
    InsertRule = 0x32,
    GetSetInfo = 0x37,
    GetFeatures = 0x3a,
    GetChannels = 0x3c,
    SetChannels = 0x3d,
}

impl EthtoolCommand {
    /// How many words the kernel reads or writes at most, of a command whose first ones are these.
    fn words(self, words: &[u32]) -> Option<usize> {
        let word = |at: usize| words.get(at).map(|word| *word as usize);
        Some(match self {
            Self::GetChannels | Self::SetChannels => 9,
            Self::GetCoalesce | Self::SetCoalesce => 23,
            // A number for each set that is asked for.
            Self::GetSetInfo => 4 + (word(2)?.count_ones() + word(3)?.count_ones()) as usize,
            // None if there is another number of strings, but all if 0 is said.
            Self::GetStrings => 3 + 8 * word(2).filter(|count| *count > 0)?,
            Self::GetFeatures => 2 + 4 * word(1)?,
            Self::ListRules => 48 + word(46)?,
            Self::CountRules | Self::GetRule | Self::DeleteRule | Self::InsertRule => 48,
        })
    }
}

/// Asks the driver of a device in the network namespace of `socket`, with the words of the command's
/// structure, of which the first is filled in. `EINVAL` if they are too few.
pub(crate) fn ethtool(
    socket: BorrowedFd<'_>,
    device: &str,
    command: EthtoolCommand,
    words: &mut [u32],
) -> io::Result<()> {
    let enough = command.words(words).is_some_and(|all| all <= words.len());
    if !enough || device.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    words[0] = command as u32;
    // SAFETY: zeros are a valid request.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from as c_char;
    }
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    // SAFETY: the name ends in 0, and there are as many words as the command is about.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &mut request) })
        .map(|_| ())
}
