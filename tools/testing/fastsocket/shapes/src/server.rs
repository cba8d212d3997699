// SPDX-License-Identifier: GPL-2.0

//! A server: its sockets, and its processes.

use crate::{
    case::{Case, Shape},
    client::PORT,
    measure::Shared,
    worker::{hog, Worker},
};
use fastsocket_guest::{
    net,
    sys::{self, check},
};
use std::{
    fs::File,
    io,
    net::IpAddr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// The server of a case, of which the caller is the master.
pub(crate) struct Server {
    case: Case,
    shared: &'static Shared,
    /// None for plain sockets.
    device: Option<File>,
    listener: OwnedFd,
    /// Can be read when the first generation is to accept nothing any more.
    quit: OwnedFd,
    /// Tasks that say when they are ready.
    tasks: u32,
}

/// The CPU with the hog.
const HOG_CPU: u32 = 1;

impl Server {
    /// Starts it; comes back when all of its tasks are about to wait.
    pub(crate) fn start(case: Case, spawned: bool, shared: &'static Shared) -> io::Result<Self> {
        let device = if spawned { Some(sys::device()?) } else { None };
        let blocks = matches!(
            case.shape,
            Shape::Block
                | Shape::Block4
                | Shape::Block16
                | Shape::Lockblock
                | Shape::Watcher
                | Shape::Boss
        );
        let flags = if blocks { 0 } else { libc::SOCK_NONBLOCK };
        let reuseport = case.shape == Shape::Reuseport;
        let mut server = Self {
            case,
            shared,
            listener: listen(case.family.any(), flags, reuseport, device.as_ref())?,
            device,
            quit: event()?,
            tasks: 0,
        };
        server.start_tasks()?;
        shared.ready.wait_for(server.tasks)?;
        Ok(server)
    }

    /// Its tasks that said that they are ready.
    pub(crate) fn tasks(&self) -> u32 {
        self.tasks
    }

    fn start_tasks(&mut self) -> io::Result<()> {
        let cpus = self.case.cpus;
        match self.case.shape {
            Shape::Epoll => self.processes(cpus, |worker| worker.epoll(libc::EPOLLEXCLUSIVE)),
            Shape::Level => self.processes(cpus, |worker| worker.epoll(0)),
            Shape::Block => self.processes(cpus, |worker| worker.block()),
            Shape::Block4 => self.processes(4 * cpus, |worker| worker.block()),
            Shape::Block16 => self.processes(16 * cpus, |worker| worker.block()),
            Shape::Select => self.processes(cpus, |worker| worker.select()),
            Shape::Uring => self.processes(cpus, |worker| worker.ring()),
            Shape::Lockepoll => self.processes(cpus, |worker| worker.lock_and_epoll()),
            Shape::Lockblock => self.processes(cpus, |worker| worker.lock_and_block()),
            Shape::Registrar => self.processes(cpus, |worker| worker.registrar()),
            Shape::Pool => self.threads(cpus, |worker| worker.pool(cpus)),
            Shape::Boss => self.threads(cpus + 1, |worker| worker.boss(cpus)),
            Shape::Watcher => {
                self.processes(cpus, |worker| worker.block())?;
                self.processes(1, |worker| worker.watch())
            }
            Shape::Single => self.processes(1, |worker| worker.epoll(0)),
            Shape::Reuseport => self.members(cpus),
            Shape::Few => self.processes((cpus / 2).max(1), |worker| {
                worker.epoll(libc::EPOLLEXCLUSIVE)
            }),
            Shape::Emfile => {
                self.processes(cpus, |worker| worker.epoll(0))?;
                self.processes(1, |worker| worker.without_descriptors())
            }
            Shape::Hog => {
                self.processes(cpus, |worker| worker.epoll(libc::EPOLLEXCLUSIVE))?;
                sys::fork(|| hog(HOG_CPU))
            }
            Shape::Stopped => {
                self.processes(cpus - 1, |worker| worker.epoll(libc::EPOLLEXCLUSIVE))?;
                let quit = self.quit.try_clone()?;
                self.processes(1, |worker| worker.until_stopped(&quit))
            }
            Shape::Generations => self.generation(),
        }
    }

    fn worker<'a>(&'a self, listener: &'a OwnedFd) -> Worker<'a> {
        Worker {
            listener,
            handler: self.case.handler,
            shared: self.shared,
        }
    }

    /// A process that runs until it is ended, or fails.
    fn fork(&self, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        sys::fork(|| {
            let result = work();
            self.shared.fail();
            result
        })
    }

    /// So many processes.
    fn processes(
        &mut self,
        count: u32,
        work: impl Fn(Worker<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        for _ in 0..count {
            self.fork(|| work(self.worker(&self.listener)))?;
        }
        self.tasks += count;
        Ok(())
    }

    /// A process with so many threads that wait.
    fn threads(
        &mut self,
        count: u32,
        work: impl Fn(Worker<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.fork(|| work(self.worker(&self.listener)))?;
        self.tasks += count;
        Ok(())
    }

    /// Processes with a socket each; the first one has the master's.
    fn members(&mut self, count: u32) -> io::Result<()> {
        for n in 0..count {
            let own = match n {
                0 => self.listener.try_clone()?,
                _ => {
                    let any = self.case.family.any();
                    listen(any, libc::SOCK_NONBLOCK, true, self.device.as_ref())?
                }
            };
            self.fork(|| self.worker(&own).epoll(libc::EPOLLEXCLUSIVE))?;
        }
        self.tasks += count;
        Ok(())
    }

    /// Workers for all CPUs that accept until they are to quit: then they have the socket no more,
    /// and are still there.
    fn generation(&mut self) -> io::Result<()> {
        for _ in 0..self.case.cpus {
            self.fork(|| {
                let own = self.listener.try_clone()?;
                // What is left is the master's, and this process must not have it.
                sys::close(self.listener.as_raw_fd())?;
                self.worker(&own).epoll_until(&self.quit)?;
                drop(own);
                sys::sleep()
            })?;
        }
        self.tasks += self.case.cpus;
        Ok(())
    }

    /// Starts another generation, and has the first one accept no more.
    pub(crate) fn reload(&mut self, others_ready: u32) -> io::Result<()> {
        let next = event()?;
        let first = std::mem::replace(&mut self.quit, next);
        self.generation()?;
        self.shared.ready.wait_for(self.tasks + others_ready)?;
        let next = std::mem::replace(&mut self.quit, first);
        self.quit()?;
        self.quit = next;
        Ok(())
    }

    /// Has those accept no more who wait for that.
    pub(crate) fn quit(&self) -> io::Result<()> {
        let one: u64 = 1;
        let to = self.quit.as_raw_fd();
        // SAFETY: the number is as long as it says.
        let n = unsafe { libc::write(to, (&raw const one).cast(), size_of_val(&one)) };
        check(n as i32)?;
        Ok(())
    }
}

fn listen(ip: IpAddr, flags: i32, reuseport: bool, device: Option<&File>) -> io::Result<OwnedFd> {
    let listener = net::listen(flags, ip, PORT, reuseport)?;
    if let Some(device) = device {
        sys::spawn_listen(device, &listener, None)?;
    }
    Ok(listener)
}

/// A descriptor that can be read when something was written to it.
fn event() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed; a new descriptor is nobody else's.
    unsafe {
        let fd = check(libc::eventfd(0, libc::EFD_CLOEXEC))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}
