// SPDX-License-Identifier: GPL-2.0
/*
 * A worker that is busy, asleep in a request, or cannot accept makes nobody wait
 * whom an idle one could serve: that one takes from its queue. What is quick is
 * left alone.
 */
#include <sys/resource.h>

#include "lib.h"
#include "uring.h"
#include "kselftest_harness.h"

#define LOAD	16

FIXTURE(steal)
{
	struct listener l;
	struct pool pool;
	long long stolen, slots;
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

/* What worker 0 does when it has its first connection, until it may go on. */
static enum { SPINS, SLEEPS, HAS_NO_DESCRIPTORS } manner;

static int let_have_descriptors(bool some)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return -errno;
	limit.rlim_cur = some ? limit.rlim_max : 0;
	return SYS(setrlimit(RLIMIT_NOFILE, &limit));
}

static void be_busy(struct worker *w)
{
	while (!atomic_load(&w->pool->sh->go))
		if (manner == SLEEPS)
			sleep_ms(1);
}

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
		/* As many servers do: the others have some, or there will be. */
		if (fd == -EMFILE && atomic_load(&w->pool->sh->go))
			let_have_descriptors(true);
		if (fd == -EAGAIN || fd == -EMFILE)
			continue;
		if (fd >= 0 && !w->index && !spun) {
			spun = true;
			if (manner == HAS_NO_DESCRIPTORS && let_have_descriptors(false))
				worker_fail(w, -errno);
			atomic_store(&w->pool->sh->token, 1);
			if (manner != HAS_NO_DESCRIPTORS)
				be_busy(w);
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
	self->slots = stat_total("fsocket_stats", "slots");
	ASSERT_LE(0, self->stolen);
	ASSERT_LE(0, self->slots);
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

/* While worker 0 does that, the others serve what arrived on its CPU. */
static void others_serve(struct __test_metadata *_metadata, FIXTURE_DATA(steal) *self)
{
	long long pushed = stat_total("fsocket_stats", "pushed");
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
	/* A machine that stands still for long has the timer push some. */
	EXPECT_LT(0, stolen() + stat_total("fsocket_stats", "pushed") - pushed);

	atomic_store(&self->pool.sh->go, 1);
	EXPECT_EQ(0, request_end(first, MAX_CONNS - 1));
	ASSERT_EQ(0, pool_stop(&self->pool));
	ASSERT_EQ(0, pool_error(&self->pool));
}

FS_TEST(steal, busy)
{
	manner = SPINS;
	others_serve(_metadata, self);
}

FS_TEST(steal, asleep)
{
	manner = SLEEPS;
	others_serve(_metadata, self);
}

FS_TEST(steal, no_descriptors)
{
	manner = HAS_NO_DESCRIPTORS;
	others_serve(_metadata, self);
}

/* The group of worker 0 has used up its quota: it is woken, and does not run. Others serve what is for it. */
FS_TEST(steal, throttled)
{
	long long global;
	int i, by_0;
	pid_t hog;

	if (cgroup_mount("+cpu"))
		FS_SKIP("a cgroup with quotas of CPU time");
	ASSERT_EQ(0, pool_start(&self->pool, &self->l, cpu_count(), true, by_spinning));
	atomic_store(&self->pool.sh->go, 1);
	/* It has shown that it comes. */
	for (i = 0; i < CONNS && !atomic_load(&self->pool.sh->by_worker[0]); i++) {
		ASSERT_TRUE(pool_asleep(&self->pool));
		ASSERT_EQ(0, request(&self->l, cpu_id(0), i));
	}
	hog = cgroup_throttle("quota", self->pool.pid[0], cpu_id(0));
	ASSERT_LT(0, hog);

	global = stat_total("fsocket_stats", "accept_global");
	by_0 = atomic_load(&self->pool.sh->by_worker[0]);
	for (i = 0; i < 2 * LOAD; i++)
		ASSERT_EQ(0, request(&self->l, cpu_id(0), CONNS + i));
	EXPECT_GT(LOAD, atomic_load(&self->pool.sh->by_worker[0]) - by_0);
	EXPECT_LE(LOAD, stat_total("fsocket_stats", "accept_global") - global);

	kill(hog, SIGKILL);
	reap(hog);
	ASSERT_EQ(0, pool_stop(&self->pool));
	ASSERT_EQ(0, pool_error(&self->pool));
	cgroup_unmount();
}

/* On which CPU the next one watches, and those above have workers; how many do. */
static int watched;
static atomic_int watching;

/* Is told of all, and accepts nothing, as a process manager does. */
static void *watch(void *arg)
{
	struct epoll_event ev;
	int epfd;

	if (pin_to(cpu_id(watched)))
		return NULL;
	epfd = consumer(*(int *)arg, EPOLLIN | EPOLLET);
	atomic_fetch_add(&watching, 1);
	while (epfd >= 0)
		epoll_wait(epfd, &ev, 1, -1);
	return NULL;
}

static void by_accepting(struct worker *w)
{
	int ret = pin_to(cpu_id(watched + w->index)), epfd = -1;
	struct epoll_event ev;

	if (fcntl(w->lfd, F_GETFL) & O_NONBLOCK)
		epfd = ret = ret ?: consumer(w->lfd, EPOLLIN);
	if (ret < 0)
		worker_fail(w, ret);
	worker_ready(w);
	while (!w->stop) {
		if (epfd >= 0 && epoll_wait(epfd, &ev, 1, -1) < 0)
			worker_fail(w, -errno);
		ret = SYS(accept4(w->lfd, NULL, NULL, SOCK_CLOEXEC));
		if (ret != -EAGAIN)
			worker_serve(w, ret);
	}
	if (epfd >= 0)
		close(epfd);
}

/* Nobody but him serves the first CPU; what arrives there is served. */
FS_TEST(steal, watched)
{
	long long pushed = stat_total("fsocket_stats", "pushed");
	pthread_t watcher;
	int i;

	ASSERT_EQ(0, pthread_create(&watcher, NULL, watch, &self->l.fd));
	/* It has a slot when it waits. */
	ASSERT_TRUE(WAIT_FOR(stat_total("fsocket_stats", "slots") > self->slots));
	watched = 1;
	self->pool.init = NULL;
	ASSERT_EQ(0, pool_start(&self->pool, &self->l, cpu_count() - 1, true, by_accepting));
	ASSERT_TRUE(pool_asleep(&self->pool));
	for (i = 0; i < 2 * LOAD; i++)
		ASSERT_EQ(0, request(&self->l, cpu_id(0), i));
	/* A machine that stands still for long has the timer push some. */
	EXPECT_GE(LOAD, stat_total("fsocket_stats", "pushed") - pushed);
	ASSERT_EQ(0, pool_stop(&self->pool));
	ASSERT_EQ(0, pool_error(&self->pool));
	pthread_cancel(watcher);
	pthread_join(watcher, NULL);
}

/* Half of the CPUs have a watcher, the others a worker that waits: how long a request takes. */
static long long watched_us(struct __test_metadata *_metadata, int fam, int flags, bool spawned)
{
	int half = cpu_count() / 2, i, j;
	pthread_t watcher[MAX_CPUS];
	struct pool pool = { };
	long long us[LOAD + 1];
	struct listener listener, *l = &listener;

	ASSERT_EQ(0, listener_open(l, fam, flags, spawned));
	for (watched = 0; watched < half; watched++) {
		int seen = atomic_load(&watching);

		ASSERT_EQ(0, pthread_create(&watcher[watched], NULL, watch, &l->fd));
		ASSERT_TRUE(WAIT_FOR(atomic_load(&watching) > seen));
	}
	ASSERT_EQ(0, pool_start(&pool, l, cpu_count() - half, true, by_accepting));
	for (i = 0; i < LOAD + 1; i++) {
		long long begun, took;

		ASSERT_TRUE(pool_asleep(&pool));
		begun = now_ns();
		ASSERT_EQ(0, request(l, cpu_id(0), i));
		took = (now_ns() - begun) / 1000;
		for (j = i; j > 0 && us[j - 1] > took; j--)
			us[j] = us[j - 1];
		us[j] = took;
	}
	ASSERT_EQ(0, pool_stop(&pool));
	ASSERT_EQ(0, pool_error(&pool));
	for (i = 0; i < half; i++) {
		pthread_cancel(watcher[i]);
		pthread_join(watcher[i], NULL);
	}
	close(l->fd);
	return us[LOAD / 2];
}

/* However many watch, and never accept, on however many CPUs: who waits is woken at once. */
FS_TEST(steal, watched_by_many)
{
	long long plain, spawned;
	bool at_once = false;
	int i;

	FS_NEED_CPUS(4);
	self->pool.init = NULL;
	/* At a tick of the clock it would be more than 8 ms later each time; a busy machine is so once in a while. */
	for (i = 0; i < 5 && !at_once; i++) {
		plain = watched_us(_metadata, variant->fam, variant->flags, false);
		spawned = watched_us(_metadata, variant->fam, variant->flags, true);
		TH_LOG("a request took %lld us, with a plain socket %lld", spawned, plain);
		at_once = spawned < 2 * plain + 6000;
	}
	EXPECT_TRUE(at_once);
}

/* How many a worker may answer: ids that no client has. */
#define leave(sh, i)	(&(sh)->served[MAX_CONNS - 1 - (i)])

static void by_leave(struct worker *w)
{
	struct pool_shared *sh = w->pool->sh;
	struct epoll_event ev;
	int fd, epfd = -1, nr;

	if (fcntl(w->lfd, F_GETFL) & O_NONBLOCK) {
		epfd = consumer(w->lfd, EPOLLIN);
		if (epfd < 0)
			worker_fail(w, epfd);
	}
	worker_ready(w);
	for (nr = 1; !w->stop; nr++) {
		do {
			if (epfd >= 0 && epoll_wait(epfd, &ev, 1, -1) < 0)
				worker_fail(w, -errno);
			fd = SYS(accept4(w->lfd, NULL, NULL, SOCK_CLOEXEC));
		} while (fd == -EAGAIN);
		if (nr == 1)
			atomic_fetch_or(&sh->token, 1 << w->index);
		while (atomic_load(leave(sh, w->index)) < nr)
			sleep_ms(1);
		worker_serve(w, fd);
	}
	if (epfd >= 0)
		close(epfd);
}

/* Who is through first takes what came first, though newer ones wait on its own CPU. */
FS_TEST(steal, oldest_first)
{
	int first[2], old[4], new[4], i;
	struct pool_shared *sh;

	ASSERT_EQ(0, pool_start(&self->pool, &self->l, 2, true, by_leave));
	sh = self->pool.sh;
	for (i = 0; i < 2; i++) {
		ASSERT_TRUE(pool_asleep(&self->pool));
		first[i] = client_on(&self->l, cpu_id(i), i);
		ASSERT_LE(0, first[i]);
		ASSERT_EQ(0, request_send(first[i], i));
		ASSERT_TRUE(WAIT_FOR(atomic_load(&sh->token)));
		if (i || atomic_load(&sh->token) == 1)
			continue;
		/* The machine stood still, and another one took it. */
		SKIP(goto out, "worker 0 was late");
	}
	ASSERT_TRUE(WAIT_FOR(atomic_load(&sh->token) == 3));
	for (i = 0; i < 4; i++) {
		old[i] = client_on(&self->l, cpu_id(0), 8 + i);
		ASSERT_LE(0, old[i]);
		ASSERT_EQ(0, request_send(old[i], 8 + i));
	}
	sleep_ms(50);
	for (i = 0; i < 4; i++) {
		new[i] = client_on(&self->l, cpu_id(1), 16 + i);
		ASSERT_LE(0, new[i]);
		ASSERT_EQ(0, request_send(new[i], 16 + i));
	}
	atomic_store(leave(sh, 1), 5);
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, request_end(old[i], 8 + i))
			TH_LOG("old %d", i);
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, poll_one(new[i], POLLIN, 0))
			TH_LOG("new %d", i);
	for (i = 0; i < 2; i++)
		atomic_store(leave(sh, i), MAX_CONNS);
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, request_end(new[i], 16 + i));
out:
	for (i = 0; i < 2; i++)
		atomic_store(leave(sh, i), MAX_CONNS);
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, request_end(first[i], i));
	ASSERT_EQ(0, pool_stop(&self->pool));
	ASSERT_EQ(0, pool_error(&self->pool));
}

/* One after the other: each is taken where it arrived, whoever else is idle. */
FS_TEST(steal, not_what_is_quick)
{
	int i;

	manner = SPINS;
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

static void by_ring(struct worker *w)
{
	worker_by_uring(w, 0);
}

/* And so are rings, of which no task is woken. */
FS_TEST(steal, not_what_a_ring_takes)
{
	int i;

	if (!have_uring())
		FS_SKIP("io_uring");
	ASSERT_EQ(0, pool_start(&self->pool, &self->l, cpu_count(), true, by_ring));
	for (i = 0; i < 4 * LOAD; i++) {
		ASSERT_TRUE(pool_asleep(&self->pool));
		ASSERT_EQ(0, request(&self->l, cpu_id(i), i));
	}
	EXPECT_GE(LOAD, stolen());
	ASSERT_TRUE(pool_asleep(&self->pool));
	ASSERT_EQ(0, pool_stop(&self->pool));
	ASSERT_EQ(0, pool_error(&self->pool));
}

/* Worker 0 executes another program once it serves its CPU, and goes on. */
static void by_executing(struct worker *w)
{
	char fd[16];

	if (w->index) {
		by_spinning(w);
		return;
	}
	consumer(w->lfd, EPOLLIN);
	worker_ready(w);
	while (!atomic_load(&w->pool->sh->go))
		sleep_ms(1);
	snprintf(fd, sizeof(fd), "%d", w->lfd);
	fcntl(w->lfd, F_SETFD, 0);
	execl("./fstool", "fstool", "work", fd, NULL);
	worker_fail(w, -errno);
}

/* Nor what is taken by who has executed another program: it serves its CPU as before. */
FS_TEST(steal, not_what_another_program_takes)
{
	int i;

	manner = SPINS;
	ASSERT_EQ(0, pool_start(&self->pool, &self->l, cpu_count(), true, by_executing));
	atomic_store(&self->pool.sh->go, 1);
	for (i = 0; i < 4 * LOAD; i++) {
		ASSERT_TRUE(pool_asleep(&self->pool));
		ASSERT_EQ(0, request(&self->l, cpu_id(0), i));
	}
	TH_LOG("%lld were stolen", stolen());
	EXPECT_GE(LOAD / 2, stolen());
	/* It counts in nothing that is shared. */
	ASSERT_EQ(0, pool_kill(&self->pool, 0));
	ASSERT_EQ(0, pool_stop(&self->pool));
	ASSERT_EQ(0, pool_error(&self->pool));
}

TEST_HARNESS_MAIN
