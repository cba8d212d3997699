// SPDX-License-Identifier: GPL-2.0

//! The subcommands, one file each.

pub(crate) mod mark;
pub(crate) mod marks;
pub(crate) mod nic;
pub(crate) mod run;
