// SPDX-License-Identifier: GPL-2.0

//! Listening sockets of every kind.

use crate::{expect, reason, Outcome};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

/// Two IPv4 listeners, one of them listening twice.
pub(crate) fn tcp() -> Outcome {
    serve("127.0.0.1:0")?;
    serve("127.0.0.1:0")
}

/// An IPv6 listener.
pub(crate) fn tcp6() -> Outcome {
    serve("[::1]:0")
}

fn serve(address: &str) -> Outcome {
    let listener = TcpListener::bind(address).map_err(reason)?;
    // SAFETY: an open socket.
    let result = unsafe { libc::listen(listener.as_raw_fd(), 9) };
    expect("listen again", result, 0)?;
    let mut client = TcpStream::connect(listener.local_addr().map_err(reason)?).map_err(reason)?;
    let (mut server, _) = listener.accept().map_err(reason)?;
    client.write_all(b"ping").map_err(reason)?;
    let mut seen = [0; 4];
    server.read_exact(&mut seen).map_err(reason)?;
    expect("what arrived", &seen, b"ping")
}

/// A listener that Fastsocket has nothing to do with.
pub(crate) fn unix() -> Outcome {
    let path = std::env::temp_dir().join(format!("fsocket-test-{}", std::process::id()));
    let listener = UnixListener::bind(&path);
    let _ = std::fs::remove_file(&path);
    listener.map(|_| ()).map_err(reason)
}

/// The library leaves no descriptor behind, and takes no low number.
pub(crate) fn descriptors() -> Outcome {
    let before = open_descriptors()?;
    let listener = TcpListener::bind("127.0.0.1:0").map_err(reason)?;
    let lowest_free = File::open("/dev/null").map_err(reason)?;
    expect(
        "next descriptor",
        lowest_free.as_raw_fd(),
        listener.as_raw_fd() + 1,
    )?;
    drop((listener, lowest_free));
    expect("open descriptors", open_descriptors()?, before)
}

fn open_descriptors() -> Result<usize, String> {
    Ok(std::fs::read_dir("/proc/self/fd").map_err(reason)?.count())
}

/// A daemon that closes all it did not open itself, then listens.
pub(crate) fn closed() -> Outcome {
    // SAFETY: this program holds none of them.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    expect("close_range", result, 0)?;
    tcp()
}

/// With a connection as descriptor 2, as under inetd, a listen writes nothing
/// to the peer.
pub(crate) fn stderr_connection() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(reason)?;
    let mut client = TcpStream::connect(listener.local_addr().map_err(reason)?).map_err(reason)?;
    let (server, _) = listener.accept().map_err(reason)?;
    drop(replace_stderr(server.into())?);
    tcp()?;
    // The last holder of the connection: the client sees its end.
    drop(replace_stderr(
        File::open("/dev/null").map_err(reason)?.into(),
    )?);
    let mut seen = Vec::new();
    client.read_to_end(&mut seen).map_err(reason)?;
    expect("bytes sent to the peer", seen.len(), 0)
}

fn replace_stderr(with: OwnedFd) -> Result<OwnedFd, String> {
    // SAFETY: plain descriptor calls; what `dup` gives is owned by nobody.
    unsafe {
        let old = libc::dup(libc::STDERR_FILENO);
        let raw = with.into_raw_fd();
        let moved = libc::dup2(raw, libc::STDERR_FILENO);
        libc::close(raw);
        expect("dup2", moved, libc::STDERR_FILENO)?;
        Ok(OwnedFd::from_raw_fd(old))
    }
}
