/* SPDX-License-Identifier: GPL-2.0 */
/* What the built-in files of Fastsocket share with each other only. */
#ifndef _FASTSOCKET_INTERNAL_H
#define _FASTSOCKET_INTERNAL_H

#include <net/inet_connection_sock.h>

struct module;

/* Of a TCP socket: its slots, or NULL if it is not spawned. */
static inline struct fastsocket_slots *fastsocket_slots(const struct sock *sk)
{
	return READ_ONCE(inet_csk(sk)->icsk_accept_queue.fastsocket_slots);
}

/* control/hooks.c */
struct module *fastsocket_owner(void);

#endif /* _FASTSOCKET_INTERNAL_H */
