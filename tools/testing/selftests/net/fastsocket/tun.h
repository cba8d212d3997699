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
/* Send a segment; it is received on the caller's CPU before this returns. */
int tun_put(int tun, enum fam fam, const struct segment *s);
/* The same from a thread on @cpu. */
int tun_put_on(int tun, enum fam fam, const struct segment *s, int cpu);
/* The next segment to @port within @ms; false if there is none. */
bool tun_get(int tun, enum fam fam, in_port_t port, struct segment *s, int ms);

#endif /* FASTSOCKET_SELFTEST_TUN_H */
