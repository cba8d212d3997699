/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of fastsocket share: thin wrappers of the device's commands,
 * listening sockets, clients on a chosen CPU, and a pool of workers.
 *
 * Functions here return what the system call returns, or the negative errno,
 * so that a test can assert the exact error.
 */
#ifndef FASTSOCKET_SELFTEST_LIB_H
#define FASTSOCKET_SELFTEST_LIB_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <linux/fastsocket.h>

#define FS_DEVICE	"/dev/fastsocket"
#define FS_PARAMS	"/sys/module/fastsocket/parameters/"

/* An event that must come and has not come by then is taken for lost. */
#ifndef WAIT_MS
#define WAIT_MS		30000
#endif
/* How long to watch that an event that must not come does not come. */
#define QUIET_MS	200
/* What the harness gives one test: above WAIT_MS, so that we report first. */
#define TEST_SECS	(WAIT_MS / 1000 * 5)
/* Connections of a test that needs "many". */
#define CONNS		32

#define MAX_CPUS	64
#define MAX_CONNS	1024
#define MAX_WORKERS	(2 * MAX_CPUS + 1)

/* Turn "-1 and errno" into the negative errno. */
#define SYS(call)	({ long __r = (call); __r < 0 ? -errno : (int)__r; })

#define FS_TEST(fixture, name)	TEST_F_TIMEOUT(fixture, name, TEST_SECS)

/* Skip, unless everything is expected to be there: then fail. */
#define FS_SKIP(fmt, ...) do {						\
	if (getenv("FASTSOCKET_EXPECT_ALL")) {				\
		TH_LOG("missing: " fmt, ##__VA_ARGS__);			\
		_metadata->exit_code = KSFT_FAIL;			\
		return;							\
	}								\
	SKIP(return, fmt, ##__VA_ARGS__);				\
} while (0)

/* What is skipped for a reason that no build of the kernel can change. */
#define FS_NEED_CPUS(n) do {						\
	if (cpu_count() < (n))						\
		SKIP(return, "needs %d CPUs", (n));			\
} while (0)

#define FS_REQUIRE() do {						\
	if (fs_load(2))							\
		FS_SKIP("fastsocket with enable_listen_spawn=2");	\
} while (0)

#define ADD_MODE_FAMILY_VARIANTS(fixture)				\
	FIXTURE_VARIANT_ADD(fixture, plain_v4) { false, V4 };		\
	FIXTURE_VARIANT_ADD(fixture, spawned_v4) { true, V4 };		\
	FIXTURE_VARIANT_ADD(fixture, spawned_v6) { true, V6 }

/* Is there time for all of it? FASTSOCKET_SOAK says so, if it is not empty. */
bool soaks(void);

/* Time. */
long long now_ns(void);
long long now_ms(void);
void sleep_ms(int ms);

#define WAIT_FOR(cond) ({						\
	long long __end = now_ms() + WAIT_MS;				\
	bool __ok;							\
									\
	while (!(__ok = !!(cond)) && now_ms() < __end)			\
		sleep_ms(2);						\
	__ok;								\
})

/* CPUs that this program may run on, as it was started. */
int cpu_count(void);
int cpu_id(int i);
int pin_to(int cpu);
/* How many CPUs the kernel is ready for, up to the next power of two. */
int named_cpus(void);
/* A port that names a CPU, where those in a distance of @step name the same; none of them is in use. */
in_port_t port_that_names(int step, int cpu);
/* Plug a CPU in or out. */
int cpu_online(int cpu, bool on);
int mask_of(pid_t tid, cpu_set_t *set);
int only_cpu(pid_t tid);
/* Wait until a thread of any process sleeps in the kernel. */
bool wait_asleep(pid_t tid);
pid_t gettid_(void);

/* The module and its device. */
int fs_load(int mode);
int fs_reload(int mode);
int fs_load_with(const char *param);
int fs_reload_with(const char *params);
int fs_unload(void);
void fs_close_device(void);
int fs_param(const char *name);
int fs_set_param(const char *name, const char *value);
int fs_ioctl(unsigned long cmd, struct fsocket_ioctl_arg *arg);

struct fs_api {
	int (*socket)(int family, int type, int protocol);
	int (*listen)(int fd, int backlog);
	int (*accept)(int fd, struct sockaddr *sa, socklen_t *len, int flags);
	int (*close)(int fd);
	int (*epoll_ctl)(int epfd, int op, int fd, struct epoll_event *ev);
	int (*shutdown)(int fd, int how);
};

extern const struct fs_api sys_api, dev_api;

int fs_spawn(int fd, int cpu);
int fs_spawn_all(void);

/* Column @name of the "total" line of /proc/net/@file, or the negative errno. */
long long stat_total(const char *file, const char *name);
/* The same of one CPU. */
long long stat_cpu(const char *file, const char *name, int cpu);

/*
 * What is left behind: references to the module, TCP sockets of the machine,
 * and complaints of the kernel, as /proc/sys/kernel/tainted has them.
 */
struct trace_left {
	long long refs, socks, taint;
};

void left_begin(struct trace_left *t);
/* All is closed: wait until no more is left than there was; or say what is. */
const char *left_end(const struct trace_left *t);
long long file_number(const char *path);
int file_write(const char *path, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * Control groups, of version 2, in a mount namespace of our own, with these
 * controllers ("+cpuset"); their files; and 0 is the caller itself.
 */
int cgroup_mount(const char *controllers);
int cgroup_new(const char *group);
int cgroup_write(const char *group, const char *file, const char *val);
long long cgroup_read(const char *group, const char *file);
int cgroup_move(const char *group, pid_t pid);
/*
 * Let a task run one twentieth of the time ("+cpu"): it is in a group whose
 * quota somebody else uses up, on this CPU. Returns who, to be killed.
 */
pid_t cgroup_throttle(const char *group, pid_t pid, int cpu);
/* Remove them, when those that were in them are gone. */
void cgroup_unmount(void);

/* Users that own nothing. */
#define NOBODY		65534
#define ALICE		65001
#define BOB		65002
int become(uid_t uid);

/* Listening sockets and clients. */
enum fam { V4, V6, DUAL };

struct listener {
	int fd;
	enum fam fam;
	in_port_t port;
	bool spawned;
};

int listener_bind(struct listener *l, enum fam fam, int flags, bool reuseport);
int listener_open(struct listener *l, enum fam fam, int flags, bool spawn);
socklen_t listener_addr(const struct listener *l, int n, struct sockaddr_storage *ss);
/* The port that getsockname() or getpeername() tells of. */
in_port_t port_by(int fd, int (*of)(int fd, struct sockaddr *sa, socklen_t *len));
int connect_wait(int fd, const struct sockaddr_storage *ss, socklen_t len);
int client(const struct listener *l, int n);
int client_on(const struct listener *l, int cpu, int n);
int client_from(const struct listener *l, in_port_t port);
int client_start(const struct listener *l, int n);
bool refused(const struct listener *l, int n);
int set_nonblock(int fd, bool on);
int set_int(int fd, int level, int opt, int val);
int get_int(int fd, int level, int opt);
int read_full(int fd, void *buf, size_t len);
int write_full(int fd, const void *buf, size_t len);
/* Send bytes both ways between a client and its accepted socket. */
int talk(int a, int b);
/* poll() one descriptor: its revents, 0 when there are none, or an error. */
int poll_one(int fd, int events, int timeout_ms);
/* accept4() of a non-blocking listener, waiting with poll() where needed. */
int accept_wait(int lfd);
/* A registered, not waiting consumer of @lfd: an epoll descriptor. */
int consumer(int lfd, uint32_t events);

/* Such a consumer from each CPU, so that each has its queue; returns how many. */
int consumers(const struct listener *l, int epfd[MAX_CPUS]);

int new_netns(void);
/*
 * Let lo, in the caller's network namespace, hand its packets to these CPUs, a
 * flow always to the same, as a network card with a queue for each; to the
 * sender's own if there are none.
 */
int receive_on(const cpu_set_t *cpus);
int sysctl(const char *name, const char *val);
long long mib(const char *name);
int send_fd(int sock, int fd);
int recv_fd(int sock);
/* fork() a child that does not outlive its parent. */
pid_t fork_child(void);
/* Exit status, 128 + signal, or the negative errno. */
int reap(pid_t pid);

/* Workers: N threads or processes that serve a listener in the same manner. */
struct pool_shared {
	atomic_int ready;
	atomic_int live;
	atomic_int err;
	atomic_int err_line;
	/* For the loops' own use. */
	atomic_int go;
	atomic_int token;
	atomic_int served[MAX_CONNS];
	atomic_int by_worker[MAX_WORKERS];
	atomic_int tid[MAX_WORKERS];
};

struct worker {
	struct pool *pool;
	int index;
	int lfd;
	bool stop;
};

struct pool {
	struct pool_shared *sh;
	struct listener *l;
	void (*loop)(struct worker *w);
	bool procs;
	/* Called in each worker before it is ready. */
	void (*init)(struct worker *w);
	int nr;
	pthread_t thread[MAX_WORKERS];
	pid_t pid[MAX_WORKERS];
	struct worker worker[MAX_WORKERS];
	int epfd;
};

#define worker_fail(w, code) do {					\
	int __zero = 0;							\
									\
	if (atomic_compare_exchange_strong(&(w)->pool->sh->err, &__zero, (code))) \
		atomic_store(&(w)->pool->sh->err_line, __LINE__);	\
	(w)->stop = true;						\
} while (0)

int pool_start(struct pool *p, struct listener *l, int nr, bool procs,
	       void (*loop)(struct worker *w));
/* Say that the worker is about to wait for the first time. */
void worker_ready(struct worker *w);
/* Serve one accepted connection; @fd may be an error of accept4(). */
void worker_serve(struct worker *w, int fd);
/* The usual manner: an epoll descriptor of its own, level triggered. */
void worker_by_epoll(struct worker *w);
/* The number of connections of [0, conns) that were not served exactly once. */
int pool_load(struct pool *p, int conns);
/* The same with clients on the first CPUs only. */
int pool_load_from(struct pool *p, int conns, int cpus);
/* Stop the workers one by one, by a connection each. */
int pool_stop(struct pool *p);
/* SIGKILL a worker that is a process, and forget it. */
int pool_kill(struct pool *p, int i);
/* Wait until all workers sleep. */
bool pool_asleep(struct pool *p);
int pool_error(struct pool *p);

/* The client's part of a connection that a worker serves. */
int request_send(int fd, int id);
int request_end(int fd, int id);
int request(const struct listener *l, int cpu, int id);

#endif /* FASTSOCKET_SELFTEST_LIB_H */
