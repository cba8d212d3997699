/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fastsocket: steering, which CPU the packets of a connection go to.
 *
 * Receive flow deliver: connect(2) takes a port that names the CPU that it runs
 * on, so that the connection's place in the tables is there (see
 * net/fastsocket_established.h), and whoever receives its packets knows where
 * they belong.  The bits that do so are the lowest but one: by that one,
 * connect(2) and bind(2) keep out of each other's way, as ever.  bind(2) to port
 * 0 chooses in the same way.
 *
 * Receive CPU selection: the packets of other connections go to the CPU where a
 * task has last used the socket.
 *
 * Included where ports are chosen and packets received.
 */
#ifndef _NET_FASTSOCKET_STEER_H
#define _NET_FASTSOCKET_STEER_H

#include <linux/bitops.h>
#include <linux/jump_label.h>
#include <linux/smp.h>
#include <linux/types.h>

struct net;
struct rps_dev_flow;
struct sk_buff;
struct sock;

/**
 * struct fastsocket_ports - some of the ports in a range.
 * @first: the lowest.
 * @end: above the highest, and @first plus a multiple of @step.
 * @step: from one to the next; a power of two.
 * @perturb: another number for each CPU, from 0 to 255.
 * @cpu: which CPU they name.
 */
struct fastsocket_ports {
	u32 first;
	u32 end;
	u32 step;
	u32 perturb;
	u32 cpu;
};

/**
 * struct fastsocket_flow - what a TCP packet belongs to, as it came in.
 * @saddr: whence, an address of IPv4 or IPv6.
 * @daddr: whither.
 * @sport: the sender's port.
 * @dport: the receiver's port.
 * @is_v6: are the addresses of IPv6?
 * @queue: a number of the device's queue that it came by, which others may have.
 */
struct fastsocket_flow {
	const void *saddr;
	const void *daddr;
	u16 sport;
	u16 dport;
	bool is_v6;
	u32 queue;
};

/**
 * struct fastsocket_steer_ops - what fastsocket.ko decides.
 * @own_ports: fills in which ports from @low to below @high, and of the parity
 *	of @low, name this CPU; returns false if any will do. @dest is a hash of
 *	where the connection goes. In process context; the task may be moved
 *	meanwhile.
 * @exhausted: those that were tried were taken, for this destination.
 * @steer: returns the CPU that is to process a packet, or -1 if RPS or the one
 *	that received it; may set where it is to be noted how far that CPU's
 *	queue was then. Called in softirq.
 * @used: a task uses a socket here, of which this is the key: see
 *	fastsocket_flow_key(). In process context.
 *
 * All are called under RCU.
 */
struct fastsocket_steer_ops {
	bool (*own_ports)(const struct net *net, u32 dest, u32 low, u32 high,
			  struct fastsocket_ports *ports);
	void (*exhausted)(const struct net *net, u32 dest,
			  const struct fastsocket_ports *ports);
	int (*steer)(const struct net *net, const struct fastsocket_flow *flow,
		     struct rps_dev_flow **rflow);
	void (*used)(const struct net *net, u32 key);
};

/**
 * struct fastsocket_rule - another module's rule; see fastsocket_rule_register().
 * @name: how it is called in messages.
 * @steer: returns the number of the CPU that is to process a packet, or -1 if
 *	the rule has no opinion. If that one is not online, the next rule is
 *	asked. Packets of a connection that have the same answer stay in order.
 *	Called in softirq, under RCU; must not sleep.
 */
struct fastsocket_rule {
	const char *name;
	int (*steer)(const struct net *net, const struct fastsocket_flow *flow);
	/* private: */
	struct list_head list;
};

/* How many of these bind(2) tries, which begins anywhere. */
#define FASTSOCKET_MOST_TRIES	32

#ifdef CONFIG_FASTSOCKET_HOOKS

DECLARE_STATIC_KEY_FALSE(fastsocket_steer_enabled);
DECLARE_STATIC_KEY_FALSE(fastsocket_used_enabled);

/* How many bits of a port name a CPU. */
extern unsigned int fastsocket_cpu_bits;

bool __fastsocket_own_ports(const struct net *net, u32 dest, u32 low, u32 high,
			    struct fastsocket_ports *ports);
void __fastsocket_exhausted(const struct net *net, u32 dest,
			    const struct fastsocket_ports *ports);
bool __fastsocket_ports_to_bind(const struct sock *sk, int half, u32 low, u32 high,
				struct fastsocket_ports *ports);
void __fastsocket_none_to_bind(const struct sock *sk, int half,
			       const struct fastsocket_ports *ports);
int __fastsocket_steer(const struct sk_buff *skb, struct rps_dev_flow **rflow);
void __fastsocket_used(const struct sock *sk);

/* For any module. */
int fastsocket_rule_register(struct fastsocket_rule *rule);
void fastsocket_rule_unregister(struct fastsocket_rule *rule);

/* For fastsocket.ko. */
bool fastsocket_flow_is_home(const struct net *net, const struct fastsocket_flow *flow);
u32 fastsocket_flow_key(const struct net *net, const struct fastsocket_flow *flow);
int fastsocket_ask_rules(const struct net *net, const struct fastsocket_flow *flow);
bool fastsocket_must_queue(void);
u32 fastsocket_processed(unsigned int cpu);
int fastsocket_steer_register(const struct fastsocket_steer_ops *ops);
void fastsocket_steer_learn(bool uses);
void fastsocket_steer_unregister(void);

/**
 * fastsocket_own_ports() - which ports are to be tried first?
 * @net: the network namespace.
 * @dest: a hash of where the connection goes.
 * @low: the lowest port that may be taken.
 * @high: above the highest.
 * @ports: receives those of this CPU.
 *
 * Context: process.
 * Return: whether there are any.
 */
static inline bool fastsocket_own_ports(const struct net *net, u32 dest, u32 low, u32 high,
					struct fastsocket_ports *ports)
{
	return static_branch_unlikely(&fastsocket_steer_enabled) &&
	       __fastsocket_own_ports(net, dest, low, high, ports);
}

/**
 * fastsocket_ports_to_bind() - which ports are to be tried first by bind(2)?
 * @sk: the socket.
 * @half: a number of the range that is tried, or 0.
 * @low: the lowest port that may be taken.
 * @high: above the highest.
 * @ports: receives those of this CPU.
 *
 * Context: process.
 * Return: whether there are any.
 */
static inline bool fastsocket_ports_to_bind(const struct sock *sk, int half, u32 low,
					    u32 high, struct fastsocket_ports *ports)
{
	return static_branch_unlikely(&fastsocket_steer_enabled) &&
	       __fastsocket_ports_to_bind(sk, half, low, high, ports);
}

/* In its lowest bits, so many as there are CPUs: the one that a port names. */
static inline u32 fastsocket_named(u16 port)
{
	return port >> 1;
}

/* Are there rules for packets that come in? */
static inline bool fastsocket_steers(void)
{
	return static_branch_unlikely(&fastsocket_steer_enabled);
}

/**
 * fastsocket_steer() - which CPU is to process a packet?
 * @skb: a packet that a device has received; its data begin with the header of
 *	the network layer.
 * @rflow: may be set to what is to have the tail of that CPU's queue.
 *
 * Context: softirq, under RCU.
 * Return: a CPU that is online, or -1 if no rule has an opinion.
 */
static inline int fastsocket_steer(const struct sk_buff *skb, struct rps_dev_flow **rflow)
{
	return fastsocket_steers() ? __fastsocket_steer(skb, rflow) : -1;
}

/**
 * fastsocket_used() - a task uses a socket on this CPU.
 * @sk: the socket, of any protocol.
 *
 * Context: process.
 */
static inline void fastsocket_used(const struct sock *sk)
{
	if (static_branch_unlikely(&fastsocket_used_enabled))
		__fastsocket_used(sk);
}

/**
 * fastsocket_bind_slot() - where in a table of bound ports one is.
 * @hash: a port, or a hash in whose lowest bits it is.
 * @size: of the table, a power of two.
 *
 * Ports of which four are in a line are those that differ only in the highest
 * bits: all of them name the same CPU.
 */
static inline u32 fastsocket_bind_slot(u32 hash, u32 size)
{
	return rol16(hash, 2) & (size - 1);
}

#else

static inline bool fastsocket_own_ports(const struct net *net, u32 dest, u32 low, u32 high,
					struct fastsocket_ports *ports)
{
	return false;
}

static inline void __fastsocket_exhausted(const struct net *net, u32 dest,
					  const struct fastsocket_ports *ports)
{
}

static inline bool fastsocket_ports_to_bind(const struct sock *sk, int half, u32 low,
					    u32 high, struct fastsocket_ports *ports)
{
	return false;
}

static inline void __fastsocket_none_to_bind(const struct sock *sk, int half,
					     const struct fastsocket_ports *ports)
{
}

static inline bool fastsocket_steers(void)
{
	return false;
}

static inline int fastsocket_steer(const struct sk_buff *skb, struct rps_dev_flow **rflow)
{
	return -1;
}

static inline void fastsocket_used(const struct sock *sk)
{
}

static inline u32 fastsocket_bind_slot(u32 hash, u32 size)
{
	return hash & (size - 1);
}

#endif /* CONFIG_FASTSOCKET_HOOKS */

#endif /* _NET_FASTSOCKET_STEER_H */
