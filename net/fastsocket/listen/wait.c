// SPDX-License-Identifier: GPL-2.0
/*
 * Fastsocket: waiting at a slot and at its socket, and waking.
 *
 * In C because poll_wait(), wait queue entries on the stack and wake-ups with
 * a key are inline functions and macros.
 */

#include <linux/aio.h>
#include <linux/export.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/wait.h>
#include <net/fastsocket.h>
#include <net/sock.h>

#include "../internal.h"

/**
 * fastsocket_poll_slot() - register a poller at a slot.
 * @file: the file that is polled.
 * @wq: the wait queue of the slot; lives as long as the socket and then for an
 *	RCU grace period.
 * @wait: the poll table; registers only if it has a function for it.
 *
 * The slot comes first and the socket last, whose registration ends with a
 * full barrier: the caller looks at the queues afterwards.
 */
void fastsocket_poll_slot(struct file *file, struct socket_wq *wq,
			  poll_table *wait)
{
	/* IOCB_CMD_POLL takes one wait queue and no more. */
	if (!aio_polls(wait))
		poll_wait(file, &wq->wait, wait);
}
EXPORT_SYMBOL_GPL(fastsocket_poll_slot);

#define FASTSOCKET_EVENTS	(EPOLLIN | EPOLLPRI | EPOLLRDNORM | EPOLLRDBAND)

/* How many of those who wait exclusively are woken for one child. */
#define FASTSOCKET_TOLD		4

/**
 * fastsocket_wake() - announce a child to those who wait at a queue.
 * @wq: the wait queue, of a slot or of a socket.
 * @cpu: the CPU that the child is for.
 * @enough: whom it should reach.
 *
 * All who do not wait exclusively are told, as by any wake-up; and of those who
 * do, one after the other until one is woken who is @enough, or a few.
 *
 * Context: any; under RCU if @wq may go away.
 * Return: whom it has reached. Who is registered, and does something else, was
 * not asleep, and is not reached. Who waits exclusively and is no task that
 * was woken, as a ring of io_uring, is taken for one who comes.
 */
enum fastsocket_woken fastsocket_wake(struct socket_wq *wq, unsigned int cpu,
				      enum fastsocket_woken enough)
{
	enum fastsocket_woken woken = FASTSOCKET_WOKE_NOBODY;
	void *key = poll_to_key(FASTSOCKET_EVENTS);
	struct wait_queue_entry *entry, *next;
	struct fastsocket_waking *waking;
	int told = 0;
	unsigned long flags;

	if (!skwq_has_sleeper(wq))
		return FASTSOCKET_WOKE_NOBODY;
	spin_lock_irqsave(&wq->wait.lock, flags);
	waking = this_cpu_ptr(&fastsocket_waking);
	waking->serves = fastsocket_serving(cpu);
	list_for_each_entry_safe(entry, next, &wq->wait.head, entry) {
		/* It may be gone after the call. */
		bool exclusive = entry->flags & WQ_FLAG_EXCLUSIVE;
		int ret;

		waking->woken = FASTSOCKET_WOKE_NOBODY;
		ret = entry->func(entry, TASK_INTERRUPTIBLE, FASTSOCKET_WF_SYNC, key);
		if (exclusive && ret > 0 && waking->woken == FASTSOCKET_WOKE_NOBODY)
			waking->woken = FASTSOCKET_WOKE_SERVER;
		woken = max(woken, waking->woken);
		if (ret < 0)
			break;
		if (exclusive && ret && (woken >= enough || ++told == FASTSOCKET_TOLD))
			break;
	}
	waking->serves = 0;
	spin_unlock_irqrestore(&wq->wait.lock, flags);
	return woken;
}
EXPORT_SYMBOL_GPL(fastsocket_wake);

/**
 * fastsocket_rewake() - announce children to the waiters of a socket.
 * @sk: the socket.
 * @number: how many children; as many who wait exclusively are woken.
 *
 * Context: any.
 */
void fastsocket_rewake(struct sock *sk, int number)
{
	struct socket_wq *wq;

	rcu_read_lock();
	wq = rcu_dereference(sk->sk_wq);
	if (skwq_has_sleeper(wq))
		__wake_up(&wq->wait, TASK_INTERRUPTIBLE, number,
			  poll_to_key(FASTSOCKET_EVENTS));
	rcu_read_unlock();
}
EXPORT_SYMBOL_GPL(fastsocket_rewake);

/**
 * fastsocket_rcvtimeo() - how long an accept may wait.
 * @sk: the socket.
 * @flags: the file's flags.
 *
 * Return: jiffies, MAX_SCHEDULE_TIMEOUT for ever, 0 not at all.
 */
long fastsocket_rcvtimeo(struct sock *sk, int flags)
{
	return sock_rcvtimeo(sk, flags & O_NONBLOCK);
}
EXPORT_SYMBOL_GPL(fastsocket_rcvtimeo);

/**
 * fastsocket_wait() - sleep until a connection may be there.
 * @sk: the socket.
 * @wq: the wait queue of the caller's slot, or NULL.
 * @timeo: how long to wait at most, in jiffies; what is left is stored there.
 * @ready: whether there is something to take; must not sleep.
 * @data: its argument.
 *
 * Like every accept(), waits exclusively. A waiter that two wake-ups reached
 * takes one connection: the caller must pass the other wake-up on.
 *
 * Context: process, sleeps.
 * Return: 0 if @ready says so or after any wake-up, else as accept(2) in the
 * order of inet_csk_accept(): -EINVAL, -ERESTARTSYS or -EINTR, -EAGAIN.
 */
int fastsocket_wait(struct sock *sk, struct socket_wq *wq, long *timeo,
		    bool (*ready)(void *data), void *data)
{
	DEFINE_WAIT(at_socket);
	DEFINE_WAIT(at_slot);
	int err = 0;

	/*
	 * Awake until it is at both: a wake-up between them would take it off
	 * the first again.
	 */
	if (wq)
		add_wait_queue_exclusive(&wq->wait, &at_slot);
	add_wait_queue_exclusive(sk_sleep(sk), &at_socket);
	set_current_state(TASK_INTERRUPTIBLE);

	if (ready(data))
		goto out;
	err = -EINVAL;
	if (inet_sk_state_load(sk) != TCP_LISTEN)
		goto out;
	err = sock_intr_errno(*timeo);
	if (signal_pending(current))
		goto out;
	err = -EAGAIN;
	if (!*timeo)
		goto out;

	*timeo = schedule_timeout(*timeo);
	err = 0;
out:
	finish_wait(sk_sleep(sk), &at_socket);
	if (wq)
		finish_wait(&wq->wait, &at_slot);
	return err;
}
EXPORT_SYMBOL_GPL(fastsocket_wait);
