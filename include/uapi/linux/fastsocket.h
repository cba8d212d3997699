/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Fastsocket: the commands of /dev/fastsocket.
 *
 * The numbers and the layout of struct fsocket_ioctl_arg on 64-bit are those
 * of the original Fastsocket, so that a libfsocket.so built for it still runs.
 * Every command takes the same structure and reads only the fields named
 * beside it; the others may hold anything.
 */
#ifndef _UAPI_LINUX_FASTSOCKET_H
#define _UAPI_LINUX_FASTSOCKET_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * struct fsocket_ioctl_arg - argument of every command.
 * @fd: the file descriptor that the command is about.
 * @backlog: FSOCKET_IOC_LISTEN: as listen(2)'s.
 * @op: what else the command needs; one member per command.
 *
 * A 32-bit program passes the same structure with 32-bit pointers.
 */
struct fsocket_ioctl_arg {
	__u32 fd;
	__u32 backlog;
	union {
		/** @op.accept_op: FSOCKET_IOC_ACCEPT: as accept4(2)'s. */
		struct {
			void *sockaddr;
			int *sockaddr_len;
			int flags;
		} accept_op;
		/**
		 * @op.spawn_op: FSOCKET_IOC_SPAWN_LISTEN: the CPU whose
		 * connections the caller wants to serve, or a negative number
		 * to leave the choice to the kernel.
		 */
		struct {
			int cpu;
		} spawn_op;
		/** @op.io_op: reserved. */
		struct {
			char *buf;
			__u32 buf_len;
		} io_op;
		/** @op.socket_op: FSOCKET_IOC_SOCKET: as socket(2)'s. */
		struct {
			__u32 family;
			__u32 type;
			__u32 protocol;
		} socket_op;
		/** @op.shutdown_op: FSOCKET_IOC_SHUTDOWN_LISTEN: as shutdown(2)'s. */
		struct {
			int how;
		} shutdown_op;
		/**
		 * @op.epoll_op: FSOCKET_IOC_EPOLL_CTL: as epoll_ctl(2)'s
		 * (@size and @time_out are not used).
		 */
		struct {
			__u32 epoll_fd;
			__u32 size;
			__u32 ep_ctl_cmd;
			__u32 time_out;
			struct epoll_event *ev;
		} epoll_op;
		/**
		 * @op.mark_op: FSOCKET_IOC_MARK, FSOCKET_IOC_UNMARK: a
		 * struct sockaddr_in or sockaddr_in6, and its size.
		 */
		struct {
			void *addr;
			__u32 addr_len;
		} mark_op;
	} op;
};

#define FSOCKET_IOC_MAGIC		0xf5

/* socket(2); returns a file descriptor. */
#define FSOCKET_IOC_SOCKET		_IO(FSOCKET_IOC_MAGIC, 0x01)
/* listen(2). */
#define FSOCKET_IOC_LISTEN		_IO(FSOCKET_IOC_MAGIC, 0x02)
/* accept4(2); returns a file descriptor. */
#define FSOCKET_IOC_ACCEPT		_IO(FSOCKET_IOC_MAGIC, 0x03)
/* close(2). */
#define FSOCKET_IOC_CLOSE		_IO(FSOCKET_IOC_MAGIC, 0x04)
/* epoll_ctl(2). */
#define FSOCKET_IOC_EPOLL_CTL		_IO(FSOCKET_IOC_MAGIC, 0x05)
/* Let a listening TCP socket have an accept queue on every CPU. */
#define FSOCKET_IOC_SPAWN_LISTEN	_IO(FSOCKET_IOC_MAGIC, 0x06)
/* shutdown(2) of a listening socket. */
#define FSOCKET_IOC_SHUTDOWN_LISTEN	_IO(FSOCKET_IOC_MAGIC, 0x07)
/*
 * FSOCKET_IOC_SPAWN_LISTEN for every listening TCP socket that the caller has
 * open, without a choice of CPU; reads no field.
 */
#define FSOCKET_IOC_SPAWN_ALL_LISTEN	_IO(FSOCKET_IOC_MAGIC, 0x08)

/*
 * For programs that know nothing of this: sockets are spawned when they begin
 * to listen.
 */

/*
 * From now on, those of the caller's network namespace that are bound to the
 * address, which must have a port. The wildcard address stands for all of its
 * family, and a sin6_scope_id of 0 for all. Needs CAP_NET_ADMIN.
 */
#define FSOCKET_IOC_MARK		_IO(FSOCKET_IOC_MAGIC, 0x09)
/* Takes an FSOCKET_IOC_MARK back. Sockets that are spawned stay so. */
#define FSOCKET_IOC_UNMARK		_IO(FSOCKET_IOC_MAGIC, 0x0a)
/*
 * While this open file is, those of the calling process and its descendants;
 * reads no field. Descendants that run as another user, or have privileges by
 * their file, count only if the caller has CAP_NET_ADMIN.
 */
#define FSOCKET_IOC_RUN			_IO(FSOCKET_IOC_MAGIC, 0x0b)

#endif /* _UAPI_LINUX_FASTSOCKET_H */
