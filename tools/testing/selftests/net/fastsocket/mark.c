// SPDX-License-Identifier: GPL-2.0
/*
 * Sockets that are spawned though their program knows nothing of it: where an
 * address is marked, and where who started the program has asked for it.
 */
#include "lib.h"
#include <sys/resource.h>
#include "kselftest_harness.h"

#define MOST	1024
#define MOST_EACH	64

FIXTURE(mark)
{
	struct listener l;
	struct sockaddr_storage ss;
	socklen_t len;
};

FIXTURE_VARIANT(mark)
{
	enum fam fam;
};

FIXTURE_VARIANT_ADD(mark, v4) { V4 };
FIXTURE_VARIANT_ADD(mark, v6) { V6 };
FIXTURE_VARIANT_ADD(mark, dual) { DUAL };

/* A socket that is bound in a network namespace of its own. */
FIXTURE_SETUP(mark)
{
	FS_REQUIRE();
	ASSERT_EQ(0, new_netns());
	ASSERT_EQ(0, listener_bind(&self->l, variant->fam, SOCK_NONBLOCK, false));
	self->len = sizeof(self->ss);
	ASSERT_EQ(0, getsockname(self->l.fd, (void *)&self->ss, &self->len));
}

FIXTURE_TEARDOWN(mark) { }

static int ask(unsigned long cmd, const void *sa, uint32_t len)
{
	struct fsocket_ioctl_arg arg;

	memset(&arg, 0xa5, sizeof(arg));
	arg.op.mark_op.addr = (void *)sa;
	arg.op.mark_op.addr_len = len;
	return fs_ioctl(cmd, &arg);
}

#define MARK(self)	ask(FSOCKET_IOC_MARK, &(self)->ss, (self)->len)
#define UNMARK(self)	ask(FSOCKET_IOC_UNMARK, &(self)->ss, (self)->len)

static long long marked(void)
{
	return stat_total("fsocket_stats", "marked");
}

static in_port_t *port(struct sockaddr_storage *ss)
{
	/* At the same place in both families. */
	return &((struct sockaddr_in *)ss)->sin_port;
}

static void set_wildcard(struct sockaddr_storage *ss)
{
	if (ss->ss_family == AF_INET)
		((struct sockaddr_in *)ss)->sin_addr.s_addr = INADDR_ANY;
	else
		((struct sockaddr_in6 *)ss)->sin6_addr = in6addr_any;
}

/* Is the file as it should be? One line at most. */
static bool file_says(const char *want)
{
	char line[128] = "";
	FILE *f = fopen("/proc/thread-self/net/fsocket_marks", "re");

	if (!f)
		return false;
	if (!fgets(line, sizeof(line), f))
		*line = 0;
	line[strcspn(line, "\n")] = 0;
	fclose(f);
	return !strcmp(line, want);
}

/* Who waits at the socket serves a CPU, and a connection that arrives there. */
static void expect_local(struct __test_metadata *_metadata, struct listener *l)
{
	long long local = stat_total("hash_stat", "lookup_local");
	int epfd, fd, others[MAX_CPUS], i;

	/* What one alone waits at is plain. */
	ASSERT_EQ(cpu_count(), consumers(l, others));
	ASSERT_EQ(0, pin_to(cpu_id(0)));
	epfd = consumer(l->fd, EPOLLIN);
	ASSERT_LE(0, epfd);
	ASSERT_LE(0, client_on(l, cpu_id(0), 0));
	ASSERT_EQ(POLLIN, poll_one(epfd, POLLIN, WAIT_MS));
	fd = accept_wait(l->fd);
	EXPECT_LE(0, fd);
	EXPECT_EQ(local + 1, stat_total("hash_stat", "lookup_local"));
	close(fd);
	close(epfd);
	for (i = 0; i < cpu_count(); i++)
		close(others[i]);
}

FS_TEST(mark, address)
{
	ASSERT_EQ(0, MARK(self));
	EXPECT_EQ(0, marked());
	ASSERT_EQ(0, listen(self->l.fd, SOMAXCONN));
	EXPECT_EQ(1, marked());
	EXPECT_EQ(1, stat_total("fsocket_stats", "listen"));
	/* It is spawned already. */
	ASSERT_EQ(0, listen(self->l.fd, SOMAXCONN));
	EXPECT_EQ(0, fs_spawn(self->l.fd, -1));
	EXPECT_EQ(1, marked());
	EXPECT_EQ(1, stat_total("fsocket_stats", "listen"));
	expect_local(_metadata, &self->l);
}

FS_TEST(mark, wildcard)
{
	set_wildcard(&self->ss);
	ASSERT_EQ(0, MARK(self));
	ASSERT_EQ(0, listen(self->l.fd, SOMAXCONN));
	EXPECT_EQ(1, marked());
}

FS_TEST(mark, by_the_device)
{
	ASSERT_EQ(0, MARK(self));
	ASSERT_EQ(0, dev_api.listen(self->l.fd, SOMAXCONN));
	EXPECT_EQ(1, marked());
}

FS_TEST(mark, another_port)
{
	++*port(&self->ss);
	ASSERT_EQ(0, MARK(self));
	ASSERT_EQ(0, listen(self->l.fd, SOMAXCONN));
	EXPECT_EQ(0, marked());
	EXPECT_EQ(0, stat_total("fsocket_stats", "listen"));
}

FS_TEST(mark, another_address)
{
	struct sockaddr_in *sin = (void *)&self->ss;
	struct sockaddr_in6 *sin6 = (void *)&self->ss;

	if (variant->fam == V4)
		sin->sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
	else
		sin6->sin6_addr.s6_addr[15] = 2;
	ASSERT_EQ(0, MARK(self));
	ASSERT_EQ(0, listen(self->l.fd, SOMAXCONN));
	EXPECT_EQ(0, marked());
}

FS_TEST(mark, another_family)
{
	struct sockaddr_storage ss = {
		.ss_family = variant->fam == V4 ? AF_INET6 : AF_INET,
	};

	*port(&ss) = self->l.port;
	ASSERT_EQ(0, ask(FSOCKET_IOC_MARK, &ss, sizeof(ss)));
	ASSERT_EQ(0, listen(self->l.fd, SOMAXCONN));
	EXPECT_EQ(0, marked());
}

FS_TEST(mark, another_device)
{
	struct sockaddr_in6 *sin6 = (void *)&self->ss;

	if (variant->fam == V4)
		SKIP(return, "has no scope");
	sin6->sin6_scope_id = 1;
	ASSERT_EQ(0, MARK(self));
	ASSERT_EQ(0, listen(self->l.fd, SOMAXCONN));
	EXPECT_EQ(0, marked());
	ASSERT_EQ(0, setsockopt(self->l.fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
	ASSERT_EQ(0, listen(self->l.fd, SOMAXCONN));
	EXPECT_EQ(1, marked());
}

FS_TEST(mark, too_late)
{
	ASSERT_EQ(0, listen(self->l.fd, SOMAXCONN));
	ASSERT_EQ(0, MARK(self));
	EXPECT_EQ(0, marked());
	/* Until it says again that it listens. */
	ASSERT_EQ(0, listen(self->l.fd, SOMAXCONN));
	EXPECT_EQ(1, marked());
}

FS_TEST(mark, another_namespace)
{
	int outside = self->l.fd;

	ASSERT_EQ(0, MARK(self));
	ASSERT_EQ(0, new_netns());
	EXPECT_TRUE(file_says(""));
	EXPECT_EQ(-ENOENT, UNMARK(self));
	ASSERT_EQ(0, listener_bind(&self->l, variant->fam, SOCK_NONBLOCK, true));
	EXPECT_EQ(*port(&self->ss), self->l.port);
	ASSERT_EQ(0, listen(self->l.fd, SOMAXCONN));
	EXPECT_EQ(0, marked());
	/* What counts is where the socket is, not who has it. */
	ASSERT_EQ(0, listen(outside, SOMAXCONN));
	EXPECT_EQ(0, marked());
	EXPECT_EQ(0, fs_spawn(outside, -1));
}

FS_TEST(mark, unmark)
{
	ASSERT_EQ(0, MARK(self));
	ASSERT_EQ(0, UNMARK(self));
	EXPECT_EQ(-ENOENT, UNMARK(self));
	ASSERT_EQ(0, listen(self->l.fd, SOMAXCONN));
	EXPECT_EQ(0, marked());
	ASSERT_EQ(0, MARK(self));
	ASSERT_EQ(0, listen(self->l.fd, SOMAXCONN));
	ASSERT_EQ(0, UNMARK(self));
	/* What is spawned stays so. */
	expect_local(_metadata, &self->l);
}

FS_TEST(mark, file)
{
	char ip[INET6_ADDRSTRLEN], want[128];
	struct sockaddr_in *sin = (void *)&self->ss;
	struct sockaddr_in6 *sin6 = (void *)&self->ss;

	EXPECT_TRUE(file_says(""));
	ASSERT_EQ(0, MARK(self));
	if (variant->fam == V4) {
		inet_ntop(AF_INET, &sin->sin_addr, ip, sizeof(ip));
		snprintf(want, sizeof(want), "%s:%d", ip, ntohs(self->l.port));
	} else {
		inet_ntop(AF_INET6, &sin6->sin6_addr, ip, sizeof(ip));
		snprintf(want, sizeof(want), "[%s]:%d", ip, ntohs(self->l.port));
	}
	EXPECT_TRUE(file_says(want));
	ASSERT_EQ(0, UNMARK(self));
	EXPECT_TRUE(file_says(""));
}

FS_TEST(mark, errors)
{
	struct sockaddr_storage ss = self->ss;
	uint32_t len, least = variant->fam == V4 ? 16 : 28;
	char bytes[256] = "";
	int i, op;

	static const unsigned long ops[] = { FSOCKET_IOC_MARK, FSOCKET_IOC_UNMARK };

	for (op = 0; op < 2; op++) {
		for (len = 0; len < least; len++)
			EXPECT_EQ(-EINVAL, ask(ops[op], &ss, len));
		memcpy(bytes, &ss, sizeof(ss));
		EXPECT_EQ(-EINVAL, ask(ops[op], bytes, sizeof(ss) + 1));
		EXPECT_EQ(-EINVAL, ask(ops[op], bytes, UINT32_MAX));
		EXPECT_EQ(-EFAULT, ask(ops[op], NULL, least));
		EXPECT_EQ(-EFAULT, ask(ops[op], (void *)-4096L, least));
		*port(&ss) = 0;
		EXPECT_EQ(-EINVAL, ask(ops[op], &ss, sizeof(ss)));
		*port(&ss) = self->l.port;
		for (i = 0; i < AF_MAX + 1; i++) {
			ss.ss_family = i;
			if (i != AF_INET && i != AF_INET6)
				EXPECT_EQ(-EAFNOSUPPORT, ask(ops[op], &ss, sizeof(ss)));
		}
		ss.ss_family = self->ss.ss_family;
	}
	EXPECT_EQ(-ENOENT, UNMARK(self));
	ASSERT_EQ(0, MARK(self));
	EXPECT_EQ(-EEXIST, MARK(self));
	/* As long as any address is the same one. */
	EXPECT_EQ(-EEXIST, ask(FSOCKET_IOC_MARK, &self->ss, sizeof(self->ss)));
	EXPECT_EQ(0, UNMARK(self));
}

FS_TEST(mark, too_many)
{
	int i;

	for (i = 1; i <= MOST; i++) {
		*port(&self->ss) = htons(i);
		ASSERT_EQ(0, MARK(self));
	}
	*port(&self->ss) = htons(i);
	EXPECT_EQ(-ENOSPC, MARK(self));
	*port(&self->ss) = htons(1);
	EXPECT_EQ(-EEXIST, MARK(self));
	ASSERT_EQ(0, UNMARK(self));
	*port(&self->ss) = htons(i);
	EXPECT_EQ(0, MARK(self));
}

FS_TEST(mark, permission)
{
	pid_t pid = fork_child();

	ASSERT_LE(0, pid);
	if (!pid) {
		ASSERT_EQ(0, setresuid(NOBODY, NOBODY, NOBODY));
		EXPECT_EQ(-EPERM, MARK(self));
		EXPECT_EQ(-EPERM, UNMARK(self));
		/* The administrator of a container may, of its own network only. */
		ASSERT_EQ(0, unshare(CLONE_NEWUSER));
		EXPECT_EQ(-EPERM, MARK(self));
		ASSERT_EQ(0, new_netns());
		EXPECT_EQ(0, MARK(self));
		EXPECT_EQ(0, UNMARK(self));
		_exit(0);
	}
	EXPECT_EQ(0, reap(pid));
}

FS_TEST(mark, switched_off)
{
	struct fsocket_ioctl_arg arg;

	ASSERT_EQ(0, MARK(self));
	/* Marks go with the module. */
	ASSERT_EQ(0, fs_reload(0));
	EXPECT_TRUE(file_says(""));
	EXPECT_EQ(-EPERM, MARK(self));
	EXPECT_EQ(-EPERM, UNMARK(self));
	EXPECT_EQ(-EPERM, fs_ioctl(FSOCKET_IOC_RUN, &arg));
	ASSERT_EQ(0, listen(self->l.fd, SOMAXCONN));
	EXPECT_EQ(0, marked());
	close(self->l.fd);
	ASSERT_EQ(0, fs_load(2));
}

/* What cannot be spawned listens all the same, as does what is no TCP. */
FS_TEST(mark, others)
{
	struct sockaddr_un un = { AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	ASSERT_EQ(0, bind(fd, (void *)&un, sizeof(sa_family_t)));
	ASSERT_EQ(0, MARK(self));
	EXPECT_EQ(0, listen(fd, 1));
	EXPECT_EQ(-EOPNOTSUPP, SYS(listen(socket(AF_INET, SOCK_DGRAM, 0), 1)));
	EXPECT_EQ(0, marked());
	/* Nor is what fails to listen. */
	ASSERT_EQ(-ECONNREFUSED, client(&self->l, 0));
	ASSERT_EQ(0, set_nonblock(self->l.fd, false));
	ASSERT_EQ(0, connect_wait(self->l.fd, &self->ss, self->len));
	EXPECT_EQ(-EINVAL, SYS(listen(self->l.fd, 1)));
	EXPECT_EQ(0, marked());
}

/* Whatever options it has. */
FS_TEST(mark, with_keys)
{
	struct tcp_md5sig md5 = { .tcpm_keylen = 1, .tcpm_key = "k" };

	memcpy(&md5.tcpm_addr, &self->ss, sizeof(md5.tcpm_addr));
	ASSERT_EQ(0, setsockopt(self->l.fd, IPPROTO_TCP, TCP_MD5SIG, &md5, sizeof(md5)));
	ASSERT_EQ(0, MARK(self));
	EXPECT_EQ(0, listen(self->l.fd, SOMAXCONN));
	EXPECT_EQ(1, marked());
}

static int run_ask(int fd)
{
	/* Reads no field. */
	return SYS(ioctl(fd, FSOCKET_IOC_RUN, NULL));
}

/* Listens as a process of its own: a child, and as which user. */
static int listens(struct listener *l, uid_t uid)
{
	pid_t pid = fork_child();

	if (!pid) {
		if (uid && setresuid(uid, uid, uid))
			_exit(1);
		_exit(listen(l->fd, SOMAXCONN) ? 2 : 0);
	}
	return reap(pid);
}

FS_TEST(mark, run)
{
	int dev = open(FS_DEVICE, O_RDONLY | O_CLOEXEC);

	ASSERT_LE(0, dev);
	ASSERT_EQ(0, run_ask(dev));
	EXPECT_EQ(-EALREADY, run_ask(dev));
	ASSERT_EQ(0, listens(&self->l, 0));
	EXPECT_EQ(1, marked());
	expect_local(_metadata, &self->l);
	/* It is over with the last descriptor. */
	ASSERT_EQ(0, listener_bind(&self->l, variant->fam, SOCK_NONBLOCK, false));
	close(dev);
	ASSERT_EQ(0, listen(self->l.fd, SOMAXCONN));
	EXPECT_EQ(1, marked());
}

FS_TEST(mark, run_in_any_namespace)
{
	int dev = open(FS_DEVICE, O_RDONLY | O_CLOEXEC);

	ASSERT_EQ(0, run_ask(dev));
	ASSERT_EQ(0, new_netns());
	ASSERT_EQ(0, listener_bind(&self->l, variant->fam, SOCK_NONBLOCK, false));
	ASSERT_EQ(0, listen(self->l.fd, SOMAXCONN));
	EXPECT_EQ(1, marked());
}

/* A daemon: its parent is gone. */
FS_TEST(mark, run_daemon)
{
	int dev = open(FS_DEVICE, O_RDONLY | O_CLOEXEC), status, p[2];
	char byte;
	pid_t pid;

	ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1));
	ASSERT_EQ(0, run_ask(dev));
	ASSERT_EQ(0, pipe(p));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		setsid();
		pid = fork();
		if (pid)
			_exit(pid < 0);
		/* Once the test says that the parent is reaped. */
		close(p[1]);
		if (read(p[0], &byte, 1) != 1)
			_exit(1);
		_exit(listen(self->l.fd, SOMAXCONN) ? 2 : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	ASSERT_EQ(1, write(p[1], "", 1));
	ASSERT_LT(0, waitpid(-1, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_EQ(1, marked());
}

/* Only descendants: neither the parent nor a sibling. */
FS_TEST(mark, run_is_not_for_others)
{
	int p[2], q[2];
	char byte;
	pid_t pid;

	ASSERT_EQ(0, pipe(p));
	ASSERT_EQ(0, pipe(q));
	pid = fork_child();
	ASSERT_LE(0, pid);
	if (!pid) {
		int dev = open(FS_DEVICE, O_RDONLY | O_CLOEXEC);

		ASSERT_EQ(0, run_ask(dev));
		ASSERT_EQ(1, write(p[1], "", 1));
		close(q[1]);
		_exit(read(q[0], &byte, 1) != 0);
	}
	ASSERT_EQ(1, read(p[0], &byte, 1));
	EXPECT_EQ(0, listens(&self->l, 0));
	EXPECT_EQ(0, listen(self->l.fd, SOMAXCONN));
	EXPECT_EQ(0, marked());
	close(q[1]);
	EXPECT_EQ(0, reap(pid));
}

FS_TEST(mark, run_as_user)
{
	int dev = open(FS_DEVICE, O_RDONLY | O_CLOEXEC);
	pid_t pid;

	/* Who administers the network may for all users. */
	ASSERT_EQ(0, run_ask(dev));
	EXPECT_EQ(0, listens(&self->l, NOBODY));
	EXPECT_EQ(1, marked());
	close(dev);

	/* Others for themselves. */
	pid = fork_child();
	ASSERT_LE(0, pid);
	if (!pid) {
		ASSERT_EQ(0, listener_bind(&self->l, variant->fam, SOCK_NONBLOCK, false));
		dev = open(FS_DEVICE, O_RDONLY | O_CLOEXEC);
		/* Root may become itself again, as a set-user-ID program would. */
		ASSERT_EQ(0, setresuid(NOBODY, NOBODY, 0));
		ASSERT_EQ(0, run_ask(dev));
		ASSERT_EQ(0, setresuid(0, 0, 0));
		EXPECT_EQ(0, listen(self->l.fd, SOMAXCONN));
		EXPECT_EQ(1, marked());
		ASSERT_EQ(0, setresuid(NOBODY, NOBODY, NOBODY));
		/* Nor does it for who changed its user, until it is an ordinary program. */
		EXPECT_EQ(0, listen(self->l.fd, SOMAXCONN));
		EXPECT_EQ(1, marked());
		ASSERT_EQ(0, prctl(PR_SET_DUMPABLE, 1));
		EXPECT_EQ(0, listen(self->l.fd, SOMAXCONN));
		EXPECT_EQ(2, marked());
		_exit(0);
	}
	EXPECT_EQ(0, reap(pid));
}

FS_TEST(mark, run_too_many)
{
	struct rlimit files = { 4 * MOST, 4 * MOST };
	int i, dev[MOST + 1], status;
	pid_t pid;

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	pid = fork_child();
	ASSERT_LE(0, pid);
	if (!pid) {
		ASSERT_EQ(0, setresuid(NOBODY, NOBODY, NOBODY));
		for (i = 0; i <= MOST_EACH; i++) {
			dev[i] = open(FS_DEVICE, O_RDONLY | O_CLOEXEC);
			ASSERT_EQ(i < MOST_EACH ? 0 : -ENOSPC, run_ask(dev[i]));
		}
		close(dev[0]);
		EXPECT_EQ(0, run_ask(dev[MOST_EACH]));
		_exit(0);
	}
	status = reap(pid);
	EXPECT_EQ(0, status);
	for (i = 0; i <= MOST; i++) {
		dev[i] = open(FS_DEVICE, O_RDONLY | O_CLOEXEC);
		ASSERT_EQ(i < MOST ? 0 : -ENOSPC, run_ask(dev[i]));
	}
}

TEST_HARNESS_MAIN
