/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fastsocket: what the TCP stack and fastsocket.ko know of each other.
 *
 * A listening socket that was spawned has a "slot" for each CPU that somebody
 * serves: a queue of connections that wait to be accepted, beside the socket's
 * own.  A connection waits in that of the CPU that received its packets.  The
 * policy is in fastsocket.ko; what is declared here is built in and does
 * nothing while the module is not loaded.
 */
#ifndef _NET_FASTSOCKET_H
#define _NET_FASTSOCKET_H

#include <linux/fastsocket.h>
#include <linux/poll.h>
#include <linux/types.h>
#include <net/inet_connection_sock.h>

struct file;
struct module;
struct pid;
struct sock;
struct sock_reuseport;
struct socket;
struct socket_wq;
struct task_struct;

/**
 * struct fastsocket_listen_ops - what fastsocket.ko does for spawned sockets.
 * @owner: the module; a reference is held for each spawned socket, until the
 *	last request that counts at one of its slots is freed.
 * @unused: any context: the last reference to a slot is gone. Returns whether
 *	that was the last of the socket's, and all of it is given up.
 * @requests: any context: how many requests count at the slots, all or those
 *	that are young.
 * @is_full: softirq: do as many connections wait as the program wants?
 * @queue_add: softirq, or process with BHs off: puts @child, of @req, into the
 *	slot of @cpu, which received its last packet, or returns false: then it
 *	goes to the socket's own queue.
 * @queued: softirq, or process with BHs off: what was put into the slot of
 *	@cpu is ready.
 * @accept: process context, may sleep: takes a connection, or waits for one as
 *	the socket and @flags say. Returns its request, or ERR_PTR() of an error
 *	of accept(2).
 * @poll_wait: process context, may sleep: registers a poller at the slot that
 *	it serves.
 * @pending: process context, may sleep: is there something at the slots that
 *	current looks at?
 * @select: softirq, under RCU, for a segment that mainline has for @sk, a
 *	member of an SO_REUSEPORT group that it chose by a hash: returns the
 *	member that takes it, without a reference.
 * @backlog: any context, under RCU: how many connections wait at the slots.
 * @listen_stop: process context, must not sleep: the socket, which is locked,
 *	has left TCP_LISTEN; what waits at its slots must go to its own queue.
 * @destroy: softirq, or process with BHs off: the socket is closed for good; it
 *	may have become a connection since it listened. Returns as @unused.
 */
struct fastsocket_listen_ops {
	struct module *owner;
	bool (*unused)(struct fastsocket_slot *slot);
	int (*requests)(struct fastsocket_slots *slots, bool young);
	bool (*is_full)(struct fastsocket_slots *slots);
	bool (*queue_add)(struct fastsocket_slots *slots,
			  struct request_sock *req, struct sock *child,
			  int cpu);
	void (*queued)(struct fastsocket_slots *slots, unsigned int cpu);
	struct request_sock *(*accept)(struct fastsocket_slots *slots,
				       int flags);
	void (*poll_wait)(struct fastsocket_slots *slots, struct file *file,
			  poll_table *wait);
	bool (*pending)(struct fastsocket_slots *slots);
	struct sock *(*select)(struct fastsocket_slots *slots, struct sock *sk,
			       unsigned int cpu);
	u32 (*backlog)(struct fastsocket_slots *slots);
	void (*listen_stop)(struct fastsocket_slots *slots);
	bool (*destroy)(struct fastsocket_slots *slots);
};

/**
 * struct fastsocket_control_ops - whom fastsocket.ko is asked to spawn for.
 * @owner: the module.
 * @listened: process context, may sleep: listen(2) succeeded on @sock, which
 *	may be spawned, and stays open during the call.
 */
struct fastsocket_control_ops {
	struct module *owner;
	void (*listened)(struct socket *sock);
};

#ifdef CONFIG_FASTSOCKET_HOOKS

/* On while listen(2) is to be looked at. */
DECLARE_STATIC_KEY_FALSE(fastsocket_control_enabled);

bool __fastsocket_is_full(const struct sock *sk);
bool __fastsocket_queue_add(struct sock *sk, struct request_sock *req,
			    struct sock *child);
bool __fastsocket_data_ready(struct sock *sk, const struct sock *child);
struct request_sock *__fastsocket_accept(struct sock *sk, int flags);
void __fastsocket_poll_wait(struct file *file, struct sock *sk,
			    poll_table *wait);
struct sock *__fastsocket_select(struct sock *sk,
				 const struct sock_reuseport *reuse);
u32 __fastsocket_queued(const struct sock *sk);
void __fastsocket_listen_stop(struct sock *sk);
void __fastsocket_destroy(struct sock *sk);
void __fastsocket_listened(struct socket *sock);

/**
 * fastsocket_queue_add() - let a child wait at the slot of its CPU.
 * @sk: its listener.
 * @req: its request, whose reference to @child is given away.
 * @child: the child.
 *
 * Context: softirq, or process with BHs off.
 * Return: false if it is to wait in the queue of @sk.
 */
static inline bool fastsocket_queue_add(struct sock *sk,
					struct request_sock *req,
					struct sock *child)
{
	return static_branch_unlikely(&fastsocket_listen_enabled) &&
	       __fastsocket_queue_add(sk, req, child);
}

/**
 * fastsocket_data_ready() - wake who waits for a child.
 * @sk: the listener.
 * @child: a child of it that was queued, kept by the caller.
 *
 * Context: softirq, or process with BHs off.
 */
static inline void fastsocket_data_ready(struct sock *sk,
					 const struct sock *child)
{
	void (*data_ready)(struct sock *sk);

	if (static_branch_unlikely(&fastsocket_listen_enabled) &&
	    __fastsocket_data_ready(sk, child))
		return;
	data_ready = READ_ONCE(sk->sk_data_ready);
	data_ready(sk);
}

/**
 * tcp_acceptq_is_full() - do as many connections wait as the program wants?
 * @sk: a TCP socket that listens.
 *
 * Context: softirq.
 */
static inline bool tcp_acceptq_is_full(const struct sock *sk)
{
	return sk_acceptq_is_full(sk) ||
	       (static_branch_unlikely(&fastsocket_listen_enabled) &&
		__fastsocket_is_full(sk));
}

/**
 * fastsocket_accept() - take a connection from a spawned listener.
 * @sk: the listener, not locked.
 * @arg: as proto.accept has it.
 *
 * Context: process, may sleep.
 * Return: the request, NULL if mainline is to go on, or ERR_PTR() of an error
 * of accept(2).
 */
static inline struct request_sock *
fastsocket_accept(struct sock *sk, const struct proto_accept_arg *arg)
{
	if (static_branch_unlikely(&fastsocket_listen_enabled))
		return __fastsocket_accept(sk, arg->flags);
	return NULL;
}

/**
 * fastsocket_poll_wait() - register a poller at the slot that it serves.
 * @file: the file that is polled.
 * @sk: its TCP socket.
 * @wait: the poll table.
 *
 * The caller registers at the socket afterwards, with a full barrier.
 *
 * Context: process, may sleep.
 */
static inline void fastsocket_poll_wait(struct file *file, struct sock *sk,
					poll_table *wait)
{
	if (static_branch_unlikely(&fastsocket_listen_enabled) &&
	    !poll_does_not_wait(wait))
		__fastsocket_poll_wait(file, sk, wait);
}

/**
 * fastsocket_select() - prefer a member that is served on this CPU.
 * @sk: the member of an SO_REUSEPORT group that a hash has chosen, or NULL.
 * @reuse: the group.
 *
 * Context: under RCU.
 * Return: @sk or another member.
 */
static inline struct sock *fastsocket_select(struct sock *sk,
					     const struct sock_reuseport *reuse)
{
	if (static_branch_unlikely(&fastsocket_listen_enabled) && sk && sk_is_tcp(sk))
		return __fastsocket_select(sk, reuse);
	return sk;
}

/**
 * fastsocket_queued() - how many connections wait for accept().
 * @sk: a TCP socket that listens, kept by the caller.
 *
 * Context: any.
 * Return: what its own queue and its slots have.
 */
static inline u32 fastsocket_queued(const struct sock *sk)
{
	u32 queued = READ_ONCE(sk->sk_ack_backlog);

	if (static_branch_unlikely(&fastsocket_listen_enabled))
		queued += __fastsocket_queued(sk);
	return queued;
}

/**
 * fastsocket_is_homed() - was a connection accepted by CPU?
 * @sk: a TCP socket.
 *
 * What many such connections share, each does not have to write: see who asks.
 *
 * Context: any.
 * Return: whether it is a child that waited at a slot.
 */
static inline bool fastsocket_is_homed(const struct sock *sk)
{
	return static_branch_unlikely(&fastsocket_listen_enabled) &&
	       inet_csk(sk)->icsk_accept_queue.fastsocket_slot;
}

/**
 * fastsocket_listen_stop() - a listener has left TCP_LISTEN.
 * @sk: the listener, locked by the caller.
 */
static inline void fastsocket_listen_stop(struct sock *sk)
{
	if (static_branch_unlikely(&fastsocket_listen_enabled))
		__fastsocket_listen_stop(sk);
}

/**
 * fastsocket_destroy() - a TCP socket is closed for good.
 * @sk: the socket.
 */
static inline void fastsocket_destroy(struct sock *sk)
{
	if (static_branch_unlikely(&fastsocket_listen_enabled))
		__fastsocket_destroy(sk);
}

/**
 * fastsocket_listened() - listen(2) succeeded.
 * @sock: the socket, not locked.
 *
 * Context: process, may sleep.
 */
static inline void fastsocket_listened(struct socket *sock)
{
	if (static_branch_unlikely(&fastsocket_control_enabled))
		__fastsocket_listened(sock);
}

/* For fastsocket.ko; each is described where it is defined. */

/* listen/hooks.c */
int fastsocket_listen_register(const struct fastsocket_listen_ops *ops);
void fastsocket_listen_unregister(void);
int fastsocket_attach(struct socket *sock, struct fastsocket_slots *slots);
void fastsocket_detach(struct sock *sk);

/* listen/listener.c */
struct fastsocket_slots *fastsocket_sibling(const struct sock *sk);
bool fastsocket_shares(const struct sock *sk, const struct sock *peer);
void fastsocket_requeue(struct sock *sk, struct request_sock *first,
			struct request_sock *last, u32 number);
struct request_sock *fastsocket_take(struct sock *sk);
bool fastsocket_oldest(struct sock *sk, u32 *stamp);
struct socket *fastsocket_from_fd(unsigned int fd, struct file **file);
struct socket *fastsocket_next_listener(unsigned int *fd, struct file **file);

/* listen/wait.c */
void fastsocket_poll_slot(struct file *file, struct socket_wq *wq,
			  poll_table *wait);
enum fastsocket_woken fastsocket_wake(struct socket_wq *wq, unsigned int cpu,
				      enum fastsocket_woken enough);
void fastsocket_rewake(struct sock *sk, int number);
long fastsocket_rcvtimeo(struct sock *sk, int flags);
int fastsocket_wait(struct sock *sk, struct socket_wq *wq, long *timeo,
		    bool (*ready)(void *data), void *data);

/* listen/trace.c */
/**
 * enum fastsocket_accept - where a connection was taken from.
 * @FASTSOCKET_ACCEPT_LOCAL: the slot of the CPU that the task runs on
 * @FASTSOCKET_ACCEPT_GLOBAL: the socket's own queue
 * @FASTSOCKET_ACCEPT_FOREIGN: another slot
 * @FASTSOCKET_ACCEPT_STOLEN: a slot, by who serves another CPU
 */
enum fastsocket_accept {
	FASTSOCKET_ACCEPT_LOCAL,
	FASTSOCKET_ACCEPT_GLOBAL,
	FASTSOCKET_ACCEPT_FOREIGN,
	FASTSOCKET_ACCEPT_STOLEN,
};

void fastsocket_trace_spawn(const struct sock *sk, int cpu);
void fastsocket_trace_overflow(const struct sock *sk, int cpu);
void fastsocket_trace_accept(const struct sock *sk, int cpu,
			     enum fastsocket_accept from);
void fastsocket_trace_migrate(const struct sock *sk, int cpu, u32 moved);

/* placement/task.c */
enum fastsocket_task_state {
	FASTSOCKET_TASK_GONE,
	FASTSOCKET_TASK_STOPPED,
	FASTSOCKET_TASK_WAITING,
	FASTSOCKET_TASK_RUNNING,
	FASTSOCKET_TASK_HERE,
};

int fastsocket_placement_register(const struct fastsocket_placement_ops *ops);
void fastsocket_placement_unregister(void);
bool fastsocket_is_program(void);
int fastsocket_bound_cpu(void);
bool fastsocket_may_run_on(unsigned int cpu);
int fastsocket_bind(unsigned int cpu);
unsigned int fastsocket_core(unsigned int cpu);
int fastsocket_serve(int cpu);
int fastsocket_served_cpu(void);
bool fastsocket_serves_any(void);
bool fastsocket_is_served_here(void);
bool fastsocket_took(void);
unsigned long fastsocket_current_process(void);
unsigned long fastsocket_current_id(void);
struct pid *fastsocket_get_pid(void);
enum fastsocket_task_state fastsocket_pid_state(struct pid *pid);

/* bind/shards.c */
void fastsocket_bind_enable(void);
int fastsocket_shard_port(struct sock *sk);

/* control/hooks.c */
int fastsocket_control_register(const struct fastsocket_control_ops *ops);
void fastsocket_control_unregister(void);
void fastsocket_address(const struct sock *sk, struct sockaddr_storage *address);

/* control/process.c */
unsigned long fastsocket_process(struct task_struct *task);
unsigned int fastsocket_ancestry(unsigned long *ids, unsigned int room);
u32 fastsocket_euid(void);
bool fastsocket_runs_for(u32 euid);
bool fastsocket_is_filtered(void);

/* control/syscall.c */
int fastsocket_sys_socket(int family, int type, int protocol);
int fastsocket_sys_listen(int fd, int backlog);
int fastsocket_sys_accept4(int fd, void __user *addr, void __user *addrlen,
			   int flags);
int fastsocket_sys_shutdown(int fd, int how);
int fastsocket_sys_close(unsigned int fd);
int fastsocket_sys_epoll_ctl(int epfd, int op, int fd, void __user *event);

#else

static inline bool fastsocket_queue_add(struct sock *sk,
					struct request_sock *req,
					struct sock *child)
{
	return false;
}

static inline void fastsocket_data_ready(struct sock *sk,
					 const struct sock *child)
{
	void (*data_ready)(struct sock *sk) = READ_ONCE(sk->sk_data_ready);

	data_ready(sk);
}

static inline bool tcp_acceptq_is_full(const struct sock *sk)
{
	return sk_acceptq_is_full(sk);
}

static inline struct request_sock *
fastsocket_accept(struct sock *sk, const struct proto_accept_arg *arg)
{
	return NULL;
}

static inline void fastsocket_poll_wait(struct file *file, struct sock *sk,
					poll_table *wait)
{
}

static inline struct sock *fastsocket_select(struct sock *sk,
					     const struct sock_reuseport *reuse)
{
	return sk;
}

static inline u32 fastsocket_queued(const struct sock *sk)
{
	return READ_ONCE(sk->sk_ack_backlog);
}

static inline bool fastsocket_is_homed(const struct sock *sk)
{
	return false;
}

static inline void fastsocket_listen_stop(struct sock *sk)
{
}

static inline void fastsocket_destroy(struct sock *sk)
{
}

static inline void fastsocket_listened(struct socket *sock)
{
}

#endif /* CONFIG_FASTSOCKET_HOOKS */

#endif /* _NET_FASTSOCKET_H */
