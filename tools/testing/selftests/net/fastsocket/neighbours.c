// SPDX-License-Identifier: GPL-2.0
/*
 * What else replaces, copies or caches the operations, the protocol or the
 * callbacks of a TCP socket: upper layer protocols (kTLS, ESP in TCP), sockmap,
 * SMC, MPTCP and IPV6_ADDRFORM. A spawned socket meets each of them at every
 * point of its life: all sequences of a few operations are tried. Each is done
 * to a plain socket as well, which gives the right answers. After each, kTLS
 * works for other sockets of the family; at the end nothing is left.
 */
#include <linux/bpf.h>
#include <linux/tls.h>
#include "lib.h"
#include "kselftest_harness.h"

#ifndef AF_SMC
#define AF_SMC		43
#endif
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP	262
#endif
#ifndef TCP_ULP
#define TCP_ULP		31
#endif
#ifndef SOL_TLS
#define SOL_TLS		282
#endif

/* Operations of the longest sequences, if FASTSOCKET_SEQUENCE does not say. */
#define SEQUENCE	3

/* The socket that a sequence starts with. */
enum object {
	LISTENER,
	/* Takes TCP connections as well. */
	MPTCP_LISTENER,
	/* What an MPTCP listener accepts from a client that has no MPTCP. */
	MPTCP_CHILD,
	SMC_LISTENER,
	/* An SMC socket that was turned into its TCP socket before it listened. */
	SMC_FALLBACK,
};

/* What the letters of a sequence mean. */
enum op {
	SPAWN,
	SHUTDOWN,
	/* connect() with AF_UNSPEC. */
	DISCONNECT,
	CONNECT,
	LISTEN,
	/* What the variant is about. */
	NEIGHBOUR,
	OPS
};

enum neighbour { TLS, ESPINTCP, ULP_SMC, ULP_MPTCP, SOCKMAP, ADDRFORM };

static const char *const ulps[] = { "tls", "espintcp", "smc", "mptcp" };

FIXTURE(next)
{
	struct trace_left left;
	struct listener helper;
	int map;
	/* Of one sequence. */
	int fd, twin;
	in_port_t port, twin_port;
};

FIXTURE_VARIANT(next)
{
	enum object object;
	enum neighbour neighbour;
	enum fam fam;
	uid_t uid;
	bool spawn;
};

#define NEXT(name, object, neighbour, uid)				\
	FIXTURE_VARIANT_ADD(next, name##_v4) { object, neighbour, V4, uid, true }; \
	FIXTURE_VARIANT_ADD(next, name##_v6) { object, neighbour, V6, uid, true }

FIXTURE_VARIANT_ADD(next, plain_v4) { LISTENER, TLS, V4, 0, false };
FIXTURE_VARIANT_ADD(next, plain_v6) { LISTENER, ESPINTCP, V6, 0, false };
FIXTURE_VARIANT_ADD(next, plain_dual) { LISTENER, ADDRFORM, DUAL, 0, false };
NEXT(tls, LISTENER, TLS, NOBODY);
NEXT(tls_root, LISTENER, TLS, 0);
NEXT(espintcp, LISTENER, ESPINTCP, NOBODY);
NEXT(ulp_smc, LISTENER, ULP_SMC, NOBODY);
NEXT(ulp_mptcp, LISTENER, ULP_MPTCP, NOBODY);
NEXT(sockmap, LISTENER, SOCKMAP, NOBODY);
NEXT(mptcp_listener, MPTCP_LISTENER, TLS, NOBODY);
NEXT(mptcp_child, MPTCP_CHILD, TLS, NOBODY);
NEXT(smc_listener, SMC_LISTENER, TLS, NOBODY);
NEXT(smc_fallback, SMC_FALLBACK, TLS, NOBODY);
FIXTURE_VARIANT_ADD(next, addrform) { LISTENER, ADDRFORM, DUAL, NOBODY, true };
FIXTURE_VARIANT_ADD(next, tls_dual) { LISTENER, TLS, DUAL, NOBODY, true };

static int bpf(int cmd, union bpf_attr *attr)
{
	return SYS(syscall(__NR_bpf, cmd, attr, sizeof(*attr)));
}

static int sockmap_create(void)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_SOCKMAP,
		.key_size = sizeof(int),
		.value_size = sizeof(int),
		.max_entries = 4,
	};

	return bpf(BPF_MAP_CREATE, &attr);
}

static int sockmap_put(int map, int key, int fd)
{
	union bpf_attr attr = { .map_fd = map };

	attr.key = (unsigned long)&key;
	attr.value = (unsigned long)&fd;
	return bpf(BPF_MAP_UPDATE_ELEM, &attr);
}

/* A connection to the helper, which nothing lasts of when it is closed. */
struct pair {
	int c, s;
};

static int pair_open(struct pair *p, const struct listener *helper)
{
	struct linger abort = { .l_onoff = 1 };

	p->c = client(helper, 0);
	if (p->c < 0)
		return p->c;
	p->s = accept_wait(helper->fd);
	if (p->s < 0)
		return p->s;
	return SYS(setsockopt(p->c, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort)));
}

static void pair_close(struct pair *p)
{
	close(p->c);
	close(p->s);
}

static int ulp(int fd, const char *name)
{
	return SYS(setsockopt(fd, IPPROTO_TCP, TCP_ULP, name, strlen(name)));
}

/*
 * kTLS copies the operations of the first socket of a family that asks for it,
 * and again when one comes with another protocol, as sockmap gives it: after
 * this, the next one is the first.
 */
static int tls_forget(const struct listener *helper, int map)
{
	struct pair p;
	int ret = pair_open(&p, helper);

	if (!ret)
		ret = sockmap_put(map, 3, p.c);
	if (!ret)
		ret = ulp(p.c, "tls");
	pair_close(&p);
	return ret;
}

static int tls_keys(int fd, int direction)
{
	struct tls12_crypto_info_aes_gcm_128 keys = {
		.info = { TLS_1_2_VERSION, TLS_CIPHER_AES_GCM_128 },
		.key = "fastsocket tests",
	};

	return SYS(setsockopt(fd, SOL_TLS, direction, &keys, sizeof(keys)));
}

/* Somebody else's kTLS: what one end encrypts the other decrypts. */
static int tls_talk(const struct listener *helper)
{
	struct pair p;
	int ret = pair_open(&p, helper);

	if (!ret)
		ret = ulp(p.c, "tls");
	if (!ret)
		ret = ulp(p.s, "tls");
	if (!ret)
		ret = tls_keys(p.c, TLS_TX);
	if (!ret)
		ret = tls_keys(p.c, TLS_RX);
	if (!ret)
		ret = tls_keys(p.s, TLS_TX);
	if (!ret)
		ret = tls_keys(p.s, TLS_RX);
	if (!ret)
		ret = talk(p.c, p.s);
	pair_close(&p);
	return ret;
}

FIXTURE_SETUP(next)
{
	FS_REQUIRE();
	ASSERT_EQ(0, new_netns());
	self->map = sockmap_create();
	if (self->map < 0)
		FS_SKIP("sockmap");
	ASSERT_EQ(0, listener_open(&self->helper, variant->fam == V4 ? V4 : V6,
				   SOCK_NONBLOCK, false));
	if (tls_forget(&self->helper, self->map) || tls_talk(&self->helper))
		FS_SKIP("kTLS");
	left_begin(&self->left);
}

FIXTURE_TEARDOWN(next) { }

static in_port_t port_of(int fd)
{
	struct sockaddr_in6 a = { 0 };
	socklen_t len = sizeof(a);

	/* It is at the same place in both families. */
	return getsockname(fd, (void *)&a, &len) ? 0 : a.sin6_port;
}

static int bind_any(int fd, enum fam fam)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in a4 = { .sin_family = AF_INET };

	if (fam == V4)
		return SYS(bind(fd, (void *)&a4, sizeof(a4)));
	set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, fam == V6);
	return SYS(bind(fd, (void *)&a6, sizeof(a6)));
}

static int object_socket(enum object object, enum fam fam)
{
	int family = fam == V4 ? AF_INET : AF_INET6;
	int type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;

	switch (object) {
	case MPTCP_LISTENER:
	case MPTCP_CHILD:
		return SYS(socket(family, type, IPPROTO_MPTCP));
	case SMC_LISTENER:
	case SMC_FALLBACK:
		return SYS(socket(AF_SMC, type, fam == V4 ? 0 : 1));
	default:
		return SYS(socket(family, type, 0));
	}
}

/* Exchange a listener for what it accepts. */
static int object_child(int lfd, enum fam fam)
{
	struct listener l = { .fd = lfd, .fam = fam, .port = port_of(lfd) };
	int c = client(&l, 0), fd = accept_wait(lfd);

	close(c);
	close(lfd);
	return fd;
}

static int object_open(enum object object, enum fam fam)
{
	struct linger abort = { .l_onoff = 1 };
	int fd = object_socket(object, fam), ret;

	if (fd < 0)
		return fd;
	/* For SMC, this is what it has no equivalent of. */
	ret = object == SMC_FALLBACK ? set_int(fd, IPPROTO_TCP, TCP_FASTOPEN, 4) : 0;
	if (!ret)
		ret = bind_any(fd, fam);
	if (!ret)
		ret = SYS(listen(fd, 16));
	if (!ret && object == MPTCP_CHILD) {
		fd = object_child(fd, fam);
		ret = fd < 0 ? fd : 0;
	}
	if (!ret)
		ret = SYS(setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort)));
	return ret ? ret : fd;
}

static int connect_to(int fd, const struct listener *helper, enum fam fam)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = helper->port };
	struct sockaddr_storage ss;
	socklen_t len = listener_addr(helper, 0, &ss);
	int ret, s;

	if (fam != DUAL) {
		ret = SYS(connect(fd, (void *)&ss, len));
	} else {
		/* IPv4 by an IPv6 socket, which IPV6_ADDRFORM wants. */
		inet_pton(AF_INET6, "::ffff:127.0.0.1", &a6.sin6_addr);
		ret = SYS(connect(fd, (void *)&a6, sizeof(a6)));
	}
	if (ret == -EINPROGRESS)
		ret = poll_one(fd, POLLOUT, WAIT_MS) & POLLOUT ?
			-get_int(fd, SOL_SOCKET, SO_ERROR) : -ETIMEDOUT;
	do {
		s = SYS(accept4(helper->fd, NULL, NULL, SOCK_CLOEXEC));
		close(s);
	} while (s >= 0);
	return ret;
}

static int disconnect(int fd)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };

	return SYS(connect(fd, &none, sizeof(none)));
}

/* Only root may put a socket into a map, but it may be anybody's. */
static int put_as_root(int map, int key, int fd)
{
	uid_t uid = geteuid();
	int ret = seteuid(0);

	if (!ret)
		ret = sockmap_put(map, key, fd);
	return seteuid(uid) ? -errno : ret;
}

static int neighbour(enum neighbour n, int fd, int map, int key)
{
	switch (n) {
	case SOCKMAP:
		return put_as_root(map, key, fd);
	case ADDRFORM:
		return set_int(fd, IPPROTO_IPV6, IPV6_ADDRFORM, AF_INET);
	default:
		return ulp(fd, ulps[n]);
	}
}

static int do_op(enum op op, int fd, const FIXTURE_DATA(next) *self,
		 const FIXTURE_VARIANT(next) *variant)
{
	switch (op) {
	case SHUTDOWN:
		return SYS(shutdown(fd, SHUT_RD));
	case DISCONNECT:
		return disconnect(fd);
	case CONNECT:
		return connect_to(fd, &self->helper, variant->fam);
	case LISTEN:
		return SYS(listen(fd, 16));
	case NEIGHBOUR:
		return neighbour(variant->neighbour, fd, self->map, fd == self->twin);
	default:
		return 0;
	}
}

/* Whatever listens may be spawned, if it is TCP and nobody else's as well. */
static bool spawn_is_right(int ret, bool listens)
{
	if (!listens)
		return ret == -EINVAL || ret == -EOPNOTSUPP;
	return !ret || ret == -EOPNOTSUPP;
}

/* The @n-th connection arrives, and where a plain socket serves it, is served. */
static int serve(int lfd, enum fam fam, int n)
{
	struct listener l = { .fd = lfd, .fam = fam, .port = port_of(lfd) };
	int c = client(&l, n), fd, ret;

	if (c < 0)
		return c;
	fd = accept_wait(lfd);
	ret = fd < 0 ? fd : talk(c, fd);
	close(fd);
	close(c);
	return ret;
}

/* What went wrong: a test that fails by an assertion does not write out more. */
static char why[128];
static const char letters[OPS + 1] = "SDUCLN";

#define say(fmt, ...) snprintf(why, sizeof(why), fmt, ##__VA_ARGS__)

/* The name of a sequence, for the log. */
static const char *name_of(const enum op *ops, int n)
{
	static char name[16];
	int i;

	for (i = 0; i < n; i++)
		name[i] = letters[ops[i]];
	name[n] = 0;
	return name;
}

/* One operation, on both sockets alike; returns an error, or 0. */
static int step(enum op op, FIXTURE_DATA(next) *self, const FIXTURE_VARIANT(next) *variant)
{
	bool listens = get_int(self->twin, SOL_SOCKET, SO_ACCEPTCONN) == 1;
	int ret, want;

	if (op == SPAWN) {
		ret = variant->spawn ? fs_spawn(self->fd, -1) : 0;
		say("S: %d of a socket that listens: %d", ret, listens);
		return !variant->spawn || spawn_is_right(ret, listens) ? 0 : ret ? ret : -EIO;
	}
	/* First the spawned one: what is cached of the first must be right. */
	ret = do_op(op, self->fd, self, variant);
	want = do_op(op, self->twin, self, variant);
	if (ret == want)
		return 0;
	say("%c: %d, and on a plain socket %d", letters[op], ret, want);
	return ret ? ret : -EIO;
}

/* What is left of the socket is a socket: it can listen again, if a plain can. */
static int finish(FIXTURE_DATA(next) *self, const FIXTURE_VARIANT(next) *variant)
{
	static const enum op again[] = { DISCONNECT, LISTEN, SPAWN };
	int i, ret, want;

	poll_one(self->fd, POLLIN, 0);
	for (i = 0; i < ARRAY_SIZE(again); i++) {
		ret = step(again[i], self, variant);
		if (ret)
			return ret;
	}
	if (get_int(self->twin, SOL_SOCKET, SO_ACCEPTCONN) != 1)
		return 0;
	want = serve(self->twin, variant->fam, 0);
	ret = serve(self->fd, variant->fam, 0);
	if (ret == want)
		return 0;
	say("a connection: %d, and on a plain socket %d", ret, want);
	return ret ? ret : -EIO;
}

static int play(const enum op *ops, int n, FIXTURE_DATA(next) *self,
		const FIXTURE_VARIANT(next) *variant)
{
	int i, ret = 0;

	if (seteuid(variant->uid))
		return -errno;
	self->fd = object_open(variant->object, variant->fam);
	self->twin = object_open(variant->object, variant->fam);
	if (self->fd < 0 || self->twin < 0)
		return self->fd < 0 ? self->fd : self->twin;
	for (i = 0; i < n && !ret; i++)
		ret = step(ops[i], self, variant);
	if (!ret) {
		say("kTLS of others, while it is open");
		ret = tls_talk(&self->helper);
	}
	if (!ret)
		ret = finish(self, variant);
	close(self->fd);
	close(self->twin);
	if (!ret) {
		say("kTLS of others, when it is closed");
		ret = tls_talk(&self->helper);
	}
	return seteuid(0) ? -errno : ret;
}

/* The next one of all sequences of @n operations; false after the last. */
static bool next_sequence(enum op *ops, int n)
{
	while (n--) {
		if (++ops[n] < OPS)
			return true;
		ops[n] = 0;
	}
	return false;
}

/* Those without both say nothing that others do not. */
static bool is_of_interest(const enum op *ops, int n)
{
	bool spawn = false, neighbour = false;

	while (n--) {
		spawn |= ops[n] == SPAWN;
		neighbour |= ops[n] == NEIGHBOUR;
	}
	return spawn && neighbour;
}

/* Hundreds of sequences take their time on a machine that is busy. */
TEST_F_TIMEOUT(next, every_sequence, 4 * TEST_SECS)
{
	const char *env = getenv("FASTSOCKET_SEQUENCE"), *left;
	int longest = env ? atoi(env) : SEQUENCE, n, ret, played = 0;

	for (n = 2; n <= longest; n++) {
		enum op ops[16] = { 0 };

		do {
			if (!is_of_interest(ops, n))
				continue;
			ASSERT_EQ(0, tls_forget(&self->helper, self->map));
			ret = play(ops, n, self, variant);
			ASSERT_EQ(0, ret)
				TH_LOG("sequence %s: %s", name_of(ops, n), why);
			played++;
		} while (next_sequence(ops, n));
	}
	ksft_print_msg("%d sequences\n", played);
	close(self->map);
	close(self->helper.fd);
	left = left_end(&self->left);
	EXPECT_EQ(NULL, left)
		TH_LOG("left: %s", left);
}

/* A client that has MPTCP or SMC is served as one that has neither. */
FS_TEST(next, client_falls_back)
{
	struct sockaddr_storage ss;
	struct listener l;
	const char *left;
	socklen_t len;
	int c, s;

	if (variant->object == LISTENER || variant->object == MPTCP_CHILD)
		return;
	ASSERT_EQ(0, listener_open(&l, variant->fam, SOCK_NONBLOCK, true));
	len = listener_addr(&l, 0, &ss);
	c = object_socket(variant->object, variant->fam);
	ASSERT_LE(0, c);
	ASSERT_EQ(0, set_nonblock(c, false));
	ASSERT_EQ(0, connect_wait(c, &ss, len));
	s = accept_wait(l.fd);
	ASSERT_LE(0, s);
	EXPECT_EQ(0, talk(c, s));
	close(c);
	close(s);
	close(l.fd);
	close(self->map);
	close(self->helper.fd);
	left = left_end(&self->left);
	EXPECT_EQ(NULL, left)
		TH_LOG("left: %s", left);
}

TEST_HARNESS_MAIN
