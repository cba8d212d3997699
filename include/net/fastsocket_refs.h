/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fastsocket: references to what all sockets of a network namespace share.
 *
 * A socket has a reference to its namespace, and a TIME_WAIT socket counts at
 * that.  So each connection writes counters that all CPUs share.  While
 * fastsocket.ko is there, each CPU has some of these references in stock: they
 * are counted, and nobody's.
 *
 * Included where the references are taken and given up.
 */
#ifndef _NET_FASTSOCKET_REFS_H
#define _NET_FASTSOCKET_REFS_H

#include <linux/jump_label.h>
#include <linux/types.h>
#include <net/net_namespace.h>

/**
 * enum fastsocket_counter - what is counted in a network namespace.
 * @FASTSOCKET_NAMESPACE: who keeps the namespace
 * @FASTSOCKET_TIME_WAIT: TCP's TIME_WAIT sockets
 */
enum fastsocket_counter {
	FASTSOCKET_NAMESPACE,
	FASTSOCKET_TIME_WAIT,
};

/**
 * struct fastsocket_refs_ops - what fastsocket.ko has in stock.
 * @take: takes a reference from stock, and returns 0; or returns how many to
 *	get of the counter, one to use and the rest to @give. Nothing is in
 *	stock after @settle, until it is called with @resumes.
 * @give: gives references, and returns how many to put back to the counter.
 * @settle: returns all that is in stock, to be put back to the counter.
 *
 * All are called in any context, with a namespace that is kept until they
 * return; the first two on @cpu, without preemption, and the last under RCU.
 */
struct fastsocket_refs_ops {
	u32 (*take)(struct net *net, enum fastsocket_counter counter, bool resumes,
		    unsigned int cpu);
	u32 (*give)(struct net *net, enum fastsocket_counter counter, u32 number,
		    unsigned int cpu);
	u32 (*settle)(struct net *net, enum fastsocket_counter counter);
};

#ifdef CONFIG_FASTSOCKET_HOOKS

DECLARE_STATIC_KEY_FALSE(fastsocket_refs_enabled);

void __fastsocket_get_ref(struct net *net, enum fastsocket_counter counter, bool resumes);
void __fastsocket_put_ref(struct net *net, enum fastsocket_counter counter);
void __fastsocket_settle(struct net *net, enum fastsocket_counter counter);
void __fastsocket_get_tw(struct net *net);
bool __fastsocket_tw_is_full(struct net *net);

/* For fastsocket.ko. */
void fastsocket_put_refs(struct net *net, enum fastsocket_counter counter, u32 number);
bool fastsocket_is_in(const struct net *net);
int fastsocket_refs_register(const struct fastsocket_refs_ops *ops);
void fastsocket_refs_unregister(void);

/**
 * fastsocket_get_net_track() - get_net_track() for a socket.
 * @net: the namespace, which is kept.
 * @tracker: that of the socket.
 * @gfp: to allocate what it needs.
 * @resumes: is it current that makes the socket? A task in a namespace has
 *	still to leave it, see fastsocket_net_left().
 */
static inline void fastsocket_get_net_track(struct net *net, netns_tracker *tracker,
					    gfp_t gfp, bool resumes)
{
	if (!static_branch_unlikely(&fastsocket_refs_enabled)) {
		get_net_track(net, tracker, gfp);
		return;
	}
	__fastsocket_get_ref(net, FASTSOCKET_NAMESPACE, resumes && fastsocket_is_in(net));
	netns_tracker_alloc(net, tracker, gfp);
}

/**
 * fastsocket_put_net_track() - put_net_track() for a socket.
 * @net: the namespace.
 * @tracker: that of the socket.
 */
static inline void fastsocket_put_net_track(struct net *net, netns_tracker *tracker)
{
	if (!static_branch_unlikely(&fastsocket_refs_enabled)) {
		put_net_track(net, tracker);
		return;
	}
	__netns_tracker_free(net, tracker, true);
	__fastsocket_put_ref(net, FASTSOCKET_NAMESPACE);
}

/**
 * fastsocket_net_left() - tasks have left a namespace, or its file was closed.
 * @net: the namespace, to which they give a reference up afterwards.
 *
 * If it was the last, the namespace goes now.
 *
 * Context: process.
 */
static inline void fastsocket_net_left(struct net *net)
{
	if (static_branch_unlikely(&fastsocket_refs_enabled))
		__fastsocket_settle(net, FASTSOCKET_NAMESPACE);
}

/* Is @dr that of TCP in @net, and not of another protocol? */
static inline bool fastsocket_counts_tw(const struct net *net,
					const struct inet_timewait_death_row *dr)
{
	return static_branch_unlikely(&fastsocket_refs_enabled) &&
	       dr == &net->ipv4.tcp_death_row;
}

/**
 * fastsocket_get_tw() - count a TIME_WAIT socket.
 * @net: its namespace.
 * @dr: where it counts.
 */
static inline void fastsocket_get_tw(struct net *net, struct inet_timewait_death_row *dr)
{
	if (fastsocket_counts_tw(net, dr))
		__fastsocket_get_tw(net);
	else
		refcount_inc(&dr->tw_refcount);
}

/**
 * fastsocket_put_tw() - a TIME_WAIT socket counts no more.
 * @net: its namespace.
 * @dr: where it counts.
 */
static inline void fastsocket_put_tw(struct net *net, struct inet_timewait_death_row *dr)
{
	if (fastsocket_counts_tw(net, dr))
		__fastsocket_put_ref(net, FASTSOCKET_TIME_WAIT);
	else
		refcount_dec(&dr->tw_refcount);
}

/**
 * fastsocket_tw_is_full() - are there as many TIME_WAIT sockets as may be?
 * @net: a namespace, that has counted so many.
 * @dr: where they count.
 */
static inline bool fastsocket_tw_is_full(struct net *net,
					 const struct inet_timewait_death_row *dr)
{
	return !fastsocket_counts_tw(net, dr) || __fastsocket_tw_is_full(net);
}

/**
 * fastsocket_settle_tw() - somebody asks how many TIME_WAIT sockets there are.
 * @net: the namespace.
 *
 * The counter is exact when this returns, unless another CPU is about to do it.
 */
static inline void fastsocket_settle_tw(struct net *net)
{
	if (static_branch_unlikely(&fastsocket_refs_enabled))
		__fastsocket_settle(net, FASTSOCKET_TIME_WAIT);
}

#else

static inline void fastsocket_get_net_track(struct net *net, netns_tracker *tracker,
					    gfp_t gfp, bool resumes)
{
	get_net_track(net, tracker, gfp);
}

static inline void fastsocket_put_net_track(struct net *net, netns_tracker *tracker)
{
	put_net_track(net, tracker);
}

static inline void fastsocket_net_left(struct net *net)
{
}

static inline void fastsocket_get_tw(struct net *net, struct inet_timewait_death_row *dr)
{
	refcount_inc(&dr->tw_refcount);
}

static inline void fastsocket_put_tw(struct net *net, struct inet_timewait_death_row *dr)
{
	refcount_dec(&dr->tw_refcount);
}

static inline bool fastsocket_tw_is_full(struct net *net,
					 const struct inet_timewait_death_row *dr)
{
	return true;
}

static inline void fastsocket_settle_tw(struct net *net)
{
}

#endif /* CONFIG_FASTSOCKET_HOOKS */

#endif /* _NET_FASTSOCKET_REFS_H */
