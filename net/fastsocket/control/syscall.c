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

#include "../internal.h"

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
