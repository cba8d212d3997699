// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Who is served: the device and its commands, addresses and processes whose sockets are spawned.
//!
//! A program gets here by [`dev`], whose commands are in [`uapi`] and [`syscall`], or without knowing, by [`mark`]:
//! [`hooks`] is where `listen(2)` enters. It calls `listen` to spawn a socket.
//!
//! Its locks are spinlocks, under which nothing is taken: of the marks of a network namespace, and of the processes
//! ([`mark::Held`]).

pub(crate) mod dev;
pub(crate) mod hooks;
pub(crate) mod mark;
pub(crate) mod process;
pub(crate) mod syscall;
pub(crate) mod uapi;
