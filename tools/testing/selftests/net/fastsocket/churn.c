// SPDX-License-Identifier: GPL-2.0
/*
 * Workers are killed and stopped under load. A connection that a worker had
 * accepted is the worker's; all others are served by whoever is left.
 *
 * The same is done with a socket for each worker (SO_REUSEPORT), chosen by a
 * hash, and by the CPU that receives the connection. Nothing is expected of
 * these: what they lose is printed.
 */
#include "lib.h"
#include <linux/filter.h>
#include "kselftest_harness.h"

#define WORKERS		4
#define CLIENTS		4
/* How many workers are killed, if FASTSOCKET_KILLS does not say, and stopped. */
#define KILLS		50
#define STOPS(kills)	((kills) / 5 + 1)
/* The last of them is stopped for so long, and how long others wait is printed. */
#define STOP_MS		2000
/* Connections of one client; their ports are distinct. */
#define MAX_PER_CLIENT	8000
#define FIRST_PORT	20000

/* From the third on, each worker has a socket. */
enum kind { PLAIN, SPAWNED, REUSEPORT, REUSEPORT_CPU };

/* What a client and the workers know of a connection. */
struct conn {
	atomic_llong connected, accepted;
	atomic_int by;
};

struct shared {
	/* A worker may have accepted a connection that it has not noted yet. */
	atomic_int accepting[WORKERS];
	/* It serves one. */
	atomic_int serving[WORKERS];
	/* Clients end first. */
	atomic_int ready, enough, stop, err;
	atomic_int done[CLIENTS], lost[CLIENTS], dropped[CLIENTS], waited[CLIENTS];
	struct conn conn[65536];
};

FIXTURE(churn)
{
	struct shared *sh;
	struct listener l;
	int lfd[WORKERS];
	pid_t worker[WORKERS], client[CLIENTS];
};

FIXTURE_VARIANT(churn)
{
	enum kind kind;
	enum fam fam;
};

FIXTURE_VARIANT_ADD(churn, plain_v4) { PLAIN, V4 };
FIXTURE_VARIANT_ADD(churn, spawned_v4) { SPAWNED, V4 };
FIXTURE_VARIANT_ADD(churn, spawned_v6) { SPAWNED, V6 };
FIXTURE_VARIANT_ADD(churn, reuseport_v4) { REUSEPORT, V4 };
FIXTURE_VARIANT_ADD(churn, reuseport_cpu_v4) { REUSEPORT_CPU, V4 };

static int kills(void)
{
	const char *s = getenv("FASTSOCKET_KILLS");

	return s && atoi(s) > 0 ? atoi(s) : KILLS;
}

static long long now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ll + ts.tv_nsec / 1000;
}

static in_port_t port_of(const struct sockaddr_storage *ss)
{
	/* At the same place in both. */
	return ntohs(((const struct sockaddr_in *)ss)->sin_port);
}

static void serve(struct shared *sh, int w, int lfd)
{
	struct sockaddr_storage ss;
	struct epoll_event ev;
	int epfd, fd;
	socklen_t len;
	char c;

	epfd = consumer(lfd, EPOLLIN);
	if (epfd < 0) {
		sh->err = epfd;
		return;
	}
	atomic_fetch_add(&sh->ready, 1);
	while (!sh->stop) {
		if (epoll_wait(epfd, &ev, 1, 100) <= 0)
			continue;
		len = sizeof(ss);
		atomic_store(&sh->accepting[w], 1);
		fd = SYS(accept4(lfd, (void *)&ss, &len, SOCK_CLOEXEC));
		if (fd >= 0) {
			atomic_store(&sh->conn[port_of(&ss)].by, w);
			atomic_store(&sh->conn[port_of(&ss)].accepted, now_us());
			atomic_store(&sh->serving[w], 1);
		} else if (fd != -EAGAIN && fd != -EINTR && fd != -ECONNABORTED) {
			sh->err = fd;
		}
		atomic_store(&sh->accepting[w], 0);
		if (fd >= 0) {
			if (read(fd, &c, 1) == 1 && write(fd, &c, 1) != 1)
				sh->err = -EIO;
			close(fd);
			atomic_store(&sh->serving[w], 0);
		}
	}
}

/* Connections one after the other, from ports and an address of its own. */
static void load(struct shared *sh, const struct listener *l, int me)
{
	struct sockaddr_storage to, from;
	struct timeval patience = { .tv_sec = WAIT_MS / 1000 };
	int i, fd, port, one = 1;
	socklen_t len;
	char c = 'x';

	len = listener_addr(l, l->fam == V6, &to);
	pin_to(cpu_id(me));
	for (i = 0; i < MAX_PER_CLIENT && !sh->enough; i++) {
		port = FIRST_PORT + me * MAX_PER_CLIENT + i;
		from = to;
		((struct sockaddr_in *)&from)->sin_port = htons(port);
		fd = SYS(socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
		if (fd < 0 || set_int(fd, SOL_SOCKET, SO_REUSEADDR, one)) {
			sh->err = fd < 0 ? fd : -EINVAL;
			return;
		}
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		/* Of an earlier test, perhaps: take the next. */
		if (bind(fd, (void *)&from, len)) {
			close(fd);
			continue;
		}
		atomic_store(&sh->conn[port].connected, now_us());
		if (!connect(fd, (void *)&to, len) && write(fd, &c, 1) == 1 &&
		    read(fd, &c, 1) == 1)
			atomic_fetch_add(&sh->done[me], 1);
		else if (errno == EAGAIN)
			atomic_fetch_add(&sh->waited[me], 1);
		else if (atomic_load(&sh->conn[port].accepted))
			atomic_fetch_add(&sh->dropped[me], 1);
		else
			atomic_fetch_add(&sh->lost[me], 1);
		close(fd);
		/* The ports last for some seconds, however fast the machine is. */
		sleep_ms(1);
	}
}

static int sum(const atomic_int *v)
{
	int i, n = 0;

	for (i = 0; i < CLIENTS; i++)
		n += v[i];
	return n;
}

/* In a child: a socket of another worker must end with that worker. */
static void close_others(const int *lfd, int w)
{
	int i;

	for (i = 0; i < WORKERS; i++)
		if (i != w && (w < 0 || lfd[i] != lfd[w]))
			close(lfd[i]);
}

#define start_worker(w) do {						\
	self->worker[w] = fork_child();					\
	ASSERT_LE(0, self->worker[w]);					\
	if (!self->worker[w]) {						\
		close_others(self->lfd, w);				\
		if (variant->kind == REUSEPORT_CPU)			\
			pin_to(cpu_id(w));				\
		serve(self->sh, w, self->lfd[w]);			\
		_exit(0);						\
	}								\
} while (0)

static int open_listener(struct listener *l, enum kind kind, enum fam fam)
{
	int ret = listener_bind(l, fam, SOCK_NONBLOCK, kind >= REUSEPORT);

	return ret ? ret : SYS(listen(l->fd, 1024));
}

/* Have a group choose the worker by the CPU. */
static int choose_by_cpu(int lfd)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_CPU),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, WORKERS),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};
	struct sock_fprog prog = { ARRAY_SIZE(code), code };

	return SYS(setsockopt(lfd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &prog,
			      sizeof(prog)));
}

FIXTURE_SETUP(churn)
{
	int w;

	if (variant->kind == SPAWNED)
		FS_REQUIRE();
	self->sh = mmap(NULL, sizeof(*self->sh), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->sh);
	/* Ports and their TIME_WAIT are nobody else's. */
	ASSERT_EQ(0, new_netns());
	self->l.port = 0;
	for (w = 0; w < WORKERS; w++) {
		if (!w || variant->kind >= REUSEPORT)
			ASSERT_EQ(0, open_listener(&self->l, variant->kind, variant->fam));
		self->lfd[w] = self->l.fd;
	}
	if (variant->kind == SPAWNED)
		ASSERT_EQ(0, fs_spawn(self->l.fd, -1));
	if (variant->kind == REUSEPORT_CPU)
		ASSERT_EQ(0, choose_by_cpu(self->l.fd));
	for (w = 0; w < WORKERS; w++)
		start_worker(w);
	ASSERT_TRUE(WAIT_FOR(self->sh->ready == WORKERS));
}

FIXTURE_TEARDOWN(churn)
{
	int w;

	self->sh->stop = 1;
	for (w = 0; w < WORKERS; w++) {
		kill(self->worker[w], SIGCONT);
		reap(self->worker[w]);
	}
}

#define start_clients() do {						\
	int __i;							\
									\
	for (__i = 0; __i < CLIENTS; __i++) {				\
		self->client[__i] = fork_child();			\
		ASSERT_LE(0, self->client[__i]);			\
		if (!self->client[__i]) {				\
			close_others(self->lfd, -1);			\
			load(self->sh, &self->l, __i);			\
			_exit(0);					\
		}							\
	}								\
} while (0)

#define end_clients() do {						\
	int __i;							\
									\
	self->sh->enough = 1;						\
	for (__i = 0; __i < CLIENTS; __i++)				\
		EXPECT_EQ(0, reap(self->client[__i]));			\
} while (0)

/* Stop a worker where it is not about to note something. */
static int stop_at_rest(struct shared *sh, pid_t pid, int w, bool idle)
{
	long long end = now_ms() + WAIT_MS;
	int status;

	while (now_ms() < end) {
		if (kill(pid, SIGSTOP) || waitpid(pid, &status, WUNTRACED) != pid ||
		    !WIFSTOPPED(status))
			return -ECHILD;
		if (!sh->accepting[w] && !(idle && sh->serving[w]))
			return 0;
		kill(pid, SIGCONT);
		sleep_ms(1);
	}
	return -ETIMEDOUT;
}

/* Wait for some more connections than there were, as long as there are some more. */
static bool progress(struct shared *sh, int n)
{
	int before, to = sum(sh->done) + n;

	do {
		before = sum(sh->done);
		if (before >= to || sh->err)
			return true;
	} while (WAIT_FOR(sum(sh->done) > before || sh->err));
	return false;
}

FS_TEST(churn, killed)
{
	int i, w, n = kills();

	start_clients();
	srand(1);
	for (i = 0; i < n; i++) {
		ASSERT_TRUE(progress(self->sh, rand() % 40));
		w = rand() % WORKERS;
		ASSERT_EQ(0, stop_at_rest(self->sh, self->worker[w], w, false));
		/* What arrives for it meanwhile is in its queue, if it has one. */
		sleep_ms(rand() % 20);
		ASSERT_EQ(0, kill(self->worker[w], SIGKILL));
		ASSERT_EQ(128 + SIGKILL, reap(self->worker[w]));
		atomic_store(&self->sh->serving[w], 0);
		if (variant->kind >= REUSEPORT) {
			/* The dead worker's socket goes with it. */
			close(self->lfd[w]);
			ASSERT_EQ(0, open_listener(&self->l, variant->kind, variant->fam));
			self->lfd[w] = self->l.fd;
		}
		start_worker(w);
	}
	ASSERT_TRUE(progress(self->sh, 100));
	end_clients();
	ASSERT_EQ(0, self->sh->err);
	TH_LOG("%d killed of %d served: %d were lost before they were accepted, %d waited in vain, %d had been accepted",
	       n, sum(self->sh->done), sum(self->sh->lost), sum(self->sh->waited),
	       sum(self->sh->dropped));
	/* A killed worker had one connection at the most. */
	EXPECT_GE(n, sum(self->sh->dropped));
	if (variant->kind < REUSEPORT) {
		EXPECT_EQ(0, sum(self->sh->lost));
		EXPECT_EQ(0, sum(self->sh->waited));
	}
}

static int by_value(const void *a, const void *b)
{
	long long x = *(const long long *)a, y = *(const long long *)b;

	return (x > y) - (x < y);
}

/* How long connections waited that were made since, in microseconds. */
static void print_delays(struct __test_metadata *_metadata, const struct shared *sh,
			 long long since)
{
	static long long delay[65536];
	int i, n = 0;

	for (i = FIRST_PORT; i < 65536; i++)
		if (sh->conn[i].accepted && sh->conn[i].connected >= since)
			delay[n++] = sh->conn[i].accepted - sh->conn[i].connected;
	qsort(delay, n, sizeof(*delay), by_value);
	if (n)
		TH_LOG("accept delay of %d: p50 %lld, p99 %lld, max %lld us", n, delay[n / 2],
		       delay[n - 1 - n / 100], delay[n - 1]);
}

/* Each client gets on while a worker is stopped that served nobody. */
FS_TEST(churn, stopped)
{
	int i, c, w, stuck = 0, done[CLIENTS], n = STOPS(kills());
	long long since = 0;

	start_clients();
	for (i = 0; i < n; i++) {
		w = i % WORKERS;
		ASSERT_TRUE(progress(self->sh, 20));
		since = now_us();
		ASSERT_EQ(0, stop_at_rest(self->sh, self->worker[w], w, true));
		for (c = 0; c < CLIENTS; c++)
			done[c] = self->sh->done[c];
		sleep_ms(i < n - 1 ? QUIET_MS : STOP_MS);
		for (c = 0; c < CLIENTS; c++) {
			/* Two: the first was perhaps as good as done. */
			if (variant->kind >= REUSEPORT)
				stuck += self->sh->done[c] < done[c] + 2;
			else
				EXPECT_TRUE(WAIT_FOR(self->sh->done[c] >= done[c] + 2))
					TH_LOG("client %d waits for worker %d", c, w);
		}
		ASSERT_EQ(0, kill(self->worker[w], SIGCONT));
	}
	ASSERT_TRUE(progress(self->sh, 20));
	end_clients();
	ASSERT_EQ(0, self->sh->err);
	if (variant->kind >= REUSEPORT)
		TH_LOG("%d of %d clients waited for a worker that was stopped", stuck,
		       n * CLIENTS);
	print_delays(_metadata, self->sh, since);
	EXPECT_EQ(0, sum(self->sh->lost));
	EXPECT_EQ(0, sum(self->sh->waited));
	EXPECT_EQ(0, sum(self->sh->dropped));
}

TEST_HARNESS_MAIN
