// SPDX-License-Identifier: GPL-2.0
/*
 * What a program sees and sets of a listening socket is one socket: its
 * identity does not change when it is spawned, options that are set later
 * count for every later connection wherever it is received, and the system's
 * tables show one listener.
 */
#include "lib.h"
#include <linux/filter.h>
#include "kselftest_harness.h"

FIXTURE(opt)
{
	struct listener l;
	int epfd[MAX_CPUS];
};

FIXTURE_VARIANT(opt)
{
	bool spawned;
	enum fam fam;
};

ADD_MODE_FAMILY_VARIANTS(opt);
FIXTURE_VARIANT_ADD(opt, spawned_dual) { true, DUAL };

FIXTURE_SETUP(opt)
{
	if (variant->spawned)
		FS_REQUIRE();
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK,
				   variant->spawned));
	ASSERT_EQ(cpu_count(), consumers(&self->l, self->epfd));
}

FIXTURE_TEARDOWN(opt) { }

static uint64_t cookie(int fd)
{
	socklen_t len = sizeof(uint64_t);
	uint64_t val = 0;

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &val, &len) ? 0 : val;
}

struct identity {
	int accepting, domain, type, protocol;
	uint64_t cookie;
	ino_t ino;
	char link[32];
	struct sockaddr_storage name;
};

static void identify(int fd, struct identity *id)
{
	socklen_t len = sizeof(id->name);
	char path[64];
	struct stat st;

	memset(id, 0, sizeof(*id));
	id->accepting = get_int(fd, SOL_SOCKET, SO_ACCEPTCONN);
	id->domain = get_int(fd, SOL_SOCKET, SO_DOMAIN);
	id->type = get_int(fd, SOL_SOCKET, SO_TYPE);
	id->protocol = get_int(fd, SOL_SOCKET, SO_PROTOCOL);
	id->cookie = cookie(fd);
	if (!fstat(fd, &st))
		id->ino = st.st_ino;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (readlink(path, id->link, sizeof(id->link) - 1) < 0)
		id->link[0] = 0;
	getsockname(fd, (void *)&id->name, &len);
}

FS_TEST(opt, identity)
{
	struct identity before, after;
	char link[32];
	struct listener l;
	int c, fd, i, epfd[MAX_CPUS];

	ASSERT_EQ(0, listener_open(&l, variant->fam, SOCK_NONBLOCK, false));
	identify(l.fd, &before);
	if (variant->spawned)
		ASSERT_EQ(0, fs_spawn(l.fd, -1));
	ASSERT_EQ(cpu_count(), consumers(&l, epfd));
	identify(l.fd, &after);
	EXPECT_EQ(1, after.accepting);
	EXPECT_EQ(variant->fam == V4 ? AF_INET : AF_INET6, after.domain);
	EXPECT_EQ(SOCK_STREAM, after.type);
	EXPECT_EQ(IPPROTO_TCP, after.protocol);
	snprintf(link, sizeof(link), "socket:[%lu]", (unsigned long)after.ino);
	EXPECT_STREQ(link, after.link);
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));

	/* Each child is somebody else. */
	for (i = 0; i < cpu_count(); i++) {
		c = client_on(&l, cpu_id(i), i);
		ASSERT_LE(0, c);
		fd = accept_wait(l.fd);
		ASSERT_LE(0, fd);
		identify(fd, &after);
		EXPECT_EQ(0, after.accepting);
		EXPECT_NE(before.cookie, after.cookie);
		EXPECT_NE(before.ino, after.ino);
	}
}

struct option {
	int level, opt, val;
};

static const struct option common_options[] = {
	{ SOL_SOCKET, SO_RCVBUF, 40000 },
	{ SOL_SOCKET, SO_SNDBUF, 50000 },
	{ SOL_SOCKET, SO_KEEPALIVE, 1 },
	{ SOL_SOCKET, SO_OOBINLINE, 1 },
	{ SOL_SOCKET, SO_PRIORITY, 5 },
	{ SOL_SOCKET, SO_MARK, 77 },
	{ SOL_SOCKET, SO_RCVLOWAT, 3 },
	{ IPPROTO_TCP, TCP_NODELAY, 1 },
	{ IPPROTO_TCP, TCP_KEEPIDLE, 1234 },
	{ IPPROTO_TCP, TCP_KEEPINTVL, 56 },
	{ IPPROTO_TCP, TCP_KEEPCNT, 7 },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT, 98765 },
	{ IPPROTO_TCP, TCP_SYNCNT, 3 },
	{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, 4321 },
};

static const struct option v4_options[] = {
	{ IPPROTO_IP, IP_TOS, 0x10 },
	{ IPPROTO_IP, IP_TTL, 99 },
	{ IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT },
};

static const struct option v6_options[] = {
	{ IPPROTO_IPV6, IPV6_UNICAST_HOPS, 99 },
	{ IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT },
	{ IPPROTO_IPV6, IPV6_RECVTCLASS, 1 },
};

/* What children have of an option that is set on @l: of one, from each CPU. */
static int inherited(const struct listener *l, const struct option *o, int *val)
{
	int i, c, fd, ret = 0;

	for (i = 0; i < cpu_count() && !ret; i++) {
		c = client_on(l, cpu_id(i), 1);
		fd = c < 0 ? c : accept_wait(l->fd);
		if (fd < 0)
			return fd;
		val[i] = get_int(fd, o->level, o->opt);
		ret = val[i] < 0 ? val[i] : talk(c, fd);
		close(c);
		close(fd);
	}
	return ret;
}

/*
 * A plain socket beside ours is asked, too: some options are not inherited,
 * and some not exactly.
 */
static void compare(struct __test_metadata *_metadata, const struct listener *l,
		    const struct option *o, int nr)
{
	int want[MAX_CPUS], got[MAX_CPUS], i, ret;
	struct listener plain;

	ASSERT_EQ(0, listener_open(&plain, l->fam, SOCK_NONBLOCK, false));
	for (; nr--; o++) {
		ret = set_int(plain.fd, o->level, o->opt, o->val);
		ASSERT_EQ(ret, set_int(l->fd, o->level, o->opt, o->val));
		ASSERT_EQ(0, ret)
			TH_LOG("option %d of level %d", o->opt, o->level);
		EXPECT_EQ(get_int(plain.fd, o->level, o->opt),
			  get_int(l->fd, o->level, o->opt));
		ASSERT_EQ(0, inherited(&plain, o, want));
		ASSERT_EQ(0, inherited(l, o, got));
		for (i = 0; i < cpu_count(); i++)
			EXPECT_EQ(want[i], got[i])
				TH_LOG("option %d of level %d, CPU %d",
				       o->opt, o->level, cpu_id(i));
	}
	close(plain.fd);
}

FS_TEST(opt, set_later)
{
	compare(_metadata, &self->l, common_options, ARRAY_SIZE(common_options));
	if (variant->fam == V4)
		compare(_metadata, &self->l, v4_options, ARRAY_SIZE(v4_options));
	else
		compare(_metadata, &self->l, v6_options, ARRAY_SIZE(v6_options));
	/* A second time, with all the others set. */
	compare(_metadata, &self->l, common_options, ARRAY_SIZE(common_options));
}

FS_TEST(opt, congestion_control)
{
	char name[16];
	socklen_t len;
	int i, c, fd;

	ASSERT_EQ(0, setsockopt(self->l.fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	for (i = 0; i < cpu_count(); i++) {
		c = client_on(&self->l, cpu_id(i), i);
		ASSERT_LE(0, c);
		fd = accept_wait(self->l.fd);
		ASSERT_LE(0, fd);
		memset(name, 0, sizeof(name));
		len = sizeof(name) - 1;
		ASSERT_EQ(0, getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len));
		EXPECT_STREQ("reno", name);
		close(c);
		close(fd);
	}
}

FS_TEST(opt, bad_option)
{
	int val = 1;

	EXPECT_EQ(-ENOPROTOOPT, set_int(self->l.fd, SOL_SOCKET, 0x7777, 1));
	EXPECT_EQ(-ENOPROTOOPT, set_int(self->l.fd, IPPROTO_TCP, 0x7777, 1));
	EXPECT_EQ(-EINVAL, SYS(setsockopt(self->l.fd, SOL_SOCKET, SO_RCVBUF, &val, 2)));
	EXPECT_EQ(-EFAULT, SYS(setsockopt(self->l.fd, SOL_SOCKET, SO_RCVBUF, (void *)8, 4)));
	EXPECT_EQ(-EFAULT, SYS(setsockopt(self->l.fd, IPPROTO_TCP, TCP_NODELAY, (void *)8, 4)));
	EXPECT_EQ(-EINVAL, set_int(self->l.fd, IPPROTO_TCP, TCP_KEEPCNT, 0));
	EXPECT_FALSE(refused(&self->l, 0));
}

/* An option set while connections are queued everywhere does not lose them. */
FS_TEST(opt, set_with_queue)
{
	int i, round, n = 2 * cpu_count(), c[2 * MAX_CPUS], fd;

	for (round = 0; round < 4; round++) {
		for (i = 0; i < n; i++) {
			c[i] = client_on(&self->l, cpu_id(i), i);
			ASSERT_LE(0, c[i]);
		}
		ASSERT_EQ(0, set_int(self->l.fd, IPPROTO_TCP, TCP_NODELAY, round & 1));
		for (i = 0; i < n; i++) {
			fd = accept_wait(self->l.fd);
			ASSERT_LE(0, fd);
			close(fd);
		}
		EXPECT_EQ(-EAGAIN, SYS(accept(self->l.fd, NULL, NULL)));
		for (i = 0; i < n; i++) {
			char byte;

			EXPECT_EQ(0, SYS(read(c[i], &byte, 1)));
			close(c[i]);
		}
	}
}

struct starter {
	const struct listener *l;
	int cpu, n, fd;
};

static void *starter_main(void *arg)
{
	struct starter *s = arg;

	pin_to(s->cpu);
	s->fd = client_start(s->l, s->n);
	return NULL;
}

/* Start to connect from each CPU; how many get through in a while. */
static int get_through(const struct listener *l, int timeout_ms)
{
	struct pollfd pfd[MAX_CPUS];
	struct starter s = { .l = l };
	int i, n = cpu_count(), done = 0;
	pthread_t thread;

	for (i = 0; i < n; i++) {
		s.cpu = cpu_id(i);
		s.n = i;
		if (pthread_create(&thread, NULL, starter_main, &s))
			return -EAGAIN;
		pthread_join(thread, NULL);
		pfd[i] = (struct pollfd){ .fd = s.fd, .events = POLLOUT };
	}
	if (timeout_ms)
		sleep_ms(timeout_ms);
	for (i = 0; i < n; i++) {
		done += poll(&pfd[i], 1, timeout_ms ? 0 : WAIT_MS) == 1 &&
			pfd[i].revents == POLLOUT;
		close(pfd[i].fd);
	}
	return done;
}

FS_TEST(opt, filter)
{
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_filter pass = BPF_STMT(BPF_RET | BPF_K, 0xffff);
	struct sock_fprog prog = { 1, &drop };

	EXPECT_EQ(cpu_count(), get_through(&self->l, 0));
	ASSERT_EQ(0, setsockopt(self->l.fd, SOL_SOCKET, SO_ATTACH_FILTER,
				&prog, sizeof(prog)));
	EXPECT_EQ(0, get_through(&self->l, QUIET_MS));
	prog.filter = &pass;
	ASSERT_EQ(0, setsockopt(self->l.fd, SOL_SOCKET, SO_ATTACH_FILTER,
				&prog, sizeof(prog)));
	EXPECT_EQ(cpu_count(), get_through(&self->l, 0));
	ASSERT_EQ(0, set_int(self->l.fd, SOL_SOCKET, SO_DETACH_FILTER, 0));
	EXPECT_EQ(cpu_count(), get_through(&self->l, 0));
}

FS_TEST(opt, md5)
{
	struct tcp_md5sig key = { .tcpm_keylen = 3, .tcpm_key = "key" };

	/* For the address from which all clients come. */
	listener_addr(&self->l, variant->fam == V6, (void *)&key.tcpm_addr);
	if (variant->fam == DUAL)
		SKIP(return, "keys by family: see the others");
	if (setsockopt(self->l.fd, IPPROTO_TCP, TCP_MD5SIG, &key, sizeof(key)))
		SKIP(return, "no TCP MD5 signatures in this kernel");
	/* Who does not sign is not heard, on any CPU. */
	EXPECT_EQ(0, get_through(&self->l, QUIET_MS));
	key.tcpm_keylen = 0;
	ASSERT_EQ(0, setsockopt(self->l.fd, IPPROTO_TCP, TCP_MD5SIG, &key, sizeof(key)));
	EXPECT_EQ(cpu_count(), get_through(&self->l, 0));
}

/* Rows of a listener in /proc/net/tcp or tcp6, and what it has queued. */
static int proc_rows(const struct listener *l, int *queued, unsigned long *ino)
{
	const char *path = l->fam == V4 ? "/proc/net/tcp" : "/proc/net/tcp6";
	unsigned int port, state, rx;
	unsigned long inode;
	char line[512];
	int rows = 0;
	FILE *f;

	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, " %*d: %*[0-9A-F]:%x %*[0-9A-F]:%*x %x %*x:%x %*x:%*x %*x %*u %*u %lu",
			   &port, &state, &rx, &inode) != 4)
			continue;
		if (state != TCP_LISTEN || port != ntohs(l->port))
			continue;
		rows++;
		*queued = rx;
		*ino = inode;
	}
	if (f)
		fclose(f);
	return rows;
}

FS_TEST(opt, one_row)
{
	int i, n = 2 * cpu_count(), queued = -1;
	socklen_t len = sizeof(struct tcp_info);
	unsigned long ino = 0;
	struct tcp_info ti;
	struct stat st;

	ASSERT_EQ(0, listen(self->l.fd, 300));
	for (i = 0; i < n; i++)
		ASSERT_LE(0, client_on(&self->l, cpu_id(i), i));
	/* All are queued, whichever queue it is. */
	ASSERT_TRUE(WAIT_FOR(proc_rows(&self->l, &queued, &ino) == 1 && queued == n))
		TH_LOG("%d rows, %d queued", proc_rows(&self->l, &queued, &ino), queued);
	ASSERT_EQ(0, fstat(self->l.fd, &st));
	EXPECT_EQ(st.st_ino, ino);
	ASSERT_EQ(0, getsockopt(self->l.fd, IPPROTO_TCP, TCP_INFO, &ti, &len));
	EXPECT_EQ(TCP_LISTEN, ti.tcpi_state);
	EXPECT_EQ(300, ti.tcpi_sacked);
	EXPECT_EQ(n, ti.tcpi_unacked);
	for (i = 0; i < n; i++)
		EXPECT_LE(0, accept_wait(self->l.fd));
	EXPECT_EQ(1, proc_rows(&self->l, &queued, &ino));
	EXPECT_EQ(0, queued);
	close(self->l.fd);
	EXPECT_EQ(0, proc_rows(&self->l, &queued, &ino));
}

/* What waits in a queue of one CPU is told before it is moved to that of all. */
FS_TEST(opt, queued_anywhere)
{
	int c, fd, queued, tries, epfd[MAX_CPUS];
	socklen_t len = sizeof(struct tcp_info);
	long long pushed = 0, local = 0;
	bool seen = false;
	struct tcp_info ti;
	unsigned long ino;

	ASSERT_EQ(cpu_count(), consumers(&self->l, epfd));
	for (tries = 0; !seen && tries < 1000; tries++) {
		if (variant->spawned) {
			pushed = stat_total("fsocket_stats", "pushed");
			local = stat_total("hash_stat", "lookup_local");
		}
		c = client_on(&self->l, cpu_id(tries), 0);
		ASSERT_LE(0, c);
		ASSERT_EQ(POLLIN, poll_one(self->l.fd, POLLIN, WAIT_MS));
		ASSERT_EQ(0, getsockopt(self->l.fd, IPPROTO_TCP, TCP_INFO, &ti, &len));
		ASSERT_EQ(1, proc_rows(&self->l, &queued, &ino));
		seen = ti.tcpi_unacked == 1 && queued == 1 &&
		       (!variant->spawned ||
			(pushed == stat_total("fsocket_stats", "pushed") &&
			 local != stat_total("hash_stat", "lookup_local")));
		fd = accept_wait(self->l.fd);
		ASSERT_LE(0, fd);
		close(fd);
		close(c);
	}
	EXPECT_TRUE(seen);
}

/* The same by ss, which asks in another way. */
FS_TEST(opt, queued_by_ss)
{
	int i, n = 2 * cpu_count(), rows, queued = -1, backlog = -1, rx, tx;
	char cmd[128], line[256];
	FILE *f;

	if (system("ss -V >/dev/null 2>&1"))
		SKIP(return, "needs ss");
	snprintf(cmd, sizeof(cmd), "ss -Hltn sport = :%d", ntohs(self->l.port));
	ASSERT_EQ(0, listen(self->l.fd, 300));
	for (i = 0; i < n; i++)
		ASSERT_LE(0, client_on(&self->l, cpu_id(i), i));
	ASSERT_TRUE(WAIT_FOR(({
		rows = 0;
		f = popen(cmd, "r");
		while (f && fgets(line, sizeof(line), f))
			if (sscanf(line, "LISTEN %d %d", &rx, &tx) == 2) {
				rows++;
				queued = rx;
				backlog = tx;
			}
		if (f)
			pclose(f);
		rows == 1 && queued == n;
	}))) TH_LOG("%d rows, %d queued", rows, queued);
	EXPECT_EQ(300, backlog);
}

FS_TEST(opt, other_backlog)
{
	socklen_t len = sizeof(struct tcp_info);
	struct tcp_info ti;
	int i;

	for (i = 1; i < 100; i += 33) {
		ASSERT_EQ(0, listen(self->l.fd, i));
		ASSERT_EQ(0, getsockopt(self->l.fd, IPPROTO_TCP, TCP_INFO, &ti, &len));
		EXPECT_EQ(i, ti.tcpi_sacked);
	}
	EXPECT_EQ(cpu_count(), get_through(&self->l, 0));
}

TEST_HARNESS_MAIN
