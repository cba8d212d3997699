// SPDX-License-Identifier: GPL-2.0
/*
 * Each CPU has references to a network namespace in stock, and to its count of
 * TIME_WAIT sockets: the namespace goes when it would, and the count is what it
 * would be.
 */
#include <net/if.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

#include "tun.h"
#include "kselftest_harness.h"

#define DEVICE	"fsrefs0"

/* Of the clients; a port that the kernel chooses is above. */
enum { FIRST_PORT = 10000 };

/* Append an attribute to a message. */
static struct rtattr *attr(struct nlmsghdr *n, int type, const void *data, int len)
{
	struct rtattr *a = (void *)n + NLMSG_ALIGN(n->nlmsg_len);

	a->rta_type = type;
	a->rta_len = RTA_LENGTH(len);
	if (len)
		memcpy(RTA_DATA(a), data, len);
	n->nlmsg_len = NLMSG_ALIGN(n->nlmsg_len) + RTA_ALIGN(a->rta_len);
	return a;
}

static void attr_end(struct nlmsghdr *n, struct rtattr *a)
{
	a->rta_len = (void *)n + NLMSG_ALIGN(n->nlmsg_len) - (void *)a;
}

/* A pair of devices, of which one is here, and the other in the namespace of a process. */
static int veth_to(pid_t pid)
{
	struct {
		struct nlmsghdr n;
		struct ifinfomsg i;
		char room[256];
	} req = {
		.n = {
			.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
			.nlmsg_type = RTM_NEWLINK,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK,
		},
	};
	struct rtattr *info, *data, *peer;
	struct {
		struct nlmsghdr n;
		struct nlmsgerr e;
		char room[512];
	} ans;
	int fd, ret;

	attr(&req.n, IFLA_IFNAME, DEVICE, sizeof(DEVICE));
	info = attr(&req.n, IFLA_LINKINFO, NULL, 0);
	attr(&req.n, IFLA_INFO_KIND, "veth", 4);
	data = attr(&req.n, IFLA_INFO_DATA, NULL, 0);
	peer = attr(&req.n, VETH_INFO_PEER, &(struct ifinfomsg){ 0 }, sizeof(struct ifinfomsg));
	attr(&req.n, IFLA_NET_NS_PID, &pid, sizeof(pid));
	attr_end(&req.n, peer);
	attr_end(&req.n, data);
	attr_end(&req.n, info);

	fd = SYS(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	if (fd < 0)
		return fd;
	ret = SYS(send(fd, &req, req.n.nlmsg_len, 0));
	if (ret > 0)
		ret = SYS(recv(fd, &ans, sizeof(ans), 0));
	close(fd);
	return ret < 0 ? ret : ans.e.error;
}

/* Is the one that is here still there? It goes with the other one's namespace. */
static bool device(void)
{
	return if_nametoindex(DEVICE);
}

/* What "TCP: ... tw N" of /proc/net/sockstat says, of the caller's namespace. */
static long long time_wait(void)
{
	FILE *f = fopen("/proc/thread-self/net/sockstat", "r");
	long long n = -1;
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "TCP:", 4) && sscanf(strstr(line, " tw "), " tw %lld", &n) != 1)
			n = -EINVAL;
	}
	if (f)
		fclose(f);
	return n;
}

/* The last ones may still be on their way there. */
static bool counts(long long n)
{
	bool does = WAIT_FOR(time_wait() == n);

	if (!does)
		fprintf(stderr, "# %lld in TIME_WAIT\n", time_wait());
	return does;
}

/*
 * Connections of which the server's side stays in TIME_WAIT: from each CPU, taken
 * on each. Who closes stays where it is, so that no segment overtakes another;
 * and no port comes again, which the kernel's choice of them does not promise:
 * either would end a TIME_WAIT.
 */
static int connections(struct listener *l, int n)
{
	static in_port_t port = FIRST_PORT;
	int i, fd, peer, ret;
	char c;

	for (i = 0; i < n; i++) {
		ret = pin_to(cpu_id(i % cpu_count()));
		if (ret)
			return ret;
		peer = client_from(l, port++);
		if (peer < 0)
			return peer;
		ret = pin_to(cpu_id(i / cpu_count() % cpu_count()));
		if (ret)
			return ret;
		fd = accept_wait(l->fd);
		if (fd < 0)
			return fd;
		close(fd);
		if (read(peer, &c, 1))
			return -EIO;
		close(peer);
	}
	return 0;
}

/* Two tasks look, so that a spawned socket is not plain. */
static int shared(struct listener *l, enum fam fam, bool spawned, int epfd[MAX_CPUS])
{
	int err = listener_open(l, fam, SOCK_NONBLOCK, spawned);

	if (err)
		return err;
	return consumers(l, epfd) > 0 ? 0 : -EIO;
}

FIXTURE(refs)
{
	int to[2], from[2];
	pid_t pid;
};

FIXTURE_VARIANT(refs)
{
	bool spawned;
	enum fam fam;
};

ADD_MODE_FAMILY_VARIANTS(refs);

FIXTURE_SETUP(refs)
{
	FS_NEED_CPUS(2);
	FS_REQUIRE();
	ASSERT_EQ(0, SYS(pipe(self->to)));
	ASSERT_EQ(0, SYS(pipe(self->from)));
}

FIXTURE_TEARDOWN(refs)
{
	if (self->pid > 0) {
		kill(self->pid, SIGKILL);
		reap(self->pid);
	}
}

static void say(int fd, char c)
{
	if (write(fd, &c, 1) != 1)
		_exit(2);
}

static char hear(int fd)
{
	char c = 0;

	return read(fd, &c, 1) == 1 ? c : 0;
}

/* A namespace with traffic on all CPUs, a device that tells when it has gone, and nobody else in it. */
#define start_namespace(keep) do {					\
	struct listener __l;						\
	int __epfd[MAX_CPUS];						\
									\
	self->pid = fork_child();					\
	ASSERT_LE(0, self->pid);					\
	if (!self->pid) {						\
		if (new_netns() ||					\
		    shared(&__l, variant->fam, variant->spawned, __epfd))	\
			_exit(1);					\
		say(self->from[1], 'r');				\
		hear(self->to[0]);					\
		if (connections(&__l, 50))				\
			_exit(3);					\
		if ((keep) >= 0 && send_fd(keep, __l.fd))		\
			_exit(4);					\
		say(self->from[1], 'd');				\
		hear(self->to[0]);					\
		_exit(0);						\
	}								\
	ASSERT_EQ('r', hear(self->from[0]));				\
	ASSERT_EQ(0, veth_to(self->pid));				\
	say(self->to[1], 'g');						\
	ASSERT_EQ('d', hear(self->from[0]));				\
	ASSERT_TRUE(device());						\
} while (0)

FS_TEST(refs, a_namespace_goes_with_its_last_task)
{
	start_namespace(-1);
	say(self->to[1], 'e');
	EXPECT_EQ(0, reap(self->pid));
	self->pid = 0;
	EXPECT_TRUE(WAIT_FOR(!device()));
}

/* Somebody keeps it by a file, and tasks of other namespaces come and go. */
FS_TEST(refs, a_namespace_goes_with_its_file)
{
	char path[64];
	int ns;

	start_namespace(-1);
	snprintf(path, sizeof(path), "/proc/%d/ns/net", self->pid);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, ns);
	say(self->to[1], 'e');
	EXPECT_EQ(0, reap(self->pid));
	self->pid = 0;
	sleep_ms(QUIET_MS);
	EXPECT_TRUE(device());
	close(ns);
	EXPECT_TRUE(WAIT_FOR(!device()));
}

/* The last that keeps it is a listening socket, by which more connections come. */
FS_TEST(refs, a_namespace_goes_with_its_last_socket)
{
	int pair[2], lfd;

	ASSERT_EQ(0, SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair)));
	start_namespace(pair[0]);
	lfd = recv_fd(pair[1]);
	ASSERT_LE(0, lfd);
	say(self->to[1], 'e');
	EXPECT_EQ(0, reap(self->pid));
	self->pid = 0;
	sleep_ms(QUIET_MS);
	EXPECT_TRUE(device());
	EXPECT_EQ(-EAGAIN, SYS(accept4(lfd, NULL, NULL, 0)));
	close(lfd);
	EXPECT_TRUE(WAIT_FOR(!device()));
}

/*
 * Each CPU has a route by which packets came. Namespaces go one after the other:
 * the next one tells whether it has gone.
 */
FS_TEST(refs, a_namespace_goes_with_its_routes)
{
	self->pid = fork_child();
	ASSERT_LE(0, self->pid);
	if (!self->pid) {
		const struct linger now = { .l_onoff = 1 };
		struct listener l;
		int tun, i, fd;

		if (new_netns())
			_exit(1);
		tun = tun_open();
		if (tun < 0 || tun_listen(&l, variant->fam, 128, variant->spawned))
			_exit(2);
		for (i = 0; i < cpu_count(); i++) {
			fd = tun_connect(tun, &l, htons(20000 + i), cpu_id(i));
			/* It is not there for longer than the process. */
			if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)))
				_exit(3);
		}
		_exit(0);
	}
	ASSERT_EQ(0, reap(self->pid));
	start_namespace(-1);
	say(self->to[1], 'e');
	EXPECT_EQ(0, reap(self->pid));
	self->pid = 0;
	EXPECT_TRUE(WAIT_FOR(!device()));
}

FS_TEST(refs, time_wait_sockets_are_counted)
{
	struct listener l;
	int epfd[MAX_CPUS];

	ASSERT_EQ(0, new_netns());
	ASSERT_EQ(0, shared(&l, variant->fam, variant->spawned, epfd));
	EXPECT_EQ(0, time_wait());
	ASSERT_EQ(0, connections(&l, 37));
	EXPECT_TRUE(counts(37));
	ASSERT_EQ(0, connections(&l, 100));
	EXPECT_TRUE(counts(137));
}

FS_TEST(refs, time_wait_sockets_have_their_limit)
{
	struct listener l;
	int epfd[MAX_CPUS];

	ASSERT_EQ(0, new_netns());
	ASSERT_EQ(0, sysctl("tcp_max_tw_buckets", "75"));
	ASSERT_EQ(0, shared(&l, variant->fam, variant->spawned, epfd));
	ASSERT_EQ(0, connections(&l, 74));
	EXPECT_TRUE(counts(74));
	ASSERT_EQ(0, connections(&l, 40));
	EXPECT_TRUE(counts(75));
	/* Nobody asks meanwhile. */
	ASSERT_EQ(0, sysctl("tcp_max_tw_buckets", "120"));
	ASSERT_EQ(0, connections(&l, 80));
	EXPECT_TRUE(counts(120));
}

/* The counters that all share are asked once in a while. */
FS_TEST(refs, they_are_in_stock)
{
	long long before, conns;
	struct listener l;
	int epfd[MAX_CPUS];

	ASSERT_EQ(0, new_netns());
	ASSERT_EQ(0, shared(&l, variant->fam, variant->spawned, epfd));
	ASSERT_EQ(0, connections(&l, 100));
	before = stat_total("hash_stat", "refs_shared");
	ASSERT_LE(0, before);
	conns = 400;
	ASSERT_EQ(0, connections(&l, conns));
	/* Of some six for each. */
	EXPECT_LT(stat_total("hash_stat", "refs_shared") - before, conns / 4);
}

TEST_HARNESS_MAIN
