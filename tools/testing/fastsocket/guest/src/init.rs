// SPDX-License-Identifier: GPL-2.0

//! What a guest needs before anything runs in it.

use crate::sys::check;
use std::{
    ffi::{CStr, CString},
    fs::{self, File},
    io, iter, mem,
    net::UdpSocket,
    os::fd::AsRawFd,
    ptr, thread,
    time::Duration,
};

/// Where the module is.
const MODULE: &str = "/fastsocket.ko";

/// Mounts, and brings up the loopback interface; the words of the command line.
pub fn set_up() -> io::Result<Vec<String>> {
    mount(c"/dev", c"devtmpfs")?;
    mount(c"/proc", c"proc")?;
    loopback_up()?;
    // What init is started with has the parameters that the kernel does not know, too.
    let line = fs::read_to_string("/proc/cmdline")?;
    let own = line.split_once(" -- ").map_or("", |(_, own)| own);
    let words = own.split_ascii_whitespace().map(str::to_owned);
    Ok(iter::once("init".to_owned()).chain(words).collect())
}

/// How long the kernel may go on working for a module that it has loaded: it frees what was only needed for that
/// when RCU lets it.
const SETTLED: Duration = Duration::from_millis(500);

/// Loads the module with parameters, as `modprobe` takes them, and waits until that is over.
pub fn load_module(parameters: &str) -> io::Result<()> {
    let module = File::open(MODULE).map_err(|error| named(MODULE, error))?;
    let parameters = CString::new(parameters)?;
    // SAFETY: the parameters are a text.
    let result = unsafe {
        libc::syscall(
            libc::SYS_finit_module,
            module.as_raw_fd(),
            parameters.as_ptr(),
            0,
        )
    };
    check(result as i32)?;
    thread::sleep(SETTLED);
    Ok(())
}

/// The error with the name of what it is about.
pub fn named(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Has RPS put the flows that come in at a device on these CPUs, by their hash. `sys` is where a
/// sysfs of the device's network namespace is mounted.
pub fn receive_on(sys: &CStr, device: &str, cpus: u64) -> io::Result<()> {
    let sys = sys.to_str().expect("ASCII");
    for queue in fs::read_dir(format!("{sys}/class/net/{device}/queues"))? {
        let queue = queue?;
        if queue.file_name().as_encoded_bytes().starts_with(b"rx-") {
            fs::write(queue.path().join("rps_cpus"), mask(cpus))?;
        }
    }
    Ok(())
}

/// CPUs as sysfs has them: 32 a word, the last word first.
fn mask(cpus: u64) -> String {
    match cpus >> 32 {
        0 => format!("{cpus:x}"),
        high => format!("{high:x},{:08x}", cpus as u32),
    }
}

/// Mounts a file system that needs no device, if it is not mounted.
pub fn mount(at: &CStr, kind: &CStr) -> io::Result<()> {
    fs::create_dir_all(at.to_str().expect("ASCII"))?;
    // SAFETY: texts, and no data.
    let result = unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, ptr::null()) };
    match check(result) {
        Err(error) if error.raw_os_error() != Some(libc::EBUSY) => Err(error),
        _ => Ok(()),
    }
}

/// Brings up the loopback interface of the caller's network namespace.
pub fn loopback_up() -> io::Result<()> {
    // SAFETY: integers and pointers, for which zero is valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as _;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as _;
    // An address that does not exist yet cannot be bound to.
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: the request is valid for the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) })?;
    Ok(())
}

/// Turns the machine off, or at least stops it.
pub fn power_off() {
    // SAFETY: ends everything.
    unsafe {
        libc::sync();
        libc::reboot(libc::RB_POWER_OFF);
    }
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn masks_of_cpus() {
        let expected = [
            (0xf, "f"),
            (1 << 23, "800000"),
            (0x1_0000_0002, "1,00000002"),
        ];
        for (cpus, text) in expected {
            assert_eq!(mask(cpus), text);
        }
    }
}
