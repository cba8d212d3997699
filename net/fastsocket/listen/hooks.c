// SPDX-License-Identifier: GPL-2.0
/*
 * Fastsocket, the built-in half of listen spawn: where the TCP stack calls
 * fastsocket.ko.
 *
 * Built in and in C because static keys and static calls are only there for
 * C, and because the TCP stack cannot call a module directly.
 */

#include <linux/export.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/static_call.h>
#include <linux/tcp.h>
#include <net/fastsocket.h>
#include <net/mptcp.h>
#include <net/sock.h>
#include <net/sock_reuseport.h>
#include <net/tcp.h>

#include "../internal.h"

/* Looked at in modules, too. */
DEFINE_STATIC_KEY_FALSE(fastsocket_listen_enabled);
EXPORT_SYMBOL_GPL(fastsocket_listen_enabled);

/* Set while the module is loaded; spawned sockets hold references to it. */
static const struct fastsocket_listen_ops *fastsocket_ops;

/* What the static calls do while no module is there. */

static int fastsocket_no_requests(struct fastsocket_slots *slots, bool young)
{
	return 0;
}

static bool fastsocket_no_is_full(struct fastsocket_slots *slots)
{
	return false;
}

static bool fastsocket_no_queue_add(struct fastsocket_slots *slots,
				    struct request_sock *req,
				    struct sock *child, int cpu)
{
	return false;
}

static void fastsocket_no_queued(struct fastsocket_slots *slots,
				 unsigned int cpu)
{
}

static struct request_sock *fastsocket_no_accept(struct fastsocket_slots *slots,
						 int flags)
{
	return NULL;
}

static void fastsocket_no_poll_wait(struct fastsocket_slots *slots,
				    struct file *file, poll_table *wait)
{
}

static bool fastsocket_no_pending(struct fastsocket_slots *slots)
{
	return false;
}

static struct sock *fastsocket_no_select(struct fastsocket_slots *slots,
					 struct sock *sk, unsigned int cpu)
{
	return sk;
}

DEFINE_STATIC_CALL(fastsocket_requests, fastsocket_no_requests);
DEFINE_STATIC_CALL(fastsocket_is_full, fastsocket_no_is_full);
DEFINE_STATIC_CALL(fastsocket_queue_add, fastsocket_no_queue_add);
DEFINE_STATIC_CALL(fastsocket_queued, fastsocket_no_queued);
DEFINE_STATIC_CALL(fastsocket_accept, fastsocket_no_accept);
DEFINE_STATIC_CALL(fastsocket_poll_wait, fastsocket_no_poll_wait);
DEFINE_STATIC_CALL(fastsocket_pending, fastsocket_no_pending);
DEFINE_STATIC_CALL(fastsocket_select, fastsocket_no_select);

/* The module; only while something keeps it. */
static struct module *fastsocket_listen_owner(void)
{
	return fastsocket_ops->owner;
}

/* --- requests ---------------------------------------------------------- */

struct fastsocket_slot *__fastsocket_slot_of(const struct request_sock *req)
{
	const struct fastsocket_slots *slots = fastsocket_slots(req->rsk_listener);

	/* The request keeps both. */
	return READ_ONCE(slots->slot[req->rsk_slot - 1]);
}
EXPORT_SYMBOL_GPL(__fastsocket_slot_of);

bool __fastsocket_reqsk_get(struct request_sock *req,
			    const struct request_sock_queue *queue)
{
	const struct fastsocket_slots *slots = READ_ONCE(queue->fastsocket_slots);
	unsigned int cpu = smp_processor_id();
	struct fastsocket_slot *slot;

	if (!slots || READ_ONCE(slots->plain))
		return false;
	slot = READ_ONCE(slots->slot[cpu]);
	if (!slot || !refcount_inc_not_zero(&slot->refs))
		return false;
	req->rsk_slot = cpu + 1;
	return true;
}

void __fastsocket_reqsk_put(struct request_sock *req)
{
	struct fastsocket_slot *slot = __fastsocket_slot_of(req);

	/* The module's code has returned when it is put. */
	if (refcount_dec_and_test(&slot->refs) && fastsocket_ops->unused(slot))
		module_put(fastsocket_listen_owner());
}
EXPORT_SYMBOL_GPL(__fastsocket_reqsk_put);

int __fastsocket_requests(const struct request_sock_queue *queue, bool young)
{
	struct fastsocket_slots *slots = READ_ONCE(queue->fastsocket_slots);

	if (!slots || READ_ONCE(slots->plain))
		return 0;
	return static_call(fastsocket_requests)(slots, young);
}
EXPORT_SYMBOL_GPL(__fastsocket_requests);

/* --- accept queues ----------------------------------------------------- */

bool __fastsocket_queue_add(struct sock *sk, struct request_sock *req,
			    struct sock *child)
{
	struct fastsocket_slots *slots = fastsocket_slots_in_use(sk);

	/* Another layer that listens here knows of one queue. */
	if (!slots || READ_ONCE(sk->sk_data_ready) != sock_def_readable)
		return false;
	return static_call(fastsocket_queue_add)(slots, req, child,
						 READ_ONCE(child->sk_incoming_cpu));
}

bool __fastsocket_data_ready(struct sock *sk, const struct sock *child)
{
	u16 slot = READ_ONCE(inet_csk(child)->icsk_accept_queue.fastsocket_slot);

	if (!slot)
		return false;
	static_call(fastsocket_queued)(fastsocket_slots(sk), slot - 1);
	rcu_read_lock();
	sk_wake_async_rcu(sk, SOCK_WAKE_WAITD, POLL_IN);
	rcu_read_unlock();
	/* Another layer may have come meanwhile. */
	return READ_ONCE(sk->sk_data_ready) == sock_def_readable;
}

bool __fastsocket_is_full(const struct sock *sk)
{
	struct fastsocket_slots *slots = fastsocket_slots_in_use(sk);

	return slots && static_call(fastsocket_is_full)(slots);
}

struct request_sock *__fastsocket_accept(struct sock *sk, int flags)
{
	struct fastsocket_slots *slots = fastsocket_slots(sk);

	/* Who waits may be the second to take from it. */
	if (!slots || (READ_ONCE(slots->plain) && (flags & O_NONBLOCK)))
		return NULL;
	return static_call(fastsocket_accept)(slots, flags);
}

void __fastsocket_poll_wait(struct file *file, struct sock *sk, poll_table *wait)
{
	struct fastsocket_slots *slots = fastsocket_slots(sk);

	if (slots && inet_sk_state_load(sk) == TCP_LISTEN)
		static_call(fastsocket_poll_wait)(slots, file, wait);
}

bool __fastsocket_pending(const struct sock *sk)
{
	struct fastsocket_slots *slots = fastsocket_slots_in_use(sk);

	return slots && static_call(fastsocket_pending)(slots);
}
EXPORT_SYMBOL_GPL(__fastsocket_pending);

struct sock *__fastsocket_select(struct sock *sk,
				 const struct sock_reuseport *reuse)
{
	struct fastsocket_slots *slots = fastsocket_slots(sk);

	/* Where somebody chooses on purpose, the choice stands. */
	if (!slots || rcu_access_pointer(reuse->prog) ||
	    READ_ONCE(reuse->incoming_cpu))
		return sk;
	return static_call(fastsocket_select)(slots, sk, raw_smp_processor_id());
}

u32 __fastsocket_queued(const struct sock *sk)
{
	const struct fastsocket_listen_ops *ops;
	struct fastsocket_slots *slots;
	u32 queued = 0;

	/* They may go meanwhile, and then the module: not in here. */
	rcu_read_lock();
	ops = READ_ONCE(fastsocket_ops);
	slots = fastsocket_slots(sk);
	if (ops && slots)
		queued = ops->backlog(slots);
	rcu_read_unlock();
	return queued;
}
EXPORT_SYMBOL_GPL(__fastsocket_queued);

/* --- the life of a spawned socket -------------------------------------- */

void __fastsocket_listen_stop(struct sock *sk)
{
	struct fastsocket_slots *slots = fastsocket_slots(sk);

	if (slots)
		fastsocket_ops->listen_stop(slots);
}

void __fastsocket_destroy(struct sock *sk)
{
	struct fastsocket_slots *slots = fastsocket_slots(sk);

	if (!slots)
		return;
	fastsocket_unshard_port(sk);
	/* The module's code has returned when it is put. */
	if (fastsocket_ops->destroy(slots))
		module_put(fastsocket_listen_owner());
}

/**
 * fastsocket_attach() - spawn a listening socket.
 * @sock: the socket, kept alive and locked by the caller.
 * @slots: what the hooks are to be given.
 *
 * Takes a reference to the module. A spawned socket stays spawned until it is
 * destroyed.
 *
 * Context: process.
 * Return: 0; -ENODEV if the module is about to go; -EALREADY if it is spawned;
 * -EINVAL if it does not listen; -EOPNOTSUPP if it is not TCP over IPv4 or
 * IPv6, or another layer's.
 */
int fastsocket_attach(struct socket *sock, struct fastsocket_slots *slots)
{
	const struct fastsocket_listen_ops *ops = READ_ONCE(fastsocket_ops);
	struct sock *sk = sock->sk;

	sock_owned_by_me(sk);

	if (!ops)
		return -ENODEV;
	if (!sk_is_tcp(sk))
		return -EOPNOTSUPP;
	if (sk->sk_state != TCP_LISTEN)
		return -EINVAL;
	if (fastsocket_slots(sk))
		return -EALREADY;
	/* Kernel sockets, and those of SMC, MPTCP and others. */
	if (!sock->file || !sk->sk_net_refcnt || sk_is_mptcp(sk) ||
	    inet_csk(sk)->icsk_ulp_ops ||
	    READ_ONCE(sk->sk_data_ready) != sock_def_readable)
		return -EOPNOTSUPP;
	if (!try_module_get(ops->owner))
		return -ENODEV;

	/* Pairs with the address dependency of who reads it. */
	smp_store_release(&inet_csk(sk)->icsk_accept_queue.fastsocket_slots, slots);
	return 0;
}
EXPORT_SYMBOL_GPL(fastsocket_attach);

/**
 * fastsocket_detach() - the slots of a socket are about to go.
 * @sk: the socket, destroyed; no request counts at its slots any more.
 *
 * Context: any.
 */
void fastsocket_detach(struct sock *sk)
{
	WRITE_ONCE(inet_csk(sk)->icsk_accept_queue.fastsocket_slots, NULL);
}
EXPORT_SYMBOL_GPL(fastsocket_detach);

/* --- the module -------------------------------------------------------- */

/**
 * fastsocket_listen_register() - connect the module to the hooks.
 * @ops: what to call; must stay valid until fastsocket_listen_unregister() returns.
 *
 * Context: process, may sleep.
 * Return: 0, or -EBUSY if a module is connected.
 */
int fastsocket_listen_register(const struct fastsocket_listen_ops *ops)
{
	if (cmpxchg(&fastsocket_ops, NULL, ops))
		return -EBUSY;

	static_call_update(fastsocket_requests, ops->requests);
	static_call_update(fastsocket_is_full, ops->is_full);
	static_call_update(fastsocket_queue_add, ops->queue_add);
	static_call_update(fastsocket_queued, ops->queued);
	static_call_update(fastsocket_accept, ops->accept);
	static_call_update(fastsocket_poll_wait, ops->poll_wait);
	static_call_update(fastsocket_pending, ops->pending);
	static_call_update(fastsocket_select, ops->select);
	static_branch_enable(&fastsocket_listen_enabled);
	return 0;
}
EXPORT_SYMBOL_GPL(fastsocket_listen_register);

/**
 * fastsocket_listen_unregister() - disconnect the module.
 *
 * To be called from the module's exit: no socket is spawned then, since each
 * holds a reference to the module. When this returns no CPU is in a hook.
 *
 * Context: process, may sleep.
 */
void fastsocket_listen_unregister(void)
{
	static_branch_disable(&fastsocket_listen_enabled);
	static_call_update(fastsocket_requests, fastsocket_no_requests);
	static_call_update(fastsocket_is_full, fastsocket_no_is_full);
	static_call_update(fastsocket_queue_add, fastsocket_no_queue_add);
	static_call_update(fastsocket_queued, fastsocket_no_queued);
	static_call_update(fastsocket_accept, fastsocket_no_accept);
	static_call_update(fastsocket_poll_wait, fastsocket_no_poll_wait);
	static_call_update(fastsocket_pending, fastsocket_no_pending);
	static_call_update(fastsocket_select, fastsocket_no_select);
	WRITE_ONCE(fastsocket_ops, NULL);
	synchronize_net();
}
EXPORT_SYMBOL_GPL(fastsocket_listen_unregister);
