// SPDX-License-Identifier: GPL-2.0
/*
 * No connection is left behind, and nobody sleeps while one is there: when
 * who waits has moved, stopped, died, registered long ago or in another
 * process, waits for something else, or does not wait at all.
 */
#include "lib.h"
#include "kselftest_harness.h"

FIXTURE(strand)
{
	struct listener l;
	struct pool pool;
	int workers;
};

FIXTURE_VARIANT(strand)
{
	bool spawned;
	enum fam fam;
};

ADD_MODE_FAMILY_VARIANTS(strand);

/* Connections of each of the many loads here. */
#define LOAD	16

FIXTURE_SETUP(strand)
{
	if (variant->spawned)
		FS_REQUIRE();
	self->workers = cpu_count() < 4 ? cpu_count() + 1 : 4;
}

FIXTURE_TEARDOWN(strand) { }

/* How many wait from before a socket is spawned. */
#define BEFORE		6

enum how { ACCEPT, POLL, SELECT, EPOLL, EPOLL_EDGE, EPOLL_EXCL, NESTED, HOWS };

static bool nonblock(enum how how)
{
	return how != ACCEPT;
}

struct waiter {
	enum how how;
	int epfd;
	int outer;
};

static int waiter_init(struct waiter *x, enum how how, int lfd)
{
	x->how = how;
	x->epfd = -1;
	x->outer = -1;
	if (how < EPOLL)
		return 0;
	x->epfd = consumer(lfd, how == EPOLL_EDGE ? EPOLLIN | EPOLLET :
				how == EPOLL_EXCL ? EPOLLIN | EPOLLEXCLUSIVE : EPOLLIN);
	if (x->epfd >= 0 && how == NESTED)
		x->outer = consumer(x->epfd, EPOLLIN);
	return x->epfd < 0 ? x->epfd : how == NESTED && x->outer < 0 ? x->outer : 0;
}

static void waiter_end(struct waiter *x)
{
	if (x->outer >= 0)
		close(x->outer);
	if (x->epfd >= 0)
		close(x->epfd);
}

/* 1 when there may be a connection. Stopping and going on gives EINTR. */
static int waiter_wait(struct waiter *x, int lfd)
{
	struct epoll_event ev;
	fd_set set;
	int ret;

	switch (x->how) {
	case ACCEPT:
		return 1;
	case POLL:
		ret = poll_one(lfd, POLLIN, -1);
		return ret > 0 ? ret == POLLIN : ret;
	case SELECT:
		FD_ZERO(&set);
		FD_SET(lfd, &set);
		return SYS(select(lfd + 1, &set, NULL, NULL, NULL));
	case NESTED:
		ret = SYS(epoll_wait(x->outer, &ev, 1, -1));
		if (ret != 1)
			return ret;
		ret = SYS(epoll_wait(x->epfd, &ev, 1, 0));
		return ret < 0 ? ret : 1;
	default:
		return SYS(epoll_wait(x->epfd, &ev, 1, -1));
	}
}

static void serve_loop(struct worker *w, struct waiter *x, bool move)
{
	int round = w->index, ret, fd;

	while (!w->stop) {
		if (move)
			pin_to(cpu_id(++round));
		ret = waiter_wait(x, w->lfd);
		if (ret == -EINTR)
			continue;
		if (ret != 1)
			worker_fail(w, ret < 0 ? ret : -EIO);
		do {
			fd = ret == 1 ? SYS(accept4(w->lfd, NULL, NULL, SOCK_CLOEXEC)) : -EAGAIN;
			if (fd != -EAGAIN && fd != -EINTR)
				worker_serve(w, fd);
		} while (x->how == EPOLL_EDGE && fd >= 0 && !w->stop);
	}
}

static enum how how;

static void by_how(struct worker *w)
{
	struct waiter x;
	int ret = waiter_init(&x, how, w->lfd);

	if (ret)
		worker_fail(w, ret);
	worker_ready(w);
	serve_loop(w, &x, false);
	waiter_end(&x);
}

static void pin_init(struct worker *w)
{
	int ret = pin_to(cpu_id(w->index));

	if (ret)
		worker_fail(w, ret);
}

#define open_and_start(spawn, procs, loop, nr) do {			\
	ASSERT_EQ(0, listener_open(&self->l, variant->fam,		\
				   nonblock(how) ? SOCK_NONBLOCK : 0, spawn)); \
	ASSERT_EQ(0, pool_start(&self->pool, &self->l, nr, procs, loop)); \
} while (0)

#define load() do {							\
	EXPECT_EQ(0, pool_load(&self->pool, LOAD))			\
		TH_LOG("way to wait %d", how);				\
	ASSERT_EQ(0, pool_error(&self->pool));				\
} while (0)

#define stop_and_close() do {						\
	ASSERT_EQ(0, pool_stop(&self->pool))				\
		TH_LOG("way to wait %d", how);				\
	ASSERT_EQ(0, pool_error(&self->pool));				\
	close(self->l.fd);						\
	memset(&self->pool, 0, sizeof(self->pool));			\
} while (0)

/* It goes to another CPU before it waits again; it registered elsewhere. */
static void by_moving(struct worker *w)
{
	struct waiter x;
	int ret = waiter_init(&x, how, w->lfd);

	if (ret)
		worker_fail(w, ret);
	worker_ready(w);
	serve_loop(w, &x, true);
	waiter_end(&x);
}

FS_TEST(strand, moves_itself)
{
	for (how = 0; how < HOWS; how++) {
		open_and_start(variant->spawned, how & 1, by_moving, 2);
		load();
		stop_and_close();
	}
}

/* Somebody else moves it, while it sleeps. */
FS_TEST(strand, is_moved)
{
	cpu_set_t set;
	int i, round;

	for (how = 0; how < HOWS; how++) {
		open_and_start(variant->spawned, how & 1, by_how, 2);
		for (round = 0; round < 2; round++) {
			ASSERT_TRUE(pool_asleep(&self->pool));
			for (i = 0; i < 2; i++) {
				CPU_ZERO(&set);
				CPU_SET(cpu_id(i + round), &set);
				ASSERT_EQ(0, sched_setaffinity(self->pool.sh->tid[i],
							       sizeof(set), &set));
			}
			load();
		}
		stop_and_close();
	}
}

/* One epoll descriptor, and a thread on each CPU that waits on it. */
static void by_shared(struct worker *w)
{
	struct waiter x = { .how = how, .epfd = w->pool->epfd };

	worker_ready(w);
	serve_loop(w, &x, false);
}

FS_TEST(strand, shared_epoll)
{
	int i;

	for (how = EPOLL; how <= EPOLL_EDGE; how++) {
		ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK,
					   variant->spawned));
		self->pool.epfd = consumer(self->l.fd, how == EPOLL_EDGE ?
					   EPOLLIN | EPOLLET : EPOLLIN);
		ASSERT_LE(0, self->pool.epfd);
		self->pool.init = pin_init;
		ASSERT_EQ(0, pool_start(&self->pool, &self->l, cpu_count(), false, by_shared));
		load();
		i = self->pool.epfd;
		stop_and_close();
		close(i);
	}
}

/* Who registered the descriptor is dead; only its epoll descriptor lives. */
FS_TEST(strand, registrant_exited)
{
	int sv[2], i;
	pid_t pid;

	how = EPOLL;
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK,
				   variant->spawned));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pid = fork_child();
	ASSERT_LE(0, pid);
	if (!pid) {
		i = consumer(self->l.fd, EPOLLIN);
		_exit(i < 0 || send_fd(sv[0], i));
	}
	ASSERT_EQ(0, reap(pid));
	self->pool.epfd = recv_fd(sv[1]);
	ASSERT_LE(0, self->pool.epfd);
	ASSERT_EQ(0, pool_start(&self->pool, &self->l, 2, true, by_shared));
	load();
	close(self->pool.epfd);
	stop_and_close();
}

/*
 * Stop a child, and wait until it has: until then it may still take a
 * connection that it then does not serve, as on any socket.
 */
static int stop_child(pid_t pid)
{
	int status;

	if (kill(pid, SIGSTOP))
		return -errno;
	if (SYS(waitpid(pid, &status, WUNTRACED)) != pid)
		return -ECHILD;
	return WIFSTOPPED(status) ? 0 : -EIO;
}

/* The one for whom this CPU's connections are is stopped, then killed. */
FS_TEST(strand, registrant_stopped)
{
	for (how = 0; how < HOWS; how++) {
		self->pool.init = pin_init;
		open_and_start(variant->spawned, true, by_how, 2);
		ASSERT_TRUE(pool_asleep(&self->pool));
		ASSERT_EQ(0, stop_child(self->pool.pid[0]));
		load();
		ASSERT_EQ(0, kill(self->pool.pid[0], SIGCONT));
		load();
		ASSERT_EQ(0, pool_kill(&self->pool, 0));
		load();
		stop_and_close();
	}
}

/* It dies with connections in front of it that it was woken for. */
FS_TEST(strand, killed_with_queue)
{
	int i, c[8];

	for (how = 0; how < HOWS; how++) {
		self->pool.init = pin_init;
		open_and_start(variant->spawned, true, by_how, 2);
		ASSERT_TRUE(pool_asleep(&self->pool));
		ASSERT_EQ(0, stop_child(self->pool.pid[0]));
		ASSERT_EQ(0, stop_child(self->pool.pid[1]));
		for (i = 0; i < ARRAY_SIZE(c); i++) {
			c[i] = client_on(&self->l, cpu_id(i), i);
			ASSERT_LE(0, c[i]);
			ASSERT_EQ(0, request_send(c[i], i));
		}
		ASSERT_EQ(0, pool_kill(&self->pool, 0));
		ASSERT_EQ(0, kill(self->pool.pid[1], SIGCONT));
		for (i = 0; i < ARRAY_SIZE(c); i++)
			EXPECT_EQ(0, request_end(c[i], i))
				TH_LOG("way to wait %d, client %d", how, i);
		load();
		stop_and_close();
	}
}

/* One worker is busy with a client that says nothing; the other is not. */
FS_TEST(strand, busy)
{
	int c;

	for (how = 0; how < HOWS; how++) {
		self->pool.init = pin_init;
		open_and_start(variant->spawned, how & 1, by_how, 2);
		c = client_on(&self->l, cpu_id(how), 0);
		ASSERT_LE(0, c);
		ASSERT_TRUE(pool_asleep(&self->pool));
		load();
		ASSERT_EQ(0, request_send(c, MAX_CONNS - 1));
		EXPECT_EQ(0, request_end(c, MAX_CONNS - 1));
		stop_and_close();
	}
}

/* The worker that has the token registers, waits, and deregisters. */
static void by_token(struct worker *w)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int epfd = SYS(epoll_create1(EPOLL_CLOEXEC)), free, fd, ret;

	if (epfd < 0)
		worker_fail(w, epfd);
	worker_ready(w);
	while (!w->stop) {
		free = 0;
		if (!atomic_compare_exchange_strong(&w->pool->sh->token, &free, 1)) {
			epoll_wait(epfd, &ev, 1, 5);
			continue;
		}
		ev.events = EPOLLIN;
		ret = SYS(epoll_ctl(epfd, EPOLL_CTL_ADD, w->lfd, &ev));
		if (ret)
			worker_fail(w, ret);
		ret = SYS(epoll_wait(epfd, &ev, 1, 50));
		fd = ret > 0 ? SYS(accept4(w->lfd, NULL, NULL, SOCK_CLOEXEC)) : -EAGAIN;
		ret = SYS(epoll_ctl(epfd, EPOLL_CTL_DEL, w->lfd, NULL));
		if (ret)
			worker_fail(w, ret);
		atomic_store(&w->pool->sh->token, 0);
		if (fd != -EAGAIN && fd != -EINTR)
			worker_serve(w, fd);
	}
	close(epfd);
}

FS_TEST(strand, accept_mutex)
{
	how = EPOLL;
	open_and_start(variant->spawned, true, by_token, self->workers);
	load();
	stop_and_close();
}

/* Worker 0 waits from before the socket is spawned, the others from after. */
static void by_how_later(struct worker *w)
{
	if (w->index) {
		worker_ready(w);
		while (!w->pool->sh->go)
			sleep_ms(2);
		atomic_fetch_sub(&w->pool->sh->ready, 1);
	}
	by_how(w);
}

FS_TEST(strand, waits_from_before)
{
	int late;

	for (how = 0; how < HOWS; how++) {
		for (late = 0; late <= 1; late++) {
			open_and_start(false, how & 1, by_how_later, 1 + late);
			ASSERT_TRUE(wait_asleep(self->pool.sh->tid[0]));
			if (variant->spawned)
				ASSERT_EQ(0, fs_spawn(self->l.fd, -1));
			self->pool.sh->go = 1;
			load();
			stop_and_close();
		}
	}
}

/*
 * As above; the others look all the time, and take what those who wait under the
 * lock of the socket have seen.
 */
static void by_accept_or_looks(struct worker *w)
{
	int ret = 0;

	worker_ready(w);
	while (w->index >= BEFORE && !w->pool->sh->go)
		sleep_ms(2);
	while (!w->stop) {
		if (w->index >= BEFORE)
			ret = poll_one(w->lfd, POLLIN, 0);
		if (ret < 0)
			worker_fail(w, ret);
		else if (w->index < BEFORE || ret)
			worker_serve(w, SYS(accept4(w->lfd, NULL, NULL, SOCK_CLOEXEC)));
	}
}

FS_TEST(strand, waits_from_before_beside_others)
{
	long long end = now_ms() + 2 * WAIT_MS;
	int round, i;

	how = ACCEPT;
	/* A kernel with all checks has time for some. */
	for (round = 0; round < 5 || (soaks() && round < 100 && now_ms() < end); round++) {
		open_and_start(false, round & 1, by_accept_or_looks, BEFORE + 1);
		for (i = 0; i < BEFORE; i++)
			ASSERT_TRUE(wait_asleep(self->pool.sh->tid[i]));
		if (variant->spawned)
			ASSERT_EQ(0, fs_spawn(self->l.fd, -1));
		self->pool.sh->go = 1;
		load();
		stop_and_close();
	}
}

/* Nobody ever asked; then somebody tries, wherever. */
FS_TEST(strand, nobody_waits)
{
	int c[MAX_CPUS], i, n = cpu_count();

	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK,
				   variant->spawned));
	for (i = 0; i < n; i++) {
		c[i] = client_on(&self->l, cpu_id(i), i);
		ASSERT_LE(0, c[i]);
	}
	for (i = 0; i < n; i++) {
		ASSERT_EQ(0, pin_to(cpu_id(i + 1)));
		ASSERT_TRUE(WAIT_FOR(SYS(accept(self->l.fd, NULL, NULL)) >= 0));
	}
	EXPECT_EQ(-EAGAIN, SYS(accept(self->l.fd, NULL, NULL)));

	/* A blocking accept() finds what came before it. */
	ASSERT_EQ(0, set_nonblock(self->l.fd, false));
	for (i = 0; i < n; i++) {
		close(c[i]);
		c[i] = client_on(&self->l, cpu_id(i), i);
		ASSERT_LE(0, c[i]);
		ASSERT_LE(0, SYS(accept(self->l.fd, NULL, NULL)));
	}
}

/* How many wait to be accepted. */
static int waiting(int lfd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	return getsockopt(lfd, IPPROTO_TCP, TCP_INFO, &info, &len) ? -errno : (int)info.tcpi_unacked;
}

/*
 * One is registered, and told that there is something; another, who waited once
 * and does not now, is to take it. What is there is there for all.
 */
FS_TEST(strand, one_is_told_another_accepts)
{
	int i, c, epfd, fd;

	FS_NEED_CPUS(2);
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK,
				   variant->spawned));
	ASSERT_EQ(0, pin_to(cpu_id(0)));
	epfd = consumer(self->l.fd, EPOLLIN);
	ASSERT_LE(0, epfd);
	if (!fork_child()) {
		ASSERT_EQ(0, pin_to(cpu_id(1)));
		ASSERT_EQ(0, poll_one(self->l.fd, POLLIN, 1));
		for (i = 0; i < 20; i++) {
			c = client_on(&self->l, cpu_id(0), i);
			ASSERT_LE(0, c);
			ASSERT_TRUE(WAIT_FOR(waiting(self->l.fd) == 1));
			EXPECT_EQ(POLLIN, poll_one(self->l.fd, POLLIN, 0));
			fd = SYS(accept4(self->l.fd, NULL, NULL, SOCK_CLOEXEC));
			EXPECT_LE(0, fd);
			if (fd < 0)
				fd = accept_wait(self->l.fd);
			ASSERT_EQ(0, talk(c, fd));
			close(fd);
			close(c);
		}
		_exit(_metadata->exit_code != KSFT_PASS);
	}
	EXPECT_EQ(0, reap(-1));
}

/*
 * Who is told by poll() that there is something finds it, though another is registered
 * on the CPU where it came: accept() does not wait.
 */
FS_TEST(strand, polled_and_accepted)
{
	int i, c, fd;

	FS_NEED_CPUS(2);
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, 0, variant->spawned));
	ASSERT_EQ(0, pin_to(cpu_id(0)));
	ASSERT_LE(0, consumer(self->l.fd, EPOLLIN));
	if (!fork_child()) {
		ASSERT_EQ(0, pin_to(cpu_id(1)));
		ASSERT_EQ(0, poll_one(self->l.fd, POLLIN, 1));
		for (i = 0; i < 20; i++) {
			c = client_on(&self->l, cpu_id(i), i);
			ASSERT_LE(0, c);
			/* In vain at first, or not. */
			poll_one(self->l.fd, POLLIN, 0);
			ASSERT_EQ(POLLIN, poll_one(self->l.fd, POLLIN, WAIT_MS));
			fd = SYS(accept4(self->l.fd, NULL, NULL, SOCK_CLOEXEC));
			ASSERT_LE(0, fd);
			ASSERT_EQ(0, talk(c, fd));
			close(fd);
			close(c);
		}
		_exit(_metadata->exit_code != KSFT_PASS);
	}
	EXPECT_EQ(0, reap(-1));
}

static long long pushed(bool spawned)
{
	return spawned ? stat_total("fsocket_stats", "pushed") : 0;
}

/*
 * One accepts alone: what came first, on whichever CPU, is accepted first. (What
 * the timer pushes while it does not look goes to the end of the socket's queue.)
 */
FS_TEST(strand, in_order)
{
	int i, k, c[4], fd, wrong, all_wrong = 0;
	long long before;

	FS_NEED_CPUS(2);
	ASSERT_EQ(0, pin_to(cpu_id(0)));
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK,
				   variant->spawned));
	ASSERT_LE(0, consumer(self->l.fd, EPOLLIN));
	for (i = 0; i < 20; i++) {
		wrong = 0;
		before = pushed(variant->spawned);
		for (k = 0; k < ARRAY_SIZE(c); k++) {
			/* The other CPU's first, and in turns. */
			c[k] = client_on(&self->l, cpu_id(k + 1), k);
			ASSERT_LE(0, c[k]);
			ASSERT_TRUE(WAIT_FOR(waiting(self->l.fd) == k + 1));
		}
		for (k = 0; k < ARRAY_SIZE(c); k++) {
			fd = accept_wait(self->l.fd);
			ASSERT_LE(0, fd);
			wrong += port_by(fd, getpeername) != port_by(c[k], getsockname);
			close(fd);
		}
		for (k = 0; k < ARRAY_SIZE(c); k++)
			close(c[k]);
		if (before == pushed(variant->spawned))
			all_wrong += wrong;
	}
	EXPECT_EQ(0, all_wrong);
}

/* Serves what it is woken for, as which worker it says. */
static void serve_exclusive(int lfd, int epfd, char name)
{
	struct epoll_event ev;
	int fd;

	for (;;) {
		if (SYS(epoll_wait(epfd, &ev, 1, -1)) != 1)
			continue;
		fd = SYS(accept4(lfd, NULL, NULL, SOCK_CLOEXEC));
		if (fd < 0)
			continue;
		write_full(fd, &name, 1);
		close(fd);
	}
}

/*
 * A worker that is woken exclusively on one CPU is moved to another, waits there,
 * and another one comes to the first: that one is woken, not who was there before.
 */
FS_TEST(strand, left_behind)
{
	int i, c, epfd, ready[2], by_second = 0;
	pid_t pid[2];
	char name;

	FS_NEED_CPUS(2);
	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK,
				   variant->spawned));
	for (i = 0; i < 2; i++) {
		pid[i] = fork_child();
		ASSERT_LE(0, pid[i]);
		if (!pid[i]) {
			ASSERT_EQ(0, pin_to(cpu_id(0)));
			epfd = consumer(self->l.fd, EPOLLIN | EPOLLEXCLUSIVE);
			ASSERT_LE(0, epfd);
			/* It is registered there as well. */
			if (!i) {
				ASSERT_EQ(0, pin_to(cpu_id(1)));
				ASSERT_LE(0, consumer(self->l.fd, EPOLLIN));
			}
			ASSERT_EQ(1, write_full(ready[1], "", 1));
			serve_exclusive(self->l.fd, epfd, i);
		}
		ASSERT_EQ(1, read_full(ready[0], &name, 1));
		ASSERT_TRUE(wait_asleep(pid[i]));
	}
	for (i = 0; i < 20; i++) {
		c = client_on(&self->l, cpu_id(0), i);
		ASSERT_LE(0, c);
		ASSERT_EQ(1, read_full(c, &name, 1));
		by_second += name;
		close(c);
		ASSERT_TRUE(wait_asleep(pid[0]) && wait_asleep(pid[1]));
	}
	TH_LOG("%d of 20 by the second", by_second);
	/* Where CPUs are short, some are pushed, and taken by whoever comes. */
	if (variant->spawned)
		EXPECT_LE(10, by_second);
	for (i = 0; i < 2; i++) {
		kill(pid[i], SIGKILL);
		EXPECT_EQ(128 + SIGKILL, reap(pid[i]));
	}
}

/* A consumer registers, never waits, and goes; the connections are found. */
FS_TEST(strand, consumer_leaves)
{
	int i, c, epfd, other, n = cpu_count();

	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK,
				   variant->spawned));
	for (i = 0; i < 3 * n; i++) {
		ASSERT_EQ(0, pin_to(cpu_id(i)));
		epfd = consumer(self->l.fd, EPOLLIN);
		ASSERT_LE(0, epfd);
		c = client_on(&self->l, cpu_id(i), i);
		ASSERT_LE(0, c);
		ASSERT_EQ(0, pin_to(cpu_id(i + 1)));
		if (i < n) {
			ASSERT_EQ(0, epoll_ctl(epfd, EPOLL_CTL_DEL, self->l.fd, NULL));
		} else if (i < 2 * n) {
			close(epfd);
		}
		/* Registered afresh, somebody else learns of it at once. */
		other = consumer(self->l.fd, EPOLLIN);
		ASSERT_LE(0, other);
		ASSERT_EQ(POLLIN, poll_one(other, POLLIN, WAIT_MS));
		ASSERT_LE(0, SYS(accept(self->l.fd, NULL, NULL)));
		ASSERT_EQ(0, poll_one(other, POLLIN, 0));
		close(other);
		close(c);
		if (i < n || i >= 2 * n)
			close(epfd);
	}
}

/* A queue for one: the others try again, and all come in. */
FS_TEST(strand, short_backlog)
{
	int c[6], i, all = 0;
	bool sent[6] = { false };

	how = EPOLL;
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK, false));
	ASSERT_EQ(0, listen(self->l.fd, 1));
	if (variant->spawned)
		ASSERT_EQ(0, fs_spawn(self->l.fd, -1));
	for (i = 0; i < ARRAY_SIZE(c); i++) {
		c[i] = client_start(&self->l, i);
		ASSERT_LE(0, c[i]);
	}
	sleep_ms(QUIET_MS);
	ASSERT_EQ(0, pool_start(&self->pool, &self->l, 2, true, by_how));
	/* In whatever order they get through, for a worker waits for its client. */
	ASSERT_TRUE(WAIT_FOR(({
		for (i = 0; i < ARRAY_SIZE(c); i++) {
			if (!sent[i] && poll_one(c[i], POLLOUT, 0) == POLLOUT) {
				sent[i] = !request_send(c[i], i);
				all += sent[i];
			}
		}
		all == ARRAY_SIZE(c);
	})));
	for (i = 0; i < ARRAY_SIZE(c); i++) {
		ASSERT_EQ(0, set_nonblock(c[i], false));
		EXPECT_EQ(0, request_end(c[i], i));
	}
	load();
	stop_and_close();
}

static struct listener second;

/* Two sockets on one port, and workers that wait for both. */
static void by_group(struct worker *w)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int epfd = consumer(w->lfd, EPOLLIN), ret, fd;

	ev.data.fd = second.fd;
	ret = epfd < 0 ? epfd : SYS(epoll_ctl(epfd, EPOLL_CTL_ADD, second.fd, &ev));
	if (ret)
		worker_fail(w, ret);
	worker_ready(w);
	while (!w->stop) {
		ret = SYS(epoll_wait(epfd, &ev, 1, -1));
		fd = ret == 1 ? SYS(accept4(ev.data.fd, NULL, NULL, SOCK_CLOEXEC)) : ret;
		if (fd != -EAGAIN && fd != -EINTR)
			worker_serve(w, fd);
	}
	close(epfd);
}

FS_TEST(strand, reuseport_group)
{
	int one;

	how = EPOLL;
	for (one = 0; one <= 1; one++) {
		self->l.port = 0;
		ASSERT_EQ(0, listener_bind(&self->l, variant->fam, SOCK_NONBLOCK, true));
		second.port = self->l.port;
		ASSERT_EQ(0, listener_bind(&second, variant->fam, SOCK_NONBLOCK, true));
		ASSERT_EQ(0, listen(self->l.fd, 64));
		ASSERT_EQ(0, listen(second.fd, 64));
		if (variant->spawned) {
			ASSERT_EQ(0, fs_spawn(self->l.fd, -1));
			/* One of them only, or both. */
			if (one)
				ASSERT_EQ(0, fs_spawn(second.fd, -1));
		}
		ASSERT_EQ(0, pool_start(&self->pool, &self->l, self->workers, true,
					by_group));
		load();
		close(second.fd);
		stop_and_close();
	}
}

FS_TEST(strand, cpu_unplugged)
{
	int cpu = cpu_id(cpu_count() - 1);

	if (!variant->spawned)
		SKIP(return, "not worth taking a CPU away");
	FS_NEED_CPUS(2);
	for (how = ACCEPT; how <= EPOLL; how += EPOLL - ACCEPT) {
		self->pool.init = pin_init;
		open_and_start(true, true, by_how, cpu_count());
		ASSERT_TRUE(pool_asleep(&self->pool));
		if (cpu_online(cpu, false))
			SKIP(return, "CPU %d cannot be unplugged", cpu);
		EXPECT_EQ(-EINVAL, fs_spawn(self->l.fd, cpu));
		EXPECT_EQ(0, pool_load(&self->pool, LOAD));
		ASSERT_EQ(0, cpu_online(cpu, true));
		load();
		stop_and_close();
	}
}

TEST_HARNESS_MAIN
