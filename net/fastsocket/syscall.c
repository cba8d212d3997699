// SPDX-License-Identifier: GPL-2.0
/*
 * Fastsocket: the system calls that commands of /dev/fastsocket stand for, and
 * the sockets among the caller's files.
 *
 * Built in and in C because the entry points of the system calls are not
 * exported, and are to stay so: each of these runs the security hooks and
 * checks of the call that it is named after.
 */

#include <linux/export.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/eventpoll.h>
#include <linux/net.h>
#include <linux/rcupdate.h>
#include <linux/seccomp.h>
#include <linux/slab.h>
#include <linux/socket.h>
#include <linux/task_work.h>
#include <linux/uaccess.h>
#include <net/fastsocket.h>
#include <net/sock.h>

#include "internal.h"

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

/* Each returns what the system call would; process context, may sleep. */

int fastsocket_sys_socket(int family, int type, int protocol)
{
	return __sys_socket(family, type, protocol);
}
EXPORT_SYMBOL_GPL(fastsocket_sys_socket);

int fastsocket_sys_listen(int fd, int backlog)
{
	return __sys_listen(fd, backlog);
}
EXPORT_SYMBOL_GPL(fastsocket_sys_listen);

int fastsocket_sys_accept4(int fd, void __user *addr, void __user *addrlen,
			   int flags)
{
	return __sys_accept4(fd, addr, addrlen, flags);
}
EXPORT_SYMBOL_GPL(fastsocket_sys_accept4);

int fastsocket_sys_shutdown(int fd, int how)
{
	return __sys_shutdown(fd, how);
}
EXPORT_SYMBOL_GPL(fastsocket_sys_shutdown);

struct fastsocket_close {
	struct callback_head work;
	struct file *file;
};

static void fastsocket_close_later(struct callback_head *work)
{
	struct fastsocket_close *later;

	later = container_of(work, struct fastsocket_close, work);
	filp_close(later->file, current->files);
	kfree(later);
}

/*
 * The ioctl that this is part of may have its own file without a reference,
 * and then must not close it before it returns: rule 2 of __fget_light().
 */
static int fastsocket_close_device(unsigned int fd)
{
	struct fastsocket_close *later = kmalloc(sizeof(*later), GFP_KERNEL);
	int err;

	if (!later)
		return -ENOMEM;
	err = -EBADF;
	later->file = file_close_fd(fd);
	if (!later->file)
		goto out;
	init_task_work(&later->work, fastsocket_close_later);
	err = task_work_add(current, &later->work, TWA_RESUME);
	if (!err)
		return 0;
	/* Nobody that exits is in an ioctl. */
	filp_close(later->file, current->files);
out:
	kfree(later);
	return err;
}

int fastsocket_sys_close(unsigned int fd)
{
	struct file *file = fget(fd);
	bool ours = file && file->f_op->owner == fastsocket_owner();
	int err;

	if (file)
		fput(file);
	if (ours)
		return fastsocket_close_device(fd);

	err = close_fd(fd);
	/* The descriptor is gone: the call must not be restarted. */
	if (err == -ERESTARTSYS || err == -ERESTARTNOINTR ||
	    err == -ERESTARTNOHAND || err == -ERESTART_RESTARTBLOCK)
		err = -EINTR;
	return err;
}
EXPORT_SYMBOL_GPL(fastsocket_sys_close);

int fastsocket_sys_epoll_ctl(int epfd, int op, int fd, void __user *event)
{
	struct epoll_event epds;

	if (ep_op_has_event(op) && copy_from_user(&epds, event, sizeof(epds)))
		return -EFAULT;
	return do_epoll_ctl(epfd, op, fd, &epds, false);
}
EXPORT_SYMBOL_GPL(fastsocket_sys_epoll_ctl);

/**
 * fastsocket_from_fd() - the TCP socket behind a file descriptor of current.
 * @fd: the descriptor.
 * @file: its file, with a reference for the caller, is stored there.
 *
 * Return: the socket, alive as long as @file; ERR_PTR(-EBADF),
 * ERR_PTR(-ENOTSOCK), ERR_PTR(-EOPNOTSUPP) for a socket of another kind.
 */
struct socket *fastsocket_from_fd(unsigned int fd, struct file **file)
{
	struct file *f = fget(fd);
	struct socket *sock;

	if (!f)
		return ERR_PTR(-EBADF);
	sock = sock_from_file(f);
	if (!sock || !sk_is_tcp(sock->sk)) {
		fput(f);
		return ERR_PTR(sock ? -EOPNOTSUPP : -ENOTSOCK);
	}
	*file = f;
	return sock;
}
EXPORT_SYMBOL_GPL(fastsocket_from_fd);

/**
 * fastsocket_next_listener() - the next listening TCP socket of current.
 * @fd: where to look from; set to the descriptor that was found.
 * @file: as in fastsocket_from_fd().
 *
 * Return: the socket, or NULL if there is none at @fd or above.
 */
struct socket *fastsocket_next_listener(unsigned int *fd, struct file **file)
{
	struct socket *sock;
	struct file *f;

	for (;; ++*fd) {
		rcu_read_lock();
		f = task_lookup_next_fdget_rcu(current, fd);
		rcu_read_unlock();
		if (!f)
			return NULL;
		sock = sock_from_file(f);
		if (sock && sk_is_tcp(sock->sk) &&
		    inet_sk_state_load(sock->sk) == TCP_LISTEN) {
			*file = f;
			return sock;
		}
		fput(f);
		cond_resched();
	}
}
EXPORT_SYMBOL_GPL(fastsocket_next_listener);
