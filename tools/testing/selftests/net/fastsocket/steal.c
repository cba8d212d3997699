// SPDX-License-Identifier: GPL-2.0
/*
 * A worker that is busy makes nobody wait whom an idle one could serve: that
 * one takes from its queue. What is quick is left alone.
 */
#include "lib.h"
#include "kselftest_harness.h"

#define LOAD	16

FIXTURE(steal)
{
	struct listener l;
	struct pool pool;
	long long stolen;
};

FIXTURE_VARIANT(steal)
{
	enum fam fam;
	int flags;
};

FIXTURE_VARIANT_ADD(steal, epoll_v4) { V4, SOCK_NONBLOCK };
FIXTURE_VARIANT_ADD(steal, epoll_v6) { V6, SOCK_NONBLOCK };
FIXTURE_VARIANT_ADD(steal, epoll_dual) { DUAL, SOCK_NONBLOCK };
FIXTURE_VARIANT_ADD(steal, accept_v4) { V4, 0 };
FIXTURE_VARIANT_ADD(steal, accept_v6) { V6, 0 };

static void pin_init(struct worker *w)
{
	int ret = pin_to(cpu_id(w->index));

	if (ret)
		worker_fail(w, ret);
}

/* Worker 0 turns round and round with its first connection, until it may go on. */
static void by_spinning(struct worker *w)
{
	struct epoll_event ev;
	int fd, epfd = -1;
	bool spun = false;

	if (fcntl(w->lfd, F_GETFL) & O_NONBLOCK) {
		epfd = consumer(w->lfd, EPOLLIN);
		if (epfd < 0)
			worker_fail(w, epfd);
	}
	worker_ready(w);
	while (!w->stop) {
		if (epfd >= 0 && epoll_wait(epfd, &ev, 1, -1) < 0)
			worker_fail(w, -errno);
		fd = SYS(accept4(w->lfd, NULL, NULL, SOCK_CLOEXEC));
		if (fd == -EAGAIN)
			continue;
		if (fd >= 0 && !w->index && !spun) {
			spun = true;
			atomic_store(&w->pool->sh->token, 1);
			while (!atomic_load(&w->pool->sh->go))
				;
		}
		worker_serve(w, fd);
	}
	if (epfd >= 0)
		close(epfd);
}

FIXTURE_SETUP(steal)
{
	FS_NEED_CPUS(2);
	FS_REQUIRE();
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, variant->flags, true));
	self->pool.init = pin_init;
	self->stolen = stat_total("fsocket_stats", "stolen");
	ASSERT_LE(0, self->stolen);
}

FIXTURE_TEARDOWN(steal)
{
	close(self->l.fd);
}

#define stolen()	(stat_total("fsocket_stats", "stolen") - self->stolen)

/*
 * Make worker 0 busy, by the connection that is returned. On a machine that
 * stands still for two ticks another one may have taken it: then once more.
 */
static int busy_by(FIXTURE_DATA(steal) *self)
{
	int fd, ret;

	do {
		if (!pool_asleep(&self->pool))
			return -ETIMEDOUT;
		fd = client_on(&self->l, cpu_id(0), 0);
		if (fd < 0)
			return fd;
		ret = request_send(fd, MAX_CONNS - 1);
		if (ret)
			return ret;
		if (!WAIT_FOR(atomic_load(&self->pool.sh->token) ||
			      poll_one(fd, POLLIN, 0)))
			return -ETIMEDOUT;
		if (atomic_load(&self->pool.sh->token))
			return fd;
		ret = request_end(fd, MAX_CONNS - 1);
	} while (!ret);
	return ret;
}

/* While worker 0 is busy, the others serve what arrived on its CPU. */
FS_TEST(steal, busy)
{
	int c[LOAD], first, i;

	ASSERT_EQ(0, pool_start(&self->pool, &self->l, cpu_count(), true, by_spinning));
	first = busy_by(self);
	ASSERT_LE(0, first);
	self->stolen = stat_total("fsocket_stats", "stolen");

	for (i = 0; i < LOAD; i++) {
		c[i] = client_on(&self->l, cpu_id(0), i);
		ASSERT_LE(0, c[i]);
		ASSERT_EQ(0, request_send(c[i], i));
	}
	for (i = 0; i < LOAD; i++)
		EXPECT_EQ(0, request_end(c[i], i))
			TH_LOG("connection %d", i);
	ASSERT_EQ(0, pool_error(&self->pool));
	/* Who waits in accept(2) is not waited for: nothing comes into its queue. */
	if (variant->flags & SOCK_NONBLOCK)
		EXPECT_LT(0, stolen());

	atomic_store(&self->pool.sh->go, 1);
	EXPECT_EQ(0, request_end(first, MAX_CONNS - 1));
	ASSERT_EQ(0, pool_stop(&self->pool));
	ASSERT_EQ(0, pool_error(&self->pool));
}

/* One after the other: each is taken where it arrived, whoever else is idle. */
FS_TEST(steal, not_what_is_quick)
{
	int i;

	ASSERT_EQ(0, pool_start(&self->pool, &self->l, cpu_count(), true, by_spinning));
	atomic_store(&self->pool.sh->go, 1);
	ASSERT_TRUE(pool_asleep(&self->pool));
	for (i = 0; i < 4 * LOAD; i++) {
		ASSERT_EQ(0, request(&self->l, cpu_id(i), i));
		ASSERT_TRUE(pool_asleep(&self->pool));
	}
	/* A machine that stands still for two ticks makes one late. */
	EXPECT_GE(LOAD, stolen());
	ASSERT_EQ(0, pool_stop(&self->pool));
	ASSERT_EQ(0, pool_error(&self->pool));
}

TEST_HARNESS_MAIN
