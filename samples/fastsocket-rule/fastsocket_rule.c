// SPDX-License-Identifier: GPL-2.0
/*
 * A steering rule for fastsocket: a CPU processes all that is from or to a port.
 *
 *	modprobe fastsocket enable_rps_framework=1
 *	modprobe fastsocket_rule port=5432 cpu=3
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <net/fastsocket_steer.h>

static ushort port;
module_param(port, ushort, 0644);
MODULE_PARM_DESC(port, "TCP port, 0: none");

static int cpu;
module_param(cpu, int, 0644);
MODULE_PARM_DESC(cpu, "Number of the CPU");

static int steer(const struct net *net, const struct fastsocket_flow *flow)
{
	u16 wanted = READ_ONCE(port);

	if (!wanted || (flow->sport != wanted && flow->dport != wanted))
		return -1;
	return READ_ONCE(cpu);
}

static struct fastsocket_rule rule = {
	.name = KBUILD_MODNAME,
	.steer = steer,
};

static int __init rule_init(void)
{
	return fastsocket_rule_register(&rule);
}

static void __exit rule_exit(void)
{
	fastsocket_rule_unregister(&rule);
}

module_init(rule_init);
module_exit(rule_exit);
MODULE_DESCRIPTION("Sample steering rule for fastsocket");
MODULE_LICENSE("GPL");
