// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Tracepoints, and the counters that go with them.
//!
//! C header: [`include/trace/events/fastsocket.h`](srctree/include/trace/events/fastsocket.h)

use kernel::{bindings, cpu::CpuId, sync::rcu};

use super::listener::Listener;
use crate::core::stats::{Counter, Stats};

/// Where a connection was taken from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The slot of the CPU that the task runs on.
    Local(CpuId),
    /// The socket's own queue.
    Global,
    /// The slot of another CPU.
    Foreign(CpuId),
    /// A slot, by somebody who serves another one.
    Stolen(CpuId),
}

/// A slot was made. Any context, as all here.
pub(crate) fn spawned(socket: &Listener, cpu: CpuId) {
    count(socket, cpu, Counter::Slots, 1);
    // SAFETY: The reference keeps the socket.
    unsafe { bindings::fastsocket_trace_spawn(socket.as_ptr(), cpu.into()) };
}

/// A connection went to the socket's own queue, though the slot of this CPU has a consumer.
pub(crate) fn overflowed(socket: &Listener, cpu: CpuId) {
    count(socket, cpu, Counter::Overflow, 1);
    // SAFETY: The reference keeps the socket.
    unsafe { bindings::fastsocket_trace_overflow(socket.as_ptr(), cpu.into()) };
}

/// A task that runs on `here` accepted a connection.
pub(crate) fn accepted(socket: &Listener, here: CpuId, from: Origin) {
    use bindings::*;

    let (counter, kind, cpu) = match from {
        Origin::Local(cpu) => (
            Counter::AcceptLocal,
            fastsocket_accept_FASTSOCKET_ACCEPT_LOCAL,
            cpu.into(),
        ),
        Origin::Global => (
            Counter::AcceptGlobal,
            fastsocket_accept_FASTSOCKET_ACCEPT_GLOBAL,
            -1,
        ),
        Origin::Foreign(cpu) => (
            Counter::AcceptForeign,
            fastsocket_accept_FASTSOCKET_ACCEPT_FOREIGN,
            cpu.into(),
        ),
        Origin::Stolen(cpu) => (
            if cpu == here {
                Counter::AcceptLocal
            } else {
                Counter::AcceptForeign
            },
            fastsocket_accept_FASTSOCKET_ACCEPT_STOLEN,
            cpu.into(),
        ),
    };
    count(socket, here, counter, 1);
    if let Origin::Stolen(_) = from {
        count(socket, here, Counter::Stolen, 1);
    }
    // SAFETY: The reference keeps the socket.
    unsafe { fastsocket_trace_accept(socket.as_ptr(), cpu, kind) };
}

/// Connections were moved from the slot of a CPU to the socket's own queue.
pub(crate) fn migrated(socket: &Listener, cpu: CpuId, moved: u32) {
    if moved == 0 {
        return;
    }
    count(socket, CpuId::current(), Counter::Pushed, moved.into());
    // SAFETY: The reference keeps the socket.
    unsafe { bindings::fastsocket_trace_migrate(socket.as_ptr(), cpu.into(), moved) };
}

fn count(socket: &Listener, here: CpuId, counter: Counter, n: u64) {
    Stats::add(socket.net(), here, counter, n, &rcu::Guard::new());
}
