/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fastsocket: a part of the established table for each CPU.
 *
 * The buckets of the table lie anywhere, so each connection writes lines of it
 * that another CPU had before.  Here a connection has two places: the one by
 * its hash, as ever, which is called plain; and one at home, in buckets and
 * under locks that belong to one CPU alone.  That CPU is named by the client's
 * port, which is to be the higher of the two: see net/fastsocket_steer.h.
 *
 * So both places follow from addresses and ports.  Who looks for a connection
 * looks at both, from whatever CPU, and is never wrong; where it is put is
 * only a question of what it costs.  fastsocket.ko puts it at home where that
 * is the CPU that does it.
 *
 * In a hash, with C bits for as many CPUs as there are:
 *
 *	| by hash | 2 bits | CPU, C bits  | by hash, 4 bits |
 *
 * The two bits are 11 at home only: a quarter of the table, which shares no
 * line with the rest.  The lowest four are the locks in a line.  All this is in
 * sk_hash, and whoever goes by that (to take a socket out, to list all) does as
 * ever.
 *
 * Included where sockets are put in or looked for.
 */
#ifndef _NET_FASTSOCKET_ESTABLISHED_H
#define _NET_FASTSOCKET_ESTABLISHED_H

#include <linux/jump_label.h>
#include <linux/smp.h>
#include <net/fastsocket_steer.h>
#include <net/inet_hashtables.h>

/* Buckets of a CPU that are neighbours: as many as there are locks in a line. */
#define FASTSOCKET_NEIGHBOURS	16U

/**
 * struct fastsocket_established_ops - what fastsocket.ko decides.
 * @home: is a connection to be at home, which is at @cpu? With softirqs disabled.
 * @placed: it was put there. With softirqs disabled.
 * @foreign: another CPU than that has found a connection that is at home. In
 *	any context, under RCU or with softirqs disabled.
 */
struct fastsocket_established_ops {
	bool (*home)(const struct net *net, unsigned int cpu);
	void (*placed)(const struct net *net);
	void (*foreign)(const struct net *net);
};

#ifdef CONFIG_FASTSOCKET_HOOKS

/* On since the module was there for the first time: sockets may outlive it. */
DECLARE_STATIC_KEY_FALSE(fastsocket_established_enabled);

u32 __fastsocket_place(const struct inet_hashinfo *hashinfo, u32 natural,
		       const struct sock *sk, u16 lport);
void __fastsocket_found(const struct sock *sk);
void __fastsocket_placed(const struct sock *sk);
void fastsocket_ehash_divide(struct inet_hashinfo *hashinfo);

/* For fastsocket.ko. */
int fastsocket_established_register(const struct fastsocket_established_ops *ops);
void fastsocket_established_unregister(void);

/* inet_hashinfo.ehash_home are the two bits; 0: no place is at home. */
static inline bool fastsocket_is_home(const struct inet_hashinfo *hashinfo, u32 hash)
{
	u32 home = hashinfo->ehash_home;

	return (hash & home) == home && home;
}

/* The place by the hash alone. */
static inline u32 fastsocket_plain(const struct inet_hashinfo *hashinfo, u32 hash)
{
	u32 home = hashinfo->ehash_home;

	return (hash & home) == home ? hash ^ home : hash;
}

/* Those of a table that has homes: the bits of the CPU. */
static inline u32 fastsocket_cpu_mask(const struct inet_hashinfo *hashinfo)
{
	return (hashinfo->ehash_home & -hashinfo->ehash_home) - FASTSOCKET_NEIGHBOURS;
}

static inline u32 fastsocket_home_cpu(const struct inet_hashinfo *hashinfo, u32 hash)
{
	return (hash & fastsocket_cpu_mask(hashinfo)) / FASTSOCKET_NEIGHBOURS;
}

/* The place at home, in a table that has such. */
static inline u32 fastsocket_home(const struct inet_hashinfo *hashinfo, u32 hash,
				  u16 port, u16 other_port)
{
	u32 cpus = fastsocket_cpu_mask(hashinfo);
	u32 cpu = fastsocket_named(max(port, other_port)) * FASTSOCKET_NEIGHBOURS;

	return (hash & ~cpus) | (cpu & cpus) | hashinfo->ehash_home;
}

/* Is anybody at home, or about to be? */
static inline bool fastsocket_has_homes(const struct inet_hashinfo *hashinfo)
{
	return static_branch_unlikely(&fastsocket_established_enabled) &&
	       hashinfo->ehash_home;
}

/**
 * fastsocket_at_home() - is a connection at home?
 * @sk: a TCP socket, that is or was in the table.
 *
 * Context: any.
 */
static inline bool fastsocket_at_home(const struct sock *sk)
{
	return static_branch_unlikely(&fastsocket_established_enabled) &&
	       fastsocket_is_home(tcp_or_dccp_get_hashinfo(sk), sk->sk_hash);
}

/**
 * fastsocket_first_place() - where to look for a connection first.
 * @hashinfo: the table.
 * @natural: what addresses and ports hash to.
 * @sport: the other side's port.
 * @hnum: the port here.
 *
 * Return: its place at home, if that is here: the lines are this CPU's then.
 */
static inline u32 fastsocket_first_place(const struct inet_hashinfo *hashinfo, u32 natural,
					 __be16 sport, u16 hnum)
{
	u32 home;

	if (fastsocket_has_homes(hashinfo)) {
		home = fastsocket_home(hashinfo, natural, ntohs(sport), hnum);
		if (fastsocket_home_cpu(hashinfo, home) == raw_smp_processor_id())
			return home;
	}
	return fastsocket_plain(hashinfo, natural);
}

/**
 * fastsocket_place() - where to put a socket.
 * @hashinfo: the table.
 * @natural: what its addresses and ports hash to.
 * @sk: the socket.
 * @lport: its port.
 * @osk: the one whose place it takes, or NULL.
 *
 * Return: its hash.
 */
static inline u32 fastsocket_place(const struct inet_hashinfo *hashinfo, u32 natural,
				   const struct sock *sk, u16 lport, const struct sock *osk)
{
	if (!fastsocket_has_homes(hashinfo))
		return fastsocket_plain(hashinfo, natural);
	if (!osk)
		return __fastsocket_place(hashinfo, natural, sk, lport);
	if (fastsocket_is_home(hashinfo, osk->sk_hash))
		return fastsocket_home(hashinfo, natural, lport, ntohs(sk->sk_dport));
	return fastsocket_plain(hashinfo, natural);
}

/**
 * fastsocket_other_place() - where a connection might be as well.
 * @hashinfo: the table.
 * @natural: what its addresses and ports hash to.
 * @hash: one of its places.
 * @port: one of its ports.
 * @other_port: the other.
 *
 * Return: its other place; @hash if it has none.
 */
static inline u32 fastsocket_other_place(const struct inet_hashinfo *hashinfo, u32 natural,
					 u32 hash, u16 port, u16 other_port)
{
	if (!fastsocket_has_homes(hashinfo))
		return hash;
	if (fastsocket_is_home(hashinfo, hash))
		return fastsocket_plain(hashinfo, natural);
	return fastsocket_home(hashinfo, natural, port, other_port);
}

/**
 * fastsocket_found() - a connection was not at its first place, but at the other.
 * @hashinfo: the table.
 * @sk: the socket.
 * @hash: where it was.
 */
static inline void fastsocket_found(const struct inet_hashinfo *hashinfo, const struct sock *sk,
				    u32 hash)
{
	if (fastsocket_is_home(hashinfo, hash))
		__fastsocket_found(sk);
}

/**
 * fastsocket_placed() - a socket has been put in, in the place of nobody.
 * @hashinfo: the table.
 * @sk: the socket.
 */
static inline void fastsocket_placed(const struct inet_hashinfo *hashinfo, const struct sock *sk)
{
	if (fastsocket_has_homes(hashinfo) && fastsocket_is_home(hashinfo, sk->sk_hash))
		__fastsocket_placed(sk);
}

/**
 * fastsocket_lock_places() - lock two places of a connection.
 * @hashinfo: the table.
 * @hash: one of them.
 * @other: the other, or the same again.
 *
 * Context: softirqs disabled.
 */
static inline void fastsocket_lock_places(struct inet_hashinfo *hashinfo, u32 hash, u32 other)
{
	spinlock_t *first = inet_ehash_lockp(hashinfo, min(hash, other));
	spinlock_t *second = inet_ehash_lockp(hashinfo, max(hash, other));

	/* Not by hash: locks are fewer. */
	if (first > second)
		swap(first, second);
	spin_lock(first);
	if (second != first)
		spin_lock_nested(second, SINGLE_DEPTH_NESTING);
}

static inline void fastsocket_unlock_places(struct inet_hashinfo *hashinfo, u32 hash, u32 other)
{
	spinlock_t *first = inet_ehash_lockp(hashinfo, hash);
	spinlock_t *second = inet_ehash_lockp(hashinfo, other);

	if (second != first)
		spin_unlock(second);
	spin_unlock(first);
}

#else

static inline u32 fastsocket_first_place(const struct inet_hashinfo *hashinfo, u32 natural,
					 __be16 sport, u16 hnum)
{
	return natural;
}

static inline void fastsocket_placed(const struct inet_hashinfo *hashinfo, const struct sock *sk)
{
}

static inline bool fastsocket_has_homes(const struct inet_hashinfo *hashinfo)
{
	return false;
}

static inline void fastsocket_found(const struct inet_hashinfo *hashinfo, const struct sock *sk,
				    u32 hash)
{
}

static inline bool fastsocket_at_home(const struct sock *sk)
{
	return false;
}

static inline u32 fastsocket_place(const struct inet_hashinfo *hashinfo, u32 natural,
				   const struct sock *sk, u16 lport, const struct sock *osk)
{
	return natural;
}

static inline u32 fastsocket_other_place(const struct inet_hashinfo *hashinfo, u32 natural,
					 u32 hash, u16 port, u16 other_port)
{
	return hash;
}

static inline void fastsocket_lock_places(struct inet_hashinfo *hashinfo, u32 hash, u32 other)
{
	spin_lock(inet_ehash_lockp(hashinfo, hash));
}

static inline void fastsocket_unlock_places(struct inet_hashinfo *hashinfo, u32 hash, u32 other)
{
	spin_unlock(inet_ehash_lockp(hashinfo, hash));
}

static inline void fastsocket_ehash_divide(struct inet_hashinfo *hashinfo)
{
}

#endif /* CONFIG_FASTSOCKET_HOOKS */

#endif /* _NET_FASTSOCKET_ESTABLISHED_H */
