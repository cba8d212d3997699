// SPDX-License-Identifier: GPL-2.0
/*
 * Handshakes that are not the usual one: from syncookies, with
 * TCP_DEFER_ACCEPT, with TCP Fast Open; and those that find a queue full.
 */
#include "lib.h"
#include "kselftest_harness.h"

#ifndef TCP_FASTOPEN_CONNECT
#define TCP_FASTOPEN_CONNECT 30
#endif

FIXTURE(hs)
{
	struct listener l;
	struct pool pool;
	cpu_set_t start;
};

FIXTURE_VARIANT(hs)
{
	bool spawned;
	enum fam fam;
};

ADD_MODE_FAMILY_VARIANTS(hs);

enum kind { COOKIES, DEFER, FASTOPEN, KINDS };

static const char *const kinds[] = { "syncookies", "TCP_DEFER_ACCEPT", "TCP Fast Open" };

/* What the kernel counts them by; the second kind it does not. */
static const char *const counters[] = { "SyncookiesRecv", NULL, "TCPFastOpenPassive" };

/* Longer than any test. */
#define DEFER_SECS	1000

FIXTURE_SETUP(hs)
{
	if (variant->spawned)
		FS_REQUIRE();
	/* It has settings and counters of its own. */
	ASSERT_EQ(0, new_netns());
	ASSERT_EQ(0, mask_of(0, &self->start));
}

FIXTURE_TEARDOWN(hs) { }

static int hs_open(struct listener *l, enum fam fam, enum kind kind, bool spawned)
{
	int ret = sysctl("tcp_syncookies", kind == COOKIES ? "2" : "0");

	if (!ret)
		ret = sysctl("tcp_fastopen", "3");
	if (!ret)
		ret = listener_bind(l, fam, SOCK_NONBLOCK, false);
	if (!ret && kind == DEFER)
		ret = set_int(l->fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, DEFER_SECS);
	if (!ret && kind == FASTOPEN)
		ret = set_int(l->fd, IPPROTO_TCP, TCP_FASTOPEN, SOMAXCONN);
	if (!ret)
		ret = SYS(listen(l->fd, SOMAXCONN));
	if (!ret && spawned)
		ret = fs_spawn(l->fd, -1);
	l->spawned = spawned;
	return ret;
}

/* With Fast Open, the SYN goes out with the first bytes that are written. */
static int hs_client(const struct listener *l, enum kind kind, int n)
{
	struct sockaddr_storage ss;
	socklen_t len = listener_addr(l, n, &ss);
	struct timeval tv = { WAIT_MS / 1000, 0 };
	int fd, ret;

	if (kind != FASTOPEN)
		return client(l, n);
	fd = SYS(socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
	if (fd < 0)
		return fd;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	ret = set_int(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
	if (!ret)
		ret = connect_wait(fd, &ss, len);
	return ret ? ret : fd;
}

FS_TEST(hs, served)
{
	enum kind kind;
	int i, c, n = 2 * cpu_count();

	for (kind = 0; kind < KINDS; kind++) {
		long long before, local = 0;

		ASSERT_EQ(0, hs_open(&self->l, variant->fam, kind, variant->spawned));
		ASSERT_EQ(0, sched_setaffinity(0, sizeof(self->start), &self->start));
		/* What one alone waits at is plain. */
		ASSERT_EQ(0, pool_start(&self->pool, &self->l, cpu_count() > 1 ? cpu_count() : 2,
					true, worker_by_epoll));
		/* The first one gets the cookie of Fast Open. */
		c = hs_client(&self->l, kind, 0);
		ASSERT_LE(0, c);
		ASSERT_EQ(0, request_send(c, n));
		ASSERT_EQ(0, request_end(c, n));
		before = counters[kind] ? mib(counters[kind]) : 0;
		if (variant->spawned)
			local = stat_total("hash_stat", "lookup_local");
		for (i = 0; i < n; i++) {
			ASSERT_EQ(0, pin_to(cpu_id(i)));
			c = hs_client(&self->l, kind, i);
			ASSERT_LE(0, c);
			ASSERT_EQ(0, request_send(c, i));
			EXPECT_EQ(0, request_end(c, i))
				TH_LOG("%s, connection %d", kinds[kind], i);
		}
		if (counters[kind])
			EXPECT_LE(before + n, mib(counters[kind]))
				TH_LOG("%s", kinds[kind]);
		if (variant->spawned)
			EXPECT_LT(local, stat_total("hash_stat", "lookup_local"))
				TH_LOG("%s", kinds[kind]);
		ASSERT_EQ(0, pool_stop(&self->pool));
		ASSERT_EQ(0, pool_error(&self->pool));
		close(self->l.fd);
		memset(&self->pool, 0, sizeof(self->pool));
	}
}

enum { LISTENS, SENT_TO, CLOSED, OVER };

/* Where a client sends SYNs with data to. */
struct target {
	struct listener *l;
	int cpu;
	int state;
};

static void *send_syns(void *arg)
{
	struct linger reset = { 1, 0 };
	struct target *t = arg;
	struct sockaddr_storage ss;
	int fd, state, epfd = -1;
	socklen_t len;

	pin_to(t->cpu);
	while ((state = __atomic_load_n(&t->state, __ATOMIC_ACQUIRE)) != OVER) {
		if (state == CLOSED)
			continue;
		if (state == LISTENS) {
			close(epfd);
			epfd = consumer(t->l->fd, EPOLLIN);
		}
		__atomic_compare_exchange_n(&t->state, &state, SENT_TO, false,
					    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
		len = listener_addr(t->l, 0, &ss);
		fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (void *)&ss, len);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(fd);
	}
	return NULL;
}

/* A SYN that makes a child finds its listener closed when it is to be queued. */
FS_TEST(hs, fastopen_under_close)
{
	int i, listeners = soaks() ? 2000 : 150;
	struct target t = { .l = &self->l, .cpu = cpu_id(0), .state = CLOSED };
	struct trace_left left;
	const char *complaint;
	pthread_t thread;
	long long until;

	FS_NEED_CPUS(2);
	left_begin(&left);
	ASSERT_EQ(0, pin_to(cpu_id(1)));
	ASSERT_EQ(0, pthread_create(&thread, NULL, send_syns, &t));
	for (i = 0; i < listeners; i++) {
		ASSERT_EQ(0, hs_open(&self->l, variant->fam, FASTOPEN, variant->spawned));
		/* No cookie is asked for. */
		ASSERT_EQ(0, sysctl("tcp_fastopen", "519"));
		__atomic_store_n(&t.state, LISTENS, __ATOMIC_RELEASE);
		ASSERT_TRUE(WAIT_FOR(__atomic_load_n(&t.state, __ATOMIC_ACQUIRE) == SENT_TO));
		/* At any time of the first one's way through the kernel. */
		until = now_ns() + rand() % 400000;
		while (now_ns() < until)
			;
		ASSERT_EQ(0, close(self->l.fd));
		__atomic_store_n(&t.state, CLOSED, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&t.state, OVER, __ATOMIC_RELEASE);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	fs_close_device();
	complaint = left_end(&left);
	EXPECT_EQ(NULL, complaint)
		TH_LOG("%s", complaint);
}

/*
 * Half of the clients say something before the worker of their CPU is killed:
 * with TCP_DEFER_ACCEPT, the others are half open then.
 */
FS_TEST(hs, killed_worker)
{
	int i, c[8], half = ARRAY_SIZE(c) / 2, status;
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		ASSERT_EQ(0, hs_open(&self->l, variant->fam, kind, variant->spawned));
		ASSERT_EQ(0, sched_setaffinity(0, sizeof(self->start), &self->start));
		ASSERT_EQ(0, pool_start(&self->pool, &self->l, 2, true, worker_by_epoll));
		ASSERT_TRUE(pool_asleep(&self->pool));
		c[0] = hs_client(&self->l, kind, 0);
		ASSERT_LE(0, c[0]);
		ASSERT_EQ(0, request_send(c[0], half));
		ASSERT_EQ(0, request_end(c[0], half));
		for (i = 0; i < 2; i++) {
			ASSERT_EQ(0, kill(self->pool.pid[i], SIGSTOP));
			ASSERT_EQ(self->pool.pid[i],
				  waitpid(self->pool.pid[i], &status, WUNTRACED));
		}
		for (i = 0; i < ARRAY_SIZE(c); i++) {
			ASSERT_EQ(0, pin_to(cpu_id(i)));
			c[i] = hs_client(&self->l, kind, i);
			ASSERT_LE(0, c[i]);
			if (i < half)
				ASSERT_EQ(0, request_send(c[i], i));
		}
		ASSERT_EQ(0, pool_kill(&self->pool, 0));
		for (i = half; i < ARRAY_SIZE(c); i++)
			ASSERT_EQ(0, request_send(c[i], i));
		ASSERT_EQ(0, kill(self->pool.pid[1], SIGCONT));
		for (i = 0; i < ARRAY_SIZE(c); i++)
			EXPECT_EQ(0, request_end(c[i], i))
				TH_LOG("%s, client %d", kinds[kind], i);
		ASSERT_EQ(0, pool_stop(&self->pool));
		ASSERT_EQ(0, pool_error(&self->pool));
		close(self->l.fd);
		memset(&self->pool, 0, sizeof(self->pool));
	}
}

/* Where all queues are full, it is counted as ever; and there is room again. */
FS_TEST(hs, overflow)
{
	long long overflows = mib("ListenOverflows"), drops = mib("ListenDrops");
	int i, fd, n = 3 * cpu_count() + 4, c[3 * MAX_CPUS + 4], epfd[MAX_CPUS];

	ASSERT_EQ(0, sysctl("tcp_syncookies", "0"));
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK, false));
	ASSERT_EQ(0, listen(self->l.fd, 1));
	if (variant->spawned)
		ASSERT_EQ(0, fs_spawn(self->l.fd, -1));
	ASSERT_EQ(cpu_count(), consumers(&self->l, epfd));
	for (i = 0; i < n; i++) {
		ASSERT_EQ(0, pin_to(cpu_id(i)));
		c[i] = client_start(&self->l, i);
		ASSERT_LE(0, c[i]);
	}
	EXPECT_TRUE(WAIT_FOR(mib("ListenOverflows") > overflows &&
			     mib("ListenDrops") > drops));
	/* Nobody tries again. */
	for (i = 0; i < n; i++)
		close(c[i]);
	do {
		fd = SYS(accept(self->l.fd, NULL, NULL));
		close(fd);
	} while (fd >= 0);
	EXPECT_EQ(-EAGAIN, fd);
	c[0] = client(&self->l, 0);
	ASSERT_LE(0, c[0]);
	ASSERT_EQ(0, request_send(c[0], 1));
	/* What was on its way may still come in before it. */
	do {
		fd = accept_wait(self->l.fd);
		ASSERT_LE(0, fd);
		i = 0;
	} while (read_full(fd, &i, sizeof(i)) != sizeof(i));
	EXPECT_EQ(1, i);
}

/*
 * Who looks and never takes, as a worker does that is out of descriptors, has
 * two queues that fill: its own, and the socket's. Neither grows beyond the
 * backlog, however long clients come.
 */
FS_TEST(hs, backlog_of_who_only_looks)
{
	int c, epfd, backlog = 4, queues = variant->spawned ? 2 : 1, tries = 0;
	long long end = now_ms() + 10 * QUIET_MS;
	socklen_t len = sizeof(struct tcp_info);
	struct tcp_info info;
	__u32 most = 0;

	ASSERT_EQ(0, sysctl("tcp_syncookies", "0"));
	ASSERT_EQ(0, pin_to(cpu_id(0)));
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK, false));
	ASSERT_EQ(0, listen(self->l.fd, backlog));
	if (variant->spawned)
		ASSERT_EQ(0, fs_spawn(self->l.fd, cpu_id(0)));
	epfd = consumer(self->l.fd, EPOLLIN);
	ASSERT_LE(0, epfd);
	while (now_ms() < end || tries < 10 * backlog) {
		c = client_start(&self->l, tries++);
		ASSERT_LE(0, c);
		/* One that is in is as good as one that is dropped. */
		poll_one(c, POLLOUT, 5);
		close(c);
		ASSERT_LE(0, poll_one(epfd, POLLIN, 0));
		ASSERT_EQ(0, getsockopt(self->l.fd, IPPROTO_TCP, TCP_INFO, &info, &len));
		if (info.tcpi_unacked > most)
			most = info.tcpi_unacked;
	}
	ksft_print_msg("of %d, %u waited at most\n", tries, most);
	/* The test fills them: it would not see anything otherwise. */
	EXPECT_LT(backlog, most);
	EXPECT_GE(queues * (backlog + 1), most);
	close(epfd);
}

TEST_HARNESS_MAIN
