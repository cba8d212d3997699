// SPDX-License-Identifier: GPL-2.0
/*
 * What the commands of /dev/fastsocket do when they succeed: each is the
 * system call that it stands for. The variant "syscalls" runs the same test
 * on the system calls themselves, which shows that the test is right.
 *
 * Every argument has garbage in the fields that its command does not use.
 */
#include "lib.h"
#include "kselftest_harness.h"

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

static int api_listener(const struct fs_api *api, struct listener *l, enum fam fam)
{
	int ret = listener_bind(l, fam, 0, false);

	return ret ? ret : api->listen(l->fd, 16);
}

FS_TEST(api, socket)
{
	static const struct {
		int family, type, protocol;
	} good[] = {
		{ AF_INET, SOCK_STREAM, 0 },
		{ AF_INET, SOCK_STREAM, IPPROTO_TCP },
		{ AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0 },
		{ AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0 },
		{ AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0 },
		{ AF_INET, SOCK_DGRAM, 0 },
		{ AF_INET6, SOCK_DGRAM, IPPROTO_UDP },
		{ AF_INET, SOCK_RAW, IPPROTO_ICMP },
		{ AF_UNIX, SOCK_STREAM, 0 },
		{ AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0 },
		{ AF_UNIX, SOCK_DGRAM, 0 },
		{ AF_NETLINK, SOCK_RAW, 0 },
	};
	struct stat st;
	int i, fd, type;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		fd = self->api->socket(good[i].family, good[i].type, good[i].protocol);
		ASSERT_LE(0, fd)
			TH_LOG("row %d", i);
		type = good[i].type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
		EXPECT_EQ(good[i].family, get_int(fd, SOL_SOCKET, SO_DOMAIN));
		EXPECT_EQ(type, get_int(fd, SOL_SOCKET, SO_TYPE));
		EXPECT_EQ(!!(good[i].type & SOCK_NONBLOCK),
			  !!(fcntl(fd, F_GETFL) & O_NONBLOCK));
		EXPECT_EQ(good[i].type & SOCK_CLOEXEC ? FD_CLOEXEC : 0,
			  fcntl(fd, F_GETFD));
		EXPECT_EQ(O_RDWR, fcntl(fd, F_GETFL) & O_ACCMODE);
		ASSERT_EQ(0, fstat(fd, &st));
		EXPECT_TRUE(S_ISSOCK(st.st_mode));
		EXPECT_EQ(0, self->api->close(fd));
	}
}

FS_TEST(api, listen_backlog)
{
	struct tcp_info ti;
	socklen_t len = sizeof(ti);
	struct listener l;

	ASSERT_EQ(0, listener_bind(&l, V4, 0, false));
	EXPECT_EQ(0, get_int(l.fd, SOL_SOCKET, SO_ACCEPTCONN));
	ASSERT_EQ(0, self->api->listen(l.fd, 7));
	EXPECT_EQ(1, get_int(l.fd, SOL_SOCKET, SO_ACCEPTCONN));
	ASSERT_EQ(0, getsockopt(l.fd, IPPROTO_TCP, TCP_INFO, &ti, &len));
	EXPECT_EQ(7, ti.tcpi_sacked);

	/* Again, with another; a negative one is the highest. */
	ASSERT_EQ(0, self->api->listen(l.fd, 9));
	ASSERT_EQ(0, getsockopt(l.fd, IPPROTO_TCP, TCP_INFO, &ti, &len));
	EXPECT_EQ(9, ti.tcpi_sacked);
	ASSERT_EQ(0, self->api->listen(l.fd, -1));
	ASSERT_EQ(0, getsockopt(l.fd, IPPROTO_TCP, TCP_INFO, &ti, &len));
	EXPECT_LT(9, ti.tcpi_sacked);
}

FS_TEST(api, listen_unbound)
{
	struct sockaddr_in a = { 0 };
	socklen_t len = sizeof(a);
	int fd = self->api->socket(AF_INET, SOCK_STREAM, 0);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, self->api->listen(fd, 1));
	ASSERT_EQ(0, getsockname(fd, (void *)&a, &len));
	EXPECT_NE(0, a.sin_port);
}

FS_TEST(api, accept_address)
{
	static const enum fam fams[] = { V4, V6, DUAL, DUAL };
	struct sockaddr_storage got, want;
	socklen_t len, want_len;
	struct listener l;
	int i, c, fd;

	for (i = 0; i < ARRAY_SIZE(fams); i++) {
		ASSERT_EQ(0, api_listener(self->api, &l, fams[i]));
		c = client(&l, i);
		ASSERT_LE(0, c);
		memset(&got, 0x5a, sizeof(got));
		len = sizeof(got);
		fd = self->api->accept(l.fd, (void *)&got, &len, 0);
		ASSERT_LE(0, fd);
		want_len = sizeof(want);
		ASSERT_EQ(0, getpeername(fd, (void *)&want, &want_len));
		EXPECT_EQ(want_len, len);
		EXPECT_EQ(0, memcmp(&got, &want, want_len));
		EXPECT_EQ(0, talk(c, fd));
		self->api->close(fd);
		close(c);
		close(l.fd);
	}
}

FS_TEST(api, accept_short_address)
{
	unsigned char buf[64];
	struct listener l;
	socklen_t len = 5;
	int c, fd, i;

	ASSERT_EQ(0, api_listener(self->api, &l, V4));
	c = client(&l, 0);
	ASSERT_LE(0, c);
	memset(buf, 0x5a, sizeof(buf));
	fd = self->api->accept(l.fd, (void *)buf, &len, 0);
	ASSERT_LE(0, fd);
	/* The full length is told, and nothing written beyond the short one. */
	EXPECT_EQ(sizeof(struct sockaddr_in), len);
	for (i = 5; i < sizeof(buf); i++)
		ASSERT_EQ(0x5a, buf[i]);

	/* No address wanted: then the length is not looked at. */
	close(c);
	c = client(&l, 0);
	ASSERT_LE(0, c);
	EXPECT_LE(0, self->api->accept(l.fd, NULL, (void *)8, 0));
}

FS_TEST(api, accept_flags)
{
	static const int flags[] = {
		0, SOCK_NONBLOCK, SOCK_CLOEXEC, SOCK_NONBLOCK | SOCK_CLOEXEC,
	};
	struct listener l;
	int i, c, fd;

	ASSERT_EQ(0, api_listener(self->api, &l, V4));
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		c = client(&l, 0);
		ASSERT_LE(0, c);
		fd = self->api->accept(l.fd, NULL, NULL, flags[i]);
		ASSERT_LE(0, fd);
		EXPECT_EQ(!!(flags[i] & SOCK_NONBLOCK),
			  !!(fcntl(fd, F_GETFL) & O_NONBLOCK));
		EXPECT_EQ(flags[i] & SOCK_CLOEXEC ? FD_CLOEXEC : 0,
			  fcntl(fd, F_GETFD));
		close(fd);
		close(c);
	}

	/* Without a connection: at once, when the socket does not block. */
	ASSERT_EQ(0, set_nonblock(l.fd, true));
	EXPECT_EQ(-EAGAIN, self->api->accept(l.fd, NULL, NULL, 0));
}

FS_TEST(api, accept_timeout)
{
	struct timeval tv = { 0, 300000 };
	struct listener l;
	long long start;

	ASSERT_EQ(0, api_listener(self->api, &l, V4));
	ASSERT_EQ(0, setsockopt(l.fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	start = now_ms();
	EXPECT_EQ(-EAGAIN, self->api->accept(l.fd, NULL, NULL, 0));
	EXPECT_LE(290, now_ms() - start);
}

/* Another thread that bothers the test: signals first, a client later. */
struct bother {
	pthread_t victim;
	pid_t victim_tid;
	atomic_int handled, stop;
	const struct listener *l;
	int c;
};

static struct bother bother;

static void on_signal(int sig)
{
	(void)sig;
	atomic_fetch_add(&bother.handled, 1);
}

static void *bother_main(void *arg)
{
	(void)arg;
	while (!bother.stop && bother.handled < 3) {
		pthread_kill(bother.victim, SIGUSR1);
		sleep_ms(20);
	}
	/* It slept on after the signals; now let it have what it waits for. */
	if (bother.l && wait_asleep(bother.victim_tid))
		bother.c = client(bother.l, 0);
	while (!bother.stop) {
		sleep_ms(20);
		pthread_kill(bother.victim, SIGUSR1);
	}
	return NULL;
}

static int accept_bothered(const struct fs_api *api, int fd, int sa_flags,
			   const struct listener *l)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = sa_flags };
	pthread_t thread;
	int ret;

	memset(&bother, 0, sizeof(bother));
	bother.victim = pthread_self();
	bother.victim_tid = gettid_();
	bother.l = l;
	sigaction(SIGUSR1, &sa, NULL);
	ret = pthread_create(&thread, NULL, bother_main, NULL);
	if (ret)
		return -ret;
	ret = api->accept(fd, NULL, NULL, 0);
	bother.stop = 1;
	pthread_join(thread, NULL);
	return ret;
}

FS_TEST(api, accept_interrupted)
{
	struct timeval tv = { WAIT_MS / 1000, 0 };
	struct listener l;
	int fd;

	ASSERT_EQ(0, api_listener(self->api, &l, V4));
	EXPECT_EQ(-EINTR, accept_bothered(self->api, l.fd, 0, NULL));

	/* SA_RESTART goes on waiting... */
	fd = accept_bothered(self->api, l.fd, SA_RESTART, &l);
	EXPECT_LE(0, fd);
	EXPECT_LE(3, bother.handled);

	/* ...but not when there is a timeout. */
	ASSERT_EQ(0, setsockopt(l.fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	EXPECT_EQ(-EINTR, accept_bothered(self->api, l.fd, SA_RESTART, NULL));
}

FS_TEST(api, accept_blocks)
{
	struct listener l;
	pid_t pid;
	int fd;

	ASSERT_EQ(0, api_listener(self->api, &l, V4));
	pid = fork_child();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (!wait_asleep(getppid()))
			_exit(2);
		fd = client(&l, 0);
		_exit(fd < 0);
	}
	fd = self->api->accept(l.fd, NULL, NULL, 0);
	EXPECT_LE(0, fd);
	EXPECT_EQ(0, reap(pid));
}

FS_TEST(api, close)
{
	int fd = self->api->socket(AF_INET, SOCK_STREAM, 0), p[2], other;
	char byte;

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, self->api->close(fd));
	EXPECT_EQ(-EBADF, SYS(fcntl(fd, F_GETFD)));
	EXPECT_EQ(-EBADF, self->api->close(fd));

	/* Any file, and only that descriptor of it. */
	ASSERT_EQ(0, pipe(p));
	other = dup(p[1]);
	EXPECT_EQ(0, self->api->close(p[1]));
	EXPECT_EQ(1, write(other, "x", 1));
	EXPECT_EQ(0, self->api->close(other));
	EXPECT_EQ(1, read(p[0], &byte, 1));
	EXPECT_EQ(0, read(p[0], &byte, 1));
}

FS_TEST(api, close_frees_port)
{
	struct listener l;

	ASSERT_EQ(0, api_listener(self->api, &l, V4));
	EXPECT_FALSE(refused(&l, 0));
	EXPECT_EQ(0, self->api->close(l.fd));
	EXPECT_TRUE(refused(&l, 0));
}

FS_TEST(api, epoll_ctl)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 0x123456789abcdefULL };
	int epfd = epoll_create1(0), p[2];
	struct epoll_event out;

	ASSERT_LE(0, epfd);
	ASSERT_EQ(0, pipe(p));
	ASSERT_EQ(0, self->api->epoll_ctl(epfd, EPOLL_CTL_ADD, p[0], &ev));
	EXPECT_EQ(0, epoll_wait(epfd, &out, 1, 0));
	ASSERT_EQ(1, write(p[1], "x", 1));
	ASSERT_EQ(1, epoll_wait(epfd, &out, 1, WAIT_MS));
	EXPECT_EQ(EPOLLIN, out.events);
	EXPECT_EQ(0x123456789abcdefULL, out.data.u64);

	ev.events = EPOLLOUT;
	ASSERT_EQ(0, self->api->epoll_ctl(epfd, EPOLL_CTL_MOD, p[0], &ev));
	EXPECT_EQ(0, epoll_wait(epfd, &out, 1, 0));

	/* DEL does not look at the event. */
	ASSERT_EQ(0, self->api->epoll_ctl(epfd, EPOLL_CTL_DEL, p[0], (void *)8));
	EXPECT_EQ(-ENOENT, self->api->epoll_ctl(epfd, EPOLL_CTL_DEL, p[0], NULL));
}

FS_TEST(api, shutdown)
{
	struct listener l;
	int c, fd;

	ASSERT_EQ(0, api_listener(self->api, &l, V4));
	c = client(&l, 0);
	ASSERT_LE(0, c);
	fd = self->api->accept(l.fd, NULL, NULL, 0);
	ASSERT_LE(0, fd);

	/* A write end only does not touch a listener. */
	EXPECT_EQ(0, self->api->shutdown(l.fd, SHUT_WR));
	EXPECT_FALSE(refused(&l, 0));
	EXPECT_EQ(0, self->api->shutdown(l.fd, SHUT_RD));
	EXPECT_TRUE(refused(&l, 0));
	EXPECT_EQ(-EINVAL, self->api->accept(l.fd, NULL, NULL, 0));
	EXPECT_EQ(-ENOTCONN, self->api->shutdown(l.fd, SHUT_RD));

	/* Its children are on their own; and they can be shut down as well. */
	EXPECT_EQ(0, talk(c, fd));
	EXPECT_EQ(0, self->api->shutdown(fd, SHUT_WR));
	EXPECT_EQ(0, read(c, &fd, 1));
}

FIXTURE(dev) { };

FIXTURE_SETUP(dev)
{
	FS_REQUIRE();
}

FIXTURE_TEARDOWN(dev) { }

FS_TEST(dev, spawn)
{
	static const enum fam fams[] = { V4, V6, DUAL };
	struct listener l;
	int i, other, c;

	for (i = 0; i < ARRAY_SIZE(fams); i++) {
		ASSERT_EQ(0, listener_open(&l, fams[i], SOCK_NONBLOCK, false));
		EXPECT_EQ(0, fs_spawn(l.fd, -1));
		/* Again, on the same socket, by whatever descriptor. */
		EXPECT_EQ(0, fs_spawn(l.fd, -1));
		other = dup(l.fd);
		EXPECT_EQ(0, fs_spawn(other, INT32_MIN));
		EXPECT_EQ(-EAGAIN, SYS(accept(l.fd, NULL, NULL)));
		c = client(&l, i);
		EXPECT_LE(0, c);
		EXPECT_LE(0, accept_wait(other));
		close(c);
		close(l.fd);
		close(other);
		EXPECT_TRUE(refused(&l, 0));
	}
}

FS_TEST(dev, spawn_all)
{
	struct listener a, b;
	int udp;

	EXPECT_EQ(0, fs_spawn_all());
	ASSERT_EQ(0, listener_open(&a, V4, SOCK_NONBLOCK, true));
	ASSERT_EQ(0, listener_open(&b, V6, SOCK_NONBLOCK, true));
	/* Others are left alone. */
	udp = socket(AF_INET, SOCK_DGRAM, 0);
	ASSERT_LE(0, udp);
	EXPECT_EQ(0, fs_spawn_all());
	EXPECT_EQ(0, fs_spawn_all());
	close(a.fd);
	EXPECT_EQ(0, fs_spawn_all());
	EXPECT_FALSE(refused(&b, 0));
}

FS_TEST(dev, statistics)
{
	long long before[3], after[3];
	struct listener l;
	int fd;

	before[0] = stat_total("fsocket_stats", "socket");
	before[1] = stat_total("fsocket_stats", "listen");
	before[2] = stat_total("fsocket_stats", "accept_global");
	ASSERT_LE(0, before[0]);
	ASSERT_LE(0, before[1]);
	ASSERT_LE(0, before[2]);
	EXPECT_LE(0, stat_total("fsocket_stats", "accept_local"));
	EXPECT_LE(0, stat_total("fsocket_stats", "accept_foreign"));
	EXPECT_LE(0, stat_total("fsocket_stats", "slots"));
	EXPECT_LE(0, stat_total("fsocket_stats", "pushed"));
	EXPECT_LE(0, stat_total("hash_stat", "lookup_local"));
	EXPECT_LE(0, stat_total("hash_stat", "lookup_global"));

	fd = dev_api.socket(AF_INET, SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, listener_bind(&l, V4, SOCK_NONBLOCK, false));
	ASSERT_EQ(0, dev_api.listen(l.fd, 5));
	ASSERT_EQ(0, fs_spawn(l.fd, -1));
	/* Nobody waits, and nobody else takes: the socket is plain. */
	ASSERT_LE(0, client(&l, 0));
	ASSERT_LE(0, SYS(accept(l.fd, NULL, NULL)));
	EXPECT_EQ(before[2], stat_total("fsocket_stats", "accept_global"));
	/* It waits, and so is seen: there is nothing at its CPU's slot. */
	ASSERT_LE(0, client(&l, 0));
	ASSERT_EQ(0, set_nonblock(l.fd, false));
	ASSERT_LE(0, SYS(accept(l.fd, NULL, NULL)));
	after[0] = stat_total("fsocket_stats", "socket");
	after[1] = stat_total("fsocket_stats", "listen");
	after[2] = stat_total("fsocket_stats", "accept_global");
	EXPECT_EQ(before[0] + 1, after[0]);
	EXPECT_EQ(before[1] + 1, after[1]);
	EXPECT_EQ(before[2] + 1, after[2]);
}

/* FSOCKET_IOC_CLOSE of the only descriptor of the very file that it comes by. */
static int close_itself(int fd)
{
	struct fsocket_ioctl_arg arg;

	memset(&arg, 0xa5, sizeof(arg));
	arg.fd = fd;
	return SYS(ioctl(fd, FSOCKET_IOC_CLOSE, &arg));
}

FS_TEST(dev, close_the_device)
{
	long long taint = file_number("/proc/sys/kernel/tainted");
	int fd = open(FS_DEVICE, O_RDONLY);

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, close_itself(fd));
	EXPECT_EQ(-EBADF, SYS(fcntl(fd, F_GETFD)));
	EXPECT_EQ(-EBADF, close_itself(fd));
	EXPECT_EQ(taint, file_number("/proc/sys/kernel/tainted"));
}

struct closer {
	pthread_barrier_t *together;
	const int *fd;
	int rounds, ret[100];
};

static void *closer_main(void *arg)
{
	struct closer *c = arg;
	int i;

	for (i = 0; i < c->rounds; i++) {
		pthread_barrier_wait(c->together);
		c->ret[i] = close_itself(*c->fd);
		pthread_barrier_wait(c->together);
	}
	return NULL;
}

/* Of two threads, one closes it. */
FS_TEST(dev, close_the_device_at_once)
{
	long long taint = file_number("/proc/sys/kernel/tainted");
	struct closer one = { .rounds = 100 }, two;
	pthread_barrier_t together;
	pthread_t thread;
	int fd, i;

	ASSERT_EQ(0, pthread_barrier_init(&together, NULL, 2));
	one.together = &together;
	one.fd = &fd;
	two = one;
	ASSERT_EQ(0, pthread_create(&thread, NULL, closer_main, &two));
	for (i = 0; i < one.rounds; i++) {
		fd = open(FS_DEVICE, O_RDONLY);
		ASSERT_LE(0, fd);
		pthread_barrier_wait(&together);
		one.ret[i] = close_itself(fd);
		pthread_barrier_wait(&together);
		EXPECT_EQ(-EBADF, SYS(fcntl(fd, F_GETFD)));
		EXPECT_EQ(-EBADF, one.ret[i] + two.ret[i]);
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(taint, file_number("/proc/sys/kernel/tainted"));
}

TEST_HARNESS_MAIN
