// SPDX-License-Identifier: GPL-2.0
/*
 * Fastsocket: local listeners.
 *
 * A local listener is a copy of a listening TCP socket that is in no hash
 * table and no file, and that takes SYNs of one CPU.  In C, and built in,
 * because it goes through the fields of the TCP socket one by one, much of it
 * with functions that are not exported.
 */

#include <linux/bpf.h>
#include <linux/export.h>
#include <linux/filter.h>
#include <linux/ipv6.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/tcp.h>
#include <net/fastsocket.h>
#include <net/inet_common.h>
#include <net/inet_connection_sock.h>
#include <net/inet_sock.h>
#include <net/ipv6.h>
#include <net/mptcp.h>
#include <net/sock.h>
#include <net/sock_reuseport.h>
#include <net/tcp.h>

#include "internal.h"

/**
 * fastsocket_can_clone() - may a listener have local listeners?
 * @sk: the listener, locked by the caller.
 *
 * Kernel sockets, and sockets on which another layer put its own callbacks or
 * data, may not: that layer knows of one socket. Neither may sockets with TCP
 * signature keys: the keys are lists that change under the socket's lock.
 */
bool fastsocket_can_clone(const struct sock *sk)
{
	void (*destruct)(struct sock *sk) = inet_sock_destruct;
	const struct tcp_sock *tp = tcp_sk(sk);

#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6)
		destruct = inet6_sock_destruct;
#endif

	if (!sk->sk_socket || !sk->sk_net_refcnt || sk_is_mptcp(sk) ||
	    inet_csk(sk)->icsk_ulp_ops || rcu_access_pointer(sk->sk_user_data) ||
	    sk->sk_data_ready != sock_def_readable ||
	    sk->sk_destruct != destruct)
		return false;
#if IS_ENABLED(CONFIG_SMC)
	if (tp->syn_smc)
		return false;
#endif
#ifdef CONFIG_TCP_MD5SIG
	if (rcu_access_pointer(tp->md5sig_info))
		return false;
#endif
#ifdef CONFIG_TCP_AO
	if (rcu_access_pointer(tp->ao_info))
		return false;
#endif
	return true;
}

/*
 * The callbacks that the primary had when the copy was made: another layer may
 * have put its own there since, that know of no copy.
 */
static void fastsocket_plain_destruct(struct sock *sk)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		inet6_sock_destruct(sk);
		return;
	}
#endif
	inet_sock_destruct(sk);
}

void __fastsocket_init_child(struct sock *child)
{
	child->sk_data_ready = sock_def_readable;
	child->sk_destruct = inet_sock_destruct;
#if IS_ENABLED(CONFIG_IPV6)
	if (child->sk_family == AF_INET6)
		child->sk_destruct = inet6_sock_destruct;
#endif
}

/* Runs when the last reference has gone, after an RCU grace period. */
static void fastsocket_local_destruct(struct sock *local)
{
	struct request_sock_queue *queue = &inet_csk(local)->icsk_accept_queue;
	struct sock *primary = queue->fastsocket_primary;

	sock_inuse_add(sock_net(local), 1);
	fastsocket_plain_destruct(local);
	sock_put(primary);
	module_put(fastsocket_owner());
}

/* What a copy must not share with its original, and needs no memory for. */
static void fastsocket_reset_copy(struct sock *newsk, const struct sock *sk)
{
	struct inet_connection_sock *icsk = inet_csk(newsk);
	struct request_sock_queue *queue = &icsk->icsk_accept_queue;
	struct inet_sock *inet = inet_sk(newsk);
	struct tcp_sock *tp = tcp_sk(newsk);

	newsk->sk_priority = READ_ONCE(sk->sk_priority);
	newsk->sk_incoming_cpu = READ_ONCE(sk->sk_incoming_cpu);
	newsk->sk_ack_backlog = 0;
	newsk->sk_frag.page = NULL;
	newsk->sk_frag.offset = 0;
	newsk->tcp_rtx_queue = RB_ROOT;
	RCU_INIT_POINTER(newsk->sk_rx_dst, NULL);
	xa_init_flags(&newsk->sk_user_frags, XA_FLAGS_ALLOC1);

	/* The bind buckets are the primary's: __inet_inherit_port(). */
	icsk->icsk_bind_hash = NULL;
	icsk->icsk_bind2_hash = NULL;

	reqsk_queue_alloc(queue);
	inet_init_csk_locks(newsk);
	queue->rskq_accept_tail = NULL;
	queue->synflood_warned = 0;
	atomic_set(&queue->qlen, 0);
	atomic_set(&queue->young, 0);
	RCU_INIT_POINTER(queue->fastopenq.ctx, NULL);

	tcp_init_xmit_timers(newsk);
	tp->out_of_order_queue = RB_ROOT;
	INIT_LIST_HEAD(&tp->tsq_node);
	INIT_LIST_HEAD(&tp->tsorted_sent_queue);
	tp->fastopen_req = NULL;
	RCU_INIT_POINTER(tp->fastopen_rsk, NULL);
	tp->saved_syn = NULL;

	RCU_INIT_POINTER(inet->inet_opt, NULL);
	RCU_INIT_POINTER(inet->mc_list, NULL);

#if IS_ENABLED(CONFIG_IPV6)
	if (newsk->sk_family == AF_INET6) {
		struct ipv6_pinfo *np = &((struct tcp6_sock *)newsk)->inet6;

		/* It came with the copy, but inside the original. */
		inet->pinet6 = np;
		RCU_INIT_POINTER(inet->ipv6_fl_list, NULL);
		RCU_INIT_POINTER(np->ipv6_mc_list, NULL);
		np->ipv6_ac_list = NULL;
		RCU_INIT_POINTER(np->opt, NULL);
		np->daddr_cache = NULL;
		np->pktoptions = NULL;
		np->rxpmtu = NULL;
	}
#endif
	/* A listener has not initialised its congestion control. */
	if (!bpf_try_module_get(icsk->icsk_ca_ops, icsk->icsk_ca_ops->owner))
		tcp_assign_congestion_control(newsk);
}

/* What a copy needs memory for. */
static int fastsocket_dup_options(struct sock *newsk, struct sock *sk)
{
	struct fastopen_queue *fastopenq = &inet_csk(sk)->icsk_accept_queue.fastopenq;
	struct tcp_fastopen_context *ctx;
	struct ip_options_rcu *opt;

	ctx = rcu_dereference_protected(fastopenq->ctx,
					lockdep_sock_is_held(sk));
	if (ctx) {
		ctx = kmemdup(ctx, sizeof(*ctx), GFP_ATOMIC);
		if (!ctx)
			return -ENOMEM;
		fastopenq = &inet_csk(newsk)->icsk_accept_queue.fastopenq;
		RCU_INIT_POINTER(fastopenq->ctx, ctx);
	}

	opt = rcu_dereference_protected(inet_sk(sk)->inet_opt,
					lockdep_sock_is_held(sk));
	if (opt) {
		opt = kmemdup(opt, sizeof(*opt) + opt->opt.optlen, GFP_ATOMIC);
		if (!opt)
			return -ENOMEM;
		RCU_INIT_POINTER(inet_sk(newsk)->inet_opt, opt);
	}

#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		struct ipv6_txoptions *opt6;

		opt6 = rcu_dereference_protected(inet6_sk(sk)->opt,
						 lockdep_sock_is_held(sk));
		if (opt6) {
			opt6 = ipv6_dup_options(newsk, opt6);
			if (!opt6)
				return -ENOMEM;
			RCU_INIT_POINTER(inet6_sk(newsk)->opt, opt6);
		}
	}
#endif
	return 0;
}

/**
 * fastsocket_clone_listener() - make a local listener.
 * @sk: the primary, listening, locked by the caller.
 * @slot: what struct fastsocket_ops.data_ready is to be given.
 * @wq: the wait queue that @slot's waiters use; outlives the local listener's
 *	time in TCP_LISTEN by an RCU grace period.
 *
 * The local listener has all that was set on @sk until now. It holds a
 * reference to @sk and to the module until it is freed.
 *
 * Context: process.
 * Return: the local listener, to be ended by fastsocket_stop_listener();
 * ERR_PTR(-EOPNOTSUPP) if @sk cannot have one (any more), ERR_PTR(-ENOMEM).
 */
struct sock *fastsocket_clone_listener(struct sock *sk, void *slot,
				       struct socket_wq *wq)
{
	struct request_sock_queue *queue;
	struct sock *newsk;
	int err;

	sock_owned_by_me(sk);

	if (!fastsocket_can_clone(sk))
		return ERR_PTR(-EOPNOTSUPP);

	local_bh_disable();
	newsk = sk_clone_lock(sk, GFP_ATOMIC);
	if (!newsk) {
		local_bh_enable();
		return ERR_PTR(-ENOMEM);
	}

	/* sk_clone_lock() counts a socket that a program has. */
	sock_inuse_add(sock_net(newsk), -1);
	fastsocket_reset_copy(newsk, sk);
	err = fastsocket_dup_options(newsk, sk);

	queue = &inet_csk(newsk)->icsk_accept_queue;
	queue->fastsocket_data = slot;
	queue->fastsocket_primary = sk;
	sock_hold(sk);
	__module_get(fastsocket_owner());
	newsk->sk_data_ready = fastsocket_local_data_ready;
	newsk->sk_destruct = fastsocket_local_destruct;
	/* Firewalls ask for the owner of what a listener sends. */
	sk_set_socket(newsk, sk->sk_socket);
	rcu_assign_pointer(newsk->sk_wq, wq);

	bh_unlock_sock(newsk);
	local_bh_enable();
	/* One of the two references; the other is the listener's own. */
	sock_put(newsk);

	if (err) {
		fastsocket_stop_listener(newsk);
		return ERR_PTR(err);
	}
	return newsk;
}
EXPORT_SYMBOL_GPL(fastsocket_clone_listener);

/**
 * fastsocket_sibling() - find another spawned socket of a SO_REUSEPORT group.
 * @sk: a TCP socket that listens.
 *
 * Context: under RCU.
 * Return: what was attached to it, or NULL if there is none.
 */
void *fastsocket_sibling(const struct sock *sk)
{
	const struct sock_reuseport *reuse;
	const struct sock *sk2;
	int i, socks;
	void *group;

	reuse = rcu_dereference(sk->sk_reuseport_cb);
	socks = reuse ? READ_ONCE(reuse->num_socks) : 0;
	/* Pairs with the barrier in __reuseport_add_sock(). */
	smp_rmb();
	for (i = 0; i < socks; i++) {
		sk2 = READ_ONCE(reuse->socks[i]);
		if (sk2 == sk)
			continue;
		group = READ_ONCE(inet_csk(sk2)->icsk_accept_queue.fastsocket_data);
		if (group)
			return group;
	}
	return NULL;
}
EXPORT_SYMBOL_GPL(fastsocket_sibling);

/* Has a netns a BPF program that chooses listeners? */
static bool fastsocket_bpf_looks_up(const struct net *net)
{
#ifdef CONFIG_BPF_SYSCALL
	if (static_branch_unlikely(&bpf_sk_lookup_enabled))
		return rcu_access_pointer(net->bpf.run_array[NETNS_BPF_SK_LOOKUP]);
#endif
	return false;
}

/* Has a socket something that a SYN to it must pass? */
static bool fastsocket_guards(const struct sock *sk)
{
#ifdef CONFIG_XFRM
	if (rcu_access_pointer(sk->sk_policy[0]) ||
	    rcu_access_pointer(sk->sk_policy[1]))
		return true;
#endif
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6 && READ_ONCE(inet6_sk(sk)->min_hopcount))
		return true;
#endif
	return rcu_access_pointer(sk->sk_filter) ||
	       READ_ONCE(inet_sk(sk)->min_ttl);
}

static bool fastsocket_same_cgroup(const struct sock *sk,
				   const struct sock *peer)
{
#ifdef CONFIG_SOCK_CGROUP_DATA
	return READ_ONCE(sk->sk_cgrp_data.cgroup) ==
	       READ_ONCE(peer->sk_cgrp_data.cgroup);
#else
	return true;
#endif
}

/**
 * fastsocket_address() - the address that a socket is bound to.
 * @sk: a TCP socket, kept by the caller.
 * @address: a struct sockaddr_in or sockaddr_in6 is stored there; the scope is
 *	the device that @sk is bound to, or 0.
 *
 * Not what getsockname(2) says, which a BPF program can change.
 *
 * Context: any.
 */
void fastsocket_address(const struct sock *sk, struct sockaddr_storage *address)
{
	struct sockaddr_in *sin = (struct sockaddr_in *)address;

	memset(address, 0, sizeof(*address));
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)address;

		sin6->sin6_family = AF_INET6;
		sin6->sin6_port = inet_sk(sk)->inet_sport;
		sin6->sin6_addr = sk->sk_v6_rcv_saddr;
		sin6->sin6_scope_id = READ_ONCE(sk->sk_bound_dev_if);
		return;
	}
#endif
	sin->sin_family = AF_INET;
	sin->sin_port = inet_sk(sk)->inet_sport;
	sin->sin_addr.s_addr = inet_sk(sk)->inet_rcv_saddr;
}
EXPORT_SYMBOL_GPL(fastsocket_address);

/**
 * fastsocket_shares() - may a SYN be given to another socket than its own?
 * @sk: the listener that the look-up found, and whose checks it has passed.
 * @peer: another listener.
 *
 * So it is for members of one SO_REUSEPORT group, among which mainline chooses
 * by a hash: nobody asked for that one. It is not where a BPF program or
 * SO_INCOMING_CPU chooses, or if @peer has checks of its own, or is in a cgroup
 * that may have.
 *
 * Context: under RCU.
 */
bool fastsocket_shares(const struct sock *sk, const struct sock *peer)
{
	const struct sock_reuseport *reuse;

	reuse = rcu_dereference(sk->sk_reuseport_cb);
	return reuse && reuse == rcu_access_pointer(peer->sk_reuseport_cb) &&
	       !rcu_access_pointer(reuse->prog) &&
	       !READ_ONCE(reuse->incoming_cpu) && !fastsocket_guards(peer) &&
	       fastsocket_same_cgroup(sk, peer) &&
	       !fastsocket_bpf_looks_up(sock_net(sk));
}
EXPORT_SYMBOL_GPL(fastsocket_shares);

/**
 * fastsocket_is_dry() - is nothing half open or queued at a local listener?
 * @local: the local listener, that no SYN finds any more.
 *
 * A child on its way from the one state to the other is in neither: only if
 * two looks with an RCU grace period between them say so is it true.
 */
bool fastsocket_is_dry(const struct sock *local)
{
	const struct request_sock_queue *queue = &inet_csk(local)->icsk_accept_queue;

	return !reqsk_queue_len(queue) && reqsk_queue_empty(queue);
}
EXPORT_SYMBOL_GPL(fastsocket_is_dry);

/**
 * fastsocket_stop_listener() - end a local listener.
 * @local: the local listener; the reference of its maker is gone afterwards.
 *
 * What it has queued is reset, or migrates to another member of the primary's
 * SO_REUSEPORT group, as when a listener is closed. To be called once, when
 * no SYN can find it any more but from an RCU reader that already has.
 *
 * Context: process; does not sleep in a BPF context.
 */
void fastsocket_stop_listener(struct sock *local)
{
	/* BPF has been told of the primary, and wants the socket locked. */
	tcp_clear_sock_ops_cb_flags(local);
	tcp_set_state(local, TCP_CLOSE);
	inet_csk_listen_stop(local);

	sock_orphan(local);
	/* It has no bind bucket to be taken from. */
	inet_sk(local)->inet_num = 0;
	inet_csk_prepare_for_destroy_sock(local);
	inet_csk_destroy_sock(local);
}
EXPORT_SYMBOL_GPL(fastsocket_stop_listener);

/* Move one child; false if there was no memory and it is queued again. */
static bool fastsocket_push_child(struct sock *local, struct request_sock *req,
				  struct sock *child)
{
	struct fastopen_queue *fastopenq = &inet_csk(local)->icsk_accept_queue.fastopenq;
	struct sock *primary = fastsocket_primary(local);
	bool tfo = tcp_rsk(req)->tfo_listener;

	sock_hold(primary);
	if (!inet_csk_reqsk_migrate(req, child, primary)) {
		if (inet_csk_reqsk_queue_add(local, req, child))
			return false;
		/* Stopped meanwhile, and the child with it. */
	} else if (tfo) {
		/* The primary was charged for it. */
		spin_lock(&fastopenq->lock);
		fastopenq->qlen--;
		spin_unlock(&fastopenq->lock);
	}
	reqsk_put(req);
	return true;
}

/**
 * fastsocket_push() - move what waits at a local listener to its primary.
 * @local: the local listener.
 * @budget: how many children to move at most.
 *
 * Each child is announced to the waiters of the primary.
 *
 * Context: any but hardirq.
 * Return: how many children were moved. Those for which there was no memory
 * stay where they are.
 */
unsigned int fastsocket_push(struct sock *local, unsigned int budget)
{
	struct request_sock_queue *queue = &inet_csk(local)->icsk_accept_queue;
	struct request_sock *req;
	unsigned int moved = 0;
	bool ok = true;

	while (ok && moved < budget &&
	       (req = reqsk_queue_remove(queue, local)) != NULL) {
		struct sock *child = req->sk;

		local_bh_disable();
		sock_hold(child);
		bh_lock_sock(child);
		ok = fastsocket_push_child(local, req, child);
		bh_unlock_sock(child);
		sock_put(child);
		local_bh_enable();
		moved += ok;
	}
	return moved;
}
EXPORT_SYMBOL_GPL(fastsocket_push);

/**
 * fastsocket_take() - accept a connection without waiting.
 * @sock: the spawned socket.
 * @newsock: the socket to be connected.
 * @from: the primary or a local listener of @sock, with a reference.
 * @arg: as proto_ops.accept has it.
 *
 * Context: process, may sleep.
 * Return: 0; -EAGAIN if the queue is empty, -EINVAL if @from does not listen.
 */
int fastsocket_take(struct socket *sock, struct socket *newsock,
		    struct sock *from, struct proto_accept_arg *arg)
{
	struct proto_accept_arg now = *arg;
	struct sock *child;

	now.flags |= O_NONBLOCK;
	child = inet_csk_accept(from, &now);
	if (!child)
		return now.err;

	lock_sock(child);
	__inet_accept(sock, newsock, child);
	release_sock(child);
	return 0;
}
EXPORT_SYMBOL_GPL(fastsocket_take);
