// SPDX-License-Identifier: GPL-2.0
/*
 * Whom a spawned socket may bind to a CPU: tasks that its spawner could bind
 * by sched_setaffinity(2), and nobody else; nor what such a task becomes by
 * execve(2), and what the kernel starts for it. All are served all the same.
 */
#include <dirent.h>
#include <linux/capability.h>
#include <linux/vhost.h>
#include <sys/prctl.h>
#include "lib.h"
#include "uring.h"
#include "kselftest_harness.h"

#define REPORT_ENV	"FASTSOCKET_REPORT_FD"
#define SCHED_DEADLINE_	6
#define RESET_ON_FORK	1

/* As in /proc/PID/status, and as sched_getaffinity(2) has it. */
struct cpus {
	cpu_set_t set;
	char line[256];
};

static int cpus_of(pid_t tid, struct cpus *cpus)
{
	static const char field[] = "Cpus_allowed:";
	char path[64], line[256];
	FILE *f;

	memset(cpus, 0, sizeof(*cpus));
	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, field, strlen(field)))
			snprintf(cpus->line, sizeof(cpus->line), "%s", line);
	fclose(f);
	return mask_of(tid, &cpus->set);
}

static bool same_cpus(const struct cpus *a, const struct cpus *b)
{
	return CPU_EQUAL(&a->set, &b->set) && !strcmp(a->line, b->line);
}

/* A program that says which CPUs it may run on, and ends: before main(). */
__attribute__((constructor)) static void report(void)
{
	char *env = getenv(REPORT_ENV);
	struct cpus cpus;

	if (!env)
		return;
	if (cpus_of(getpid(), &cpus))
		_exit(1);
	_exit(write_full(atoi(env), &cpus, sizeof(cpus)) != sizeof(cpus));
}

/* What a task is allowed. */
enum caps { ALL, NO_NICE, ONLY_NICE, NONE };

struct who {
	const char *name;
	uid_t ruid, euid, suid;
	enum caps caps;
	/* In a user namespace of its own, where it is root. */
	bool ns;
	bool deadline;
};

static const struct who root = { "root", 0, 0, 0, ALL };
static const struct who root_no_nice = { "root without CAP_SYS_NICE", 0, 0, 0, NO_NICE };
static const struct who alice = { "alice", ALICE, ALICE, ALICE, NONE };
static const struct who alice_nice = { "alice with CAP_SYS_NICE", ALICE, ALICE, ALICE, ONLY_NICE };
static const struct who alice_as_bob = { "alice as bob", ALICE, BOB, ALICE, NONE };
static const struct who bob_as_alice = { "bob as alice", BOB, ALICE, BOB, NONE };
static const struct who bob_was_alice = { "bob, saved alice", BOB, BOB, ALICE, NONE };
static const struct who bob = { "bob", BOB, BOB, BOB, NONE };
static const struct who alice_ns = { "alice in a namespace", ALICE, ALICE, ALICE, NONE, true };
static const struct who bob_ns = { "bob in a namespace", BOB, BOB, BOB, NONE, true };
static const struct who root_ns = { "root in a namespace", 0, 0, 0, ALL, true };
static const struct who root_deadline = { "a deadline task", 0, 0, 0, ALL, false, true };

static int set_caps(enum caps caps)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };
	__u32 nice = CAP_TO_MASK(CAP_SYS_NICE);

	if (caps == NO_NICE) {
		if (SYS(syscall(SYS_capget, &head, data)))
			return -errno;
		data[0].effective &= ~nice;
	} else if (caps == ONLY_NICE) {
		data[0].effective = nice;
		data[0].permitted = nice;
	} else {
		return 0;
	}
	return SYS(syscall(SYS_capset, &head, data));
}

static int enter_userns(uid_t uid)
{
	int ret;

	/* /proc/self is root's after a change of user. */
	prctl(PR_SET_DUMPABLE, 1);
	ret = SYS(unshare(CLONE_NEWUSER));
	if (!ret)
		ret = file_write("/proc/self/uid_map", "0 %u 1", uid);
	return ret;
}

struct deadline_attr {
	__u32 size, policy;
	__u64 flags;
	__s32 nice;
	__u32 priority;
	__u64 runtime, deadline, period;
};

static int be_deadline(void)
{
	struct deadline_attr attr = {
		.size = sizeof(attr),
		.policy = SCHED_DEADLINE_,
		.flags = RESET_ON_FORK,
		.runtime = 20000000,
		.deadline = 100000000,
		.period = 100000000,
	};

	return SYS(syscall(SYS_sched_setattr, 0, &attr, 0));
}

/* In a child. */
static int be(const struct who *who)
{
	int ret = who->caps == ONLY_NICE ? SYS(prctl(PR_SET_KEEPCAPS, 1)) : 0;

	if (!ret)
		ret = SYS(setresuid(who->ruid, who->euid, who->suid));
	if (!ret)
		ret = set_caps(who->caps);
	if (!ret && who->ns)
		ret = enter_userns(who->euid);
	if (!ret && who->deadline)
		ret = be_deadline();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	return ret;
}

/* How to wait at a listener. */
enum way { POLL, EPOLL, SELECT, ACCEPT, WAYS };

static const char *const ways[] = { "poll", "epoll", "select", "accept" };

/* Wait for nothing, for a moment. */
static int look(int lfd, enum way way)
{
	struct timeval tv = { 0, 1000 };
	int ret, epfd;
	fd_set set;

	switch (way) {
	case POLL:
		return poll_one(lfd, POLLIN, 1);
	case EPOLL:
		epfd = consumer(lfd, EPOLLIN);
		return epfd < 0 ? epfd : 0;
	case SELECT:
		FD_ZERO(&set);
		FD_SET(lfd, &set);
		return SYS(select(lfd + 1, &set, NULL, NULL, &tv));
	default:
		setsockopt(lfd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
		set_nonblock(lfd, false);
		ret = SYS(accept(lfd, NULL, NULL));
		set_nonblock(lfd, true);
		return ret == -EAGAIN ? 0 : ret;
	}
}

/* Answer each connection; one without a word is the last. */
static int serve(int lfd)
{
	struct timeval forever = { 0 };
	int fd, id, ret;

	for (;;) {
		fd = accept_wait(lfd);
		if (fd < 0)
			return fd;
		/* Not the short one of look(), that it has from the listener. */
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever));
		ret = read_full(fd, &id, sizeof(id));
		if (ret == sizeof(id))
			ret = write_full(fd, &id, sizeof(id));
		close(fd);
		if (ret != sizeof(id))
			return ret;
	}
}

/* What a task found that waited at somebody's socket. */
struct found {
	int err;
	int line;
	bool same;
	int cpu;
};

#define note(f, call) ({						\
	int __ret = (call);						\
									\
	if (__ret && !(f)->err) {					\
		(f)->err = __ret;					\
		(f)->line = __LINE__;					\
	}								\
	(f)->err;							\
})

static void taker_main(const struct who *who, int sock, enum way way)
{
	struct cpus before, after;
	struct found f = { 0 };
	int lfd;

	note(&f, be(who));
	lfd = recv_fd(sock);
	note(&f, lfd < 0 ? lfd : 0);
	note(&f, cpus_of(getpid(), &before));
	if (!f.err)
		note(&f, look(lfd, way));
	note(&f, cpus_of(getpid(), &after));
	f.same = same_cpus(&before, &after);
	f.cpu = only_cpu(0);
	if (write_full(sock, &f, sizeof(f)) != sizeof(f) || f.err)
		_exit(1);
	_exit(serve(lfd) != 0);
}

static void spawner_main(const struct who *who, int sock, struct listener *l)
{
	/* As somebody who may not see it any more could pass it on. */
	if (be(who))
		_exit(1);
	if (listener_open(l, l->fam, SOCK_NONBLOCK, true))
		_exit(2);
	_exit(send_fd(sock, l->fd) != 0);
}

/* Clients from all CPUs, and one that says that it is over. */
static int load(const struct listener *l)
{
	int i, ret = 0;

	for (i = 0; i < 2 * cpu_count() && !ret; i++)
		ret = request(l, cpu_id(i), i);
	close(client(l, 0));
	return ret;
}

static int listener_of(const struct who *who, struct listener *l)
{
	struct sockaddr_in6 a = { 0 };
	socklen_t len = sizeof(a);
	int sock[2], ret;
	pid_t pid;

	ret = SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock));
	if (ret)
		return ret;
	pid = fork_child();
	if (!pid)
		spawner_main(who, sock[1], l);
	close(sock[1]);
	l->fd = recv_fd(sock[0]);
	close(sock[0]);
	ret = pid < 0 ? pid : reap(pid);
	if (!ret && l->fd >= 0)
		ret = SYS(getsockname(l->fd, (void *)&a, &len));
	l->port = a.sin6_port;
	return ret ? ret : l->fd < 0 ? l->fd : 0;
}

/* A task waits at @l; 0 if it was served, then @f says what it found. */
static int take(const struct who *who, const struct listener *l, enum way way,
		struct found *f)
{
	int sock[2], ret;
	pid_t pid;

	memset(f, 0, sizeof(*f));
	ret = SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock));
	if (ret)
		return ret;
	pid = fork_child();
	if (!pid)
		taker_main(who, sock[1], way);
	close(sock[1]);
	ret = pid < 0 ? pid : send_fd(sock[0], l->fd);
	if (!ret && read_full(sock[0], f, sizeof(*f)) != sizeof(*f))
		ret = -EPIPE;
	if (!ret && !f->err)
		ret = load(l);
	close(sock[0]);
	if (pid > 0 && (ret || f->err))
		kill(pid, SIGKILL);
	return ret ? ret : pid > 0 && !f->err ? reap(pid) : f->err;
}

FIXTURE(pins)
{
	struct listener l;
	struct cpus start;
};

FIXTURE_VARIANT(pins)
{
	enum fam fam;
};

FIXTURE_VARIANT_ADD(pins, v4) { V4 };
FIXTURE_VARIANT_ADD(pins, v6) { V6 };

FIXTURE_SETUP(pins)
{
	FS_REQUIRE();
	FS_NEED_CPUS(2);
	self->l.fam = variant->fam;
	ASSERT_EQ(0, cpus_of(getpid(), &self->start));
}

FIXTURE_TEARDOWN(pins) { }

/* A spawner, and a task that waits at its socket. */
struct meeting {
	const struct who *spawner, *taker;
};

/* Each meeting is tried in one way to wait, and in a soak in all. */
static void meet(struct __test_metadata *_metadata, struct listener *l,
		 const struct meeting *m, bool bound)
{
	static int turn;
	int way = (turn++ + 2 * l->fam) % WAYS, last = way;
	struct found f;

	if (soaks()) {
		way = 0;
		last = WAYS - 1;
	}
	for (; way <= last; way++) {
		ASSERT_EQ(0, listener_of(m->spawner, l))
			TH_LOG("spawned by %s", m->spawner->name);
		EXPECT_EQ(0, take(m->taker, l, way, &f))
			TH_LOG("by %s, for %s, line %d", m->spawner->name, m->taker->name, f.line);
		EXPECT_EQ(!bound, f.same)
			TH_LOG("spawned by %s, %s by %s", m->spawner->name, ways[way],
			       m->taker->name);
		EXPECT_EQ(bound, f.cpu >= 0)
			TH_LOG("spawned by %s, %s by %s", m->spawner->name, ways[way],
			       m->taker->name);
		close(l->fd);
	}
}

FS_TEST(pins, who_may_not)
{
	static const struct meeting meetings[] = {
		{ &alice, &bob }, { &alice, &root }, { &alice, &root_no_nice },
		{ &root_no_nice, &alice }, { &alice, &bob_was_alice },
		{ &bob_as_alice, &bob }, { &alice_as_bob, &alice },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(meetings); i++)
		meet(_metadata, &self->l, &meetings[i], false);
}

FS_TEST(pins, who_may)
{
	static const struct meeting meetings[] = {
		{ &alice, &alice }, { &root, &alice }, { &root, &root },
		{ &root_no_nice, &root }, { &alice_nice, &bob },
		{ &alice, &alice_as_bob }, { &alice, &bob_as_alice },
		{ &bob_as_alice, &alice },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(meetings); i++)
		meet(_metadata, &self->l, &meetings[i], true);
}

/* Root of a user namespace is root in there. */
FS_TEST(pins, user_namespace)
{
	static const struct meeting outside[] = {
		{ &alice_ns, &bob }, { &alice_ns, &root }, { &alice_ns, &bob_ns },
		{ &root_ns, &alice },
	};
	static const struct meeting inside[] = {
		{ &root, &alice_ns }, { &alice_ns, &alice }, { &alice, &alice_ns },
	};
	pid_t pid = fork_child();
	int i;

	ASSERT_LE(0, pid);
	if (!pid)
		_exit(unshare(CLONE_NEWUSER) != 0);
	if (reap(pid))
		FS_SKIP("user namespaces");
	for (i = 0; i < ARRAY_SIZE(outside); i++)
		meet(_metadata, &self->l, &outside[i], false);
	for (i = 0; i < ARRAY_SIZE(inside); i++)
		meet(_metadata, &self->l, &inside[i], true);
}

FS_TEST(pins, deadline)
{
	struct meeting m = { &root, &root_deadline };
	pid_t pid = fork_child();

	ASSERT_LE(0, pid);
	if (!pid)
		_exit(be_deadline() != 0);
	if (reap(pid))
		FS_SKIP("SCHED_DEADLINE on all CPUs");
	meet(_metadata, &self->l, &m, false);
}

/* A user's program, by FSOCKET_IOC_RUN: it is the user who has spawned. */
FS_TEST(pins, run)
{
	struct fsocket_ioctl_arg arg = { 0 };
	struct found f;
	int sock[2];
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	pid = fork_child();
	ASSERT_LE(0, pid);
	if (!pid) {
		ASSERT_EQ(0, become(ALICE));
		ASSERT_EQ(0, fs_ioctl(FSOCKET_IOC_RUN, &arg));
		ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK, false));
		ASSERT_EQ(0, send_fd(sock[1], self->l.fd));
		_exit(write_full(sock[1], &self->l.port, 2) != 2);
	}
	self->l.fd = recv_fd(sock[0]);
	ASSERT_LE(0, self->l.fd);
	ASSERT_EQ(2, read_full(sock[0], &self->l.port, 2));
	ASSERT_EQ(0, reap(pid));
	EXPECT_EQ(0, take(&root, &self->l, POLL, &f));
	EXPECT_TRUE(f.same);
	EXPECT_EQ(0, take(&alice, &self->l, POLL, &f));
	EXPECT_LE(0, f.cpu);
}

/* Who was there before does not make it another's. */
FS_TEST(pins, one_after_another)
{
	struct found f;

	ASSERT_EQ(0, listener_of(&alice, &self->l));
	EXPECT_EQ(0, take(&alice, &self->l, EPOLL, &f));
	EXPECT_LE(0, f.cpu);
	EXPECT_EQ(0, take(&bob, &self->l, EPOLL, &f));
	EXPECT_TRUE(f.same);
	EXPECT_EQ(0, take(&root, &self->l, EPOLL, &f));
	EXPECT_TRUE(f.same);
	EXPECT_EQ(0, take(&alice, &self->l, EPOLL, &f));
	EXPECT_LE(0, f.cpu);
}

/* Two CPUs, as a user asks for them. */
static void two_cpus(cpu_set_t *set)
{
	CPU_ZERO(set);
	CPU_SET(cpu_id(0), set);
	CPU_SET(cpu_id(1), set);
}

static void exec_report(int fd)
{
	char env[64], *argv[] = { "report", NULL }, *envp[] = { env, NULL };

	snprintf(env, sizeof(env), REPORT_ENV "=%d", fd);
	execve("/proc/self/exe", argv, envp);
	_exit(127);
}

/* What is bound before the program is replaced, and who replaces it. */
enum execs { LEADER, THREAD, LEADER_BY_THREAD, EXECS };

struct exec_by {
	int lfd, out;
	bool polls;
};

static void *exec_thread(void *arg)
{
	struct exec_by *by = arg;

	if (by->polls && (poll_one(by->lfd, POLLIN, 1) || only_cpu(0) < 0))
		_exit(3);
	exec_report(by->out);
	return NULL;
}

static void exec_main(enum execs how, int lfd, int out)
{
	struct exec_by by = { lfd, out, how == THREAD };
	pthread_t thread;

	if (how != THREAD && (poll_one(lfd, POLLIN, 1) || only_cpu(0) < 0))
		_exit(3);
	if (how == LEADER)
		exec_report(out);
	if (!pthread_create(&thread, NULL, exec_thread, &by))
		pthread_join(thread, NULL);
	_exit(1);
}

/* The user asks for CPUs: never, before it is bound, and again to the same. */
static int after_exec(enum execs how, int lfd, const cpu_set_t *asked, struct cpus *cpus)
{
	int out[2], ret = SYS(pipe(out));
	pid_t pid;

	if (ret)
		return ret;
	pid = fork_child();
	if (!pid) {
		if (asked && sched_setaffinity(0, sizeof(*asked), asked))
			_exit(4);
		exec_main(how, lfd, out[1]);
	}
	close(out[1]);
	if (read_full(out[0], cpus, sizeof(*cpus)) != sizeof(*cpus))
		ret = -EPIPE;
	close(out[0]);
	return pid < 0 ? pid : reap(pid) ?: ret;
}

FS_TEST(pins, end_at_exec)
{
	enum execs how;
	struct cpus c;
	cpu_set_t two;

	two_cpus(&two);
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK, true));
	for (how = 0; how < EXECS; how++) {
		EXPECT_EQ(0, after_exec(how, self->l.fd, NULL, &c));
		EXPECT_TRUE(same_cpus(&self->start, &c))
			TH_LOG("case %d: was %sis %s", how, self->start.line, c.line);
		EXPECT_EQ(0, after_exec(how, self->l.fd, &two, &c));
		EXPECT_TRUE(CPU_EQUAL(&two, &c.set))
			TH_LOG("case %d, asked for two: is %s", how, c.line);
	}
}

/* Who has asked after it was bound has had its way already. */
FS_TEST(pins, later_wish_survives_exec)
{
	struct cpus c = { 0 };
	int out[2];
	pid_t pid;

	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK, true));
	ASSERT_EQ(0, pipe(out));
	pid = fork_child();
	ASSERT_LE(0, pid);
	if (!pid) {
		ASSERT_EQ(0, poll_one(self->l.fd, POLLIN, 1));
		ASSERT_EQ(0, pin_to(cpu_id(1)));
		exec_report(out[1]);
	}
	ASSERT_EQ(sizeof(c), read_full(out[0], &c, sizeof(c)));
	EXPECT_EQ(0, reap(pid));
	EXPECT_EQ(1, CPU_COUNT(&c.set));
	EXPECT_TRUE(CPU_ISSET(cpu_id(1), &c.set));
}

/* The threads of this process of that name: how many may not run where wanted? */
static int threads_unlike(const cpu_set_t *want, const char *name, int *seen)
{
	DIR *dir = opendir("/proc/self/task");
	char path[300], comm[32];
	struct dirent *e;
	cpu_set_t set;
	int bad = 0;
	FILE *f;

	*seen = 0;
	while (dir && (e = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fgets(comm, sizeof(comm), f) && !strncmp(comm, name, strlen(name)) &&
		    !mask_of(atoi(e->d_name), &set)) {
			++*seen;
			bad += !CPU_EQUAL(want, &set);
		}
		fclose(f);
	}
	if (dir)
		closedir(dir);
	return bad;
}

/* What the kernel starts for a program does not serve its socket. */
enum helper { VHOST, SQPOLL, IO_WORKER, HELPERS };

static const char *const helpers[] = { "vhost-", "iou-sqp-", "iou-wrk-" };

static int start_vhost(void)
{
	int fd = SYS(open("/dev/vhost-net", O_RDWR | O_CLOEXEC)), ret;

	if (fd < 0)
		return fd;
	ret = SYS(ioctl(fd, VHOST_SET_OWNER, NULL));
	return ret ? ret : fd;
}

static int start_sqpoll(void)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_SQPOLL,
		.sq_thread_idle = WAIT_MS,
	};

	return SYS(syscall(SYS_io_uring_setup, 4, &p));
}

/* A worker of io_uring that blocks in read(). */
static int start_io_worker(void)
{
	static struct uring u;
	static char byte;
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_READ,
		.flags = IOSQE_ASYNC,
		.addr = (unsigned long)&byte,
		.len = 1,
	};
	int p[2], ret = uring_open(&u);

	if (!ret)
		ret = SYS(pipe(p));
	sqe.fd = p[0];
	return ret ? ret : uring_submit(&u, &sqe) ?: u.fd;
}

static int start_helper(enum helper h)
{
	switch (h) {
	case VHOST:
		return start_vhost();
	case SQPOLL:
		return start_sqpoll();
	default:
		return start_io_worker();
	}
}

/* The helper is as that of a task that is not bound, here or by the user. */
static void helper_is_free(struct __test_metadata *_metadata, enum helper h, int lfd,
			   const cpu_set_t *asked)
{
	cpu_set_t want;
	int seen = 0, bad = 0, fd;

	/* What others have found is theirs. */
	_metadata->exit_code = KSFT_PASS;
	if (asked)
		ASSERT_EQ(0, sched_setaffinity(0, sizeof(*asked), asked));
	ASSERT_EQ(0, mask_of(0, &want));
	ASSERT_EQ(0, poll_one(lfd, POLLIN, 1));
	ASSERT_LE(0, only_cpu(0));
	fd = start_helper(h);
	ASSERT_LE(0, fd);
	EXPECT_TRUE(WAIT_FOR(({
		bad = threads_unlike(&want, helpers[h], &seen);
		seen;
	})));
	EXPECT_EQ(0, bad)
		TH_LOG("%s, %s", helpers[h], asked ? "asked" : "not asked");
	close(fd);
	_exit(_metadata->exit_code);
}

FS_TEST(pins, helpers_are_free)
{
	enum helper h;
	cpu_set_t two;
	int asked;
	pid_t pid;

	two_cpus(&two);
	ASSERT_EQ(0, listener_open(&self->l, variant->fam, SOCK_NONBLOCK, true));
	for (h = 0; h < HELPERS; h++) {
		/* io_uring's are on all CPUs whatever was asked for. */
		for (asked = 0; asked <= (h == VHOST); asked++) {
			pid = fork_child();
			ASSERT_LE(0, pid);
			if (!pid) {
				int fd = start_helper(h);

				if (fd < 0)
					_exit(100);
				close(fd);
				_exit(0);
			}
			if (reap(pid) == 100)
				FS_SKIP("%s threads", helpers[h]);
			pid = fork_child();
			ASSERT_LE(0, pid);
			if (!pid)
				helper_is_free(_metadata, h, self->l.fd, asked ? &two : NULL);
			EXPECT_EQ(0, reap(pid));
		}
	}
}

TEST_HARNESS_MAIN
