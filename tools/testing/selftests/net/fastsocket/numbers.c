// SPDX-License-Identifier: GPL-2.0
/*
 * What somebody has many of does not make it slow, or impossible, for others.
 * Each figure is compared with the same one taken before there were many, in
 * the same run: the least of many rounds, so that a busy machine does not
 * count. The environment makes the numbers larger, to soak:
 *
 * FASTSOCKET_SOCKETS	spawned sockets of one user
 * FASTSOCKET_THREADS	threads that wait at one socket
 * FASTSOCKET_BACKLOG	connections behind a worker that is stopped
 */
#include <limits.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <time.h>
#include "lib.h"
#include "tun.h"
#include "kselftest_harness.h"

/* Short ones: in one of them, nothing else came in between. */
#define ROUNDS		100
#define MOST_ROUNDS	2000
/* Above this, it has become slower; far below what the faults make of it. */
#define LIMIT		1.7
#define ANY		LLONG_MAX

#define TRACING		"/sys/kernel/tracing/"

static int number(const char *env, int fallback)
{
	const char *val = getenv(env);

	return val ? atoi(val) : fallback;
}

/*
 * The time that one round of something takes, the least of many, in ns. Of more
 * if it is above what is enough: what is slow for good goes on being so.
 */
static long long least(int (*round)(void *), void *arg, long long enough)
{
	long long start, took, best = -1;
	int i, ret;

	for (i = 0; i < ROUNDS || (best > enough && i < MOST_ROUNDS); i++) {
		start = now_ns();
		ret = round(arg);
		if (ret < 0)
			return ret;
		took = now_ns() - start;
		if (best < 0 || took < best)
			best = took;
	}
	return best;
}

static double ratio(const char *what, long long before, long long after)
{
	double r = (double)after / before;

	ksft_print_msg("%s: %.1f us, then %.1f us: %.2f\n", what, before / 1e3,
		       after / 1e3, r);
	return r;
}

/* Compare, where both could be measured. */
#define expect_same(what, before, after) do {				\
	ASSERT_LT(0, before);						\
	ASSERT_LT(0, after);						\
	EXPECT_EQ(0, ratio(what, before, after) > LIMIT);			\
} while (0)

static void allow_files(int n)
{
	struct rlimit lim = { n, n };

	setrlimit(RLIMIT_NOFILE, &lim);
}

/* More than for half of the memory, which is what a user may have. */
static int allow_threads(void)
{
	struct rlimit lim = { RLIM_INFINITY, RLIM_INFINITY };

	return SYS(setrlimit(RLIMIT_NPROC, &lim));
}

/* A child that has many of something, and keeps them until it is killed. */
struct holder {
	pid_t pid;
	int sock;
};

static int hold(struct holder *h, int (*make)(int n), int n)
{
	int sock[2], ret = SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock));

	if (ret)
		return ret;
	h->pid = fork_child();
	h->sock = sock[0];
	if (!h->pid) {
		ret = make(n);
		write_full(sock[1], &ret, sizeof(ret));
		for (;;)
			pause();
	}
	close(sock[1]);
	ret = -EPIPE;
	/* However long it takes: many may be very many. */
	read_full(h->sock, &ret, sizeof(ret));
	return ret;
}

static void let_go(struct holder *h)
{
	kill(h->pid, SIGKILL);
	waitpid(h->pid, NULL, 0);
	close(h->sock);
}

FIXTURE(many)
{
	struct listener l;
	struct holder h;
	int tun;
};

FIXTURE_VARIANT(many)
{
	enum fam fam;
};

FIXTURE_VARIANT_ADD(many, v4) { V4 };
FIXTURE_VARIANT_ADD(many, v6) { V6 };

FIXTURE_SETUP(many)
{
	FS_REQUIRE();
	FS_NEED_CPUS(2);
	ASSERT_EQ(0, new_netns());
}

FIXTURE_TEARDOWN(many) { }

/* (a) Spawned sockets, and connections to a plain one. */

static int connections(void *arg)
{
	struct linger abort = { .l_onoff = 1 };
	const struct listener *l = arg;
	int i, c, fd;

	for (i = 0; i < 4; i++) {
		c = client(l, 0);
		fd = accept_wait(l->fd);
		if (c < 0 || fd < 0)
			return c < 0 ? c : fd;
		setsockopt(c, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
		close(c);
		close(fd);
	}
	return 0;
}

/* Segments that a plain listener whose queue is full looks at, and drops. */
static int syns(void *arg)
{
	FIXTURE_DATA(many) *self = arg;
	struct segment s = { .dport = self->l.port, .flags = TUN_SYN };
	int i, ret;

	for (i = 0; i < 50; i++) {
		s.sport = htons(20000 + i);
		ret = tun_put(self->tun, self->l.fam, &s);
		if (ret)
			return ret;
	}
	return 0;
}

/* Sockets of a user that have a queue on CPU 0, at as many ports as it takes. */
static int spawn_many(int n)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	int i, fd, ret;

	allow_files(n + 100);
	ret = become(ALICE);
	for (i = 0; i < n && !ret; i++) {
		a.sin_addr.s_addr = htonl(INADDR_LOOPBACK + i / 10000);
		fd = SYS(socket(AF_INET, SOCK_STREAM, 0));
		ret = fd < 0 ? fd : SYS(bind(fd, (void *)&a, sizeof(a)));
		if (!ret)
			ret = SYS(listen(fd, 1));
		if (!ret)
			ret = fs_spawn(fd, cpu_id(0));
	}
	return ret;
}

static int full_listener(struct listener *l, enum fam fam, int tun)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in a4 = { .sin_family = AF_INET };
	struct segment s = { .flags = TUN_SYN };
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int ret, i;

	l->fam = fam;
	l->fd = socket(fam == V4 ? AF_INET : AF_INET6, SOCK_STREAM, 0);
	ret = fam == V4 ? SYS(bind(l->fd, (void *)&a4, sizeof(a4))) :
		SYS(bind(l->fd, (void *)&a6, sizeof(a6)));
	if (!ret)
		ret = SYS(listen(l->fd, 1)) ?: SYS(getsockname(l->fd, (void *)&ss, &len));
	l->port = ((struct sockaddr_in *)&ss)->sin_port;
	s.dport = l->port;
	for (i = 1; i < 10 && !ret; i++) {
		s.sport = htons(i);
		ret = tun_put(tun, fam, &s);
	}
	return ret;
}

FS_TEST(many, sockets)
{
	int n = number("FASTSOCKET_SOCKETS", 16000);
	long long syn[2], conn[2];
	struct listener plain;

	self->tun = tun_open();
	if (self->tun < 0)
		FS_SKIP("a TUN device");
	ASSERT_EQ(0, sysctl("tcp_syncookies", "0"));
	ASSERT_EQ(0, pin_to(cpu_id(0)));
	ASSERT_EQ(0, full_listener(&self->l, variant->fam, self->tun));
	ASSERT_EQ(0, listener_open(&plain, variant->fam, SOCK_NONBLOCK, false));
	/* Somebody has one, so that only their number makes a difference. */
	ASSERT_EQ(0, hold(&self->h, spawn_many, 1));
	syn[0] = least(syns, self, ANY);
	conn[0] = least(connections, &plain, ANY);
	let_go(&self->h);
	ASSERT_EQ(0, hold(&self->h, spawn_many, n));
	syn[1] = least(syns, self, LIMIT * syn[0]);
	conn[1] = least(connections, &plain, LIMIT * conn[0]);
	let_go(&self->h);
	ksft_print_msg("%d spawned sockets of somebody else\n", n);
	expect_same("50 SYNs to a plain socket", syn[0], syn[1]);
	expect_same("4 connections to a plain socket", conn[0], conn[1]);
}

/* (b) Threads that wait at a socket, and what others do with theirs. */

static atomic_int waiting;

static void *wait_at(void *lfd)
{
	atomic_fetch_add(&waiting, 1);
	poll_one((long)lfd, POLLIN, -1);
	return NULL;
}

static int wait_by_many(int n, bool spawned)
{
	int i, ret = become(ALICE);
	pthread_attr_t attr;
	struct listener l;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 32768);
	if (!ret)
		ret = listener_open(&l, V4, SOCK_NONBLOCK, spawned);
	for (i = 0; i < n && !ret; i++)
		ret = -pthread_create(&thread, &attr, wait_at, (void *)(long)l.fd);
	WAIT_FOR(ret || waiting == n);
	sleep_ms(QUIET_MS);
	return ret;
}

static int wait_plainly(int n)
{
	return wait_by_many(n, false);
}

static int wait_spawned(int n)
{
	return wait_by_many(n, true);
}

static void *poll_once(void *l)
{
	return (void *)(long)poll_one(((struct listener *)l)->fd, POLLIN, 0);
}

/* Tasks that wait for the first time. */
static int placements(void *l)
{
	pthread_t thread;
	int i, ret = 0;
	void *val;

	for (i = 0; i < 2 && !ret; i++) {
		ret = -pthread_create(&thread, NULL, poll_once, l);
		if (ret)
			break;
		pthread_join(thread, &val);
		ret = (long)val;
	}
	return ret;
}

/* Sockets that somebody waited at, and that are closed. */
static int closes(void *arg)
{
	const struct listener *like = arg;
	struct listener l;
	int i, ret = 0;

	for (i = 0; i < 4 && !ret; i++) {
		ret = listener_open(&l, like->fam, SOCK_NONBLOCK, true);
		if (!ret)
			ret = poll_one(l.fd, POLLIN, 0);
		close(l.fd);
	}
	return ret;
}

static int forks(void *arg)
{
	pid_t pid;
	int i;

	(void)arg;
	for (i = 0; i < 4; i++) {
		pid = vfork();
		if (!pid)
			_exit(0);
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			return -errno;
	}
	return 0;
}

FS_TEST(many, threads)
{
	static const struct {
		const char *name;
		int (*round)(void *);
	} what[] = {
		{ "2 tasks wait for the first time", placements },
		{ "4 spawned sockets are closed", closes },
		{ "4 forks of a task with one CPU", forks },
	};
	int n = number("FASTSOCKET_THREADS", 2000), i;
	long long before[ARRAY_SIZE(what)], after[ARRAY_SIZE(what)];

	ASSERT_EQ(0, allow_threads());
	/* Its user has bound it: nothing but its placement takes time. */
	ASSERT_EQ(0, pin_to(cpu_id(0)));
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK, true));
	/* So many threads are a load by themselves. */
	ASSERT_EQ(0, hold(&self->h, wait_plainly, n));
	for (i = 0; i < ARRAY_SIZE(what); i++)
		before[i] = least(what[i].round, &self->l, ANY);
	let_go(&self->h);
	ASSERT_EQ(0, hold(&self->h, wait_spawned, n));
	for (i = 0; i < ARRAY_SIZE(what); i++)
		after[i] = least(what[i].round, &self->l, LIMIT * before[i]);
	let_go(&self->h);
	ksft_print_msg("%d threads of somebody else wait\n", n);
	for (i = 0; i < ARRAY_SIZE(what); i++)
		expect_same(what[i].name, before[i], after[i]);
}

/* (c) Tasks that block in accept(2), on one CPU. */

static void bind_worker(struct worker *w)
{
	int ret = pin_to(cpu_id(1));

	if (ret)
		worker_fail(w, ret);
}

static void block_in_accept(struct worker *w)
{
	worker_ready(w);
	while (!w->stop)
		worker_serve(w, SYS(accept4(w->lfd, NULL, NULL, SOCK_CLOEXEC)));
}

static int requests(void *l)
{
	int i, c, ret = 0;

	for (i = 0; i < 5 && !ret; i++) {
		c = client(l, 0);
		ret = c < 0 ? c : request_send(c, i) ?: request_end(c, i);
	}
	return ret;
}

/* The time of requests with so many workers; the clients are where these are. */
static long long with_workers(struct listener *l, int n, long long enough)
{
	static struct pool pool;
	long long took;
	int ret;

	memset(&pool, 0, sizeof(pool));
	pool.init = bind_worker;
	ret = pool_start(&pool, l, n, false, block_in_accept);
	if (ret || !pool_asleep(&pool))
		return ret ? ret : -ETIMEDOUT;
	took = least(requests, l, enough);
	ret = pool_stop(&pool) ?: pool_error(&pool);
	return ret ? ret : took;
}

FS_TEST(many, acceptors)
{
	long long few, many;

	ASSERT_EQ(0, pin_to(cpu_id(1)));
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, 0, true));
	few = with_workers(&self->l, 3, ANY);
	many = with_workers(&self->l, 12, LIMIT * few);
	expect_same("5 requests with 3 acceptors, and with 12", few, many);
}

/* (d) A backlog behind a worker that is stopped. */

/* Connections that one timer may move: a few times what it takes. */
#define MOST_MOVED	512

/* It takes one at each tick at least, so that it is not taken for stopped. */
static void slow_worker(int lfd, int sock)
{
	char byte = 0;
	int fd;

	if (pin_to(cpu_id(1)) || consumer(lfd, EPOLLIN) < 0 || write(sock, &byte, 1) != 1)
		_exit(1);
	for (;;) {
		fd = accept(lfd, NULL, NULL);
		if (fd >= 0 && write(fd, &byte, 1) != 1)
			_exit(1);
		sleep_ms(1);
	}
}

static int trace_on(void)
{
	static const char *const events[] = {
		"fastsocket/fastsocket_migrate", "timer/timer_expire_entry",
		"timer/timer_expire_exit",
	};
	char path[128];
	int i, ret;

	if (access(TRACING "trace", W_OK))
		mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
	ret = file_write(TRACING "buffer_size_kb", "8192");
	for (i = 0; i < ARRAY_SIZE(events) && !ret; i++) {
		snprintf(path, sizeof(path), TRACING "events/%s/enable", events[i]);
		ret = file_write(path, "1");
	}
	return !ret && truncate(TRACING "trace", 0) ? -errno : ret;
}

/* What was moved at most by one timer, and how long such a one took, in us. */
struct pushes {
	long most, all, longest;
};

static int trace_pushes(struct pushes *p)
{
	double at, begin[MAX_CPUS] = { 0 };
	long moved, now[MAX_CPUS] = { 0 };
	char line[512], *cpu, *text;
	FILE *f;
	int c;

	memset(p, 0, sizeof(*p));
	file_write(TRACING "events/enable", "0");
	f = fopen(TRACING "trace", "re");
	while (f && fgets(line, sizeof(line), f)) {
		cpu = strchr(line, '[');
		if (line[0] == '#' || !cpu || sscanf(cpu, "[%d] %*s %lf", &c, &at) != 2 ||
		    c < 0 || c >= MAX_CPUS)
			continue;
		text = strstr(line, " moved=");
		if (text && sscanf(text, " moved=%ld", &moved) == 1) {
			now[c] += moved;
			p->all += moved;
		} else if (strstr(line, "timer_expire_entry:")) {
			begin[c] = at;
			now[c] = 0;
		} else if (strstr(line, "timer_expire_exit:") && now[c]) {
			if (now[c] > p->most)
				p->most = now[c];
			if ((at - begin[c]) * 1e6 > p->longest)
				p->longest = (at - begin[c]) * 1e6;
			now[c] = 0;
		}
	}
	if (!f)
		return -errno;
	fclose(f);
	return 0;
}

static int fill_backlog(const struct listener *l, int n, int *c)
{
	struct sockaddr_storage ss;
	socklen_t len = listener_addr(l, 0, &ss);
	struct sockaddr_in from = { .sin_family = AF_INET };
	int i, ret = 0;

	for (i = 0; i < n && !ret; i++) {
		c[i] = SYS(socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
		if (c[i] < 0)
			return c[i];
		from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + i / 10000);
		if (l->fam == V4)
			ret = SYS(bind(c[i], (void *)&from, sizeof(from)));
		if (!ret)
			ret = connect_wait(c[i], &ss, len);
	}
	return ret;
}

/* Connections that can be taken until there are @n, or no more come. */
static int take_all(int lfd, int n)
{
	int i, fd;

	for (i = 0; i < n; i++) {
		fd = accept_wait(lfd);
		if (fd < 0)
			break;
		close(fd);
	}
	return i;
}

/* How many of the connections were answered by the worker that is stopped now. */
static int answered(const int *c, int n)
{
	int i, done = 0;
	char byte;

	for (i = 0; i < n; i++)
		done += recv(c[i], &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 1;
	return done;
}

FS_TEST(many, backlog)
{
	int n = number("FASTSOCKET_BACKLOG", 4000), *c = calloc(n, sizeof(*c)), done, sock[2];
	struct pushes p;
	pid_t pid;

	/* From its one address, with ports to spare, so that none is searched for long. */
	if (variant->fam == V6 && n > 30000)
		n = 30000;
	allow_files(2 * n + 1000);
	ASSERT_EQ(0, sysctl("tcp_syncookies", "0"));
	ASSERT_EQ(0, file_write("/proc/sys/net/ipv4/tcp_max_syn_backlog", "%d", n + 100));
	ASSERT_EQ(0, file_write("/proc/sys/net/core/somaxconn", "%d", n + 100));
	ASSERT_EQ(0, sysctl("ip_local_port_range", "1024 65535"));
	ASSERT_EQ(0, listener_bind(&self->l, variant->fam, SOCK_NONBLOCK, false));
	ASSERT_EQ(0, listen(self->l.fd, n + 100));
	ASSERT_EQ(0, fs_spawn(self->l.fd, -1));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	pid = fork_child();
	ASSERT_LE(0, pid);
	if (!pid) {
		slow_worker(self->l.fd, sock[1]);
		_exit(1);
	}
	ASSERT_EQ(1, read_full(sock[0], &done, 1));
	ASSERT_EQ(0, pin_to(cpu_id(1)));
	ASSERT_EQ(0, fill_backlog(&self->l, n, c));
	if (trace_on())
		FS_SKIP("events of timers");
	ASSERT_EQ(0, kill(pid, SIGSTOP));
	ASSERT_EQ(pid, waitpid(pid, NULL, WUNTRACED));
	done = answered(c, n);
	/* From elsewhere, as another worker. */
	ASSERT_EQ(0, pin_to(cpu_id(0)));
	EXPECT_EQ(n - done, take_all(self->l.fd, n - done));
	EXPECT_EQ(-EAGAIN, SYS(accept(self->l.fd, NULL, NULL)));
	ASSERT_EQ(0, trace_pushes(&p));
	ksft_print_msg("of %d, %d were taken before; %ld moved, at most %ld at once, in %ld us\n",
		       n, done, p.all, p.most, p.longest);
	EXPECT_GT(MOST_MOVED, p.most);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* (e) What memory is charged to. */

/* Sockets that listen, and that are spawned when the parent says so. */
static void charged_main(int sock, int n)
{
	int i, ret = cgroup_move("numbers", 0), cpu, *fd = calloc(n, sizeof(*fd));

	allow_files(n + 100);
	for (i = 0; i < n && !ret; i++) {
		fd[i] = SYS(socket(AF_INET, SOCK_STREAM, 0));
		ret = fd[i] < 0 ? fd[i] : SYS(listen(fd[i], 1));
	}
	/* The device as well. */
	if (!ret)
		ret = fs_spawn(fd[0], -1);
	write_full(sock, &ret, sizeof(ret));
	while (read_full(sock, &cpu, sizeof(cpu)) == sizeof(cpu)) {
		ret = 0;
		for (i = 0; i < n && !ret; i++)
			ret = fs_spawn(fd[i], cpu);
		write_full(sock, &ret, sizeof(ret));
	}
	_exit(1);
}

static int charged_start(struct holder *h, int n)
{
	int sock[2], ret = SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock));

	if (ret)
		return ret;
	h->pid = fork_child();
	if (!h->pid) {
		close(sock[0]);
		charged_main(sock[1], n);
	}
	close(sock[1]);
	h->sock = sock[0];
	ret = -EPIPE;
	read_full(h->sock, &ret, sizeof(ret));
	return ret;
}

/* Have all of them spawned; -EPIPE if that has killed it. */
static int charged_spawn(struct holder *h, int cpu)
{
	int ret = -EPIPE;

	if (write_full(h->sock, &cpu, sizeof(cpu)) == sizeof(cpu))
		read_full(h->sock, &ret, sizeof(ret));
	return ret;
}

/* At least for each socket, and for its queue on a CPU. */
#define GROUP_BYTES	128
#define SLOT_BYTES	256

FS_TEST(many, memory_is_charged)
{
	int n = 4000, ret = cgroup_mount("+memory");
	long long before, groups, slots;

	if (!ret)
		ret = cgroup_new("numbers");
	if (ret)
		FS_SKIP("a cgroup of memory: %d", ret);
	ASSERT_EQ(0, charged_start(&self->h, n));
	before = cgroup_read("numbers", "memory.current");
	ASSERT_LT(0, before);
	EXPECT_EQ(0, charged_spawn(&self->h, -1));
	groups = cgroup_read("numbers", "memory.current");
	EXPECT_EQ(0, charged_spawn(&self->h, cpu_id(0)));
	slots = cgroup_read("numbers", "memory.current");
	ksft_print_msg("%d sockets: %lld bytes, and with a queue each %lld more\n", n,
		       groups - before, slots - groups);
	EXPECT_LE((long long)n * GROUP_BYTES, groups - before);
	EXPECT_LE((long long)n * SLOT_BYTES, slots - groups);
	let_go(&self->h);
	cgroup_unmount();
}

/* (f) Processes whose sockets are spawned, and others' room and time. */

#define RUNS		64
#define RUN_USERS	20

static int runs_of(uid_t uid, int n)
{
	int i, fd, ret = SYS(seteuid(uid));

	for (i = 0; i < n && !ret; i++) {
		fd = SYS(open(FS_DEVICE, O_RDONLY | O_CLOEXEC));
		ret = fd < 0 ? fd : SYS(ioctl(fd, FSOCKET_IOC_RUN, NULL));
	}
	return seteuid(0) ? -errno : ret;
}

static int runs_of_many(int users)
{
	int i, ret = 0;

	for (i = 0; i < users && !ret; i++)
		ret = runs_of(BOB + 1 + i, RUNS);
	/* It is full for each of them, and not for others. */
	return ret == -ENOSPC ? 0 : ret;
}

FS_TEST(many, users_that_run)
{
	ASSERT_EQ(0, hold(&self->h, runs_of_many, RUN_USERS));
	EXPECT_EQ(0, runs_of(ALICE, 1));
	EXPECT_EQ(0, runs_of(NOBODY, RUNS));
	EXPECT_EQ(0, runs_of(0, 1));
	let_go(&self->h);
}

static int alice_runs(int n)
{
	int i, fd, ret = become(ALICE);

	for (i = 0; i < n && !ret; i++) {
		fd = SYS(open(FS_DEVICE, O_RDONLY | O_CLOEXEC));
		ret = fd < 0 ? fd : SYS(ioctl(fd, FSOCKET_IOC_RUN, NULL));
	}
	return ret;
}

static int listens(void *arg)
{
	int i, fd, ret = 0;

	(void)arg;
	for (i = 0; i < 10 && !ret; i++) {
		fd = SYS(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
		ret = fd < 0 ? fd : SYS(listen(fd, 1));
		close(fd);
	}
	return ret;
}

static int alice_listens(int sock)
{
	int ret = 0;

	write_full(sock, &ret, sizeof(ret));
	while (!listens(NULL))
		;
	_exit(1);
}

/* A process of Alice so many generations down, which listens again and again. */
static int deep_listener(struct holder *h, int depth)
{
	int sock[2], ret = SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock));

	if (ret)
		return ret;
	h->pid = fork_child();
	h->sock = sock[0];
	if (!h->pid) {
		if (become(ALICE) || pin_to(cpu_id(1)))
			_exit(1);
		while (depth--) {
			if (fork_child())
				for (;;)
					pause();
		}
		alice_listens(sock[1]);
	}
	close(sock[1]);
	ret = -EPIPE;
	read_full(h->sock, &ret, sizeof(ret));
	return ret;
}

FS_TEST(many, runs_of_another)
{
	int depth = 400;
	struct holder runs;
	long long before, after;

	ASSERT_EQ(0, pin_to(cpu_id(0)));
	ASSERT_EQ(0, deep_listener(&self->h, depth));
	before = least(listens, NULL, ANY);
	ASSERT_EQ(0, hold(&runs, alice_runs, RUNS));
	after = least(listens, NULL, LIMIT * before);
	let_go(&runs);
	let_go(&self->h);
	expect_same("10 times listen(2), while another listens", before, after);
}

TEST_HARNESS_MAIN
