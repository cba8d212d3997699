// SPDX-License-Identifier: GPL-2.0
/*
 * Fastsocket: the shards of a port's bucket, see <net/fastsocket_bind.h>.
 *
 * Built in, since a TIME_WAIT socket is at a shard when the module may have
 * gone; and in C because what is in a shard are lists of sockets, that bind()
 * walks under its own locks and by macros.
 *
 * Locks: that of the bhash bucket, then that of bhash2, then that of a shard.
 *
 * A bucket whose listeners are all gone is freed by who leaves it last. As long
 * as one is there, nobody who leaves a shard has to know whether he is the
 * last; then the shards are closed, and those that still had sockets counted:
 * who empties one of those counts down, and who gets to 0 frees the bucket, if
 * it is still there, and as it was: another socket may have been quicker, or
 * bound to the port, and opened the shards again.
 */

#include <linux/export.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <net/fastsocket.h>
#include <net/fastsocket_bind.h>
#include <net/sock.h>
#include <net/tcp.h>

#include "../internal.h"

/**
 * struct fastsocket_shard - the sockets of a port that a CPU made.
 * @lock: of the rest; bind() compares under it, as under the bucket's
 * @closed: no more sockets: no listener is there whose children they would be
 * @owners: linked as in inet_bind2_bucket.owners
 * @shards: those that it is one of
 */
struct fastsocket_shard {
	spinlock_t		lock;	/* of the rest */
	bool			closed;
	struct hlist_head	owners;
	struct fastsocket_shards *shards;
};

/**
 * struct fastsocket_shards - what a bucket has for each CPU.
 * @tb: the bucket, while a shard is open or has a socket
 * @net: that of the bucket, which lives as long as a socket is bound
 * @hashinfo: where the bucket is
 * @port: that of the bucket
 * @listeners: how many sockets' children are at them; under the bhash lock
 * @left: while they are closed, how many are not empty
 * @shard: by CPU
 * @rcu: to free it by
 */
struct fastsocket_shards {
	struct inet_bind_bucket	*tb;
	struct net		*net;
	struct inet_hashinfo	*hashinfo;
	unsigned short		port;
	unsigned int		listeners;
	atomic_t		left;
	struct fastsocket_shard __percpu *shard;
	struct rcu_head		rcu;
};

DEFINE_STATIC_KEY_FALSE(fastsocket_bind_enabled);
EXPORT_SYMBOL_GPL(fastsocket_bind_enabled);

static struct inet_bind2_bucket *fastsocket_tag(struct fastsocket_shard *shard)
{
	return (void *)((unsigned long)shard | 1);
}

static struct inet_bind_hashbucket *fastsocket_bhash(const struct fastsocket_shards *shards)
{
	struct inet_hashinfo *hashinfo = shards->hashinfo;

	return &hashinfo->bhash[inet_bhashfn(shards->net, shards->port,
					     hashinfo->bhash_size)];
}

/* --- the sockets at a shard -------------------------------------------- */

/* On its own, so that a child that is at none saves no registers. */
static noinline bool fastsocket_add_owner(const struct fastsocket_shards *shards,
					  struct sock *child)
{
	struct fastsocket_shard *shard;
	bool open;

	/* TPROXY gives a child another port than its listener's. */
	if (shards->port != inet_sk(child)->inet_num)
		return false;
	shard = this_cpu_ptr(shards->shard);
	spin_lock(&shard->lock);
	open = !shard->closed;
	if (open) {
		inet_csk(child)->icsk_bind_hash = shards->tb;
		inet_csk(child)->icsk_bind2_hash = fastsocket_tag(shard);
		sk_add_bind_node(child, &shard->owners);
	}
	spin_unlock(&shard->lock);
	return open;
}

bool __fastsocket_inherit_port(const struct sock *sk, struct sock *child)
{
	const struct fastsocket_slots *slots = fastsocket_slots_in_use(sk);
	const struct fastsocket_shards *shards = slots ? READ_ONCE(slots->shards) : NULL;

	return shards && fastsocket_add_owner(shards, child);
}

/* A socket was taken out. Was it the last of all? */
static bool fastsocket_was_last(const struct fastsocket_shard *shard)
{
	return shard->closed && hlist_empty(&shard->owners) &&
	       atomic_dec_and_test(&shard->shards->left);
}

/* The shards were emptied after they were closed. BHs are off since. */
static void fastsocket_free_bucket(const struct fastsocket_shards *shards)
{
	struct inet_bind_hashbucket *head = fastsocket_bhash(shards);
	struct inet_bind_bucket *tb;

	spin_lock(&head->lock);
	inet_bind_bucket_for_each(tb, &head->chain) {
		if (tb->shards == shards) {
			inet_bind_bucket_destroy(shards->hashinfo->bind_bucket_cachep, tb);
			break;
		}
	}
	spin_unlock(&head->lock);
}

void __fastsocket_put_port(struct sock *sk, struct fastsocket_shard *shard)
{
	bool last;

	spin_lock(&shard->lock);
	__sk_del_bind_node(sk);
	inet_csk(sk)->icsk_bind_hash = NULL;
	inet_csk(sk)->icsk_bind2_hash = NULL;
	inet_sk(sk)->inet_num = 0;
	last = fastsocket_was_last(shard);
	spin_unlock(&shard->lock);
	if (last)
		fastsocket_free_bucket(shard->shards);
}

void __fastsocket_bind_tw(struct inet_timewait_sock *tw, const struct sock *sk,
			  struct fastsocket_shard *shard)
{
	spin_lock(&shard->lock);
	tw->tw_tb = inet_csk(sk)->icsk_bind_hash;
	tw->tw_tb2 = fastsocket_tag(shard);
	sk_add_bind_node((struct sock *)tw, &shard->owners);
	spin_unlock(&shard->lock);
}

void __fastsocket_unbind_tw(struct inet_timewait_sock *tw,
			    struct fastsocket_shard *shard)
{
	bool last = false, bound;

	spin_lock(&shard->lock);
	bound = tw->tw_tb;
	if (bound) {
		__sk_del_bind_node((struct sock *)tw);
		tw->tw_tb = NULL;
		WRITE_ONCE(tw->tw_tb2, NULL);
		last = fastsocket_was_last(shard);
	}
	spin_unlock(&shard->lock);
	if (last)
		fastsocket_free_bucket(shard->shards);
	if (bound)
		__sock_put((struct sock *)tw);
}

/* --- what a bucket has to know of them --------------------------------- */

/**
 * fastsocket_any_sharded() - is there such a socket at the shards of a bucket?
 * @tb: the bucket, which has shards, and whose lock is held.
 * @test: whether it is one; under the lock of a shard.
 * @data: its argument.
 *
 * Context: BHs are off.
 */
bool fastsocket_any_sharded(const struct inet_bind_bucket *tb,
			    bool (*test)(struct sock *sk2, const void *data),
			    const void *data)
{
	struct fastsocket_shard *shard;
	struct sock *sk2;
	bool any = false;
	int cpu;

	for_each_possible_cpu(cpu) {
		shard = per_cpu_ptr(tb->shards->shard, cpu);
		/* One that comes now could as well come later. */
		if (hlist_empty(&shard->owners))
			continue;
		spin_lock(&shard->lock);
		sk_for_each_bound(sk2, &shard->owners) {
			any = test(sk2, data);
			if (any)
				break;
		}
		spin_unlock(&shard->lock);
		if (any)
			return true;
	}
	return false;
}

/* It joins a bucket's own list, under the bhash lock: that stays. */
void __fastsocket_unshard(struct sock *sk, struct fastsocket_shard *shard)
{
	spin_lock(&shard->lock);
	__sk_del_bind_node(sk);
	fastsocket_was_last(shard);
	spin_unlock(&shard->lock);
}

bool __fastsocket_has_sharded(const struct inet_bind_bucket *tb)
{
	int cpu;

	/* None comes any more if no listener is bound; who goes looks here, too. */
	for_each_possible_cpu(cpu) {
		if (!hlist_empty(&per_cpu_ptr(tb->shards->shard, cpu)->owners))
			return true;
	}
	return false;
}

static void fastsocket_free_rcu(struct rcu_head *rcu)
{
	struct fastsocket_shards *shards = container_of(rcu, struct fastsocket_shards, rcu);

	free_percpu(shards->shard);
	kfree(shards);
}

void __fastsocket_free_shards(struct inet_bind_bucket *tb)
{
	/* Who emptied a shard may be about to look for the bucket. */
	call_rcu(&tb->shards->rcu, fastsocket_free_rcu);
	tb->shards = NULL;
}

/* --- listeners --------------------------------------------------------- */

/* Under the bhash lock. */
static void fastsocket_open_shards(struct fastsocket_shards *shards)
{
	struct fastsocket_shard *shard;
	int cpu;

	for_each_possible_cpu(cpu) {
		shard = per_cpu_ptr(shards->shard, cpu);
		spin_lock(&shard->lock);
		shard->closed = false;
		spin_unlock(&shard->lock);
	}
}

/* Under the bhash lock; the last listener is bound until that is released. */
static noinline void fastsocket_close_shards(struct fastsocket_shards *shards)
{
	struct fastsocket_shard *shard;
	int cpu;

	/* One for us, so that nobody is the last meanwhile. */
	atomic_set(&shards->left, 1);
	for_each_possible_cpu(cpu) {
		shard = per_cpu_ptr(shards->shard, cpu);
		spin_lock(&shard->lock);
		shard->closed = true;
		if (!hlist_empty(&shard->owners))
			atomic_inc(&shards->left);
		spin_unlock(&shard->lock);
	}
	/* If all are empty, who releases the lock frees the bucket. */
	atomic_dec(&shards->left);
}

void __fastsocket_unlisten(struct sock *sk)
{
	struct fastsocket_slots *slots = fastsocket_slots(sk);
	struct fastsocket_shards *shards = slots ? slots->shards : NULL;

	if (!shards)
		return;
	/* Who has read it does not use it longer than until BHs are on. */
	WRITE_ONCE(slots->shards, NULL);
	if (!--shards->listeners)
		fastsocket_close_shards(shards);
}

/*
 * fastsocket_unshard_port() - the slots of a listener are about to go, by which
 * its shards are found when it gives its port up.
 */
void fastsocket_unshard_port(struct sock *sk)
{
	struct fastsocket_shards *shards = READ_ONCE(fastsocket_slots(sk)->shards);
	struct inet_bind_hashbucket *head;

	if (!shards)
		return;
	head = fastsocket_bhash(shards);
	spin_lock_bh(&head->lock);
	__fastsocket_unlisten(sk);
	spin_unlock_bh(&head->lock);
}

static struct fastsocket_shards *fastsocket_alloc_shards(void)
{
	struct fastsocket_shards *shards = kzalloc(sizeof(*shards), GFP_KERNEL_ACCOUNT);
	int cpu;

	if (!shards)
		return NULL;
	shards->shard = alloc_percpu_gfp(struct fastsocket_shard, GFP_KERNEL_ACCOUNT);
	if (!shards->shard) {
		kfree(shards);
		return NULL;
	}
	for_each_possible_cpu(cpu) {
		struct fastsocket_shard *shard = per_cpu_ptr(shards->shard, cpu);

		spin_lock_init(&shard->lock);
		INIT_HLIST_HEAD(&shard->owners);
		shard->closed = true;
		shard->shards = shards;
	}
	return shards;
}

/**
 * fastsocket_shard_port() - let the children of a listener be bound at shards.
 * @sk: a spawned listener, kept by the caller. Nothing happens if its children
 *	are already, or if it is not bound any more.
 *
 * Context: process, sleeps.
 * Return: 0 or -ENOMEM.
 */
int fastsocket_shard_port(struct sock *sk)
{
	struct inet_hashinfo *hashinfo = sock_net(sk)->ipv4.tcp_death_row.hashinfo;
	struct fastsocket_slots *slots = fastsocket_slots(sk);
	unsigned short port = READ_ONCE(inet_sk(sk)->inet_num);
	struct inet_bind_hashbucket *head;
	struct fastsocket_shards *shards;
	struct inet_bind_bucket *tb;

	if (READ_ONCE(slots->shards))
		return 0;
	shards = fastsocket_alloc_shards();
	if (!shards)
		return -ENOMEM;

	head = &hashinfo->bhash[inet_bhashfn(sock_net(sk), port, hashinfo->bhash_size)];
	spin_lock_bh(&head->lock);
	tb = inet_csk(sk)->icsk_bind_hash;
	/* It may have lost its port meanwhile, and have got another one. */
	if (tb && inet_sk(sk)->inet_num == port && !slots->shards) {
		if (!tb->shards) {
			shards->tb = tb;
			shards->net = sock_net(sk);
			shards->hashinfo = hashinfo;
			shards->port = port;
			tb->shards = shards;
			shards = NULL;
		}
		if (!tb->shards->listeners++)
			fastsocket_open_shards(tb->shards);
		WRITE_ONCE(slots->shards, tb->shards);
	}
	spin_unlock_bh(&head->lock);
	if (shards)
		fastsocket_free_rcu(&shards->rcu);
	return 0;
}
EXPORT_SYMBOL_GPL(fastsocket_shard_port);

/**
 * fastsocket_bind_enable() - let buckets have shards, from now on for ever.
 *
 * Context: process, sleeps.
 */
void fastsocket_bind_enable(void)
{
	static_branch_enable(&fastsocket_bind_enabled);
}
EXPORT_SYMBOL_GPL(fastsocket_bind_enable);
