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

/* On while tasks may serve CPUs, and while sockets may be spawned. */
DECLARE_STATIC_KEY_FALSE(fastsocket_placement_enabled);
DECLARE_STATIC_KEY_FALSE(fastsocket_listen_enabled);

/**
 * struct fastsocket_placement_ops - what fastsocket.ko does about tasks.
 * @left: process context: current, which serves a CPU, does not any more,
 *	since it executes another program or, with PF_EXITING, exits.
 */
struct fastsocket_placement_ops {
	void (*left)(void);
};

void __fastsocket_left(void);

bool __fastsocket_wakes_here(const struct task_struct *task);

/**
 * fastsocket_forked() - a task was made.
 * @child: the task, a copy of current.
 */
static inline void fastsocket_forked(struct task_struct *child)
{
	if (static_branch_unlikely(&fastsocket_placement_enabled))
		child->fastsocket_cpu = 0;
}

/**
 * fastsocket_wakes_here() - is a task to run on this CPU?
 * @task: a task that is woken.
 *
 * So it is if it serves this CPU, where something for it has arrived, and if
 * the CPU is free. On a CPU that something else runs on, as a client on the
 * same machine does, the scheduler knows better.
 *
 * Context: any, preemption is off.
 */
static inline bool fastsocket_wakes_here(const struct task_struct *task)
{
	return static_branch_unlikely(&fastsocket_placement_enabled) &&
	       task->fastsocket_cpu && __fastsocket_wakes_here(task);
}

/**
 * fastsocket_execed() - current executes another program.
 *
 * Context: process, may sleep; exec cannot fail any more but by a signal.
 */
static inline void fastsocket_execed(void)
{
	if (static_branch_unlikely(&fastsocket_placement_enabled) && current->fastsocket_cpu)
		__fastsocket_left();
}

/**
 * fastsocket_exited() - current exits.
 *
 * Context: process, may sleep; PF_EXITING is set.
 */
static inline void fastsocket_exited(void)
{
	if (static_branch_unlikely(&fastsocket_placement_enabled) && current->fastsocket_cpu)
		__fastsocket_left();
}

/**
 * fastsocket_is_socket() - can epoll ask a file without a reference to it?
 * @file: a file that is watched; ep->mtx is held.
 *
 * A listening socket that many workers watch is asked on all CPUs.
 *
 * Return: true for a socket, false while no module is there that spawns some.
 */
static inline bool fastsocket_is_socket(struct file *file)
{
	return static_branch_unlikely(&fastsocket_listen_enabled) &&
	       sock_from_file(file);
}

#else

static inline void fastsocket_forked(struct task_struct *child)
{
}

static inline bool fastsocket_wakes_here(const struct task_struct *task)
{
	return false;
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
