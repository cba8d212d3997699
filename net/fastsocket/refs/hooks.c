// SPDX-License-Identifier: GPL-2.0
/*
 * Fastsocket, the built-in half of refs: references to a network namespace, and
 * the number of TIME_WAIT sockets, for fastsocket.ko.
 *
 * Built in and in C because static keys and static calls are only there for C,
 * and because the network stack cannot call a module directly.
 */

#include <linux/export.h>
#include <linux/fastsocket_label.h>
#include <linux/nsproxy.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/static_call.h>
#include <net/fastsocket_refs.h>
#include <net/inet_timewait_sock.h>
#include <net/net_namespace.h>

DEFINE_STATIC_KEY_FALSE(fastsocket_refs_enabled);
EXPORT_SYMBOL_GPL(fastsocket_refs_enabled);

static const struct fastsocket_refs_ops *fastsocket_ops;

static u32 fastsocket_no_take(struct net *net, enum fastsocket_counter counter,
			      bool resumes, unsigned int cpu)
{
	return 1;
}

static u32 fastsocket_no_give(struct net *net, enum fastsocket_counter counter,
			      u32 number, unsigned int cpu)
{
	return number;
}

static u32 fastsocket_no_settle(struct net *net, enum fastsocket_counter counter)
{
	return 0;
}

DEFINE_STATIC_CALL(fastsocket_refs_take, fastsocket_no_take);
DEFINE_STATIC_CALL(fastsocket_refs_give, fastsocket_no_give);
DEFINE_STATIC_CALL(fastsocket_refs_settle, fastsocket_no_settle);

static refcount_t *fastsocket_count(struct net *net, enum fastsocket_counter counter)
{
	return counter == FASTSOCKET_NAMESPACE ? &net->ns.count :
		&net->ipv4.tcp_death_row.tw_refcount;
}

/**
 * fastsocket_put_refs() - give references back to the counter that all share.
 * @net: a network namespace, that somebody keeps.
 * @counter: which counter of it.
 * @number: how many.
 *
 * Context: any.
 */
void fastsocket_put_refs(struct net *net, enum fastsocket_counter counter, u32 number)
{
	if (!number || !refcount_sub_and_test(number, fastsocket_count(net, counter)))
		return;
	/* TCP has one itself until the namespace goes. */
	if (!WARN_ON_ONCE(counter != FASTSOCKET_NAMESPACE))
		__put_net(net);
}
EXPORT_SYMBOL_GPL(fastsocket_put_refs);

static noinline void fastsocket_get_refs(struct net *net, enum fastsocket_counter counter,
					 u32 number)
{
	/* First here, so that what is in stock has been counted. */
	refcount_add(number, fastsocket_count(net, counter));
	if (number > 1)
		fastsocket_put_refs(net, counter,
				    static_call(fastsocket_refs_give)(net, counter, number - 1,
								      smp_processor_id()));
}

/* Without preemption the module stays, and so does the task on its CPU. */

void __fastsocket_get_ref(struct net *net, enum fastsocket_counter counter, bool resumes)
{
	u32 number;

	preempt_disable();
	number = static_call(fastsocket_refs_take)(net, counter, resumes, smp_processor_id());
	if (unlikely(number))
		fastsocket_get_refs(net, counter, number);
	preempt_enable();
}

void __fastsocket_put_ref(struct net *net, enum fastsocket_counter counter)
{
	u32 number;

	/* What was given is not ours any more, and may have been the last. */
	preempt_disable();
	number = static_call(fastsocket_refs_give)(net, counter, 1, smp_processor_id());
	if (unlikely(number))
		fastsocket_put_refs(net, counter, number);
	preempt_enable();
}

void __fastsocket_settle(struct net *net, enum fastsocket_counter counter)
{
	/* That of the machine does not go. */
	if (counter == FASTSOCKET_NAMESPACE && net == &init_net)
		return;
	rcu_read_lock();
	fastsocket_put_refs(net, counter, static_call(fastsocket_refs_settle)(net, counter));
	rcu_read_unlock();
}

/**
 * fastsocket_is_in() - is current in a network namespace?
 * @net: the namespace.
 *
 * Context: process.
 * Return: whether it is, and so has still to leave it.
 */
bool fastsocket_is_in(const struct net *net)
{
	return current->nsproxy && current->nsproxy->net_ns == net;
}
EXPORT_SYMBOL_GPL(fastsocket_is_in);

bool __fastsocket_tw_is_full(struct net *net)
{
	const struct inet_timewait_death_row *dr = &net->ipv4.tcp_death_row;

	__fastsocket_settle(net, FASTSOCKET_TIME_WAIT);
	return refcount_read(&dr->tw_refcount) - 1 >= READ_ONCE(dr->sysctl_max_tw_buckets);
}

void __fastsocket_get_tw(struct net *net)
{
	const struct inet_timewait_death_row *dr = &net->ipv4.tcp_death_row;
	/* It is settled at the limit: not again and again. */
	int most = READ_ONCE(dr->sysctl_max_tw_buckets) / 4 * 3;

	__fastsocket_get_ref(net, FASTSOCKET_TIME_WAIT, refcount_read(&dr->tw_refcount) <= most);
}

/**
 * fastsocket_refs_register() - connect the module to the hooks.
 * @ops: what to call; must stay valid until fastsocket_refs_unregister() returns.
 *
 * Context: process, may sleep.
 * Return: 0, or -EBUSY if a module is connected.
 */
int fastsocket_refs_register(const struct fastsocket_refs_ops *ops)
{
	if (cmpxchg(&fastsocket_ops, NULL, ops))
		return -EBUSY;
	static_call_update(fastsocket_refs_settle, ops->settle);
	static_call_update(fastsocket_refs_give, ops->give);
	static_branch_enable(&fastsocket_refs_enabled);
	fastsocket_keep_label();
	/*
	 * The last: nothing is in stock until all who leave a namespace are
	 * asked. The module itself resumes only when it has spawned sockets.
	 */
	static_call_update(fastsocket_refs_take, ops->take);
	return 0;
}
EXPORT_SYMBOL_GPL(fastsocket_refs_register);

/**
 * fastsocket_refs_unregister() - disconnect the module.
 *
 * What is in stock then is given back by the module.  When this returns no CPU
 * is in a hook.
 *
 * Context: process, may sleep.
 */
void fastsocket_refs_unregister(void)
{
	static_call_update(fastsocket_refs_take, fastsocket_no_take);
	static_branch_disable(&fastsocket_refs_enabled);
	static_call_update(fastsocket_refs_give, fastsocket_no_give);
	static_call_update(fastsocket_refs_settle, fastsocket_no_settle);
	WRITE_ONCE(fastsocket_ops, NULL);
	synchronize_rcu();
}
EXPORT_SYMBOL_GPL(fastsocket_refs_unregister);
