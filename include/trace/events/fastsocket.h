/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fastsocket: what happens to the connections of a spawned socket, and which
 * CPU others belong to.
 *
 * An event of a spawned socket names the one that the program has, by family,
 * address and port; one of a connection names that, by family, addresses and
 * ports.  A network namespace is named by the cookie that SO_NETNS_COOKIE gives.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM fastsocket

#if !defined(_TRACE_FASTSOCKET_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_FASTSOCKET_H

#include <linux/tracepoint.h>
#include <net/fastsocket.h>
#include <net/fastsocket_steer.h>
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

#define FASTSOCKET_CONN_FIELDS						\
	__field(u64, netns)						\
	__field(u16, family)						\
	__field(u16, sport)						\
	__field(u16, dport)						\
	__array(u8, saddr, 4)						\
	__array(u8, daddr, 4)						\
	__array(u8, saddr_v6, 16)					\
	__array(u8, daddr_v6, 16)					\
	__field(int, cpu)

#define FASTSOCKET_CONN_FMT						\
	"netns=%llu family=%s sport=%hu dport=%hu saddr=%pI4 daddr=%pI4 saddrv6=%pI6c daddrv6=%pI6c cpu=%d"
#define FASTSOCKET_CONN_ARGS						\
	__entry->netns, show_fastsocket_family(__entry->family),	\
	__entry->sport, __entry->dport, __entry->saddr, __entry->daddr,	\
	__entry->saddr_v6, __entry->daddr_v6, __entry->cpu

#ifndef _TRACE_FASTSOCKET_ADDR
#define _TRACE_FASTSOCKET_ADDR
/* An address of IPv4, and the same mapped, also if it came so; or one of IPv6. */
static inline void fastsocket_trace_addr(bool is_v6, const void *addr, u8 *v4, u8 *v6)
{
	struct in6_addr mapped;

	memset(v4, 0, 4);
	if (!is_v6) {
		memcpy(v4, addr, 4);
		ipv6_addr_set_v4mapped(*(const __be32 *)addr, &mapped);
		addr = &mapped;
	} else if (ipv6_addr_v4mapped(addr)) {
		memcpy(v4, addr + 12, 4);
	}
	memcpy(v6, addr, 16);
}

static inline const void *fastsocket_trace_own(const struct sock *sk)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6)
		return &sk->sk_v6_rcv_saddr;
#endif
	return &sk->sk_rcv_saddr;
}

static inline const void *fastsocket_trace_peer(const struct sock *sk)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6)
		return &sk->sk_v6_daddr;
#endif
	return &sk->sk_daddr;
}
#endif

/* sk: a socket, a request, or one in TIME_WAIT; cpu: where it is at home. */
DECLARE_EVENT_CLASS(fastsocket_at_home,

	TP_PROTO(const struct sock *sk, int cpu),

	TP_ARGS(sk, cpu),

	TP_STRUCT__entry(
		FASTSOCKET_CONN_FIELDS
	),

	TP_fast_assign(
		bool is_v6 = sk->sk_family == AF_INET6;

		__entry->netns = sock_net(sk)->net_cookie;
		__entry->family = sk->sk_family;
		__entry->sport = sk->sk_num;
		__entry->dport = ntohs(sk->sk_dport);
		fastsocket_trace_addr(is_v6, fastsocket_trace_own(sk),
				      __entry->saddr, __entry->saddr_v6);
		fastsocket_trace_addr(is_v6, fastsocket_trace_peer(sk),
				      __entry->daddr, __entry->daddr_v6);
		__entry->cpu = cpu;
	),

	TP_printk(FASTSOCKET_CONN_FMT, FASTSOCKET_CONN_ARGS)
);

/* A connection begins at home. */
DEFINE_EVENT(fastsocket_at_home, fastsocket_home,
	TP_PROTO(const struct sock *sk, int cpu),
	TP_ARGS(sk, cpu)
);

/* Another CPU than that has found one. */
DEFINE_EVENT(fastsocket_at_home, fastsocket_foreign_hit,
	TP_PROTO(const struct sock *sk, int cpu),
	TP_ARGS(sk, cpu)
);

/* A rule has said which CPU processes a packet. */
TRACE_EVENT(fastsocket_steer,

	TP_PROTO(const struct net *net, const struct fastsocket_flow *flow, int cpu),

	TP_ARGS(net, flow, cpu),

	TP_STRUCT__entry(
		FASTSOCKET_CONN_FIELDS
	),

	TP_fast_assign(
		__entry->netns = net->net_cookie;
		__entry->family = flow->is_v6 ? AF_INET6 : AF_INET;
		__entry->sport = flow->sport;
		__entry->dport = flow->dport;
		fastsocket_trace_addr(flow->is_v6, flow->saddr,
				      __entry->saddr, __entry->saddr_v6);
		fastsocket_trace_addr(flow->is_v6, flow->daddr,
				      __entry->daddr, __entry->daddr_v6);
		__entry->cpu = cpu;
	),

	TP_printk(FASTSOCKET_CONN_FMT, FASTSOCKET_CONN_ARGS)
);

#endif /* _TRACE_FASTSOCKET_H */

#include <trace/define_trace.h>
