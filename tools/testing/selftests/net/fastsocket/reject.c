// SPDX-License-Identifier: GPL-2.0
/*
 * What the commands of /dev/fastsocket refuse, and with which error. Those
 * that stand for a system call are run beside it on the same bad input, and
 * must answer alike.
 */
#include "lib.h"
#include <sys/resource.h>
#include "kselftest_harness.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

FIXTURE(api)
{
	const struct fs_api *api;
};

FIXTURE_VARIANT(api)
{
	bool device;
};

FIXTURE_VARIANT_ADD(api, syscalls) { false };
FIXTURE_VARIANT_ADD(api, device) { true };

FIXTURE_SETUP(api)
{
	self->api = &sys_api;
	if (variant->device) {
		FS_REQUIRE();
		self->api = &dev_api;
	}
}

FIXTURE_TEARDOWN(api) { }

/* Descriptors that a command may be given; made new for each call. */
enum kind {
	FD_NEGATIVE, FD_HUGE, FD_CLOSED, FD_PIPE, FD_FILE, FD_PATH, FD_EPOLL,
	FD_UDP, FD_TCP, FD_TCP_BOUND, FD_TCP_LISTEN, FD_TCP_CONNECTED, FD_TCP6,
	FD_UNIX, FD_UNIX_LISTEN, FD_UNIX_DGRAM, FD_KINDS
};

static int make_fd(enum kind kind)
{
	struct sockaddr_un un = { AF_UNIX };
	struct listener l;
	int p[2], fd;

	switch (kind) {
	case FD_NEGATIVE:
		return -1;
	case FD_HUGE:
		return 0x7ffffff0;
	case FD_PIPE:
		return pipe(p) ? -1 : p[0];
	case FD_FILE:
		return open("/proc/version", O_RDONLY);
	case FD_PATH:
		return open("/", O_PATH);
	case FD_EPOLL:
		return epoll_create1(0);
	case FD_UDP:
		return socket(AF_INET, SOCK_DGRAM, 0);
	case FD_TCP:
		return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	case FD_TCP6:
		return socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
	case FD_TCP_BOUND:
		return listener_bind(&l, V4, SOCK_NONBLOCK, false) ? -1 : l.fd;
	case FD_TCP_LISTEN:
	case FD_TCP_CONNECTED:
		if (listener_open(&l, V4, SOCK_NONBLOCK, false))
			return -1;
		return kind == FD_TCP_LISTEN ? l.fd : client(&l, 0);
	case FD_UNIX:
		return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	case FD_UNIX_DGRAM:
		return socket(AF_UNIX, SOCK_DGRAM, 0);
	case FD_CLOSED:
	case FD_UNIX_LISTEN:
	default:
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		/* No name given: the kernel finds an abstract one. */
		if (fd < 0 || bind(fd, (void *)&un, sizeof(sa_family_t)) || listen(fd, 1))
			return -1;
		if (kind == FD_CLOSED)
			close(fd);
		return fd;
	}
}

#define CHECK(api, kind, call) ({					\
	int fd = make_fd(kind), want = ({ const struct fs_api *a = &sys_api; call; }), got; \
									\
	fd = make_fd(kind);						\
	got = ({ const struct fs_api *a = api; call; });		\
	if (want >= 0 && got >= 0)					\
		want = got;						\
	EXPECT_EQ(want, got)						\
		TH_LOG("descriptor of kind %d", kind);			\
	got;								\
})

FS_TEST(api, socket)
{
	static const struct {
		int family, type, protocol, err;
	} bad[] = {
		{ -1, SOCK_STREAM, 0, -EAFNOSUPPORT },
		{ AF_MAX, SOCK_STREAM, 0, -EAFNOSUPPORT },
		{ 9999, SOCK_STREAM, 0, -EAFNOSUPPORT },
		{ AF_INET, -1, 0, -EINVAL },
		{ AF_INET, 0, 0, -ESOCKTNOSUPPORT },
		{ AF_INET, 11, 0, -EINVAL },
		{ AF_INET, SOCK_STREAM | 0x100000, 0, -EINVAL },
		{ AF_INET, SOCK_STREAM | 0x10, 0, -EINVAL },
		{ AF_INET, SOCK_STREAM, IPPROTO_UDP, -EPROTONOSUPPORT },
		{ AF_INET, SOCK_DGRAM, IPPROTO_TCP, -EPROTONOSUPPORT },
		{ AF_INET, SOCK_STREAM, -1, -EINVAL },
		{ AF_INET6, SOCK_STREAM, 100000, -EINVAL },
		{ AF_INET, SOCK_SEQPACKET, 0, -ESOCKTNOSUPPORT },
		{ AF_UNIX, SOCK_STREAM, 17, -EPROTONOSUPPORT },
		{ AF_UNIX, SOCK_RDM, 0, -ESOCKTNOSUPPORT },
	};
	int i, want;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		want = sys_api.socket(bad[i].family, bad[i].type, bad[i].protocol);
		EXPECT_EQ(bad[i].err, want)
			TH_LOG("row %d", i);
		EXPECT_EQ(want, self->api->socket(bad[i].family, bad[i].type,
						  bad[i].protocol))
			TH_LOG("row %d", i);
	}
}

FS_TEST(api, descriptors_full)
{
	struct rlimit old, full;
	struct listener l;
	int c, p[2];

	ASSERT_EQ(0, listener_open(&l, V4, SOCK_NONBLOCK, false));
	c = client(&l, 0);
	ASSERT_LE(0, c);
	/* Open what the API needs before there is no room for it. */
	ASSERT_EQ(-EBADF, self->api->close(-1));
	ASSERT_EQ(0, pipe(p));
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &old));
	full = old;
	/* Whatever is below is in use; what was opened above stays open. */
	full.rlim_cur = 3;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &full));
	EXPECT_EQ(-EMFILE, self->api->socket(AF_INET, SOCK_STREAM, 0));
	EXPECT_EQ(-EMFILE, self->api->socket(AF_UNIX, SOCK_DGRAM, 0));
	EXPECT_EQ(-EMFILE, self->api->accept(l.fd, NULL, NULL, 0));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));

	/* The connection was not lost. */
	EXPECT_LE(0, self->api->accept(l.fd, NULL, NULL, 0));
}

FS_TEST(api, listen)
{
	enum kind kind;

	for (kind = 0; kind < FD_KINDS; kind++)
		CHECK(self->api, kind, a->listen(fd, 3));
	EXPECT_EQ(-EBADF, self->api->listen(-1, 3));
	EXPECT_EQ(-ENOTSOCK, self->api->listen(make_fd(FD_PIPE), 3));
	EXPECT_EQ(-EBADF, self->api->listen(make_fd(FD_PATH), 3));
	EXPECT_EQ(-EOPNOTSUPP, self->api->listen(make_fd(FD_UDP), 3));
	EXPECT_EQ(-EINVAL, self->api->listen(make_fd(FD_TCP_CONNECTED), 3));
}

FS_TEST(api, listen_address_in_use)
{
	struct sockaddr_storage ss;
	struct listener l;
	socklen_t len;
	int fd;

	/* Both may bind with SO_REUSEADDR, and only one may listen. */
	ASSERT_EQ(0, listener_bind(&l, V4, 0, false));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	ASSERT_EQ(0, set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1));
	len = listener_addr(&l, 0, &ss);
	ASSERT_EQ(0, bind(fd, (void *)&ss, len));
	ASSERT_EQ(0, self->api->listen(l.fd, 1));
	EXPECT_EQ(-EADDRINUSE, self->api->listen(fd, 1));
}

FS_TEST(api, accept)
{
	enum kind kind;

	for (kind = 0; kind < FD_KINDS; kind++) {
		CHECK(self->api, kind, a->accept(fd, NULL, NULL, 0));
		CHECK(self->api, kind, a->accept(fd, NULL, NULL, 1));
		CHECK(self->api, kind, a->accept(fd, NULL, NULL, -1));
		CHECK(self->api, kind, a->accept(fd, (void *)8, (void *)8, 0));
	}
	EXPECT_EQ(-EBADF, self->api->accept(-1, NULL, NULL, 0));
	EXPECT_EQ(-ENOTSOCK, self->api->accept(make_fd(FD_FILE), NULL, NULL, 0));
	EXPECT_EQ(-EOPNOTSUPP, self->api->accept(make_fd(FD_UDP), NULL, NULL, 0));
	EXPECT_EQ(-EINVAL, self->api->accept(make_fd(FD_TCP_BOUND), NULL, NULL, 0));
	EXPECT_EQ(-EINVAL, self->api->accept(make_fd(FD_TCP_CONNECTED), NULL, NULL, 0));
	EXPECT_EQ(-EAGAIN, self->api->accept(make_fd(FD_TCP_LISTEN), NULL, NULL, 0));
	EXPECT_EQ(-EINVAL, self->api->accept(make_fd(FD_TCP_LISTEN), NULL, NULL,
					     SOCK_STREAM));
}

FS_TEST(api, accept_bad_address)
{
	struct sockaddr_storage ss;
	socklen_t neg = -1, len;
	struct listener l;
	int c[5], i;

	ASSERT_EQ(0, listener_open(&l, V4, SOCK_NONBLOCK, false));
	for (i = 0; i < ARRAY_SIZE(c); i++) {
		c[i] = client(&l, 0);
		ASSERT_LE(0, c[i]);
	}
	/* Each of them costs a connection: it is found out too late. */
	EXPECT_EQ(-EFAULT, self->api->accept(l.fd, (void *)&ss, NULL, 0));
	EXPECT_EQ(-EFAULT, self->api->accept(l.fd, (void *)&ss, (void *)8, 0));
	EXPECT_EQ(-EINVAL, self->api->accept(l.fd, (void *)&ss, &neg, 0));
	len = sizeof(ss);
	EXPECT_EQ(-EFAULT, self->api->accept(l.fd, (void *)8, &len, 0));
	len = sizeof(ss);
	EXPECT_LE(0, self->api->accept(l.fd, (void *)&ss, &len, 0));
	EXPECT_EQ(-EAGAIN, self->api->accept(l.fd, (void *)&ss, &len, 0));
}

FS_TEST(api, close)
{
	enum kind kind;

	for (kind = 0; kind < FD_KINDS; kind++)
		CHECK(self->api, kind, a->close(fd));
	EXPECT_EQ(-EBADF, self->api->close(-1));
	EXPECT_EQ(-EBADF, self->api->close(make_fd(FD_HUGE)));
}

FS_TEST(api, epoll_ctl)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int epfd = epoll_create1(0), inner = epoll_create1(0), op, fd;
	static const int ops[] = { EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, 0, 77, -1 };
	enum kind kind;

	ASSERT_LE(0, epfd);
	for (op = 0; op < ARRAY_SIZE(ops); op++) {
		for (kind = 0; kind < FD_KINDS; kind++) {
			CHECK(self->api, kind, a->epoll_ctl(epfd, ops[op], fd, &ev));
			CHECK(self->api, kind, a->epoll_ctl(epfd, ops[op], fd, (void *)8));
			CHECK(self->api, kind, a->epoll_ctl(fd, ops[op], inner, &ev));
		}
	}

	fd = make_fd(FD_PIPE);
	EXPECT_EQ(-ENOENT, self->api->epoll_ctl(epfd, EPOLL_CTL_MOD, fd, &ev));
	EXPECT_EQ(0, self->api->epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev));
	EXPECT_EQ(-EEXIST, self->api->epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev));
	EXPECT_EQ(-EINVAL, self->api->epoll_ctl(epfd, 77, fd, &ev));
	EXPECT_EQ(-EINVAL, self->api->epoll_ctl(epfd, EPOLL_CTL_ADD, epfd, &ev));
	EXPECT_EQ(-EINVAL, self->api->epoll_ctl(fd, EPOLL_CTL_ADD, epfd, &ev));
	EXPECT_EQ(-EPERM, self->api->epoll_ctl(epfd, EPOLL_CTL_ADD,
					       open("/", O_RDONLY), &ev));
	EXPECT_EQ(-EFAULT, self->api->epoll_ctl(epfd, EPOLL_CTL_MOD, fd, (void *)8));
	EXPECT_EQ(-EBADF, self->api->epoll_ctl(-1, EPOLL_CTL_ADD, fd, &ev));
	EXPECT_EQ(-EBADF, self->api->epoll_ctl(epfd, EPOLL_CTL_ADD, -1, &ev));

	/* A circle. */
	EXPECT_EQ(0, self->api->epoll_ctl(epfd, EPOLL_CTL_ADD, inner, &ev));
	EXPECT_EQ(-ELOOP, self->api->epoll_ctl(inner, EPOLL_CTL_ADD, epfd, &ev));
}

FS_TEST(api, shutdown)
{
	static const int how[] = { SHUT_RD, SHUT_WR, SHUT_RDWR, 3, -1, 0x100 };
	enum kind kind;
	int i;

	for (i = 0; i < ARRAY_SIZE(how); i++)
		for (kind = 0; kind < FD_KINDS; kind++)
			CHECK(self->api, kind, a->shutdown(fd, how[i]));
	EXPECT_EQ(-EBADF, self->api->shutdown(-1, SHUT_RD));
	EXPECT_EQ(-ENOTSOCK, self->api->shutdown(make_fd(FD_PIPE), SHUT_RD));
	EXPECT_EQ(-EINVAL, self->api->shutdown(make_fd(FD_TCP_LISTEN), 3));
	EXPECT_EQ(-ENOTCONN, self->api->shutdown(make_fd(FD_TCP_BOUND), SHUT_RD));
}

FS_TEST(api, unprivileged)
{
	static const struct {
		int family, type, protocol;
	} bad[] = {
		{ AF_INET, SOCK_RAW, IPPROTO_ICMP },
		{ AF_INET6, SOCK_RAW, IPPROTO_ICMPV6 },
		{ AF_PACKET, SOCK_RAW, 0 },
	};
	struct listener l;
	pid_t pid;
	int i, fd;

	pid = fork_child();
	ASSERT_LE(0, pid);
	if (!pid) {
		ASSERT_EQ(0, setgid(65534));
		ASSERT_EQ(0, setuid(65534));
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (i = 0; i < ARRAY_SIZE(bad); i++) {
			fd = sys_api.socket(bad[i].family, bad[i].type, bad[i].protocol);
			EXPECT_TRUE(fd == -EPERM || fd == -EAFNOSUPPORT);
			EXPECT_EQ(fd, self->api->socket(bad[i].family, bad[i].type,
							bad[i].protocol));
		}
		/* What anybody may do works for nobody, too. */
		ASSERT_EQ(0, listener_bind(&l, V4, SOCK_NONBLOCK, false));
		EXPECT_EQ(0, self->api->listen(l.fd, 3));
		if (variant->device) {
			EXPECT_EQ(-EACCES, SYS(open(FS_DEVICE, O_RDWR)));
			EXPECT_EQ(0, fs_spawn(l.fd, -1));
		}
		fd = client(&l, 0);
		EXPECT_LE(0, fd);
		EXPECT_LE(0, self->api->accept(l.fd, NULL, NULL, 0));
		_exit(0);
	}
	EXPECT_EQ(0, reap(pid));
}

FIXTURE(dev)
{
	int fd;
};

FIXTURE_SETUP(dev)
{
	FS_REQUIRE();
	self->fd = open(FS_DEVICE, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(dev) { }

FS_TEST(dev, spawn_wrong_socket)
{
	struct listener l;
	int fd;

	EXPECT_EQ(-EBADF, fs_spawn(-1, -1));
	EXPECT_EQ(-EBADF, fs_spawn(make_fd(FD_HUGE), -1));
	EXPECT_EQ(-EBADF, fs_spawn(make_fd(FD_CLOSED), -1));
	EXPECT_EQ(-EBADF, fs_spawn(make_fd(FD_PATH), -1));
	EXPECT_EQ(-ENOTSOCK, fs_spawn(make_fd(FD_PIPE), -1));
	EXPECT_EQ(-ENOTSOCK, fs_spawn(make_fd(FD_EPOLL), -1));
	EXPECT_EQ(-ENOTSOCK, fs_spawn(self->fd, -1));
	EXPECT_EQ(-EINVAL, fs_spawn(make_fd(FD_TCP), -1));
	EXPECT_EQ(-EINVAL, fs_spawn(make_fd(FD_TCP6), -1));
	EXPECT_EQ(-EINVAL, fs_spawn(make_fd(FD_TCP_BOUND), -1));
	EXPECT_EQ(-EINVAL, fs_spawn(make_fd(FD_TCP_CONNECTED), -1));
	EXPECT_EQ(-EOPNOTSUPP, fs_spawn(make_fd(FD_UDP), -1));
	EXPECT_EQ(-EOPNOTSUPP, fs_spawn(make_fd(FD_UNIX_DGRAM), -1));
	EXPECT_EQ(-EOPNOTSUPP, fs_spawn(make_fd(FD_UNIX_LISTEN), -1));

	/* A child of a spawned listener is an ordinary connection. */
	ASSERT_EQ(0, listener_open(&l, V4, 0, true));
	ASSERT_LE(0, client(&l, 0));
	fd = accept(l.fd, NULL, NULL);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINVAL, fs_spawn(fd, -1));

	/* A listener that no longer is one. */
	ASSERT_EQ(0, shutdown(l.fd, SHUT_RD));
	EXPECT_EQ(-EINVAL, fs_spawn(l.fd, -1));
}

FS_TEST(dev, spawn_wrong_cpu)
{
	struct listener l;

	ASSERT_EQ(0, listener_open(&l, V4, SOCK_NONBLOCK, false));
	EXPECT_EQ(-EINVAL, fs_spawn(l.fd, INT32_MAX));
	EXPECT_EQ(-EINVAL, fs_spawn(l.fd, 1 << 20));
	EXPECT_EQ(-EINVAL, fs_spawn(l.fd, sysconf(_SC_NPROCESSORS_CONF)));
	if (cpu_count() > 1) {
		/* A CPU that the caller itself excluded: as sched_setaffinity(2). */
		ASSERT_EQ(0, pin_to(cpu_id(0)));
		EXPECT_EQ(0, fs_spawn(l.fd, cpu_id(1)));
		EXPECT_EQ(cpu_id(1), only_cpu(0));
	}
	/* Refused, it is as good a listener as it was. */
	EXPECT_LE(0, client(&l, 0));
	EXPECT_LE(0, accept_wait(l.fd));
	EXPECT_EQ(0, fs_spawn(l.fd, cpu_id(0)));
}

FS_TEST(dev, spawn_mptcp)
{
	int fd = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);

	if (fd < 0)
		SKIP(return, "no MPTCP in this kernel");
	ASSERT_EQ(0, listen(fd, 1));
	EXPECT_EQ(-EOPNOTSUPP, fs_spawn(fd, -1));
}

/* Signatures are the socket's own affair, whatever queue a connection waits in. */
FS_TEST(dev, spawn_md5)
{
	struct tcp_md5sig key = { .tcpm_keylen = 3, .tcpm_key = "key" };
	struct sockaddr_storage ss;
	struct listener l;
	socklen_t len;
	int c, fd;

	ASSERT_EQ(0, listener_open(&l, V4, SOCK_NONBLOCK, false));
	len = listener_addr(&l, 0, &ss);
	memcpy(&key.tcpm_addr, &ss, len);
	if (setsockopt(l.fd, IPPROTO_TCP, TCP_MD5SIG, &key, sizeof(key)))
		SKIP(return, "no TCP MD5 signatures in this kernel");
	EXPECT_EQ(0, fs_spawn(l.fd, cpu_id(0)));
	c = socket(AF_INET, SOCK_STREAM, 0);
	ASSERT_EQ(0, setsockopt(c, IPPROTO_TCP, TCP_MD5SIG, &key, sizeof(key)));
	ASSERT_EQ(0, connect_wait(c, &ss, len));
	fd = accept_wait(l.fd);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, talk(c, fd));
}

FS_TEST(dev, bad_pointer)
{
	static const unsigned long cmds[] = {
		FSOCKET_IOC_SOCKET, FSOCKET_IOC_LISTEN, FSOCKET_IOC_ACCEPT,
		FSOCKET_IOC_CLOSE, FSOCKET_IOC_EPOLL_CTL, FSOCKET_IOC_SPAWN_LISTEN,
		FSOCKET_IOC_SHUTDOWN_LISTEN, FSOCKET_IOC_MARK, FSOCKET_IOC_UNMARK,
	};
	size_t page = sysconf(_SC_PAGESIZE);
	struct fsocket_ioctl_arg *arg;
	char *map;
	int i;

	map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, mprotect(map + page, page, PROT_NONE));
	for (i = 0; i < ARRAY_SIZE(cmds); i++) {
		EXPECT_EQ(-EFAULT, SYS(ioctl(self->fd, cmds[i], NULL)));
		EXPECT_EQ(-EFAULT, SYS(ioctl(self->fd, cmds[i], map + page)));
		EXPECT_EQ(-EFAULT, SYS(ioctl(self->fd, cmds[i], -1L)));
		EXPECT_EQ(-EFAULT, SYS(ioctl(self->fd, cmds[i], -4096L)));
		/* It begins where one may read, and ends where one may not. */
		EXPECT_EQ(-EFAULT, SYS(ioctl(self->fd, cmds[i], map + page - 4)));
	}

	/* The very last bytes before the hole, read only, will do. */
	arg = (void *)(map + page - sizeof(*arg));
	arg->op.socket_op.family = AF_INET;
	arg->op.socket_op.type = SOCK_STREAM;
	ASSERT_EQ(0, mprotect(map, page, PROT_READ));
	EXPECT_LE(0, SYS(ioctl(self->fd, FSOCKET_IOC_SOCKET, arg)));
}

FS_TEST(dev, unknown_command)
{
	struct fsocket_ioctl_arg arg = { 0 };
	unsigned long cmd[] = {
		_IO(FSOCKET_IOC_MAGIC, 0x00), _IO(FSOCKET_IOC_MAGIC, 0x0c),
		_IO(FSOCKET_IOC_MAGIC, 0xff), _IO(0xf4, 0x01), _IO(0, 0x01),
		_IOW(FSOCKET_IOC_MAGIC, 0x01, struct fsocket_ioctl_arg),
		_IOR(FSOCKET_IOC_MAGIC, 0x04, int), 0, ~0U, 0x5401,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(cmd); i++) {
		EXPECT_EQ(-ENOTTY, SYS(ioctl(self->fd, cmd[i], &arg)));
		EXPECT_EQ(-ENOTTY, SYS(ioctl(self->fd, cmd[i], NULL)));
	}
}

FS_TEST(dev, not_a_stream)
{
	char byte = 0;

	EXPECT_EQ(-EINVAL, SYS(read(self->fd, &byte, 1)));
	EXPECT_EQ(-EBADF, SYS(write(self->fd, &byte, 1)));
}

TEST_HARNESS_MAIN
