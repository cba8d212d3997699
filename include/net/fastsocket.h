/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fastsocket: what the TCP stack and fastsocket.ko know of each other.
 *
 * A listening socket that was spawned (the "primary") has up to one "local
 * listener" per CPU: a struct sock of its own, in no hash table, with its own
 * accept queue.  A SYN that mainline's look-up gave to the primary is handed
 * to the local listener of this CPU.  The policy is in fastsocket.ko; what is
 * declared here is built in and does nothing while the module is not loaded.
 */
#ifndef _NET_FASTSOCKET_H
#define _NET_FASTSOCKET_H

#include <linux/fastsocket.h>
#include <linux/poll.h>
#include <linux/types.h>
#include <net/inet_connection_sock.h>

struct cred;
struct file;
struct module;
struct pid;
struct proto_accept_arg;
struct sk_buff;
struct sock;
struct socket;
struct socket_wq;
struct task_struct;

/**
 * struct fastsocket_ops - what fastsocket.ko does at the hooks.
 * @owner: the module; a reference is held for each spawned socket and for
 *	each local listener.
 * @syn: softirq, under RCU, for a SYN that is going to @sk, which listens and
 *	is the socket that @group was attached to. Returns the socket that takes
 *	it: @sk itself, or one of its local listeners, without a reference.
 * @data_ready: softirq, under RCU: a child was put into the accept queue of
 *	the local listener that was cloned for @slot.
 * @accept: process context, may sleep: as proto_ops.accept.
 * @poll: process context, may sleep: registers a poller of the listening
 *	@sock, and says whether there is a connection that it could accept.
 * @changed: process context, socket not locked: listen(2) (@option false) or
 *	setsockopt(2) (@option true) succeeded on the socket of @group.
 * @listen_stop: process context, @sk locked, must not sleep: @sk has left
 *	TCP_LISTEN; its local listeners must follow.
 * @listened: process context, may sleep: listen(2) succeeded on @sock, which
 *	may be spawned, and stays open during the call.
 * @forked: process context, may sleep: current, which serves a CPU, has made
 *	@child, which has not run yet.
 * @left: process context, may sleep: current, which serves a CPU, does not any
 *	more, since it executes another program or, with PF_EXITING, exits.
 * @queued: any context, under RCU: how many connections the local listeners
 *	of the socket that @group was attached to have queued.
 * @release: process context, may sleep: the last reference to the socket that
 *	@group was attached to is gone.
 */
struct fastsocket_ops {
	struct module *owner;
	struct sock *(*syn)(void *group, struct sock *sk, unsigned int cpu);
	void (*data_ready)(void *slot);
	int (*accept)(void *group, struct socket *sock, struct socket *newsock,
		      struct proto_accept_arg *arg);
	bool (*poll)(void *group, struct file *file, struct socket *sock,
		     poll_table *wait);
	void (*changed)(void *group, bool option);
	void (*listen_stop)(void *group);
	void (*listened)(struct socket *sock);
	void (*forked)(struct task_struct *child);
	void (*left)(void);
	u32 (*queued)(void *group);
	void (*release)(void *group);
};

#ifdef CONFIG_FASTSOCKET_HOOKS

struct sock *__fastsocket_syn(struct sock *sk, const struct sk_buff *skb);
void __fastsocket_init_child(struct sock *child);
void __fastsocket_listen_stop(struct sock *sk);
void __fastsocket_listened(struct socket *sock);
u32 __fastsocket_queued(const struct sock *sk);
int fastsocket_accept(void *group, struct socket *sock, struct socket *newsock,
		      struct proto_accept_arg *arg);
__poll_t fastsocket_poll(struct file *file, struct socket *sock,
			 poll_table *wait);
void fastsocket_release(void *group);

/**
 * fastsocket_group() - what makes a socket a spawned one.
 * @sk: a socket of any kind that a struct socket has.
 *
 * Return: what was given to fastsocket_attach(), or NULL. It stays until the
 * struct socket is released.
 */
static inline void *fastsocket_group(const struct sock *sk)
{
	if (static_branch_unlikely(&fastsocket_enabled) && sk_is_tcp(sk))
		return READ_ONCE(inet_csk(sk)->icsk_accept_queue.fastsocket_data);
	return NULL;
}

/**
 * fastsocket_listens() - is it a spawned socket that listens?
 * @sk: a TCP socket that a struct socket has.
 */
static inline bool fastsocket_listens(const struct sock *sk)
{
	return static_branch_unlikely(&fastsocket_enabled) &&
	       inet_sk_state_load(sk) == TCP_LISTEN && fastsocket_group(sk);
}

/**
 * fastsocket_syn() - choose the socket that takes a SYN.
 * @sk: the listener that the look-up found.
 * @skb: the segment, of any kind; only a pure SYN is ever taken away from @sk.
 *
 * Context: softirq, under RCU.
 * Return: @sk or one of its local listeners; no reference is taken.
 */
static inline struct sock *fastsocket_syn(struct sock *sk,
					  const struct sk_buff *skb)
{
	if (static_branch_unlikely(&fastsocket_enabled))
		return __fastsocket_syn(sk, skb);
	return sk;
}

/**
 * fastsocket_primary() - the socket that a program bound.
 * @sk: any TCP socket.
 *
 * Return: the socket that @sk is a local listener of, else @sk.
 */
static inline struct sock *fastsocket_primary(const struct sock *sk)
{
	if (static_branch_unlikely(&fastsocket_enabled)) {
		struct sock *primary;

		primary = inet_csk(sk)->icsk_accept_queue.fastsocket_primary;
		if (primary)
			return primary;
	}
	return (struct sock *)sk;
}

/**
 * fastsocket_queued() - how many connections wait for accept().
 * @sk: a TCP socket that listens, kept by the caller.
 *
 * Context: any.
 * Return: what the program's socket and its local listeners have queued.
 */
static inline u32 fastsocket_queued(const struct sock *sk)
{
	u32 queued = READ_ONCE(sk->sk_ack_backlog);

	if (static_branch_unlikely(&fastsocket_enabled))
		queued += __fastsocket_queued(sk);
	return queued;
}

/**
 * fastsocket_init_child() - give the callbacks of a plain socket to a child.
 * @child: a copy of a listener, its accept queue still copied as well.
 */
static inline void fastsocket_init_child(struct sock *child)
{
	if (fastsocket_primary(child) != child)
		__fastsocket_init_child(child);
}

/**
 * fastsocket_raced() - did a child that was there go elsewhere?
 * @req: what came out of the accept queue of a locked listener that had one.
 *
 * What waits at a local listener can be moved to its primary, and reset when
 * that is closed, under accept(2).
 *
 * Return: true if there is nothing; always false for other listeners.
 */
static inline bool fastsocket_raced(const struct request_sock *req)
{
	return static_branch_unlikely(&fastsocket_enabled) && !req;
}

/**
 * fastsocket_listen_stop() - a listener has left TCP_LISTEN.
 * @sk: the listener, locked by the caller.
 */
static inline void fastsocket_listen_stop(struct sock *sk)
{
	if (static_branch_unlikely(&fastsocket_enabled))
		__fastsocket_listen_stop(sk);
}

/**
 * fastsocket_listened() - listen(2) succeeded.
 * @sock: the socket, not locked.
 *
 * Context: process, may sleep.
 */
static inline void fastsocket_listened(struct socket *sock)
{
	if (static_branch_unlikely(&fastsocket_enabled))
		__fastsocket_listened(sock);
}

/* For fastsocket.ko; each is described where it is defined. */

enum fastsocket_task_state {
	FASTSOCKET_TASK_GONE,
	FASTSOCKET_TASK_STOPPED,
	FASTSOCKET_TASK_WAITING,
	FASTSOCKET_TASK_RUNNING,
};

/* hooks.c */
int fastsocket_register(const struct fastsocket_ops *ops);
void fastsocket_unregister(void);
int fastsocket_attach(struct socket *sock, void *group);
void fastsocket_detach(struct sock *sk);

/* listener.c */
struct sock *fastsocket_clone_listener(struct sock *sk, void *slot,
				       struct socket_wq *wq);
void *fastsocket_sibling(const struct sock *sk);
bool fastsocket_shares(const struct sock *sk, const struct sock *peer);
void fastsocket_address(const struct sock *sk, struct sockaddr_storage *address);
bool fastsocket_is_dry(const struct sock *local);
void fastsocket_stop_listener(struct sock *local);
unsigned int fastsocket_push(struct sock *local, unsigned int budget);
int fastsocket_take(struct socket *sock, struct socket *newsock,
		    struct sock *from, struct proto_accept_arg *arg);

/* wait.c */
void fastsocket_poll_wait(struct file *file, struct socket *sock,
			  struct socket_wq *wq, poll_table *wait);
bool fastsocket_polling(const poll_table *wait);
bool fastsocket_wake(struct socket_wq *wq);
void fastsocket_rewake(struct sock *sk);
long fastsocket_rcvtimeo(struct sock *sk, int flags);
int fastsocket_wait(struct sock *sk, struct socket_wq *wq, long *timeo,
		    bool (*ready)(void *data), void *data);

/* task.c */
int fastsocket_wish(struct task_struct *task, unsigned long *bits);
bool fastsocket_is_program(void);
int fastsocket_bound_cpu(struct task_struct *task);
void fastsocket_set_served_cpu(struct task_struct *task, int cpu);
int fastsocket_served_cpu(void);
const struct cred *fastsocket_get_cred(void);
void fastsocket_put_cred(const struct cred *cred);
bool fastsocket_may_bind(const struct cred *binder);
int fastsocket_pin(struct task_struct *task, unsigned int cpu);
int fastsocket_unpin(struct task_struct *task);
unsigned long fastsocket_asked(struct task_struct *task, unsigned long *bits);
int fastsocket_ask(struct task_struct *task, const unsigned long *bits);
unsigned long fastsocket_process(struct task_struct *task);
unsigned int fastsocket_ancestry(unsigned long *ids, unsigned int room);
u32 fastsocket_euid(void);
bool fastsocket_runs_for(u32 euid);
enum fastsocket_task_state fastsocket_task_state(struct task_struct *task);
unsigned long fastsocket_current_id(void);
struct pid *fastsocket_get_pid(void);
enum fastsocket_task_state fastsocket_pid_state(struct pid *pid);

/* trace.c */
/**
 * enum fastsocket_accept - where a connection was taken from.
 * @FASTSOCKET_ACCEPT_LOCAL: the slot of the CPU that the task runs on
 * @FASTSOCKET_ACCEPT_GLOBAL: the socket's own queue
 * @FASTSOCKET_ACCEPT_FOREIGN: another slot
 * @FASTSOCKET_ACCEPT_STOLEN: another slot, that is loaded, by a consumer
 */
enum fastsocket_accept {
	FASTSOCKET_ACCEPT_LOCAL,
	FASTSOCKET_ACCEPT_GLOBAL,
	FASTSOCKET_ACCEPT_FOREIGN,
	FASTSOCKET_ACCEPT_STOLEN,
};

void fastsocket_trace_spawn(const struct sock *sk, int cpu);
void fastsocket_trace_spill(const struct sock *sk, int cpu);
void fastsocket_trace_accept(const struct sock *sk, int cpu,
			     enum fastsocket_accept from);
void fastsocket_trace_migrate(const struct sock *sk, int cpu, u32 moved);

/* syscall.c */
bool fastsocket_is_filtered(void);
int fastsocket_sys_socket(int family, int type, int protocol);
int fastsocket_sys_listen(int fd, int backlog);
int fastsocket_sys_accept4(int fd, void __user *addr, void __user *addrlen,
			   int flags);
int fastsocket_sys_shutdown(int fd, int how);
int fastsocket_sys_close(unsigned int fd);
int fastsocket_sys_epoll_ctl(int epfd, int op, int fd, void __user *event);
struct socket *fastsocket_from_fd(unsigned int fd, struct file **file);
struct socket *fastsocket_next_listener(unsigned int *fd, struct file **file);

#else

static inline struct sock *fastsocket_syn(struct sock *sk,
					  const struct sk_buff *skb)
{
	return sk;
}

static inline void *fastsocket_group(const struct sock *sk)
{
	return NULL;
}

static inline bool fastsocket_listens(const struct sock *sk)
{
	return false;
}

static inline int fastsocket_accept(void *group, struct socket *sock,
				    struct socket *newsock,
				    struct proto_accept_arg *arg)
{
	return -EINVAL;
}

static inline __poll_t fastsocket_poll(struct file *file, struct socket *sock,
				       poll_table *wait)
{
	return 0;
}

static inline void fastsocket_release(void *group)
{
}

static inline u32 fastsocket_queued(const struct sock *sk)
{
	return READ_ONCE(sk->sk_ack_backlog);
}

static inline struct sock *fastsocket_primary(const struct sock *sk)
{
	return (struct sock *)sk;
}

static inline void fastsocket_init_child(struct sock *child)
{
}

static inline bool fastsocket_raced(const struct request_sock *req)
{
	return false;
}

static inline void fastsocket_listen_stop(struct sock *sk)
{
}

static inline void fastsocket_listened(struct socket *sock)
{
}

#endif /* CONFIG_FASTSOCKET_HOOKS */

#endif /* _NET_FASTSOCKET_H */
