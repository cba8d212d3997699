// SPDX-License-Identifier: GPL-2.0
/*
 * The commands of /dev/fastsocket from a 32-bit program, whose argument has
 * pointers of four bytes. It stands alone: no 32-bit C library is needed.
 */
#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/fastsocket.h>

_Static_assert(sizeof(void *) == 4, "this is for 32 bits");
_Static_assert(sizeof(struct fsocket_ioctl_arg) == 28, "the 32-bit layout");

#define AF_INET		2
#define SOCK_STREAM	1
#define SOCK_NONBLOCK	04000
#define INADDR_LOOPBACK	0x0100007f
#define O_RDONLY	0
#define SHUT_RD		0
#define EPOLL_CTL_ADD	1
#define EPOLLIN		1

struct sockaddr_in {
	unsigned short family, port;
	unsigned int addr;
	char zero[8];
};

struct epoll_event {
	unsigned int events;
	unsigned long long data;
} __attribute__((packed));

static int nr, failed;

static long call(long n, long a, long b, long c, long d)
{
	long ret;

	__asm__ volatile("int $0x80" : "=a"(ret)
			 : "a"(n), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
	return ret;
}

static void put(const char *s)
{
	int len = 0;

	while (s[len])
		len++;
	call(__NR_write, 1, (long)s, len, 0);
}

static void put_int(long val)
{
	char buf[16], *p = buf + sizeof(buf) - 1;
	unsigned long u = val < 0 ? -val : val;

	*p = 0;
	do {
		*--p = '0' + u % 10;
	} while (u /= 10);
	if (val < 0)
		*--p = '-';
	put(p);
}

static void result(int ok, const char *name, long got)
{
	if (!ok) {
		failed = 1;
		put("# got ");
		put_int(got);
		put("\nnot ");
	}
	put("ok ");
	put_int(++nr);
	put(" ");
	put(name);
	put("\n");
}

static struct fsocket_ioctl_arg arg;
static int dev;

/* The rest of it is garbage, as a program may leave it. */
static void clear(int fd)
{
	char *p = (char *)&arg;
	int i;

	for (i = 0; i < (int)sizeof(arg); i++)
		p[i] = 0xa5;
	arg.fd = fd;
}

static long cmd(unsigned int cmd)
{
	return call(__NR_ioctl, dev, cmd, (long)&arg, 0);
}

static long new_socket(unsigned int type)
{
	clear(0xa5a5a5a5);
	arg.op.socket_op.family = AF_INET;
	arg.op.socket_op.type = type;
	arg.op.socket_op.protocol = 0;
	return cmd(FSOCKET_IOC_SOCKET);
}

static void test(void)
{
	struct sockaddr_in sa = { AF_INET, 0, INADDR_LOOPBACK, "" }, peer;
	struct epoll_event ev = { EPOLLIN, 0x1122334455667788ULL }, out = { 0, 0 };
	int len = sizeof(sa), lfd, c, epfd;
	long ret;

	lfd = new_socket(SOCK_STREAM | SOCK_NONBLOCK);
	result(lfd >= 0, "socket", lfd);
	ret = new_socket(0x1000000);
	result(ret == -EINVAL, "socket of a wrong type", ret);
	call(__NR_bind, lfd, (long)&sa, sizeof(sa), 0);

	clear(lfd);
	ret = cmd(FSOCKET_IOC_SPAWN_LISTEN);
	result(ret == -EINVAL, "spawn of what does not listen", ret);
	clear(lfd);
	arg.backlog = 10;
	ret = cmd(FSOCKET_IOC_LISTEN);
	result(ret == 0, "listen", ret);
	clear(lfd);
	arg.op.spawn_op.cpu = -1;
	ret = cmd(FSOCKET_IOC_SPAWN_LISTEN);
	result(ret == 0, "spawn", ret);
	clear(lfd);
	arg.op.spawn_op.cpu = 0x7fffffff;
	ret = cmd(FSOCKET_IOC_SPAWN_LISTEN);
	result(ret == -EINVAL, "spawn on no CPU", ret);
	clear(0xa5a5a5a5);
	ret = cmd(FSOCKET_IOC_SPAWN_ALL_LISTEN);
	result(ret == 0, "spawn all", ret);

	epfd = call(__NR_epoll_create1, 0, 0, 0, 0);
	clear(lfd);
	arg.op.epoll_op.epoll_fd = epfd;
	arg.op.epoll_op.ep_ctl_cmd = EPOLL_CTL_ADD;
	arg.op.epoll_op.ev = &ev;
	ret = cmd(FSOCKET_IOC_EPOLL_CTL);
	result(ret == 0, "epoll_ctl", ret);
	ret = cmd(FSOCKET_IOC_EPOLL_CTL);
	result(ret == -EEXIST, "epoll_ctl again", ret);

	call(__NR_getsockname, lfd, (long)&sa, (long)&len, 0);
	c = new_socket(SOCK_STREAM);
	ret = call(__NR_connect, c, (long)&sa, sizeof(sa), 0);
	result(ret == 0, "connect", ret);
	ret = call(__NR_epoll_wait, epfd, (long)&out, 1, 30000);
	result(ret == 1 && out.data == ev.data, "epoll_wait", ret);

	clear(lfd);
	arg.op.accept_op.sockaddr = &peer;
	arg.op.accept_op.sockaddr_len = &len;
	arg.op.accept_op.flags = 0;
	len = sizeof(peer);
	ret = cmd(FSOCKET_IOC_ACCEPT);
	result(ret >= 0 && len == sizeof(peer) && peer.family == AF_INET &&
	       peer.addr == INADDR_LOOPBACK, "accept", ret);
	ret = cmd(FSOCKET_IOC_ACCEPT);
	result(ret == -EAGAIN, "accept of nothing", ret);
	arg.op.accept_op.flags = 1;
	ret = cmd(FSOCKET_IOC_ACCEPT);
	result(ret == -EINVAL, "accept with a wrong flag", ret);

	clear(lfd);
	arg.op.shutdown_op.how = SHUT_RD;
	ret = cmd(FSOCKET_IOC_SHUTDOWN_LISTEN);
	result(ret == 0, "shutdown", ret);
	clear(lfd);
	ret = cmd(FSOCKET_IOC_CLOSE);
	result(ret == 0, "close", ret);
	ret = cmd(FSOCKET_IOC_CLOSE);
	result(ret == -EBADF, "close again", ret);

	clear(0xa5a5a5a5);
	arg.op.mark_op.addr = &sa;
	arg.op.mark_op.addr_len = sizeof(sa);
	ret = cmd(FSOCKET_IOC_MARK);
	result(ret == 0, "mark", ret);
	ret = cmd(FSOCKET_IOC_MARK);
	result(ret == -EEXIST, "mark again", ret);
	ret = cmd(FSOCKET_IOC_UNMARK);
	result(ret == 0, "unmark", ret);
	arg.op.mark_op.addr_len = sizeof(sa) - 1;
	ret = cmd(FSOCKET_IOC_UNMARK);
	result(ret == -EINVAL, "unmark half an address", ret);
	ret = call(__NR_ioctl, dev, FSOCKET_IOC_RUN, 0, 0);
	result(ret == 0, "run", ret);
	ret = call(__NR_ioctl, dev, FSOCKET_IOC_RUN, 0, 0);
	result(ret == -EALREADY, "run again", ret);

	ret = call(__NR_ioctl, dev, FSOCKET_IOC_SOCKET, 8, 0);
	result(ret == -EFAULT, "bad pointer", ret);
	ret = cmd(_IO(FSOCKET_IOC_MAGIC, 0x0c));
	result(ret == -ENOTTY, "unknown command", ret);
}

/* The stack's alignment at entry is not that of a function's. */
__attribute__((force_align_arg_pointer)) void _start(void)
{
	put("TAP version 13\n");
	dev = call(__NR_open, (long)"/dev/fastsocket", O_RDONLY, 0, 0);
	if (dev < 0) {
		put("1..0 # SKIP fastsocket\n");
		call(__NR_exit, 4, 0, 0, 0);
	}
	test();
	put("1..");
	put_int(nr);
	put("\n");
	call(__NR_exit, failed, 0, 0, 0);
	__builtin_unreachable();
}
