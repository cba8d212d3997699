// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Sockets that are spawned though their program knows nothing of it.
//!
//! A static program cannot be given a library. Its sockets are spawned when they begin to listen, if an
//! administrator has marked the address, or whoever started the program has asked for it. From there on
//! it goes as for any other: who waits at the socket becomes a consumer.

use core::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    bindings, c_str,
    cpu::CpuId,
    net::{
        namespace::{Key, Namespace, NamespaceRef, PerNet},
        proc,
    },
    new_mutex,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{rcu, Arc, Mutex},
    task::Task,
    types::ARef,
    uaccess::{UserPtr, UserSlice},
};

use crate::{
    ffi::{self, SocketFile},
    hooks,
    log::log,
    spawn,
    stats::{Counter, Stats},
};

/// How many addresses a network namespace may mark, where a container's administrator may do it; and how
/// many processes administrators may hold, and all others together.
const MOST: usize = 1024;

/// How many processes a user may hold.
const MOST_EACH: usize = 64;

/// The addresses that are marked in a network namespace.
pub(crate) struct Marks(Arc<List>);

#[pin_data]
struct List {
    #[pin]
    addresses: Mutex<KVec<SocketAddr>>,
}

static KEY: Key<Marks> = Key::new();

impl PerNet for Marks {
    const PROC_FILES: &'static [proc::File<Self>] = &[proc::File::new(
        c_str!("fsocket_marks"),
        0o444,
        |s, _, m| {
            s.show(m);
            Ok(())
        },
    )];

    fn key() -> &'static Key<Self> {
        &KEY
    }

    fn new(_net: &Namespace) -> impl PinInit<Self, Error> {
        // SAFETY: The slot is initialised if `Ok` is returned, and nothing is to be dropped otherwise.
        unsafe {
            kernel::init::pin_init_from_closure(|slot: *mut Self| {
                let list = pin_init!(List {
                    addresses <- new_mutex!(KVec::new(), "fastsocket::marks"),
                });
                slot.write(Self(Arc::pin_init(list, GFP_KERNEL)?));
                Ok(())
            })
        }
    }
}

impl Marks {
    /// Returns those of a namespace, to sleep with.
    fn of(net: &Namespace) -> Result<Arc<List>> {
        let guard = rcu::Guard::new();
        Self::get(net, &guard)
            .map(|marks| marks.0.clone())
            .ok_or(ENODEV)
    }

    fn show(&self, m: &SeqFile) {
        for address in self.0.addresses.lock().iter() {
            seq_print!(m, "{address}\n");
        }
    }
}

/// `FSOCKET_IOC_MARK`. Process context; sleeps.
///
/// # Errors
///
/// `EPERM`, `EFAULT`, `EINVAL` for a wrong size or without a port, `EAFNOSUPPORT`, `EEXIST` if it is
/// marked, `ENOSPC` if there are too many, `ENOMEM`.
pub(crate) fn add(addr: UserPtr, len: usize) -> Result {
    let (list, address) = request(addr, len)?;
    let mut addresses = list.addresses.lock();
    if addresses.contains(&address) {
        return Err(EEXIST);
    }
    if addresses.len() >= MOST {
        return Err(ENOSPC);
    }
    Ok(addresses.push(address, GFP_KERNEL_ACCOUNT)?)
}

/// `FSOCKET_IOC_UNMARK`. Process context; sleeps.
///
/// # Errors
///
/// As [`add`], or `ENOENT` if it is not marked.
pub(crate) fn remove(addr: UserPtr, len: usize) -> Result {
    let (list, address) = request(addr, len)?;
    let mut addresses = list.addresses.lock();
    let mut kept = KVec::new();
    for a in addresses.iter().filter(|a| **a != address) {
        kept.push(*a, GFP_KERNEL_ACCOUNT)?;
    }
    if kept.len() == addresses.len() {
        return Err(ENOENT);
    }
    *addresses = kept;
    Ok(())
}

/// Reads what an administrator wants to have marked, or not, and where.
fn request(addr: UserPtr, len: usize) -> Result<(Arc<List>, SocketAddr)> {
    spawn::check_enabled()?;
    let net = NamespaceRef::current()?;
    if !ffi::is_net_admin(Some(&net)) {
        return Err(EPERM);
    }
    let mut bytes = [0; ADDRESS];
    let bytes = bytes.get_mut(..len).ok_or(EINVAL)?;
    UserSlice::new(addr, len).reader().read_slice(bytes)?;
    let address = parse(bytes)?;
    if address.port() == 0 {
        return Err(EINVAL);
    }
    Ok((Marks::of(&net)?, address))
}

/// The most that an address takes.
pub(crate) const ADDRESS: usize = core::mem::size_of::<bindings::__kernel_sockaddr_storage>();

/// Reads a `struct sockaddr_in` or `sockaddr_in6`.
///
/// # Errors
///
/// `EINVAL` if it is too short, `EAFNOSUPPORT` if it is of another family.
pub(crate) fn parse(bytes: &[u8]) -> Result<SocketAddr> {
    let mut rest = bytes;
    let family = u16::from_ne_bytes(first(&mut rest)?);
    match u32::from(family) {
        bindings::AF_INET => {
            let port = u16::from_be_bytes(first(&mut rest)?);
            let ip = Ipv4Addr::from(first::<4>(&mut rest)?);
            // What fills the structure up is not looked at.
            let _: [u8; 8] = first(&mut rest)?;
            Ok(SocketAddrV4::new(ip, port).into())
        }
        bindings::AF_INET6 => {
            let port = u16::from_be_bytes(first(&mut rest)?);
            let _flow: [u8; 4] = first(&mut rest)?;
            let ip = Ipv6Addr::from(first::<16>(&mut rest)?);
            let scope = u32::from_ne_bytes(first(&mut rest)?);
            Ok(SocketAddrV6::new(ip, port, 0, scope).into())
        }
        _ => Err(EAFNOSUPPORT),
    }
}

/// Takes the first bytes off.
fn first<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let (head, rest) = (bytes.get(..N).ok_or(EINVAL)?, bytes.get(N..));
    *bytes = rest.unwrap_or(&[]);
    head.try_into().map_err(|_| EINVAL)
}

/// Does a mark stand for a socket that is bound to an address?
fn covers(mark: &SocketAddr, bound: &SocketAddr) -> bool {
    let scope = |address: &SocketAddr| match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(v6) => v6.scope_id(),
    };
    mark.is_ipv4() == bound.is_ipv4()
        && mark.port() == bound.port()
        && (mark.ip().is_unspecified() || mark.ip() == bound.ip())
        && (scope(mark) == 0 || scope(mark) == scope(bound))
}

/// A process whose sockets, and those of its descendants, are spawned.
struct Run {
    /// The [`Holder`], as a number.
    holder: usize,
    process: ARef<Task>,
    /// That only programs of this user count.
    only: Option<u32>,
}

/// The processes that [`Holder`]s hold.
pub(crate) struct Runs(KVec<Option<Run>>);

impl Runs {
    pub(crate) const fn new() -> Self {
        Self(KVec::new())
    }

    /// May a process be added? There is a limit for what users have, so that they cannot make each
    /// `listen(2)` slow, and another for what administrators have.
    fn has_room(&self, only: Option<u32>) -> bool {
        let runs = || self.0.iter().flatten();
        let alike = runs().filter(|run| run.only.is_some() == only.is_some());
        let same = runs().filter(|run| run.only == only);
        alike.count() < MOST && (only.is_none() || same.count() < MOST_EACH)
    }

    /// Are the sockets of the current task to be spawned?
    fn has_current(&self) -> bool {
        let counts = |run: &Run| run.only.map_or(true, ffi::runs_for);
        let mut runs = self.0.iter().flatten().filter(|run| counts(run));
        runs.any(|run| ffi::descends_from(&run.process))
    }
}

/// An open file of the device: it may hold a process.
pub(crate) struct Holder {
    holds: AtomicBool,
}

impl Holder {
    pub(crate) const fn new() -> Self {
        Self {
            holds: AtomicBool::new(false),
        }
    }

    fn id(&self) -> usize {
        ptr::from_ref(self) as usize
    }

    /// `FSOCKET_IOC_RUN`. Process context; sleeps.
    ///
    /// # Errors
    ///
    /// `EPERM` if there is no spawning, `EALREADY`, `ENOSPC` if there are too many, `ENOMEM`.
    pub(crate) fn run(&self) -> Result {
        spawn::check_enabled()?;
        let mut runs = hooks::state()?.runs.lock();
        if self.holds.load(Ordering::Relaxed) {
            return Err(EALREADY);
        }
        let only = (!ffi::is_net_admin(None)).then(ffi::euid);
        if !runs.has_room(only) {
            return Err(ENOSPC);
        }
        let run = Run {
            holder: self.id(),
            process: (&*kernel::current!()).into(),
            only,
        };
        match runs.0.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(run),
            None => runs.0.push(Some(run), GFP_KERNEL_ACCOUNT)?,
        }
        self.holds.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if !*self.holds.get_mut() {
            return;
        }
        // The open file keeps the module, and that its state.
        if let Ok(state) = hooks::state() {
            let id = self.id();
            let mut runs = state.runs.lock();
            let held = |run: &Run| run.holder == id;
            for place in runs.0.iter_mut().filter(|p| p.as_ref().is_some_and(held)) {
                *place = None;
            }
        }
    }
}

/// `listen(2)` succeeded on a socket. Process context; sleeps.
pub(crate) fn listened(file: &SocketFile) {
    if spawn::check_enabled().is_err() || file.group().is_some() {
        return;
    }
    let listener = file.listener();
    let marked = || {
        let (list, bound) = (Marks::of(listener.net()).ok()?, listener.address()?);
        let addresses = list.addresses.lock();
        addresses.iter().find(|mark| covers(mark, &bound)).copied()
    };
    let run = || hooks::state().is_ok_and(|state| state.runs.lock().has_current());
    if marked().is_none() && !run() {
        return;
    }
    match spawn::attach(file) {
        Ok(()) => {
            let guard = rcu::Guard::new();
            Stats::count(
                listener.net(),
                CpuId::current_hint(),
                Counter::Marked,
                &guard,
            );
        }
        Err(e) => log!(3, "a socket that is marked cannot be spawned: {e:?}"),
    }
}

#[cfg(CONFIG_KUNIT)]
mod tests {
    use super::*;
    use kernel::{kunit_check, kunit_check_eq};

    const LOOPBACK: Ipv6Addr = Ipv6Addr::LOCALHOST;
    const LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

    fn v4(ip: [u8; 4], port: u16) -> SocketAddr {
        SocketAddrV4::new(ip.into(), port).into()
    }

    fn v6(ip: Ipv6Addr, port: u16, scope: u32) -> SocketAddr {
        SocketAddrV6::new(ip, port, 0, scope).into()
    }

    /// A `struct sockaddr_in6`, of which a `struct sockaddr_in` is as long as `len` says.
    fn bytes(family: u32, port: u16, rest: &[u8]) -> [u8; 28] {
        let mut bytes = [0; 28];
        let head = (family as u16).to_ne_bytes().into_iter();
        let all = Iterator::chain(head, port.to_be_bytes());
        for (to, from) in bytes
            .iter_mut()
            .zip(Iterator::chain(all, rest.iter().copied()))
        {
            *to = from;
        }
        bytes
    }

    fn reads_addresses() {
        let inet = bytes(bindings::AF_INET, 80, &[192, 0, 2, 1]);
        kunit_check_eq!(
            parse(inet.get(..16).unwrap_or(&[])),
            Ok(v4([192, 0, 2, 1], 80))
        );
        kunit_check_eq!(parse(&inet), Ok(v4([192, 0, 2, 1], 80)));

        let mut rest = [0; 24];
        // Flow information, which says nothing of where.
        rest[0] = 7;
        rest[4] = 0xfe;
        rest[5] = 0x80;
        rest[19] = 1;
        rest[20..].copy_from_slice(&2u32.to_ne_bytes());
        let inet6 = bytes(bindings::AF_INET6, 8080, &rest);
        kunit_check_eq!(parse(&inet6), Ok(v6(LINK, 8080, 2)));
    }

    fn refuses_what_is_no_address() {
        let inet = bytes(bindings::AF_INET, 80, &[192, 0, 2, 1]);
        for len in 0..16 {
            kunit_check_eq!(parse(inet.get(..len).unwrap_or(&[])), Err(EINVAL));
        }
        let inet6 = bytes(bindings::AF_INET6, 80, &[]);
        for len in 0..28 {
            kunit_check_eq!(parse(inet6.get(..len).unwrap_or(&[])), Err(EINVAL));
        }
        kunit_check_eq!(parse(&bytes(bindings::AF_UNIX, 80, &[])), Err(EAFNOSUPPORT));
        kunit_check_eq!(parse(&bytes(0, 80, &[])), Err(EAFNOSUPPORT));
    }

    fn covers_its_address_and_port() {
        let mark = v4([192, 0, 2, 1], 80);
        kunit_check!(covers(&mark, &v4([192, 0, 2, 1], 80)));
        kunit_check!(!covers(&mark, &v4([192, 0, 2, 1], 81)));
        kunit_check!(!covers(&mark, &v4([192, 0, 2, 2], 80)));
        // A program that listens at all addresses is another one.
        kunit_check!(!covers(&mark, &v4([0; 4], 80)));
        kunit_check!(covers(&v6(LOOPBACK, 80, 0), &v6(LOOPBACK, 80, 0)));
        kunit_check!(!covers(&v6(LOOPBACK, 80, 0), &v6(LINK, 80, 0)));
    }

    fn a_wildcard_covers_its_family() {
        let (any, any6) = (v4([0; 4], 80), v6(Ipv6Addr::UNSPECIFIED, 80, 0));
        kunit_check!(covers(&any, &v4([192, 0, 2, 1], 80)) && covers(&any, &any));
        kunit_check!(covers(&any6, &v6(LINK, 80, 3)) && covers(&any6, &any6));
        kunit_check!(!covers(&any, &any6) && !covers(&any6, &any));
        kunit_check!(!covers(&any, &v4([192, 0, 2, 1], 81)));
    }

    fn a_scope_covers_its_device() {
        kunit_check!(covers(&v6(LINK, 80, 2), &v6(LINK, 80, 2)));
        kunit_check!(!covers(&v6(LINK, 80, 2), &v6(LINK, 80, 3)));
        kunit_check!(!covers(&v6(LINK, 80, 2), &v6(LINK, 80, 0)));
        kunit_check!(covers(&v6(LINK, 80, 0), &v6(LINK, 80, 3)));
    }

    kernel::kunit_tests! { fastsocket_mark: [
        reads_addresses,
        refuses_what_is_no_address,
        covers_its_address_and_port,
        a_wildcard_covers_its_family,
        a_scope_covers_its_device,
    ] }
}
