// SPDX-License-Identifier: GPL-2.0
/*
 * Fastsocket: the CPUs of a task.
 *
 * Built in and in C because the user's wish is read under a lock of the
 * scheduler, and because cpusets, isolated CPUs and the security hook are not
 * exported.
 */

#include <linux/cpumask.h>
#include <linux/cpuset.h>
#include <linux/export.h>
#include <linux/sched.h>
#include <linux/sched/isolation.h>
#include <linux/security.h>
#include <net/fastsocket.h>

/* The CPUs, online or not, that the user, cpuset and boot line leave to current. */
static void fastsocket_wish_mask(struct cpumask *mask)
{
	bool asked;

	cpuset_cpus_allowed(current, mask);

	raw_spin_lock_irq(&current->pi_lock);
	asked = current->user_cpus_ptr;
	if (asked)
		cpumask_and(mask, mask, current->user_cpus_ptr);
	raw_spin_unlock_irq(&current->pi_lock);

	if (!asked)
		cpumask_and(mask, mask, housekeeping_cpumask(HK_TYPE_DOMAIN));
}

/**
 * fastsocket_wish() - the CPUs that current may be bound to.
 * @bits: filled in; a bitmap of nr_cpu_ids bits.
 *
 * The intersection of its cpuset, of what sched_setaffinity(2) was asked for,
 * if it was, and of the CPUs online; isolated CPUs only if they were asked
 * for. What current is bound to now does not count: a child inherits that from
 * a parent that was bound by us.
 *
 * Context: process, may sleep.
 * Return: 0 or -ENOMEM.
 */
int fastsocket_wish(unsigned long *bits)
{
	cpumask_var_t mask;

	if (!alloc_cpumask_var(&mask, GFP_KERNEL))
		return -ENOMEM;
	fastsocket_wish_mask(mask);
	cpumask_and(mask, mask, cpu_online_mask);
	bitmap_copy(bits, cpumask_bits(mask), nr_cpu_ids);
	free_cpumask_var(mask);
	return 0;
}
EXPORT_SYMBOL_GPL(fastsocket_wish);

/**
 * fastsocket_is_program() - is current a thread of a program?
 *
 * Return: false for a kernel thread or an io_uring worker, which runs on
 * behalf of a program but not as a part of it.
 */
bool fastsocket_is_program(void)
{
	return !(current->flags & (PF_KTHREAD | PF_USER_WORKER));
}
EXPORT_SYMBOL_GPL(fastsocket_is_program);

/**
 * fastsocket_bound_cpu() - the only CPU that current may run on.
 *
 * Return: its number, or -1 if there are several.
 */
int fastsocket_bound_cpu(void)
{
	if (current->nr_cpus_allowed != 1)
		return -1;
	return cpumask_first(current->cpus_ptr);
}
EXPORT_SYMBOL_GPL(fastsocket_bound_cpu);

static int fastsocket_set_cpus(const struct cpumask *mask)
{
	int err;

	if (current->flags & PF_NO_SETAFFINITY)
		return -EINVAL;
	err = security_task_setscheduler(current);
	if (err)
		return err;
	return set_cpus_allowed_ptr(current, mask);
}

/**
 * fastsocket_pin() - bind current to a CPU.
 * @cpu: the CPU, possible.
 *
 * Does not change what the user is taken to have wished for.
 *
 * Context: process, sleeps; runs on @cpu when it returns 0.
 * Return: 0, -EINVAL if it must not be moved or @cpu is not to be had, or what
 * the security module says.
 */
int fastsocket_pin(unsigned int cpu)
{
	return fastsocket_set_cpus(cpumask_of(cpu));
}
EXPORT_SYMBOL_GPL(fastsocket_pin);

/**
 * fastsocket_unpin() - let current run where the user wishes.
 *
 * Context: process, sleeps.
 * Return: as fastsocket_pin(), or -ENOMEM.
 */
int fastsocket_unpin(void)
{
	cpumask_var_t mask;
	int err;

	if (!alloc_cpumask_var(&mask, GFP_KERNEL))
		return -ENOMEM;
	fastsocket_wish_mask(mask);
	err = fastsocket_set_cpus(mask);
	free_cpumask_var(mask);
	return err;
}
EXPORT_SYMBOL_GPL(fastsocket_unpin);

/**
 * fastsocket_task_state() - can a task be expected to serve a queue?
 * @task: the task, referenced or read under RCU.
 *
 * Context: any.
 * Return: FASTSOCKET_TASK_GONE, _STOPPED, _WAITING or _RUNNING.
 */
enum fastsocket_task_state fastsocket_task_state(struct task_struct *task)
{
	unsigned int state = READ_ONCE(task->__state);

	if (READ_ONCE(task->flags) & PF_EXITING)
		return FASTSOCKET_TASK_GONE;
	if (state & (__TASK_STOPPED | __TASK_TRACED | TASK_FROZEN))
		return FASTSOCKET_TASK_STOPPED;
	if (state == TASK_RUNNING)
		return FASTSOCKET_TASK_RUNNING;
	return FASTSOCKET_TASK_WAITING;
}
EXPORT_SYMBOL_GPL(fastsocket_task_state);
