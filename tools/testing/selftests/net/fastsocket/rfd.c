// SPDX-License-Identifier: GPL-2.0
/*
 * Receive flow deliver: the port of an active connection names the CPU that
 * opened it, and so the connection's place in the established table. Wherever
 * its packets come from, and whichever place it has, it is found, and it is
 * there once.
 */
#include <math.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include "lib.h"
#include "tun.h"
#include "kselftest_harness.h"

/* What the module had before us it has after us. */
static int before;
static pid_t us;

static void __attribute__((constructor)) begin(void)
{
	us = getpid();
	before = fs_param("enable_receive_flow_deliver");
}

static void __attribute__((destructor)) end(void)
{
	if (getpid() == us && before == 0)
		fs_reload(2);
}

#define RANGE	"ip_local_port_range"
#define RESERVED "ip_local_reserved_ports"

FIXTURE(rfd) {
	struct listener l;
	/* Ports in this distance name the same CPU. */
	int step;
};

FIXTURE_VARIANT(rfd) {
	enum fam fam;
};

FIXTURE_VARIANT_ADD(rfd, v4) { V4 };
FIXTURE_VARIANT_ADD(rfd, v6) { V6 };

/* The CPU that a port names: by its bits above the lowest. */
static int named(in_port_t port, int step)
{
	return port / 2 % (step / 2);
}

/* Its port is below those of clients, as that of most servers. */
static int server(struct listener *l, enum fam fam)
{
	int ret = sysctl(RANGE, "10000 10999");

	if (!ret)
		ret = listener_open(l, fam, SOCK_NONBLOCK, false);
	if (!ret)
		ret = sysctl(RANGE, "32768 60999");
	return ret;
}

FIXTURE_SETUP(rfd)
{
	if (fs_load_with("enable_receive_flow_deliver=1"))
		FS_SKIP("fastsocket with enable_receive_flow_deliver=1");
	FS_NEED_CPUS(2);
	self->step = 2 * named_cpus();
	self->l.fd = -1;
	ASSERT_EQ(0, new_netns());
	ASSERT_EQ(0, server(&self->l, variant->fam));
}

FIXTURE_TEARDOWN(rfd)
{
	if (self->l.fd >= 0)
		close(self->l.fd);
}

/* One connection, from a CPU, as both ends have it. */
struct pair {
	int client;
	int server;
};

static int pair_with(struct pair *p, const struct listener *l, int client)
{
	p->client = client;
	if (client < 0)
		return client;
	p->server = accept_wait(l->fd);
	return p->server < 0 ? p->server : 0;
}

static int pair_open(struct pair *p, const struct listener *l, int cpu)
{
	int ret = pin_to(cpu);

	return ret ? ret : pair_with(p, l, client(l, 0));
}

static void pair_close(struct pair *p)
{
	close(p->client);
	close(p->server);
}

static in_port_t port_of(int fd)
{
	return ntohs(port_by(fd, getsockname));
}

FS_TEST(rfd, port_names_the_cpu)
{
	long long home = stat_total("hash_stat", "home");
	struct pair p;
	int i, j;

	for (i = 0; i < cpu_count(); i++) {
		for (j = 0; j < 20; j++) {
			ASSERT_EQ(0, pair_open(&p, &self->l, cpu_id(i)));
			EXPECT_EQ(cpu_id(i), named(port_of(p.client), self->step));
			EXPECT_EQ(0, port_of(p.client) % 2);
			EXPECT_EQ(0, talk(p.client, p.server));
			pair_close(&p);
		}
	}
	/* Both ends of each. */
	EXPECT_LE(home + 2 * 20 * i, stat_total("hash_stat", "home"));
	EXPECT_EQ(0, stat_total("steer_stat", "exhausted"));
}

/* bind() chooses for who will connect later, and keeps to the other parity. */
FS_TEST(rfd, bound_port_names_the_cpu)
{
	struct pair p;
	int i, j;

	/* SO_REUSEADDR has half of the range tried first. */
	if (64 * self->step > (61000 - 32768) / 2)
		SKIP(return, "too many CPUs");
	for (i = 0; i < cpu_count(); i++) {
		for (j = 0; j < 20; j++) {
			ASSERT_EQ(0, pin_to(cpu_id(i)));
			ASSERT_EQ(0, pair_with(&p, &self->l, client_from(&self->l, 0)));
			EXPECT_EQ(cpu_id(i), named(port_of(p.client), self->step));
			EXPECT_EQ(1, port_of(p.client) % 2);
			EXPECT_EQ(0, talk(p.client, p.server));
			pair_close(&p);
		}
	}
	EXPECT_EQ(0, stat_total("steer_stat", "exhausted"));
}

/*
 * How far each port is from the one before: from one step to eight, all as often.
 * Returns chi-square of that.
 */
static double surprise(const struct listener *l, int step)
{
	int port, last = 0, n = 0, others = 0, seen[8] = { 0 }, i;
	double expected, chi = 0;
	struct pair p;

	for (i = 0; i < 400; i++) {
		if (pair_open(&p, l, cpu_id(0)))
			return HUGE_VAL;
		port = port_of(p.client) - last;
		last += port;
		pair_close(&p);
		if (port > 0 && port <= 8 * step && port % step == 0) {
			seen[port / step - 1]++;
			n++;
		} else {
			others++;
		}
	}
	/* It begins somewhere else at the end of the range, and every ten seconds. */
	if (others > 40)
		return HUGE_VAL;
	expected = n / 8.0;
	for (i = 0; i < 8; i++)
		chi += (seen[i] - expected) * (seen[i] - expected) / expected;
	return chi;
}

/* Who has seen some ports does not know the next one. */
FS_TEST(rfd, port_is_a_surprise)
{
	double own, any;

	/* It would come to ports that it has had. */
	if (400 * 8 * self->step > 4 * (61000 - 32768))
		SKIP(return, "too many CPUs");
	own = surprise(&self->l, self->step);
	ASSERT_EQ(0, fs_set_param("enable_receive_flow_deliver", "0"));
	any = surprise(&self->l, 2);
	ASSERT_EQ(0, fs_set_param("enable_receive_flow_deliver", "1"));
	ksft_print_msg("chi-square of the lengths of steps: %.1f, and %.1f of stock's\n", own, any);
	/* Of seven degrees of freedom: it is more once in a million times. */
	EXPECT_GT(40, own);
	EXPECT_GT(40, any);
}

FS_TEST(rfd, reserved_ports_stay_free)
{
	int want = cpu_id(1), n = 64 * self->step, port, i, free_one = 32768 + 2 * want;
	char list[64 * 8] = "", range[32];
	struct pair p;

	snprintf(range, sizeof(range), "%d %d", 32768, 32768 + n - 1);
	ASSERT_EQ(0, sysctl(RANGE, range));
	/* All that name this CPU, but one. */
	for (port = free_one + self->step; port < 32768 + n; port += self->step)
		sprintf(list + strlen(list), "%s%d", *list ? "," : "", port);
	ASSERT_EQ(0, sysctl(RESERVED, list));
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, pair_open(&p, &self->l, want));
		port = port_of(p.client);
		EXPECT_LE(32768, port);
		EXPECT_GT(32768 + n, port);
		if (named(port, self->step) == want && port % 2 == 0)
			EXPECT_EQ(free_one, port);
		pair_close(&p);
	}
}

/* A socket that bind() has chosen a port for. */
static int bound(enum fam fam)
{
	struct sockaddr_storage ss = { .ss_family = fam == V4 ? AF_INET : AF_INET6 };
	int fd = SYS(socket(ss.ss_family, SOCK_STREAM, 0)), ret;

	if (fd < 0)
		return fd;
	ret = SYS(bind(fd, (void *)&ss, sizeof(ss)));
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

/* bind() takes others, too, and all of them. */
FS_TEST(rfd, all_ports_can_be_bound)
{
	int n = 64 * self->step, got, i;
	bool *seen = calloc(n, sizeof(*seen));
	char range[32];

	struct rlimit files = { 4 * n, 4 * n };

	if (n > 8192)
		SKIP(return, "too many CPUs");
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	sprintf(range, "%d %d", 32768, 32768 + n - 1);
	ASSERT_EQ(0, sysctl(RANGE, range));
	ASSERT_EQ(0, pin_to(cpu_id(1)));
	for (i = 0; i < n; i++) {
		got = bound(variant->fam);
		ASSERT_LE(0, got);
		got = port_of(got) - 32768;
		ASSERT_LE(0, got);
		ASSERT_GT(n, got);
		EXPECT_FALSE(seen[got]);
		seen[got] = true;
		/* As many tries find one of its own. */
		if (i < 32) {
			EXPECT_EQ(cpu_id(1), named(got, self->step));
			EXPECT_EQ(1, got % 2);
		}
	}
	EXPECT_EQ(-EADDRINUSE, bound(variant->fam));
	EXPECT_LT(0, stat_total("steer_stat", "exhausted"));
}

/* When a CPU has no ports left it takes others, to the last one. */
FS_TEST(rfd, all_ports_can_be_had)
{
	int n = 64 * self->step, got = 0, i, *fd = calloc(n + 1, sizeof(*fd));
	bool *seen = calloc(n, sizeof(*seen));
	char range[32];

	struct rlimit files = { 4 * n, 4 * n };

	if (n > 8192)
		SKIP(return, "too many CPUs");
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	sprintf(range, "%d %d", 32768, 32768 + n - 1);
	ASSERT_EQ(0, sysctl(RANGE, range));
	ASSERT_EQ(0, file_write("/proc/sys/net/core/somaxconn", "%d", n + 1));
	ASSERT_EQ(0, listen(self->l.fd, n + 1));
	ASSERT_EQ(0, pin_to(cpu_id(1)));
	for (i = 0; i < n; i++) {
		fd[i] = client(&self->l, 0);
		ASSERT_LE(0, fd[i]);
		got = port_of(fd[i]) - 32768;
		ASSERT_LE(0, got);
		ASSERT_GT(n, got);
		EXPECT_FALSE(seen[got]);
		seen[got] = true;
		/* Its own first, but for those that the pause leaves. */
		if (i < 64)
			EXPECT_EQ(cpu_id(1), named(got, self->step));
	}
	EXPECT_EQ(-EADDRNOTAVAIL, client(&self->l, 0));
	EXPECT_LT(0, stat_total("steer_stat", "exhausted"));
	/* One that goes can be had again. */
	for (i = 0; i < n; i++) {
		struct linger reset = { 1, 0 };

		setsockopt(fd[i], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(fd[i]);
	}
	i = client(&self->l, 0);
	EXPECT_LE(0, i);
	close(i);
	free(fd);
	free(seen);
}

/* With few ports it does not choose among fewer. */
FS_TEST(rfd, few_ports_are_as_ever)
{
	int i, j, port;
	bool others = false;
	struct pair p;

	ASSERT_EQ(0, sysctl(RANGE, "40000 40063"));
	for (i = 0; i < 2; i++) {
		for (j = 0; j < 16; j++) {
			ASSERT_EQ(0, pair_open(&p, &self->l, cpu_id(i)));
			port = port_of(p.client);
			others = others || named(port, self->step) != cpu_id(i);
			pair_close(&p);
		}
	}
	EXPECT_TRUE(others);
}

/* The same connection is there once, wherever each was put. */
FS_TEST(rfd, a_connection_is_unique)
{
	in_port_t port = port_that_names(self->step, cpu_id(0));
	int at_home, fd;
	struct pair p;

	for (at_home = 0; at_home < 2; at_home++) {
		long long home = stat_total("hash_stat", "home");

		ASSERT_EQ(0, pin_to(cpu_id(!at_home)));
		ASSERT_EQ(0, pair_with(&p, &self->l, client_from(&self->l, port)));
		EXPECT_EQ(home + 2 * at_home, stat_total("hash_stat", "home"));
		ASSERT_EQ(0, pin_to(cpu_id(at_home)));
		fd = client_from(&self->l, port);
		EXPECT_EQ(-EADDRNOTAVAIL, fd);
		ASSERT_EQ(0, pin_to(cpu_id(!at_home)));
		fd = client_from(&self->l, port);
		EXPECT_EQ(-EADDRNOTAVAIL, fd);
		EXPECT_EQ(0, talk(p.client, p.server));
		pair_close(&p);
		port += self->step;
	}
}

/* Packets come from any CPU. */
FS_TEST(rfd, is_found_from_everywhere)
{
	long long foreign = stat_total("hash_stat", "foreign_hit");
	struct pair p;
	int i;

	ASSERT_EQ(0, pair_open(&p, &self->l, cpu_id(0)));
	EXPECT_EQ(0, talk(p.client, p.server));
	for (i = cpu_count() - 1; i >= 0; i--) {
		ASSERT_EQ(0, pin_to(cpu_id(i)));
		EXPECT_EQ(0, talk(p.client, p.server));
		EXPECT_EQ(0, talk(p.server, p.client));
	}
	EXPECT_LT(foreign, stat_total("hash_stat", "foreign_hit"));
	pair_close(&p);
}

/*
 * The server's side waits in TIME_WAIT where it was, and the client takes the
 * port again, from another CPU.
 */
FS_TEST(rfd, time_wait_is_found_from_everywhere)
{
	in_port_t port = port_that_names(self->step, cpu_id(0));
	struct pair p;
	int i;
	char c;

	for (i = 0; i < 8 * cpu_count(); i++) {
		ASSERT_EQ(0, pin_to(cpu_id(i % cpu_count())));
		/* The one before waits for its last packet, on another CPU. */
		ASSERT_TRUE(WAIT_FOR((p.client = client_from(&self->l, port)) != -EADDRNOTAVAIL));
		ASSERT_EQ(0, pair_with(&p, &self->l, p.client));
		EXPECT_EQ(0, talk(p.client, p.server));
		close(p.server);
		ASSERT_EQ(0, pin_to(cpu_id((i + i / cpu_count()) % cpu_count())));
		EXPECT_EQ(0, read(p.client, &c, 1));
		close(p.client);
	}
}

/* It outlives the module, and who is new finds its way as well. */
FS_TEST(rfd, outlives_the_module)
{
	in_port_t port = port_that_names(self->step, cpu_id(0));
	struct pair p[2], q;
	int i;

	/* One is at home. */
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pin_to(cpu_id(i)));
		ASSERT_EQ(0, pair_with(&p[i], &self->l,
				       client_from(&self->l, port + i * self->step)));
	}
	ASSERT_EQ(0, fs_unload());
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pin_to(cpu_id(!i)));
		EXPECT_EQ(0, talk(p[i].client, p[i].server));
		EXPECT_EQ(-EADDRNOTAVAIL, client_from(&self->l, port + i * self->step));
	}
	ASSERT_EQ(0, pair_open(&q, &self->l, cpu_id(0)));
	EXPECT_EQ(0, talk(q.client, q.server));
	pair_close(&q);
	for (i = 0; i < 2; i++)
		pair_close(&p[i]);
}

/* Sockets of one protocol in /proc/net/tcp{,6} in a state, of any port. */
static int listed(const char *file, int state)
{
	char path[64], line[512];
	unsigned int st;
	int n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/thread-self/net/%s", file);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, " %*d: %*[^ ] %*[^ ] %x", &st) == 1 && (int)st == state)
			n++;
	}
	if (f)
		fclose(f);
	return n;
}

/* Whoever lists connections lists these. */
FS_TEST(rfd, is_listed)
{
	const char *file = variant->fam == V4 ? "tcp" : "tcp6";
	struct pair p[MAX_CPUS];
	int i;

	for (i = 0; i < cpu_count(); i++)
		ASSERT_EQ(0, pair_open(&p[i], &self->l, cpu_id(i)));
	EXPECT_EQ(2 * i, listed(file, 1 /* TCP_ESTABLISHED */));
	for (i = 0; i < cpu_count(); i++)
		pair_close(&p[i]);
	EXPECT_TRUE(WAIT_FOR(listed(file, 1) == 0));
	EXPECT_TRUE(WAIT_FOR(listed(file, 6 /* TCP_TIME_WAIT */) == i));
}

/* A table of the namespace's own: one that is divided, and one that is too small. */
FS_TEST(rfd, in_a_table_of_its_own)
{
	static const char *const sizes[] = { "65536", "16" };
	struct listener l;
	struct pair p[64];
	int i, j;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, sysctl("tcp_child_ehash_entries", sizes[i]));
		ASSERT_EQ(0, new_netns());
		ASSERT_EQ(0, server(&l, variant->fam));
		for (j = 0; j < 64; j++)
			ASSERT_EQ(0, pair_open(&p[j], &l, cpu_id(j % cpu_count())));
		EXPECT_EQ(i ? 0 : 2 * 64, stat_total("hash_stat", "home"));
		for (j = 0; j < 64; j++) {
			ASSERT_EQ(0, pin_to(cpu_id((j + 1) % cpu_count())));
			EXPECT_EQ(0, talk(p[j].client, p[j].server));
			pair_close(&p[j]);
		}
		close(l.fd);
	}
}

/*
 * Clients that move about and take the same few ports again and again, of
 * which most are in TIME_WAIT on one side or the other.
 */
static int roam(const struct listener *l, int seconds, unsigned int seed)
{
	long long end = now_ms() + seconds * 1000;
	int fd, n = 0, id = 0, back;
	char c;

	while (now_ms() < end) {
		pin_to(cpu_id(rand_r(&seed) % cpu_count()));
		fd = client(l, 0);
		/* All ports to this address are taken just now. */
		if (fd == -EADDRNOTAVAIL) {
			sleep_ms(1);
			continue;
		}
		if (fd < 0)
			return fd;
		if (!(rand_r(&seed) % 4))
			pin_to(cpu_id(rand_r(&seed) % cpu_count()));
		id++;
		if (write_full(fd, &id, sizeof(id)) != sizeof(id))
			return -EPIPE;
		if (!(rand_r(&seed) % 4))
			pin_to(cpu_id(rand_r(&seed) % cpu_count()));
		if (read_full(fd, &back, sizeof(back)) != sizeof(back) || back != id)
			return -EPROTO;
		/* Who closes first has TIME_WAIT. */
		if (rand_r(&seed) % 2 && read(fd, &c, 1))
			return -EBADMSG;
		close(fd);
		n++;
	}
	return n ? 0 : -ENODATA;
}

static void echo(const struct listener *l)
{
	int fd, id;

	set_nonblock(l->fd, false);
	while ((fd = accept(l->fd, NULL, NULL)) >= 0) {
		if (read_full(fd, &id, sizeof(id)) == sizeof(id))
			write_full(fd, &id, sizeof(id));
		close(fd);
	}
	_exit(1);
}

/* lo receives here, then there: each flow on one CPU for a tenth of a second. */
static void rotate(void)
{
	cpu_set_t set;
	int i;

	for (i = 0;; i++) {
		CPU_ZERO(&set);
		CPU_SET(cpu_id(i % cpu_count()), &set);
		CPU_SET(cpu_id((i + 1) % cpu_count()), &set);
		if (receive_on(&set))
			_exit(1);
		sleep_ms(100);
	}
}

/* No connection of theirs fails. Returns how many clients had one that did. */
static int roaming(FIXTURE_DATA(rfd) *self, bool packets, bool loss)
{
	int seconds = soaks() ? 60 : 3, clients = 2 * cpu_count(), failed = 0, i, ret;
	pid_t server[5], pid[2 * MAX_CPUS];
	char range[32];

	/* As few as a CPU wants to have. */
	snprintf(range, sizeof(range), "%d %d", 32768, 32768 + 64 * self->step - 1);
	if (sysctl(RANGE, range) || sysctl("tcp_tw_reuse", "1") || fs_spawn(self->l.fd, -1))
		return -1;
	if (loss && system("tc qdisc add dev lo root netem delay 1ms loss 5% reorder 25%"))
		return -1;
	for (i = 0; i < 5; i++) {
		server[i] = fork_child();
		if (!server[i] && i < 4)
			echo(&self->l);
		if (!server[i] && packets)
			rotate();
		if (!server[i])
			pause();
	}
	for (i = 0; i < clients; i++) {
		pid[i] = fork_child();
		if (!pid[i])
			_exit(-roam(&self->l, seconds, i));
	}
	/* They are not waited for so long. */
	sleep_ms(seconds * 1000);
	for (i = 0; i < clients; i++) {
		ret = reap(pid[i]);
		failed += ret != 0;
		if (ret)
			ksft_print_msg("a client: %d\n", ret);
	}
	ksft_print_msg("%lld at home, %lld packets from elsewhere, %lld times no port left\n",
		       stat_total("hash_stat", "home"), stat_total("hash_stat", "foreign_hit"),
		       stat_total("steer_stat", "exhausted"));
	for (i = 0; i < 5; i++) {
		kill(server[i], SIGKILL);
		reap(server[i]);
	}
	return failed;
}

FS_TEST(rfd, roaming_clients)
{
	EXPECT_EQ(0, roaming(self, false, false));
	EXPECT_LT(0, stat_total("hash_stat", "foreign_hit"));
}

FS_TEST(rfd, roaming_packets)
{
	EXPECT_EQ(0, roaming(self, true, false));
	EXPECT_LT(0, stat_total("hash_stat", "foreign_hit"));
}

/* SYNs and their answers are sent again, to other CPUs. */
FS_TEST(rfd, roaming_and_lost)
{
	EXPECT_EQ(0, roaming(self, true, true));
	EXPECT_LT(0, stat_total("hash_stat", "foreign_hit"));
}

/*
 * Two CPUs receive packets of the same connection at the same time, of which one
 * would put it at home, and the other not.
 */
FIXTURE(twins) {
	struct listener l;
	int step, tun;
};

FIXTURE_VARIANT(twins) {
	enum fam fam;
};

FIXTURE_VARIANT_ADD(twins, v4) { V4 };
FIXTURE_VARIANT_ADD(twins, v6) { V6 };

#define TWINS	1000

FIXTURE_SETUP(twins)
{
	struct sockaddr_storage ss = { .ss_family = variant->fam == V6 ? AF_INET6 : AF_INET };

	if (fs_load_with("enable_receive_flow_deliver=1"))
		FS_SKIP("fastsocket with enable_receive_flow_deliver=1");
	FS_NEED_CPUS(2);
	self->step = 2 * named_cpus();
	ASSERT_EQ(0, new_netns());
	self->tun = tun_open();
	if (self->tun < 0)
		FS_SKIP("TUN devices");
	ASSERT_EQ(0, file_write("/proc/sys/net/ipv4/tcp_max_syn_backlog", "%d", 2 * TWINS));
	ASSERT_EQ(0, file_write("/proc/sys/net/core/somaxconn", "%d", 2 * TWINS));
	self->l.fam = variant->fam;
	self->l.port = htons(80);
	self->l.fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	((struct sockaddr_in *)&ss)->sin_port = self->l.port;
	ASSERT_EQ(0, bind(self->l.fd, (void *)&ss, sizeof(ss)));
	ASSERT_EQ(0, listen(self->l.fd, 2 * TWINS));
}

FIXTURE_TEARDOWN(twins)
{
	close(self->l.fd);
	close(self->tun);
}

struct twin {
	int tun, cpu, ret;
	enum fam fam;
	const struct segment *s;
	atomic_int *arrived;
};

static void *twin_main(void *arg)
{
	struct twin *t = arg;
	int i;

	t->ret = pin_to(t->cpu);
	for (i = 0; i < TWINS; i++) {
		atomic_fetch_add(t->arrived, 1);
		while (atomic_load(t->arrived) < 2 * (i + 1))
			;
		if (!t->ret)
			t->ret = tun_put(t->tun, t->fam, &t->s[i]);
	}
	return NULL;
}

/* Each CPU puts its segments, at the same time as the other one. */
static int put_both(FIXTURE_DATA(twins) *self, const struct segment a[], const struct segment b[])
{
	atomic_int arrived = 0;
	struct twin t[2] = {
		{ self->tun, cpu_id(0), 0, self->l.fam, a, &arrived },
		{ self->tun, cpu_id(1), 0, self->l.fam, b, &arrived },
	};
	pthread_t thread[2];
	int i;

	for (i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, twin_main, &t[i]);
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	return t[0].ret ?: t[1].ret;
}

/* Ports that name the first CPU. */
static void syns(FIXTURE_DATA(twins) *self, struct segment s[])
{
	int i, port = 20000 / self->step * self->step + 2 * cpu_id(0);

	for (i = 0; i < TWINS; i++, port += self->step) {
		/* There are not so many: the first of two for each CPU will do. */
		if (port > 65000)
			port -= 45000 / self->step * self->step - 1;
		s[i] = (struct segment) { htons(port), self->l.port, i, 0, TUN_SYN };
	}
}

FS_TEST(twins, a_syn_makes_one_request)
{
	const char *file = variant->fam == V4 ? "tcp" : "tcp6";
	struct segment s[TWINS];

	syns(self, s);
	ASSERT_EQ(0, put_both(self, s, s));
	EXPECT_EQ(TWINS, listed(file, 3 /* TCP_SYN_RECV */));
	EXPECT_LT(0, stat_total("hash_stat", "home"));
}

/* A SYN, beside the last packet of a client that was given a cookie before. */
FS_TEST(twins, a_cookie_makes_one_connection)
{
	const char *file = variant->fam == V4 ? "tcp" : "tcp6";
	struct segment s[TWINS], ack[TWINS], got;
	int i, n;

	syns(self, s);
	ASSERT_EQ(0, sysctl("tcp_syncookies", "2"));
	for (i = 0; i < TWINS; i++) {
		ASSERT_EQ(0, tun_put(self->tun, variant->fam, &s[i]));
		ASSERT_TRUE(tun_get(self->tun, variant->fam, s[i].sport, &got, WAIT_MS));
		ack[i] = (struct segment) { s[i].sport, s[i].dport, i + 1, got.seq + 1, TUN_ACK };
	}
	ASSERT_EQ(0, sysctl("tcp_syncookies", "1"));
	ASSERT_EQ(0, put_both(self, s, ack));
	n = listed(file, 3) + listed(file, 1 /* TCP_ESTABLISHED */);
	ksft_print_msg("%d requests, %d connections of %d\n", listed(file, 3), listed(file, 1), i);
	EXPECT_GE(i, n);
	EXPECT_LT(0, n);
}

TEST_HARNESS_MAIN
