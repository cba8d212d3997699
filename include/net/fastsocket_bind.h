/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fastsocket: the sockets that are bound to the port of a spawned listener.
 *
 * A port has a bucket, in whose lists all sockets are that are bound to it:
 * each connection that a listener makes goes in, and again as TIME_WAIT socket,
 * under two locks that all CPUs share.  The bucket of a spawned listener has a
 * "shard" for each CPU: a list with a lock of its own, where the children are
 * that the CPU made.  bind(2) looks at the shards as at the bucket's own lists,
 * so that it decides as ever; and the bucket stays while a shard has a socket.
 *
 * icsk_bind_hash (tw_tb) of such a child is the bucket, as ever;
 * icsk_bind2_hash (tw_tb2) is its shard, with the lowest bit set.
 *
 * Included where the buckets are kept.
 */
#ifndef _NET_FASTSOCKET_BIND_H
#define _NET_FASTSOCKET_BIND_H

#include <linux/jump_label.h>
#include <net/inet_hashtables.h>
#include <net/inet_timewait_sock.h>

struct fastsocket_shard;

#ifdef CONFIG_FASTSOCKET_HOOKS

/* On since the module was there for the first time: children may outlive it. */
DECLARE_STATIC_KEY_FALSE(fastsocket_bind_enabled);

bool __fastsocket_inherit_port(const struct sock *sk, struct sock *child);
void __fastsocket_put_port(struct sock *sk, struct fastsocket_shard *shard);
void __fastsocket_unlisten(struct sock *sk);
void __fastsocket_bind_tw(struct inet_timewait_sock *tw, const struct sock *sk,
			  struct fastsocket_shard *shard);
void __fastsocket_unbind_tw(struct inet_timewait_sock *tw,
			    struct fastsocket_shard *shard);
bool fastsocket_any_sharded(const struct inet_bind_bucket *tb,
			    bool (*test)(struct sock *sk2, const void *data),
			    const void *data);
void __fastsocket_unshard(struct sock *sk, struct fastsocket_shard *shard);
bool __fastsocket_has_sharded(const struct inet_bind_bucket *tb);
void __fastsocket_free_shards(struct inet_bind_bucket *tb);

/**
 * fastsocket_shard() - the shard that a socket is at.
 * @tb2: its icsk_bind2_hash or tw_tb2.
 *
 * Return: NULL if it is in a bucket's own list, or in none.
 */
static inline struct fastsocket_shard *fastsocket_shard(const struct inet_bind2_bucket *tb2)
{
	if (static_branch_unlikely(&fastsocket_bind_enabled) && (unsigned long)tb2 & 1)
		return (void *)((unsigned long)tb2 - 1);
	return NULL;
}

/**
 * fastsocket_inherit_port() - bind a child to its listener's port.
 * @sk: the listener.
 * @child: a child of it, new.
 *
 * Context: BHs are off.
 * Return: false if the child has to go to a bucket's own list.
 */
static inline bool fastsocket_inherit_port(const struct sock *sk, struct sock *child)
{
	return static_branch_unlikely(&fastsocket_bind_enabled) &&
	       __fastsocket_inherit_port(sk, child);
}

/**
 * fastsocket_put_port() - a socket gives its port up.
 * @sk: the socket, which is bound.
 *
 * Context: BHs are off.
 * Return: false if it is in a bucket's own list.
 */
static inline bool fastsocket_put_port(struct sock *sk)
{
	struct fastsocket_shard *shard = fastsocket_shard(inet_csk(sk)->icsk_bind2_hash);

	if (shard)
		__fastsocket_put_port(sk, shard);
	return shard;
}

/**
 * fastsocket_unlisten() - a socket that is not at a shard gives its port up.
 * @sk: the socket, maybe a spawned listener, whose children are at shards.
 *
 * Context: BHs are off, the lock of the port's bhash bucket is held.
 */
static inline void fastsocket_unlisten(struct sock *sk)
{
	if (static_branch_unlikely(&fastsocket_bind_enabled))
		__fastsocket_unlisten(sk);
}

/**
 * fastsocket_bind_tw() - a TIME_WAIT socket joins the socket that it replaces.
 * @tw: the TIME_WAIT socket.
 * @sk: the socket, which is bound.
 *
 * Context: BHs are off.
 * Return: false if @sk is in a bucket's own list.
 */
static inline bool fastsocket_bind_tw(struct inet_timewait_sock *tw, const struct sock *sk)
{
	struct fastsocket_shard *shard = fastsocket_shard(inet_csk(sk)->icsk_bind2_hash);

	if (shard)
		__fastsocket_bind_tw(tw, sk, shard);
	return shard;
}

/**
 * fastsocket_unbind_tw() - a TIME_WAIT socket gives its port up.
 * @tw: the socket, kept by the caller.
 *
 * Context: BHs are off.
 * Return: false if it is in a bucket's own list, or in none.
 */
static inline bool fastsocket_unbind_tw(struct inet_timewait_sock *tw)
{
	struct fastsocket_shard *shard = fastsocket_shard(READ_ONCE(tw->tw_tb2));

	if (shard)
		__fastsocket_unbind_tw(tw, shard);
	return shard;
}

/**
 * fastsocket_has_shards() - may a bucket have sockets beside those in its lists?
 * @tb: the bucket, whose lock is held.
 */
static inline bool fastsocket_has_shards(const struct inet_bind_bucket *tb)
{
	return static_branch_unlikely(&fastsocket_bind_enabled) && tb->shards;
}

/**
 * fastsocket_unshard() - a socket that stays bound is to have another address.
 * @sk: the socket.
 *
 * Context: BHs are off, the lock of the port's bhash bucket is held.
 * Return: false if it is in a bucket's own list, else it is in none.
 */
static inline bool fastsocket_unshard(struct sock *sk)
{
	struct fastsocket_shard *shard = fastsocket_shard(inet_csk(sk)->icsk_bind2_hash);

	if (shard)
		__fastsocket_unshard(sk, shard);
	return shard;
}

/**
 * fastsocket_bucket_is_empty() - is no socket bound to a port any more?
 * @tb: the bucket of the port, whose lock is held.
 */
static inline bool fastsocket_bucket_is_empty(const struct inet_bind_bucket *tb)
{
	return hlist_empty(&tb->bhash2) &&
	       !(fastsocket_has_shards(tb) && __fastsocket_has_sharded(tb));
}

/**
 * fastsocket_free_shards() - a bucket is freed.
 * @tb: the bucket, which is empty.
 */
static inline void fastsocket_free_shards(struct inet_bind_bucket *tb)
{
	if (fastsocket_has_shards(tb))
		__fastsocket_free_shards(tb);
}

/* A new bucket has none. */
static inline void fastsocket_init_shards(struct inet_bind_bucket *tb)
{
	tb->shards = NULL;
}

#else

static inline bool fastsocket_inherit_port(const struct sock *sk, struct sock *child)
{
	return false;
}

static inline bool fastsocket_put_port(struct sock *sk)
{
	return false;
}

static inline void fastsocket_unlisten(struct sock *sk)
{
}

static inline bool fastsocket_bind_tw(struct inet_timewait_sock *tw, const struct sock *sk)
{
	return false;
}

static inline bool fastsocket_unbind_tw(struct inet_timewait_sock *tw)
{
	return false;
}

static inline struct fastsocket_shard *fastsocket_shard(const struct inet_bind2_bucket *tb2)
{
	return NULL;
}

static inline bool fastsocket_any_sharded(const struct inet_bind_bucket *tb,
					  bool (*test)(struct sock *sk2, const void *data),
					  const void *data)
{
	return false;
}

static inline bool fastsocket_has_shards(const struct inet_bind_bucket *tb)
{
	return false;
}

static inline bool fastsocket_unshard(struct sock *sk)
{
	return false;
}

static inline bool fastsocket_bucket_is_empty(const struct inet_bind_bucket *tb)
{
	return hlist_empty(&tb->bhash2);
}

static inline void fastsocket_free_shards(struct inet_bind_bucket *tb)
{
}

static inline void fastsocket_init_shards(struct inet_bind_bucket *tb)
{
}

#endif /* CONFIG_FASTSOCKET_HOOKS */

/**
 * fastsocket_same_bucket() - would two sockets be in one bhash2 bucket?
 * @sk: a socket.
 * @sk2: another one, or a TIME_WAIT socket, that is bound to the same port.
 */
static inline bool fastsocket_same_bucket(const struct sock *sk, const struct sock *sk2)
{
#if IS_ENABLED(CONFIG_IPV6)
	struct in6_addr mapped;

	if (sk->sk_family == AF_INET6 && sk2->sk_family == AF_INET6)
		return ipv6_addr_equal(&sk->sk_v6_rcv_saddr, &sk2->sk_v6_rcv_saddr);
	if (sk->sk_family == AF_INET6 || sk2->sk_family == AF_INET6) {
		const struct sock *v6 = sk->sk_family == AF_INET6 ? sk : sk2;
		const struct sock *v4 = v6 == sk ? sk2 : sk;

		ipv6_addr_set_v4mapped(v4->sk_rcv_saddr, &mapped);
		return ipv6_addr_equal(&v6->sk_v6_rcv_saddr, &mapped);
	}
#endif
	return sk->sk_rcv_saddr == sk2->sk_rcv_saddr;
}

#endif /* _NET_FASTSOCKET_BIND_H */
