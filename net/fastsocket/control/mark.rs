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
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    bindings, c_str,
    cpu::CpuId,
    net::{
        namespace::{per_net_key, Namespace, NamespaceRef, PerNet},
        proc,
    },
    new_spinlock,
    prelude::*,
    rbtree::{RBTree, RBTreeNode},
    seq_file::{seq_print, SeqFile},
    sync::atomic::{Atomic, Relaxed},
    sync::{rcu, Arc, SpinLock},
    task::Task,
    types::ARef,
    uaccess::{UserPtr, UserSlice},
};

use super::process;
use crate::{
    core::log::log,
    core::{
        state::{Installed, State},
        stats::{Counter, Stats},
    },
    listen::spawn,
    listen::{listener::Listener, socket::SocketFile},
};

/// How many addresses a network namespace may mark, where a container's administrator may do it; and how
/// many processes administrators may hold.
const MOST: usize = 1024;

/// How many processes a user may hold.
const MOST_EACH: usize = 64;

/// The addresses that are marked in a network namespace.
pub(crate) struct Marks {
    list: Arc<List>,
}

#[pin_data]
struct List {
    #[pin]
    addresses: SpinLock<KVec<SocketAddr>>,
}

impl List {
    /// Calls a function with the addresses and an empty vector that has room for them and one more, and puts
    /// that in their place. Process context; sleeps.
    fn change(&self, change: impl Fn(&[SocketAddr], &mut KVec<SocketAddr>) -> Result) -> Result {
        loop {
            // Memory may be long in coming, and all who call listen(2) take the lock.
            let room = self.addresses.lock().len().saturating_add(1);
            let mut new = KVec::with_capacity(room, GFP_KERNEL_ACCOUNT)?;
            let mut addresses = self.addresses.lock();
            if addresses.len() < room {
                change(&addresses, &mut new)?;
                core::mem::swap(&mut *addresses, &mut new);
                drop(addresses);
                return Ok(());
            }
        }
    }
}

per_net_key!(Marks);

impl PerNet for Marks {
    const PROC_FILES: &'static [proc::File<Self>] =
        &[proc::File::new(c_str!("fsocket_marks"), |s, _, m| {
            s.show(m);
            Ok(())
        })];

    fn new(_net: &Namespace) -> impl PinInit<Self, Error> {
        let list = pin_init!(List {
            addresses <- new_spinlock!(KVec::new(), "fastsocket::marks"),
        });
        try_init!(Self {
            list: Arc::pin_init(list, GFP_KERNEL)?,
        }? Error)
    }
}

impl Marks {
    /// Returns those of a namespace, to sleep with.
    fn of(net: &Namespace) -> Result<Arc<List>> {
        let guard = rcu::Guard::new();
        Self::get(net, &guard)
            .map(|marks| marks.list.clone())
            .ok_or(ENODEV)
    }

    fn show(&self, m: &SeqFile) {
        for address in self.list.addresses.lock().iter() {
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
    list.change(|old, new| {
        if old.contains(&address) {
            return Err(EEXIST);
        }
        if old.len() >= MOST {
            return Err(ENOSPC);
        }
        // There is room.
        new.extend_from_slice(old, GFP_ATOMIC)?;
        Ok(new.push(address, GFP_ATOMIC)?)
    })
}

/// `FSOCKET_IOC_UNMARK`. Process context; sleeps.
///
/// # Errors
///
/// As [`add`], or `ENOENT` if it is not marked.
pub(crate) fn remove(addr: UserPtr, len: usize) -> Result {
    let (list, address) = request(addr, len)?;
    list.change(|old, new| {
        for kept in old.iter().filter(|a| **a != address) {
            // There is room.
            new.push(*kept, GFP_ATOMIC)?;
        }
        if new.len() == old.len() {
            return Err(ENOENT);
        }
        Ok(())
    })
}

/// Reads what an administrator wants to have marked, or not, and where.
fn request(addr: UserPtr, len: usize) -> Result<(Arc<List>, SocketAddr)> {
    spawn::check_enabled()?;
    let net = NamespaceRef::current()?;
    if !process::is_net_admin(Some(&net)) {
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
const ADDRESS: usize = core::mem::size_of::<bindings::__kernel_sockaddr_storage>();

/// Reads a `struct sockaddr_in` or `sockaddr_in6`.
///
/// # Errors
///
/// `EINVAL` if it is too short, `EAFNOSUPPORT` if it is of another family.
fn parse(bytes: &[u8]) -> Result<SocketAddr> {
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

/// Returns the address that a socket is bound to; the scope is the device, if it is bound to one. Any context.
fn address(socket: &Listener) -> Option<SocketAddr> {
    let mut address = [0; ADDRESS];
    // SAFETY: The reference keeps the socket; there is room for any address.
    unsafe { bindings::fastsocket_address(socket.as_ptr(), address.as_mut_ptr().cast()) };
    parse(&address).ok()
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

/// Whose programs count as descendants of a process: those of a user, or [`None`] for all, where an
/// administrator asked for it.
type Scope = Option<u32>;

/// The processes whose sockets, and those of their descendants, are spawned, by scope and [`Holder`].
///
/// Each user has a limit, so that `listen(2)` of their programs is not slow; nobody has less room for what
/// others hold.
struct Runs(RBTree<(Scope, usize), ARef<Task>>);

impl Runs {
    fn new() -> Self {
        Self(RBTree::new())
    }

    /// Does a condition hold for any process of a scope?
    fn any(&mut self, scope: Scope, mut holds: impl FnMut(&Task) -> bool) -> bool {
        let mut at = self.0.cursor_lower_bound(&(scope, 0));
        while let Some(cursor) = at {
            let ((its, _), process) = cursor.current();
            if *its != scope {
                return false;
            }
            if holds(process) {
                return true;
            }
            at = cursor.move_next();
        }
        false
    }

    /// Has a scope as many processes as it may?
    fn is_full(&mut self, scope: Scope) -> bool {
        let most = scope.map_or(MOST, |_| MOST_EACH);
        let mut count = 0usize;
        self.any(scope, |_| {
            count = count.saturating_add(1);
            count >= most
        })
    }

    fn is_empty(&self) -> bool {
        self.0.keys().next().is_none()
    }

    /// Are the sockets of a task to be spawned?
    fn hold(&mut self, caller: &Caller) -> bool {
        let mut held = |scope| {
            self.any(scope, |process| {
                caller.ancestry.has(process::process_id(process))
            })
        };
        held(None) || caller.user.is_some_and(|user| held(Some(user)))
    }
}

/// A task that calls `listen(2)`.
struct Caller {
    ancestry: process::Ancestry,
    /// Whose ordinary program it is, if it is one.
    user: Option<u32>,
}

impl Caller {
    /// The current task. Process context.
    fn current() -> Self {
        let user = process::euid();
        Self {
            ancestry: process::Ancestry::current(),
            user: process::runs_for(user).then_some(user),
        }
    }
}

/// The processes whose sockets are spawned.
#[pin_data]
pub(crate) struct Held {
    #[pin]
    runs: SpinLock<Runs>,
}

impl Held {
    /// Lets processes be held until what is returned is dropped.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    ///
    /// # Safety
    ///
    /// It must not be dropped while a device is open, or the hook of `listen(2)` runs.
    pub(crate) unsafe fn install() -> Result<Installed<Self>> {
        let new = pin_init!(Self {
            runs <- new_spinlock!(Runs::new(), "fastsocket::runs"),
        });
        let new = KBox::pin_init(new, GFP_KERNEL)?;
        // SAFETY: By the safety requirements.
        Ok(unsafe { HELD.install(new) })
    }
}

static HELD: State<Held> = State::new();

/// Returns the processes whose sockets are spawned, for a hook or an open device.
///
/// # Errors
///
/// `ENODEV` while the module is not quite there.
fn held() -> Result<&'static Held> {
    HELD.get()
}

/// Are the sockets of the current task to be spawned? Process context.
fn runs_current() -> bool {
    let Ok(held) = held() else {
        return false;
    };
    if held.runs.lock().is_empty() {
        return false;
    }
    let caller = Caller::current();
    let holds = held.runs.lock().hold(&caller);
    holds
}

/// An open file of the device: it may hold a process.
pub(crate) struct Holder {
    /// For which scope: [`NOT_HELD`], [`FOR_ALL`], or a user.
    held: Atomic<u64>,
}

const NOT_HELD: u64 = u64::MAX;
const FOR_ALL: u64 = u64::MAX - 1;

impl Holder {
    pub(crate) const fn new() -> Self {
        Self {
            held: Atomic::new(NOT_HELD),
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
        let scope = (!process::is_net_admin(None)).then(process::euid);
        // Memory may be long in coming, and all who call listen(2) take the lock.
        let (key, process) = ((scope, self.id()), kernel::current!().into());
        let run = RBTreeNode::new(key, process, GFP_KERNEL_ACCOUNT)?;
        let mut runs = held()?.runs.lock();
        if self.held.load(Relaxed) != NOT_HELD {
            return Err(EALREADY);
        }
        if runs.is_full(scope) {
            return Err(ENOSPC);
        }
        runs.0.insert(run);
        let held = scope.map_or(FOR_ALL, u64::from);
        self.held.store(held, Relaxed);
        Ok(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let scope = match *self.held.get_mut() {
            NOT_HELD => return,
            FOR_ALL => None,
            user => Some(user as u32),
        };
        // The open file keeps the module, and that its state.
        if let Ok(held) = held() {
            let id = self.id();
            let process = held.runs.lock().0.remove(&(scope, id));
            drop(process);
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
        let (list, bound) = (Marks::of(listener.net()).ok()?, address(&listener)?);
        let addresses = list.addresses.lock();
        addresses.iter().find(|mark| covers(mark, &bound)).copied()
    };
    let is_marked = marked().is_some();
    if !is_marked && !runs_current() {
        return;
    }
    match spawn::attach(file) {
        Ok(()) => {
            let guard = rcu::Guard::new();
            Stats::count(listener.net(), CpuId::current(), Counter::Marked, &guard);
        }
        Err(e) if is_marked => log!(4, "a socket at a marked address cannot be spawned: {e:?}"),
        // Whoever may start programs so could fill the log.
        Err(e) => log!(
            7,
            "a socket of a program that runs so cannot be spawned: {e:?}"
        ),
    }
}

#[kernel::macros::kunit_tests(fastsocket_mark)]
mod tests {
    use super::*;

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

    #[test]
    fn reads_addresses() {
        let inet = bytes(bindings::AF_INET, 80, &[192, 0, 2, 1]);
        assert_eq!(
            parse(inet.get(..16).unwrap_or(&[])),
            Ok(v4([192, 0, 2, 1], 80))
        );
        assert_eq!(parse(&inet), Ok(v4([192, 0, 2, 1], 80)));

        let mut rest = [0; 24];
        // Flow information, which says nothing of where.
        rest[0] = 7;
        rest[4] = 0xfe;
        rest[5] = 0x80;
        rest[19] = 1;
        rest[20..].copy_from_slice(&2u32.to_ne_bytes());
        let inet6 = bytes(bindings::AF_INET6, 8080, &rest);
        assert_eq!(parse(&inet6), Ok(v6(LINK, 8080, 2)));
    }

    #[test]
    fn refuses_what_is_no_address() {
        let inet = bytes(bindings::AF_INET, 80, &[192, 0, 2, 1]);
        for len in 0..16 {
            assert_eq!(parse(inet.get(..len).unwrap_or(&[])), Err(EINVAL));
        }
        let inet6 = bytes(bindings::AF_INET6, 80, &[]);
        for len in 0..28 {
            assert_eq!(parse(inet6.get(..len).unwrap_or(&[])), Err(EINVAL));
        }
        assert_eq!(parse(&bytes(bindings::AF_UNIX, 80, &[])), Err(EAFNOSUPPORT));
        assert_eq!(parse(&bytes(0, 80, &[])), Err(EAFNOSUPPORT));
    }

    #[test]
    fn covers_its_address_and_port() {
        let mark = v4([192, 0, 2, 1], 80);
        assert!(covers(&mark, &v4([192, 0, 2, 1], 80)));
        assert!(!covers(&mark, &v4([192, 0, 2, 1], 81)));
        assert!(!covers(&mark, &v4([192, 0, 2, 2], 80)));
        // A program that listens at all addresses is another one.
        assert!(!covers(&mark, &v4([0; 4], 80)));
        assert!(covers(&v6(LOOPBACK, 80, 0), &v6(LOOPBACK, 80, 0)));
        assert!(!covers(&v6(LOOPBACK, 80, 0), &v6(LINK, 80, 0)));
    }

    #[test]
    fn a_wildcard_covers_its_family() {
        let (any, any6) = (v4([0; 4], 80), v6(Ipv6Addr::UNSPECIFIED, 80, 0));
        assert!(covers(&any, &v4([192, 0, 2, 1], 80)) && covers(&any, &any));
        assert!(covers(&any6, &v6(LINK, 80, 3)) && covers(&any6, &any6));
        assert!(!covers(&any, &any6) && !covers(&any6, &any));
        assert!(!covers(&any, &v4([192, 0, 2, 1], 81)));
    }

    #[test]
    fn a_scope_covers_its_device() {
        assert!(covers(&v6(LINK, 80, 2), &v6(LINK, 80, 2)));
        assert!(!covers(&v6(LINK, 80, 2), &v6(LINK, 80, 3)));
        assert!(!covers(&v6(LINK, 80, 2), &v6(LINK, 80, 0)));
        assert!(covers(&v6(LINK, 80, 0), &v6(LINK, 80, 3)));
    }

    /// What one holds leaves the others their room.
    #[test]
    fn each_user_has_a_limit() -> Result {
        let mut runs = Runs::new();
        let mut fill = |scope: Scope, most: usize| {
            for holder in 0..most {
                assert!(!runs.is_full(scope), "{:?} is full at {}", scope, holder);
                let process = kernel::current!().into();
                runs.0
                    .try_create_and_insert((scope, holder), process, GFP_KERNEL)?;
            }
            assert!(runs.is_full(scope), "{:?} has no limit", scope);
            Ok::<_, Error>(())
        };
        for user in [0, 1000, 65534, u32::MAX] {
            fill(Some(user), MOST_EACH)?;
        }
        fill(None, MOST)?;
        assert!(!runs.is_full(Some(1001)));

        runs.0.remove(&(Some(1000), 7));
        assert!(!runs.is_full(Some(1000)));
        assert!(runs.is_full(Some(65534)) && runs.is_full(None));
        Ok(())
    }

    #[test]
    fn only_the_scope_of_a_process_counts() -> Result {
        let mut runs = Runs::new();
        assert!(!runs.hold(&Caller::current()));
        let process = |task: &Task| ARef::from(task);
        let elsewhere = process::euid().wrapping_add(1);
        runs.0.try_create_and_insert(
            (Some(elsewhere), 1),
            process(kernel::current!()),
            GFP_KERNEL,
        )?;
        assert!(!runs.hold(&Caller::current()), "it is another user's");
        runs.0
            .try_create_and_insert((None, 1), process(kernel::current!()), GFP_KERNEL)?;
        assert!(runs.hold(&Caller::current()));
        Ok(())
    }
}
