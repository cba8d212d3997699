// SPDX-License-Identifier: GPL-2.0
/*
 * Which CPU a worker is bound to: none until it waits, then the least used of
 * those that it may run on; and nothing of it is taken for anybody's wish.
 */
#include "lib.h"
#include "kselftest_harness.h"

FIXTURE(cpu)
{
	struct listener l;
	struct pool pool;
	cpu_set_t start;
};

FIXTURE_VARIANT(cpu)
{
	bool spawned;
};

FIXTURE_VARIANT_ADD(cpu, plain) { false };
FIXTURE_VARIANT_ADD(cpu, spawned) { true };

FIXTURE_SETUP(cpu)
{
	if (variant->spawned)
		FS_REQUIRE();
	ASSERT_EQ(0, mask_of(0, &self->start));
	ASSERT_EQ(0, listener_open(&self->l, V4, SOCK_NONBLOCK, variant->spawned));
}

FIXTURE_TEARDOWN(cpu) { }

static bool same_mask(const cpu_set_t *want)
{
	cpu_set_t set;

	return !mask_of(0, &set) && CPU_EQUAL(want, &set);
}

/* Bound to one CPU of @wish, when spawned; otherwise as before. */
#define expect_pinned(wish) do {					\
	if (variant->spawned) {						\
		EXPECT_LE(0, only_cpu(0));				\
		EXPECT_TRUE(only_cpu(0) >= 0 && CPU_ISSET(only_cpu(0), wish)); \
	} else {							\
		EXPECT_TRUE(same_mask(wish));				\
	}								\
} while (0)

FS_TEST(cpu, not_before_it_waits)
{
	int c;

	EXPECT_TRUE(same_mask(&self->start));
	EXPECT_EQ(-EAGAIN, SYS(accept(self->l.fd, NULL, NULL)));
	EXPECT_EQ(0, poll_one(self->l.fd, POLLIN, 0));
	c = client(&self->l, 0);
	ASSERT_LE(0, c);
	ASSERT_TRUE(WAIT_FOR(SYS(accept(self->l.fd, NULL, NULL)) >= 0));
	EXPECT_TRUE(same_mask(&self->start));
	if (variant->spawned)
		EXPECT_EQ(0, fs_spawn_all());
	EXPECT_TRUE(same_mask(&self->start));
}

FS_TEST(cpu, epoll)
{
	int epfd = consumer(self->l.fd, EPOLLIN);

	ASSERT_LE(0, epfd);
	expect_pinned(&self->start);
}

FS_TEST(cpu, poll)
{
	EXPECT_EQ(0, poll_one(self->l.fd, POLLIN, 1));
	expect_pinned(&self->start);
}

FS_TEST(cpu, select)
{
	struct timeval tv = { 0, 1000 };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(self->l.fd, &set);
	EXPECT_EQ(0, SYS(select(self->l.fd + 1, &set, NULL, NULL, &tv)));
	expect_pinned(&self->start);
}

FS_TEST(cpu, blocking_accept)
{
	struct timeval tv = { 0, 1000 };

	ASSERT_EQ(0, set_nonblock(self->l.fd, false));
	ASSERT_EQ(0, setsockopt(self->l.fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	EXPECT_EQ(-EAGAIN, SYS(accept(self->l.fd, NULL, NULL)));
	expect_pinned(&self->start);
}

FS_TEST(cpu, other_descriptors_do_not_pin)
{
	struct listener plain;

	ASSERT_EQ(0, listener_open(&plain, V4, SOCK_NONBLOCK, false));
	ASSERT_LE(0, consumer(plain.fd, EPOLLIN));
	EXPECT_EQ(0, poll_one(plain.fd, POLLIN, 1));
	EXPECT_TRUE(same_mask(&self->start));
}

FS_TEST(cpu, wish)
{
	cpu_set_t wish;
	int i;

	for (i = 0; i < cpu_count(); i++) {
		pid_t pid = fork_child();

		ASSERT_LE(0, pid);
		if (!pid) {
			/* One CPU; or that one and its neighbour. */
			CPU_ZERO(&wish);
			CPU_SET(cpu_id(i), &wish);
			if (i & 1)
				CPU_SET(cpu_id(i + 1), &wish);
			ASSERT_EQ(0, sched_setaffinity(0, sizeof(wish), &wish));
			if (variant->spawned)
				EXPECT_EQ(0, fs_spawn_all());
			EXPECT_TRUE(same_mask(&wish));
			ASSERT_LE(0, consumer(self->l.fd, EPOLLIN));
			expect_pinned(&wish);
			_exit(0);
		}
		ASSERT_EQ(0, reap(pid));
	}
}

/* Is not bound, and may be by itself, to a CPU that is not its creator's. */
static void expect_free(struct __test_metadata *_metadata, const cpu_set_t *wish,
			int lfd, bool spawned, int mine)
{
	EXPECT_TRUE(same_mask(wish));
	ASSERT_LE(0, consumer(lfd, EPOLLIN));
	if (!spawned) {
		EXPECT_TRUE(same_mask(wish));
		return;
	}
	EXPECT_LE(0, only_cpu(0));
	EXPECT_TRUE(CPU_ISSET(only_cpu(0), wish));
	if (CPU_COUNT(wish) > 1)
		EXPECT_NE(mine, only_cpu(0));
}

/* CPUs that were isolated at boot are for who has asked for them. */
FS_TEST(cpu, isolated)
{
	FILE *f = fopen("/sys/devices/system/cpu/isolated", "re");
	cpu_set_t wish;
	int cpu, i;

	if (!f || fscanf(f, "%d", &cpu) != 1)
		SKIP(return, "no CPU is isolated");
	fclose(f);
	/* More workers than the other CPUs. */
	ASSERT_EQ(0, pool_start(&self->pool, &self->l, 2 * cpu_count() + 1, true,
				worker_by_epoll));
	for (i = 0; i < self->pool.nr; i++)
		EXPECT_NE(cpu, only_cpu(self->pool.sh->tid[i]));
	ASSERT_EQ(0, pool_stop(&self->pool));
	ASSERT_EQ(0, pool_error(&self->pool));
	CPU_ZERO(&wish);
	CPU_SET(cpu, &wish);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(wish), &wish));
	ASSERT_LE(0, consumer(self->l.fd, EPOLLIN));
	EXPECT_EQ(cpu, only_cpu(0));
}

FS_TEST(cpu, child_is_not_bound)
{
	pid_t pid;
	int mine;

	ASSERT_LE(0, consumer(self->l.fd, EPOLLIN));
	mine = only_cpu(0);
	pid = fork_child();
	ASSERT_LE(0, pid);
	if (!pid) {
		expect_free(_metadata, &self->start, self->l.fd, variant->spawned, mine);
		_exit(0);
	}
	EXPECT_EQ(0, reap(pid));
	expect_pinned(&self->start);
}

static void *mask_of_thread(void *set)
{
	return (void *)(long)mask_of(0, set);
}

FS_TEST(cpu, thread_is_not_bound)
{
	void *ret = NULL;
	pthread_t thread;
	cpu_set_t set;

	ASSERT_LE(0, consumer(self->l.fd, EPOLLIN));
	ASSERT_EQ(0, pthread_create(&thread, NULL, mask_of_thread, &set));
	ASSERT_EQ(0, pthread_join(thread, &ret));
	EXPECT_EQ(NULL, ret);
	EXPECT_TRUE(CPU_EQUAL(&self->start, &set));
	expect_pinned(&self->start);
}

/* As posix_spawn() and system() do it: no code of a library's runs in between. */
FS_TEST(cpu, program_is_not_bound)
{
	char want[64];
	int i;

	ASSERT_LE(0, consumer(self->l.fd, EPOLLIN));
	for (i = 0; i < cpu_count() && cpu_id(i) == i; i++)
		;
	if (i < cpu_count())
		SKIP(return, "the CPUs are not numbered in a row");
	snprintf(want, sizeof(want), "test $(nproc) = %d", cpu_count());
	EXPECT_EQ(0, system(want));
	expect_pinned(&self->start);
}

FS_TEST(cpu, child_keeps_the_wish)
{
	cpu_set_t wish;
	pid_t pid;
	int mine;

	FS_NEED_CPUS(2);
	CPU_ZERO(&wish);
	CPU_SET(cpu_id(0), &wish);
	CPU_SET(cpu_id(1), &wish);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(wish), &wish));
	ASSERT_LE(0, consumer(self->l.fd, EPOLLIN));
	expect_pinned(&wish);
	mine = only_cpu(0);
	pid = fork_child();
	ASSERT_LE(0, pid);
	if (!pid) {
		expect_free(_metadata, &wish, self->l.fd, variant->spawned, mine);
		_exit(0);
	}
	EXPECT_EQ(0, reap(pid));
}

/* Who is bound by its user to the very CPU that it serves gives that on. */
FS_TEST(cpu, child_keeps_one_cpu)
{
	pid_t pid;
	int mine;

	ASSERT_EQ(0, pin_to(cpu_id(0)));
	ASSERT_LE(0, consumer(self->l.fd, EPOLLIN));
	EXPECT_EQ(cpu_id(0), only_cpu(0));
	mine = only_cpu(0);
	pid = fork_child();
	ASSERT_LE(0, pid);
	if (!pid) {
		EXPECT_EQ(mine, only_cpu(0));
		_exit(0);
	}
	EXPECT_EQ(0, reap(pid));
}

FS_TEST(cpu, later_wish_wins)
{
	/* Who is pinned may go where it likes afterwards, and is served. */
	ASSERT_LE(0, consumer(self->l.fd, EPOLLIN));
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(self->start), &self->start));
	EXPECT_TRUE(same_mask(&self->start));
	ASSERT_EQ(0, pin_to(cpu_id(cpu_count() - 1)));
	EXPECT_EQ(cpu_id(cpu_count() - 1), only_cpu(0));
	ASSERT_LE(0, client_on(&self->l, cpu_id(0), 0));
	EXPECT_LE(0, accept_wait(self->l.fd));
}

/* How many of the workers each CPU has, at least and at most. */
static void spread(const struct pool *p, int *least, int *most)
{
	int i, cpu, on[MAX_CPUS] = { 0 };

	for (i = 0; i < p->nr; i++)
		for (cpu = 0; cpu < cpu_count(); cpu++)
			on[cpu] += only_cpu(p->sh->tid[i]) == cpu_id(cpu);
	*least = *most = on[0];
	for (cpu = 1; cpu < cpu_count(); cpu++) {
		*least = on[cpu] < *least ? on[cpu] : *least;
		*most = on[cpu] > *most ? on[cpu] : *most;
	}
}

static void start_and_look(struct __test_metadata *_metadata, struct pool *pool,
			   struct listener *l, int nr, bool procs)
{
	int least, most;

	memset(pool, 0, sizeof(*pool));
	ASSERT_EQ(0, pool_start(pool, l, nr, procs, worker_by_epoll));
	spread(pool, &least, &most);
	if (l->spawned) {
		EXPECT_EQ(nr / cpu_count(), least);
		EXPECT_EQ((nr + cpu_count() - 1) / cpu_count(), most);
	}
	EXPECT_EQ(0, pool_load(pool, CONNS));
	ASSERT_EQ(0, pool_error(pool));
	ASSERT_EQ(0, pool_stop(pool));
}

FS_TEST(cpu, one_worker_each)
{
	/* Twice: who is gone no longer counts. */
	start_and_look(_metadata, &self->pool, &self->l, cpu_count(), true);
	start_and_look(_metadata, &self->pool, &self->l, cpu_count(), false);
	start_and_look(_metadata, &self->pool, &self->l, cpu_count(), true);
}

FS_TEST(cpu, more_workers_than_cpus)
{
	start_and_look(_metadata, &self->pool, &self->l, 2 * cpu_count() + 1, true);
}

static int others_fd;

static void *serve_that(void *cpu)
{
	if (fs_spawn(others_fd, (long)cpu))
		_exit(2);
	for (;;)
		pause();
}

/* Tasks of another user that serve all CPUs but one, and do nothing. */
static void serve_others(int sock)
{
	struct listener l;
	pthread_t thread;
	char done = 0;
	int i, j;

	if (become(ALICE) || listener_open(&l, V4, SOCK_NONBLOCK, true))
		_exit(1);
	others_fd = l.fd;
	for (i = 1; i < cpu_count(); i++)
		for (j = 0; j < 4; j++)
			if (pthread_create(&thread, NULL, serve_that, (void *)(long)cpu_id(i)))
				_exit(3);
	sleep_ms(QUIET_MS);
	if (write(sock, &done, 1) != 1)
		_exit(4);
	for (;;)
		pause();
}

FS_TEST(cpu, others_do_not_count)
{
	int sock[2];
	pid_t pid;
	char done;

	FS_NEED_CPUS(2);
	FS_REQUIRE();
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock));
	pid = fork_child();
	if (!pid)
		serve_others(sock[1]);
	ASSERT_EQ(1, read_full(sock[0], &done, 1));
	start_and_look(_metadata, &self->pool, &self->l, cpu_count(), true);
	start_and_look(_metadata, &self->pool, &self->l, 2 * cpu_count(), true);
	kill(pid, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, reap(pid));
}

/* What a worker's user has asked for before its CPU is taken away, and while. */
enum asked { NOTHING, BEFORE, MEANWHILE };

/* Its CPU is taken away and comes back: so does it, unless somebody moved it. */
FS_TEST(cpu, comes_back_with_its_cpu)
{
	int cpu = cpu_id(cpu_count() - 1), i, served = 0;
	cpu_set_t first, both;
	enum asked asked;
	pid_t tid;

	if (!variant->spawned)
		SKIP(return, "about spawned sockets");
	FS_NEED_CPUS(2);
	CPU_ZERO(&first);
	CPU_SET(cpu_id(0), &first);
	both = first;
	CPU_SET(cpu, &both);
	for (asked = NOTHING; asked <= MEANWHILE; asked++) {
		ASSERT_EQ(0, sched_setaffinity(0, sizeof(both),
					       asked == BEFORE ? &both : &self->start));
		ASSERT_EQ(0, pool_start(&self->pool, &self->l,
					asked == BEFORE ? 2 : cpu_count(), true,
					worker_by_epoll));
		ASSERT_TRUE(pool_asleep(&self->pool));
		tid = 0;
		for (i = 0; i < self->pool.nr; i++)
			if (only_cpu(self->pool.sh->tid[i]) == cpu)
				tid = self->pool.sh->tid[i];
		ASSERT_LT(0, tid);
		if (cpu_online(cpu, false))
			SKIP(return, "CPU %d cannot be unplugged", cpu);
		/* What its user asked for holds, though the CPU is gone. */
		if (asked == BEFORE)
			EXPECT_EQ(cpu_id(0), only_cpu(tid));
		EXPECT_EQ(0, pool_load(&self->pool, CONNS));
		EXPECT_NE(cpu, only_cpu(tid));
		if (asked == MEANWHILE)
			ASSERT_EQ(0, sched_setaffinity(tid, sizeof(both), &both));
		ASSERT_EQ(0, cpu_online(cpu, true));
		if (asked == MEANWHILE)
			/* Long enough for what must not be. */
			sleep_ms(QUIET_MS);
		else
			/* Without that it looks at its sockets. */
			EXPECT_TRUE(WAIT_FOR(only_cpu(tid) == cpu));
		EXPECT_EQ(0, request(&self->l, cpu, 0));
		EXPECT_EQ(0, pool_load(&self->pool, CONNS));
		EXPECT_EQ(asked == MEANWHILE ? -1 : cpu, only_cpu(tid) < 0 ? -1 : only_cpu(tid));
		ASSERT_EQ(0, pool_stop(&self->pool));
		ASSERT_EQ(0, pool_error(&self->pool));
		memset(&self->pool, 0, sizeof(self->pool));
		served++;
	}
	EXPECT_EQ(3, served);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(self->start), &self->start));
}

FS_TEST(cpu, killed_worker_does_not_count)
{
	int least, most, i;

	for (i = 0; i < 2; i++) {
		memset(&self->pool, 0, sizeof(self->pool));
		ASSERT_EQ(0, pool_start(&self->pool, &self->l, cpu_count(), true, worker_by_epoll));
		spread(&self->pool, &least, &most);
		if (variant->spawned) {
			EXPECT_EQ(1, least);
			EXPECT_EQ(1, most);
		}
		while (self->pool.nr)
			ASSERT_EQ(0, pool_kill(&self->pool, --self->pool.nr));
	}
}

FIXTURE(mode) { struct listener l; };

FIXTURE_SETUP(mode)
{
	/* It leaves the default behind; who needs another one reloads. */
	FS_REQUIRE();
	ASSERT_EQ(0, listener_open(&self->l, V4, SOCK_NONBLOCK, false));
}

FIXTURE_TEARDOWN(mode)
{
	close(self->l.fd);
	EXPECT_EQ(0, fs_load(2));
	fs_close_device();
}

FS_TEST(mode, that_cpu)
{
	cpu_set_t start;
	pid_t pid;
	int i;

	ASSERT_EQ(0, mask_of(0, &start));
	for (i = 0; i < cpu_count(); i++) {
		pid = fork_child();
		ASSERT_LE(0, pid);
		if (!pid) {
			EXPECT_EQ(0, fs_spawn(self->l.fd, cpu_id(i)));
			EXPECT_EQ(cpu_id(i), only_cpu(0));
			/* And it stays there. */
			ASSERT_LE(0, consumer(self->l.fd, EPOLLIN));
			EXPECT_EQ(cpu_id(i), only_cpu(0));
			_exit(0);
		}
		ASSERT_EQ(0, reap(pid));
	}
	/* Only the caller was. */
	EXPECT_TRUE(same_mask(&start));
}

FS_TEST(mode, bound_before)
{
	cpu_set_t start;
	int i, epfd, fd;

	ASSERT_EQ(0, mask_of(0, &start));
	ASSERT_EQ(0, fs_reload(1));
	EXPECT_EQ(1, fs_param("enable_listen_spawn"));
	if (cpu_count() > 1)
		EXPECT_EQ(-EINVAL, fs_spawn(self->l.fd, cpu_id(1)));
	EXPECT_TRUE(same_mask(&start));
	/* The master need not be; it is not touched, and served. */
	EXPECT_EQ(0, fs_spawn(self->l.fd, -1));
	epfd = consumer(self->l.fd, EPOLLIN);
	ASSERT_LE(0, epfd);
	EXPECT_TRUE(same_mask(&start));
	for (i = 0; i < cpu_count(); i++) {
		ASSERT_LE(0, client_on(&self->l, cpu_id(i), i));
		ASSERT_EQ(POLLIN, poll_one(epfd, POLLIN, WAIT_MS));
		fd = accept_wait(self->l.fd);
		ASSERT_LE(0, fd);
		close(fd);
	}
	close(epfd);

	for (i = 0; i < cpu_count(); i++) {
		long long kept = stat_total("fsocket_stats", "accept_local") +
				 stat_total("fsocket_stats", "pushed");

		ASSERT_EQ(0, pin_to(cpu_id(i)));
		EXPECT_EQ(0, fs_spawn(self->l.fd, cpu_id(i)));
		EXPECT_EQ(cpu_id(i), only_cpu(0));
		epfd = consumer(self->l.fd, EPOLLIN);
		ASSERT_LE(0, epfd);
		ASSERT_LE(0, client_on(&self->l, cpu_id(i), i));
		ASSERT_EQ(POLLIN, poll_one(epfd, POLLIN, WAIT_MS));
		fd = accept_wait(self->l.fd);
		ASSERT_LE(0, fd);
		/* It was in this CPU's queue, and there for long if we were slow. */
		EXPECT_EQ(kept + 1, stat_total("fsocket_stats", "accept_local") +
			  stat_total("fsocket_stats", "pushed"));
		close(fd);
		close(epfd);
	}
}

FS_TEST(mode, off)
{
	cpu_set_t start;

	ASSERT_EQ(0, mask_of(0, &start));
	ASSERT_EQ(0, fs_reload(0));
	EXPECT_EQ(0, fs_param("enable_listen_spawn"));
	EXPECT_EQ(-EPERM, fs_spawn(self->l.fd, -1));
	EXPECT_EQ(-EPERM, fs_spawn(self->l.fd, cpu_id(0)));
	ASSERT_LE(0, consumer(self->l.fd, EPOLLIN));
	EXPECT_TRUE(same_mask(&start));
	/* The other commands do without. */
	ASSERT_LE(0, client(&self->l, 0));
	ASSERT_EQ(POLLIN, poll_one(self->l.fd, POLLIN, WAIT_MS));
	EXPECT_LE(0, dev_api.accept(self->l.fd, NULL, NULL, 0));
}

TEST_HARNESS_MAIN
