/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fastsocket: what the rest of the kernel, beside the network, knows of it.
 */
#ifndef _LINUX_FASTSOCKET_H
#define _LINUX_FASTSOCKET_H

#include <linux/jump_label.h>
#include <linux/net.h>
#include <linux/percpu.h>
#include <linux/sched.h>

/* WF_SYNC, which the scheduler keeps to itself. */
#define FASTSOCKET_WF_SYNC	0x10

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

/**
 * enum fastsocket_woken - whom a wake-up has reached.
 * @FASTSOCKET_WOKE_NOBODY: no task that slept
 * @FASTSOCKET_WOKE_OTHER: tasks that do not serve the CPU in question, and
 *	never took a connection
 * @FASTSOCKET_WOKE_NEW: one that serves it, and never took any
 * @FASTSOCKET_WOKE_HELPER: one that serves another CPU, and has
 * @FASTSOCKET_WOKE_SERVER: one that serves it, and has
 *
 * The last that is true.
 */
enum fastsocket_woken {
	FASTSOCKET_WOKE_NOBODY,
	FASTSOCKET_WOKE_OTHER,
	FASTSOCKET_WOKE_NEW,
	FASTSOCKET_WOKE_HELPER,
	FASTSOCKET_WOKE_SERVER,
};

/**
 * struct fastsocket_waking - a wake-up of this CPU of which that is asked.
 * @serves: what task_struct.fastsocket_cpu is of a new one that serves the CPU
 *	in question; 0 while nobody asks
 * @woken: whom it has reached so far
 *
 * Set and read with interrupts off: what an interrupt wakes is not meant.
 */
struct fastsocket_waking {
	unsigned int serves;
	enum fastsocket_woken woken;
};

DECLARE_PER_CPU(struct fastsocket_waking, fastsocket_waking);

void __fastsocket_left(void);

/* In kernel/sched/, which alone knows. */
bool fastsocket_is_throttled(const struct task_struct *task);

bool __fastsocket_wakes_here(const struct task_struct *task);
void __fastsocket_woke(const struct task_struct *task);

/**
 * fastsocket_forked() - a task was made.
 * @child: the task, a copy of current.
 */
static inline void fastsocket_forked(struct task_struct *child)
{
	if (static_branch_unlikely(&fastsocket_placement_enabled))
		child->fastsocket_cpu = 0;
}

/* May tasks serve CPUs? The two below are asked if so. */
static inline bool fastsocket_places(void)
{
	return static_branch_unlikely(&fastsocket_placement_enabled);
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
	return task->fastsocket_cpu &&
	       (is_idle_task(current) || current->fastsocket_cpu) &&
	       __fastsocket_wakes_here(task);
}

/**
 * fastsocket_woke() - note who was woken, if somebody asks.
 * @task: who was to be woken.
 * @woken: what try_to_wake_up() has said.
 *
 * Context: any, under the lock of the wait queue that @task is at.
 */
static inline void fastsocket_woke(const struct task_struct *task, int woken)
{
	if (woken && this_cpu_read(fastsocket_waking.serves))
		__fastsocket_woke(task);
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

static inline bool fastsocket_places(void)
{
	return false;
}

static inline bool fastsocket_wakes_here(const struct task_struct *task)
{
	return false;
}

static inline void fastsocket_woke(const struct task_struct *task, int woken)
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
