// SPDX-License-Identifier: GPL-2.0
/*
 * Fastsocket: tracepoints.
 *
 * In C, and built in, because 6.12 can define them in C only.
 */

#include <linux/export.h>
#include <net/fastsocket.h>
#include <net/sock.h>

#define CREATE_TRACE_POINTS
#include <trace/events/fastsocket.h>

/**
 * fastsocket_trace_spawn() - a slot was made.
 * @sk: the socket.
 * @cpu: whose slot it is.
 *
 * Context: any, as of all here.
 */
void fastsocket_trace_spawn(const struct sock *sk, int cpu)
{
	trace_fastsocket_spawn(sk, cpu);
}
EXPORT_SYMBOL_GPL(fastsocket_trace_spawn);

/**
 * fastsocket_trace_overflow() - a slot has a consumer, but does not take a SYN.
 * @sk: the socket, that takes it.
 * @cpu: whose slot it is.
 */
void fastsocket_trace_overflow(const struct sock *sk, int cpu)
{
	trace_fastsocket_overflow(sk, cpu);
}
EXPORT_SYMBOL_GPL(fastsocket_trace_overflow);

/**
 * fastsocket_trace_accept() - a connection was accepted.
 * @sk: the socket.
 * @cpu: whose slot it came from, or -1 for the socket's own queue.
 * @from: what that is to the task.
 */
void fastsocket_trace_accept(const struct sock *sk, int cpu,
			     enum fastsocket_accept from)
{
	trace_fastsocket_accept(sk, cpu, from);
}
EXPORT_SYMBOL_GPL(fastsocket_trace_accept);

/**
 * fastsocket_trace_migrate() - connections were moved to the socket's queue.
 * @sk: the socket.
 * @cpu: whose slot they were in.
 * @moved: how many.
 */
void fastsocket_trace_migrate(const struct sock *sk, int cpu, u32 moved)
{
	trace_fastsocket_migrate(sk, cpu, moved);
}
EXPORT_SYMBOL_GPL(fastsocket_trace_migrate);
