// SPDX-License-Identifier: GPL-2.0

//! Runs servers, one after the other, each in a network namespace of its own.

use crate::{
    case::{Case, Clients, Family, Handler, Shape},
    client::{self, Window},
    measure::{Delays, Shared},
    proxy,
    server::Server,
    stats::Stats,
};
use fastsocket_guest::{
    init,
    sys::{self, check},
};
use serde::{Deserialize, Serialize};
use std::{io, ptr, thread, time::Duration};

/// What is run: every combination.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Shapes of servers, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    shapes: Vec<Shape>,
    /// What they do for a request: none, work:US, sleep:US or work:US+sleep:US
    #[arg(long, value_delimiter = ',', default_value = "none")]
    handlers: Vec<Handler>,
    /// Where clients are
    #[arg(long, value_enum, value_delimiter = ',', default_value = "one")]
    clients: Vec<Clients>,
    /// What addresses are
    #[arg(long, value_enum, value_delimiter = ',', default_value = "ipv4")]
    families: Vec<Family>,
    /// Connections that all clients together have open; 0 for four for each CPU
    #[arg(long, value_delimiter = ',', default_value = "0")]
    at_a_time: Vec<u32>,
    /// What goes before the window in which connections count, in milliseconds
    #[arg(long, default_value_t = 60)]
    warm_up: u32,
    /// The window, in milliseconds
    #[arg(long, default_value_t = 200)]
    window: u32,
    /// Parameters that the module is loaded with, as NAME=VALUE
    #[arg(long, value_delimiter = ',')]
    parameters: Vec<String>,
}

/// Begins the line of a run.
pub(crate) const RAN: &str = "shapes: ran ";
/// The last line of an init's.
pub(crate) const DONE: &str = "shapes: done";

/// What came of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ran {
    #[serde(flatten)]
    pub(crate) case: Case,
    /// On a spawned socket, or on a plain one.
    pub(crate) spawned: bool,
    /// Connections whose answer came to its end in the window.
    pub(crate) answered: u32,
    /// And that in a second.
    pub(crate) rate: f64,
    /// From connect() to accept(), in nanoseconds, of those that began in the window.
    pub(crate) to_accept: Delays,
    /// From connect() to the end of the answer.
    pub(crate) to_answer: Delays,
    /// Connections that got none.
    pub(crate) failed: u32,
    /// What the kernel counted from the window's begin to the last answer.
    pub(crate) stats: Stats,
}

impl Args {
    /// What the module is loaded with, as `modprobe` takes it.
    pub(crate) fn parameters(&self) -> String {
        self.parameters.join(" ")
    }
}

/// Runs all of it.
pub(crate) fn all(args: &Args) -> io::Result<()> {
    let cpus = sys::cpus()?;
    if !(2..=u64::BITS).contains(&cpus) {
        return Err(io::Error::other("2 to 64 CPUs are needed"));
    }
    for &shape in &args.shapes {
        for &handler in &args.handlers {
            for &clients in &args.clients {
                for &family in &args.families {
                    for &at_a_time in &args.at_a_time {
                        let at_a_time = if at_a_time == 0 { 4 * cpus } else { at_a_time };
                        both(
                            Case {
                                cpus,
                                shape,
                                handler,
                                clients,
                                family,
                                at_a_time,
                            },
                            args,
                        )?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Runs a case on a plain socket, and then on a spawned one.
fn both(case: Case, args: &Args) -> io::Result<()> {
    for spawned in [false, true] {
        sys::fork_and_wait(|| one(case, spawned, args))?;
        bury()?;
    }
    Ok(())
}

/// Waits until nothing is left of a run: its processes, and its network namespace.
fn bury() -> io::Result<()> {
    loop {
        // SAFETY: no status is asked for.
        let result = check(unsafe { libc::waitpid(-1, ptr::null_mut(), 0) });
        match result {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => break,
            Err(error) => return Err(error),
        }
    }
    thread::sleep(Duration::from_millis(500));
    Ok(())
}

fn one(case: Case, spawned: bool, args: &Args) -> io::Result<()> {
    // SAFETY: no memory is passed; this process has one thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) })?;
    init::loopback_up()?;
    if let Some(cpus) = case.clients.receive_on(case.cpus) {
        // It shows the devices of who mounts it.
        init::mount(c"/sys", c"sysfs")?;
        init::receive_on(c"/sys", "lo", cpus)?;
    }
    let shared = Shared::new()?;
    let ms = |ms: u32| Duration::from_millis(ms.into());
    let (warm_up, window) = (ms(args.warm_up), ms(args.window));
    let counted = Window {
        from: warm_up.as_nanos() as u64,
        to: (warm_up + window).as_nanos() as u64,
    };

    let mut server = Server::start(case, spawned, shared)?;
    if case.clients == Clients::Proxy {
        proxy::start(&case, counted, shared)?;
    }
    let clients = case.clients.cpus(case.cpus);
    for cpu in 0..clients {
        sys::fork(|| client::run(cpu, &case, counted, shared))?;
    }
    shared.ready.wait_for(server.tasks() + clients)?;
    // Until those who said that they are ready wait indeed.
    thread::sleep(ms(20));
    shared.begin()?;
    thread::sleep(warm_up / 2);
    match case.shape {
        Shape::Generations => server.reload(clients)?,
        Shape::Stopped => server.quit()?,
        _ => {}
    }
    thread::sleep(warm_up / 2);
    let earlier = Stats::read()?;
    shared.finished.wait_for(clients)?;
    let stats = Stats::read()?.since(&earlier);

    if spawned != (stats.listen > 0) {
        return Err(io::Error::other("a socket is not what it should be"));
    }
    let answered = shared.answered.get();
    let [to_accept, to_answer] = shared.delays();
    let ran = Ran {
        case,
        spawned,
        answered,
        rate: f64::from(answered) / window.as_secs_f64(),
        to_accept,
        to_answer,
        failed: shared.failed.get(),
        stats,
    };
    println!("{RAN}{}", serde_json::to_string(&ran)?);
    Ok(())
}
