// SPDX-License-Identifier: GPL-2.0
/*
 * Fastsocket, the built-in half of control: listen(2), for fastsocket.ko.
 *
 * Built in and in C because static keys are only there for C, and because
 * inet_listen() cannot call a module directly.
 */

#include <linux/export.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <net/fastsocket.h>
#include <net/ipv6.h>
#include <net/sock.h>

#include "../internal.h"

DEFINE_STATIC_KEY_FALSE(fastsocket_control_enabled);

static const struct fastsocket_control_ops *fastsocket_ops;

/* The module; only for what an open device keeps. */
struct module *fastsocket_owner(void)
{
	return fastsocket_ops->owner;
}

void __fastsocket_listened(struct socket *sock)
{
	const struct fastsocket_control_ops *ops;

	/* A socket of the kernel's own is nobody's to spawn. */
	if (!sock->file || !sk_is_tcp(sock->sk) || fastsocket_slots(sock->sk))
		return;
	/*
	 * It waits for the socket's lock, which a user can keep for ever: that
	 * the module cannot go meanwhile is an error for who unloads it, and
	 * must not be a wait without end.
	 */
	rcu_read_lock();
	ops = READ_ONCE(fastsocket_ops);
	if (ops && !try_module_get(ops->owner))
		ops = NULL;
	rcu_read_unlock();
	if (ops) {
		struct module *owner = ops->owner;

		ops->listened(sock);
		module_put(owner);
	}
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
 * fastsocket_control_register() - have listen(2) looked at.
 * @ops: what to call; must stay valid until fastsocket_control_unregister()
 *	returns.
 *
 * Context: process, may sleep.
 * Return: 0, or -EBUSY if a module is connected.
 */
int fastsocket_control_register(const struct fastsocket_control_ops *ops)
{
	if (cmpxchg(&fastsocket_ops, NULL, ops))
		return -EBUSY;
	static_branch_enable(&fastsocket_control_enabled);
	return 0;
}
EXPORT_SYMBOL_GPL(fastsocket_control_register);

/**
 * fastsocket_control_unregister() - listen(2) is nobody's business any more.
 *
 * To be called from the module's exit: who is in the hook has a reference.
 *
 * Context: process, may sleep.
 */
void fastsocket_control_unregister(void)
{
	static_branch_disable(&fastsocket_control_enabled);
	WRITE_ONCE(fastsocket_ops, NULL);
	synchronize_rcu();
}
EXPORT_SYMBOL_GPL(fastsocket_control_unregister);
