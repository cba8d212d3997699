// SPDX-License-Identifier: GPL-2.0
/*
 * Memory runs out, at each allocation of a call in turn: the call fails with
 * an errno that it may have, or does without, and the socket serves on.
 *
 * Needs FAULT_INJECTION, FAILSLAB, FAIL_PAGE_ALLOC and debugfs.
 */
#include <sys/mount.h>

#include "lib.h"
#include "kselftest_harness.h"

#define DEBUGFS		"/sys/kernel/debug/"
#define REQUEST_SLAB	"/sys/kernel/slab/request_sock_TCP%s/failslab"
#define LOAD		16

static int put(const char *path, const char *value)
{
	int fd = SYS(open(path, O_WRONLY | O_CLOEXEC)), ret;

	if (fd < 0)
		return fd;
	ret = SYS(write(fd, value, strlen(value)));
	close(fd);
	return ret < 0 ? ret : 0;
}

static long get(const char *path)
{
	FILE *f = fopen(path, "re");
	long value = -1;

	if (f) {
		if (fscanf(f, "%ld", &value) != 1)
			value = -1;
		fclose(f);
	}
	return value;
}

FIXTURE(nomem)
{
	struct listener l;
	struct pool pool;
	int fail;
};

FIXTURE_VARIANT(nomem)
{
	bool spawned;
	enum fam fam;
};

ADD_MODE_FAMILY_VARIANTS(nomem);

FIXTURE_SETUP(nomem)
{
	if (access(DEBUGFS "failslab", F_OK))
		mount("none", DEBUGFS, "debugfs", 0, NULL);
	if (access(DEBUGFS "failslab", F_OK) || access(DEBUGFS "fail_page_alloc", F_OK) ||
	    access("/proc/thread-self/fail-nth", F_OK))
		SKIP(return, "needs fault injection");
	if (variant->spawned)
		FS_REQUIRE();
	/* A failure that was asked for is no news. */
	ASSERT_EQ(0, put(DEBUGFS "failslab/verbose", "0"));
	ASSERT_EQ(0, put(DEBUGFS "fail_page_alloc/verbose", "0"));
	ASSERT_EQ(0, put(DEBUGFS "failslab/ignore-gfp-wait", "N"));
	ASSERT_EQ(0, put(DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N"));
	ASSERT_EQ(0, put(DEBUGFS "fail_page_alloc/min-order", "0"));
	self->fail = SYS(open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC));
	ASSERT_LE(0, self->fail);
	/* The device is open before anything fails. */
	if (variant->spawned)
		ASSERT_EQ(-EBADF, fs_spawn(-1, -1));
}

FIXTURE_TEARDOWN(nomem)
{
	put(DEBUGFS "failslab/ignore-gfp-wait", "Y");
	put(DEBUGFS "fail_page_alloc/ignore-gfp-wait", "Y");
}

/*
 * Begin and end the n-th round: between them, the n-th allocation fails. The
 * end returns whether there was an n-th.
 */
static int nth_begin(int fd, int n)
{
	char s[16];

	snprintf(s, sizeof(s), "%d", n);
	return pwrite(fd, s, strlen(s), 0) == (ssize_t)strlen(s) ? 0 : -errno;
}

static bool nth_end(int fd)
{
	char s[16] = "";

	if (pread(fd, s, sizeof(s) - 1, 0) <= 0)
		return false;
	if (!atoi(s))
		return true;
	nth_begin(fd, 0);
	return false;
}

/* One connection comes through, whatever happened before. */
#define served(l) ({							\
	int __c = client(l, 0), __s = __c < 0 ? __c : accept_wait((l)->fd); \
	int __ret = __s < 0 ? __s : talk(__c, __s);			\
									\
	close(__c);							\
	close(__s);							\
	__ret;								\
})

#define MORE(n)		((n) < 10000)

FS_TEST(nomem, spawn)
{
	bool more = true;
	int n, ret, failed = 0;

	if (!variant->spawned)
		SKIP(return, "about spawned sockets");
	for (n = 1; more && MORE(n); n++) {
		ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK, false));
		ASSERT_EQ(0, nth_begin(self->fail, n));
		ret = fs_spawn(self->l.fd, -1);
		more = nth_end(self->fail);
		/* A slab that does not get many pages asks for one. */
		if (ret && !(more && ret == -ENOMEM))
			ASSERT_EQ(0, ret);
		failed += ret == -ENOMEM;
		ASSERT_EQ(0, served(&self->l));
		ASSERT_EQ(0, fs_spawn(self->l.fd, -1));
		ASSERT_EQ(0, served(&self->l));
		close(self->l.fd);
	}
	TH_LOG("%d allocations, %d of which it cannot do without", n - 2, failed);
	ASSERT_LT(0, failed);
}

FS_TEST(nomem, spawn_on_cpu)
{
	bool more = true;
	int n, ret, epfd;

	if (!variant->spawned)
		SKIP(return, "about spawned sockets");
	for (n = 1; more && MORE(n); n++) {
		ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK, false));
		ASSERT_EQ(0, nth_begin(self->fail, n));
		ret = fs_spawn(self->l.fd, cpu_id(n));
		more = nth_end(self->fail);
		/* What it can do without, it does. */
		if (ret && !(more && ret == -ENOMEM))
			ASSERT_EQ(0, ret);
		ASSERT_EQ(0, served(&self->l));
		epfd = consumer(self->l.fd, EPOLLIN);
		ASSERT_LE(0, epfd);
		ASSERT_EQ(0, served(&self->l));
		close(epfd);
		close(self->l.fd);
	}
	TH_LOG("%d allocations", n - 2);
	ASSERT_LT(3, n);
}

FS_TEST(nomem, wait)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int n, i, ret, epfd, c, how;
	bool more;

	for (how = 0; how < 2; how++) {
		more = true;
		for (n = 1; more && MORE(n); n++) {
			ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK,
						   variant->spawned));
			epfd = SYS(epoll_create1(EPOLL_CLOEXEC));
			ASSERT_LE(0, epfd);
			ASSERT_EQ(0, nth_begin(self->fail, n));
			ret = how ? poll_one(self->l.fd, POLLIN, 0) :
				    SYS(epoll_ctl(epfd, EPOLL_CTL_ADD, self->l.fd, &ev));
			more = nth_end(self->fail);
			if (ret && !(more && ret == -ENOMEM))
				ASSERT_EQ(0, ret);
			/* It waits again, and hears of what comes on each CPU. */
			if (!how && ret)
				ASSERT_EQ(0, epoll_ctl(epfd, EPOLL_CTL_ADD, self->l.fd, &ev));
			for (i = 0; i < cpu_count(); i++) {
				c = client_on(&self->l, cpu_id(i), i);
				ASSERT_LE(0, c);
				ASSERT_EQ(1, how ? poll_one(self->l.fd, POLLIN, WAIT_MS) :
						   epoll_wait(epfd, &ev, 1, WAIT_MS));
				ret = accept_wait(self->l.fd);
				ASSERT_LE(0, ret);
				close(ret);
				close(c);
			}
			close(epfd);
			close(self->l.fd);
		}
		ASSERT_FALSE(more);
	}
}

FS_TEST(nomem, accept)
{
	bool more = true;
	int n, c, ret, epfd;

	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK,
				   variant->spawned));
	epfd = consumer(self->l.fd, EPOLLIN);
	ASSERT_LE(0, epfd);
	for (n = 1; more && MORE(n); n++) {
		c = client(&self->l, n);
		ASSERT_LE(0, c);
		ASSERT_EQ(POLLIN, poll_one(self->l.fd, POLLIN, WAIT_MS));
		ASSERT_EQ(0, nth_begin(self->fail, n));
		ret = SYS(accept4(self->l.fd, NULL, NULL, SOCK_CLOEXEC));
		more = nth_end(self->fail);
		if (ret < 0) {
			ASSERT_TRUE(more);
			/* The kernel says ENFILE where an inode cannot be had. */
			ASSERT_TRUE(ret == -ENOMEM || ret == -ENFILE)
				TH_LOG("%d", ret);
			/* The connection is still there. */
			ret = accept_wait(self->l.fd);
		}
		ASSERT_LE(0, ret);
		ASSERT_EQ(0, talk(c, ret));
		close(c);
		close(ret);
	}
	ASSERT_LT(2, n);
}

static void pin_init(struct worker *w)
{
	int ret = pin_to(cpu_id(w->index));

	if (ret)
		worker_fail(w, ret);
}

/*
 * Half of the workers are stopped, and what arrives for them is given to the
 * others, while memory for a request is not to be had now and then.
 */
FS_TEST(nomem, push)
{
	char slab[128];
	int i, status;

	snprintf(slab, sizeof(slab), REQUEST_SLAB, variant->fam == V4 ? "" : "v6");
	if (access(slab, W_OK))
		SKIP(return, "needs %s", slab);
	FS_NEED_CPUS(2);
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK,
				   variant->spawned));
	self->pool.init = pin_init;
	ASSERT_EQ(0, pool_start(&self->pool, &self->l, cpu_count(), true, worker_by_epoll));
	ASSERT_TRUE(pool_asleep(&self->pool));
	for (i = 0; i < cpu_count(); i += 2) {
		ASSERT_EQ(0, kill(self->pool.pid[i], SIGSTOP));
		ASSERT_EQ(self->pool.pid[i], waitpid(self->pool.pid[i], &status, WUNTRACED));
	}

	ASSERT_EQ(0, put(slab, "1"));
	ASSERT_EQ(0, put(DEBUGFS "failslab/cache-filter", "Y"));
	ASSERT_EQ(0, put(DEBUGFS "failslab/times", "1000000"));
	ASSERT_EQ(0, put(DEBUGFS "failslab/probability", "20"));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, pool_load(&self->pool, LOAD));
	EXPECT_EQ(0, put(DEBUGFS "failslab/probability", "0"));
	EXPECT_EQ(0, put(DEBUGFS "failslab/cache-filter", "N"));
	EXPECT_EQ(0, put(slab, "0"));
	EXPECT_GT(1000000, get(DEBUGFS "failslab/times"));
	EXPECT_LT(0, get(DEBUGFS "failslab/times"));

	ASSERT_EQ(0, pool_error(&self->pool));
	for (i = 0; i < cpu_count(); i += 2)
		ASSERT_EQ(0, kill(self->pool.pid[i], SIGCONT));
	EXPECT_EQ(0, pool_load(&self->pool, LOAD));
	ASSERT_EQ(0, pool_stop(&self->pool));
	ASSERT_EQ(0, pool_error(&self->pool));
}

TEST_HARNESS_MAIN
