// SPDX-License-Identifier: GPL-2.0
/*
 * Steering: packets of a device that receives as a network card does go to the
 * CPU that a rule says: that opened the connection (receive flow deliver), that
 * uses it (receive CPU selection), or that another module has named.
 */
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/ioctl.h>

#include "lib.h"
#include "kselftest_harness.h"

/* Whoever comes next loads the module as it wants it. */
static pid_t us;

static void __attribute__((constructor)) begin(void)
{
	us = getpid();
}

static void __attribute__((destructor)) end(void)
{
	if (getpid() == us) {
		fs_unload();
	}
}

/* How packets of a VLAN come: there is none, beside its tag, or with it. */
enum tag { NO_TAG, TAG_BESIDE, TAG_WITHIN };

/*
 * A client, here, and a server in another network namespace, with a device
 * between them.
 */
struct lan {
	pid_t server;
	struct sockaddr_storage to;
	socklen_t len;
};

#define SERVER_PORT	8480

static int shell(const char *fmt, ...)
{
	char cmd[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	return system(cmd) ? -EIO : 0;
}

/* Switch something of a device on or off. */
static int feature(const char *dev, int what, int on)
{
	struct ethtool_value val = { what, on };
	struct ifreq req = { .ifr_data = (void *)&val };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), ret;

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", dev);
	ret = SYS(ioctl(fd, SIOCETHTOOL, &req));
	close(fd);
	return ret;
}

/* What is asked for by a byte that is not just echoed: so much, in many segments. */
#define STREAM		'S'
#define STREAM_BYTES	(1 << 20)

static bool stream(int fd)
{
	static char buf[1000];
	int left = STREAM_BYTES, n;

	while (left) {
		n = write(fd, buf, left < (int)sizeof(buf) ? left : (int)sizeof(buf));
		if (n <= 0)
			return false;
		left -= n;
	}
	return true;
}

/* Answers one byte with one, from its CPU. */
static void answer(int family, int sock, int cpu)
{
	struct sockaddr_storage ss = { .ss_family = family };
	int lfd = socket(family, SOCK_STREAM, 0), fd;
	char c = 0;

	((struct sockaddr_in *)&ss)->sin_port = htons(SERVER_PORT);
	if (pin_to(cpu) || new_netns() || write(sock, &c, 1) != 1 || read(sock, &c, 1) != 1)
		_exit(1);
	close(lfd);
	lfd = socket(family, SOCK_STREAM, 0);
	/* The device puts a tag into the packet, or leaves it beside. */
	if (feature("s0", ETHTOOL_STSO, 0) ||
	    (c == 'w' && feature("s0", ETHTOOL_SFLAGS, 0)) ||
	    bind(lfd, (void *)&ss, sizeof(ss)) || listen(lfd, 64) || write(sock, &c, 1) != 1)
		_exit(2);
	signal(SIGCHLD, SIG_IGN);
	while ((fd = accept(lfd, NULL, NULL)) >= 0) {
		if (!fork_child()) {
			while (read(fd, &c, 1) == 1 &&
			       (c == STREAM ? stream(fd) : write(fd, &c, 1) == 1))
				;
			_exit(0);
		}
		close(fd);
	}
	_exit(3);
}

/* One side of the device: up, with an address. */
static int side(const char *in, char name, enum fam fam, const char *host, enum tag tag)
{
	const char *net = fam == V4 ? "192.0.2." : "2001:db8::", *bits = fam == V4 ? "24" : "64 nodad";
	char vlan[128] = "";

	if (tag)
		snprintf(vlan, sizeof(vlan), "link add link %c0 name %c1 type vlan id 5\nlink set %c1 up",
			 name, name, name);
	return shell("%s ip -b - <<END\nlink set %c0 up\n%s\naddr add %s%s/%s dev %c%d\nEND", in,
		     name, vlan, net, host, bits, name, tag ? 1 : 0);
}

static int lan_open(struct lan *lan, enum fam fam, enum tag tag)
{
	int family = fam == V4 ? AF_INET : AF_INET6, sock[2], ret = new_netns();
	struct sockaddr_in6 *a6 = (void *)&lan->to;
	struct sockaddr_in *a4 = (void *)&lan->to;
	char c, in[64];

	if (ret || socketpair(AF_UNIX, SOCK_STREAM, 0, sock))
		return ret ? ret : -errno;
	lan->server = fork_child();
	if (lan->server < 0)
		return lan->server;
	if (!lan->server)
		answer(family, sock[1], cpu_id(1));
	if (read(sock[0], &c, 1) != 1)
		return -EPIPE;
	ret = shell("ip link add c0 type veth peer name s0 netns %d", lan->server);
	if (!ret)
		ret = side("", 'c', fam, "1", tag);
	snprintf(in, sizeof(in), "nsenter -t %d -n", lan->server);
	if (!ret)
		ret = side(in, 's', fam, "2", tag);
	/* By NAPI, as a card: what comes from a device that leaves no segments to it. */
	if (!ret)
		ret = feature("c0", ETHTOOL_SGRO, 1);
	if (!ret && write(sock[0], tag == TAG_WITHIN ? "w" : "b", 1) != 1)
		ret = -EPIPE;
	if (!ret && read(sock[0], &c, 1) != 1)
		ret = -EPIPE;

	lan->to.ss_family = family;
	a4->sin_port = htons(SERVER_PORT);
	lan->len = fam == V4 ? sizeof(*a4) : sizeof(*a6);
	if (fam == V4)
		inet_pton(AF_INET, "192.0.2.2", &a4->sin_addr);
	else
		inet_pton(AF_INET6, "2001:db8::2", &a6->sin6_addr);
	return ret;
}

static void lan_close(struct lan *lan)
{
	if (lan->server > 0) {
		kill(lan->server, SIGKILL);
		reap(lan->server);
	}
}

/* A client that has got an answer, or the negative errno. */
static int answered(const struct lan *lan, int cpu, in_port_t port)
{
	int fd = socket(lan->to.ss_family, SOCK_STREAM, 0), ret = pin_to(cpu);
	struct sockaddr_storage me = { .ss_family = lan->to.ss_family };
	char c = 'x';

	((struct sockaddr_in *)&me)->sin_port = htons(port);
	if (!ret && port)
		ret = SYS(bind(fd, (void *)&me, lan->len));
	if (!ret)
		ret = connect_wait(fd, &lan->to, lan->len);
	if (!ret && (write(fd, &c, 1) != 1 || read(fd, &c, 1) != 1))
		ret = -EIO;
	return ret ? ret : fd;
}

/* Ask here, and get the answer. */
static int ask(int fd)
{
	char c = 'x';

	return write(fd, &c, 1) == 1 && read(fd, &c, 1) == 1 ? 0 : -EIO;
}

/* The CPU that packets are handed to is plugged out, and in again: they come all the same. */
static int ask_without(int fd, int cpu)
{
	int ret = pin_to(cpu_id(0)), i;

	if (!ret)
		ret = cpu_online(cpu, false);
	for (i = 0; i < 3 && !ret; i++)
		ret = ask(fd);
	if (cpu_online(cpu, true))
		return -EIO;
	return ret ? ret : ask(fd);
}

FIXTURE(delivery) {
	struct lan lan;
};

FIXTURE_VARIANT(delivery) {
	enum fam fam;
	enum tag tag;
};

FIXTURE_VARIANT_ADD(delivery, v4) { V4, NO_TAG };
FIXTURE_VARIANT_ADD(delivery, v6) { V6, NO_TAG };
FIXTURE_VARIANT_ADD(delivery, vlan_v4) { V4, TAG_BESIDE };
FIXTURE_VARIANT_ADD(delivery, tag_v4) { V4, TAG_WITHIN };
FIXTURE_VARIANT_ADD(delivery, tag_v6) { V6, TAG_WITHIN };

FIXTURE_SETUP(delivery)
{
	if (fs_load_with("enable_receive_flow_deliver=1"))
		FS_SKIP("fastsocket with enable_receive_flow_deliver=1");
	FS_NEED_CPUS(2);
	ASSERT_EQ(0, lan_open(&self->lan, variant->fam, variant->tag));
}

FIXTURE_TEARDOWN(delivery)
{
	lan_close(&self->lan);
}

/* The answers come to the CPU that has asked, though they are sent from another one. */
FS_TEST(delivery, to_the_cpu_that_opened_it)
{
	long long before = stat_total("steer_stat", "delivered");
	int i, fd;

	for (i = 0; i < 20; i++) {
		fd = answered(&self->lan, cpu_id(0), 0);
		ASSERT_LE(0, fd);
		EXPECT_EQ(cpu_id(0), get_int(fd, SOL_SOCKET, SO_INCOMING_CPU));
		close(fd);
	}
	EXPECT_LE(before + i, stat_total("steer_stat", "delivered"));
}

/* A port that names another CPU than the one it was opened on says nothing. */
FS_TEST(delivery, of_nobody_else)
{
	long long before = stat_total("steer_stat", "delivered");
	int step = 2 * named_cpus(), fd, i;

	for (i = 0; i < 5; i++) {
		fd = answered(&self->lan, cpu_id(1), port_that_names(step, cpu_id(0)) + i * step);
		ASSERT_LE(0, fd);
		EXPECT_EQ(cpu_id(1), get_int(fd, SOL_SOCKET, SO_INCOMING_CPU));
		close(fd);
	}
	EXPECT_EQ(before, stat_total("steer_stat", "delivered"));
}

FIXTURE(selection) {
	struct lan lan;
};

FIXTURE_VARIANT(selection) {
	enum fam fam;
};

FIXTURE_VARIANT_ADD(selection, v4) { V4 };
FIXTURE_VARIANT_ADD(selection, v6) { V6 };

FIXTURE_SETUP(selection)
{
	if (fs_load_with("enable_receive_cpu_selection=1"))
		FS_SKIP("fastsocket with enable_receive_cpu_selection=1");
	FS_NEED_CPUS(2);
	ASSERT_EQ(0, lan_open(&self->lan, variant->fam, NO_TAG));
}

FIXTURE_TEARDOWN(selection)
{
	lan_close(&self->lan);
}

/* The answer comes to the CPU on which it was asked for, wherever that was before. */
FS_TEST(selection, to_the_cpu_that_uses_it)
{
	long long before = stat_total("steer_stat", "selected");
	int fd = answered(&self->lan, cpu_id(0), 0), i;

	ASSERT_LE(0, fd);
	for (i = 0; i < 3 * cpu_count(); i++) {
		ASSERT_EQ(0, pin_to(cpu_id(i % cpu_count())));
		ASSERT_EQ(0, ask(fd));
		EXPECT_EQ(cpu_id(i % cpu_count()), get_int(fd, SOL_SOCKET, SO_INCOMING_CPU));
	}
	EXPECT_LT(before, stat_total("steer_stat", "selected"));
	close(fd);
}

/* And those of others to theirs. */
FS_TEST(selection, of_each_its_own)
{
	int fd[2 * MAX_CPUS], n = 2 * cpu_count(), round, i, cpu;

	for (i = 0; i < n; i++) {
		fd[i] = answered(&self->lan, cpu_id(0), 0);
		ASSERT_LE(0, fd[i]);
	}
	for (round = 0; round < 3; round++) {
		for (i = 0; i < n; i++) {
			cpu = cpu_id((i + round) % cpu_count());
			ASSERT_EQ(0, pin_to(cpu));
			ASSERT_EQ(0, ask(fd[i]));
			EXPECT_EQ(cpu, get_int(fd[i], SOL_SOCKET, SO_INCOMING_CPU));
		}
	}
}

/* The end of struct tcp_info, which the C library does not know. */
struct tcp_info_ {
	char before[140];
	uint32_t tcpi_segs_in;
	char between[224 - 144];
	uint32_t tcpi_rcv_ooopack;
};

/* A reader that goes from CPU to CPU gets all in order. */
FS_TEST(selection, in_order)
{
	int fd = answered(&self->lan, cpu_id(0), 0), n, left = STREAM_BYTES, hops = 0;
	struct tcp_info_ info = { 0 };
	socklen_t len = sizeof(info);
	char c = STREAM;
	static char buf[16384];

	ASSERT_LE(0, fd);
	ASSERT_EQ(1, write(fd, &c, 1));
	while (left) {
		n = read(fd, buf, left < (int)sizeof(buf) ? left : (int)sizeof(buf));
		ASSERT_LT(0, n);
		left -= n;
		ASSERT_EQ(0, pin_to(cpu_id(++hops % cpu_count())));
	}
	ASSERT_EQ(0, getsockopt(fd, SOL_TCP, TCP_INFO, &info, &len));
	ksft_print_msg("%d hops, %u segments, %u out of order\n", hops, info.tcpi_segs_in,
		       info.tcpi_rcv_ooopack);
	EXPECT_LT(cpu_count(), hops);
	EXPECT_EQ(0U, info.tcpi_rcv_ooopack);
	close(fd);
}

/* The CPU that is to process them may go. */
FIXTURE(unplugged) {
	struct lan lan;
};

FIXTURE_VARIANT(unplugged) {
	const char *param;
	enum fam fam;
};

FIXTURE_VARIANT_ADD(unplugged, delivery_v4) { "enable_receive_flow_deliver=1", V4 };
FIXTURE_VARIANT_ADD(unplugged, delivery_v6) { "enable_receive_flow_deliver=1", V6 };
FIXTURE_VARIANT_ADD(unplugged, selection_v4) { "enable_receive_cpu_selection=1", V4 };
FIXTURE_VARIANT_ADD(unplugged, selection_v6) { "enable_receive_cpu_selection=1", V6 };

FIXTURE_SETUP(unplugged)
{
	FS_NEED_CPUS(3);
	if (fs_load_with(variant->param))
		FS_SKIP("fastsocket with %s", variant->param);
	ASSERT_EQ(0, lan_open(&self->lan, variant->fam, NO_TAG));
}

FIXTURE_TEARDOWN(unplugged)
{
	lan_close(&self->lan);
}

FS_TEST(unplugged, packets_come)
{
	int fd = answered(&self->lan, cpu_id(2), 0);

	ASSERT_LE(0, fd);
	EXPECT_EQ(cpu_id(2), get_int(fd, SOL_SOCKET, SO_INCOMING_CPU));
	EXPECT_EQ(0, ask_without(fd, cpu_id(2)));
	close(fd);
}

FIXTURE(rule) {
	struct lan lan;
};

FIXTURE_VARIANT(rule) {
	enum fam fam;
};

FIXTURE_VARIANT_ADD(rule, v4) { V4 };
FIXTURE_VARIANT_ADD(rule, v6) { V6 };

FIXTURE_SETUP(rule)
{
	if (fs_load_with("enable_rps_framework=1"))
		FS_SKIP("fastsocket with enable_rps_framework=1");
	if (shell("modprobe fastsocket_rule"))
		FS_SKIP("fastsocket_rule");
	FS_NEED_CPUS(2);
	ASSERT_EQ(0, lan_open(&self->lan, variant->fam, NO_TAG));
}

FIXTURE_TEARDOWN(rule)
{
	lan_close(&self->lan);
	shell("rmmod fastsocket_rule 2>/dev/null");
}

static int rule_says(int port, int cpu)
{
	return shell("cd /sys/module/fastsocket_rule/parameters && echo %d >cpu && echo %d >port",
		     cpu, port);
}

/* Which CPU the answer has come to. */
static int incoming(const struct lan *lan, int cpu)
{
	int fd = answered(lan, cpu, 0), ret = fd;

	if (fd >= 0) {
		ret = get_int(fd, SOL_SOCKET, SO_INCOMING_CPU);
		close(fd);
	}
	return ret;
}

/* What no rule has an opinion of stays where it is received: where it was sent. */
FS_TEST(rule, says_where)
{
	long long before = stat_total("steer_stat", "ruled");

	EXPECT_EQ(cpu_id(1), incoming(&self->lan, cpu_id(0)));
	EXPECT_EQ(before, stat_total("steer_stat", "ruled"));
	ASSERT_EQ(0, rule_says(SERVER_PORT, cpu_id(0)));
	EXPECT_EQ(cpu_id(0), incoming(&self->lan, cpu_id(1)));
	EXPECT_LT(before, stat_total("steer_stat", "ruled"));
	ASSERT_EQ(0, rule_says(SERVER_PORT + 1, cpu_id(0)));
	EXPECT_EQ(cpu_id(1), incoming(&self->lan, cpu_id(0)));
}

/* A CPU that is not there is no opinion, and no rule is none, in the middle of a connection. */
FS_TEST(rule, may_be_wrong)
{
	int fd;

	ASSERT_EQ(0, rule_says(SERVER_PORT, 100000));
	EXPECT_EQ(cpu_id(1), incoming(&self->lan, cpu_id(0)));
	ASSERT_EQ(0, rule_says(SERVER_PORT, cpu_id(0)));
	fd = answered(&self->lan, cpu_id(1), 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, shell("rmmod fastsocket_rule"));
	EXPECT_EQ(0, ask(fd));
	EXPECT_EQ(cpu_id(1), get_int(fd, SOL_SOCKET, SO_INCOMING_CPU));
	close(fd);
}

/* Rules are switched on and off while the module runs. */
FIXTURE(switching) {
	struct lan lan;
};

FIXTURE_VARIANT(switching) {
	enum fam fam;
};

FIXTURE_VARIANT_ADD(switching, v4) { V4 };
FIXTURE_VARIANT_ADD(switching, v6) { V6 };

static const char *const switches[] = {
	"enable_receive_flow_deliver", "enable_receive_cpu_selection", "enable_rps_framework",
};

static int switch_to(int which, bool on)
{
	return fs_set_param(switches[which], on ? "1" : "0");
}

FIXTURE_SETUP(switching)
{
	unsigned int i;

	if (fs_reload_with(""))
		FS_SKIP("fastsocket");
	for (i = 0; i < ARRAY_SIZE(switches); i++)
		ASSERT_EQ(0, switch_to(i, false));
	FS_NEED_CPUS(2);
	ASSERT_EQ(0, lan_open(&self->lan, variant->fam, NO_TAG));
}

FIXTURE_TEARDOWN(switching)
{
	lan_close(&self->lan);
}

/* Do the answers come to a CPU? One may have been on its way. */
static bool come_to(int fd, int cpu)
{
	int i;

	for (i = 0; i < 10; i++) {
		if (get_int(fd, SOL_SOCKET, SO_INCOMING_CPU) == cpu)
			return true;
		if (ask(fd))
			return false;
	}
	return false;
}

/* Connections that began before go on, wherever their packets go now. */
FS_TEST(switching, opens_where_it_is_on)
{
	int i, fd, before = answered(&self->lan, cpu_id(0), 0);

	ASSERT_LE(0, before);
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, switch_to(0, i % 2));
		fd = answered(&self->lan, cpu_id(0), 0);
		ASSERT_LE(0, fd);
		/* The server is on the other one. */
		EXPECT_TRUE(come_to(fd, cpu_id(!(i % 2))));
		EXPECT_EQ(0, ask(before));
		close(before);
		before = fd;
	}
	close(before);
}

FS_TEST(switching, uses_where_it_is_on)
{
	int i, fd = answered(&self->lan, cpu_id(0), 0);

	ASSERT_LE(0, fd);
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, switch_to(1, i % 2));
		ASSERT_EQ(0, ask(fd));
		EXPECT_TRUE(come_to(fd, cpu_id(!(i % 2))));
	}
	close(fd);
}

/* A client that asks again and again, from everywhere, and has failed if it ends. */
static void ask_on(const struct lan *lan, int n, atomic_int *asked)
{
	int i, j, fd;

	for (i = n; ; i++) {
		fd = answered(lan, cpu_id(i % cpu_count()), 0);
		for (j = 0; j < 5; j++) {
			if (fd < 0 || pin_to(cpu_id(j % cpu_count())) || ask(fd))
				_exit(1);
			atomic_fetch_add(asked, 1);
		}
		close(fd);
	}
}

FS_TEST(switching, under_load)
{
	atomic_int *asked = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int i, j, before;
	pid_t pid[4];

	ASSERT_NE(MAP_FAILED, (void *)asked);
	for (i = 0; i < 4; i++) {
		pid[i] = fork_child();
		ASSERT_LE(0, pid[i]);
		if (!pid[i])
			ask_on(&self->lan, i, &asked[i]);
	}
	for (i = 0; i < 6; i++) {
		EXPECT_EQ(0, switch_to(i % 3, i < 3));
		/* Each gets on, with a connection of before and with the next one. */
		for (j = 0; j < 4; j++) {
			before = asked[j];
			ASSERT_TRUE(WAIT_FOR(asked[j] >= before + 6));
		}
	}
	for (i = 0; i < 4; i++) {
		/* It has not ended by itself. */
		kill(pid[i], SIGKILL);
		EXPECT_EQ(128 + SIGKILL, reap(pid[i]));
	}
}

FIXTURE(parameters) {
};

FIXTURE_SETUP(parameters)
{
	if (fs_reload_with(""))
		FS_SKIP("fastsocket");
}

FIXTURE_TEARDOWN(parameters)
{
}

FS_TEST(parameters, only_by_numbers_in_range)
{
	static const char *const not[] = { "2", "-1", "x", "1x", "99999999999" };
	unsigned int i, j;
	char path[128];
	struct stat st;
	int before;

	for (i = 0; i < ARRAY_SIZE(switches); i++) {
		before = fs_param(switches[i]);
		for (j = 0; j < ARRAY_SIZE(not); j++)
			EXPECT_EQ(-EINVAL, fs_set_param(switches[i], not[j]));
		EXPECT_EQ(before, fs_param(switches[i]));
		snprintf(path, sizeof(path), FS_PARAMS "%s", switches[i]);
		ASSERT_EQ(0, stat(path, &st));
		EXPECT_EQ(0644, st.st_mode & 0777);
	}
	ASSERT_EQ(0, stat(FS_PARAMS "enable_listen_spawn", &st));
	EXPECT_EQ(0444, st.st_mode & 0777);
}

/* Who writes while the module comes or goes has written, or not. */
FS_TEST(parameters, while_it_comes_and_goes)
{
	pid_t pid = fork_child();
	int i;

	ASSERT_LE(0, pid);
	if (!pid) {
		for (i = 0; ; i++)
			switch_to(i % 3, i / 3 % 2);
	}
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, fs_reload_with(""));
	kill(pid, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, reap(pid));
}

TEST_HARNESS_MAIN
