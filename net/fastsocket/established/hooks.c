// SPDX-License-Identifier: GPL-2.0
/*
 * Fastsocket, the built-in half of established: connections in the established
 * table at home, for fastsocket.ko.
 *
 * Built in and in C because each packet comes here, because there are no static
 * keys for Rust, and because sockets that are at home outlive the module.
 */

#include <linux/cpumask.h>
#include <linux/export.h>
#include <linux/rcupdate.h>
#include <linux/static_call.h>
#include <net/fastsocket_established.h>
#include <net/fastsocket_steer.h>
#include <net/inet_sock.h>
#include <net/tcp_states.h>
#include <trace/events/fastsocket.h>

DEFINE_STATIC_KEY_FALSE(fastsocket_established_enabled);
EXPORT_SYMBOL_GPL(fastsocket_established_enabled);

static const struct fastsocket_established_ops *fastsocket_ops;

static bool fastsocket_no_home(const struct net *net, unsigned int cpu)
{
	return false;
}

static void fastsocket_no_count(const struct net *net)
{
}

DEFINE_STATIC_CALL(fastsocket_established_home, fastsocket_no_home);
DEFINE_STATIC_CALL(fastsocket_established_placed, fastsocket_no_count);
DEFINE_STATIC_CALL(fastsocket_established_foreign, fastsocket_no_count);

/**
 * fastsocket_ehash_divide() - how a table is divided.
 * @hashinfo: a table that is being made; its size is known.
 *
 * Where CPUs would have few buckets each, no place is at home.
 *
 * Context: process.
 */
void fastsocket_ehash_divide(struct inet_hashinfo *hashinfo)
{
	u64 home = (u64)FASTSOCKET_NEIGHBOURS << fastsocket_cpu_bits;

	if (nr_cpu_ids == 1 || 16 * home > (u64)hashinfo->ehash_mask + 1)
		home = 0;
	/* The two bits above those of the CPU. */
	hashinfo->ehash_home = 3 * home;
}

/*
 * So many sockets in a bucket at home send the next ones elsewhere: somebody may
 * choose ports and addresses so that all are in few of them.
 */
#define FASTSOCKET_MOST_AT_HOME	8

static bool fastsocket_is_full(const struct inet_hashinfo *hashinfo, u32 hash)
{
	const struct hlist_nulls_head *list = &hashinfo->ehash[hash & hashinfo->ehash_mask].chain;
	const struct hlist_nulls_node *node;
	const struct sock *sk;
	int n = 0;

	/* Not exactly: they come and go. */
	rcu_read_lock();
	sk_nulls_for_each_rcu(sk, node, list)
		if (++n >= FASTSOCKET_MOST_AT_HOME)
			break;
	rcu_read_unlock();
	return n >= FASTSOCKET_MOST_AT_HOME;
}

u32 __fastsocket_place(const struct inet_hashinfo *hashinfo, u32 natural,
		       const struct sock *sk, u16 lport)
{
	u32 plain = fastsocket_plain(hashinfo, natural), home;
	u16 port = ntohs(sk->sk_dport);

	/*
	 * Only who comes first, what sends a SYN and what one makes, and if the
	 * client's port is the higher one. Children without a request (from a
	 * cookie) are as ever.
	 */
	if (!(sk->sk_state == TCP_SYN_SENT && lport > port) &&
	    !(sk->sk_state == TCP_NEW_SYN_RECV && port > lport))
		return plain;
	home = fastsocket_home(hashinfo, natural, lport, port);
	if (!static_call(fastsocket_established_home)(sock_net(sk),
						      fastsocket_home_cpu(hashinfo, home)) ||
	    fastsocket_is_full(hashinfo, home))
		return plain;
	return home;
}

static int fastsocket_home_of(const struct sock *sk)
{
	return fastsocket_home_cpu(tcp_or_dccp_get_hashinfo(sk), sk->sk_hash);
}

void __fastsocket_placed(const struct sock *sk)
{
	if (trace_fastsocket_home_enabled())
		trace_fastsocket_home(sk, fastsocket_home_of(sk));
	static_call(fastsocket_established_placed)(sock_net(sk));
}

void __fastsocket_found(const struct sock *sk)
{
	if (trace_fastsocket_foreign_hit_enabled())
		trace_fastsocket_foreign_hit(sk, fastsocket_home_of(sk));
	static_call(fastsocket_established_foreign)(sock_net(sk));
}

/**
 * fastsocket_established_register() - connect the module to the hooks.
 * @ops: what to call; must stay valid until
 *	fastsocket_established_unregister() returns.
 *
 * Context: process, may sleep.
 * Return: 0, or -EBUSY if a module is connected.
 */
int fastsocket_established_register(const struct fastsocket_established_ops *ops)
{
	if (cmpxchg(&fastsocket_ops, NULL, ops))
		return -EBUSY;
	/* Whoever looks for a socket looks at home, before one is there. */
	static_branch_enable(&fastsocket_established_enabled);
	synchronize_net();
	static_call_update(fastsocket_established_placed, ops->placed);
	static_call_update(fastsocket_established_foreign, ops->foreign);
	static_call_update(fastsocket_established_home, ops->home);
	return 0;
}
EXPORT_SYMBOL_GPL(fastsocket_established_register);

/**
 * fastsocket_established_unregister() - disconnect the module.
 *
 * What is at home stays there, and is found.  When this returns no CPU is in a
 * hook.
 *
 * Context: process, may sleep.
 */
void fastsocket_established_unregister(void)
{
	static_call_update(fastsocket_established_home, fastsocket_no_home);
	static_call_update(fastsocket_established_placed, fastsocket_no_count);
	static_call_update(fastsocket_established_foreign, fastsocket_no_count);
	WRITE_ONCE(fastsocket_ops, NULL);
	synchronize_rcu();
}
EXPORT_SYMBOL_GPL(fastsocket_established_unregister);
