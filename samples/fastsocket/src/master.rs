// SPDX-License-Identifier: GPL-2.0

//! The first process: opens the listening sockets, and keeps the workers
//! running.

use crate::args::Args;
use crate::signal::Signals;
use crate::stats::{self, Counters, Row};
use crate::worker::Worker;
use crate::{log, net, sys};
use std::io;
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// A worker is started at most once in this time.
const RESTART: Duration = Duration::from_secs(1);
/// Workers that have not ended by then are killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// A worker's exit status if it could not begin: trying again is useless.
const CANNOT_START: i32 = 2;

struct Place {
    pid: Option<libc::pid_t>,
    started: Option<Instant>,
    counters: &'static Counters,
}

struct Master<'a> {
    args: &'a Args,
    listeners: Vec<TcpListener>,
    places: Vec<Place>,
    signals: Signals,
}

/// Serves until SIGTERM or SIGINT.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    if let Some(path) = &args.log {
        log::redirect(path)?;
    }
    sys::raise_descriptor_limit();
    let listeners = open(args)?;
    let first = args.start_cpu.unwrap_or(0);
    let workers = args
        .workers
        .unwrap_or_else(|| sys::online_cpus().saturating_sub(first).max(1));
    let places = stats::share(workers as usize)?
        .iter()
        .map(|counters| Place {
            pid: None,
            started: None,
            counters,
        });
    let mut master = Master {
        args,
        listeners,
        places: places.collect(),
        signals: Signals::block(&[libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGCHLD])?,
    };
    let result = master.supervise();
    master.shut_down();
    if args.verbose {
        master.print();
    }
    result
}

fn open(args: &Args) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in &args.listen {
        let listener = net::listen(address)
            .map_err(|error| io::Error::other(format!("{address}: {error}")))?;
        if args.verbose {
            say(format_args!("listening on {}", listener.local_addr()?));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

fn say(what: std::fmt::Arguments<'_>) {
    log::line("master", what);
}

impl Master<'_> {
    fn supervise(&mut self) -> io::Result<()> {
        loop {
            let next = self.start_workers()?;
            match self.signals.wait(next) {
                Some(libc::SIGTERM | libc::SIGINT) => return Ok(()),
                Some(libc::SIGUSR1) => self.print(),
                _ => (),
            }
            // Several children may end for one SIGCHLD.
            while let Some((pid, status)) = sys::reap() {
                self.ended(pid, status, true)?;
            }
        }
    }

    /// Starts workers that are missing, and returns when to look again.
    fn start_workers(&mut self) -> io::Result<Duration> {
        let mut next = Duration::from_secs(3600);
        for index in 0..self.places.len() {
            let place = &self.places[index];
            if place.pid.is_some() {
                continue;
            }
            let age = place.started.map_or(RESTART, |started| started.elapsed());
            if age < RESTART {
                next = next.min(RESTART - age);
                continue;
            }
            let parent = sys::pid();
            match sys::fork()? {
                None => std::process::exit(self.work(index, parent)),
                Some(pid) => {
                    self.places[index].pid = Some(pid);
                    self.places[index].started = Some(Instant::now());
                    if self.args.verbose {
                        say(format_args!("worker {index} is process {pid}"));
                    }
                }
            }
        }
        Ok(next)
    }

    /// The worker's process: returns its exit status.
    fn work(&mut self, index: usize, parent: libc::pid_t) -> i32 {
        let listeners = std::mem::take(&mut self.listeners);
        let counters = self.places[index].counters;
        let who = format_args!("worker {index}").to_string();
        let worker =
            sys::die_with(parent).and_then(|()| Worker::new(self.args, index, listeners, counters));
        let mut worker = match worker {
            Ok(worker) => worker,
            Err(error) => {
                log::line(who, format_args!("{error}"));
                return CANNOT_START;
            }
        };
        match worker.run() {
            Ok(()) => 0,
            Err(error) => {
                log::line(who, format_args!("{error}"));
                1
            }
        }
    }

    fn ended(&mut self, pid: libc::pid_t, status: i32, unexpected: bool) -> io::Result<()> {
        let mut places = self.places.iter_mut().enumerate();
        let Some((index, place)) = places.find(|(_, place)| place.pid == Some(pid)) else {
            return Ok(());
        };
        place.pid = None;
        // What it had open went with it.
        let open = place.counters.accepted.get() - place.counters.closed.get();
        place.counters.closed.add(open);
        if unexpected || status != 0 {
            let how = if libc::WIFSIGNALED(status) {
                format!("was killed by signal {}", libc::WTERMSIG(status))
            } else {
                format!("ended with status {}", libc::WEXITSTATUS(status))
            };
            say(format_args!("worker {index} (process {pid}) {how}"));
        }
        if unexpected && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == CANNOT_START {
            return Err(io::Error::other(format!("worker {index} cannot start")));
        }
        Ok(())
    }

    /// Ends the workers, and waits for them.
    fn shut_down(&mut self) {
        self.listeners.clear();
        self.signal_all(libc::SIGTERM);
        let begun = Instant::now();
        while self.places.iter().any(|place| place.pid.is_some()) {
            if begun.elapsed() > PATIENCE {
                self.signal_all(libc::SIGKILL);
            }
            self.signals.wait(Duration::from_millis(100));
            while let Some((pid, status)) = sys::reap() {
                let _ = self.ended(pid, status, false);
            }
        }
    }

    fn signal_all(&self, signal: i32) {
        for pid in self.places.iter().filter_map(|place| place.pid) {
            sys::kill(pid, signal);
        }
    }

    fn print(&self) {
        let rows: Vec<_> = self
            .places
            .iter()
            .map(|place| Row {
                pid: place.pid,
                cpu: place.pid.and_then(sys::only_cpu),
                counters: place.counters,
            })
            .collect();
        say(format_args!("statistics\n{}", stats::table(&rows)));
    }
}
