// SPDX-License-Identifier: GPL-2.0

#ifdef CONFIG_NET

#include <net/sock.h>

void rust_helper_sock_hold(struct sock *sk)
{
	sock_hold(sk);
}

void rust_helper_sock_put(struct sock *sk)
{
	sock_put(sk);
}

void rust_helper_lock_sock(struct sock *sk)
{
	lock_sock(sk);
}

#endif /* CONFIG_NET */
