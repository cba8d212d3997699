// SPDX-License-Identifier: GPL-2.0

//! What a guest needs before anything runs in it.

use crate::sys::check;
use std::{
    ffi::CStr,
    fs::{self, File},
    io, iter, mem,
    net::UdpSocket,
    os::fd::AsRawFd,
    ptr,
};

/// Where the module is, if the guest is to have it.
const MODULE: &str = "/fastsocket.ko";

/// Mounts, loads, and brings up the loopback interface; the words of the command line.
pub(crate) fn set_up() -> io::Result<Vec<String>> {
    mount(c"/dev", c"devtmpfs")?;
    mount(c"/proc", c"proc")?;
    match File::open(MODULE) {
        Ok(module) => {
            let no_arguments = c"";
            // SAFETY: the arguments are a text.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_finit_module,
                    module.as_raw_fd(),
                    no_arguments.as_ptr(),
                    0,
                )
            };
            check(result as i32)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    loopback_up()?;
    // What init is started with has the parameters that the kernel does not know, too.
    let line = fs::read_to_string("/proc/cmdline")?;
    let own = line.split_once(" -- ").map_or("", |(_, own)| own);
    let words = own.split_ascii_whitespace().map(str::to_owned);
    Ok(iter::once("init".to_owned()).chain(words).collect())
}

fn mount(at: &CStr, kind: &CStr) -> io::Result<()> {
    fs::create_dir_all(at.to_str().expect("ASCII"))?;
    // SAFETY: texts, and no data.
    let result = unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, ptr::null()) };
    match check(result) {
        Err(error) if error.raw_os_error() != Some(libc::EBUSY) => Err(error),
        _ => Ok(()),
    }
}

fn loopback_up() -> io::Result<()> {
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
pub(crate) fn power_off() {
    // SAFETY: ends everything.
    unsafe {
        libc::sync();
        libc::reboot(libc::RB_POWER_OFF);
    }
}
