// SPDX-License-Identifier: GPL-2.0
/*
 * The ACK of a syncookie that comes when the same client has a request by
 * then: it is no reason for a reset, wherever its packets are received. The
 * client is a program behind a TUN device, so that no other TCP answers.
 */
#include "lib.h"
#include "tun.h"
#include "kselftest_harness.h"

#define CLIENT_PORT	1000
/* Half-open requests until cookies are sent, at most. */
#define FILLERS		64

FIXTURE(cookie)
{
	struct listener l;
	int tun, epfd[MAX_CPUS];
};

FIXTURE_VARIANT(cookie)
{
	bool spawned;
	enum fam fam;
};

FIXTURE_VARIANT_ADD(cookie, plain_v4) { false, V4 };
FIXTURE_VARIANT_ADD(cookie, plain_v6) { false, V6 };
FIXTURE_VARIANT_ADD(cookie, spawned_v4) { true, V4 };
FIXTURE_VARIANT_ADD(cookie, spawned_v6) { true, V6 };

FIXTURE_SETUP(cookie)
{
	if (variant->spawned)
		FS_REQUIRE();
	ASSERT_EQ(0, new_netns());
	self->tun = tun_open();
	if (self->tun < 0)
		FS_SKIP("a TUN device: %d", self->tun);
	ASSERT_EQ(0, sysctl("tcp_syncookies", "1"));
	/* A request is gone after its first timeout. */
	ASSERT_EQ(0, sysctl("tcp_synack_retries", "0"));
}

FIXTURE_TEARDOWN(cookie) { }

/* A SYN, and its answer; its sequence number is that of its port. */
static int syn(FIXTURE_DATA(cookie) *self, in_port_t port, int cpu, uint32_t *isn)
{
	struct segment s = { port, self->l.port, ntohs(port), 0, TUN_SYN }, got;
	int ret = tun_put_on(self->tun, self->l.fam, &s, cpu);

	if (ret)
		return ret;
	if (!tun_get(self->tun, self->l.fam, port, &got, WAIT_MS))
		return -ETIMEDOUT;
	*isn = got.seq;
	return got.flags == (TUN_SYN | TUN_ACK) ? 0 : -EPROTO;
}

static int send_ack(FIXTURE_DATA(cookie) *self, in_port_t port, int cpu, uint32_t isn, int flags)
{
	struct segment s = { port, self->l.port, ntohs(port) + 1, isn + 1, flags };

	return tun_put_on(self->tun, self->l.fam, &s, cpu);
}

/*
 * SYNs until one is answered by a cookie; then the half-open requests end.
 * Returns the port of the one with the cookie.
 */
static int get_cookie(FIXTURE_DATA(cookie) *self, in_port_t first, int cpu, uint32_t *isn)
{
	long long sent = mib("SyncookiesSent");
	uint32_t isns[FILLERS];
	int i, k, ret;

	for (i = 0; i < FILLERS; i++) {
		ret = syn(self, htons(ntohs(first) + i), cpu, &isns[i]);
		if (ret)
			return ret;
		if (mib("SyncookiesSent") > sent)
			break;
	}
	if (i == FILLERS)
		return -ENOENT;
	for (k = 0; k < i; k++) {
		ret = send_ack(self, htons(ntohs(first) + k), cpu, isns[k], TUN_RST);
		if (ret)
			return ret;
	}
	*isn = isns[i];
	return htons(ntohs(first) + i);
}

/* Which CPU receives the SYN for the cookie, the one after that, and the ACK. */
static const struct {
	int cookie, request, ack;
} paths[] = { { 0, 0, 0 }, { 0, 1, 0 }, { 0, 1, 1 }, { 1, 0, 0 } };

static bool is_reset(FIXTURE_DATA(cookie) *self, in_port_t port)
{
	struct segment s;

	while (tun_get(self->tun, self->l.fam, port, &s, 0))
		if (s.flags & TUN_RST)
			return true;
	return false;
}

/* The ACK again and again, as a client with data does it, until it is accepted. */
static int ack_until_accepted(FIXTURE_DATA(cookie) *self, in_port_t port, int cpu,
			      uint32_t isn, int *resets)
{
	long long end = now_ms() + WAIT_MS;
	int fd;

	do {
		if (send_ack(self, port, cpu, isn, TUN_ACK))
			return -EIO;
		fd = SYS(accept4(self->l.fd, NULL, NULL, SOCK_CLOEXEC));
		*resets += is_reset(self, port);
		if (fd != -EAGAIN)
			return fd;
		sleep_ms(50);
	} while (now_ms() < end);
	return -ETIMEDOUT;
}

#define open_listener() do {						\
	ASSERT_EQ(0, tun_listen(&self->l, variant->fam, 1, variant->spawned)); \
	ASSERT_EQ(cpu_count(), consumers(&self->l, self->epfd));	\
} while (0)

FS_TEST(cookie, with_a_request)
{
	int i, port, fd, resets;
	uint32_t isn, other;
	long long sent;

	open_listener();
	for (i = 0; i < ARRAY_SIZE(paths); i++) {
		port = get_cookie(self, htons(CLIENT_PORT + 100 * i), cpu_id(paths[i].cookie), &isn);
		ASSERT_LE(0, port);
		/* Now there is room: its SYN makes a request. */
		sent = mib("SyncookiesSent");
		ASSERT_EQ(0, syn(self, port, cpu_id(paths[i].request), &other));
		EXPECT_EQ(sent, mib("SyncookiesSent"));
		EXPECT_NE(isn, other);
		resets = 0;
		fd = ack_until_accepted(self, port, cpu_id(paths[i].ack), isn, &resets);
		EXPECT_LE(0, fd)
			TH_LOG("path %d", i);
		EXPECT_EQ(0, resets)
			TH_LOG("path %d: a valid cookie is reset", i);
		close(fd);
	}
}

/* The first ACK that a client sends, with nothing in its way. */
FS_TEST(cookie, without)
{
	int i, port, fd;
	uint32_t isn;

	open_listener();
	for (i = 0; i < ARRAY_SIZE(paths); i++) {
		port = get_cookie(self, htons(CLIENT_PORT + 100 * i), cpu_id(paths[i].cookie), &isn);
		ASSERT_LE(0, port);
		ASSERT_EQ(0, send_ack(self, port, cpu_id(paths[i].ack), isn, TUN_ACK));
		fd = accept_wait(self->l.fd);
		EXPECT_LE(0, fd)
			TH_LOG("path %d", i);
		EXPECT_FALSE(is_reset(self, port));
		close(fd);
	}
}

/* What is no cookie is reset as ever, with a request and without. */
FS_TEST(cookie, wrong)
{
	uint32_t isn, other;
	int i, port;

	open_listener();
	for (i = 0; i < ARRAY_SIZE(paths); i++) {
		port = get_cookie(self, htons(CLIENT_PORT + 100 * i), cpu_id(paths[i].cookie), &isn);
		ASSERT_LE(0, port);
		ASSERT_EQ(0, send_ack(self, port, cpu_id(paths[i].ack), isn + 0x10000, TUN_ACK));
		EXPECT_TRUE(WAIT_FOR(is_reset(self, port)));
		ASSERT_EQ(0, syn(self, port, cpu_id(paths[i].request), &other));
		ASSERT_EQ(0, send_ack(self, port, cpu_id(paths[i].ack), isn + 0x10000, TUN_ACK));
		EXPECT_TRUE(WAIT_FOR(is_reset(self, port)));
		/* Nothing is left for the next one. */
		ASSERT_EQ(0, send_ack(self, port, cpu_id(paths[i].ack), other, TUN_RST));
		EXPECT_EQ(-EAGAIN, SYS(accept(self->l.fd, NULL, NULL)));
	}
}

TEST_HARNESS_MAIN
