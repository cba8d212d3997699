// SPDX-License-Identifier: GPL-2.0
/*
 * Fastsocket, the built-in half of refs: the input routes of local addresses.
 *
 * Built in and in C because they are part of the next hops, which outlive
 * fastsocket.ko, and because there are no static keys for Rust.
 */

#include <linux/jiffies.h>
#include <linux/percpu.h>
#include <net/fastsocket_route.h>

/*
 * An address that nobody sends to needs none: made when the first packet comes,
 * which is done with it if there is no memory.
 */
struct rtable __rcu * __percpu *__fastsocket_get_input_routes(struct fib_nh_common *nhc)
{
	struct rtable __rcu * __percpu *routes, * __percpu *others;
	static unsigned long pause = INITIAL_JIFFIES;

	/* Not for each packet. */
	if (time_before(jiffies, READ_ONCE(pause)))
		return NULL;
	routes = alloc_percpu_gfp(struct rtable __rcu *, GFP_ATOMIC | __GFP_NOWARN);
	if (!routes) {
		WRITE_ONCE(pause, jiffies + 1);
		return NULL;
	}
	others = cmpxchg(&nhc->nhc_pcpu_rth_input, NULL, routes);
	if (!others)
		return routes;
	free_percpu(routes);
	return others;
}
