// SPDX-License-Identifier: GPL-2.0

//! What a worker does, by shape: how it waits, and how it accepts.

use crate::{
    case::Handler,
    measure::{self, Shared},
};
use fastsocket_guest::{
    net::{self, ANSWER, REQUEST},
    sys::{self, check},
};
use io_uring::{cqueue, opcode, types, IoUring};
use std::{
    io, mem,
    os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd},
    ptr, thread,
    time::Duration,
};

/// A socket that listens, and what is done with what comes.
#[derive(Clone, Copy)]
pub(crate) struct Worker<'a> {
    pub(crate) listener: &'a OwnedFd,
    pub(crate) handler: Handler,
    pub(crate) shared: &'a Shared,
}

/// Of events: the listening socket, and that the worker is to accept no more.
const LISTENER: u64 = 0;
const QUIT: u64 = 1;

impl Worker<'_> {
    /// Registers by `flags`, and accepts until there is nothing.
    pub(crate) fn epoll(&self, flags: i32) -> io::Result<()> {
        let epoll = self.register(flags)?;
        self.shared.ready.add()?;
        self.wait_and_accept(&epoll)
    }

    /// An epoll that has the listening socket.
    pub(crate) fn register(&self, flags: i32) -> io::Result<OwnedFd> {
        let epoll = sys::epoll()?;
        sys::epoll_add(&epoll, self.listener, libc::EPOLLIN | flags, LISTENER)?;
        Ok(epoll)
    }

    fn wait_and_accept(&self, epoll: &OwnedFd) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
        loop {
            if !sys::epoll_wait(epoll, &mut events, -1)?.is_empty() {
                self.accept_all()?;
            }
        }
    }

    fn accept_all(&self) -> io::Result<()> {
        while let Some(connection) = self.accept()? {
            self.serve(connection)?;
        }
        Ok(())
    }

    /// As epoll, one connection an event, until `quit` can be read.
    pub(crate) fn epoll_until(&self, quit: &OwnedFd) -> io::Result<()> {
        let epoll = self.register(libc::EPOLLEXCLUSIVE)?;
        sys::epoll_add(&epoll, quit, libc::EPOLLIN, QUIT)?;
        self.shared.ready.add()?;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
        loop {
            let events = sys::epoll_wait(&epoll, &mut events, -1)?;
            if events.iter().any(|event| event.u64 == QUIT) {
                return Ok(());
            }
            if let Some(connection) = self.accept()? {
                self.serve(connection)?;
            }
        }
    }

    /// Blocks in accept().
    pub(crate) fn block(&self) -> io::Result<()> {
        self.shared.ready.add()?;
        loop {
            self.accept_all()?;
        }
    }

    /// Accepts without waiting, and waits when there was nothing.
    pub(crate) fn select(&self) -> io::Result<()> {
        self.shared.ready.add()?;
        loop {
            self.accept_all()?;
            let fd = self.listener.as_raw_fd();
            // SAFETY: an array of integers, for which zero is valid, with room for the first
            // descriptors of a process; valid for the call.
            check(unsafe {
                let mut set: libc::fd_set = mem::zeroed();
                libc::FD_SET(fd, &mut set);
                let none = ptr::null_mut();
                libc::select(fd + 1, &mut set, none, none, ptr::null_mut())
            })?;
        }
    }

    /// Has one request of an io_uring that accepts again and again, and waits for what it has taken.
    pub(crate) fn ring(&self) -> io::Result<()> {
        let mut ring = IoUring::new(64)?;
        let accept = opcode::AcceptMulti::new(types::Fd(self.listener.as_raw_fd()))
            .flags(libc::SOCK_CLOEXEC)
            .build();
        let mut armed = false;
        let mut said = false;
        loop {
            if !armed {
                // SAFETY: the listener outlives the ring, and no memory is passed.
                let pushed = unsafe { ring.submission().push(&accept) };
                pushed.map_err(io::Error::other)?;
                ring.submit()?;
                armed = true;
            }
            if !said {
                self.shared.ready.add()?;
                said = true;
            }
            ring.submit_and_wait(1)?;
            for entry in ring.completion().collect::<Vec<_>>() {
                armed &= cqueue::more(entry.flags());
                match check(entry.result()) {
                    // SAFETY: the ring has given it to nobody else.
                    Ok(fd) => self.taken(unsafe { OwnedFd::from_raw_fd(fd) })?,
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// What a ring has taken.
    fn taken(&self, connection: OwnedFd) -> io::Result<()> {
        self.shared.accepted(net::peer_port(&connection)?)?;
        self.serve(connection)
    }

    /// Is registered all the time; who has the lock waits.
    pub(crate) fn lock_and_epoll(&self) -> io::Result<()> {
        let epoll = self.register(0)?;
        self.shared.ready.add()?;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 1];
        loop {
            let connection = self.shared.lock.hold(|| {
                sys::epoll_wait(&epoll, &mut events, -1)?;
                self.accept()
            })?;
            if let Some(connection) = connection {
                self.serve(connection)?;
            }
        }
    }

    /// Who has the lock blocks in accept().
    pub(crate) fn lock_and_block(&self) -> io::Result<()> {
        self.shared.ready.add()?;
        loop {
            if let Some(connection) = self.shared.lock.hold(|| self.accept())? {
                self.serve(connection)?;
            }
        }
    }

    /// This thread registers, another one waits and accepts.
    pub(crate) fn registrar(&self) -> io::Result<()> {
        let epoll = self.register(libc::EPOLLEXCLUSIVE)?;
        let waits = || {
            self.shared.ready.add()?;
            self.wait_and_accept(&epoll)
        };
        self.together(1, &waits, || sys::sleep())
    }

    /// As many threads share one epoll.
    pub(crate) fn pool(&self, threads: u32) -> io::Result<()> {
        let epoll = self.register(0)?;
        let waits = || {
            self.shared.ready.add()?;
            self.wait_and_accept(&epoll)
        };
        self.together(threads, &waits, || sys::sleep())
    }

    /// This thread accepts, as many others serve.
    pub(crate) fn boss(&self, threads: u32) -> io::Result<()> {
        let (from, to) = pipe()?;
        let serves = || {
            self.shared.ready.add()?;
            loop {
                self.serve(hand_out(&from)?)?;
            }
        };
        self.together(threads, &serves, || {
            self.shared.ready.add()?;
            loop {
                if let Some(connection) = self.accept()? {
                    hand_in(&to, connection)?;
                }
            }
        })
    }

    /// As [`epoll`](Self::epoll), until `quit` can be read. Then it stops.
    pub(crate) fn until_stopped(&self, quit: &OwnedFd) -> io::Result<()> {
        self.epoll_until(quit)?;
        // SAFETY: no memory is passed.
        check(unsafe { libc::raise(libc::SIGSTOP) })?;
        sys::sleep()
    }

    /// Is registered, edge triggered, and never accepts.
    pub(crate) fn watch(&self) -> io::Result<()> {
        let epoll = self.register(libc::EPOLLET)?;
        self.shared.ready.add()?;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 1];
        loop {
            sys::epoll_wait(&epoll, &mut events, -1)?;
        }
    }

    /// Is registered, but can have no more descriptors, and does not mind.
    pub(crate) fn without_descriptors(&self) -> io::Result<()> {
        let epoll = self.register(0)?;
        let next = self.listener.try_clone()?;
        let most = next.as_raw_fd() as libc::rlim_t;
        drop(next);
        let limit = libc::rlimit {
            rlim_cur: most,
            rlim_max: most,
        };
        // SAFETY: the limit is valid for the call.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
        self.shared.ready.add()?;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 1];
        loop {
            sys::epoll_wait(&epoll, &mut events, -1)?;
            match self.accept() {
                Err(error) if error.raw_os_error() == Some(libc::EMFILE) => {}
                Ok(None) => {}
                Ok(Some(_)) => return Err(io::Error::other("a descriptor above the limit")),
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs `each` in so many threads, and `own` in this one. All run until the process is ended.
    fn together(
        &self,
        threads: u32,
        each: &(dyn Fn() -> io::Result<()> + Sync),
        own: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    if let Err(error) = each() {
                        eprintln!("a thread has failed: {error}");
                        self.shared.fail();
                    }
                });
            }
            own()
        })
    }

    fn accept(&self) -> io::Result<Option<OwnedFd>> {
        let Some((connection, port)) = net::accept_from(self.listener)? else {
            return Ok(None);
        };
        self.shared.accepted(port)?;
        Ok(Some(connection))
    }

    /// Answers a request, and closes. What cannot be sent or received, the client counts.
    fn serve(&self, connection: OwnedFd) -> io::Result<()> {
        let mut request = [0; 2 * REQUEST];
        if !matches!(net::receive(&connection, &mut request), Ok(Some(REQUEST))) {
            return Ok(());
        }
        compute(self.handler.work_us)?;
        if self.handler.sleep_us > 0 {
            thread::sleep(Duration::from_micros(self.handler.sleep_us.into()));
        }
        let _ = net::send(&connection, &[b'!'; ANSWER]);
        Ok(())
    }
}

/// Uses its CPU for so long.
fn compute(us: u32) -> io::Result<()> {
    if us == 0 {
        return Ok(());
    }
    let clock = libc::CLOCK_THREAD_CPUTIME_ID;
    let end = measure::time(clock)? + u64::from(us) * 1000;
    while measure::time(clock)? < end {}
    Ok(())
}

/// Computes on a CPU, for good. To QEMU, `pause` would be a reason to run another CPU.
pub(crate) fn hog(cpu: u32) -> io::Result<()> {
    sys::pin(cpu)?;
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}

/// The ends of a pipe, to read from and to write to.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: there is room for both; new descriptors are nobody else's.
    unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC))?;
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

const HANDED: usize = size_of::<libc::c_int>();

/// Writes a descriptor, which is the reader's from here on.
fn hand_in(to: &OwnedFd, connection: OwnedFd) -> io::Result<()> {
    let bytes = connection.into_raw_fd().to_ne_bytes();
    // SAFETY: `bytes` are as many.
    let n = unsafe { libc::write(to.as_raw_fd(), bytes.as_ptr().cast(), HANDED) };
    if usize::try_from(n) == Ok(HANDED) {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// Reads one.
fn hand_out(from: &OwnedFd) -> io::Result<OwnedFd> {
    let mut bytes = [0; HANDED];
    // SAFETY: there is room for as many.
    let n = unsafe { libc::read(from.as_raw_fd(), bytes.as_mut_ptr().cast(), HANDED) };
    if usize::try_from(n) != Ok(HANDED) {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `hand_in` has given it away.
    Ok(unsafe { OwnedFd::from_raw_fd(libc::c_int::from_ne_bytes(bytes)) })
}

#[cfg(test)]
mod tests {
    use super::{compute, hand_in, hand_out, pipe};
    use crate::measure;
    use std::{fs::File, os::fd::AsRawFd, os::fd::OwnedFd};

    #[test]
    fn a_descriptor_goes_through_a_pipe() {
        let (from, to) = pipe().expect("a pipe");
        let file: OwnedFd = File::open("/dev/null").expect("a file").into();
        let fd = file.as_raw_fd();
        hand_in(&to, file).expect("room");
        assert_eq!(hand_out(&from).expect("a descriptor").as_raw_fd(), fd);
    }

    #[test]
    fn computing_takes_so_long() {
        let clock = libc::CLOCK_THREAD_CPUTIME_ID;
        let begin = measure::time(clock).expect("a clock");
        compute(2000).expect("a clock");
        assert!(measure::time(clock).expect("a clock") - begin >= 2_000_000);
    }
}
