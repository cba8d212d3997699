// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Fastsocket: sockets whose connections stay on one CPU.
//!
//! This is the policy; the TCP stack calls it through the hooks of `hooks.c`. Follow a connection:
//! [`hooks`] (where C enters), [`group`] and [`slot`] (what a socket has for each CPU), [`queue`] (where it
//! waits), [`accept`] and [`poll`] (how a program gets at it), [`limit`] (how many may wait). A program gets
//! there by [`dev`], whose commands are in [`uapi`], or without knowing by [`mark`]; [`spawn`] makes a
//! socket ours, and [`affinity`] chooses CPUs, which [`hotplug`] says come and go. [`steal`] is about slots
//! that are slow, [`reuseport`] about sockets that share them. [`stats`] counts, [`trace`] tells.
//!
//! C header: [`include/net/fastsocket.h`](srctree/include/net/fastsocket.h)

// Locks, outermost first:
//
// 1. That of a consumer, a mutex: which CPU it serves. Held while it is bound, so that only itself and who
//    goes through all when a CPU comes or goes may wait for it.
// 2. The socket lock of one that is being spawned. A user can keep it for as long as they like, so nothing
//    that others need is held over it.
// 3. `State::spawning`, a spinlock: one socket is spawned at a time, so that each sees its group's.
// 4. Spinlocks, under which nothing is taken: those of what SO_REUSEPORT groups share (their writers), of the
//    marks of a network namespace, `State::runs`, `State::consumers` (who serves which CPU), and of a group
//    (who becomes a consumer of its slots).
// 5. That of a slot's queue, a spinlock that softirqs take, and under it the one of the socket's own.
//
// No task sleeps, or is preempted, while it holds what others wait for.

use kernel::{
    c_str, cpuhotplug,
    miscdevice::{Fops, MiscDeviceOptions, MiscDeviceRegistration},
    net::namespace,
    new_spinlock,
    prelude::*,
    sync::{rcu, SpinLock},
};

mod accept;
mod affinity;
mod dev;
mod ffi;
mod group;
mod hooks;
mod hotplug;
mod limit;
mod listener;
mod log;
mod mark;
mod poll;
mod queue;
mod reuseport;
mod slot;
mod spawn;
mod stats;
mod steal;
mod trace;
mod uapi;
mod wait;

module! {
    type: Module,
    name: "fastsocket",
    author: "The Fastsocket authors",
    description: "Per-core sockets for short TCP connections",
    license: "GPL",
    params: {
        enable_fastsocket_debug: i32 {
            default: 3,
            min: 0,
            max: 7,
            description: "Log messages up to this level, as syslog(2) numbers them",
        },
        enable_listen_spawn: i32 {
            default: 2,
            min: 0,
            max: 2,
            description: "Accept queues per CPU: 0 off, 1 for tasks bound to a CPU, 2 bind them",
        },
        enable_receive_flow_deliver: i32 {
            default: 0,
            min: 0,
            max: 1,
            description: "Steer the packets of active connections to their CPU (not built yet: 0)",
        },
        enable_fast_epoll: i32 {
            default: 0,
            min: 0,
            max: 1,
            description: "Find epoll items through the file (not built yet: 0)",
        },
        enable_skb_pool: i32 {
            default: 0,
            min: 0,
            max: 1,
            description: "Recycle packet buffers per CPU (not built yet: 0)",
        },
        enable_receive_cpu_selection: i32 {
            default: 0,
            min: 0,
            max: 1,
            description: "Receive where the owner last ran (not built yet: 0)",
        },
        enable_direct_tcp: i32 {
            default: 0,
            min: 0,
            max: 1,
            description: "Skip the route look-up for known sockets (not built yet: 0)",
        },
        enable_socket_pool_size: i32 {
            default: 0,
            min: 0,
            max: 65536,
            description: "Sockets kept ready for each CPU (not built yet: 0)",
        },
        enable_rps_framework: i32 {
            default: 0,
            min: 0,
            max: 1,
            description: "Steering rules before RPS (not built yet: 0)",
        },
    },
}

/// What the hooks work on; there is one while the module is loaded.
#[pin_data]
struct State {
    // The first to be dropped: the work uses the others.
    #[pin]
    repair: hotplug::Repair,
    #[pin]
    consumers: affinity::Consumers,
    #[pin]
    spawning: SpinLock<()>,
    #[pin]
    runs: SpinLock<mark::Runs>,
}

impl State {
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            repair <- hotplug::Repair::new(),
            consumers <- affinity::Consumers::new(),
            spawning <- new_spinlock!((), "fastsocket::spawning"),
            runs <- new_spinlock!(mark::Runs::new(), "fastsocket::runs"),
        })
    }
}

/// The module. Its fields are dropped in this order: no new callers, then no hooks, then what those
/// used, then what RCU still has to free.
struct Module {
    _device: Pin<KBox<MiscDeviceRegistration<dev::Device>>>,
    _hotplug: cpuhotplug::Registration<hotplug::Hotplug>,
    _hooks: hooks::Registration,
    _marks: Pin<KBox<namespace::Registration<mark::Marks>>>,
    _stats: Pin<KBox<namespace::Registration<stats::Stats>>>,
    _barrier: rcu::Barrier,
}

static FOPS: Fops<dev::Device> = Fops::new(&THIS_MODULE);

/// Refuses to be asked for what is not there.
fn check_parameters() -> Result {
    use module_parameters as p;

    let absent = [
        (
            "enable_receive_flow_deliver",
            *p::enable_receive_flow_deliver.value(),
        ),
        ("enable_fast_epoll", *p::enable_fast_epoll.value()),
        ("enable_skb_pool", *p::enable_skb_pool.value()),
        (
            "enable_receive_cpu_selection",
            *p::enable_receive_cpu_selection.value(),
        ),
        ("enable_direct_tcp", *p::enable_direct_tcp.value()),
        (
            "enable_socket_pool_size",
            *p::enable_socket_pool_size.value(),
        ),
        ("enable_rps_framework", *p::enable_rps_framework.value()),
    ];
    for (name, value) in absent {
        if value != 0 {
            pr_err!("{name}={value}: this version does not have it, only 0 is accepted\n");
            return Err(EINVAL);
        }
    }
    Ok(())
}

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        check_parameters()?;

        // The first, so that it is also the last to be dropped if what follows fails.
        let barrier = rcu::Barrier;
        let stats = KBox::pin_init(namespace::Registration::new(), GFP_KERNEL)?;
        let marks = KBox::pin_init(namespace::Registration::new(), GFP_KERNEL)?;
        let hooks = hooks::Registration::new(KBox::pin_init(State::new(), GFP_KERNEL)?)?;
        let options = MiscDeviceOptions {
            name: c_str!("fastsocket"),
            mode: 0o444,
            fops: &FOPS,
        };
        let hotplug = cpuhotplug::Registration::new(c_str!("net/fastsocket:online"))?;
        Ok(Self {
            _device: KBox::pin_init(MiscDeviceRegistration::register(options), GFP_KERNEL)?,
            _hotplug: hotplug,
            _hooks: hooks,
            _marks: marks,
            _stats: stats,
            _barrier: barrier,
        })
    }
}
