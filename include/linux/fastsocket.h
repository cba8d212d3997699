/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fastsocket: what the rest of the kernel, beside the network, knows of it.
 */
#ifndef _LINUX_FASTSOCKET_H
#define _LINUX_FASTSOCKET_H

#include <linux/jump_label.h>
#include <linux/sched.h>

#ifdef CONFIG_FASTSOCKET_HOOKS

/* On while fastsocket.ko is loaded. */
DECLARE_STATIC_KEY_FALSE(fastsocket_enabled);

void __fastsocket_forked(struct task_struct *child);

/**
 * fastsocket_forked() - current has made a child or a thread.
 * @child: what it made, that has not run yet.
 *
 * A task that fastsocket bound to a CPU gives that on as if the user had
 * asked for it; this takes it back.
 *
 * Context: process, may sleep.
 */
static inline void fastsocket_forked(struct task_struct *child)
{
	if (static_branch_unlikely(&fastsocket_enabled) &&
	    child->nr_cpus_allowed == 1)
		__fastsocket_forked(child);
}

#else

static inline void fastsocket_forked(struct task_struct *child)
{
}

#endif /* CONFIG_FASTSOCKET_HOOKS */

#endif /* _LINUX_FASTSOCKET_H */
