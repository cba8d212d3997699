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
#include <linux/if_vlan.h>
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

/* On while it matters where sockets are used. */
DEFINE_STATIC_KEY_FALSE(fastsocket_used_enabled);
EXPORT_SYMBOL_GPL(fastsocket_used_enabled);

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

static int fastsocket_no_steer(const struct net *net, const struct fastsocket_flow *flow,
			       struct rps_dev_flow **rflow)
{
	return -1;
}

static void fastsocket_never_used(const struct net *net, u32 key)
{
}

DEFINE_STATIC_CALL(fastsocket_steer_own_ports, fastsocket_no_ports);
DEFINE_STATIC_CALL(fastsocket_steer_exhausted, fastsocket_never_exhausted);
DEFINE_STATIC_CALL(fastsocket_steer_packet, fastsocket_no_steer);
DEFINE_STATIC_CALL(fastsocket_steer_used, fastsocket_never_used);

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

/* What stands for a destination that is not known yet. */
static u32 fastsocket_bind_dest(const struct sock *sk, int half)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6)
		return ipv6_portaddr_hash(sock_net(sk), &sk->sk_v6_rcv_saddr, half);
#endif
	return ipv4_portaddr_hash(sock_net(sk), sk->sk_rcv_saddr, half);
}

bool __fastsocket_ports_to_bind(const struct sock *sk, int half, u32 low, u32 high,
				struct fastsocket_ports *ports)
{
	return __fastsocket_own_ports(sock_net(sk), fastsocket_bind_dest(sk, half), low, high,
				      ports);
}

void __fastsocket_none_to_bind(const struct sock *sk, int half,
			       const struct fastsocket_ports *ports)
{
	__fastsocket_exhausted(sock_net(sk), fastsocket_bind_dest(sk, half), ports);
}

/*
 * What a packet of the network layer is of, behind the tags of VLANs if they are
 * still in it; returns where that begins.
 */
static int fastsocket_untagged(const struct sk_buff *skb, __be16 *protocol)
{
	const struct vlan_hdr *vlan;
	struct vlan_hdr _vlan;
	int at = 0;

	*protocol = skb->protocol;
	while (eth_type_vlan(*protocol)) {
		vlan = skb_header_pointer(skb, at, sizeof(_vlan), &_vlan);
		if (!vlan || at == 2 * VLAN_HLEN)
			return -1;
		*protocol = vlan->h_vlan_encapsulated_proto;
		at += VLAN_HLEN;
	}
	return at;
}

/*
 * Packets without a TCP header of their own, be they fragments or in a tunnel,
 * and those with extension headers of IPv6, are nobody's: no rule is asked.
 */
int __fastsocket_steer(const struct sk_buff *skb, struct rps_dev_flow **rflow)
{
#ifdef CONFIG_RPS
	/* As in steer/rcs.rs. */
	static_assert(sizeof(struct rps_dev_flow) == 8);
	static_assert(offsetof(struct rps_dev_flow, last_qtail) == 4);
#endif
	struct fastsocket_flow flow = { 0 };
	const struct ipv6hdr *ip6;
	struct ipv6hdr _ip6;
	const struct iphdr *ip;
	struct iphdr _ip;
	const __be16 *ports;
	__be16 _ports[2], protocol;
	int at, cpu;

	if (skb->pkt_type != PACKET_HOST)
		return -1;
	at = fastsocket_untagged(skb, &protocol);
	if (at < 0)
		return -1;
	switch (protocol) {
	case htons(ETH_P_IP):
		ip = skb_header_pointer(skb, at, sizeof(_ip), &_ip);
		if (!ip || ip->protocol != IPPROTO_TCP || ip_is_fragment(ip) || ip->ihl < 5)
			return -1;
		flow.saddr = &ip->saddr;
		flow.daddr = &ip->daddr;
		at += ip->ihl * 4;
		break;
	case htons(ETH_P_IPV6):
		if (!IS_ENABLED(CONFIG_IPV6))
			return -1;
		ip6 = skb_header_pointer(skb, at, sizeof(_ip6), &_ip6);
		if (!ip6 || ip6->nexthdr != IPPROTO_TCP)
			return -1;
		flow.saddr = &ip6->saddr;
		flow.daddr = &ip6->daddr;
		flow.is_v6 = true;
		at += sizeof(_ip6);
		break;
	default:
		return -1;
	}
	ports = skb_header_pointer(skb, at, sizeof(_ports), _ports);
	if (!ports)
		return -1;
	flow.sport = ntohs(ports[0]);
	flow.dport = ntohs(ports[1]);
	flow.queue = skb->dev->ifindex;
	if (skb_rx_queue_recorded(skb))
		flow.queue += skb_get_rx_queue(skb);
	cpu = static_call(fastsocket_steer_packet)(dev_net(skb->dev), &flow, rflow);
	if (cpu >= 0)
		trace_fastsocket_steer(dev_net(skb->dev), &flow, cpu);
	return cpu;
}

/* What addresses and ports of a socket that gets these packets hash to. */
static u32 fastsocket_flow_hash(const struct net *net, const struct fastsocket_flow *flow)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (flow->is_v6)
		return inet6_ehashfn(net, flow->daddr, flow->dport, flow->saddr,
				     htons(flow->sport));
#endif
	return inet_ehashfn(net, *(const __be32 *)flow->daddr, flow->dport,
			    *(const __be32 *)flow->saddr, htons(flow->sport));
}

/* What is the same in a hash wherever the socket is. */
static u32 fastsocket_key(const struct net *net, u32 hash)
{
	const struct inet_hashinfo *hashinfo = net->ipv4.tcp_death_row.hashinfo;
	u32 home = hashinfo->ehash_home;

	return home ? hash & ~(home | fastsocket_cpu_mask(hashinfo)) : hash;
}

/**
 * fastsocket_flow_key() - by what a connection is known of which packets come.
 * @net: the network namespace of the device that received them.
 * @flow: what they belong to.
 *
 * Others may have the same.
 *
 * Context: any.
 */
u32 fastsocket_flow_key(const struct net *net, const struct fastsocket_flow *flow)
{
	return fastsocket_key(net, fastsocket_flow_hash(net, flow));
}
EXPORT_SYMBOL_GPL(fastsocket_flow_key);

void __fastsocket_used(const struct sock *sk)
{
	const struct net *net = sock_net(sk);

	if (!sk_is_tcp(sk) || READ_ONCE(sk->sk_state) != TCP_ESTABLISHED)
		return;
	rcu_read_lock();
	static_call(fastsocket_steer_used)(net, fastsocket_key(net, sk->sk_hash));
	rcu_read_unlock();
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

	hash = fastsocket_home(hashinfo, fastsocket_flow_hash(net, flow), flow->sport,
			       flow->dport);
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

	hash = fastsocket_home(hashinfo, fastsocket_flow_hash(net, flow), flow->sport,
			       flow->dport);
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
 * fastsocket_processed() - how far is a CPU with what is handed to it?
 * @cpu: the CPU.
 *
 * Context: any.
 * Return: a number that is as far behind what rps_dev_flow.last_qtail got as
 * there are packets left.
 */
u32 fastsocket_processed(unsigned int cpu)
{
#ifdef CONFIG_RPS
	return READ_ONCE(per_cpu(softnet_data, cpu).input_queue_head);
#else
	return 0;
#endif
}
EXPORT_SYMBOL_GPL(fastsocket_processed);

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
	static_call_update(fastsocket_steer_used, ops->used);
	static_branch_enable(&fastsocket_steer_enabled);
	return 0;
}
EXPORT_SYMBOL_GPL(fastsocket_steer_register);

/**
 * fastsocket_steer_learn() - is the module to be told where sockets are used?
 * @uses: whether ops->used is called from now on.
 *
 * For the module that is connected. Context: process, may sleep.
 */
void fastsocket_steer_learn(bool uses)
{
	if (uses)
		static_branch_enable(&fastsocket_used_enabled);
	else
		static_branch_disable(&fastsocket_used_enabled);
}
EXPORT_SYMBOL_GPL(fastsocket_steer_learn);

/**
 * fastsocket_steer_unregister() - disconnect the module.
 *
 * When this returns no CPU is in a hook.
 *
 * Context: process, may sleep.
 */
void fastsocket_steer_unregister(void)
{
	static_branch_disable(&fastsocket_used_enabled);
	static_branch_disable(&fastsocket_steer_enabled);
	static_call_update(fastsocket_steer_own_ports, fastsocket_no_ports);
	static_call_update(fastsocket_steer_exhausted, fastsocket_never_exhausted);
	static_call_update(fastsocket_steer_packet, fastsocket_no_steer);
	static_call_update(fastsocket_steer_used, fastsocket_never_used);
	WRITE_ONCE(fastsocket_ops, NULL);
	synchronize_rcu();
}
EXPORT_SYMBOL_GPL(fastsocket_steer_unregister);
