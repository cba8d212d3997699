// SPDX-License-Identifier: GPL-2.0
/*
 * A listening socket lives until its last holder lets go of it, however it
 * was passed on; and what was queued then sees what it would on any socket.
 */
#include "lib.h"
#include "kselftest_harness.h"

FIXTURE(life)
{
	struct listener l;
	int epfd[MAX_CPUS];
};

FIXTURE_VARIANT(life)
{
	bool spawned;
	enum fam fam;
};

ADD_MODE_FAMILY_VARIANTS(life);

FIXTURE_SETUP(life)
{
	if (variant->spawned)
		FS_REQUIRE();
}

FIXTURE_TEARDOWN(life) { }

#define open_listener() \
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK, variant->spawned))
#define open_consumers() \
	ASSERT_EQ(cpu_count(), consumers(&self->l, self->epfd))

/*
 * A connection from somewhere is accepted by @lfd, and works; those that came
 * before it, and whose clients are gone, are dropped.
 */
static int serve_once(const struct listener *l, int lfd, int n)
{
	int c = client_on(l, cpu_id(n), n), fd, ret;

	if (c < 0)
		return c;
	while ((fd = accept_wait(lfd)) >= 0 &&
	       port_by(fd, getpeername) != port_by(c, getsockname))
		close(fd);
	ret = fd < 0 ? fd : talk(c, fd);
	close(c);
	if (fd >= 0)
		close(fd);
	return ret;
}

/* A process that holds the listener, and does what it is told. */
struct holder {
	pid_t pid;
	int sock;
	int fd;
};

static void holder_main(struct holder *h, const struct listener *l, int sock)
{
	unsigned char cmd;
	char ret;

	if (l->spawned && fs_spawn_all())
		_exit(2);
	while (read(sock, &cmd, 1) == 1) {
		ret = 0;
		if (cmd == 'q')
			_exit(0);
		if (cmd == 'r') {
			h->fd = recv_fd(sock);
			ret = h->fd < 0;
		} else if (cmd == 'c') {
			ret = close(h->fd);
		} else {
			ret = serve_once(l, h->fd, cmd) != 0;
		}
		if (write(sock, &ret, 1) != 1)
			break;
	}
	_exit(1);
}

static int holder_start(struct holder *h, const struct listener *l, bool inherit)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return -errno;
	h->fd = inherit ? l->fd : -1;
	h->pid = fork_child();
	if (h->pid < 0)
		return -errno;
	if (!h->pid) {
		close(sv[0]);
		if (!inherit)
			close(l->fd);
		holder_main(h, l, sv[1]);
	}
	close(sv[1]);
	h->sock = sv[0];
	return 0;
}

static int holder_tell(struct holder *h, unsigned char cmd)
{
	char ret = 1;

	if (write(h->sock, &cmd, 1) != 1)
		return -EPIPE;
	if (poll_one(h->sock, POLLIN, WAIT_MS) <= 0 || read(h->sock, &ret, 1) != 1)
		return -ETIMEDOUT;
	return ret;
}

FS_TEST(life, close_in_any_order)
{
	struct holder forked, passed;
	int order, step, i, other;

	/* Four holders: the first, a dup, a child's, and one that was passed. */
	for (order = 0; order < 8; order++) {
		open_listener();
		/* Before the child that must not inherit it is made. */
		ASSERT_EQ(0, holder_start(&passed, &self->l, false));
		other = fcntl(self->l.fd, F_DUPFD_CLOEXEC, 0);
		ASSERT_LE(0, other);
		ASSERT_EQ(0, holder_start(&forked, &self->l, true));
		ASSERT_EQ(1, write(passed.sock, "r", 1));
		ASSERT_EQ(0, send_fd(passed.sock, self->l.fd));
		ASSERT_EQ(1, read(passed.sock, &(char){ 0 }, 1));

		for (step = 0; step < 4; step++) {
			i = (order < 4 ? order + step : order - step) % 4;
			/* Who is about to go serves, then all the others do. */
			switch (i) {
			case 0:
				EXPECT_EQ(0, serve_once(&self->l, self->l.fd, step));
				close(self->l.fd);
				break;
			case 1:
				EXPECT_EQ(0, serve_once(&self->l, other, step));
				close(other);
				break;
			case 2:
				EXPECT_EQ(0, holder_tell(&forked, step));
				/* Its own dup as well, which it inherited. */
				kill(forked.pid, SIGKILL);
				reap(forked.pid);
				break;
			case 3:
				EXPECT_EQ(0, holder_tell(&passed, step));
				EXPECT_EQ(0, holder_tell(&passed, 'c'));
				break;
			}
			if (step < 3)
				EXPECT_FALSE(refused(&self->l, 0));
		}
		EXPECT_TRUE(WAIT_FOR(refused(&self->l, 0)))
			TH_LOG("order %d", order);
		ASSERT_EQ(1, write(passed.sock, "q", 1));
		ASSERT_EQ(0, reap(passed.pid));
		close(passed.sock);
		close(forked.sock);
	}
}

FS_TEST(life, only_in_flight)
{
	int sv[2], fd;

	/* In nobody's hands, on its way between two sockets. */
	open_listener();
	open_consumers();
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	ASSERT_EQ(0, send_fd(sv[0], self->l.fd));
	close(self->l.fd);
	EXPECT_FALSE(refused(&self->l, 0));
	fd = recv_fd(sv[1]);
	ASSERT_LE(0, fd);
	/* The one from before, whose client is gone, and a new one. */
	close(accept_wait(fd));
	EXPECT_EQ(0, serve_once(&self->l, fd, 1));

	/* And lost there. */
	ASSERT_EQ(0, send_fd(sv[0], fd));
	close(fd);
	close(sv[0]);
	close(sv[1]);
	EXPECT_TRUE(WAIT_FOR(refused(&self->l, 0)));
}

static pid_t exec_holder(void)
{
	pid_t pid = fork_child();

	if (!pid) {
		execlp("sleep", "sleep", "1000", NULL);
		_exit(127);
	}
	return pid;
}

static bool is_sleep(pid_t pid)
{
	char path[64], comm[16] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, comm, sizeof(comm) - 1) < 0)
		comm[0] = 0;
	close(fd);
	return !strcmp(comm, "sleep\n");
}

FS_TEST(life, exec)
{
	int keep;
	pid_t pid;

	for (keep = 0; keep <= 1; keep++) {
		open_listener();
		open_consumers();
		ASSERT_EQ(0, fcntl(self->l.fd, F_SETFD, keep ? 0 : FD_CLOEXEC));
		pid = exec_holder();
		ASSERT_LE(0, pid);
		ASSERT_TRUE(WAIT_FOR(is_sleep(pid)));
		close(self->l.fd);
		if (keep) {
			EXPECT_FALSE(refused(&self->l, 0));
		} else {
			EXPECT_TRUE(WAIT_FOR(refused(&self->l, 0)));
		}
		kill(pid, SIGKILL);
		reap(pid);
		EXPECT_TRUE(WAIT_FOR(refused(&self->l, 0)));
	}
}

/* What a client learns of the end of its connection. */
static int fate(int c)
{
	char byte = 0;
	int ret = poll_one(c, POLLIN, WAIT_MS);

	return ret < 0 ? ret : !ret ? -ETIMEDOUT : SYS(read(c, &byte, 1));
}

FS_TEST(life, close_with_queue)
{
	int c[2 * MAX_CPUS], i, n = 2 * cpu_count();

	open_listener();
	open_consumers();
	for (i = 0; i < n; i++) {
		c[i] = client_on(&self->l, cpu_id(i), i);
		ASSERT_LE(0, c[i]);
	}
	close(self->l.fd);
	for (i = 0; i < n; i++)
		EXPECT_EQ(-ECONNRESET, fate(c[i]));
	EXPECT_TRUE(refused(&self->l, 0));
}

FS_TEST(life, close_half_open)
{
	int c[MAX_CPUS], i, n = cpu_count();

	/* Deferred, a connection stays half open until the client sends. */
	open_listener();
	ASSERT_EQ(0, set_int(self->l.fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 60));
	open_consumers();
	for (i = 0; i < n; i++) {
		c[i] = client_on(&self->l, cpu_id(i), i);
		ASSERT_LE(0, c[i]);
	}
	EXPECT_EQ(0, poll_one(self->l.fd, POLLIN, QUIET_MS));
	EXPECT_EQ(-EAGAIN, SYS(accept(self->l.fd, NULL, NULL)));
	/* One of them comes in; the others never will. */
	ASSERT_EQ(1, write(c[0], "x", 1));
	EXPECT_EQ(POLLIN, poll_one(self->l.fd, POLLIN, WAIT_MS));
	EXPECT_LE(0, accept_wait(self->l.fd));
	close(self->l.fd);
	for (i = 1; i < n; i++) {
		write_full(c[i], "x", 1);
		EXPECT_EQ(-ECONNRESET, fate(c[i]));
	}
}

/*
 * Two rounds of stopping and starting to listen. A port that was asked for by its
 * number stays; any other one is given up, and the kernel chooses anew.
 */
static void stop_and_go(struct __test_metadata *_metadata, struct listener *l,
			int *epfd, bool keeps_port)
{
	int c[MAX_CPUS], i, round, n = cpu_count();

	for (round = 0; round < 2; round++) {
		ASSERT_EQ(n, consumers(l, epfd));
		for (i = 0; i < n; i++) {
			c[i] = client_on(l, cpu_id(i), i);
			ASSERT_LE(0, c[i]);
		}
		ASSERT_EQ(0, shutdown(l->fd, SHUT_RD));
		for (i = 0; i < n; i++) {
			EXPECT_EQ(-ECONNRESET, fate(c[i]));
			close(c[i]);
		}
		EXPECT_TRUE(refused(l, 0));
		EXPECT_EQ(-EINVAL, SYS(accept(l->fd, NULL, NULL)));
		EXPECT_EQ(0, get_int(l->fd, SOL_SOCKET, SO_ACCEPTCONN));
		EXPECT_EQ(POLLHUP, poll_one(l->fd, POLLIN, 0));

		/* They connect from all CPUs, before anybody accepts. */
		ASSERT_EQ(0, listen(l->fd, MAX_CPUS));
		if (keeps_port)
			EXPECT_EQ(l->port, port_by(l->fd, getsockname));
		l->port = port_by(l->fd, getsockname);
		EXPECT_EQ(1, get_int(l->fd, SOL_SOCKET, SO_ACCEPTCONN));
		EXPECT_EQ(0, poll_one(l->fd, POLLIN, 0));
		for (i = 0; i < n; i++) {
			EXPECT_EQ(0, serve_once(l, l->fd, i));
			close(epfd[i]);
		}
		if (l->spawned)
			ASSERT_EQ(0, fs_spawn(l->fd, -1));
	}
}

FS_TEST(life, stop_and_go_any_port)
{
	open_listener();
	stop_and_go(_metadata, &self->l, self->epfd, false);
}

FS_TEST(life, stop_and_go_own_port)
{
	struct sockaddr_storage ss;
	socklen_t len;

	/* A port that is free, and then asked for. */
	open_listener();
	close(self->l.fd);
	len = listener_addr(&self->l, 1, &ss);
	self->l.fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	ASSERT_EQ(0, SYS(bind(self->l.fd, (void *)&ss, len)));
	ASSERT_EQ(0, listen(self->l.fd, MAX_CPUS));
	if (variant->spawned)
		ASSERT_EQ(0, fs_spawn(self->l.fd, -1));
	stop_and_go(_metadata, &self->l, self->epfd, true);
}

FS_TEST(life, connect_unspec)
{
	struct sockaddr sa = { .sa_family = AF_UNSPEC };
	int c;

	open_listener();
	open_consumers();
	c = client_on(&self->l, cpu_id(1), 0);
	ASSERT_LE(0, c);
	ASSERT_EQ(0, SYS(connect(self->l.fd, &sa, sizeof(sa))));
	EXPECT_EQ(-ECONNRESET, fate(c));
	EXPECT_EQ(-EINVAL, SYS(accept(self->l.fd, NULL, NULL)));
	EXPECT_TRUE(refused(&self->l, 0));

	/* As a client, now. */
	EXPECT_EQ(-ECONNREFUSED, ({
		struct sockaddr_storage ss;
		socklen_t len = listener_addr(&self->l, 1, &ss);

		set_nonblock(self->l.fd, false);
		SYS(connect(self->l.fd, (void *)&ss, len));
	}));
}

/* Threads that are inside a call when the descriptor is closed. */
struct blocked {
	int fd, ret;
	atomic_int tid;
};

static void *blocked_accept(void *arg)
{
	struct blocked *b = arg;

	b->tid = gettid_();
	b->ret = SYS(accept(b->fd, NULL, NULL));
	return NULL;
}

FS_TEST(life, close_under_accept)
{
	struct blocked b = { 0 };
	pthread_t thread;
	int c;

	ASSERT_EQ(0, listener_open(&self->l, variant->fam, 0, variant->spawned));
	b.fd = self->l.fd;
	ASSERT_EQ(0, pthread_create(&thread, NULL, blocked_accept, &b));
	ASSERT_TRUE(WAIT_FOR(b.tid));
	ASSERT_TRUE(wait_asleep(b.tid));
	close(self->l.fd);

	/* The call still holds the socket: it goes on, and so does its end. */
	c = client_on(&self->l, cpu_id(1), 0);
	ASSERT_LE(0, c);
	pthread_join(thread, NULL);
	ASSERT_LE(0, b.ret);
	EXPECT_EQ(0, talk(c, b.ret));
	EXPECT_TRUE(WAIT_FOR(refused(&self->l, 0)));
}

FS_TEST(life, shutdown_under_accept)
{
	struct blocked b = { 0 };
	pthread_t thread;

	ASSERT_EQ(0, listener_open(&self->l, variant->fam, 0, variant->spawned));
	b.fd = self->l.fd;
	ASSERT_EQ(0, pthread_create(&thread, NULL, blocked_accept, &b));
	ASSERT_TRUE(WAIT_FOR(b.tid));
	ASSERT_TRUE(wait_asleep(b.tid));
	ASSERT_EQ(0, shutdown(self->l.fd, SHUT_RDWR));
	pthread_join(thread, NULL);
	EXPECT_EQ(-EINVAL, b.ret);
}

FS_TEST(life, close_under_epoll)
{
	struct epoll_event ev;
	int other;

	open_listener();
	open_consumers();
	/* While there is another descriptor, the first one's entry stays. */
	other = dup(self->l.fd);
	close(self->l.fd);
	ASSERT_LE(0, client(&self->l, 0));
	EXPECT_EQ(1, epoll_wait(self->epfd[0], &ev, 1, WAIT_MS));
	close(accept_wait(other));
	close(other);
	/* Then it goes with the file, without a word. */
	EXPECT_EQ(0, epoll_wait(self->epfd[0], &ev, 1, QUIET_MS));
}

/* A hang-up at any moment of a registration is heard of. */
struct registrar {
	atomic_int at;
	int lfd, ret;
};

static void *register_and_wait(void *arg)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct registrar *r = arg;
	int epfd = epoll_create1(EPOLL_CLOEXEC);

	r->at = 1;
	while (r->at != 2)
		;
	r->ret = SYS(epoll_ctl(epfd, EPOLL_CTL_ADD, r->lfd, &ev));
	if (!r->ret)
		r->ret = SYS(epoll_wait(epfd, &ev, 1, WAIT_MS / 10));
	close(epfd);
	return NULL;
}

FS_TEST(life, shutdown_under_epoll_ctl)
{
	struct registrar r;
	pthread_t thread;
	long long begin;
	int i;

	for (i = 0; i < 100; i++) {
		memset(&r, 0, sizeof(r));
		open_listener();
		r.lfd = self->l.fd;
		ASSERT_EQ(0, pthread_create(&thread, NULL, register_and_wait, &r));
		while (r.at != 1)
			sched_yield();
		r.at = 2;
		/* From before the registration to after it. */
		for (begin = now_ns(); now_ns() < begin + 30000 * i;)
			;
		ASSERT_EQ(0, shutdown(self->l.fd, SHUT_RD));
		pthread_join(thread, NULL);
		ASSERT_EQ(1, r.ret)
			TH_LOG("after %d us", 30 * i);
		close(self->l.fd);
	}
}

FS_TEST(life, children_survive)
{
	int c[MAX_CPUS], fd[MAX_CPUS], i, n = cpu_count();

	open_listener();
	open_consumers();
	for (i = 0; i < n; i++) {
		c[i] = client_on(&self->l, cpu_id(i), i);
		ASSERT_LE(0, c[i]);
		fd[i] = accept_wait(self->l.fd);
		ASSERT_LE(0, fd[i]);
		/* It is no listener, and cannot be made one. */
		EXPECT_EQ(0, get_int(fd[i], SOL_SOCKET, SO_ACCEPTCONN));
		EXPECT_EQ(-EINVAL, SYS(accept(fd[i], NULL, NULL)));
		EXPECT_EQ(-EINVAL, SYS(listen(fd[i], 1)));
	}
	close(self->l.fd);
	EXPECT_TRUE(refused(&self->l, 0));
	for (i = 0; i < n; i++) {
		EXPECT_EQ(0, talk(c[i], fd[i]));
		close(fd[i]);
		EXPECT_EQ(0, fate(c[i]));
		close(c[i]);
	}
}

FS_TEST(life, port_is_free)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int i;

	/* Nothing of ours keeps the port, even without SO_REUSEADDR. */
	for (i = 0; i < 8; i++) {
		open_listener();
		open_consumers();
		close(self->l.fd);
		len = listener_addr(&self->l, 1, &ss);
		self->l.fd = socket(ss.ss_family, SOCK_STREAM, 0);
		ASSERT_EQ(0, SYS(bind(self->l.fd, (void *)&ss, len)));
		ASSERT_EQ(0, SYS(listen(self->l.fd, 1)));
		close(self->l.fd);
	}
}

FS_TEST(life, other_netns)
{
	int here, i;

	here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, here);
	if (new_netns())
		FS_SKIP("network namespaces");
	open_listener();
	for (i = 0; i < cpu_count(); i++)
		EXPECT_EQ(0, serve_once(&self->l, self->l.fd, i));
	open_consumers();
	for (i = 0; i < cpu_count(); i++)
		EXPECT_EQ(0, serve_once(&self->l, self->l.fd, i));
	/* From outside, the socket is still in there. */
	ASSERT_EQ(0, setns(here, CLONE_NEWNET));
	EXPECT_TRUE(refused(&self->l, 0));
	if (variant->spawned)
		EXPECT_EQ(0, fs_spawn(self->l.fd, -1));
	EXPECT_EQ(-EAGAIN, SYS(accept(self->l.fd, NULL, NULL)));
	close(self->l.fd);
}

FS_TEST(life, netns_dies)
{
	int i, j, sv[2], fd;
	pid_t pid;
	char byte;

	/* With all in use: registered, connections queued and half open. */
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
		pid = fork_child();
		ASSERT_LE(0, pid);
		if (!pid) {
			ASSERT_EQ(0, new_netns());
			open_listener();
			open_consumers();
			for (j = 0; j < cpu_count(); j++)
				ASSERT_LE(0, client_on(&self->l, cpu_id(j), j));
			ASSERT_EQ(0, set_int(self->l.fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 60));
			ASSERT_LE(0, client_on(&self->l, cpu_id(1), 0));
			/* The listener outlives all processes of its namespace. */
			ASSERT_EQ(0, send_fd(sv[1], self->l.fd));
			ASSERT_EQ(1, write(sv[1], "x", 1));
			pause();
		}
		fd = recv_fd(sv[0]);
		ASSERT_LE(0, fd);
		ASSERT_EQ(1, read(sv[0], &byte, 1));
		kill(pid, SIGKILL);
		ASSERT_EQ(128 + SIGKILL, reap(pid));
		close(sv[0]);
		close(sv[1]);
		/* Those that died before they were accepted are still there. */
		EXPECT_LE(0, SYS(accept(fd, NULL, NULL)));
		close(fd);
	}
}

TEST_HARNESS_MAIN
