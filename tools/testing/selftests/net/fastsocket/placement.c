// SPDX-License-Identifier: GPL-2.0
/*
 * Which CPU a worker serves: none until it waits, then the least served of
 * those that it may run on. It is bound to none, and woken where a connection
 * arrives if nothing else runs there.
 */
#include <sys/eventfd.h>

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
	enum fam fam;
};

FIXTURE_VARIANT_ADD(cpu, plain_v4) { false, V4 };
FIXTURE_VARIANT_ADD(cpu, spawned_v4) { true, V4 };
FIXTURE_VARIANT_ADD(cpu, spawned_v6) { true, V6 };

FIXTURE_SETUP(cpu)
{
	if (variant->spawned)
		FS_REQUIRE();
	ASSERT_EQ(0, mask_of(0, &self->start));
	if (new_netns())
		FS_SKIP("network namespaces");
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK,
				   variant->spawned));
}

FIXTURE_TEARDOWN(cpu) { }

/* --- what a program can see ------------------------------------------- */

static bool same_mask(const cpu_set_t *want)
{
	cpu_set_t set;

	return !mask_of(0, &set) && CPU_EQUAL(want, &set);
}

static void wait_by_epoll(int lfd)
{
	consumer(lfd, EPOLLIN);
}

static void wait_by_poll(int lfd)
{
	poll_one(lfd, POLLIN, 1);
}

static void wait_by_select(int lfd)
{
	struct timeval tv = { 0, 1000 };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(lfd, &set);
	select(lfd + 1, &set, NULL, NULL, &tv);
}

static void wait_by_accept(int lfd)
{
	struct timeval tv = { 0, 1000 };

	set_nonblock(lfd, false);
	setsockopt(lfd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	accept(lfd, NULL, NULL);
	set_nonblock(lfd, true);
}

static void (*const ways[])(int lfd) = {
	wait_by_epoll, wait_by_poll, wait_by_select, wait_by_accept,
};

static void *mask_of_thread(void *set)
{
	return (void *)(long)mask_of(0, set);
}

/* The masks of this task, of a thread, of a child and of a program. */
static void expect_masks(struct __test_metadata *_metadata, const cpu_set_t *want)
{
	void *ret = NULL;
	pthread_t thread;
	char nproc[64];
	cpu_set_t set;
	pid_t pid;

	EXPECT_TRUE(same_mask(want));
	ASSERT_EQ(0, pthread_create(&thread, NULL, mask_of_thread, &set));
	ASSERT_EQ(0, pthread_join(thread, &ret));
	EXPECT_EQ(NULL, ret);
	EXPECT_TRUE(CPU_EQUAL(want, &set));
	pid = fork_child();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(!same_mask(want));
	EXPECT_EQ(0, reap(pid));
	snprintf(nproc, sizeof(nproc), "test $(nproc) = %d", CPU_COUNT(want));
	EXPECT_EQ(0, system(nproc));
}

FS_TEST(cpu, masks_stay)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		ways[i](self->l.fd);
		EXPECT_TRUE(same_mask(&self->start));
	}
	expect_masks(_metadata, &self->start);
}

/* Each CPU alone, and with its neighbour. */
FS_TEST(cpu, wish_stays)
{
	cpu_set_t wish;
	int i, n;

	for (i = 0; i < cpu_count(); i++) {
		CPU_ZERO(&wish);
		for (n = 0; n < 2 && n < cpu_count(); n++) {
			CPU_SET(cpu_id(i + n), &wish);
			ASSERT_EQ(0, sched_setaffinity(0, sizeof(wish), &wish));
			ways[(i + n) % ARRAY_SIZE(ways)](self->l.fd);
			EXPECT_TRUE(same_mask(&wish));
		}
	}
	expect_masks(_metadata, &wish);
}

/* Whoever made the socket, and whoever waits: nobody is bound to anything. */
FS_TEST(cpu, others_are_not_bound)
{
	static const uid_t who[] = { 0, ALICE, BOB };
	int i, way, sock[2], fd;
	pid_t pid;

	for (i = 0; i < ARRAY_SIZE(who); i++) {
		ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock));
		pid = fork_child();
		ASSERT_LE(0, pid);
		if (!pid) {
			struct listener l;

			_exit(become(who[i]) ||
			      listener_open(&l, variant->fam, SOCK_NONBLOCK, variant->spawned) ||
			      send_fd(sock[1], l.fd));
		}
		ASSERT_EQ(0, reap(pid));
		fd = recv_fd(sock[0]);
		ASSERT_LE(0, fd);
		for (way = 0; way < ARRAY_SIZE(ways); way++) {
			pid = fork_child();
			ASSERT_LE(0, pid);
			if (!pid) {
				if (become(BOB))
					_exit(1);
				ways[way](fd);
				_exit(!same_mask(&self->start));
			}
			EXPECT_EQ(0, reap(pid));
			ways[way](fd);
			EXPECT_TRUE(same_mask(&self->start));
		}
		close(fd);
		close(sock[0]);
		close(sock[1]);
	}
}

/* --- who serves which CPU --------------------------------------------- */

static bool has_slot(int cpu)
{
	return stat_cpu("fsocket_stats", "slots", cpu) > 0;
}

static int slots(void)
{
	int i, n = 0;

	for (i = 0; i < cpu_count(); i++)
		n += has_slot(cpu_id(i));
	return n;
}

/* Connections that others took since their worker was late. */
static long long helped(void)
{
	return stat_total("fsocket_stats", "stolen") + stat_total("fsocket_stats", "pushed");
}

/*
 * The worker that serves what arrives on a CPU, or -1; all sleep before. On a
 * machine that stands still for two ticks another may have: then once more.
 */
static int server_of(struct pool *p, int cpu)
{
	int before[MAX_WORKERS], i, tries;
	long long help;

	for (tries = 0; tries < 100; tries++) {
		help = helped();
		if (!pool_asleep(p))
			return -1;
		for (i = 0; i < p->nr; i++)
			before[i] = p->sh->by_worker[i];
		if (request(p->l, cpu, 0))
			return -1;
		if (helped() != help)
			continue;
		for (i = 0; i < p->nr; i++)
			if (p->sh->by_worker[i] != before[i])
				return i;
	}
	return -1;
}

/* As many workers as CPUs: each serves another CPU. */
static void expect_one_each(struct __test_metadata *_metadata, struct pool *p,
			    int server[MAX_CPUS])
{
	bool serves[MAX_WORKERS] = { false };
	int i;

	for (i = 0; i < cpu_count(); i++) {
		server[i] = server_of(p, cpu_id(i));
		ASSERT_LE(0, server[i]);
		if (p->l->spawned)
			EXPECT_FALSE(serves[server[i]]);
		serves[server[i]] = true;
	}
	if (p->l->spawned)
		EXPECT_EQ(cpu_count(), slots());
}

static void start_and_look(struct __test_metadata *_metadata, struct pool *pool,
			   struct listener *l, bool procs)
{
	int server[MAX_CPUS];

	memset(pool, 0, sizeof(*pool));
	ASSERT_EQ(0, pool_start(pool, l, cpu_count(), procs, worker_by_epoll));
	expect_one_each(_metadata, pool, server);
	EXPECT_EQ(0, pool_load(pool, CONNS));
	ASSERT_EQ(0, pool_error(pool));
	ASSERT_EQ(0, pool_stop(pool));
}

FS_TEST(cpu, one_worker_each)
{
	/* Three times: who is gone no longer counts. */
	start_and_look(_metadata, &self->pool, &self->l, true);
	start_and_look(_metadata, &self->pool, &self->l, false);
	start_and_look(_metadata, &self->pool, &self->l, true);
}

FS_TEST(cpu, more_workers_than_cpus)
{
	ASSERT_EQ(0, pool_start(&self->pool, &self->l, 2 * cpu_count() + 1, true,
				worker_by_epoll));
	if (variant->spawned)
		EXPECT_EQ(cpu_count(), slots());
	EXPECT_EQ(0, pool_load(&self->pool, CONNS));
	ASSERT_EQ(0, pool_error(&self->pool));
	ASSERT_EQ(0, pool_stop(&self->pool));
}

FS_TEST(cpu, killed_workers_do_not_count)
{
	int server[MAX_CPUS], i;

	for (i = 0; i < 2; i++) {
		memset(&self->pool, 0, sizeof(self->pool));
		ASSERT_EQ(0, pool_start(&self->pool, &self->l, cpu_count(), true, worker_by_epoll));
		expect_one_each(_metadata, &self->pool, server);
		while (self->pool.nr)
			ASSERT_EQ(0, pool_kill(&self->pool, --self->pool.nr));
	}
}

/* As re-executed masters do: the program that comes serves nothing yet. */
FS_TEST(cpu, program_does_not_count)
{
	int i;
	pid_t pid[MAX_CPUS], left = cpu_count();

	for (i = 0; i < left; i++) {
		pid[i] = fork_child();
		ASSERT_LE(0, pid[i]);
		if (!pid[i]) {
			if (consumer(self->l.fd, EPOLLIN) < 0)
				_exit(1);
			execlp("sleep", "sleep", "1000", NULL);
			_exit(1);
		}
	}
	sleep_ms(QUIET_MS);
	start_and_look(_metadata, &self->pool, &self->l, true);
	for (i = 0; i < left; i++) {
		kill(pid[i], SIGKILL);
		EXPECT_EQ(128 + SIGKILL, reap(pid[i]));
	}
}

/* As nginx and HAProxy reload: the old workers close the socket, and stay while a connection of theirs does. */
static void by_draining(struct worker *w)
{
	int epfd = consumer(w->lfd, EPOLLIN), ret, fd;
	struct epoll_event ev;

	if (epfd < 0)
		worker_fail(w, epfd);
	worker_ready(w);
	while (!w->stop && !atomic_load(&w->pool->sh->go)) {
		ret = SYS(epoll_wait(epfd, &ev, 1, 20));
		fd = ret == 1 ? SYS(accept4(w->lfd, NULL, NULL, SOCK_CLOEXEC)) : -EAGAIN;
		if (fd != -EAGAIN && fd != -EINTR)
			worker_serve(w, fd);
	}
	epoll_ctl(epfd, EPOLL_CTL_DEL, w->lfd, NULL);
	close(w->lfd);
	atomic_fetch_add(&w->pool->sh->token, 1);
	while (!w->stop)
		epoll_wait(epfd, &ev, 1, -1);
}

#define RELOADS	10

/* Each time one of those that live serves each CPU, however many drain. */
FS_TEST(cpu, reloaded)
{
	struct pool *gen = calloc(RELOADS + 1, sizeof(*gen));
	int server[MAX_CPUS], i;

	ASSERT_NE(NULL, gen);
	for (i = 0; i <= RELOADS; i++) {
		ASSERT_EQ(0, pool_start(&gen[i], &self->l, cpu_count(), true, by_draining));
		if (i) {
			atomic_store(&gen[i - 1].sh->go, 1);
			ASSERT_TRUE(WAIT_FOR(gen[i - 1].sh->token == gen[i - 1].nr));
		}
		expect_one_each(_metadata, &gen[i], server);
		EXPECT_EQ(0, pool_load(&gen[i], CONNS));
		ASSERT_EQ(0, pool_error(&gen[i]));
	}
	for (i = 0; i <= RELOADS; i++)
		while (gen[i].nr)
			ASSERT_EQ(0, pool_kill(&gen[i], --gen[i].nr));
	free(gen);
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
	start_and_look(_metadata, &self->pool, &self->l, true);
	kill(pid, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, reap(pid));
}

/* Whose CPU is taken away serves wherever it runs, and that CPU when it is back. */
FS_TEST(cpu, unplugged)
{
	int cpu = cpu_id(cpu_count() - 1), before[MAX_CPUS], after[MAX_CPUS], i;

	FS_NEED_CPUS(2);
	ASSERT_EQ(0, pool_start(&self->pool, &self->l, cpu_count(), true, worker_by_epoll));
	expect_one_each(_metadata, &self->pool, before);
	if (cpu_online(cpu, false))
		SKIP(return, "CPU %d cannot be unplugged", cpu);
	EXPECT_EQ(0, pool_load(&self->pool, CONNS));
	for (i = 0; i < self->pool.nr; i++) {
		cpu_set_t set;

		ASSERT_EQ(0, mask_of(self->pool.sh->tid[i], &set));
		EXPECT_EQ(cpu_count() - 1, CPU_COUNT(&set));
	}
	ASSERT_EQ(0, cpu_online(cpu, true));
	expect_one_each(_metadata, &self->pool, after);
	if (variant->spawned)
		EXPECT_EQ(0, memcmp(before, after, cpu_count() * sizeof(*after)));
	ASSERT_EQ(0, pool_error(&self->pool));
	ASSERT_EQ(0, pool_stop(&self->pool));
}

/* CPUs that were isolated at boot are for who has asked for them. */
FS_TEST(cpu, isolated)
{
	FILE *f = fopen("/sys/devices/system/cpu/isolated", "re");
	int cpu;

	if (!f || fscanf(f, "%d", &cpu) != 1)
		SKIP(return, "no CPU is isolated");
	fclose(f);
	/* More workers than the other CPUs. */
	ASSERT_EQ(0, pool_start(&self->pool, &self->l, 2 * cpu_count() + 1, true,
				worker_by_epoll));
	EXPECT_FALSE(has_slot(cpu));
	ASSERT_EQ(0, pool_stop(&self->pool));
	ASSERT_EQ(0, pool_error(&self->pool));
	ASSERT_EQ(0, pin_to(cpu));
	ASSERT_LE(0, consumer(self->l.fd, EPOLLIN));
	EXPECT_EQ(variant->spawned, has_slot(cpu));
}

/* --- where it is woken ------------------------------------------------ */

#define TRIES	20

struct stray {
	int lfd, event;
	atomic_int tid, cpu, turn;
};

/* A worker that says where it runs whenever it has something to do. */
static void *run_stray(void *arg)
{
	struct stray *s = arg;
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = s->event };
	int epfd = consumer(s->lfd, EPOLLIN), fd;
	uint64_t n;

	if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, s->event, &ev))
		return "epoll";
	s->tid = gettid_();
	for (;;) {
		if (epoll_wait(epfd, &ev, 1, -1) != 1)
			continue;
		s->cpu = sched_getcpu();
		if (read(s->event, &n, sizeof(n)) != sizeof(n)) {
			fd = SYS(accept(s->lfd, NULL, NULL));
			if (fd < 0)
				continue;
			close(fd);
		} else if (n > 1) {
			return NULL;
		}
		atomic_fetch_add(&s->turn, 1);
	}
}

/*
 * A worker sleeps on another CPU than the one that it serves, and may run on
 * all. How often does it run on its own, when a connection arrives there?
 */
static int stray_returns(struct __test_metadata *_metadata, struct listener *l,
			 bool client_there, const cpu_set_t *all)
{
	struct stray s = { .lfd = l->fd };
	int i, cpu, other, from, home = 0, turn;
	void *error = NULL;
	pthread_t thread;
	uint64_t n = 1;
	cpu_set_t set;

	/* It serves this one: it may run on no other at first. */
	cpu = cpu_id(1);
	other = cpu_id(2);
	from = client_there ? cpu : cpu_id(0);
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	EXPECT_EQ(0, receive_on(client_there ? NULL : &set));
	s.event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	EXPECT_LE(0, s.event);
	EXPECT_EQ(0, pin_to(cpu));
	EXPECT_EQ(0, pthread_create(&thread, NULL, run_stray, &s));
	EXPECT_TRUE(WAIT_FOR(s.tid) && wait_asleep(s.tid));
	EXPECT_EQ(0, pin_to(cpu_id(0)));
	for (i = 0; i < TRIES; i++) {
		CPU_ZERO(&set);
		CPU_SET(other, &set);
		EXPECT_EQ(0, SYS(sched_setaffinity(s.tid, sizeof(set), &set)));
		turn = s.turn;
		EXPECT_EQ(sizeof(n), write(s.event, &n, sizeof(n)));
		EXPECT_TRUE(WAIT_FOR(s.turn != turn) && wait_asleep(s.tid));
		EXPECT_EQ(other, s.cpu);
		EXPECT_EQ(0, SYS(sched_setaffinity(s.tid, sizeof(*all), all)));
		turn = s.turn;
		EXPECT_LE(0, client_on(l, from, i));
		EXPECT_TRUE(WAIT_FOR(s.turn != turn) && wait_asleep(s.tid));
		home += s.cpu == cpu;
	}
	n = 2;
	EXPECT_EQ(sizeof(n), write(s.event, &n, sizeof(n)));
	EXPECT_EQ(0, pthread_join(thread, &error));
	EXPECT_EQ(NULL, error);
	close(s.event);
	return home;
}

/* As a network card does it: where the packet arrives, nothing runs. */
FS_TEST(cpu, woken_where_it_arrives)
{
	int home;

	FS_NEED_CPUS(3);
	home = stray_returns(_metadata, &self->l, false, &self->start);
	TH_LOG("%d of %d", home, TRIES);
	if (variant->spawned)
		EXPECT_LE(TRIES * 3 / 4, home);
}

/* Where the client runs itself, and other CPUs have nothing to do, the
 * scheduler chooses one of those.
 */
FS_TEST(cpu, not_woken_beside_its_client)
{
	int home;

	FS_NEED_CPUS(3);
	home = stray_returns(_metadata, &self->l, true, &self->start);
	TH_LOG("%d of %d", home, TRIES);
	EXPECT_GE(TRIES / 2, home);
}

/*
 * A worker of another CPU, and of this user, that never sleeps on the CPU on
 * which the connection arrives.
 */
static pid_t hog_of(const struct listener *l, uid_t uid, int cpu)
{
	int ready[2], ret;
	pid_t pid;
	char c;

	if (pipe(ready))
		return -errno;
	pid = fork_child();
	if (!pid) {
		/* It serves the first, and is then moved. */
		ret = become(uid) ?: pin_to(cpu_id(0));
		if (!ret && consumer(l->fd, EPOLLIN) < 0)
			ret = -1;
		ret = ret ?: pin_to(cpu);
		if (ret || write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			;
	}
	close(ready[1]);
	ret = read(ready[0], &c, 1);
	close(ready[0]);
	return ret == 1 ? pid : -EIO;
}

/* Something that is no worker, on a CPU. */
static pid_t busy_on(int cpu)
{
	pid_t pid = fork_child();

	if (pid)
		return pid;
	if (pin_to(cpu))
		_exit(1);
	for (;;)
		;
}

/* If no CPU is idle, a user's own workers make way, and not those of others. */
FS_TEST(cpu, another_users_does_not_make_way)
{
	static const uid_t uids[] = { 0, NOBODY };
	pid_t pid, busy[MAX_CPUS];
	int home[2], i;

	FS_NEED_CPUS(4);
	if (!variant->spawned)
		SKIP(return, "there is nobody to make way for");
	for (i = 0; i < cpu_count(); i++) {
		if (i == 1)
			continue;
		busy[i] = busy_on(cpu_id(i));
		ASSERT_LT(0, busy[i]);
	}
	for (i = 0; i < ARRAY_SIZE(uids); i++) {
		pid = hog_of(&self->l, uids[i], cpu_id(1));
		ASSERT_LT(0, pid);
		home[i] = stray_returns(_metadata, &self->l, false, &self->start);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(128 + SIGKILL, reap(pid));
	}
	for (i = 0; i < cpu_count(); i++) {
		if (i == 1)
			continue;
		ASSERT_EQ(0, kill(busy[i], SIGKILL));
		ASSERT_EQ(128 + SIGKILL, reap(busy[i]));
	}
	TH_LOG("%d of %d, another user's %d", home[0], TRIES, home[1]);
	EXPECT_LE(TRIES / 3, home[0]);
	/* The scheduler takes it there, too, where the others seem busier. */
	EXPECT_GT(TRIES * 3 / 4, home[1]);
}

/* --- enable_listen_spawn ---------------------------------------------- */

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

/* Who names a CPU is bound to it, as by sched_setaffinity(2). */
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

struct sched_attr_ {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

/* What sched_setaffinity(2) refuses is refused in the same way. */
FS_TEST(mode, that_cpu_is_refused)
{
	struct sched_attr_ attr = {
		.size = sizeof(attr), .policy = 6 /* SCHED_DEADLINE */,
		.runtime = 1000000, .deadline = 100000000, .period = 100000000,
	};
	int err;

	FS_NEED_CPUS(2);
	if (SYS(syscall(SYS_sched_setattr, 0, &attr, 0)))
		FS_SKIP("SCHED_DEADLINE on all CPUs");
	err = pin_to(cpu_id(0));
	EXPECT_EQ(-EBUSY, err);
	EXPECT_EQ(err, fs_spawn(self->l.fd, cpu_id(0)));
}

FS_TEST(mode, bound_before)
{
	cpu_set_t start;
	int i, epfd, fd, ready[2];
	pid_t pid;
	char done;

	ASSERT_EQ(0, mask_of(0, &start));
	ASSERT_EQ(0, pipe(ready));
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

	/* Not alone: a socket that one task takes from is plain. */
	pid = fork_child();
	ASSERT_LE(0, pid);
	if (!pid) {
		ASSERT_EQ(0, pin_to(cpu_id(0)));
		ASSERT_LE(0, consumer(self->l.fd, EPOLLIN));
		ASSERT_EQ(1, write_full(ready[1], "", 1));
		pause();
		_exit(0);
	}
	ASSERT_EQ(1, read_full(ready[0], &done, 1));

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
	kill(pid, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, reap(pid));
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
