/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fastsocket: what happens to the connections of a spawned socket.
 *
 * Each event names the socket that the program has, by family, address and
 * port, and its network namespace by the cookie that SO_NETNS_COOKIE gives.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM fastsocket

#if !defined(_TRACE_FASTSOCKET_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_FASTSOCKET_H

#include <linux/tracepoint.h>
#include <net/fastsocket.h>
#include <net/inet_sock.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>

TRACE_DEFINE_ENUM(FASTSOCKET_ACCEPT_LOCAL);
TRACE_DEFINE_ENUM(FASTSOCKET_ACCEPT_GLOBAL);
TRACE_DEFINE_ENUM(FASTSOCKET_ACCEPT_FOREIGN);
TRACE_DEFINE_ENUM(FASTSOCKET_ACCEPT_STOLEN);

#define show_fastsocket_family(family)					\
	__print_symbolic(family,					\
		{ AF_INET, "AF_INET" },					\
		{ AF_INET6, "AF_INET6" })

#define show_fastsocket_accept(from)					\
	__print_symbolic(from,						\
		{ FASTSOCKET_ACCEPT_LOCAL, "local" },			\
		{ FASTSOCKET_ACCEPT_GLOBAL, "global" },			\
		{ FASTSOCKET_ACCEPT_FOREIGN, "foreign" },		\
		{ FASTSOCKET_ACCEPT_STOLEN, "stolen" })

#define FASTSOCKET_SK_FIELDS						\
	__field(const void *, skaddr)					\
	__field(u64, netns)						\
	__field(u16, family)						\
	__field(u16, sport)						\
	__array(u8, saddr, 4)						\
	__array(u8, saddr_v6, 16)

#define FASTSOCKET_SK_ASSIGN(sk) do {					\
	__be32 *v4 = (__be32 *)__entry->saddr;				\
									\
	__entry->skaddr = (sk);						\
	__entry->netns = sock_net(sk)->net_cookie;			\
	__entry->family = (sk)->sk_family;				\
	__entry->sport = (sk)->sk_num;					\
	*v4 = inet_sk(sk)->inet_rcv_saddr;				\
	fastsocket_trace_saddr6(sk, __entry->saddr_v6);			\
} while (0)

#define FASTSOCKET_SK_FMT						\
	"netns=%llu family=%s sport=%hu saddr=%pI4 saddrv6=%pI6c"
#define FASTSOCKET_SK_ARGS						\
	__entry->netns, show_fastsocket_family(__entry->family),	\
	__entry->sport, __entry->saddr, __entry->saddr_v6

#ifndef _TRACE_FASTSOCKET_SADDR6
#define _TRACE_FASTSOCKET_SADDR6
static inline void fastsocket_trace_saddr6(const struct sock *sk, u8 *addr)
{
	struct in6_addr v6;

#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6)
		v6 = sk->sk_v6_rcv_saddr;
	else
#endif
		ipv6_addr_set_v4mapped(inet_sk(sk)->inet_rcv_saddr, &v6);
	memcpy(addr, &v6, sizeof(v6));
}
#endif

/* cpu: whose slot it is. */
DECLARE_EVENT_CLASS(fastsocket_slot,

	TP_PROTO(const struct sock *sk, int cpu),

	TP_ARGS(sk, cpu),

	TP_STRUCT__entry(
		FASTSOCKET_SK_FIELDS
		__field(int, cpu)
	),

	TP_fast_assign(
		FASTSOCKET_SK_ASSIGN(sk);
		__entry->cpu = cpu;
	),

	TP_printk(FASTSOCKET_SK_FMT " cpu=%d", FASTSOCKET_SK_ARGS, __entry->cpu)
);

/* A slot was made. */
DEFINE_EVENT(fastsocket_slot, fastsocket_spawn,
	TP_PROTO(const struct sock *sk, int cpu),
	TP_ARGS(sk, cpu)
);

/* A slot has a consumer, but the socket's own queue takes a SYN. */
DEFINE_EVENT(fastsocket_slot, fastsocket_overflow,
	TP_PROTO(const struct sock *sk, int cpu),
	TP_ARGS(sk, cpu)
);

/* from: the kind of the queue; cpu: whose slot it is, -1 for the socket's own. */
TRACE_EVENT(fastsocket_accept,

	TP_PROTO(const struct sock *sk, int cpu, enum fastsocket_accept from),

	TP_ARGS(sk, cpu, from),

	TP_STRUCT__entry(
		FASTSOCKET_SK_FIELDS
		__field(int, cpu)
		__field(int, from)
	),

	TP_fast_assign(
		FASTSOCKET_SK_ASSIGN(sk);
		__entry->cpu = cpu;
		__entry->from = from;
	),

	TP_printk(FASTSOCKET_SK_FMT " cpu=%d from=%s", FASTSOCKET_SK_ARGS,
		  __entry->cpu, show_fastsocket_accept(__entry->from))
);

/* Connections were moved from the slot of a CPU to the socket's own queue. */
TRACE_EVENT(fastsocket_migrate,

	TP_PROTO(const struct sock *sk, int cpu, u32 moved),

	TP_ARGS(sk, cpu, moved),

	TP_STRUCT__entry(
		FASTSOCKET_SK_FIELDS
		__field(int, cpu)
		__field(u32, moved)
	),

	TP_fast_assign(
		FASTSOCKET_SK_ASSIGN(sk);
		__entry->cpu = cpu;
		__entry->moved = moved;
	),

	TP_printk(FASTSOCKET_SK_FMT " cpu=%d moved=%u", FASTSOCKET_SK_ARGS,
		  __entry->cpu, __entry->moved)
);

#endif /* _TRACE_FASTSOCKET_H */

#include <trace/define_trace.h>
