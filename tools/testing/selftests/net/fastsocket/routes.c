// SPDX-License-Identifier: GPL-2.0
/*
 * Each CPU has its own route of packets that are for an address: it goes with
 * the address, and with the device, on all of them, and whoever has it.
 */
#include <net/if.h>

#include "tun.h"
#include "kselftest_harness.h"

FIXTURE(routes)
{
	struct listener l;
	int tun;
};

FIXTURE_VARIANT(routes)
{
	bool spawned;
	enum fam fam;
};

ADD_MODE_FAMILY_VARIANTS(routes);

FIXTURE_SETUP(routes)
{
	FS_NEED_CPUS(2);
	FS_REQUIRE();
	ASSERT_EQ(0, new_netns());
	self->tun = tun_open();
	ASSERT_LE(0, self->tun);
	ASSERT_EQ(0, tun_listen(&self->l, variant->fam, 128, variant->spawned));
}

FIXTURE_TEARDOWN(routes)
{
}

/* A connection by each CPU, which is kept. */
static int connect_all(FIXTURE_DATA(routes) *self, int port)
{
	int i, fd;

	for (i = 0; i < cpu_count(); i++) {
		fd = tun_connect(self->tun, &self->l, htons(port + i), cpu_id(i));
		if (fd < 0)
			return fd;
	}
	return 0;
}

FS_TEST(routes, they_go_with_the_address)
{
	struct segment got;
	int i;

	ASSERT_EQ(0, connect_all(self, 20000));
	ASSERT_EQ(0, tun_addresses(false));
	for (i = 0; i < cpu_count(); i++)
		EXPECT_FALSE(tun_syn(self->tun, &self->l, htons(21000 + i), cpu_id(i), &got));
	ASSERT_EQ(0, tun_addresses(true));
	EXPECT_EQ(0, connect_all(self, 22000));
}

/* The device waits for all who have it, and the sockets are still there. */
FS_TEST(routes, they_go_with_the_device)
{
	ASSERT_EQ(0, connect_all(self, 20000));
	ASSERT_NE(0, if_nametoindex("fs0"));
	close(self->tun);
	EXPECT_TRUE(WAIT_FOR(!if_nametoindex("fs0")));
}

TEST_HARNESS_MAIN
