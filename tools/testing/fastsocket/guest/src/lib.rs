// SPDX-License-Identifier: GPL-2.0

//! What the programs have in common that are a guest's only one: they set up what they
//! need, run servers and clients as processes of their own, and turn the machine off.

pub mod count;
pub mod init;
pub mod net;
pub mod sys;
