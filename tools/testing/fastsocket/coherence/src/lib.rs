// SPDX-License-Identifier: GPL-2.0

//! Counts what a connection costs in a guest: instructions, and cache lines that
//! move between processors.
//!
//! ```text
//! qemu-system-x86_64 -accel tcg,thread=single -icount shift=0,sleep=off -seed 1 \
//!     -rtc base=2025-01-01,clock=vm -cpu max -smp 4 -append nokaslr... \
//!     -plugin libfastsocket_coherence.so,out=counts.json,slice=200,map=System.map
//! fastsocket-coherence resolve --map System.map [--console FILE] [--top 20] counts.json
//! fastsocket-coherence compare [--svg cost.svg] 4-single.json 4-fastsocket.json ...
//! ```
//!
//! # The same counts twice
//!
//! One thread runs all processors in turn, and time is the number of instructions
//! that they executed, so that nothing depends on the host but where that is let
//! in: `-seed` decides the guest's random numbers, `-rtc` its date, `sleep=off` has time
//! pass at once where all processors sleep. Nothing else that answers in the host's
//! own time, such as a network or a shared file system, may take part between the marks.
//!
//! # Slices
//!
//! Left alone, a processor would run for millions of instructions before the next
//! has its turn, finish whole connections in that time, and share hardly anything.
//! The plugin ends the turn at the end of the translation block in which the
//! processor has executed `slice` instructions, counted by itself.
//!
//! # What is counted as what
//!
//! - Instructions by their address: the kernel's are in the upper half. One with a
//!   repeat prefix is one, and its further turns are told apart.
//! - Transfers as [`model`] says, by physical lines of memory; devices have none. What
//!   the processor itself reads (instructions, page tables) is not followed.
//! - A load and a store of one instruction without a lock prefix are two accesses.
//!
//! # For what
//!
//! Each instruction of the kernel belongs to the entries that it is executed under: a system
//! call, an interrupt, a softirq within them, a thread. [`entries`] follows them by
//! what [`hooks`] finds in the code, and [`profile`] makes sums of them.
//!
//! # Which field of what
//!
//! The plugin notes for each pair of instruction and datum the physical and the
//! first virtual address. [`guest`] says how pages lead to slab caches and hash tables; [`resolve`]
//! puts names to all. A module's symbols move from boot to boot, and are in no
//! `System.map`: the guest's root gives `/proc/kallsyms`.
//!
//! # Runs side by side
//!
//! [`compare`] makes tables of what many runs counted, and [`plot`] a picture. Both
//! have the figures of a model as well, apart from what was counted, and called so.

pub mod compare;
pub mod difference;
pub mod entries;
pub mod executed;
pub mod guest;
pub mod hooks;
pub mod insn;
pub mod model;
pub mod plot;
pub mod plugin;
pub mod profile;
pub mod raw;
mod registers;
pub mod resolve;
mod state;
pub mod symbols;
pub mod sys;
pub mod text;
mod work;
