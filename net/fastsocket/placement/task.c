// SPDX-License-Identifier: GPL-2.0
/*
 * Fastsocket: tasks, the CPUs that they may run on and the one that they serve.
 *
 * In C because bindgen does not know the layout of struct task_struct behind
 * its bit fields, and built in because sched_setaffinity() is not exported.
 */

#include <linux/cpumask.h>
#include <linux/cred.h>
#include <linux/export.h>
#include <linux/pid.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/topology.h>
#include <linux/uidgid.h>
#include <net/fastsocket.h>

#include "../internal.h"

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
	if (READ_ONCE(current->nr_cpus_allowed) != 1)
		return -1;
	return cpumask_first(current->cpus_ptr);
}
EXPORT_SYMBOL_GPL(fastsocket_bound_cpu);

/**
 * fastsocket_may_run_on() - may current run on a CPU?
 * @cpu: the CPU, possible.
 *
 * Return: whether the CPU is online, and left to current by its user, by its
 * cpuset and by the boot line.
 */
bool fastsocket_may_run_on(unsigned int cpu)
{
	return cpu_online(cpu) && cpumask_test_cpu(cpu, current->cpus_ptr);
}
EXPORT_SYMBOL_GPL(fastsocket_may_run_on);

/**
 * fastsocket_bind() - sched_setaffinity(2) of current to one CPU.
 * @cpu: the CPU, possible.
 *
 * Context: process, sleeps.
 * Return: as sched_setaffinity(2).
 */
int fastsocket_bind(unsigned int cpu)
{
	return sched_setaffinity(0, cpumask_of(cpu));
}
EXPORT_SYMBOL_GPL(fastsocket_bind);

/**
 * fastsocket_core() - the core that a CPU is of.
 * @cpu: the CPU, possible.
 *
 * Return: the number of the first of its hardware threads.
 */
unsigned int fastsocket_core(unsigned int cpu)
{
	return cpumask_first(topology_sibling_cpumask(cpu));
}
EXPORT_SYMBOL_GPL(fastsocket_core);

/* How often the module was loaded: what a task has served before is over. */
static u16 fastsocket_generation;

/* It has taken a connection since, and does not only say that it will. */
#define FASTSOCKET_PROVEN	BIT(15)

/* task_struct.fastsocket_cpu of a task that serves a CPU; there are 8192. */
unsigned int fastsocket_serving(unsigned int cpu)
{
	return (u32)fastsocket_generation << 16 | (cpu + 1);
}

static bool fastsocket_serves(const struct task_struct *task, unsigned int cpu)
{
	return (READ_ONCE(task->fastsocket_cpu) & ~FASTSOCKET_PROVEN) ==
	       fastsocket_serving(cpu);
}

/* The CPU that current has said to serve, or -1. */
static int fastsocket_noted_cpu(void)
{
	unsigned int serves = READ_ONCE(current->fastsocket_cpu);

	if (serves >> 16 != fastsocket_generation)
		return -1;
	return (int)(serves & (FASTSOCKET_PROVEN - 1)) - 1;
}

/**
 * fastsocket_took() - current has taken a connection.
 *
 * Who serves a CPU is relied on to come only when it has come once.
 *
 * Return: does it serve one?
 */
bool fastsocket_took(void)
{
	unsigned int serves = READ_ONCE(current->fastsocket_cpu);

	if (serves && !(serves & FASTSOCKET_PROVEN))
		WRITE_ONCE(current->fastsocket_cpu, serves | FASTSOCKET_PROVEN);
	/* It may have been of another load of the module. */
	return fastsocket_noted_cpu() >= 0;
}
EXPORT_SYMBOL_GPL(fastsocket_took);

/**
 * fastsocket_is_served_here() - does current serve this CPU?
 *
 * Context: any; in a softirq, current is who was interrupted.
 * Return: whether it does.
 */
bool fastsocket_is_served_here(void)
{
	return fastsocket_serves(current, raw_smp_processor_id());
}
EXPORT_SYMBOL_GPL(fastsocket_is_served_here);

/**
 * fastsocket_serves_any() - does current serve a CPU?
 *
 * Return: also if it may not run there any more.
 */
bool fastsocket_serves_any(void)
{
	return fastsocket_noted_cpu() >= 0;
}
EXPORT_SYMBOL_GPL(fastsocket_serves_any);

/**
 * fastsocket_current_process() - tell the process of current from others.
 *
 * Return: a number that no other process has at the same time.
 */
unsigned long fastsocket_current_process(void)
{
	return (unsigned long)task_tgid(current);
}
EXPORT_SYMBOL_GPL(fastsocket_current_process);

/**
 * fastsocket_serve() - note which CPU current serves.
 * @cpu: the CPU, or -1 for none.
 *
 * A connection that arrives there wakes it there, if the CPU was idle.
 *
 * Return: the CPU that it served before, or -1.
 */
int fastsocket_serve(int cpu)
{
	int before = fastsocket_noted_cpu();

	WRITE_ONCE(current->fastsocket_cpu,
		   cpu < 0 ? 0 : fastsocket_serving(cpu));
	return before;
}
EXPORT_SYMBOL_GPL(fastsocket_serve);

/**
 * fastsocket_served_cpu() - the CPU that current serves, and may run on.
 *
 * Return: its number, or -1 if there is none.
 */
int fastsocket_served_cpu(void)
{
	int cpu = fastsocket_noted_cpu();

	return cpu >= 0 && cpumask_test_cpu(cpu, current->cpus_ptr) ? cpu : -1;
}
EXPORT_SYMBOL_GPL(fastsocket_served_cpu);

static enum fastsocket_task_state fastsocket_task_state(struct task_struct *task)
{
	unsigned int state = READ_ONCE(task->__state);

	if (READ_ONCE(task->flags) & PF_EXITING)
		return FASTSOCKET_TASK_GONE;
	if (state & (__TASK_STOPPED | __TASK_TRACED | TASK_FROZEN))
		return FASTSOCKET_TASK_STOPPED;
#ifdef CONFIG_CGROUPS
	/* By a cgroup of version 2, where it sleeps like any other. */
	if (task->frozen)
		return FASTSOCKET_TASK_STOPPED;
#endif
	/* It comes when its group has a quota again. */
	if (fastsocket_is_throttled(task))
		return FASTSOCKET_TASK_STOPPED;
	if (state != TASK_RUNNING)
		return FASTSOCKET_TASK_WAITING;
	if (task_cpu(task) == raw_smp_processor_id())
		return FASTSOCKET_TASK_HERE;
	return FASTSOCKET_TASK_RUNNING;
}

/**
 * fastsocket_current_id() - tell current from other tasks.
 *
 * Return: a number that no other task has for as long as somebody keeps what
 * fastsocket_get_pid() says of current; another one after it executed a
 * program from a thread that was not the first.
 */
unsigned long fastsocket_current_id(void)
{
	return (unsigned long)task_pid(current);
}
EXPORT_SYMBOL_GPL(fastsocket_current_id);

/**
 * fastsocket_get_pid() - what current is known by when it is gone.
 *
 * Return: its struct pid, with a reference, to be given up by put_pid().
 */
struct pid *fastsocket_get_pid(void)
{
	return get_task_pid(current, PIDTYPE_PID);
}
EXPORT_SYMBOL_GPL(fastsocket_get_pid);

/**
 * fastsocket_pid_state() - can a task be expected to serve a queue?
 * @pid: what fastsocket_get_pid() said of it.
 *
 * Context: any.
 * Return: FASTSOCKET_TASK_GONE, _STOPPED, _WAITING, _RUNNING, or _HERE for one
 * that runs on this CPU, or is about to.
 */
enum fastsocket_task_state fastsocket_pid_state(struct pid *pid)
{
	enum fastsocket_task_state state = FASTSOCKET_TASK_GONE;
	struct task_struct *task;

	rcu_read_lock();
	task = pid_task(pid, PIDTYPE_PID);
	if (task)
		state = fastsocket_task_state(task);
	rcu_read_unlock();
	return state;
}
EXPORT_SYMBOL_GPL(fastsocket_pid_state);

/* --- hooks ------------------------------------------------------------- */

DEFINE_STATIC_KEY_FALSE(fastsocket_placement_enabled);

static const struct fastsocket_placement_ops *fastsocket_ops;

/* How many CPUs are looked at to find one that is idle. */
#define FASTSOCKET_LOOKS	16

/* Is there a CPU near this one that has nothing to do, and that @task may run on? */
static bool fastsocket_another_is_idle(const struct task_struct *task)
{
	unsigned int cpu, looks = 0;

	for_each_cpu_wrap(cpu, task->cpus_ptr, smp_processor_id()) {
		/* One that is not there is idle, too. */
		if (!cpu_active(cpu))
			continue;
		if (looks++ == FASTSOCKET_LOOKS)
			break;
		if (idle_cpu(cpu))
			return true;
	}
	return false;
}

/* On its own, so that who is woken otherwise saves no registers. */
static noinline bool fastsocket_displaces(const struct task_struct *task)
{
	/* Another user's may say so, and stay. */
	return uid_eq(task_uid(task), current_uid()) &&
	       !fastsocket_another_is_idle(task);
}

/*
 * A CPU is free for who serves it if it is idle, or if all are busy and who runs
 * there is of the same user, serves another one, and belongs there: else each
 * worker that was moved would move the next.
 */
bool __fastsocket_wakes_here(const struct task_struct *task)
{
	unsigned int here = smp_processor_id();

	if (!fastsocket_serves(task, here))
		return false;
	/* If somebody is about to run here, others may have nothing to do. */
	if (is_idle_task(current))
		return idle_cpu(here);
	if (!fastsocket_serves_any() || fastsocket_serves(current, here))
		return false;
	return fastsocket_displaces(task);
}

DEFINE_PER_CPU(struct fastsocket_waking, fastsocket_waking);

void __fastsocket_woke(const struct task_struct *task)
{
	struct fastsocket_waking *waking = this_cpu_ptr(&fastsocket_waking);
	enum fastsocket_woken woken = FASTSOCKET_WOKE_OTHER;
	unsigned int serves = READ_ONCE(task->fastsocket_cpu);

	/* Who was woken and does not run is not counted on, whomever he serves. */
	if (fastsocket_is_throttled(task))
		serves = 0;
	if (serves == waking->serves)
		woken = FASTSOCKET_WOKE_NEW;
	else if (serves == (waking->serves | FASTSOCKET_PROVEN))
		woken = FASTSOCKET_WOKE_SERVER;
	else if (serves & FASTSOCKET_PROVEN && serves >> 16 == fastsocket_generation)
		woken = FASTSOCKET_WOKE_HELPER;
	waking->woken = max(waking->woken, woken);
}

void __fastsocket_left(void)
{
	const struct fastsocket_placement_ops *ops;

	rcu_read_lock();
	ops = READ_ONCE(fastsocket_ops);
	if (ops)
		ops->left();
	rcu_read_unlock();
}

/**
 * fastsocket_placement_register() - let tasks serve CPUs.
 * @ops: what to call; must stay valid until fastsocket_placement_unregister()
 *	returns.
 *
 * Context: process, may sleep.
 * Return: 0, or -EBUSY if a module is connected.
 */
int fastsocket_placement_register(const struct fastsocket_placement_ops *ops)
{
	if (READ_ONCE(fastsocket_ops))
		return -EBUSY;
	/* Nobody serves what was said before. */
	fastsocket_generation++;
	if (cmpxchg(&fastsocket_ops, NULL, ops))
		return -EBUSY;
	static_branch_enable(&fastsocket_placement_enabled);
	return 0;
}
EXPORT_SYMBOL_GPL(fastsocket_placement_register);

/**
 * fastsocket_placement_unregister() - no task serves a CPU any more.
 *
 * When this returns no CPU is in a hook.
 *
 * Context: process, may sleep.
 */
void fastsocket_placement_unregister(void)
{
	static_branch_disable(&fastsocket_placement_enabled);
	WRITE_ONCE(fastsocket_ops, NULL);
	synchronize_rcu();
}
EXPORT_SYMBOL_GPL(fastsocket_placement_unregister);
