// SPDX-License-Identifier: GPL-2.0
/*
 * What it is all for: with a worker for every CPU, connections are accepted on
 * the CPU that received them. Clients are on the first one, the others receive.
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

static void measure(struct __test_metadata *_metadata, struct listener *l,
		    struct pool *pool, bool procs, void (*loop)(struct worker *w),
		    int share)
{
	int conns = CONNS_EACH * cpu_count(), i;
	long long n[ARRAY_SIZE(columns)], lookups;
	cpu_set_t cpus;

	if (conns > MAX_CONNS)
		conns = MAX_CONNS;
	CPU_ZERO(&cpus);
	/* With one CPU, on that of the client. */
	for (i = 1; i < cpu_count(); i++)
		CPU_SET(cpu_id(i), &cpus);
	ASSERT_EQ(0, receive_on(&cpus));
	/* What one alone waits at is plain. */
	ASSERT_EQ(0, pool_start(pool, l, cpu_count() > 1 ? cpu_count() : 2, procs, loop));
	ASSERT_TRUE(pool_asleep(pool));
	/* Not from a cold start. */
	ASSERT_EQ(0, pool_load_from(pool, 8 * cpu_count(), 1));
	ASSERT_TRUE(pool_asleep(pool));

	for (i = 0; i < ARRAY_SIZE(columns); i++)
		n[i] = stat_total("fsocket_stats", columns[i]);
	lookups = stat_total("hash_stat", "lookup_local");
	ASSERT_EQ(0, pool_load_from(pool, conns, 1));
	ASSERT_EQ(0, pool_error(pool));
	for (i = 0; i < ARRAY_SIZE(columns); i++)
		n[i] = stat_total("fsocket_stats", columns[i]) - n[i];
	lookups = stat_total("hash_stat", "lookup_local") - lookups;
	TH_LOG("%lld local, %lld global, %lld foreign, %lld pushed, %lld stolen: %lld.%lld %% local",
	       n[0], n[1], n[2], n[3], n[4], n[0] * 100 / conns,
	       n[0] * 1000 / conns % 10);
	EXPECT_EQ(conns, n[0] + n[1] + n[2]);
	EXPECT_LE(conns * share / 100, n[0] + n[3] + n[4]);
	/* On a slow machine, mostly somebody who is idle takes it. */
	EXPECT_LT(0, n[0]);
	EXPECT_LE(conns * share / 100, lookups);
	EXPECT_LE(n[0], lookups);
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

TEST_HARNESS_MAIN
