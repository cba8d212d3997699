/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fastsocket: what a request of a spawned listener counts at.
 *
 * A listener that was spawned has a slot for each CPU on which somebody takes
 * connections.  A request that comes in there counts at the slot, and not in
 * the listener's counters and reference count, which all CPUs share.
 *
 * Included by <net/request_sock.h>, after struct request_sock.
 */
#ifndef _NET_FASTSOCKET_REQSK_H
#define _NET_FASTSOCKET_REQSK_H

#include <linux/atomic.h>
#include <linux/jump_label.h>
#include <linux/refcount.h>

struct request_sock_queue;
struct sock;

/**
 * struct fastsocket_slot - what TCP counts at a CPU's slot of a listener.
 * @refs: one for the listener until it is destroyed, and one for each request
 *	whose rsk_slot names this
 * @qlen: as in request_sock_queue, of these requests
 * @young: likewise
 *
 * Written by the CPU's softirq for the most part. The first part of what
 * fastsocket.ko has for the slot.
 */
struct fastsocket_slot {
	refcount_t	refs;
	atomic_t	qlen;
	atomic_t	young;
};

/**
 * struct fastsocket_slots - the slots of a spawned listener.
 * @slot: by CPU, nr_cpu_ids of them; each is NULL until somebody takes there,
 *	and then stays. Read by READ_ONCE().
 * @plain: one task alone takes from it, and no request counts at them
 * @shards: where children are bound, see <net/fastsocket_bind.h>, or NULL
 *
 * Lives until the last request that counts at one of them is freed, and an RCU
 * grace period longer. The first part of what fastsocket.ko has for the
 * listener.
 */
struct fastsocket_slots {
	struct fastsocket_slot **slot;
	bool plain;
	struct fastsocket_shards *shards;
};

#ifdef CONFIG_FASTSOCKET_HOOKS

/* On while fastsocket.ko may have spawned sockets. */
DECLARE_STATIC_KEY_FALSE(fastsocket_listen_enabled);

struct fastsocket_slot *__fastsocket_slot_of(const struct request_sock *req);
bool __fastsocket_reqsk_get(struct request_sock *req,
			    const struct request_sock_queue *queue);
void __fastsocket_reqsk_put(struct request_sock *req);
int __fastsocket_requests(const struct request_sock_queue *queue, bool young);
bool __fastsocket_pending(const struct sock *sk);

/* A new request counts nowhere. */
static inline void fastsocket_reqsk_init(struct request_sock *req)
{
	req->rsk_slot = 0;
}

/**
 * fastsocket_reqsk_get() - count a request at this CPU's slot.
 * @req: the request, new.
 * @queue: that of the listener.
 *
 * Context: softirq, or process with BHs off.
 * Return: false if there is none: then it is to hold the listener.
 */
static inline bool fastsocket_reqsk_get(struct request_sock *req,
					const struct request_sock_queue *queue)
{
	return static_branch_unlikely(&fastsocket_listen_enabled) &&
	       __fastsocket_reqsk_get(req, queue);
}

/**
 * fastsocket_slot_of() - the slot that a request counts at.
 * @req: a request that has a listener.
 *
 * Return: the slot, kept by the request, or NULL: it holds the listener.
 */
static inline struct fastsocket_slot *fastsocket_slot_of(const struct request_sock *req)
{
	if (static_branch_unlikely(&fastsocket_listen_enabled) && req->rsk_slot)
		return __fastsocket_slot_of(req);
	return NULL;
}

/**
 * fastsocket_reqsk_put() - a request is freed.
 * @req: the request.
 *
 * Return: false if it holds its listener.
 */
static inline bool fastsocket_reqsk_put(struct request_sock *req)
{
	if (!static_branch_unlikely(&fastsocket_listen_enabled) || !req->rsk_slot)
		return false;
	__fastsocket_reqsk_put(req);
	return true;
}

/* How many requests count at the slots of a listener; as of this tick. */
static inline int fastsocket_qlen(const struct request_sock_queue *queue)
{
	return static_branch_unlikely(&fastsocket_listen_enabled) ?
		__fastsocket_requests(queue, false) : 0;
}

/* How many of those are young. */
static inline int fastsocket_young(const struct request_sock_queue *queue)
{
	return static_branch_unlikely(&fastsocket_listen_enabled) ?
		__fastsocket_requests(queue, true) : 0;
}

/**
 * fastsocket_pending() - is there something at the slots of a listener?
 * @sk: a listener of any kind.
 *
 * To be asked before its own queue is looked at: what waits at a slot may be
 * moved there.
 *
 * Context: process.
 * Return: whether current would find a connection at one of the slots that it
 * looks at.
 */
static inline bool fastsocket_pending(const struct sock *sk)
{
	return static_branch_unlikely(&fastsocket_listen_enabled) &&
	       __fastsocket_pending(sk);
}

#else

static inline void fastsocket_reqsk_init(struct request_sock *req)
{
}

static inline bool fastsocket_reqsk_get(struct request_sock *req,
					const struct request_sock_queue *queue)
{
	return false;
}

static inline struct fastsocket_slot *fastsocket_slot_of(const struct request_sock *req)
{
	return NULL;
}

static inline bool fastsocket_reqsk_put(struct request_sock *req)
{
	return false;
}

static inline int fastsocket_qlen(const struct request_sock_queue *queue)
{
	return 0;
}

static inline int fastsocket_young(const struct request_sock_queue *queue)
{
	return 0;
}

static inline bool fastsocket_pending(const struct sock *sk)
{
	return false;
}

#endif /* CONFIG_FASTSOCKET_HOOKS */

#endif /* _NET_FASTSOCKET_REQSK_H */
