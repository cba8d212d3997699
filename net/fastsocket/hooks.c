// SPDX-License-Identifier: GPL-2.0
/*
 * Fastsocket, the built-in half: where the TCP stack and the socket layer call
 * fastsocket.ko.
 *
 * Built in and in C because static keys and static calls are only there for
 * C, and because the TCP stack cannot call a module directly.
 */

#include <linux/export.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/srcu.h>
#include <linux/static_call.h>
#include <linux/tcp.h>
#include <net/fastsocket.h>
#include <net/sock.h>
#include <net/tcp.h>

#include "internal.h"

/* Looked at in tcp_diag.ko, too. */
DEFINE_STATIC_KEY_FALSE(fastsocket_enabled);
EXPORT_SYMBOL_GPL(fastsocket_enabled);

/* Set while the module is loaded; spawned sockets hold references to it. */
static const struct fastsocket_ops *fastsocket_ops;

/* For hooks that sleep, and have no spawned socket that keeps the module. */
DEFINE_STATIC_SRCU(fastsocket_srcu);

/* What the static calls do while no module is there. */

static struct sock *fastsocket_no_syn(void *group, struct sock *sk,
				      unsigned int cpu)
{
	return sk;
}

static void fastsocket_no_data_ready(void *slot)
{
}

static int fastsocket_no_accept(void *group, struct socket *sock,
				struct socket *newsock,
				struct proto_accept_arg *arg)
{
	return -EINVAL;
}

static bool fastsocket_no_poll(void *group, struct file *file,
			       struct socket *sock, poll_table *wait)
{
	return false;
}

DEFINE_STATIC_CALL(fastsocket_syn, fastsocket_no_syn);
DEFINE_STATIC_CALL(fastsocket_data_ready, fastsocket_no_data_ready);
DEFINE_STATIC_CALL(fastsocket_accept, fastsocket_no_accept);
DEFINE_STATIC_CALL(fastsocket_poll, fastsocket_no_poll);

static struct request_sock_queue *fastsocket_queue(struct sock *sk)
{
	return &inet_csk(sk)->icsk_accept_queue;
}

struct sock *__fastsocket_syn(struct sock *sk, const struct sk_buff *skb)
{
	const struct request_sock_queue *queue = fastsocket_queue(sk);
	const struct tcphdr *th = tcp_hdr(skb);
	void *group = READ_ONCE(queue->fastsocket_data);

	if (!group || queue->fastsocket_primary)
		return sk;
	if (!th->syn || th->ack || th->rst)
		return sk;
	/* Another layer listens here now, and knows of one queue. */
	if (READ_ONCE(sk->sk_data_ready) != sock_def_readable)
		return sk;

	return static_call(fastsocket_syn)(group, sk, smp_processor_id());
}

void __fastsocket_listen_stop(struct sock *sk)
{
	const struct request_sock_queue *queue = fastsocket_queue(sk);

	if (queue->fastsocket_data && !queue->fastsocket_primary)
		fastsocket_ops->listen_stop(queue->fastsocket_data);
}

void __fastsocket_listened(struct socket *sock)
{
	const struct fastsocket_ops *ops;
	void *group;

	group = fastsocket_group(sock->sk);
	if (group) {
		fastsocket_ops->changed(group, false);
		return;
	}
	/* A socket of the kernel's own is nobody's to spawn. */
	if (!sock->file || !sk_is_tcp(sock->sk))
		return;
	/*
	 * It waits for the socket's lock, which a user can keep for ever: that
	 * the module cannot go meanwhile is an error for who unloads it, and
	 * must not be a wait without end.
	 */
	rcu_read_lock();
	ops = READ_ONCE(fastsocket_ops);
	if (ops && !try_module_get(ops->owner))
		ops = NULL;
	rcu_read_unlock();
	if (ops) {
		struct module *owner = ops->owner;

		ops->listened(sock);
		module_put(owner);
	}
}

void __fastsocket_option_set(struct socket *sock)
{
	void *group = sock->sk ? fastsocket_group(sock->sk) : NULL;

	/* Who has the socket open has its group, and that the module. */
	if (group)
		fastsocket_ops->changed(group, true);
}

void __fastsocket_forked(struct task_struct *child)
{
	const struct fastsocket_ops *ops;
	int idx;

	idx = srcu_read_lock(&fastsocket_srcu);
	ops = READ_ONCE(fastsocket_ops);
	if (ops)
		ops->forked(child);
	srcu_read_unlock(&fastsocket_srcu, idx);
}

void __fastsocket_left(void)
{
	const struct fastsocket_ops *ops;
	int idx;

	idx = srcu_read_lock(&fastsocket_srcu);
	ops = READ_ONCE(fastsocket_ops);
	if (ops)
		ops->left();
	srcu_read_unlock(&fastsocket_srcu, idx);
}

u32 __fastsocket_queued(const struct sock *sk)
{
	const struct request_sock_queue *queue = &inet_csk(sk)->icsk_accept_queue;
	const struct fastsocket_ops *ops;
	u32 queued = 0;
	void *group;

	/* A group may go meanwhile, and then the module: not in here. */
	rcu_read_lock();
	ops = READ_ONCE(fastsocket_ops);
	group = READ_ONCE(queue->fastsocket_data);
	if (ops && group && !queue->fastsocket_primary)
		queued = ops->queued(group);
	rcu_read_unlock();
	return queued;
}
EXPORT_SYMBOL_GPL(__fastsocket_queued);

/* sk_data_ready of a local listener. The owner of signals is the primary. */
void fastsocket_local_data_ready(struct sock *local)
{
	const struct request_sock_queue *queue = fastsocket_queue(local);
	struct sock *primary = queue->fastsocket_primary;

	rcu_read_lock();
	static_call(fastsocket_data_ready)(queue->fastsocket_data);
	sk_wake_async_rcu(primary, SOCK_WAKE_WAITD, POLL_IN);
	rcu_read_unlock();
}

/* The module of a local listener; put when that is freed. */
struct module *fastsocket_owner(void)
{
	return fastsocket_ops->owner;
}

/**
 * fastsocket_accept() - accept a connection from a spawned socket.
 * @group: what fastsocket_group() said of it.
 * @sock: the socket.
 * @newsock: the socket to be connected.
 * @arg: as proto_ops.accept has it.
 *
 * Context: process, may sleep.
 * Return: 0 or a negative errno, as proto_ops.accept.
 */
int fastsocket_accept(void *group, struct socket *sock, struct socket *newsock,
		      struct proto_accept_arg *arg)
{
	/* Other queues may hold more than the one that was looked at. */
	arg->is_empty = -1;

	return static_call(fastsocket_accept)(group, sock, newsock, arg);
}

/**
 * fastsocket_poll() - poll a spawned socket that listens.
 * @file: the file that is polled.
 * @sock: its socket, for which fastsocket_listens() was true.
 * @wait: the poll table.
 *
 * Context: process, may sleep.
 * Return: the events, as proto_ops.poll.
 */
__poll_t fastsocket_poll(struct file *file, struct socket *sock,
			 poll_table *wait)
{
	void *group = fastsocket_group(sock->sk);

	if (!static_call(fastsocket_poll)(group, file, sock, wait))
		return 0;
	return EPOLLIN | EPOLLRDNORM;
}

/**
 * fastsocket_release() - a spawned socket is released.
 * @group: what fastsocket_group() said of it, before it was closed.
 *
 * Context: process, may sleep.
 */
void fastsocket_release(void *group)
{
	const struct fastsocket_ops *ops = fastsocket_ops;
	struct module *owner = ops->owner;

	ops->release(group);
	module_put(owner);
}

/**
 * fastsocket_attach() - spawn a listening socket.
 * @sock: the socket, kept alive and locked by the caller.
 * @group: what the hooks are to be given; not NULL.
 *
 * Takes a reference to the module, and to the struct sock until
 * fastsocket_detach(). A spawned socket stays spawned until it is released.
 *
 * Context: process.
 * Return: 0; -ENODEV if the module is about to go; -EALREADY if it is spawned;
 * -EINVAL if it does not listen;
 * -EOPNOTSUPP if it is not TCP over IPv4 or IPv6, or uses what a local
 * listener cannot have.
 */
int fastsocket_attach(struct socket *sock, void *group)
{
	const struct fastsocket_ops *ops = READ_ONCE(fastsocket_ops);
	struct sock *sk = sock->sk;

	sock_owned_by_me(sk);

	if (!ops)
		return -ENODEV;
	if (!sk_is_tcp(sk))
		return -EOPNOTSUPP;
	if (sk->sk_state != TCP_LISTEN)
		return -EINVAL;
	if (fastsocket_queue(sk)->fastsocket_data)
		return -EALREADY;
	if (!fastsocket_can_clone(sk))
		return -EOPNOTSUPP;
	if (!try_module_get(ops->owner))
		return -ENODEV;

	sock_hold(sk);
	WRITE_ONCE(fastsocket_queue(sk)->fastsocket_data, group);
	return 0;
}
EXPORT_SYMBOL_GPL(fastsocket_attach);

/**
 * fastsocket_detach() - drop what fastsocket_attach() took of the struct sock.
 * @sk: the socket, already released by its last holder.
 */
void fastsocket_detach(struct sock *sk)
{
	WRITE_ONCE(fastsocket_queue(sk)->fastsocket_data, NULL);
	sock_put(sk);
}
EXPORT_SYMBOL_GPL(fastsocket_detach);

/**
 * fastsocket_register() - connect the module to the hooks.
 * @ops: what to call; must stay valid until fastsocket_unregister() returns.
 *
 * Context: process, may sleep.
 * Return: 0, or -EBUSY if a module is connected.
 */
int fastsocket_register(const struct fastsocket_ops *ops)
{
	if (cmpxchg(&fastsocket_ops, NULL, ops))
		return -EBUSY;

	static_call_update(fastsocket_syn, ops->syn);
	static_call_update(fastsocket_data_ready, ops->data_ready);
	static_call_update(fastsocket_accept, ops->accept);
	static_call_update(fastsocket_poll, ops->poll);
	static_branch_enable(&fastsocket_enabled);
	return 0;
}
EXPORT_SYMBOL_GPL(fastsocket_register);

/**
 * fastsocket_unregister() - disconnect the module.
 *
 * To be called from the module's exit: no socket is spawned then, and no local
 * listener is left, since each holds a reference to the module. When this
 * returns no CPU is in a hook.
 *
 * Context: process, may sleep.
 */
void fastsocket_unregister(void)
{
	static_branch_disable(&fastsocket_enabled);
	static_call_update(fastsocket_syn, fastsocket_no_syn);
	static_call_update(fastsocket_data_ready, fastsocket_no_data_ready);
	static_call_update(fastsocket_accept, fastsocket_no_accept);
	static_call_update(fastsocket_poll, fastsocket_no_poll);
	WRITE_ONCE(fastsocket_ops, NULL);
	synchronize_srcu(&fastsocket_srcu);
	synchronize_net();
}
EXPORT_SYMBOL_GPL(fastsocket_unregister);
