// SPDX-License-Identifier: GPL-2.0
/*
 * Fastsocket: whose process asks, and where it stems from.
 *
 * In C because bindgen does not know the layout of struct task_struct behind
 * its bit fields.
 */

#include <linux/cred.h>
#include <linux/export.h>
#include <linux/sched.h>
#include <linux/sched/coredump.h>
#include <linux/sched/signal.h>
#include <linux/seccomp.h>
#include <linux/uidgid.h>
#include <net/fastsocket.h>

/**
 * fastsocket_process() - tell processes apart.
 * @task: a thread of the process, referenced.
 *
 * Return: a number that no other process has for as long as @task is
 * referenced, and that stays the same when the process executes a program.
 */
unsigned long fastsocket_process(struct task_struct *task)
{
	return (unsigned long)task->signal;
}
EXPORT_SYMBOL_GPL(fastsocket_process);

/**
 * fastsocket_ancestry() - the process of current and those that it stems from.
 * @ids: filled in, as fastsocket_process() numbers them, the nearest first.
 * @room: how many there is room for; further ones are left out.
 *
 * Context: any.
 * Return: how many there are in @ids.
 */
unsigned int fastsocket_ancestry(unsigned long *ids, unsigned int room)
{
	struct task_struct *task = current, *parent;
	unsigned int n = 0;

	rcu_read_lock();
	while (n < room) {
		ids[n++] = fastsocket_process(task);
		parent = rcu_dereference(task->real_parent);
		/* The first task is its own parent. */
		if (parent == task)
			break;
		task = parent;
	}
	rcu_read_unlock();
	return n;
}
EXPORT_SYMBOL_GPL(fastsocket_ancestry);

/**
 * fastsocket_euid() - the effective user of current.
 *
 * Return: its number in the initial user namespace.
 */
u32 fastsocket_euid(void)
{
	return __kuid_val(current_euid());
}
EXPORT_SYMBOL_GPL(fastsocket_euid);

/**
 * fastsocket_runs_for() - is current an ordinary program of a user?
 * @euid: the user, as fastsocket_euid() numbers it.
 *
 * Return: false as well if it got privileges when it was executed, from the
 * set-user-ID bit or file capabilities, or must not be looked into for another
 * reason.
 */
bool fastsocket_runs_for(u32 euid)
{
	return fastsocket_euid() == euid && current->mm &&
	       get_dumpable(current->mm) == SUID_DUMP_USER;
}
EXPORT_SYMBOL_GPL(fastsocket_runs_for);

/**
 * fastsocket_is_filtered() - are the system calls of current filtered?
 *
 * A filter of seccomp(2) sees system calls, and not what an ioctl stands for.
 *
 * Return: true under a filter and in strict mode.
 */
bool fastsocket_is_filtered(void)
{
	return seccomp_mode(&current->seccomp) != SECCOMP_MODE_DISABLED;
}
EXPORT_SYMBOL_GPL(fastsocket_is_filtered);
