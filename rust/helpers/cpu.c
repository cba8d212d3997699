// SPDX-License-Identifier: GPL-2.0

#include <linux/smp.h>
#include <linux/topology.h>

unsigned int rust_helper_raw_smp_processor_id(void)
{
	return raw_smp_processor_id();
}

int rust_helper_cpu_to_node(int cpu)
{
	return cpu_to_node(cpu);
}
