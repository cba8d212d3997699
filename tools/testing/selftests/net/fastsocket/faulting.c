// SPDX-License-Identifier: GPL-2.0
/*
 * A page that never arrives: who waits for it holds up whoever needs a lock
 * that it holds, and that must be nobody of another user. Here, a user keeps
 * the lock of its own socket in that way while it spawns the socket, and has
 * such pages for the arguments of every command.
 */
#include <linux/userfaultfd.h>
#include "lib.h"
#include "kselftest_harness.h"

/* Ports that others mark, and listen at. */
#define MARKED	4711
#define UNUSED	4712

FIXTURE(fault)
{
	/* A network namespace's, and others' of it. */
	struct listener l, others;
	struct trace_left left;
	int sock;
	pid_t holder;
};

FIXTURE_VARIANT(fault)
{
	enum fam fam;
};

FIXTURE_VARIANT_ADD(fault, v4) { V4 };
FIXTURE_VARIANT_ADD(fault, v6) { V6 };

/* Two pages, of which the second one is missing. */
static struct {
	size_t page;
	char *hole;
	int uffd;
} mem;

static int missing_page(void)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	char *map;
	int ret;

	mem.page = sysconf(_SC_PAGESIZE);
	mem.uffd = SYS(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
	if (mem.uffd < 0)
		return mem.uffd;
	ret = SYS(ioctl(mem.uffd, UFFDIO_API, &api));
	map = mmap(NULL, 2 * mem.page, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ret || map == MAP_FAILED)
		return ret ? ret : -errno;
	map[0] = 0;
	mem.hole = map + mem.page;
	reg.range.start = (unsigned long)mem.hole;
	reg.range.len = mem.page;
	return SYS(ioctl(mem.uffd, UFFDIO_REGISTER, &reg));
}

/* A thread more waits for the page. */
static bool wait_fault(void)
{
	struct uffd_msg msg;

	return poll_one(mem.uffd, POLLIN, WAIT_MS) == POLLIN &&
		read(mem.uffd, &msg, sizeof(msg)) == sizeof(msg) &&
		msg.event == UFFD_EVENT_PAGEFAULT;
}

/* One of many threads that wait for the page, or for who does. */
struct waiter {
	int fd;
	unsigned long cmd;
	struct fsocket_ioctl_arg *arg;
	atomic_int tid;
};

/*
 * SO_LINGER copies its first word before it takes the socket's lock, and all
 * of it afterwards: the second word is in the page that is missing.
 */
static void *hold_lock(void *arg)
{
	struct waiter *w = arg;

	setsockopt(w->fd, SOL_SOCKET, SO_LINGER, mem.hole - sizeof(int), sizeof(struct linger));
	return NULL;
}

static void *command(void *arg)
{
	struct waiter *w = arg;

	atomic_store(&w->tid, gettid_());
	fs_ioctl(w->cmd, w->arg);
	return NULL;
}

static void *read_proc(void *arg)
{
	struct waiter *w = arg;

	if (read(w->fd, mem.hole, 1) < 0)
		return arg;
	return NULL;
}

/* State of a thread, as /proc/PID/stat has it. */
static char state_of(pid_t tid)
{
	char path[64], line[512], *p;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	f = fopen(path, "re");
	p = f && fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
	if (f)
		fclose(f);
	return p ? p[2] : 0;
}

/* Alice's: one thread holds the lock of her socket, another spawns it. */
static int hold_socket(int lfd, bool spawns)
{
	static struct fsocket_ioctl_arg arg;
	static struct waiter hold, spawn;
	pthread_t thread;
	int i;

	hold.fd = lfd;
	if (pthread_create(&thread, NULL, hold_lock, &hold) || !wait_fault())
		return 3;
	if (!spawns)
		return 0;
	arg.fd = lfd;
	arg.op.spawn_op.cpu = -1;
	spawn.cmd = FSOCKET_IOC_SPAWN_LISTEN;
	spawn.arg = &arg;
	if (pthread_create(&thread, NULL, command, &spawn))
		return 4;
	/* It need not wait for the lock; if it does, it is to be there. */
	WAIT_FOR(atomic_load(&spawn.tid));
	for (i = 0; i < 50 && state_of(spawn.tid) != 'D'; i++)
		sleep_ms(QUIET_MS / 50);
	return 0;
}

/* Every argument that is copied is in the page. */
static int hold_arguments(int lfd)
{
	static const unsigned long cmds[] = {
		FSOCKET_IOC_SOCKET, FSOCKET_IOC_LISTEN, FSOCKET_IOC_ACCEPT,
		FSOCKET_IOC_CLOSE, FSOCKET_IOC_EPOLL_CTL, FSOCKET_IOC_SPAWN_LISTEN,
		FSOCKET_IOC_SHUTDOWN_LISTEN, FSOCKET_IOC_MARK, FSOCKET_IOC_UNMARK,
	};
	static struct waiter w[ARRAY_SIZE(cmds) + 6];
	static struct fsocket_ioctl_arg arg[4];
	struct listener l = { .fd = lfd };
	socklen_t len = sizeof(struct sockaddr_in6);
	struct sockaddr_in6 a;
	pthread_t thread;
	int i, n = 0;

	for (i = 0; i < ARRAY_SIZE(cmds); i++) {
		w[n].cmd = cmds[i];
		w[n++].arg = (void *)mem.hole;
	}
	/* What they point to: an address to mark, one to accept from, an event. */
	for (i = 0; i < ARRAY_SIZE(arg); i++)
		w[n + i].arg = &arg[i];
	w[n++].cmd = FSOCKET_IOC_MARK;
	w[n++].cmd = FSOCKET_IOC_UNMARK;
	arg[0].op.mark_op.addr = mem.hole;
	arg[0].op.mark_op.addr_len = sizeof(struct sockaddr_in);
	arg[1] = arg[0];
	w[n++].cmd = FSOCKET_IOC_ACCEPT;
	arg[2].fd = lfd;
	arg[2].op.accept_op.sockaddr = (void *)mem.hole;
	arg[2].op.accept_op.sockaddr_len = (void *)&len;
	w[n++].cmd = FSOCKET_IOC_EPOLL_CTL;
	arg[3].fd = lfd;
	arg[3].op.epoll_op.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	arg[3].op.epoll_op.ep_ctl_cmd = EPOLL_CTL_ADD;
	arg[3].op.epoll_op.ev = (void *)mem.hole;
	/* There is a connection to accept. */
	if (getsockname(lfd, (void *)&a, &len))
		return 3;
	l.fam = a.sin6_family == AF_INET ? V4 : V6;
	l.port = a.sin6_port;
	if (client(&l, 0) < 0)
		return 4;
	for (i = 0; i < n; i++)
		if (pthread_create(&thread, NULL, command, &w[i]) || !wait_fault())
			return 10 + i;
	w[n].fd = open("/proc/thread-self/net/fsocket_marks", O_RDONLY | O_CLOEXEC);
	w[n + 1].fd = open("/proc/thread-self/net/fsocket_stats", O_RDONLY | O_CLOEXEC);
	for (i = n; i < n + 2; i++)
		if (pthread_create(&thread, NULL, read_proc, &w[i]) || !wait_fault())
			return 10 + i;
	return 0;
}

/* What the process does that is held up. */
enum hold { SPAWNING, SPAWNED, ARGUMENTS };

static void holder_main(FIXTURE_DATA(fault) *self, enum hold hold, enum fam fam, int sock)
{
	char ready = 0;
	int ret;

	/* Only root may have one for what the kernel does; others have FUSE. */
	if (missing_page() || (hold != ARGUMENTS && become(ALICE)))
		_exit(1);
	if (listener_open(&self->l, fam, SOCK_NONBLOCK, hold != SPAWNING))
		_exit(2);
	if (hold == ARGUMENTS)
		ret = hold_arguments(self->l.fd);
	else
		ret = hold_socket(self->l.fd, hold == SPAWNING);
	if (ret)
		_exit(ret);
	if (send_fd(sock, self->l.fd) || write_full(sock, &ready, 1) != 1)
		_exit(3);
	for (;;)
		pause();
}

static int holder_start(FIXTURE_DATA(fault) *self, enum hold hold, enum fam fam)
{
	int sock[2], ret = SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock));
	char ready;

	if (ret)
		return ret;
	self->holder = fork_child();
	if (!self->holder)
		holder_main(self, hold, fam, sock[1]);
	close(sock[1]);
	self->l.fd = recv_fd(sock[0]);
	if (self->l.fd < 0 || read_full(sock[0], &ready, 1) != 1)
		return reap(self->holder) ?: -EIO;
	close(sock[0]);
	return 0;
}

static void mark_address(const struct listener *l, struct sockaddr_storage *ss,
			 struct fsocket_ioctl_arg *arg)
{
	memset(arg, 0, sizeof(*arg));
	arg->op.mark_op.addr = ss;
	arg->op.mark_op.addr_len = listener_addr(l, 0, ss);
}

/* What others do meanwhile; each returns 0. */

static int other_spawns(FIXTURE_DATA(fault) *self, enum fam fam)
{
	struct listener l;

	/* To spawn all is to spawn this one, too, if it is open here. */
	close(self->l.fd);
	return become(BOB) ?: listener_open(&l, fam, SOCK_NONBLOCK, true) ?: fs_spawn_all();
}

static int other_closes(FIXTURE_DATA(fault) *self, enum fam fam)
{
	struct listener l;
	int i, ret = become(BOB);

	(void)self;
	for (i = 0; i < 20 && !ret; i++) {
		ret = listener_open(&l, fam, SOCK_NONBLOCK, true);
		if (!ret)
			ret = poll_one(l.fd, POLLIN, 0);
		close(l.fd);
	}
	return ret;
}

static int other_serves(FIXTURE_DATA(fault) *self, enum fam fam)
{
	int i, c, fd, epfd, ret = 0;

	(void)fam;
	for (i = 0; i < 2 * cpu_count() && !ret; i++) {
		epfd = consumer(self->others.fd, EPOLLIN);
		c = client_on(&self->others, cpu_id(i), i);
		if (c < 0 || epfd < 0)
			return c < 0 ? c : epfd;
		fd = accept_wait(self->others.fd);
		ret = fd < 0 ? fd : talk(c, fd);
		close(epfd);
		close(c);
		close(fd);
	}
	return ret;
}

static int other_marks(FIXTURE_DATA(fault) *self, enum fam fam)
{
	struct listener l = { .fam = fam, .port = htons(UNUSED) };
	struct fsocket_ioctl_arg arg;
	struct sockaddr_storage ss;
	int ret;

	(void)self;
	mark_address(&l, &ss, &arg);
	ret = fs_ioctl(FSOCKET_IOC_MARK, &arg);
	return ret ? ret : fs_ioctl(FSOCKET_IOC_UNMARK, &arg);
}

/* root listens at an address that is marked. */
static int other_listens(FIXTURE_DATA(fault) *self, enum fam fam)
{
	struct listener l = { .fam = fam, .port = htons(MARKED) };
	long long marked = stat_total("fsocket_stats", "marked");
	struct sockaddr_storage ss;
	socklen_t len = listener_addr(&l, 0, &ss);
	int ret;

	(void)self;
	l.fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	set_int(l.fd, SOL_SOCKET, SO_REUSEADDR, 1);
	ret = SYS(bind(l.fd, (void *)&ss, len));
	if (!ret)
		ret = SYS(listen(l.fd, 5));
	if (!ret && stat_total("fsocket_stats", "marked") <= marked)
		ret = -ENOENT;
	return ret;
}

static int other_runs(FIXTURE_DATA(fault) *self, enum fam fam)
{
	struct listener l;
	int ret = become(BOB);

	(void)self;
	if (!ret)
		ret = fs_ioctl(FSOCKET_IOC_RUN, NULL);
	return ret ? ret : listener_open(&l, fam, SOCK_NONBLOCK, false);
}

/* A task that is bound, or bound by its user, has children. */
static int other_forks(FIXTURE_DATA(fault) *self, enum fam fam)
{
	struct listener l;
	int i, ret;
	pid_t pid;

	(void)self;
	ret = pin_to(cpu_id(0)) ?: become(BOB) ?: listener_open(&l, fam, SOCK_NONBLOCK, false);
	for (i = 0; i < 10 && !ret; i++) {
		pid = fork();
		if (!pid)
			_exit(0);
		ret = pid < 0 ? -errno : waitpid(pid, NULL, 0) == pid ? 0 : -ECHILD;
	}
	return ret;
}

/* To ask the socket is not to wait for its lock. */
static int other_polls(FIXTURE_DATA(fault) *self, enum fam fam)
{
	int ret = become(ALICE) ?: poll_one(self->l.fd, POLLIN, 100);

	(void)fam;
	return ret < 0 ? ret : 0;
}

/* All who put one epoll into another share a mutex. */
static int other_nests(FIXTURE_DATA(fault) *self, enum fam fam)
{
	int inner = SYS(epoll_create1(EPOLL_CLOEXEC)), outer = consumer(inner, EPOLLIN);
	struct epoll_event ev = { .events = EPOLLIN };

	(void)fam;
	if (inner < 0 || outer < 0)
		return -EMFILE;
	return become(ALICE) ?: SYS(epoll_ctl(inner, EPOLL_CTL_ADD, self->l.fd, &ev));
}

static int other_reads(FIXTURE_DATA(fault) *self, enum fam fam)
{
	(void)self;
	(void)fam;
	if (system("cat /proc/net/fsocket_marks /proc/net/fsocket_stats /proc/net/hash_stat >/dev/null"))
		return -EIO;
	return 0;
}

static const struct {
	const char *name;
	int (*act)(FIXTURE_DATA(fault) *self, enum fam fam);
} others[] = {
	{ "spawns", other_spawns },
	{ "opens and closes", other_closes },
	{ "accepts", other_serves },
	{ "marks", other_marks },
	{ "listens at a mark", other_listens },
	{ "runs a program", other_runs },
	{ "forks", other_forks },
	{ "polls the socket", other_polls },
	{ "polls the socket by nested epolls", other_nests },
	{ "reads statistics", other_reads },
};

FIXTURE_SETUP(fault)
{
	struct listener l = { .fam = variant->fam, .port = htons(MARKED) };
	struct fsocket_ioctl_arg arg;
	struct sockaddr_storage ss;
	pid_t pid;

	FS_REQUIRE();
	pid = fork_child();
	if (!pid)
		_exit(missing_page() != 0);
	if (reap(pid))
		FS_SKIP("userfaultfd");
	ASSERT_EQ(0, new_netns());
	left_begin(&self->left);
	ASSERT_EQ(0, listener_open(&self->others, variant->fam, SOCK_NONBLOCK, true));
	mark_address(&l, &ss, &arg);
	ASSERT_EQ(0, fs_ioctl(FSOCKET_IOC_MARK, &arg));
}

FIXTURE_TEARDOWN(fault) { }

/* Wait for a child until @end; -1 if it has not ended, else its status. */
static int wait_until(pid_t pid, long long end)
{
	int status;

	while (waitpid(pid, &status, WNOHANG) != pid) {
		if (now_ms() >= end)
			return -1;
		sleep_ms(2);
	}
	return status;
}

/* All at once, so that a kernel on which all hang is known after one limit. */
static void nobody_waits(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self,
			 enum fam fam)
{
	pid_t pid[ARRAY_SIZE(others)];
	long long end = now_ms() + WAIT_MS;
	int i, status;

	for (i = 0; i < ARRAY_SIZE(others); i++) {
		pid[i] = fork_child();
		ASSERT_LE(0, pid[i]);
		if (!pid[i]) {
			int ret = others[i].act(self, fam);

			if (ret)
				ksft_print_msg("%s: %d\n", others[i].name, ret);
			_exit(ret != 0);
		}
	}
	for (i = 0; i < ARRAY_SIZE(others); i++) {
		status = wait_until(pid[i], end);
		EXPECT_EQ(0, status)
			TH_LOG("%s: who %s", status < 0 ? "waits" : "failed", others[i].name);
		if (status >= 0)
			pid[i] = 0;
	}
	/* This lets all of them go on. */
	kill(self->holder, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, reap(self->holder));
	for (i = 0; i < ARRAY_SIZE(others); i++)
		if (pid[i])
			reap(pid[i]);
}

static void expect_nothing_left(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self)
{
	const char *left;

	close(self->l.fd);
	close(self->others.fd);
	left = left_end(&self->left);
	EXPECT_EQ(NULL, left)
		TH_LOG("left: %s", left);
}

FS_TEST(fault, spawning)
{
	ASSERT_EQ(0, holder_start(self, SPAWNING, variant->fam));
	nobody_waits(_metadata, self, variant->fam);
	expect_nothing_left(_metadata, self);
}

FS_TEST(fault, spawned)
{
	ASSERT_EQ(0, holder_start(self, SPAWNED, variant->fam));
	nobody_waits(_metadata, self, variant->fam);
	expect_nothing_left(_metadata, self);
}

FS_TEST(fault, arguments)
{
	ASSERT_EQ(0, holder_start(self, ARGUMENTS, variant->fam));
	nobody_waits(_metadata, self, variant->fam);
	expect_nothing_left(_metadata, self);
}

TEST_HARNESS_MAIN
