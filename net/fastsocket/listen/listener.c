// SPDX-License-Identifier: GPL-2.0
/*
 * Fastsocket: what there is to be known of a listening TCP socket, and its own
 * accept queue.
 *
 * In C because most of it is inline functions, and fields that RCU protects.
 */

#include <linux/bpf.h>
#include <linux/export.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/filter.h>
#include <linux/ipv6.h>
#include <net/fastsocket.h>
#include <net/inet_connection_sock.h>
#include <net/inet_sock.h>
#include <net/sock.h>
#include <net/sock_reuseport.h>

/* Members of a group that are looked at: there may be thousands. */
#define FASTSOCKET_SIBLINGS	64

/**
 * fastsocket_sibling() - find another spawned socket of a SO_REUSEPORT group.
 * @sk: a TCP socket that listens.
 *
 * Among the oldest of them.
 *
 * Context: under RCU.
 * Return: what was attached to it, or NULL if there is none.
 */
struct fastsocket_slots *fastsocket_sibling(const struct sock *sk)
{
	const struct sock_reuseport *reuse;
	struct fastsocket_slots *slots;
	const struct sock *sk2;
	int i, socks;

	reuse = rcu_dereference(sk->sk_reuseport_cb);
	socks = reuse ? READ_ONCE(reuse->num_socks) : 0;
	/* Pairs with the barrier in __reuseport_add_sock(). */
	smp_rmb();
	for (i = 0; i < min(socks, FASTSOCKET_SIBLINGS); i++) {
		sk2 = READ_ONCE(reuse->socks[i]);
		if (sk2 == sk)
			continue;
		slots = READ_ONCE(inet_csk(sk2)->icsk_accept_queue.fastsocket_slots);
		if (slots)
			return slots;
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
 * fastsocket_shares() - may a segment be given to another socket than its own?
 * @sk: the listener that a hash has chosen.
 * @peer: another spawned socket.
 *
 * So it is for members of one SO_REUSEPORT group: nobody asked for the one that
 * the hash gave. It is not where a BPF program looks up listeners, or if @peer
 * has checks of its own, or is in a cgroup that may have.
 *
 * Context: under RCU.
 */
bool fastsocket_shares(const struct sock *sk, const struct sock *peer)
{
	const struct sock_reuseport *reuse;

	reuse = rcu_access_pointer(sk->sk_reuseport_cb);
	return reuse && reuse == rcu_access_pointer(peer->sk_reuseport_cb) &&
	       inet_sk_state_load(peer) == TCP_LISTEN &&
	       !fastsocket_guards(peer) && fastsocket_same_cgroup(sk, peer) &&
	       !fastsocket_bpf_looks_up(sock_net(sk));
}
EXPORT_SYMBOL_GPL(fastsocket_shares);

/**
 * fastsocket_requeue() - let children wait in the socket's own queue.
 * @sk: the socket.
 * @first: their requests, a list by dl_next.
 * @last: the last of these.
 * @number: how many there are.
 *
 * The caller sees to it that who stops @sk looks there afterwards.
 *
 * Context: softirq, or process with BHs off.
 */
void fastsocket_requeue(struct sock *sk, struct request_sock *first,
			struct request_sock *last, u32 number)
{
	struct request_sock_queue *queue = &inet_csk(sk)->icsk_accept_queue;
	struct request_sock *req;

	for (req = first; ; req = req->dl_next) {
		WRITE_ONCE(inet_csk(req->sk)->icsk_accept_queue.fastsocket_slot, 0);
		if (req == last)
			break;
	}
	spin_lock(&queue->rskq_lock);
	last->dl_next = NULL;
	if (!queue->rskq_accept_head)
		WRITE_ONCE(queue->rskq_accept_head, first);
	else
		queue->rskq_accept_tail->dl_next = first;
	queue->rskq_accept_tail = last;
	WRITE_ONCE(sk->sk_ack_backlog, sk->sk_ack_backlog + number);
	spin_unlock(&queue->rskq_lock);
}
EXPORT_SYMBOL_GPL(fastsocket_requeue);

/**
 * fastsocket_take() - take a child from the socket's own queue.
 * @sk: the socket; need not be locked.
 *
 * Context: process.
 * Return: its request, or NULL.
 */
struct request_sock *fastsocket_take(struct sock *sk)
{
	return reqsk_queue_remove(&inet_csk(sk)->icsk_accept_queue, sk);
}
EXPORT_SYMBOL_GPL(fastsocket_take);

/**
 * fastsocket_oldest() - when did the first child in the socket's own queue come?
 * @sk: the socket; need not be locked.
 * @stamp: where that is stored.
 *
 * Context: process.
 * Return: false if there is none.
 */
bool fastsocket_oldest(struct sock *sk, u32 *stamp)
{
	struct request_sock_queue *queue = &inet_csk(sk)->icsk_accept_queue;
	const struct request_sock *req;

	spin_lock_bh(&queue->rskq_lock);
	req = queue->rskq_accept_head;
	if (req)
		*stamp = inet_csk(req->sk)->icsk_accept_queue.fastsocket_stamp;
	spin_unlock_bh(&queue->rskq_lock);
	return req;
}
EXPORT_SYMBOL_GPL(fastsocket_oldest);

/**
 * fastsocket_from_fd() - the TCP socket behind a file descriptor of current.
 * @fd: the descriptor.
 * @file: its file, with a reference for the caller, is stored there.
 *
 * Return: the socket, alive as long as @file; ERR_PTR(-EBADF),
 * ERR_PTR(-ENOTSOCK), ERR_PTR(-EOPNOTSUPP) for a socket of another kind.
 */
struct socket *fastsocket_from_fd(unsigned int fd, struct file **file)
{
	struct file *f = fget(fd);
	struct socket *sock;

	if (!f)
		return ERR_PTR(-EBADF);
	sock = sock_from_file(f);
	if (!sock || !sk_is_tcp(sock->sk)) {
		fput(f);
		return ERR_PTR(sock ? -EOPNOTSUPP : -ENOTSOCK);
	}
	*file = f;
	return sock;
}
EXPORT_SYMBOL_GPL(fastsocket_from_fd);

/**
 * fastsocket_next_listener() - the next listening TCP socket of current.
 * @fd: where to look from; set to the descriptor that was found.
 * @file: as in fastsocket_from_fd().
 *
 * Return: the socket, or NULL if there is none at @fd or above.
 */
struct socket *fastsocket_next_listener(unsigned int *fd, struct file **file)
{
	struct socket *sock;
	struct file *f;

	for (;; ++*fd) {
		rcu_read_lock();
		f = task_lookup_next_fdget_rcu(current, fd);
		rcu_read_unlock();
		if (!f)
			return NULL;
		sock = sock_from_file(f);
		if (sock && sk_is_tcp(sock->sk) &&
		    inet_sk_state_load(sock->sk) == TCP_LISTEN) {
			*file = f;
			return sock;
		}
		fput(f);
		cond_resched();
	}
}
EXPORT_SYMBOL_GPL(fastsocket_next_listener);
