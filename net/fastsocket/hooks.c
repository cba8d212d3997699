// SPDX-License-Identifier: GPL-2.0
/*
 * Fastsocket, the built-in half: where the TCP stack and the socket layer call
 * fastsocket.ko.
 *
 * Built in and in C because static keys and static calls are only there for C,
 * because the operations of a socket must never be module text that could go
 * away under a system call, and because an owner module in struct proto_ops
 * would cost an atomic on a line that all CPUs share for each accept().
 */

#include <linux/export.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/srcu.h>
#include <linux/static_call.h>
#include <linux/tcp.h>
#include <net/fastsocket.h>
#include <net/inet_common.h>
#include <net/ipv6.h>
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

static struct proto_ops fastsocket_stream_ops __ro_after_init;
static struct proto_ops fastsocket_stream6_ops __ro_after_init;

/* What the static calls do while no module is there. */

static struct sock *fastsocket_no_syn(struct sock *sk, unsigned int cpu)
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
	const struct tcphdr *th = tcp_hdr(skb);

	if (!th->syn || th->ack || th->rst)
		return sk;

	return static_call(fastsocket_syn)(sk, smp_processor_id());
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
	int idx;

	/* A socket of the kernel's own is nobody's to spawn. */
	if (!sock->file || !sk_is_tcp(sock->sk))
		return;
	idx = srcu_read_lock(&fastsocket_srcu);
	ops = READ_ONCE(fastsocket_ops);
	if (ops)
		ops->listened(sock);
	srcu_read_unlock(&fastsocket_srcu, idx);
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

u32 __fastsocket_queued(const struct sock *sk)
{
	const struct request_sock_queue *queue = &inet_csk(sk)->icsk_accept_queue;
	u32 queued = 0;
	void *group;

	/* Who sees a group here keeps the module from going. */
	rcu_read_lock();
	group = READ_ONCE(queue->fastsocket_data);
	if (group && !queue->fastsocket_primary)
		queued = fastsocket_ops->queued(group);
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

static const struct proto_ops *fastsocket_plain_ops(const struct proto_ops *ops)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (ops == &fastsocket_stream6_ops || ops == &inet6_stream_ops)
		return &inet6_stream_ops;
#endif
	if (ops == &fastsocket_stream_ops || ops == &inet_stream_ops)
		return &inet_stream_ops;

	return NULL;
}

static int fastsocket_op_accept(struct socket *sock, struct socket *newsock,
				struct proto_accept_arg *arg)
{
	/* A child is an ordinary socket, and so is one that never comes. */
	newsock->ops = fastsocket_plain_ops(newsock->ops);
	/* Other queues may hold more than the one that was looked at. */
	arg->is_empty = -1;

	return static_call(fastsocket_accept)(fastsocket_group(sock), sock,
					      newsock, arg);
}

static __poll_t fastsocket_op_poll(struct file *file, struct socket *sock,
				   poll_table *wait)
{
	if (inet_sk_state_load(sock->sk) != TCP_LISTEN)
		return tcp_poll(file, sock, wait);

	if (!static_call(fastsocket_poll)(fastsocket_group(sock), file, sock,
					  wait))
		return 0;
	return EPOLLIN | EPOLLRDNORM;
}

static int fastsocket_op_listen(struct socket *sock, int backlog)
{
	int err = inet_listen(sock, backlog);

	if (!err)
		fastsocket_ops->changed(fastsocket_group(sock), false);
	return err;
}

static int fastsocket_op_setsockopt(struct socket *sock, int level, int optname,
				    sockptr_t optval, unsigned int optlen)
{
	int err;

	/* SOCK_CUSTOM_SOCKOPT brings SOL_SOCKET here too. */
	if (level == SOL_SOCKET)
		err = sock_setsockopt(sock, level, optname, optval, optlen);
	else
		err = sock_common_setsockopt(sock, level, optname, optval,
					     optlen);
	if (err)
		return err;

	/* IPV6_ADDRFORM of a socket that does not listen any more. */
	if (READ_ONCE(sock->ops) == &inet_stream_ops)
		WRITE_ONCE(sock->ops, &fastsocket_stream_ops);
	fastsocket_ops->changed(fastsocket_group(sock), true);
	return 0;
}

static int fastsocket_op_release(struct socket *sock)
{
	const struct proto_ops *plain = fastsocket_plain_ops(sock->ops);
	void *group;
	int err;

	/* Not yet a socket: accept() failed before it came to us. */
	if (!sock->sk)
		return plain->release(sock);

	group = fastsocket_group(sock);
	err = plain->release(sock);
	if (group) {
		struct module *owner = fastsocket_ops->owner;

		fastsocket_ops->release(group);
		module_put(owner);
	}
	return err;
}

/**
 * fastsocket_group() - what was attached to a socket.
 * @sock: a spawned socket, kept alive by the caller.
 *
 * Return: the group given to fastsocket_attach(), or NULL if there was none.
 */
void *fastsocket_group(struct socket *sock)
{
	return READ_ONCE(fastsocket_queue(sock->sk)->fastsocket_data);
}
EXPORT_SYMBOL_GPL(fastsocket_group);

/**
 * fastsocket_attach() - spawn a listening socket.
 * @sock: the socket, kept alive by the caller.
 * @group: what the hooks are to be given; not NULL.
 *
 * Takes a reference to the module, and to the struct sock until
 * fastsocket_detach(). A spawned socket stays spawned until it is released.
 *
 * Context: process, may sleep; takes the socket lock.
 * Return: 0; -ENODEV if the module is about to go; -EALREADY if it is spawned;
 * -EINVAL if it does not listen;
 * -EOPNOTSUPP if it is not TCP over IPv4 or IPv6, or uses what a local
 * listener cannot have.
 */
int fastsocket_attach(struct socket *sock, void *group)
{
	const struct fastsocket_ops *hooks = READ_ONCE(fastsocket_ops);
	struct sock *sk = sock->sk;
	const struct proto_ops *ops;
	int err;

	if (!hooks)
		return -ENODEV;
	ops = fastsocket_plain_ops(READ_ONCE(sock->ops));
	if (!ops || sk->sk_protocol != IPPROTO_TCP)
		return -EOPNOTSUPP;

	lock_sock(sk);
	err = -EINVAL;
	if (sk->sk_state != TCP_LISTEN)
		goto out;
	err = -EALREADY;
	if (fastsocket_queue(sk)->fastsocket_data)
		goto out;
	err = -EOPNOTSUPP;
	if (!fastsocket_can_clone(sk))
		goto out;

	err = -ENODEV;
	if (!try_module_get(hooks->owner))
		goto out;

	err = 0;
	sock_hold(sk);
	WRITE_ONCE(fastsocket_queue(sk)->fastsocket_data, group);
	/* The operations look for the group, and the flag for the operations. */
	smp_store_release(&sock->ops, ops == &inet_stream_ops ?
			  &fastsocket_stream_ops : &fastsocket_stream6_ops);
	set_bit(SOCK_CUSTOM_SOCKOPT, &sock->flags);
out:
	release_sock(sk);
	return err;
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

static void __init fastsocket_init_ops(struct proto_ops *ops,
				       const struct proto_ops *plain)
{
	*ops = *plain;
	ops->accept = fastsocket_op_accept;
	ops->poll = fastsocket_op_poll;
	ops->listen = fastsocket_op_listen;
	ops->setsockopt = fastsocket_op_setsockopt;
	ops->release = fastsocket_op_release;
}

static int __init fastsocket_init(void)
{
	fastsocket_init_ops(&fastsocket_stream_ops, &inet_stream_ops);
#if IS_ENABLED(CONFIG_IPV6)
	fastsocket_init_ops(&fastsocket_stream6_ops, &inet6_stream_ops);
#endif
	return 0;
}
core_initcall(fastsocket_init);
