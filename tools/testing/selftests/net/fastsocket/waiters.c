// SPDX-License-Identifier: GPL-2.0
/*
 * Every way to wait for a connection: a few workers, threads or processes,
 * all wait in that way for as long as it takes; clients on every CPU connect.
 * Each connection must be served once, and nobody may be left waiting. The
 * workers then end one by one, while the others go on.
 */
#include "lib.h"
#include "uring.h"
#include "kselftest_harness.h"

FIXTURE(wait)
{
	struct listener l;
	struct pool pool;
	int workers;
};

FIXTURE_VARIANT(wait)
{
	bool spawned;
	enum fam fam;
	bool procs;
};

FIXTURE_VARIANT_ADD(wait, plain_v4_threads) { false, V4, false };
FIXTURE_VARIANT_ADD(wait, plain_dual_procs) { false, DUAL, true };
FIXTURE_VARIANT_ADD(wait, spawned_v4_threads) { true, V4, false };
FIXTURE_VARIANT_ADD(wait, spawned_v4_procs) { true, V4, true };
FIXTURE_VARIANT_ADD(wait, spawned_v6_threads) { true, V6, false };
FIXTURE_VARIANT_ADD(wait, spawned_v6_procs) { true, V6, true };
FIXTURE_VARIANT_ADD(wait, spawned_dual_threads) { true, DUAL, false };
FIXTURE_VARIANT_ADD(wait, spawned_dual_procs) { true, DUAL, true };

FIXTURE_SETUP(wait)
{
	if (variant->spawned)
		FS_REQUIRE();
	/* Also more workers than CPUs, where there are few. */
	self->workers = cpu_count() < 4 ? cpu_count() + 1 : 4;
	self->pool.epfd = -1;
}

FIXTURE_TEARDOWN(wait) { }

/* Accept and serve what is there; false when nothing was. */
static bool serve_one(struct worker *w)
{
	int fd = SYS(accept4(w->lfd, NULL, NULL, SOCK_CLOEXEC));

	if (fd == -EAGAIN || fd == -EINTR)
		return false;
	worker_serve(w, fd);
	return true;
}

static void by_accept(struct worker *w)
{
	worker_ready(w);
	while (!w->stop)
		serve_one(w);
}

static void by_accept_timeout(struct worker *w)
{
	struct timeval tv = { 0, 50000 };

	/* An option of the socket: all of them set the same. */
	if (setsockopt(w->lfd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)))
		worker_fail(w, -errno);
	worker_ready(w);
	while (!w->stop)
		serve_one(w);
}

static void by_poll(struct worker *w)
{
	int ret;

	worker_ready(w);
	while (!w->stop) {
		ret = poll_one(w->lfd, POLLIN, -1);
		if (ret != POLLIN)
			worker_fail(w, ret < 0 ? ret : -EIO);
		else
			serve_one(w);
	}
}

static void by_select(struct worker *w)
{
	fd_set set;
	int ret;

	worker_ready(w);
	while (!w->stop) {
		FD_ZERO(&set);
		FD_SET(w->lfd, &set);
		ret = SYS(select(w->lfd + 1, &set, NULL, NULL, NULL));
		if (ret == -EINTR)
			continue;
		if (ret != 1)
			worker_fail(w, ret < 0 ? ret : -EIO);
		else
			serve_one(w);
	}
}

static void by_trying(struct worker *w)
{
	worker_ready(w);
	while (!w->stop)
		if (!serve_one(w))
			sleep_ms(1);
}

static void epoll_loop(struct worker *w, uint32_t events, int epfd)
{
	struct epoll_event ev = { .events = events };
	int own = -1, ret;

	if (epfd < 0)
		epfd = own = consumer(w->lfd, events);
	if (epfd < 0)
		worker_fail(w, epfd);
	worker_ready(w);
	while (!w->stop) {
		ret = SYS(epoll_wait(epfd, &ev, 1, -1));
		if (ret == -EINTR)
			continue;
		if (ret != 1 || ev.events != EPOLLIN) {
			worker_fail(w, ret < 0 ? ret : -EIO);
		} else if (events & EPOLLONESHOT) {
			int fd = SYS(accept4(w->lfd, NULL, NULL, SOCK_CLOEXEC));

			ev.events = events;
			ret = SYS(epoll_ctl(epfd, EPOLL_CTL_MOD, w->lfd, &ev));
			if (ret)
				worker_fail(w, ret);
			else if (fd != -EAGAIN)
				worker_serve(w, fd);
		} else {
			while (serve_one(w) && (events & EPOLLET) && !w->stop)
				;
		}
	}
	if (own >= 0)
		close(own);
}

static void by_epoll(struct worker *w)
{
	epoll_loop(w, EPOLLIN, -1);
}

static void by_epoll_edge(struct worker *w)
{
	epoll_loop(w, EPOLLIN | EPOLLET, -1);
}

static void by_epoll_exclusive(struct worker *w)
{
	epoll_loop(w, EPOLLIN | EPOLLEXCLUSIVE, -1);
}

static void by_epoll_exclusive_edge(struct worker *w)
{
	epoll_loop(w, EPOLLIN | EPOLLET | EPOLLEXCLUSIVE, -1);
}

static void by_epoll_oneshot(struct worker *w)
{
	epoll_loop(w, EPOLLIN | EPOLLONESHOT, -1);
}

static void by_shared_epoll(struct worker *w)
{
	epoll_loop(w, EPOLLIN, w->pool->epfd);
}

static void by_shared_oneshot(struct worker *w)
{
	epoll_loop(w, EPOLLIN | EPOLLONESHOT, w->pool->epfd);
}

static void by_uring(struct worker *w)
{
	worker_by_uring(w, 0);
}

static void by_uring_multishot(struct worker *w)
{
	worker_by_uring(w, IORING_ACCEPT_MULTISHOT);
}

#define run_pool(loop, flags, shared_events, nr) do {			\
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, flags,	\
				   variant->spawned));			\
	if (shared_events) {						\
		self->pool.epfd = consumer(self->l.fd, shared_events);	\
		ASSERT_LE(0, self->pool.epfd);				\
	}								\
	ASSERT_EQ(0, pool_start(&self->pool, &self->l, nr,		\
				variant->procs, loop));			\
	EXPECT_EQ(0, pool_load(&self->pool, CONNS));			\
	ASSERT_EQ(0, pool_error(&self->pool));				\
	ASSERT_EQ(0, pool_stop(&self->pool));				\
	ASSERT_EQ(0, pool_error(&self->pool));				\
} while (0)

FS_TEST(wait, accept)
{
	run_pool(by_accept, 0, 0, self->workers);
}

FS_TEST(wait, accept_timeout)
{
	run_pool(by_accept_timeout, 0, 0, self->workers);
}

FS_TEST(wait, poll)
{
	run_pool(by_poll, SOCK_NONBLOCK, 0, self->workers);
}

FS_TEST(wait, select)
{
	run_pool(by_select, SOCK_NONBLOCK, 0, self->workers);
}

FS_TEST(wait, trying)
{
	run_pool(by_trying, SOCK_NONBLOCK, 0, self->workers);
}

FS_TEST(wait, epoll)
{
	run_pool(by_epoll, SOCK_NONBLOCK, 0, self->workers);
}

FS_TEST(wait, epoll_alone)
{
	run_pool(by_epoll, SOCK_NONBLOCK, 0, 1);
}

FS_TEST(wait, epoll_edge)
{
	run_pool(by_epoll_edge, SOCK_NONBLOCK, 0, self->workers);
}

FS_TEST(wait, epoll_exclusive)
{
	run_pool(by_epoll_exclusive, SOCK_NONBLOCK, 0, self->workers);
}

FS_TEST(wait, epoll_exclusive_edge)
{
	run_pool(by_epoll_exclusive_edge, SOCK_NONBLOCK, 0, self->workers);
}

FS_TEST(wait, epoll_oneshot)
{
	run_pool(by_epoll_oneshot, SOCK_NONBLOCK, 0, self->workers);
}

FS_TEST(wait, epoll_shared)
{
	run_pool(by_shared_epoll, SOCK_NONBLOCK, EPOLLIN, self->workers);
}

FS_TEST(wait, epoll_shared_oneshot)
{
	run_pool(by_shared_oneshot, SOCK_NONBLOCK, EPOLLIN | EPOLLONESHOT,
		 self->workers);
}

FS_TEST(wait, uring)
{
	if (!have_uring())
		FS_SKIP("io_uring");
	run_pool(by_uring, 0, 0, self->workers);
}

FS_TEST(wait, uring_nonblock)
{
	if (!have_uring())
		FS_SKIP("io_uring");
	run_pool(by_uring, SOCK_NONBLOCK, 0, self->workers);
}

FS_TEST(wait, uring_multishot)
{
	if (!have_uring())
		FS_SKIP("io_uring");
	run_pool(by_uring_multishot, 0, 0, self->workers);
}

/* Each worker in its own manner, on one socket. */
static void by_any(struct worker *w)
{
	static void (*const manner[])(struct worker *w) = {
		by_epoll, by_poll, by_epoll_edge, by_select, by_epoll_exclusive, by_trying,
	};

	manner[w->index % ARRAY_SIZE(manner)](w);
}

FS_TEST(wait, mixed)
{
	run_pool(by_any, SOCK_NONBLOCK, 0, 6);
}

/* What one descriptor says, in every way to ask it, is true and the same. */
static int readable(int lfd, int epfd, bool wait)
{
	struct epoll_event ev;
	struct timeval tv = { wait ? WAIT_MS / 1000 : 0, 0 };
	int p, s, e, timeout = wait ? WAIT_MS : 0;
	fd_set set;

	p = poll_one(lfd, POLLIN, timeout);
	FD_ZERO(&set);
	FD_SET(lfd, &set);
	s = SYS(select(lfd + 1, &set, NULL, NULL, &tv));
	e = SYS(epoll_wait(epfd, &ev, 1, timeout));
	if (p < 0 || s < 0 || e < 0)
		return -EIO;
	if (p & ~POLLIN || (e && ev.events != EPOLLIN))
		return -EBADMSG;
	return !!p + 2 * s + 4 * e;
}

#define ALL_SAY_YES	7
#define ALL_SAY_NO	0

FS_TEST(wait, truth)
{
	int lfd, epfd, i, j, c[3];

	/* One caller; the kind of worker makes no difference. */
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK,
				   variant->spawned));
	lfd = self->l.fd;
	ASSERT_EQ(-EAGAIN, SYS(accept(lfd, NULL, NULL)));
	epfd = consumer(lfd, EPOLLIN);
	ASSERT_LE(0, epfd);
	ASSERT_EQ(ALL_SAY_NO, readable(lfd, epfd, false));

	for (i = 0; i < cpu_count(); i++) {
		for (j = 0; j < ARRAY_SIZE(c); j++) {
			c[j] = client_on(&self->l, cpu_id(i + j / 2), j);
			ASSERT_LE(0, c[j]);
		}
		/* With as many as there are left, and from wherever one asks. */
		for (j = 0; j < ARRAY_SIZE(c); j++) {
			ASSERT_EQ(ALL_SAY_YES, readable(lfd, epfd, true));
			ASSERT_EQ(ALL_SAY_YES, readable(lfd, epfd, false));
			if (variant->procs)
				ASSERT_EQ(0, pin_to(cpu_id(i + j)));
			ASSERT_EQ(ALL_SAY_YES, readable(lfd, epfd, false));
			ASSERT_LE(0, SYS(accept(lfd, NULL, NULL)));
		}
		ASSERT_EQ(ALL_SAY_NO, readable(lfd, epfd, false));
		ASSERT_EQ(-EAGAIN, SYS(accept(lfd, NULL, NULL)));
		for (j = 0; j < ARRAY_SIZE(c); j++)
			close(c[j]);
	}
}

/* A task that was moved sees at once what comes where it still waits, too. */
FS_TEST(wait, after_a_move)
{
	struct tcp_info ti = {};
	socklen_t len = sizeof(ti);
	long long stolen, end;
	int lfd, epfd, c;

	if (cpu_count() < 2)
		SKIP(return, "there is one CPU");
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK,
				   variant->spawned));
	lfd = self->l.fd;
	ASSERT_EQ(0, pin_to(cpu_id(0)));
	epfd = consumer(lfd, EPOLLIN);
	ASSERT_LE(0, epfd);
	ASSERT_EQ(ALL_SAY_NO, readable(lfd, epfd, false));
	ASSERT_EQ(0, pin_to(cpu_id(1)));
	ASSERT_EQ(0, poll_one(lfd, POLLIN, 1));
	ASSERT_EQ(ALL_SAY_NO, readable(lfd, epfd, false));

	c = client_on(&self->l, cpu_id(0), 0);
	ASSERT_LE(0, c);
	ASSERT_TRUE(WAIT_FOR(!getsockopt(lfd, IPPROTO_TCP, TCP_INFO, &ti, &len) &&
			     ti.tcpi_unacked == 1));
	ASSERT_EQ(ALL_SAY_YES, readable(lfd, epfd, false));
	ASSERT_LE(0, SYS(accept(lfd, NULL, NULL)));
	ASSERT_EQ(ALL_SAY_NO, readable(lfd, epfd, false));
	close(c);

	/* What waits there for long is no less its own: it steals nothing. */
	stolen = variant->spawned ? stat_total("fsocket_stats", "stolen") : 0;
	c = client_on(&self->l, cpu_id(0), 0);
	ASSERT_LE(0, c);
	for (end = now_ms() + 50; now_ms() < end;)
		;
	ASSERT_LE(0, accept_wait(lfd));
	if (variant->spawned)
		EXPECT_EQ(stolen, stat_total("fsocket_stats", "stolen"));
	close(c);
	close(epfd);
}

TEST_HARNESS_MAIN
