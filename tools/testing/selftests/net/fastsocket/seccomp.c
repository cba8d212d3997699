// SPDX-License-Identifier: GPL-2.0
/*
 * Who is under a seccomp filter does not get a system call by the device that
 * the filter could have refused: the commands that stand for one fail, and do
 * nothing. Those that are only about spawning are nothing that a filter knows.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include "lib.h"
#include "kselftest_harness.h"

/* The commands that stand for a system call. */
static const unsigned long calls[] = {
	FSOCKET_IOC_SOCKET, FSOCKET_IOC_LISTEN, FSOCKET_IOC_ACCEPT,
	FSOCKET_IOC_CLOSE, FSOCKET_IOC_EPOLL_CTL, FSOCKET_IOC_SHUTDOWN_LISTEN,
};

/* All that there are, and some more. */
#define FAMILIES	50

/* A filter that refuses nothing: that there is one counts. */
static int filter(unsigned int flags)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog prog = { .len = 1, .filter = &allow };
	int ret = SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));

	return ret ? ret : SYS(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog));
}

/* How a command enters the kernel. */
typedef int (*enter_fn)(int dev, unsigned long cmd, struct fsocket_ioctl_arg *arg);

static int enter(int dev, unsigned long cmd, struct fsocket_ioctl_arg *arg)
{
	return SYS(ioctl(dev, cmd, arg));
}

#ifdef __x86_64__
/* As a 32-bit program: @arg must be where such a one can have it. */
static int enter_compat(int dev, unsigned long cmd, struct fsocket_ioctl_arg *arg)
{
	int ret;

	asm volatile("int $0x80" : "=a"(ret)
		     : "0"(54), "b"(dev), "c"(cmd), "d"(arg)
		     : "memory", "r8", "r9", "r10", "r11");
	return ret;
}
#else
#define enter_compat	enter
#endif

FIXTURE(filtered)
{
	struct listener l, idle;
	struct fsocket_ioctl_arg *arg;
	enter_fn enter;
	int dev, c, epfd;
};

FIXTURE_VARIANT(filtered)
{
	enum fam fam;
	uid_t uid;
	bool compat;
};

FIXTURE_VARIANT_ADD(filtered, v4) { V4, NOBODY };
FIXTURE_VARIANT_ADD(filtered, v6) { V6, NOBODY };
FIXTURE_VARIANT_ADD(filtered, root) { V4, 0 };
FIXTURE_VARIANT_ADD(filtered, compat) { V4, NOBODY, true };

FIXTURE_SETUP(filtered)
{
	FS_REQUIRE();
	self->dev = open(FS_DEVICE, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->dev);
	if (variant->uid) {
		ASSERT_EQ(0, setresgid(variant->uid, variant->uid, variant->uid));
		ASSERT_EQ(0, setresuid(variant->uid, variant->uid, variant->uid));
		/* As a program of this user that it has executed is. */
		ASSERT_EQ(0, prctl(PR_SET_DUMPABLE, 1));
	}
	self->enter = variant->compat ? enter_compat : enter;
	self->arg = mmap(NULL, sizeof(*self->arg), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	ASSERT_NE(MAP_FAILED, self->arg);
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK, true));
	ASSERT_EQ(0, listener_bind(&self->idle, variant->fam, SOCK_NONBLOCK, false));
	self->c = client(&self->l, 0);
	ASSERT_LE(0, self->c);
	self->epfd = epoll_create1(EPOLL_CLOEXEC);
	ASSERT_LE(0, self->epfd);
}

FIXTURE_TEARDOWN(filtered) { }

static struct fsocket_ioctl_arg *clear(FIXTURE_DATA(filtered) *self, int fd)
{
	memset(self->arg, 0, sizeof(*self->arg));
	self->arg->fd = fd;
	return self->arg;
}

static int dev_socket(FIXTURE_DATA(filtered) *self, int family, int type)
{
	struct fsocket_ioctl_arg *arg = clear(self, 0);

	arg->op.socket_op.family = family;
	arg->op.socket_op.type = type;
	return self->enter(self->dev, FSOCKET_IOC_SOCKET, arg);
}

static void set_epoll(FIXTURE_DATA(filtered) *self, struct epoll_event *ev)
{
	struct fsocket_ioctl_arg *arg = clear(self, self->l.fd);

	arg->op.epoll_op.epoll_fd = self->epfd;
	arg->op.epoll_op.ep_ctl_cmd = EPOLL_CTL_ADD;
	arg->op.epoll_op.ev = ev;
}

/* Of no family, known or not: one line says which were let through. */
static void expect_no_socket(struct __test_metadata *_metadata, FIXTURE_DATA(filtered) *self)
{
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, -1 };
	char line[8 * FAMILIES] = "";
	int family, i, other, len = 0;

	for (family = -1; family < FAMILIES; family++) {
		other = 0;
		for (i = 0; i < ARRAY_SIZE(types); i++)
			other += dev_socket(self, family, types[i]) != -EPERM;
		if (other)
			len += sprintf(line + len, " %d", family);
	}
	EXPECT_EQ(0, len)
		TH_LOG("families:%s", line);
}

/* Each command fails, and leaves everything as it is. */
static void expect_nothing(struct __test_metadata *_metadata, FIXTURE_DATA(filtered) *self)
{
	struct epoll_event *ev = (void *)(self->arg + 1), out;
	int fd = dup(0);

	close(fd);
	expect_no_socket(_metadata, self);
	clear(self, self->idle.fd)->backlog = 5;
	EXPECT_EQ(-EPERM, self->enter(self->dev, FSOCKET_IOC_LISTEN, self->arg));
	EXPECT_EQ(0, get_int(self->idle.fd, SOL_SOCKET, SO_ACCEPTCONN));

	EXPECT_EQ(POLLIN, poll_one(self->l.fd, POLLIN, WAIT_MS));
	EXPECT_EQ(-EPERM, self->enter(self->dev, FSOCKET_IOC_ACCEPT, clear(self, self->l.fd)));
	EXPECT_EQ(POLLIN, poll_one(self->l.fd, POLLIN, 0));

	memset(ev, 0, sizeof(*ev));
	ev->events = EPOLLIN;
	set_epoll(self, ev);
	EXPECT_EQ(-EPERM, self->enter(self->dev, FSOCKET_IOC_EPOLL_CTL, self->arg));
	EXPECT_EQ(0, epoll_wait(self->epfd, &out, 1, 0));

	EXPECT_EQ(-EPERM, self->enter(self->dev, FSOCKET_IOC_SHUTDOWN_LISTEN,
				      clear(self, self->l.fd)));
	EXPECT_EQ(1, get_int(self->l.fd, SOL_SOCKET, SO_ACCEPTCONN));
	EXPECT_EQ(-EPERM, self->enter(self->dev, FSOCKET_IOC_CLOSE, clear(self, self->l.fd)));
	EXPECT_EQ(-EPERM, self->enter(self->dev, FSOCKET_IOC_CLOSE, clear(self, self->dev)));
	EXPECT_EQ(FD_CLOEXEC, SYS(fcntl(self->l.fd, F_GETFD)));
	EXPECT_EQ(FD_CLOEXEC, SYS(fcntl(self->dev, F_GETFD)));
	/* And no descriptor has come. */
	EXPECT_EQ(fd, dup(0));
	close(fd);
}

static void expect_refused(struct __test_metadata *_metadata, FIXTURE_DATA(filtered) *self)
{
	cpu_set_t before, after;
	static const int fds[] = { -1, 0, 1000000, INT32_MAX };
	int i, k;

	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		for (k = 0; k < ARRAY_SIZE(fds); k++)
			EXPECT_EQ(-EPERM, self->enter(self->dev, calls[i], clear(self, fds[k])))
				TH_LOG("command %#lx, descriptor %d", calls[i], fds[k]);
		EXPECT_EQ(-EPERM, self->enter(self->dev, calls[i], NULL))
			TH_LOG("command %#lx", calls[i]);
		EXPECT_EQ(-EPERM, self->enter(self->dev, calls[i], (void *)8))
			TH_LOG("command %#lx", calls[i]);
	}
	/* With a CPU, it is sched_setaffinity(2). */
	ASSERT_EQ(0, mask_of(0, &before));
	clear(self, self->idle.fd)->op.spawn_op.cpu = cpu_id(0);
	EXPECT_EQ(-EPERM, self->enter(self->dev, FSOCKET_IOC_SPAWN_LISTEN, self->arg));
	ASSERT_EQ(0, mask_of(0, &after));
	EXPECT_TRUE(CPU_EQUAL(&before, &after));
}

/* Spawning, as the library does it, and with what follows. */
static void expect_spawning(struct __test_metadata *_metadata, FIXTURE_DATA(filtered) *self,
			    const FIXTURE_VARIANT(filtered) *variant)
{
	int spawned, c, fd;
	struct listener l;

	EXPECT_LE(0, accept_wait(self->l.fd));
	ASSERT_EQ(0, listener_open(&l, variant->fam, SOCK_NONBLOCK, false));
	clear(self, l.fd)->op.spawn_op.cpu = -1;
	EXPECT_EQ(0, self->enter(self->dev, FSOCKET_IOC_SPAWN_LISTEN, self->arg));
	EXPECT_EQ(0, self->enter(self->dev, FSOCKET_IOC_SPAWN_ALL_LISTEN, NULL));
	clear(self, -1)->op.spawn_op.cpu = -1;
	EXPECT_EQ(-EBADF, self->enter(self->dev, FSOCKET_IOC_SPAWN_LISTEN, self->arg));
	EXPECT_EQ(-EFAULT, self->enter(self->dev, FSOCKET_IOC_SPAWN_LISTEN, NULL));
	ASSERT_LE(0, consumer(l.fd, EPOLLIN));
	c = client(&l, 0);
	ASSERT_LE(0, c);
	fd = accept_wait(l.fd);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, talk(c, fd));
	close(l.fd);

	EXPECT_EQ(0, self->enter(self->dev, FSOCKET_IOC_RUN, NULL));
	EXPECT_EQ(-EALREADY, self->enter(self->dev, FSOCKET_IOC_RUN, NULL));
	spawned = stat_total("fsocket_stats", "marked");
	ASSERT_EQ(0, listener_open(&l, variant->fam, SOCK_NONBLOCK, false));
	if (spawned >= 0)
		EXPECT_EQ(spawned + 1, stat_total("fsocket_stats", "marked"));
	EXPECT_EQ(variant->uid ? -EPERM : -EINVAL,
		  self->enter(self->dev, FSOCKET_IOC_MARK, clear(self, 0)));
	EXPECT_EQ(variant->uid ? -EPERM : -EINVAL,
		  self->enter(self->dev, FSOCKET_IOC_UNMARK, clear(self, 0)));
	EXPECT_EQ(-ENOTTY, self->enter(self->dev, _IO(FSOCKET_IOC_MAGIC, 0xff), NULL));
}

FS_TEST(filtered, no_filter)
{
	int fd = dev_socket(self, AF_UNIX, SOCK_STREAM);

	EXPECT_LE(0, fd);
	EXPECT_EQ(0, self->enter(self->dev, FSOCKET_IOC_CLOSE, clear(self, fd)));
	clear(self, self->idle.fd)->backlog = 5;
	EXPECT_EQ(0, self->enter(self->dev, FSOCKET_IOC_LISTEN, self->arg));
	EXPECT_EQ(POLLIN, poll_one(self->l.fd, POLLIN, WAIT_MS));
	fd = self->enter(self->dev, FSOCKET_IOC_ACCEPT, clear(self, self->l.fd));
	EXPECT_LE(0, fd);
	EXPECT_EQ(0, self->enter(self->dev, FSOCKET_IOC_SHUTDOWN_LISTEN, clear(self, self->idle.fd)));
	self->c = client(&self->l, 0);
	expect_spawning(_metadata, self, variant);
}

FS_TEST(filtered, nothing_is_done)
{
	ASSERT_EQ(0, filter(0));
	expect_nothing(_metadata, self);
	expect_refused(_metadata, self);
	expect_spawning(_metadata, self, variant);
}

FS_TEST(filtered, child)
{
	pid_t pid;

	ASSERT_EQ(0, filter(0));
	pid = fork_child();
	ASSERT_LE(0, pid);
	if (!pid) {
		_metadata->exit_code = KSFT_PASS;
		expect_nothing(_metadata, self);
		expect_refused(_metadata, self);
		expect_spawning(_metadata, self, variant);
		_exit(_metadata->exit_code);
	}
	EXPECT_EQ(0, reap(pid));
}

/* Another thread, that asks for a socket when it is told to. */
struct other {
	FIXTURE_DATA(filtered) *self;
	atomic_int turn;
	int fd[2];
};

static void *other_main(void *arg)
{
	struct other *o = arg;

	o->fd[0] = dev_socket(o->self, AF_INET, SOCK_STREAM);
	atomic_store(&o->turn, 1);
	WAIT_FOR(atomic_load(&o->turn) == 2);
	o->fd[1] = dev_socket(o->self, AF_INET, SOCK_STREAM);
	return NULL;
}

static void thread_under(struct __test_metadata *_metadata, FIXTURE_DATA(filtered) *self,
			 unsigned int flags, int want)
{
	struct other o = { .self = self };
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, other_main, &o));
	ASSERT_TRUE(WAIT_FOR(atomic_load(&o.turn) == 1));
	ASSERT_EQ(0, filter(flags));
	EXPECT_EQ(-EPERM, dev_socket(self, AF_INET, SOCK_STREAM));
	atomic_store(&o.turn, 2);
	pthread_join(thread, NULL);
	EXPECT_LE(0, o.fd[0]);
	EXPECT_EQ(want, o.fd[1] < 0 ? o.fd[1] : 0);
}

FS_TEST(filtered, thread)
{
	thread_under(_metadata, self, SECCOMP_FILTER_FLAG_TSYNC, -EPERM);
}

FS_TEST(filtered, thread_without)
{
	thread_under(_metadata, self, 0, 0);
}

TEST_HARNESS_MAIN
