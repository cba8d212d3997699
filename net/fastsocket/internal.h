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

/* Those of a TCP socket that more than one task takes from. */
static inline struct fastsocket_slots *fastsocket_slots_in_use(const struct sock *sk)
{
	struct fastsocket_slots *slots = fastsocket_slots(sk);

	return slots && !READ_ONCE(slots->plain) ? slots : NULL;
}

/* bind/shards.c */
void fastsocket_unshard_port(struct sock *sk);

/* placement/task.c */
unsigned int fastsocket_serving(unsigned int cpu);

/* control/hooks.c */
struct module *fastsocket_owner(void);

#endif /* _FASTSOCKET_INTERNAL_H */
