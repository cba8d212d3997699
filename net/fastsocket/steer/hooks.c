// SPDX-License-Identifier: GPL-2.0
/*
 * Fastsocket, the built-in half of steer: which ports connect(2) takes, and which
 * CPU processes a packet, for fastsocket.ko.
 *
 * Built in and in C because static keys and static calls are only there for C,
 * and because the network stack cannot call a module directly.
 */

#include <linux/cache.h>
#include <linux/cpumask.h>
#include <linux/export.h>
#include <linux/init.h>
#include <linux/log2.h>
#include <linux/rcupdate.h>
#include <linux/static_call.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <net/fastsocket_established.h>
#include <net/fastsocket_steer.h>
#include <net/inet6_hashtables.h>
#include <net/ip.h>
#include <net/rps.h>
#include <trace/events/fastsocket.h>

DEFINE_STATIC_KEY_FALSE(fastsocket_steer_enabled);
EXPORT_SYMBOL_GPL(fastsocket_steer_enabled);

unsigned int fastsocket_cpu_bits __ro_after_init;

static const struct fastsocket_steer_ops *fastsocket_ops;

static bool fastsocket_no_ports(const struct net *net, u32 dest, u32 low, u32 high,
				struct fastsocket_ports *ports)
{
	return false;
}

static void fastsocket_never_exhausted(const struct net *net, u32 dest,
				       const struct fastsocket_ports *ports)
{
}

static int fastsocket_no_steer(const struct net *net, const struct fastsocket_flow *flow)
{
	return -1;
}

DEFINE_STATIC_CALL(fastsocket_steer_own_ports, fastsocket_no_ports);
DEFINE_STATIC_CALL(fastsocket_steer_exhausted, fastsocket_never_exhausted);
DEFINE_STATIC_CALL(fastsocket_steer_packet, fastsocket_no_steer);

/* Before there are tables of ports. */
static int __init fastsocket_steer_init(void)
{
	fastsocket_cpu_bits = ilog2(roundup_pow_of_two(nr_cpu_ids));
	return 0;
}
pure_initcall(fastsocket_steer_init);

bool __fastsocket_own_ports(const struct net *net, u32 dest, u32 low, u32 high,
			    struct fastsocket_ports *ports)
{
	bool any;

	rcu_read_lock();
	any = static_call(fastsocket_steer_own_ports)(net, dest, low, high, ports);
	rcu_read_unlock();
	return any;
}

void __fastsocket_exhausted(const struct net *net, u32 dest,
			    const struct fastsocket_ports *ports)
{
	rcu_read_lock();
	static_call(fastsocket_steer_exhausted)(net, dest, ports);
	rcu_read_unlock();
}

/*
 * Packets without a TCP header of their own, be they fragments or in a tunnel,
 * and those with extension headers of IPv6, are nobody's: no rule is asked.
 */
int __fastsocket_steer(const struct sk_buff *skb)
{
	struct fastsocket_flow flow = { 0 };
	const struct ipv6hdr *ip6;
	struct ipv6hdr _ip6;
	const struct iphdr *ip;
	struct iphdr _ip;
	const __be16 *ports;
	__be16 _ports[2];
	int len, cpu;

	if (skb->pkt_type != PACKET_HOST)
		return -1;
	switch (skb->protocol) {
	case htons(ETH_P_IP):
		ip = skb_header_pointer(skb, 0, sizeof(_ip), &_ip);
		if (!ip || ip->protocol != IPPROTO_TCP || ip_is_fragment(ip) || ip->ihl < 5)
			return -1;
		flow.saddr = &ip->saddr;
		flow.daddr = &ip->daddr;
		len = ip->ihl * 4;
		break;
	case htons(ETH_P_IPV6):
		ip6 = skb_header_pointer(skb, 0, sizeof(_ip6), &_ip6);
		if (!ip6 || ip6->nexthdr != IPPROTO_TCP)
			return -1;
		flow.saddr = &ip6->saddr;
		flow.daddr = &ip6->daddr;
		flow.is_v6 = true;
		len = sizeof(_ip6);
		break;
	default:
		return -1;
	}
	ports = skb_header_pointer(skb, len, sizeof(_ports), _ports);
	if (!ports)
		return -1;
	flow.sport = ntohs(ports[0]);
	flow.dport = ntohs(ports[1]);
	cpu = static_call(fastsocket_steer_packet)(dev_net(skb->dev), &flow);
	if (cpu >= 0)
		trace_fastsocket_steer(dev_net(skb->dev), &flow, cpu);
	return cpu;
}

static bool fastsocket_flow4_is_home(const struct net *net, const struct fastsocket_flow *flow)
{
	const struct inet_hashinfo *hashinfo = net->ipv4.tcp_death_row.hashinfo;
	const __portpair ports = INET_COMBINED_PORTS(htons(flow->sport), flow->dport);
	const __be32 saddr = *(const __be32 *)flow->saddr;
	const __be32 daddr = *(const __be32 *)flow->daddr;
	const struct hlist_nulls_node *node;
	const struct sock *sk;
	u32 hash, slot;

	INET_ADDR_COOKIE(acookie, saddr, daddr);

	hash = inet_ehashfn(net, daddr, flow->dport, saddr, htons(flow->sport));
	hash = fastsocket_home(hashinfo, hash, flow->sport, flow->dport);
	slot = hash & hashinfo->ehash_mask;
again:
	sk_nulls_for_each_rcu(sk, node, &hashinfo->ehash[slot].chain)
		if (sk->sk_hash == hash && net_eq(sock_net(sk), net) &&
		    sk->sk_portpair == ports && sk->sk_addrpair == acookie)
			return true;
	if (get_nulls_value(node) != slot)
		goto again;
	return false;
}

#if IS_ENABLED(CONFIG_IPV6)
static bool fastsocket_flow6_is_home(const struct net *net, const struct fastsocket_flow *flow)
{
	const struct inet_hashinfo *hashinfo = net->ipv4.tcp_death_row.hashinfo;
	const __portpair ports = INET_COMBINED_PORTS(htons(flow->sport), flow->dport);
	const struct hlist_nulls_node *node;
	const struct sock *sk;
	u32 hash, slot;

	hash = inet6_ehashfn(net, flow->daddr, flow->dport, flow->saddr, htons(flow->sport));
	hash = fastsocket_home(hashinfo, hash, flow->sport, flow->dport);
	slot = hash & hashinfo->ehash_mask;
again:
	sk_nulls_for_each_rcu(sk, node, &hashinfo->ehash[slot].chain)
		if (sk->sk_hash == hash && net_eq(sock_net(sk), net) &&
		    sk->sk_portpair == ports && sk->sk_family == AF_INET6 &&
		    ipv6_addr_equal(&sk->sk_v6_daddr, flow->saddr) &&
		    ipv6_addr_equal(&sk->sk_v6_rcv_saddr, flow->daddr))
			return true;
	if (get_nulls_value(node) != slot)
		goto again;
	return false;
}
#else
static bool fastsocket_flow6_is_home(const struct net *net, const struct fastsocket_flow *flow)
{
	return false;
}
#endif

/**
 * fastsocket_flow_is_home() - is there a connection at home for it?
 * @net: the network namespace of the device that received it.
 * @flow: what a packet belongs to.
 *
 * Which device the socket is bound to is not looked at: who finds it later does.
 * One that is being put in may be missed.
 *
 * Context: any, under RCU.
 */
bool fastsocket_flow_is_home(const struct net *net, const struct fastsocket_flow *flow)
{
	if (!fastsocket_has_homes(net->ipv4.tcp_death_row.hashinfo))
		return false;
	return flow->is_v6 ? fastsocket_flow6_is_home(net, flow) :
		fastsocket_flow4_is_home(net, flow);
}
EXPORT_SYMBOL_GPL(fastsocket_flow_is_home);

/**
 * fastsocket_must_queue() - is a packet that belongs to this CPU to wait for
 * others?
 *
 * Packets that were handed to this CPU, and that it has not looked at, go first:
 * there may be some of the same connection, from before the device's interrupt
 * came here. And RPS would take it elsewhere.
 *
 * Context: softirq.
 */
bool fastsocket_must_queue(void)
{
	struct softnet_data *sd = this_cpu_ptr(&softnet_data);

#ifdef CONFIG_RPS
	if (static_branch_unlikely(&rps_needed))
		return true;
#endif
	return !skb_queue_empty_lockless(&sd->input_pkt_queue) ||
	       !skb_queue_empty_lockless(&sd->process_queue);
}
EXPORT_SYMBOL_GPL(fastsocket_must_queue);

/**
 * fastsocket_steer_register() - connect the module to the hooks.
 * @ops: what to call; must stay valid until fastsocket_steer_unregister()
 *	returns.
 *
 * Context: process, may sleep.
 * Return: 0, or -EBUSY if a module is connected.
 */
int fastsocket_steer_register(const struct fastsocket_steer_ops *ops)
{
	if (cmpxchg(&fastsocket_ops, NULL, ops))
		return -EBUSY;
	static_call_update(fastsocket_steer_own_ports, ops->own_ports);
	static_call_update(fastsocket_steer_exhausted, ops->exhausted);
	static_call_update(fastsocket_steer_packet, ops->steer);
	static_branch_enable(&fastsocket_steer_enabled);
	return 0;
}
EXPORT_SYMBOL_GPL(fastsocket_steer_register);

/**
 * fastsocket_steer_unregister() - disconnect the module.
 *
 * When this returns no CPU is in a hook.
 *
 * Context: process, may sleep.
 */
void fastsocket_steer_unregister(void)
{
	static_branch_disable(&fastsocket_steer_enabled);
	static_call_update(fastsocket_steer_own_ports, fastsocket_no_ports);
	static_call_update(fastsocket_steer_exhausted, fastsocket_never_exhausted);
	static_call_update(fastsocket_steer_packet, fastsocket_no_steer);
	WRITE_ONCE(fastsocket_ops, NULL);
	synchronize_rcu();
}
EXPORT_SYMBOL_GPL(fastsocket_steer_unregister);
