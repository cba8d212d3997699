/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fastsocket: the input route of a local address, one for each CPU.
 *
 * Each socket keeps a reference to the route that its packets came by.  IPv4
 * has one for all that is for a local address, so that all CPUs count in it,
 * twice a connection.  While fastsocket.ko is there, each CPU has its own, as
 * it has for output, and as IPv6 has for both.
 *
 * Included where routes are cached.
 */
#ifndef _NET_FASTSOCKET_ROUTE_H
#define _NET_FASTSOCKET_ROUTE_H

#include <net/fastsocket_refs.h>
#include <net/ip_fib.h>

#ifdef CONFIG_FASTSOCKET_HOOKS

struct rtable __rcu * __percpu *__fastsocket_get_input_routes(struct fib_nh_common *nhc);

/**
 * fastsocket_input_routes() - the input routes of a local address, by CPU.
 * @nhc: the next hop, which for a local address is the device that has it.
 *
 * Return: them, or NULL if there are none yet.
 */
static inline struct rtable __rcu * __percpu *
fastsocket_input_routes(const struct fib_nh_common *nhc)
{
	return READ_ONCE(nhc->nhc_pcpu_rth_input);
}

/**
 * fastsocket_get_input_routes() - the same, to be used.
 * @nhc: the next hop.
 *
 * Context: any, under RCU.
 * Return: NULL if all CPUs are to have the same one.
 */
static inline struct rtable __rcu * __percpu *
fastsocket_get_input_routes(struct fib_nh_common *nhc)
{
	if (!static_branch_unlikely(&fastsocket_refs_enabled))
		return NULL;
	return fastsocket_input_routes(nhc) ?: __fastsocket_get_input_routes(nhc);
}

#else

static inline struct rtable __rcu * __percpu *
fastsocket_input_routes(const struct fib_nh_common *nhc)
{
	return NULL;
}

static inline struct rtable __rcu * __percpu *
fastsocket_get_input_routes(struct fib_nh_common *nhc)
{
	return NULL;
}

#endif /* CONFIG_FASTSOCKET_HOOKS */

#endif /* _NET_FASTSOCKET_ROUTE_H */
