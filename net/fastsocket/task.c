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
#include <linux/cred.h>
#include <linux/export.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/sched/coredump.h>
#include <linux/sched/deadline.h>
#include <linux/sched/isolation.h>
#include <linux/sched/signal.h>
#include <linux/security.h>
#include <linux/uidgid.h>
#include <net/fastsocket.h>

/*
 * The CPUs, online or not, that user and cpuset leave to a task. CPUs that are
 * isolated at boot are for tasks that were given them, by either.
 */
static void fastsocket_wish_mask(struct task_struct *task, struct cpumask *mask)
{
	const struct cpumask *common = housekeeping_cpumask(HK_TYPE_DOMAIN);
	unsigned long flags;
	bool asked;

	cpuset_cpus_allowed(task, mask);
	/* As that of the root's cpuset: nobody has given the task any. */
	if (cpumask_subset(cpu_active_mask, mask))
		asked = false;
	else
		asked = true;

	raw_spin_lock_irqsave(&task->pi_lock, flags);
	if (task->user_cpus_ptr && cpumask_intersects(mask, task->user_cpus_ptr)) {
		cpumask_and(mask, mask, task->user_cpus_ptr);
		asked = true;
	}
	raw_spin_unlock_irqrestore(&task->pi_lock, flags);

	if (!asked)
		cpumask_and(mask, mask, common);
}

/**
 * fastsocket_wish() - the CPUs that a task may be bound to.
 * @task: the task, referenced.
 * @bits: filled in; a bitmap of nr_cpu_ids bits.
 *
 * The intersection of its cpuset, of what sched_setaffinity(2) was asked for,
 * if it was, and of the CPUs online; isolated CPUs only if either names them.
 * What it is bound to now does not count.
 *
 * Context: process, may sleep.
 * Return: 0 or -ENOMEM.
 */
int fastsocket_wish(struct task_struct *task, unsigned long *bits)
{
	cpumask_var_t mask;

	if (!alloc_cpumask_var(&mask, GFP_KERNEL))
		return -ENOMEM;
	fastsocket_wish_mask(task, mask);
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
 * fastsocket_bound_cpu() - the only CPU that a task may run on.
 * @task: the task, referenced.
 *
 * Return: its number, or -1 if there are several.
 */
int fastsocket_bound_cpu(struct task_struct *task)
{
	if (READ_ONCE(task->nr_cpus_allowed) != 1)
		return -1;
	return cpumask_first(task->cpus_ptr);
}
EXPORT_SYMBOL_GPL(fastsocket_bound_cpu);

/**
 * fastsocket_set_served_cpu() - note which CPU a task serves.
 * @task: the task, referenced.
 * @cpu: the CPU, or -1 for none.
 *
 * The hooks of fork, exec and exit are for tasks that serve one.
 *
 * Context: any.
 */
void fastsocket_set_served_cpu(struct task_struct *task, int cpu)
{
	WRITE_ONCE(task->fastsocket_cpu, cpu + 1);
}
EXPORT_SYMBOL_GPL(fastsocket_set_served_cpu);

/**
 * fastsocket_served_cpu() - the CPU that current serves, and runs on.
 *
 * Return: its number, or -1 if there is none, or current may run elsewhere.
 */
int fastsocket_served_cpu(void)
{
	int cpu = (int)READ_ONCE(current->fastsocket_cpu) - 1;

	return cpu == fastsocket_bound_cpu(current) ? cpu : -1;
}
EXPORT_SYMBOL_GPL(fastsocket_served_cpu);

/**
 * fastsocket_get_cred() - who current acts as.
 *
 * Return: its credentials, with a reference.
 */
const struct cred *fastsocket_get_cred(void)
{
	return get_current_cred();
}
EXPORT_SYMBOL_GPL(fastsocket_get_cred);

/**
 * fastsocket_put_cred() - drop a reference to credentials.
 * @cred: what fastsocket_get_cred() said.
 *
 * Context: any.
 */
void fastsocket_put_cred(const struct cred *cred)
{
	put_cred(cred);
}
EXPORT_SYMBOL_GPL(fastsocket_put_cred);

/**
 * fastsocket_may_bind() - could somebody bind current to a CPU?
 * @binder: the credentials of who would.
 *
 * As sched_setaffinity(2) has it, and its security hook: for one's own tasks,
 * and with CAP_SYS_NICE for others'. A SCHED_DEADLINE task was admitted for
 * all the CPUs of its domain.
 *
 * Context: process, may sleep.
 */
bool fastsocket_may_bind(const struct cred *binder)
{
	const struct cred *cred = current_real_cred(), *old;
	int err;

	if (dl_task(current))
		return false;
	if (!uid_eq(binder->euid, cred->euid) &&
	    !uid_eq(binder->euid, cred->uid) &&
	    security_capable(binder, cred->user_ns, CAP_SYS_NICE,
			     CAP_OPT_NOAUDIT))
		return false;

	old = override_creds(binder);
	err = security_task_setscheduler(current);
	revert_creds(old);
	return !err;
}
EXPORT_SYMBOL_GPL(fastsocket_may_bind);

/**
 * fastsocket_pin() - bind a task to a CPU.
 * @task: the task, referenced.
 * @cpu: the CPU, possible.
 *
 * Does not change what the user is taken to have wished for.
 *
 * Context: process, sleeps. If @task is current, it runs on @cpu when this
 * returns 0.
 * Return: 0, -EINVAL if it must not be moved or @cpu is not to be had, -EBUSY
 * for a SCHED_DEADLINE task, or what the security module says.
 */
int fastsocket_pin(struct task_struct *task, unsigned int cpu)
{
	int err;

	if (task->flags & PF_NO_SETAFFINITY)
		return -EINVAL;
	if (dl_task(task))
		return -EBUSY;
	err = security_task_setscheduler(task);
	if (err)
		return err;
	return set_cpus_allowed_ptr(task, cpumask_of(cpu));
}
EXPORT_SYMBOL_GPL(fastsocket_pin);

/**
 * fastsocket_unpin() - let a task run where the user wishes.
 * @task: the task, referenced; it was bound by fastsocket_pin(), or its parent.
 *
 * Context: process, sleeps.
 * Return: 0, -ENOMEM, or -EINVAL if there is no such CPU.
 */
int fastsocket_unpin(struct task_struct *task)
{
	cpumask_var_t mask, now;
	int err = -ENOMEM;

	if (!alloc_cpumask_var(&mask, GFP_KERNEL))
		return err;
	if (!alloc_cpumask_var(&now, GFP_KERNEL))
		goto out;
	/* Until the cpuset has not changed meanwhile. */
	do {
		fastsocket_wish_mask(task, mask);
		err = set_cpus_allowed_ptr(task, mask);
		fastsocket_wish_mask(task, now);
	} while (!err && !cpumask_equal(mask, now));
	free_cpumask_var(now);
out:
	free_cpumask_var(mask);
	return err;
}
EXPORT_SYMBOL_GPL(fastsocket_unpin);

/**
 * fastsocket_asked() - what sched_setaffinity(2) was asked for.
 * @task: the task, referenced.
 * @bits: if it was asked, filled in; a bitmap of nr_cpu_ids bits.
 *
 * The kernel forgets it when all CPUs that the task is bound to go offline,
 * though it was we who bound it.
 *
 * Context: any.
 * Return: a number by which one call of sched_setaffinity(2) is told from the
 * next; 0 if there was none, or it is forgotten.
 */
unsigned long fastsocket_asked(struct task_struct *task, unsigned long *bits)
{
	unsigned long flags, id;

	raw_spin_lock_irqsave(&task->pi_lock, flags);
	id = (unsigned long)task->user_cpus_ptr;
	if (id)
		bitmap_copy(bits, cpumask_bits(task->user_cpus_ptr), nr_cpu_ids);
	raw_spin_unlock_irqrestore(&task->pi_lock, flags);
	return id;
}
EXPORT_SYMBOL_GPL(fastsocket_asked);

/**
 * fastsocket_ask() - set the affinity of a task for its user.
 * @task: the task, referenced.
 * @bits: what fastsocket_asked() said.
 *
 * Context: process, sleeps.
 * Return: as sched_setaffinity(2).
 */
int fastsocket_ask(struct task_struct *task, const unsigned long *bits)
{
	cpumask_var_t mask;
	pid_t pid = 0;
	int err;

	/* 0 is current, and what a task has that is gone, or not to be seen. */
	if (task != current) {
		pid = task_pid_vnr(task);
		if (!pid)
			return -ESRCH;
	}
	if (!zalloc_cpumask_var(&mask, GFP_KERNEL))
		return -ENOMEM;
	bitmap_copy(cpumask_bits(mask), bits, nr_cpu_ids);
	err = sched_setaffinity(pid, mask);
	free_cpumask_var(mask);
	return err;
}
EXPORT_SYMBOL_GPL(fastsocket_ask);

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
 * Return: as fastsocket_task_state().
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
