// SPDX-License-Identifier: GPL-2.0
/*
 * A minute of everything at the same time: under load, workers of all kinds
 * are moved from CPU to CPU and between cpusets, and CPUs come and go. No
 * connection may fail, and nothing of any may be left afterwards.
 *
 * FASTSOCKET_STORM_SECS says how long the load lasts.
 */
#include "lib.h"
#include <sys/mount.h>
#include "kselftest.h"

#define STORM_SECS	60
/* It goes on for so many connections, however slow the machine is. */
#define MIN_DONE	100
#define WORKERS		3
#define CLIENTS		4
#define CPUSETS		3
/* After so many connections, a worker begins anew to wait. */
#define AGAIN		16

static void by_epoll(struct worker *w)
{
	int epfd = consumer(w->lfd, EPOLLIN), n = 0, ret, fd;
	struct epoll_event ev;

	if (epfd < 0)
		worker_fail(w, epfd);
	worker_ready(w);
	while (!w->stop) {
		ret = SYS(epoll_wait(epfd, &ev, 1, -1));
		fd = ret == 1 ? SYS(accept4(w->lfd, NULL, NULL, SOCK_CLOEXEC)) : ret;
		if (fd == -EAGAIN || fd == -EINTR)
			continue;
		worker_serve(w, fd);
		if (++n % AGAIN)
			continue;
		close(epfd);
		epfd = consumer(w->lfd, EPOLLIN);
		if (epfd < 0)
			worker_fail(w, epfd);
	}
	close(epfd);
}

static void by_accept(struct worker *w)
{
	int fd;

	worker_ready(w);
	while (!w->stop) {
		fd = SYS(accept4(w->lfd, NULL, NULL, SOCK_CLOEXEC));
		if (fd != -EINTR)
			worker_serve(w, fd);
	}
}

/* Processes first: they are forked while there is one thread. */
static const struct {
	enum fam fam;
	int flags;
	bool procs;
	void (*loop)(struct worker *w);
} kinds[] = {
	{ V4, SOCK_NONBLOCK, true, by_epoll },
	{ V6, SOCK_NONBLOCK, true, by_epoll },
	{ V4, 0, true, by_accept },
	{ V6, 0, true, by_accept },
	{ DUAL, SOCK_NONBLOCK, false, by_epoll },
	{ DUAL, 0, false, by_accept },
};

#define KINDS	ARRAY_SIZE(kinds)

/* What the process in which all this happens tells its parent. */
static struct {
	/* The first error that must not be, and where. */
	atomic_int err, line;
	atomic_int done, failed;
	int stopped, served, accepted, inuse;
	atomic_int masks, moves, cpusets, plugs;
} *st;

static struct listener listeners[KINDS];
static struct pool pools[KINDS];
static atomic_bool enough;

/* True if @ret is no error. */
#define fine(ret) ({							\
	int __ret = (ret), __zero = 0;					\
									\
	if (__ret < 0 && atomic_compare_exchange_strong(&st->err, &__zero, __ret)) \
		st->line = __LINE__;					\
	__ret >= 0;							\
})

static pid_t some_worker(unsigned int *seed)
{
	return pools[rand_r(seed) % KINDS].sh->tid[rand_r(seed) % WORKERS];
}

/* All CPUs, or some of them and at least one. */
static void some_cpus(cpu_set_t *set, bool all, unsigned int *seed)
{
	int i;

	CPU_ZERO(set);
	if (!all)
		CPU_SET(cpu_id(rand_r(seed) % cpu_count()), set);
	for (i = 0; i < cpu_count(); i++)
		if (all || rand_r(seed) % 4 == 0)
			CPU_SET(cpu_id(i), set);
}

/* Connections one after the other, to each listener in turn, from any CPU. */
static void *client_main(void *arg)
{
	unsigned int seed = (long)arg;
	int i, ret;

	for (i = 0; !enough; i++) {
		ret = request(&listeners[i % KINDS], cpu_id(rand_r(&seed) % cpu_count()),
			      i % MAX_CONNS);
		/* The CPU is not there at present. */
		if (ret == -EINVAL)
			continue;
		atomic_fetch_add(fine(ret) ? &st->done : &st->failed, 1);
	}
	return NULL;
}

/* As taskset does: some CPUs, or all of them again. */
static void *mask_main(void *arg)
{
	unsigned int seed = (long)arg;
	cpu_set_t set;
	int ret;

	while (!enough) {
		some_cpus(&set, rand_r(&seed) % 4 == 0, &seed);
		ret = SYS(sched_setaffinity(some_worker(&seed), sizeof(set), &set));
		/* None of them is there, or none is in the worker's cpuset. */
		if (fine(ret == -EINVAL ? 0 : ret) && !ret)
			st->masks++;
		sleep_ms(rand_r(&seed) % 20);
	}
	return NULL;
}

static int write_file(const char *path, const char *val)
{
	int fd = SYS(open(path, O_WRONLY | O_CLOEXEC)), ret;

	if (fd < 0)
		return fd;
	ret = write_full(fd, val, strlen(val));
	close(fd);
	return ret < 0 ? ret : 0;
}

/* Where the cpusets are mounted, if they are. */
static char mnt[] = "/tmp/storm-XXXXXX";
static bool have_cpusets, v1;
static pid_t owner;

/* The directory of cpuset @n, or of the root for -1, and a file in it. */
static const char *cpuset_path(char path[96], int n, const char *file)
{
	if (n < 0)
		snprintf(path, 96, "%s/%s", mnt, file);
	else
		snprintf(path, 96, "%s/storm-%d-%d/%s", mnt, owner, n, file);
	return path;
}

static int cpuset_write(int n, const char *file, const char *val)
{
	char path[96];

	return write_file(cpuset_path(path, n, file), val);
}

static int cpuset_set(int n, const cpu_set_t *set)
{
	char list[4 * MAX_CPUS] = "";
	int i, len = 0;

	for (i = 0; i < cpu_count(); i++)
		if (CPU_ISSET(cpu_id(i), set))
			len += snprintf(list + len, sizeof(list) - len, "%d,", cpu_id(i));
	return cpuset_write(n, "cpuset.cpus", list);
}

static int cpuset_enter(int n, pid_t tid)
{
	char buf[16];

	snprintf(buf, sizeof(buf), "%d", tid);
	return cpuset_write(n, v1 ? "tasks" : "cgroup.threads", buf);
}

/*
 * Nobody is moved to the root while CPUs are away: mainline warns then, if those
 * that sched_setaffinity() asked for are away.
 */
static void *cpuset_main(void *arg)
{
	unsigned int seed = (long)arg;
	bool move, refused;
	cpu_set_t set;
	int n, ret;

	while (!enough) {
		move = rand_r(&seed) % 4;
		if (move) {
			ret = cpuset_enter(rand_r(&seed) % CPUSETS, some_worker(&seed));
		} else {
			/* The first one has all CPUs. */
			n = 1 + rand_r(&seed) % (CPUSETS - 1);
			some_cpus(&set, rand_r(&seed) % 4 == 0, &seed);
			ret = cpuset_set(n, &set);
		}
		/* Version 1 has no cpuset with CPUs that are away. */
		refused = v1 && (ret == -EINVAL || ret == -EACCES || ret == -ENOSPC);
		if (!refused && fine(ret))
			atomic_fetch_add(move ? &st->moves : &st->cpusets, 1);
		sleep_ms(rand_r(&seed) % 50);
	}
	return NULL;
}

/* Whether a CPU can be unplugged; the first one stays in any case. */
static bool can_go(int i)
{
	return i > 0 && !cpu_online(cpu_id(i), true);
}

static void *plug_main(void *arg)
{
	bool on[MAX_CPUS] = { false };
	unsigned int seed = (long)arg;
	int i;

	for (i = 0; i < cpu_count(); i++)
		on[i] = can_go(i);
	while (!enough) {
		i = 1 + rand_r(&seed) % (cpu_count() - 1);
		on[i] = !on[i];
		if (fine(cpu_online(cpu_id(i), on[i])))
			st->plugs++;
		sleep_ms(rand_r(&seed) % 100);
	}
	return NULL;
}

/* All CPUs are there, and for everybody. */
static void calm(void)
{
	cpu_set_t all;
	int i, w;

	some_cpus(&all, true, NULL);
	for (i = 0; i < cpu_count(); i++)
		can_go(i);
	for (i = 0; i < KINDS; i++) {
		for (w = 0; w < WORKERS; w++) {
			if (have_cpusets)
				fine(cpuset_enter(-1, pools[i].sh->tid[w]));
			fine(SYS(sched_setaffinity(pools[i].sh->tid[w], sizeof(all), &all)));
		}
	}
}

/* The number after @name in the line of /proc/net/@file that begins with @line. */
static long sockstat(const char *file, const char *line, const char *name)
{
	char path[64], buf[256], *at;
	long val = -ENOENT;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/thread-self/net/%s", file);
	f = fopen(path, "re");
	while (f && fgets(buf, sizeof(buf), f)) {
		at = strncmp(buf, line, strlen(line)) ? NULL : strstr(buf, name);
		if (at)
			val = atol(at + strlen(name));
	}
	if (f)
		fclose(f);
	return val;
}

static long inuse(void)
{
	return sockstat("sockstat", "TCP:", "inuse ") + sockstat("sockstat6", "TCP6:", "inuse ");
}

static int accepted(void)
{
	return stat_total("fsocket_stats", "accept_local") +
	       stat_total("fsocket_stats", "accept_global") +
	       stat_total("fsocket_stats", "accept_foreign");
}

static bool start(void)
{
	int i;

	if (!fine(new_netns()) ||
	    /* Whatever is left of one connection is not in another's way. */
	    !fine(write_file("/proc/sys/net/ipv4/tcp_max_tw_buckets", "262144")) ||
	    !fine(write_file("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535")))
		return false;
	for (i = 0; i < KINDS; i++)
		if (!fine(listener_open(&listeners[i], kinds[i].fam, kinds[i].flags, true)))
			return false;
	for (i = 0; i < KINDS; i++)
		if (!fine(pool_start(&pools[i], &listeners[i], WORKERS, kinds[i].procs,
				     kinds[i].loop)))
			return false;
	return true;
}

/* A process of its own, with a network namespace of its own: both end. */
static void storm(int secs, bool hotplug)
{
	void *(*mains[])(void *) = {
		mask_main, have_cpusets ? cpuset_main : NULL, hotplug ? plug_main : NULL,
	};
	pthread_t thread[CLIENTS + ARRAY_SIZE(mains)];
	int i, w, n = 0;
	long long end;

	if (!start())
		return;
	for (i = 0; i < CLIENTS; i++)
		n += fine(-pthread_create(&thread[n], NULL, client_main, (void *)(long)n));
	for (i = 0; i < ARRAY_SIZE(mains); i++)
		if (mains[i])
			n += fine(-pthread_create(&thread[n], NULL, mains[i], (void *)(long)n));
	end = now_ms() + secs * 1000LL;
	while ((now_ms() < end || st->done < MIN_DONE) && !st->err)
		sleep_ms(50);
	enough = true;
	for (i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	calm();

	for (i = 0; i < KINDS; i++) {
		fine(pool_stop(&pools[i]));
		fine(pool_error(&pools[i]));
		st->stopped += WORKERS;
		for (w = 0; w < WORKERS; w++)
			st->served += pools[i].sh->by_worker[w];
		close(listeners[i].fd);
	}
	st->accepted = accepted();
	WAIT_FOR(!inuse());
	st->inuse = inuse();
}

/*
 * Caches of their own, that is never merged with others: their objects live
 * on under RCU, or are constructed.
 */
static const char *const slabs[] = {
	"TCP", "TCPv6", "request_sock_TCP", "request_sock_TCPv6", "tw_sock_TCP",
	"tw_sock_TCPv6", "sock_inode_cache",
};

/* What can be left: objects, sockets, and who uses the module. */
#define COUNTS	(ARRAY_SIZE(slabs) + 3)

static const char *count_name(int i)
{
	static const char *const rest[] = {
		"sockstat's alloc", "sockstat's orphan", "users of the module",
	};

	return i < ARRAY_SIZE(slabs) ? slabs[i] : rest[i - ARRAY_SIZE(slabs)];
}

static long slab_objects(const char *name)
{
	char path[96];
	long n = -1;
	FILE *f;

	/*
	 * What a CPU has at hand counts as used, and so does what KASAN holds
	 * back: have it returned.
	 */
	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/shrink", name);
	if (write_file(path, "1"))
		return -1;
	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/objects", name);
	f = fopen(path, "re");
	if (f && fscanf(f, "%ld", &n) != 1)
		n = -1;
	if (f)
		fclose(f);
	return n;
}

static long count(int i)
{
	char buf[32] = "";
	int fd;

	switch (i - (int)ARRAY_SIZE(slabs)) {
	case 0:
		return sockstat("sockstat", "TCP:", "alloc ");
	case 1:
		return sockstat("sockstat", "TCP:", "orphan ");
	case 2:
		fd = open("/sys/module/fastsocket/refcnt", O_RDONLY | O_CLOEXEC);
		if (fd < 0 || read(fd, buf, sizeof(buf) - 1) <= 0)
			return -1;
		close(fd);
		return atol(buf);
	default:
		return slab_objects(slabs[i]);
	}
}

static int cpusets_open(void)
{
	cpu_set_t all;
	char path[96];
	int i, ret;

	owner = getpid();
	some_cpus(&all, true, NULL);
	if (!mkdtemp(mnt))
		return -errno;
	ret = SYS(unshare(CLONE_NEWNS));
	if (!ret)
		ret = SYS(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	if (!ret)
		ret = SYS(mount("none", mnt, "cgroup2", 0, NULL));
	if (!ret) {
		ret = cpuset_write(-1, "cgroup.subtree_control", "+cpuset");
		if (ret)
			umount(mnt);
	}
	if (ret) {
		v1 = true;
		ret = SYS(mount("none", mnt, "cgroup", 0, "cpuset"));
	}
	/* Threads move where their process is, or below. */
	if (!ret)
		ret = cpuset_write(-1, "cgroup.procs", "0");
	for (i = 0; !ret && i < CPUSETS; i++) {
		ret = SYS(mkdir(cpuset_path(path, i, ""), 0755));
		if (!ret)
			ret = v1 ? cpuset_write(i, "cpuset.mems", "0") :
				   cpuset_write(i, "cgroup.type", "threaded");
		if (!ret)
			ret = cpuset_set(i, &all);
	}
	return ret;
}

static void cpusets_close(void)
{
	char path[96];
	int i;

	/* A process that has ended leaves its cpuset a little later. */
	for (i = 0; i < CPUSETS; i++)
		WAIT_FOR(!rmdir(cpuset_path(path, i, "")) || errno != EBUSY);
	umount(mnt);
	rmdir(mnt);
}

/* What is not there on this machine is skipped, unless all is to be there. */
static void tell(bool there, bool good, const char *name)
{
	if (there || getenv("FASTSOCKET_EXPECT_ALL"))
		ksft_test_result(there && good, "%s\n", name);
	else
		ksft_test_result_skip("%s\n", name);
}

int main(void)
{
	const char *s = getenv("FASTSOCKET_STORM_SECS");
	int i, status, secs = s && atoi(s) > 0 ? atoi(s) : STORM_SECS;
	long before[COUNTS], after;
	bool hotplug = true;
	char name[64];
	pid_t pid;

	ksft_print_header();
	if (cpu_count() < 2)
		ksft_exit_skip("needs 2 CPUs\n");
	if (fs_load(2)) {
		if (getenv("FASTSOCKET_EXPECT_ALL"))
			ksft_exit_fail_msg("missing: fastsocket\n");
		ksft_exit_skip("needs fastsocket\n");
	}
	ksft_set_plan(6 + COUNTS);
	st = mmap(NULL, sizeof(*st), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (st == MAP_FAILED)
		ksft_exit_fail_perror("mmap");
	for (i = 1; i < cpu_count(); i++)
		hotplug = hotplug && can_go(i);
	have_cpusets = !cpusets_open();

	for (i = 0; i < COUNTS; i++)
		before[i] = count(i);
	pid = fork_child();
	if (!pid) {
		storm(secs, hotplug);
		exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		st->err = st->err ?: -ECHILD;
	cpusets_close();
	for (i = 1; i < cpu_count(); i++)
		can_go(i);

	ksft_print_msg("%d connections in %d s\n", st->done, secs);
	ksft_print_msg("%d masks, %d moves to a cpuset, %d changes of one, %d CPUs less or more\n",
		       st->masks, st->moves, st->cpusets, st->plugs);
	if (st->err)
		ksft_print_msg("line %d: %s\n", st->line, strerror(-st->err));
	tell(true, st->masks, "workers run on other CPUs");
	tell(have_cpusets, st->moves && st->cpusets, "workers move between cpusets");
	tell(hotplug, st->plugs, "CPUs come and go");
	ksft_test_result(!st->failed && !st->err && st->done, "no connection failed\n");
	ksft_test_result(st->served == st->done && st->accepted == st->done + st->stopped,
			 "each was accepted once, and served\n");
	if (st->accepted != st->done + st->stopped || st->served != st->done)
		ksft_print_msg("%d made, %d failed, %d accepted, %d served\n",
			       st->done + st->stopped, st->failed, st->accepted,
			       st->served + st->stopped);
	ksft_test_result(!st->inuse, "no socket is in use afterwards\n");

	for (i = 0; i < COUNTS; i++) {
		/* The namespace and its sockets in TIME_WAIT end in their own time. */
		WAIT_FOR((after = count(i)) <= before[i]);
		ksft_print_msg("%s: %ld before, %ld after\n", count_name(i), before[i], after);
		snprintf(name, sizeof(name), "%s: as before", count_name(i));
		tell(before[i] >= 0, after <= before[i], name);
	}
	ksft_finished();
}
