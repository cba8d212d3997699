// SPDX-License-Identifier: GPL-2.0
/*
 * What it is all for: with a worker for every CPU, connections are accepted on
 * the CPU that received them. Clients are on the first one, the others receive.
 * And so it is again after the workers were sent somewhere else, and back.
 */
#include "lib.h"
#include "kselftest_harness.h"

/*
 * In hundredths: what is served where it arrived, or was taken from a worker
 * that was busy for too long, as emulated CPUs are.
 */
#define LOCAL_SHARE	80
#define CONNS_EACH	48

FIXTURE(locality)
{
	struct listener l;
	struct pool pool;
};

FIXTURE_VARIANT(locality)
{
	enum fam fam;
	bool procs;
};

FIXTURE_VARIANT_ADD(locality, v4_procs) { V4, true };
FIXTURE_VARIANT_ADD(locality, v4_threads) { V4, false };
FIXTURE_VARIANT_ADD(locality, v6_procs) { V6, true };
FIXTURE_VARIANT_ADD(locality, dual_procs) { DUAL, true };

FIXTURE_SETUP(locality)
{
	FS_REQUIRE();
	if (new_netns())
		FS_SKIP("network namespaces");
}

FIXTURE_TEARDOWN(locality) { }

static void by_accept(struct worker *w)
{
	int fd;

	worker_ready(w);
	while (!w->stop) {
		fd = SYS(accept4(w->lfd, NULL, NULL, SOCK_CLOEXEC));
		if (fd != -EINTR)
			worker_serve(w, fd);
	}
}

static const char *const columns[] = {
	"accept_local", "accept_global", "accept_foreign", "pushed", "stolen",
};

/* What was accepted, and how. */
struct counts {
	long long n[ARRAY_SIZE(columns)], lookups;
};

static void count(struct counts *c)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(columns); i++)
		c->n[i] = stat_total("fsocket_stats", columns[i]) - c->n[i];
	c->lookups = stat_total("hash_stat", "lookup_local") - c->lookups;
}

/* Clients on the first CPU load workers on all, that receive. */
static int start(struct pool *pool, struct listener *l, bool procs,
		 void (*loop)(struct worker *w))
{
	cpu_set_t cpus;
	int i, ret;

	CPU_ZERO(&cpus);
	/* With one CPU, on that of the client. */
	for (i = 1; i < cpu_count(); i++)
		CPU_SET(cpu_id(i), &cpus);
	ret = receive_on(&cpus);
	/* What one alone waits at is plain. */
	if (!ret)
		ret = pool_start(pool, l, cpu_count() > 1 ? cpu_count() : 2, procs, loop);
	/* Not from a cold start. */
	if (!ret)
		ret = pool_asleep(pool) ? pool_load_from(pool, 8 * cpu_count(), 1) : -ETIMEDOUT;
	return ret;
}

/* Serves so many, and counts them. */
static int load(struct pool *pool, int conns, struct counts *c)
{
	int ret = -ETIMEDOUT;

	memset(c, 0, sizeof(*c));
	count(c);
	if (pool_asleep(pool))
		ret = pool_load_from(pool, conns, 1);
	if (!ret)
		ret = pool_error(pool);
	count(c);
	ksft_print_msg("%lld local, %lld global, %lld foreign, %lld pushed, %lld stolen: %lld.%lld %% local\n",
		       c->n[0], c->n[1], c->n[2], c->n[3], c->n[4], c->n[0] * 100 / conns,
		       c->n[0] * 1000 / conns % 10);
	return ret;
}

static int conns(void)
{
	int nr = CONNS_EACH * cpu_count();

	return nr > MAX_CONNS ? MAX_CONNS : nr;
}

static bool is_local(const struct counts *c, int share)
{
	/* On a slow machine, mostly somebody who is idle takes it. */
	return c->n[0] > 0 && c->n[0] + c->n[3] + c->n[4] >= conns() * share / 100;
}

static void measure(struct __test_metadata *_metadata, struct listener *l,
		    struct pool *pool, bool procs, void (*loop)(struct worker *w),
		    int share)
{
	struct counts c;

	ASSERT_EQ(0, start(pool, l, procs, loop));
	ASSERT_EQ(0, load(pool, conns(), &c));
	EXPECT_EQ(conns(), c.n[0] + c.n[1] + c.n[2]);
	EXPECT_TRUE(is_local(&c, share));
	EXPECT_LE(conns() * share / 100, c.lookups);
	EXPECT_LE(c.n[0], c.lookups);
	ASSERT_EQ(0, pool_stop(pool));
}

FS_TEST(locality, epoll)
{
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK, true));
	measure(_metadata, &self->l, &self->pool, variant->procs,
		worker_by_epoll, LOCAL_SHARE);
}

/*
 * Who is not inside accept() when a connection comes does not wait for it, and
 * it goes to whoever does: there is no share to be had for sure.
 */
FS_TEST(locality, accept)
{
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, 0, true));
	measure(_metadata, &self->l, &self->pool, variant->procs,
		by_accept, 1);
}

/* --- workers that are moved -------------------------------------------- */

static atomic_bool loading;

/* Loads until it is told not to; returns whether one failed. */
static void *load_on(void *pool)
{
	long bad = 0;

	while (!bad && atomic_load(&loading))
		bad = pool_load_from(pool, CONNS, 1);
	return (void *)bad;
}

/* Whose CPU the workers are sent to, and back. */
static int narrow(struct pool *pool, bool by_cpuset, bool narrow)
{
	int i, n = 0, ret = 0;
	char cpus[8 * MAX_CPUS];

	if (by_cpuset) {
		for (i = narrow ? 1 : 0; i < (narrow ? 2 : cpu_count()); i++)
			n += snprintf(cpus + n, sizeof(cpus) - n, "%d,", cpu_id(i));
		cpus[n - 1] = 0;
		return cgroup_write("workers", "cpuset.cpus", cpus);
	}
	for (i = 0; i < pool->nr && !ret; i++)
		ret = cgroup_move(narrow ? "narrow" : "workers", pool->pid[i]);
	return ret;
}

/* Under load nothing fails, and when they may be everywhere again, all is as before. */
static void moved(struct __test_metadata *_metadata, struct listener *l, struct pool *pool,
		  bool by_cpuset)
{
	void *failed = NULL;
	long long begun;
	struct counts c;
	cpu_set_t set;
	char cpus[16];
	pthread_t thread;
	int i;

	FS_NEED_CPUS(3);
	if (cgroup_mount("+cpuset"))
		FS_SKIP("a cgroup with cpusets");
	snprintf(cpus, sizeof(cpus), "%d", cpu_id(1));
	ASSERT_EQ(0, cgroup_new("workers"));
	ASSERT_EQ(0, cgroup_new("narrow"));
	ASSERT_EQ(0, cgroup_write("narrow", "cpuset.cpus", cpus));
	ASSERT_EQ(0, start(pool, l, true, worker_by_epoll));
	ASSERT_EQ(0, narrow(pool, false, false));
	ASSERT_EQ(0, load(pool, conns(), &c));
	EXPECT_TRUE(is_local(&c, LOCAL_SHARE));

	atomic_store(&loading, true);
	ASSERT_EQ(0, pthread_create(&thread, NULL, load_on, pool));
	for (i = 0; i < 10; i++) {
		EXPECT_EQ(0, narrow(pool, by_cpuset, !(i % 2)));
		EXPECT_EQ(0, mask_of(pool->sh->tid[0], &set));
		EXPECT_EQ(i % 2 ? cpu_count() : 1, CPU_COUNT(&set));
		sleep_ms(30);
	}
	atomic_store(&loading, false);
	ASSERT_EQ(0, pthread_join(thread, &failed));
	EXPECT_EQ(NULL, failed);

	begun = now_ms();
	do {
		ASSERT_EQ(0, load(pool, conns(), &c));
	} while (!is_local(&c, LOCAL_SHARE) && now_ms() < begun + 1000);
	EXPECT_TRUE(is_local(&c, LOCAL_SHARE));
	ASSERT_EQ(0, pool_stop(pool));
	cgroup_unmount();
}

FS_TEST(locality, cpuset_is_written)
{
	if (!variant->procs)
		SKIP(return, "threads are in one group");
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK, true));
	moved(_metadata, &self->l, &self->pool, true);
}

FS_TEST(locality, cgroup_is_moved)
{
	if (!variant->procs)
		SKIP(return, "threads are in one group");
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK, true));
	moved(_metadata, &self->l, &self->pool, false);
}

TEST_HARNESS_MAIN
