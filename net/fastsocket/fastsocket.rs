// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Fastsocket: sockets whose connections stay on one CPU.
//!
//! This is the policy; the TCP stack calls it through hooks. It has rooms, a folder for each: `control` (who is
//! served: device, marks), `listen` (accept queues by CPU), `bind` (who is bound to a port, by CPU), `refs` (references
//! to what all sockets share), `steer` (which CPU a connection's packets go to), `established` (its part of the
//! established table), `placement` (which CPU a task serves), and `core` (statistics, messages). Each has its C hooks, its operations and its static key, says in its `mod.rs` what it does and which
//! locks it takes, and uses only those that come after it in this list.
//!
//! C header: [`include/net/fastsocket.h`](srctree/include/net/fastsocket.h)

use ::core::ptr::{addr_of, read_volatile};
use kernel::{
    bindings, c_str,
    miscdevice::{Fops, MiscDeviceOptions, MiscDeviceRegistration},
    net::namespace,
    prelude::*,
    static_lock_class,
    sync::{lock::global::GlobalMutex, rcu},
};

mod bind;
mod control;
mod core;
mod established;
mod listen;
mod placement;
mod refs;
mod steer;

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
            written: seen_at_once,
            description: "Log messages up to this level, as syslog(2) numbers them",
        },
        enable_listen_spawn: i32 {
            default: 2,
            min: 0,
            max: 2,
            description: "Accept queues per CPU: 0 off, 1 for tasks bound to a CPU, 2 for all",
        },
        help_after_us: i32 {
            default: 125,
            min: 0,
            max: 1000000,
            written: seen_at_once,
            description: "Microseconds that a connection may wait for a busy worker while others are idle",
        },
        enable_receive_flow_deliver: i32 {
            default: 0,
            min: 0,
            max: 1,
            written: steering_written,
            description: "Let the source port of active connections name their CPU",
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
            written: steering_written,
            description: "Receive where a task has last used the socket",
        },
        enable_direct_tcp: i32 {
            default: 0,
            min: 0,
            max: 1,
            description: "No route look-up for known sockets: what tcp_early_demux does",
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
            written: steering_written,
            description: "Ask the steering rules of other modules",
        },
    },
}

/// The module. Its fields are dropped in this order: no new callers, then no hooks, then what those
/// used, then what RCU still has to free.
struct Module {
    _device: Pin<KBox<MiscDeviceRegistration<control::dev::Device>>>,
    _control: control::hooks::Registration,
    _spawning: Option<Spawning>,
    _steering: Steering,
    _marks: Pin<KBox<namespace::Registration<control::mark::Marks>>>,
    _stats: Pin<KBox<namespace::Registration<core::stats::Stats>>>,
    _barrier: rcu::Barrier,
}

/// What is there if sockets may be spawned, in the order in which it goes.
struct Spawning {
    _listen: listen::hooks::Registration,
    _placement: placement::Registration,
    _refs: refs::Registration,
    _caches: Pin<KBox<namespace::Registration<refs::Refs>>>,
}

impl Spawning {
    fn new() -> Result<Self> {
        let caches = KBox::pin_init(namespace::Registration::new(), GFP_KERNEL)?;
        let refs = refs::Registration::new()?;
        let placement = placement::Registration::new()?;
        bind::enable();
        let listen = listen::hooks::Registration::new()?;
        Ok(Self {
            _listen: listen,
            _placement: placement,
            _refs: refs,
            _caches: caches,
        })
    }
}

/// What is steered, while the module runs.
static STEERING: GlobalMutex<Option<steer::Steering>> = GlobalMutex::new();

/// Steering is as its parameters say, until this is dropped.
struct Steering(());

impl Steering {
    fn start() -> Result<Self> {
        STEERING.init(None, c_str!("fastsocket steering"), static_lock_class!())?;
        let mut steering = STEERING.get().ok_or(EINVAL)?.lock();
        let mut rules = steer::Steering::new();
        rules.update()?;
        *steering = Some(rules);
        Ok(Self(()))
    }
}

impl Drop for Steering {
    fn drop(&mut self) {
        if let Some(steering) = STEERING.get() {
            *steering.lock() = None;
        }
    }
}

/// A parameter of steering has been written.
fn steering_written() -> Result {
    let mut steering = STEERING.get().map(|steering| steering.lock());
    let rules = steering.as_mut().and_then(|steering| steering.as_mut());
    rules.map_or(Ok(()), steer::Steering::update)
}

/// A parameter has been written that is looked at whenever it matters.
fn seen_at_once() -> Result {
    Ok(())
}

static FOPS: Fops<control::dev::Device> = Fops::new(&THIS_MODULE);

/// Refuses to be asked for what is not there.
fn check_parameters() -> Result {
    use module_parameters as p;

    let absent = [
        ("enable_fast_epoll", p::enable_fast_epoll.value()),
        ("enable_skb_pool", p::enable_skb_pool.value()),
        (
            "enable_socket_pool_size",
            p::enable_socket_pool_size.value(),
        ),
    ];
    for (name, value) in absent {
        if value != 0 {
            pr_err!("{name}={value}: this version does not have it, only 0 is accepted\n");
            return Err(EINVAL);
        }
    }
    Ok(())
}

/// Says so if the kernel does not do what `enable_direct_tcp` asks for.
fn check_direct_tcp() {
    if module_parameters::enable_direct_tcp.value() == 0 {
        return;
    }
    // SAFETY: The first namespace stays; its settings are bytes that change at any time.
    let is_on = unsafe {
        let ipv4 = addr_of!(bindings::init_net.ipv4);
        read_volatile(addr_of!((*ipv4).sysctl_ip_early_demux)) != 0
            && read_volatile(addr_of!((*ipv4).sysctl_tcp_early_demux)) != 0
    };
    if !is_on {
        pr_warn!("enable_direct_tcp=1: needs net.ipv4.{{ip,tcp}}_early_demux=1\n");
    }
}

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        check_parameters()?;
        check_direct_tcp();

        // The first, so that it is also the last to be dropped if what follows fails.
        let barrier = rcu::Barrier;
        let stats = KBox::pin_init(namespace::Registration::new(), GFP_KERNEL)?;
        let marks = KBox::pin_init(namespace::Registration::new(), GFP_KERNEL)?;
        // What is switched off costs nothing.
        let on = placement::Mode::get() != placement::Mode::Off;
        let spawning = on.then(Spawning::new).transpose()?;
        let steering = Steering::start()?;
        let control = control::hooks::Registration::new()?;
        let options = MiscDeviceOptions {
            name: c_str!("fastsocket"),
            mode: 0o444,
            fops: &FOPS,
        };
        Ok(Self {
            _device: KBox::pin_init(MiscDeviceRegistration::register(options), GFP_KERNEL)?,
            _control: control,
            _spawning: spawning,
            _steering: steering,
            _marks: marks,
            _stats: stats,
            _barrier: barrier,
        })
    }
}
