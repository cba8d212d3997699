// SPDX-License-Identifier: GPL-2.0
/*
 * A socket for each worker, in one SO_REUSEPORT group: a connection is served
 * on the CPU where it arrived, whichever member the hash chose; but where
 * somebody chooses on purpose, that choice stands.
 */
#include <linux/filter.h>

#include "lib.h"
#include "kselftest_harness.h"

/* Connections from each CPU. */
#define EACH	16

struct shared {
	atomic_int ready;
	/* Worker 0 is to sleep in its next request, and does. */
	atomic_int hold, held;
	int pipe[2];
	atomic_int err;
};

FIXTURE(reuse)
{
	struct listener l[MAX_CPUS];
	pid_t pid[MAX_CPUS];
	struct shared *sh;
	int nr;
	long long local, peer;
};

FIXTURE_VARIANT(reuse)
{
	enum fam fam;
	int flags;
};

FIXTURE_VARIANT_ADD(reuse, epoll_v4) { V4, SOCK_NONBLOCK };
FIXTURE_VARIANT_ADD(reuse, epoll_v6) { V6, SOCK_NONBLOCK };
FIXTURE_VARIANT_ADD(reuse, epoll_dual) { DUAL, SOCK_NONBLOCK };
FIXTURE_VARIANT_ADD(reuse, accept_v4) { V4, 0 };

FIXTURE_SETUP(reuse)
{
	in_port_t port = 0;
	int i;

	FS_NEED_CPUS(2);
	FS_REQUIRE();
	self->sh = mmap(NULL, sizeof(*self->sh), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->sh);
	self->nr = cpu_count();
	for (i = 0; i < self->nr; i++) {
		self->l[i].port = port;
		ASSERT_EQ(0, listener_bind(&self->l[i], variant->fam, variant->flags, true));
		ASSERT_EQ(0, listen(self->l[i].fd, 256));
		port = self->l[i].port;
	}
	self->local = stat_total("fsocket_stats", "accept_local");
	self->peer = stat_total("hash_stat", "lookup_peer");
	ASSERT_LE(0, self->peer);
}

FIXTURE_TEARDOWN(reuse)
{
	int i;

	for (i = 0; i < self->nr; i++) {
		if (self->pid[i] > 0) {
			kill(self->pid[i], SIGKILL);
			reap(self->pid[i]);
		}
	}
}

/* Answer each connection with the number of the worker. */
static void serve(struct shared *sh, int lfd, int me)
{
	int fl = fcntl(lfd, F_GETFL), epfd = -1, fd;
	struct epoll_event ev;
	unsigned char id = me;

	if (pin_to(cpu_id(me)))
		sh->err = -EINVAL;
	if (fl & O_NONBLOCK)
		epfd = consumer(lfd, EPOLLIN);
	atomic_fetch_add(&sh->ready, 1);
	for (;;) {
		if (epfd >= 0 && epoll_wait(epfd, &ev, 1, -1) < 0)
			sh->err = -errno;
		fd = SYS(accept4(lfd, NULL, NULL, SOCK_CLOEXEC));
		if (fd == -EAGAIN || fd == -EINTR)
			continue;
		if (!me && atomic_load(&sh->hold)) {
			atomic_store(&sh->held, 1);
			if (read(sh->pipe[0], &ev, 1) != 1)
				sh->err = -errno;
		}
		if (fd < 0 || write(fd, &id, 1) != 1)
			sh->err = fd < 0 ? fd : -EIO;
		close(fd);
	}
}

#define start(i) do {							\
	int __j;							\
									\
	self->pid[i] = fork_child();					\
	ASSERT_LE(0, self->pid[i]);					\
	if (!self->pid[i]) {						\
		for (__j = 0; __j < self->nr; __j++)			\
			if (__j != (i))					\
				close(self->l[__j].fd);			\
		serve(self->sh, self->l[i].fd, i);			\
	}								\
} while (0)

#define start_all() do {						\
	int __i;							\
									\
	for (__i = 0; __i < self->nr; __i++)				\
		start(__i);						\
	ASSERT_TRUE(WAIT_FOR(self->sh->ready == self->nr));		\
	for (__i = 0; __i < self->nr; __i++)				\
		ASSERT_TRUE(wait_asleep(self->pid[__i]));		\
} while (0)

#define spawn_all() do {						\
	int __i;							\
									\
	for (__i = 0; __i < self->nr; __i++)				\
		ASSERT_EQ(0, fs_spawn(self->l[__i].fd, -1));		\
} while (0)

/* Who serves a connection that arrives on a CPU, or an error. */
static int served_by(const struct listener *l, int cpu, int n)
{
	int fd = client_on(l, cpu, n), ret;
	unsigned char id;

	if (fd < 0)
		return fd;
	ret = read_full(fd, &id, 1);
	close(fd);
	return ret == 1 ? id : ret < 0 ? ret : -EPIPE;
}

/*
 * How many of EACH connections to each CPU worker want(cpu) does not serve. Each
 * worker sleeps when one comes to its CPU: who is not yet back is not waited for.
 */
static int elsewhere(const pid_t *pid, const struct listener *l, int nr,
		     int (*want)(int cpu, int nr))
{
	int i, cpu, others = 0;

	for (i = 0; i < EACH; i++)
		for (cpu = 0; cpu < nr; cpu++) {
			if (!wait_asleep(pid[cpu]))
				return -ETIMEDOUT;
			others += served_by(l, cpu_id(cpu), i) != want(cpu, nr);
		}
	return others;
}

static int own(int cpu, int nr)
{
	return cpu;
}

static int first(int cpu, int nr)
{
	return 0;
}

static int next(int cpu, int nr)
{
	return (cpu + 1) % nr;
}

FS_TEST(reuse, served_where_it_arrives)
{
	spawn_all();
	start_all();
	EXPECT_EQ(0, elsewhere(self->pid, &self->l[0], self->nr, own));
	EXPECT_EQ(0, self->sh->err);
	if (variant->flags & SOCK_NONBLOCK)
		EXPECT_EQ(EACH * self->nr,
			  stat_total("fsocket_stats", "accept_local") - self->local);
	/* The hash had chosen others for about all but one in nr. */
	EXPECT_LT(0, stat_total("hash_stat", "lookup_peer") - self->peer);
}

/* A worker that is woken and does not run is not preferred: its group has used up its quota. */
FS_TEST(reuse, not_for_who_is_throttled)
{
	int i, by_0 = 0, id;
	pid_t hog;

	/* Whom the hash gives it waits for the quota. */
	if (variant->fam == DUAL)
		SKIP(return, "takes long, and is as with the others");
	if (cgroup_mount("+cpu"))
		FS_SKIP("a cgroup with quotas of CPU time");
	spawn_all();
	start_all();
	EXPECT_EQ(0, elsewhere(self->pid, &self->l[0], self->nr, own));
	hog = cgroup_throttle("quota", self->pid[0], cpu_id(0));
	ASSERT_LT(0, hog);
	for (i = 0; i < 3 * EACH; i++) {
		id = served_by(&self->l[0], cpu_id(0), i);
		ASSERT_LE(0, id);
		by_0 += !id;
	}
	/* The hash gives it its share, of two at most half. */
	EXPECT_GT(5 * EACH / 2, by_0);
	kill(hog, SIGKILL);
	reap(hog);
	for (i = 0; i < self->nr; i++) {
		kill(self->pid[i], SIGKILL);
		reap(self->pid[i]);
		self->pid[i] = 0;
	}
	cgroup_unmount();
}

/* Whom a worker serves it serves at once: no other member's connections wait for one that sleeps in a request. */
FS_TEST(reuse, not_for_who_sleeps)
{
	int c[2 * EACH], nr = 0, i;
	long long peer;
	char id;

	for (i = 0; i < self->nr; i++)
		ASSERT_EQ(0, fs_spawn(self->l[i].fd, -1));
	ASSERT_EQ(0, pipe(self->sh->pipe));
	start_all();
	atomic_store(&self->sh->hold, 1);
	/* The first one may be anybody's, until worker 0 has served one here. */
	while (nr < EACH && !atomic_load(&self->sh->held)) {
		c[nr] = client_on(&self->l[0], cpu_id(0), nr);
		ASSERT_LE(0, c[nr]);
		WAIT_FOR(atomic_load(&self->sh->held) || poll_one(c[nr], POLLIN, 0));
		nr++;
	}
	if (!atomic_load(&self->sh->held))
		SKIP(goto out, "worker 0 was late");
	ASSERT_TRUE(wait_asleep(self->pid[0]));
	peer = stat_total("hash_stat", "lookup_peer");
	for (i = 0; i < EACH; i++) {
		c[nr] = client_on(&self->l[0], cpu_id(0), nr);
		ASSERT_LE(0, c[nr++]);
	}
	EXPECT_EQ(peer, stat_total("hash_stat", "lookup_peer"));
out:
	atomic_store(&self->sh->hold, 0);
	EXPECT_EQ(1, write(self->sh->pipe[1], "", 1));
	for (i = 0; i < nr; i++) {
		EXPECT_EQ(1, read_full(c[i], &id, 1));
		close(c[i]);
	}
	EXPECT_EQ(0, self->sh->err);
}

/* Who was not spawned takes no part. */
FS_TEST(reuse, not_spawned)
{
	int n = 0, i;

	start_all();
	ASSERT_LT(0, elsewhere(self->pid, &self->l[0], self->nr, own));
	EXPECT_EQ(self->peer, stat_total("hash_stat", "lookup_peer"));
	/* Of two members that are, one goes away. */
	ASSERT_EQ(0, fs_spawn(self->l[0].fd, -1));
	ASSERT_EQ(0, fs_spawn(self->l[1].fd, -1));
	for (i = 0; i < EACH; i++)
		n += served_by(&self->l[0], cpu_id(0), i) < 0;
	EXPECT_EQ(0, n);
	ASSERT_EQ(0, kill(self->pid[1], SIGKILL));
	ASSERT_EQ(128 + SIGKILL, reap(self->pid[1]));
	self->pid[1] = 0;
	close(self->l[1].fd);
	for (i = 0; i < EACH; i++)
		n += served_by(&self->l[0], cpu_id(1), i) < 0;
	EXPECT_EQ(0, n);
}

/* A worker ends with its socket, and another takes its place. */
FS_TEST(reuse, member_comes_and_goes)
{
	int last = self->nr - 1, i, n = 0;

	spawn_all();
	start_all();
	ASSERT_EQ(0, kill(self->pid[last], SIGKILL));
	ASSERT_EQ(128 + SIGKILL, reap(self->pid[last]));
	close(self->l[last].fd);
	for (i = 0; i < EACH; i++)
		n += served_by(&self->l[0], cpu_id(last), i) < 0;
	EXPECT_EQ(0, n);
	ASSERT_EQ(0, listener_bind(&self->l[last], variant->fam, variant->flags, true));
	ASSERT_EQ(0, listen(self->l[last].fd, 256));
	ASSERT_EQ(0, fs_spawn(self->l[last].fd, -1));
	start(last);
	ASSERT_TRUE(WAIT_FOR(self->sh->ready == self->nr + 1));
	ASSERT_TRUE(wait_asleep(self->pid[last]));
	EXPECT_EQ(0, elsewhere(self->pid, &self->l[0], self->nr, own));
	EXPECT_EQ(0, self->sh->err);
}

FS_TEST(reuse, program_chooses)
{
	struct sock_filter code[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	struct sock_fprog prog = { .len = 1, .filter = code };

	ASSERT_EQ(0, setsockopt(self->l[0].fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &prog,
				sizeof(prog)));
	spawn_all();
	start_all();
	EXPECT_EQ(0, elsewhere(self->pid, &self->l[0], self->nr, first));
	EXPECT_EQ(self->peer, stat_total("hash_stat", "lookup_peer"));
	/* And not any more, as soon as that option is in the copies of the socket. */
	ASSERT_EQ(0, set_int(self->l[0].fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0));
	EXPECT_TRUE(WAIT_FOR(!elsewhere(self->pid, &self->l[0], self->nr, own)));
}

FS_TEST(reuse, incoming_cpu_chooses)
{
	int i;

	for (i = 0; i < self->nr; i++)
		ASSERT_EQ(0, set_int(self->l[next(i, self->nr)].fd, SOL_SOCKET, SO_INCOMING_CPU,
				     cpu_id(i)));
	spawn_all();
	start_all();
	EXPECT_EQ(0, elsewhere(self->pid, &self->l[0], self->nr, next));
	EXPECT_EQ(self->peer, stat_total("hash_stat", "lookup_peer"));
}

/* What has a filter gets what the filter was asked about, and nothing else. */
FS_TEST(reuse, filter_is_asked)
{
	struct sock_filter all[] = { BPF_STMT(BPF_RET | BPF_K, 0xffffffff) };
	struct sock_fprog prog = { .len = 1, .filter = all };
	int i, n = 0;

	ASSERT_EQ(0, setsockopt(self->l[1].fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog,
				sizeof(prog)));
	spawn_all();
	start_all();
	for (i = 0; i < 4 * EACH; i++)
		n += served_by(&self->l[0], cpu_id(1), i) != 1;
	EXPECT_LT(0, n);
}

TEST_HARNESS_MAIN
