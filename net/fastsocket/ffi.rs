// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! The built-in C files, made safe: tasks, system calls, and calls that the socket layer makes.

use core::{
    mem::ManuallyDrop,
    ptr::{self, NonNull},
};
use kernel::{
    bindings,
    cpu::CpuId,
    error::{from_err_ptr, to_result},
    net::namespace::{Namespace, NamespaceRef},
    prelude::*,
    sync::rcu,
    task::Task,
    types::ARef,
};

use crate::{
    group::Group,
    listener::{Listener, Locked},
    stats::{Counter, Stats},
    wait::WaitQueue,
};

/// Makes a number of what a C function returns: a negative one is an error.
fn to_number(value: i32) -> Result<i32> {
    to_result(value).map(|()| value)
}

/// Whether a task can be expected to serve a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskState {
    /// It exits, or has.
    Gone,
    /// By a signal or a debugger, or frozen.
    Stopped,
    /// It sleeps.
    Waiting,
    /// It runs, or would if it were let.
    Running,
}

/// Makes one of what C says.
fn to_state(state: bindings::fastsocket_task_state) -> TaskState {
    match state {
        bindings::fastsocket_task_state_FASTSOCKET_TASK_GONE => TaskState::Gone,
        bindings::fastsocket_task_state_FASTSOCKET_TASK_STOPPED => TaskState::Stopped,
        bindings::fastsocket_task_state_FASTSOCKET_TASK_WAITING => TaskState::Waiting,
        _ => TaskState::Running,
    }
}

/// Returns what a task does at the moment. Any context.
pub(crate) fn task_state(task: &Task) -> TaskState {
    // SAFETY: The reference keeps the task.
    to_state(unsafe { bindings::fastsocket_task_state(as_ptr(task)) })
}

/// A task that may be gone: it is known, but not kept.
///
/// # Invariants
///
/// It is a reference to a `struct pid`, that this owns.
pub(crate) struct Pid(NonNull<bindings::pid>);

// SAFETY: A `struct pid` belongs to nobody.
unsafe impl Send for Pid {}

// SAFETY: It can be asked from anywhere.
unsafe impl Sync for Pid {}

// SAFETY: The module's last act is `rcu_barrier()`, and the drop retires nothing.
unsafe impl rcu::Retire for Pid {}

impl Pid {
    /// That of the current task. Process context.
    pub(crate) fn current() -> Self {
        // SAFETY: It can be called in process context, where a task has a pid.
        let pid = unsafe { NonNull::new_unchecked(bindings::fastsocket_get_pid()) };
        // INVARIANT: The reference was just taken.
        Self(pid)
    }

    /// Returns what the task does at the moment. Any context.
    pub(crate) fn task_state(&self) -> TaskState {
        // SAFETY: By the type invariants.
        to_state(unsafe { bindings::fastsocket_pid_state(self.0.as_ptr()) })
    }
}

impl Drop for Pid {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the reference is ours to give up.
        unsafe { bindings::put_pid(self.0.as_ptr()) };
    }
}

/// Who somebody acted as.
///
/// # Invariants
///
/// It is a reference to a `struct cred`, that this owns.
pub(crate) struct Credentials(NonNull<bindings::cred>);

// SAFETY: Credentials do not change, and belong to nobody.
unsafe impl Send for Credentials {}

// SAFETY: As above.
unsafe impl Sync for Credentials {}

impl Credentials {
    /// Those of the current task. Process context.
    pub(crate) fn current() -> Self {
        // SAFETY: It can be called in process context; every task has some.
        let cred = unsafe { NonNull::new_unchecked(bindings::fastsocket_get_cred().cast_mut()) };
        // INVARIANT: The reference was just taken.
        Self(cred)
    }

    /// Could whoever has these bind the current task to a CPU, by `sched_setaffinity(2)`? Process context;
    /// may sleep.
    pub(crate) fn may_bind_current(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { bindings::fastsocket_may_bind(self.0.as_ptr()) }
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the reference is ours to give up.
        unsafe { bindings::fastsocket_put_cred(self.0.as_ptr()) };
    }
}

/// Is the current task a thread of a program? An io_uring worker is not, nor is a kernel thread.
pub(crate) fn is_program() -> bool {
    // SAFETY: It can be called anywhere.
    unsafe { bindings::fastsocket_is_program() }
}

/// Returns the only CPU that the current task may run on, if there is but one.
pub(crate) fn bound_cpu() -> Option<CpuId> {
    bound_cpu_of(kernel::current!())
}

/// Returns the only CPU that a task may run on, if there is but one.
pub(crate) fn bound_cpu_of(task: &Task) -> Option<CpuId> {
    // SAFETY: The reference keeps the task.
    let cpu = unsafe { bindings::fastsocket_bound_cpu(as_ptr(task)) };
    CpuId::from_i32(cpu)
}

/// Notes at a task which CPU it serves, or that it serves none: the hooks of fork, exec and exit ask.
///
/// Not by the field: behind the bit fields of `struct task_struct` the layout that bindgen makes of it is
/// not C's.
pub(crate) fn set_served_cpu(task: &Task, cpu: Option<CpuId>) {
    // CAST: There are fewer than `i32::MAX`.
    let cpu = cpu.map_or(-1, i32::from);
    // SAFETY: The reference keeps the task.
    unsafe { bindings::fastsocket_set_served_cpu(as_ptr(task), cpu) };
}

/// Returns the CPU that the current task serves, if it runs on that and no other.
#[inline]
pub(crate) fn served_cpu() -> Option<CpuId> {
    // SAFETY: It can be called anywhere.
    let cpu = unsafe { bindings::fastsocket_served_cpu() };
    CpuId::from_i32(cpu)
}

/// Are there at least `nr_cpu_ids` bits?
fn check_bits(bits: &[usize]) -> Result {
    if bits.len() < kernel::cpu::nr_cpu_ids().div_ceil(usize::BITS) as usize {
        return Err(EINVAL);
    }
    Ok(())
}

/// Fills a bitmap of at least `nr_cpu_ids` bits with the CPUs that a task may be bound to.
///
/// Process context; may sleep.
pub(crate) fn wish(task: &Task, bits: &mut [usize]) -> Result {
    check_bits(bits)?;
    // SAFETY: `usize` is `unsigned long`, and there are enough of them; the reference keeps the task.
    to_result(unsafe { bindings::fastsocket_wish(as_ptr(task), bits.as_mut_ptr().cast()) })
}

/// Binds a task to a CPU, on which it then runs if it is the current one. Process context; sleeps.
pub(crate) fn pin(task: &Task, cpu: CpuId) -> Result {
    // SAFETY: The CPU is possible by its type; the reference keeps the task.
    to_result(unsafe { bindings::fastsocket_pin(as_ptr(task), cpu.as_u32()) })
}

/// Lets a task run where the user wishes. Process context; sleeps.
pub(crate) fn unpin(task: &Task) -> Result {
    // SAFETY: The reference keeps the task.
    to_result(unsafe { bindings::fastsocket_unpin(as_ptr(task)) })
}

/// Returns a number for the last `sched_setaffinity(2)` of a task, and fills a bitmap of at least
/// `nr_cpu_ids` bits with what that asked for; 0 if there was none. Any context.
pub(crate) fn asked(task: &Task, bits: &mut [usize]) -> Result<usize> {
    check_bits(bits)?;
    // SAFETY: As in `wish`.
    Ok(unsafe { bindings::fastsocket_asked(as_ptr(task), bits.as_mut_ptr().cast()) as usize })
}

/// `sched_setaffinity(2)` of a task, with what [`asked`] said. Process context; sleeps.
pub(crate) fn ask(task: &Task, bits: &[usize]) -> Result {
    check_bits(bits)?;
    // SAFETY: As in `wish`; the bitmap is only read.
    to_result(unsafe { bindings::fastsocket_ask(as_ptr(task), bits.as_ptr().cast()) })
}

/// Returns a number that no other process has for as long as the task is referenced.
pub(crate) fn process_id(task: &Task) -> usize {
    // SAFETY: The reference keeps the task.
    unsafe { bindings::fastsocket_process(as_ptr(task)) as usize }
}

/// How many generations of processes are looked at, of which some are threads, shells and supervisors.
const ANCESTORS: usize = 64;

/// The process of the current task, and those that it stems from.
pub(crate) struct Ancestry {
    ids: [usize; ANCESTORS],
    known: usize,
}

impl Ancestry {
    /// That of the current task. Any context.
    pub(crate) fn current() -> Self {
        let mut ids = [0; ANCESTORS];
        // SAFETY: There is as much room as is said.
        let known = unsafe {
            bindings::fastsocket_ancestry(ids.as_mut_ptr().cast(), ANCESTORS as u32) as usize
        };
        Self { ids, known }
    }

    /// Is a process among them, by [`process_id`]?
    pub(crate) fn has(&self, process: usize) -> bool {
        self.ids.iter().take(self.known).any(|id| *id == process)
    }
}

/// Returns the effective user of the current task, as the initial user namespace numbers it.
pub(crate) fn euid() -> u32 {
    // SAFETY: It can be called in process context.
    unsafe { bindings::fastsocket_euid() }
}

/// Is the current task one of an ordinary program of a user, that has no privileges of its own?
pub(crate) fn runs_for(euid: u32) -> bool {
    // SAFETY: It can be called in process context.
    unsafe { bindings::fastsocket_runs_for(euid) }
}

/// Has the current task `CAP_NET_ADMIN` over a network namespace, or [`None`], over all?
pub(crate) fn is_net_admin(net: Option<&Namespace>) -> bool {
    let capability = bindings::CAP_NET_ADMIN as i32;
    match net {
        // SAFETY: The reference keeps the namespace, and that its user namespace.
        Some(net) => unsafe { bindings::ns_capable((*net.as_ptr()).user_ns, capability) },
        // SAFETY: It can be called in process context.
        None => unsafe { bindings::capable(capability) },
    }
}

/// A task as C wants it.
fn as_ptr(task: &Task) -> *mut bindings::task_struct {
    // CAST: The type is transparent.
    ptr::from_ref(task).cast_mut().cast()
}

/// Returns something to tell the current task by, for as long as somebody keeps its [`Pid`].
#[inline]
pub(crate) fn current_id() -> usize {
    // SAFETY: It can be called anywhere.
    unsafe { bindings::fastsocket_current_id() as usize }
}

/// Does a filter see the system calls of the current task, by seccomp(2)?
pub(crate) fn is_filtered() -> bool {
    // SAFETY: It can be called in process context.
    unsafe { bindings::fastsocket_is_filtered() }
}

/// `socket(2)`.
pub(crate) fn sys_socket(family: i32, kind: i32, protocol: i32) -> Result<i32> {
    // SAFETY: It checks its arguments, as the others do.
    to_number(unsafe { bindings::fastsocket_sys_socket(family, kind, protocol) })
}

/// `listen(2)`.
pub(crate) fn sys_listen(fd: i32, backlog: i32) -> Result<i32> {
    // SAFETY: As above.
    to_number(unsafe { bindings::fastsocket_sys_listen(fd, backlog) })
}

/// `accept4(2)`, with user addresses.
pub(crate) fn sys_accept4(fd: i32, addr: usize, len: usize, flags: i32) -> Result<i32> {
    // SAFETY: As above; user addresses are checked when they are used.
    let fd = unsafe { bindings::fastsocket_sys_accept4(fd, addr as *mut _, len as *mut _, flags) };
    to_number(fd)
}

/// `shutdown(2)`.
pub(crate) fn sys_shutdown(fd: i32, how: i32) -> Result<i32> {
    // SAFETY: As above.
    to_number(unsafe { bindings::fastsocket_sys_shutdown(fd, how) })
}

/// `close(2)`.
pub(crate) fn sys_close(fd: u32) -> Result<i32> {
    // SAFETY: As above. If the descriptor is that of the device, its file goes when the system call
    // that this is part of returns.
    to_number(unsafe { bindings::fastsocket_sys_close(fd) })
}

/// `epoll_ctl(2)`, with a user address.
pub(crate) fn sys_epoll_ctl(epfd: i32, op: i32, fd: i32, event: usize) -> Result<i32> {
    // SAFETY: As above.
    to_number(unsafe { bindings::fastsocket_sys_epoll_ctl(epfd, op, fd, event as *mut _) })
}

/// Counts an event on this CPU for the network namespace of the current task.
pub(crate) fn count_here(counter: Counter) {
    if let Ok(net) = NamespaceRef::current() {
        Stats::count(&net, CpuId::current(), counter, &rcu::Guard::new());
    }
}

/// A TCP socket that is open in the current process, and stays open until this is dropped.
///
/// # Invariants
///
/// `file` is a reference that this owns, and that of `sock`, which is a TCP socket.
pub(crate) struct SocketFile {
    file: NonNull<bindings::file>,
    sock: NonNull<bindings::socket>,
}

impl SocketFile {
    fn new(file: *mut bindings::file, sock: *mut bindings::socket) -> Option<Self> {
        // INVARIANT: The callers have it from a function that gives both.
        Some(Self {
            file: NonNull::new(file)?,
            sock: NonNull::new(sock)?,
        })
    }

    /// Returns the TCP socket of a descriptor.
    ///
    /// # Errors
    ///
    /// `EBADF`, `ENOTSOCK`, `EOPNOTSUPP` if it is of another kind.
    pub(crate) fn get(fd: u32) -> Result<Self> {
        let mut file = ptr::null_mut();
        // SAFETY: `file` is to be written.
        let sock = from_err_ptr(unsafe { bindings::fastsocket_from_fd(fd, &mut file) })?;
        Self::new(file, sock).ok_or(EBADF)
    }

    /// Makes one of a socket that the caller keeps open.
    ///
    /// # Safety
    ///
    /// `sock` must be a TCP socket that a program has, and stay open until the value is dropped.
    pub(crate) unsafe fn borrow(sock: *mut bindings::socket) -> Option<ManuallyDrop<Self>> {
        // SAFETY: By the safety requirements.
        let file = unsafe { (*sock).file };
        // INVARIANT: By the safety requirements; the reference is never given up.
        Self::new(file, sock).map(ManuallyDrop::new)
    }

    /// Returns the next listening TCP socket at or after a descriptor, which is moved there.
    pub(crate) fn next_listener(fd: &mut u32) -> Option<Self> {
        let mut file = ptr::null_mut();
        // SAFETY: Both are to be written.
        let sock = unsafe { bindings::fastsocket_next_listener(fd, &mut file) };
        Self::new(file, sock)
    }

    /// Returns the socket as one that listens, or may have.
    pub(crate) fn listener(&self) -> ARef<Listener> {
        // SAFETY: By the type invariants; a socket that is open has a `sk`.
        unsafe { Listener::from_raw((*self.sock.as_ptr()).sk) }.into()
    }

    /// Attaches a group to the socket, which is locked; it is destroyed with the socket.
    ///
    /// # Errors
    ///
    /// As `fastsocket_attach()`; the group is dropped then.
    pub(crate) fn attach(&self, _lock: &Locked<'_>, group: rcu::Unshared<Group>) -> Result {
        let group = rcu::Unshared::into_raw(group);
        // SAFETY: By the type invariants, and the lock. The group stays until the socket is destroyed.
        let res = unsafe { bindings::fastsocket_attach(self.sock.as_ptr(), group.as_ptr().cast()) };
        to_result(res).inspect_err(|_| {
            // SAFETY: It is not attached, so nobody else has it.
            drop(unsafe { rcu::Unshared::from_raw(group) });
        })
    }

    /// Returns the group that is attached, if the socket is spawned.
    pub(crate) fn group(&self) -> Option<&Group> {
        // SAFETY: By the type invariants; a socket that is open has a `sk`. What is attached to it stays
        // for as long as the file.
        unsafe {
            let listener = Listener::from_raw((*self.sock.as_ptr()).sk);
            listener.group_ptr().as_ref()
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the reference is ours to give up.
        unsafe { bindings::fput(self.file.as_ptr()) };
    }
}

/// A call of `poll` on a listening socket that is being carried out.
///
/// # Invariants
///
/// The pointers are what `fastsocket_ops.poll_wait` was given, and that has not returned.
pub(crate) struct PollCall {
    file: *mut bindings::file,
    wait: *mut bindings::poll_table_struct,
}

impl PollCall {
    /// # Safety
    ///
    /// The type invariants must hold until the value is dropped.
    pub(crate) unsafe fn from_raw(
        file: *mut bindings::file,
        wait: *mut bindings::poll_table_struct,
    ) -> Self {
        // INVARIANT: By the safety requirements.
        Self { file, wait }
    }

    /// Will the caller wait, or does it only look?
    pub(crate) fn registers(&self) -> bool {
        // SAFETY: By the type invariants; it may be null.
        unsafe { bindings::fastsocket_polling(self.wait) }
    }

    /// Registers the caller at the wait queue of a slot.
    pub(crate) fn register(&self, waiters: &WaitQueue) {
        // SAFETY: By the type invariants; a slot's queue stays for as long as the socket.
        unsafe { bindings::fastsocket_poll_slot(self.file, waiters.as_ptr(), self.wait) };
    }
}
