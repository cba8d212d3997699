/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A client behind a TUN device: single segments, and no TCP that answers what
 * the server sends. The server has the first address, the client any other.
 */
#ifndef FASTSOCKET_SELFTEST_TUN_H
#define FASTSOCKET_SELFTEST_TUN_H

#include "lib.h"

#define TUN_FIN		1
#define TUN_SYN		2
#define TUN_RST		4
#define TUN_ACK		16

/* As much of a segment as matters. */
struct segment {
	in_port_t sport, dport;
	uint32_t seq, ack;
	uint8_t flags;
};

/* A device with its addresses, in a network namespace of our own. */
int tun_open(void);
/* Take the server's addresses away, or let it have them again. */
int tun_addresses(bool there);
/* Listen at the device's addresses; accept4() does not block. */
int tun_listen(struct listener *l, enum fam fam, int backlog, bool spawned);
/* Send a segment; it is received on the caller's CPU before this returns. */
int tun_put(int tun, enum fam fam, const struct segment *s);
/* The same from a thread on @cpu. */
int tun_put_on(int tun, enum fam fam, const struct segment *s, int cpu);
/* The next segment to @port within @ms; false if there is none. */
bool tun_get(int tun, enum fam fam, in_port_t port, struct segment *s, int ms);
/* Is a SYN that @cpu receives answered by one? */
bool tun_syn(int tun, const struct listener *l, in_port_t sport, int cpu, struct segment *answer);
/* A connection of which @cpu receives the segments; returns the accepted socket. */
int tun_connect(int tun, const struct listener *l, in_port_t sport, int cpu);

#endif /* FASTSOCKET_SELFTEST_TUN_H */
