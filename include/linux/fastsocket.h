/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fastsocket: what the rest of the kernel, beside the network, knows of it.
 */
#ifndef _LINUX_FASTSOCKET_H
#define _LINUX_FASTSOCKET_H

#include <linux/jump_label.h>
#include <linux/net.h>
#include <linux/sched.h>

#ifdef CONFIG_FASTSOCKET_HOOKS

/* On while fastsocket.ko is loaded. */
DECLARE_STATIC_KEY_FALSE(fastsocket_enabled);

void __fastsocket_forked(struct task_struct *child);
void __fastsocket_left(void);

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
	if (static_branch_unlikely(&fastsocket_enabled) && child->fastsocket_cpu)
		__fastsocket_forked(child);
}

/**
 * fastsocket_execed() - current executes another program.
 *
 * Context: process, may sleep; exec cannot fail any more but by a signal.
 */
static inline void fastsocket_execed(void)
{
	if (static_branch_unlikely(&fastsocket_enabled) && current->fastsocket_cpu)
		__fastsocket_left();
}

/**
 * fastsocket_exited() - current exits.
 *
 * Context: process, may sleep; PF_EXITING is set.
 */
static inline void fastsocket_exited(void)
{
	if (static_branch_unlikely(&fastsocket_enabled) && current->fastsocket_cpu)
		__fastsocket_left();
}

/**
 * fastsocket_is_socket() - can epoll ask a file without a reference to it?
 * @file: a file that is watched; ep->mtx is held.
 *
 * A listening socket that many workers watch is asked on all CPUs.
 *
 * Return: true for a socket, false while fastsocket.ko is not loaded.
 */
static inline bool fastsocket_is_socket(struct file *file)
{
	return static_branch_unlikely(&fastsocket_enabled) &&
	       sock_from_file(file);
}

#else

static inline void fastsocket_forked(struct task_struct *child)
{
}

static inline void fastsocket_execed(void)
{
}

static inline void fastsocket_exited(void)
{
}

static inline bool fastsocket_is_socket(struct file *file)
{
	return false;
}

#endif /* CONFIG_FASTSOCKET_HOOKS */

#endif /* _LINUX_FASTSOCKET_H */
