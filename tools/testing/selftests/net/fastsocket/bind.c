// SPDX-License-Identifier: GPL-2.0
/*
 * The children of a spawned listener are bound to its port in lists by CPU.
 * bind(2) and listen(2) decide as they do beside those of a plain one, and the
 * port is free when, and as long as, it would be.
 */
#include <sys/fsuid.h>
#include <net/if.h>

#include "lib.h"
#include "kselftest_harness.h"

#define PORTS	20000

enum addr { ANY4, LO4, OTHER4, ANY6, ANY6ONLY, LO6, MAPPED, ADDRS };

static const char * const addr_name[ADDRS] = {
	"0.0.0.0", "127.0.0.1", "127.0.0.2", "::", ":: v6only", "::1",
	"::ffff:127.0.0.1",
};

/* What a child is when somebody binds. */
enum child { OPEN, TIME_WAIT, CLOSE_WAIT, GONE, CHILDREN };

static const char * const child_name[CHILDREN] = {
	"open", "TIME_WAIT", "CLOSE_WAIT", "gone",
};

enum opts { REUSEADDR = 1, REUSEPORT = 2, DEVICE = 4, OTHER_UID = 8, OPTS = 16 };

/* Those of a listener that are tried. */
static const int listener_opts[] = { 0, REUSEADDR, REUSEPORT, REUSEADDR | REUSEPORT };

static socklen_t address(enum addr addr, int port, struct sockaddr_storage *ss)
{
	struct sockaddr_in6 *sin6 = (void *)ss;
	struct sockaddr_in *sin = (void *)ss;

	memset(ss, 0, sizeof(*ss));
	if (addr < ANY6) {
		sin->sin_family = AF_INET;
		sin->sin_port = htons(port);
		sin->sin_addr.s_addr = addr == ANY4 ? 0 :
			htonl(INADDR_LOOPBACK + (addr == OTHER4));
		return sizeof(*sin);
	}
	sin6->sin6_family = AF_INET6;
	sin6->sin6_port = htons(port);
	if (addr == LO6)
		sin6->sin6_addr = in6addr_loopback;
	if (addr == MAPPED)
		inet_pton(AF_INET6, "::ffff:127.0.0.1", &sin6->sin6_addr);
	return sizeof(*sin6);
}

/* Bind a new socket: the socket, or the negative errno. */
static int bound(enum addr addr, int port, int opts)
{
	struct sockaddr_storage ss;
	socklen_t len = address(addr, port, &ss);
	int fd, err = 0;

	if (opts & OTHER_UID)
		setfsuid(ALICE);
	fd = SYS(socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0));
	setfsuid(0);
	if (fd < 0)
		return fd;
	if (opts & REUSEADDR)
		err = err ?: set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (opts & REUSEPORT)
		err = err ?: set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (addr >= ANY6)
		err = err ?: set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, addr == ANY6ONLY);
	if (opts & DEVICE)
		err = err ?: SYS(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
	err = err ?: SYS(bind(fd, (struct sockaddr *)&ss, len));
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

/* A second task, so that a spawned socket is not plain, and who it serves. */
struct second {
	pthread_t thread;
	int lfd, epfd;
	atomic_int ready, end;
};

static void *second_run(void *arg)
{
	struct second *s = arg;

	s->epfd = consumer(s->lfd, EPOLLIN);
	atomic_store(&s->ready, 1);
	while (!atomic_load(&s->end))
		sleep_ms(1);
	close(s->epfd);
	return NULL;
}

struct port {
	int number;
	int lfd, epfd;
	int fd[2], peer[2], nr;
	struct second second;
	bool spawned;
};

/* Listen; two tasks look. */
static int port_open(struct port *p, enum addr addr, int opts, int number, bool spawn)
{
	int err;

	*p = (struct port){ .number = number, .spawned = spawn, .epfd = -1 };
	p->lfd = bound(addr, number, opts);
	if (p->lfd < 0)
		return p->lfd;
	err = SYS(listen(p->lfd, 64));
	if (err || !spawn)
		return err;
	err = fs_spawn(p->lfd, -1);
	if (err)
		return err;
	p->epfd = consumer(p->lfd, EPOLLIN);
	p->second.lfd = p->lfd;
	if (p->epfd < 0 || pthread_create(&p->second.thread, NULL, second_run, &p->second))
		return -EAGAIN;
	return WAIT_FOR(atomic_load(&p->second.ready)) ? 0 : -ETIMEDOUT;
}

static void port_unlisten(struct port *p)
{
	if (p->lfd < 0)
		return;
	if (p->spawned) {
		atomic_store(&p->second.end, 1);
		pthread_join(p->second.thread, NULL);
		close(p->epfd);
	}
	close(p->lfd);
	p->lfd = -1;
}

/* A connection to an address of the machine. */
static int port_connect(struct port *p, enum addr to)
{
	struct sockaddr_storage ss;
	socklen_t len = address(to, p->number, &ss);
	int fd = SYS(socket(ss.ss_family, SOCK_STREAM, 0)), err;

	if (fd < 0)
		return fd;
	err = connect_wait(fd, &ss, len);
	if (err)
		return err;
	p->peer[p->nr] = fd;
	p->fd[p->nr] = accept_wait(p->lfd);
	return p->fd[p->nr++] < 0 ? -EIO : 0;
}

/* One by each family that the listener has. */
static int port_connect_all(struct port *p, enum addr addr)
{
	int err = 0;

	if (addr != LO6 && addr != ANY6ONLY)
		err = port_connect(p, LO4);
	if (!err && (addr == LO6 || addr == ANY6ONLY || addr == ANY6))
		err = port_connect(p, LO6);
	return err;
}

static void reset(int fd)
{
	struct linger now = { 1, 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

static void port_child(struct port *p, enum child child)
{
	char c;
	int i;

	for (i = 0; i < p->nr; i++) {
		switch (child) {
		case TIME_WAIT:
			close(p->fd[i]);
			while (read(p->peer[i], &c, 1) > 0)
				;
			close(p->peer[i]);
			break;
		case CLOSE_WAIT:
			close(p->peer[i]);
			poll_one(p->fd[i], POLLIN, WAIT_MS);
			break;
		case GONE:
			reset(p->fd[i]);
			close(p->peer[i]);
			break;
		default:
			break;
		}
	}
}

static void port_end(struct port *p, enum child child)
{
	int i;

	port_unlisten(p);
	for (i = 0; i < p->nr; i++) {
		if (child == OPEN || child == CLOSE_WAIT)
			reset(p->fd[i]);
		if (child == OPEN)
			close(p->peer[i]);
	}
}

FIXTURE(bind)
{
	struct trace_left left;
	long long sharded;
};

FIXTURE_VARIANT(bind)
{
	enum addr addr;
};

FIXTURE_VARIANT_ADD(bind, any_v4) { ANY4 };
FIXTURE_VARIANT_ADD(bind, one_v4) { LO4 };
FIXTURE_VARIANT_ADD(bind, dual) { ANY6 };
FIXTURE_VARIANT_ADD(bind, any_v6) { ANY6ONLY };
FIXTURE_VARIANT_ADD(bind, one_v6) { LO6 };
FIXTURE_VARIANT_ADD(bind, mapped) { MAPPED };

FIXTURE_SETUP(bind)
{
	FS_NEED_CPUS(2);
	FS_REQUIRE();
	left_begin(&self->left);
	ASSERT_EQ(0, new_netns());
	/* Where the clients are somebody serves. */
	ASSERT_EQ(0, pin_to(cpu_id(0)));
	self->sharded = stat_total("hash_stat", "bound_local");
	ASSERT_EQ(0, self->sharded);
}

FIXTURE_TEARDOWN(bind)
{
}

/* What came of each attempt: 0, or an errno of bind(), or 1000 and one of listen(). */
typedef short decisions[ADDRS * OPTS];

static void attempt(int port, decisions *d)
{
	int addr, opts, n = 0, fd, err;

	for (addr = 0; addr < ADDRS; addr++) {
		for (opts = 0; opts < OPTS; opts++) {
			fd = bound(addr, port, opts);
			err = -fd;
			if (fd >= 0) {
				err = listen(fd, 1) ? 1000 + errno : 0;
				close(fd);
			}
			(*d)[n++] = err;
		}
	}
}

FS_TEST(bind, decides_as_beside_a_plain_one)
{
	int lopts, child, closed, spawn, n, number = PORTS, refused = 0, allowed = 0;
	decisions d[2];
	struct port p;

	for (lopts = 0; lopts < 4; lopts++)
	for (child = 0; child < CHILDREN; child++)
	for (closed = 0; closed < 2; closed++) {
		for (spawn = 0; spawn < 2; spawn++) {
			ASSERT_EQ(0, port_open(&p, variant->addr, listener_opts[lopts],
					       number++, spawn));
			ASSERT_EQ(0, port_connect_all(&p, variant->addr));
			if (closed)
				port_unlisten(&p);
			port_child(&p, child);
			attempt(p.number, &d[spawn]);
			port_end(&p, child);
		}
		for (n = 0; n < ADDRS * OPTS; n++) {
			EXPECT_EQ(d[0][n], d[1][n]) {
				TH_LOG("%s with options %d, %s, child %s: bind to %s with %d",
				       addr_name[variant->addr], listener_opts[lopts],
				       closed ? "closed" : "listening", child_name[child],
				       addr_name[n / OPTS], n % OPTS);
			}
			d[0][n] ? refused++ : allowed++;
		}
	}
	/* Both kinds of answers were seen, and lists by CPU used. */
	EXPECT_LT(500, refused);
	EXPECT_LT(500, allowed);
	EXPECT_LE(32, stat_total("hash_stat", "bound_local") - self->sharded);
}

/* A server is restarted again and again while connections of the ones before are in TIME_WAIT. */
FS_TEST(bind, a_port_is_listened_at_again)
{
	struct port p, other;
	int i;

	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, port_open(&p, variant->addr, REUSEADDR, PORTS, true));
		ASSERT_EQ(0, port_connect_all(&p, variant->addr));
		if (i % 3 == 0)
			port_unlisten(&p);
		port_child(&p, i % 2 ? TIME_WAIT : GONE);
		port_end(&p, TIME_WAIT);
	}
	EXPECT_LE(20, stat_total("hash_stat", "bound_local") - self->sharded);
	/* The port belongs to those in TIME_WAIT. */
	EXPECT_EQ(-EADDRINUSE, bound(variant->addr, PORTS, 0));

	/* Two listeners at once, of which one goes: the other's children are as before. */
	ASSERT_EQ(0, port_open(&p, variant->addr, REUSEPORT, PORTS + 1, true));
	ASSERT_EQ(0, port_open(&other, variant->addr, REUSEPORT, PORTS + 1, true));
	port_unlisten(&other);
	ASSERT_EQ(0, port_connect_all(&p, variant->addr));
	port_child(&p, GONE);
	port_end(&p, GONE);
	i = bound(variant->addr, PORTS + 1, 0);
	EXPECT_LE(0, i);
	close(i);
}

/* A connection that is undone, and its socket used for another: it is bound as any. */
FS_TEST(bind, a_child_becomes_something_else)
{
	struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
	struct sockaddr_storage ss;
	socklen_t len;
	struct port p;

	ASSERT_EQ(0, port_open(&p, variant->addr, REUSEADDR, PORTS, true));
	ASSERT_EQ(0, port_connect_all(&p, variant->addr));
	ASSERT_EQ(0, SYS(connect(p.fd[0], &nowhere, sizeof(nowhere))));
	len = address(variant->addr == ANY4 || variant->addr == LO4 ? LO4 :
		      variant->addr == MAPPED || variant->addr == ANY6 ? MAPPED : LO6,
		      PORTS + 1, &ss);
	EXPECT_EQ(0, SYS(bind(p.fd[0], (struct sockaddr *)&ss, len)));
	EXPECT_EQ(0, SYS(listen(p.fd[0], 1)));
	EXPECT_EQ(PORTS + 1, ntohs(port_by(p.fd[0], getsockname)));
	port_end(&p, OPEN);
}

/* How many buckets of ports there are, in all namespaces; a few more or less. */
static long long buckets(void)
{
	long long n = -ENOENT;
	char line[256];
	FILE *f;

	/* KASAN keeps what is freed until then. */
	file_write("/sys/kernel/slab/tcp_bind_bucket/shrink", "1");
	f = fopen("/proc/slabinfo", "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "tcp_bind_bucket %lld", &n) == 1)
			break;
	if (f)
		fclose(f);
	return n;
}

/* The last that leaves a port frees its bucket: the listener, or a connection, or one in TIME_WAIT. */
FS_TEST(bind, no_bucket_is_left)
{
	enum child child[] = { GONE, CLOSE_WAIT, OPEN };
	long long before = buckets();
	struct port p;
	int i;

	if (before < 0)
		FS_SKIP("a tcp_bind_bucket of its own in /proc/slabinfo");
	for (i = 0; i < 600; i++) {
		ASSERT_EQ(0, port_open(&p, variant->addr, 0, PORTS + i, true));
		ASSERT_EQ(0, port_connect(&p, variant->addr == LO6 || variant->addr == ANY6ONLY ?
					  LO6 : LO4));
		if (i % 2)
			port_unlisten(&p);
		port_child(&p, child[i % 3]);
		port_end(&p, child[i % 3]);
	}
	/* Each CPU keeps some that are free. */
	EXPECT_GT(before + 200, buckets());
}

/* Those that are left go with their namespace, and their bucket with them. */
FS_TEST(bind, they_go_with_their_namespace)
{
	const char *left;
	struct port p;
	pid_t pid;

	pid = fork_child();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (new_netns() || port_open(&p, variant->addr, REUSEADDR, PORTS, true) ||
		    port_connect_all(&p, variant->addr))
			_exit(1);
		port_unlisten(&p);
		port_child(&p, TIME_WAIT);
		_exit(0);
	}
	EXPECT_EQ(0, reap(pid));
	left = left_end(&self->left);
	EXPECT_TRUE(!left) {
		TH_LOG("left: %s", left);
	}
}

TEST_HARNESS_MAIN
