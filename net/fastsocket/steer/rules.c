// SPDX-License-Identifier: GPL-2.0
/*
 * Fastsocket, the built-in half of steer: the rules of other modules.
 *
 * Built in and in C because other modules are linked to it, whether fastsocket.ko
 * is there or not, and most of them are in C.
 */

#include <linux/cpumask.h>
#include <linux/export.h>
#include <linux/mutex.h>
#include <linux/printk.h>
#include <linux/rculist.h>
#include <linux/string.h>
#include <net/fastsocket_steer.h>

static DEFINE_MUTEX(fastsocket_rules_lock);
static LIST_HEAD(fastsocket_rules);

/**
 * fastsocket_ask_rules() - what do the rules of other modules say?
 * @net: the network namespace of the device that received a packet.
 * @flow: what it belongs to.
 *
 * Context: softirq, under RCU.
 * Return: a CPU, or -1 if none has an opinion.
 */
int fastsocket_ask_rules(const struct net *net, const struct fastsocket_flow *flow)
{
	const struct fastsocket_rule *rule;
	int cpu;

	list_for_each_entry_rcu(rule, &fastsocket_rules, list) {
		cpu = rule->steer(net, flow);
		if (cpu < 0)
			continue;
		if (cpu >= nr_cpu_ids)
			pr_warn_ratelimited("fastsocket: rule %s: there is no CPU %d\n",
					    rule->name, cpu);
		else if (cpu_online(cpu))
			return cpu;
	}
	return -1;
}
EXPORT_SYMBOL_GPL(fastsocket_ask_rules);

/**
 * fastsocket_rule_register() - add a rule.
 * @rule: the rule; it must stay valid until fastsocket_rule_unregister()
 *	returns.
 *
 * Rules are asked in the order in which they were added, before those that
 * fastsocket has, and while fastsocket.ko is there with enable_rps_framework=1.
 *
 * Context: process, may sleep.
 * Return: 0, -EINVAL if it has no name or no function, or -EEXIST if another
 * one has that name.
 */
int fastsocket_rule_register(struct fastsocket_rule *rule)
{
	const struct fastsocket_rule *other;
	int ret = 0;

	if (!rule->name || !*rule->name || !rule->steer)
		return -EINVAL;
	mutex_lock(&fastsocket_rules_lock);
	list_for_each_entry(other, &fastsocket_rules, list)
		if (!strcmp(other->name, rule->name))
			ret = -EEXIST;
	if (!ret)
		list_add_tail_rcu(&rule->list, &fastsocket_rules);
	mutex_unlock(&fastsocket_rules_lock);
	return ret;
}
EXPORT_SYMBOL_GPL(fastsocket_rule_register);

/**
 * fastsocket_rule_unregister() - take a rule out.
 * @rule: one that was added.
 *
 * When this returns, no CPU is in it.
 *
 * Context: process, may sleep.
 */
void fastsocket_rule_unregister(struct fastsocket_rule *rule)
{
	mutex_lock(&fastsocket_rules_lock);
	list_del_rcu(&rule->list);
	mutex_unlock(&fastsocket_rules_lock);
	synchronize_rcu();
}
EXPORT_SYMBOL_GPL(fastsocket_rule_unregister);
