// SPDX-License-Identifier: GPL-2.0
/* Time, CPUs, sockets and clients; see lib.h. */

#include "lib.h"
#include <grp.h>
#include <net/if.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <time.h>

static cpu_set_t start_cpus;

__attribute__((constructor)) static void lib_init(void)
{
	sched_getaffinity(0, sizeof(start_cpus), &start_cpus);
	signal(SIGPIPE, SIG_IGN);
}

bool soaks(void)
{
	const char *s = getenv("FASTSOCKET_SOAK");

	return s && *s;
}

long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

long long now_ms(void)
{
	return now_ns() / 1000000;
}

void sleep_ms(int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

long long file_number(const char *path)
{
	FILE *f = fopen(path, "re");
	long long n;

	if (!f)
		return -errno;
	if (fscanf(f, "%lld", &n) != 1)
		n = -EINVAL;
	fclose(f);
	return n;
}

int file_write(const char *path, const char *fmt, ...)
{
	int fd = SYS(open(path, O_WRONLY | O_CLOEXEC)), len, ret;
	char text[1024];
	va_list ap;

	if (fd < 0)
		return fd;
	va_start(ap, fmt);
	len = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	ret = write_full(fd, text, len);
	close(fd);
	return ret == len ? 0 : ret < 0 ? ret : -EIO;
}

/* All IDs, and no privilege: for a child that does not come back. */
int become(uid_t uid)
{
	pid_t parent = getppid();

	if (SYS(setgroups(0, NULL)) || SYS(setresgid(uid, uid, uid)) ||
	    SYS(setresuid(uid, uid, uid)))
		return -errno;
	/* The change of user has reset both: be as a program of that user. */
	prctl(PR_SET_DUMPABLE, 1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	return getppid() == parent ? 0 : -ESRCH;
}

int cpu_count(void)
{
	int n = CPU_COUNT(&start_cpus);

	return n < MAX_CPUS ? n : MAX_CPUS;
}

int cpu_id(int i)
{
	int cpu;

	i %= cpu_count();
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &start_cpus) && i-- == 0)
			return cpu;
	return 0;
}

int pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return SYS(sched_setaffinity(0, sizeof(set), &set));
}

int cpu_online(int cpu, bool on)
{
	char path[64];
	int fd, ret;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	fd = SYS(open(path, O_WRONLY | O_CLOEXEC));
	if (fd < 0)
		return fd;
	ret = write_full(fd, on ? "1" : "0", 1);
	close(fd);
	return ret == 1 ? 0 : ret;
}

int mask_of(pid_t tid, cpu_set_t *set)
{
	CPU_ZERO(set);
	return SYS(sched_getaffinity(tid, sizeof(*set), set));
}

/* The CPU that a thread is bound to, or -1 when it may run on several. */
int only_cpu(pid_t tid)
{
	cpu_set_t set;
	int cpu;

	if (mask_of(tid, &set) || CPU_COUNT(&set) != 1)
		return -1;
	for (cpu = 0; !CPU_ISSET(cpu, &set); cpu++)
		;
	return cpu;
}

pid_t gettid_(void)
{
	return syscall(SYS_gettid);
}

bool wait_asleep(pid_t tid)
{
	char path[64], line[512], *p;
	int seen = 0;
	FILE *f;

	/* Three looks in a row: a page fault or a mutex does not last. */
	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	return WAIT_FOR(({
		f = fopen(path, "re");
		p = f && fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
		if (f)
			fclose(f);
		seen = p && p[2] == 'S' ? seen + 1 : 0;
		seen >= 3;
	}));
}

int set_int(int fd, int level, int opt, int val)
{
	return SYS(setsockopt(fd, level, opt, &val, sizeof(val)));
}

int get_int(int fd, int level, int opt)
{
	socklen_t len = sizeof(int);
	int val = 0, ret = SYS(getsockopt(fd, level, opt, &val, &len));

	return ret < 0 ? ret : val;
}

int set_nonblock(int fd, bool on)
{
	int fl = SYS(fcntl(fd, F_GETFL));

	if (fl < 0)
		return fl;
	return SYS(fcntl(fd, F_SETFL, on ? fl | O_NONBLOCK : fl & ~O_NONBLOCK));
}

/* A TCP socket bound to a free port of the loopback, or of all addresses. */
int listener_bind(struct listener *l, enum fam fam, int flags, bool reuseport)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in a4 = { .sin_family = AF_INET };
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int ret;

	l->fam = fam;
	l->spawned = false;
	l->fd = SYS(socket(fam == V4 ? AF_INET : AF_INET6,
			   SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
	if (l->fd < 0)
		return l->fd;
	set_int(l->fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (reuseport)
		set_int(l->fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (fam == V4) {
		a4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		a4.sin_port = reuseport ? l->port : 0;
		ret = SYS(bind(l->fd, (void *)&a4, sizeof(a4)));
	} else {
		set_int(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, fam == V6);
		a6.sin6_addr = fam == V6 ? in6addr_loopback : in6addr_any;
		a6.sin6_port = reuseport ? l->port : 0;
		ret = SYS(bind(l->fd, (void *)&a6, sizeof(a6)));
	}
	if (!ret)
		ret = SYS(getsockname(l->fd, (void *)&ss, &len));
	if (ret)
		return ret;
	/* The port is at the same place in both families. */
	l->port = ((struct sockaddr_in *)&ss)->sin_port;
	return 0;
}

int listener_open(struct listener *l, enum fam fam, int flags, bool spawn)
{
	int ret = listener_bind(l, fam, flags, false);

	if (!ret)
		ret = SYS(listen(l->fd, SOMAXCONN));
	if (!ret && spawn)
		ret = fs_spawn(l->fd, -1);
	l->spawned = spawn;
	return ret;
}

/* Where the @n-th client connects to: IPv4 and IPv6 in turn for a dual stack. */
socklen_t listener_addr(const struct listener *l, int n, struct sockaddr_storage *ss)
{
	struct sockaddr_in6 *a6 = (void *)ss;
	struct sockaddr_in *a4 = (void *)ss;

	memset(ss, 0, sizeof(*ss));
	if (l->fam == V6 || (l->fam == DUAL && n % 2)) {
		a6->sin6_family = AF_INET6;
		a6->sin6_addr = in6addr_loopback;
		a6->sin6_port = l->port;
		return sizeof(*a6);
	}
	a4->sin_family = AF_INET;
	a4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	a4->sin_port = l->port;
	return sizeof(*a4);
}

static int client_socket(const struct sockaddr_storage *ss, int flags)
{
	struct timeval tv = { WAIT_MS / 1000, 0 };
	int fd = SYS(socket(ss->ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));

	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	}
	return fd;
}

in_port_t port_by(int fd, int (*of)(int, struct sockaddr *, socklen_t *))
{
	struct sockaddr_in a = { 0 };
	socklen_t len = sizeof(a);

	/* It is at the same place in both families. */
	return of(fd, (void *)&a, &len) ? 0 : a.sin_port;
}

/*
 * connect(), to its end. A signal that is ignored can still interrupt it: one
 * that came while pthread_create() had all of them blocked.
 */
int connect_wait(int fd, const struct sockaddr_storage *ss, socklen_t len)
{
	int ret = SYS(connect(fd, (void *)ss, len));

	if (ret != -EINTR)
		return ret;
	if (!poll_one(fd, POLLOUT, WAIT_MS))
		return -ETIMEDOUT;
	return -get_int(fd, SOL_SOCKET, SO_ERROR);
}

int client(const struct listener *l, int n)
{
	struct sockaddr_storage ss;
	socklen_t len = listener_addr(l, n, &ss);
	int fd = client_socket(&ss, 0), ret;

	if (fd < 0)
		return fd;
	ret = connect_wait(fd, &ss, len);
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

/* A client of a port of its own, which others may have had. */
int client_from(const struct listener *l, in_port_t port)
{
	struct sockaddr_storage ss, me;
	socklen_t len = listener_addr(l, 0, &ss);
	int fd = socket(ss.ss_family, SOCK_STREAM, 0), ret;

	if (fd < 0)
		return -errno;
	me = ss;
	if (me.ss_family == AF_INET)
		((struct sockaddr_in *)&me)->sin_port = htons(port);
	else
		((struct sockaddr_in6 *)&me)->sin6_port = htons(port);
	ret = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (!ret)
		ret = SYS(bind(fd, (void *)&me, len));
	if (!ret)
		ret = connect_wait(fd, &ss, len);
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

/* A connection on its way: connect() without waiting for its end. */
int client_start(const struct listener *l, int n)
{
	struct sockaddr_storage ss;
	socklen_t len = listener_addr(l, n, &ss);
	int fd = client_socket(&ss, SOCK_NONBLOCK);

	if (fd >= 0)
		connect(fd, (void *)&ss, len);
	return fd;
}

struct client_on {
	const struct listener *l;
	int cpu, n, ret;
};

static void *client_on_thread(void *arg)
{
	struct client_on *c = arg;

	c->ret = pin_to(c->cpu);
	if (!c->ret)
		c->ret = client(c->l, c->n);
	return NULL;
}

/*
 * Connect from a CPU: over lo, that is where the packets are received. In a
 * thread, since the mask of the caller may be what the test looks at.
 */
int client_on(const struct listener *l, int cpu, int n)
{
	struct client_on c = { l, cpu, n, 0 };
	pthread_t thread;
	int ret = pthread_create(&thread, NULL, client_on_thread, &c);

	if (ret)
		return -ret;
	pthread_join(thread, NULL);
	return c.ret;
}

bool refused(const struct listener *l, int n)
{
	int fd = client(l, n);

	if (fd >= 0)
		close(fd);
	return fd == -ECONNREFUSED;
}

int read_full(int fd, void *buf, size_t len)
{
	size_t done = 0;
	int ret;

	while (done < len) {
		ret = SYS(read(fd, (char *)buf + done, len - done));
		if (ret == -EINTR)
			continue;
		if (ret < 0)
			return ret;
		if (!ret)
			break;
		done += ret;
	}
	return done;
}

int write_full(int fd, const void *buf, size_t len)
{
	int ret;

	/* So few bytes that they go all or not at all. */
	do {
		ret = SYS(write(fd, buf, len));
	} while (ret == -EINTR);
	return ret;
}

static int one_way(int from, int to)
{
	char out[16] = "fifteen letters", in[16] = "";
	int ret = write_full(from, out, sizeof(out));

	if (ret == sizeof(out))
		ret = poll_one(to, POLLIN, WAIT_MS) & POLLIN ?
			read_full(to, in, sizeof(in)) : -ETIMEDOUT;
	if (ret != sizeof(in))
		return ret < 0 ? ret : -EPIPE;
	return memcmp(out, in, sizeof(in)) ? -EBADMSG : 0;
}

int talk(int a, int b)
{
	int ret = one_way(a, b);

	return ret ? ret : one_way(b, a);
}

int poll_one(int fd, int events, int timeout_ms)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	int ret;

	do {
		ret = SYS(poll(&pfd, 1, timeout_ms));
	} while (ret == -EINTR);
	return ret <= 0 ? ret : pfd.revents;
}

int accept_wait(int lfd)
{
	long long end = now_ms() + WAIT_MS;
	int fd;

	do {
		fd = SYS(accept4(lfd, NULL, NULL, SOCK_CLOEXEC));
		if (fd != -EAGAIN && fd != -EINTR)
			return fd;
		poll_one(lfd, POLLIN, 100);
	} while (now_ms() < end);
	return -ETIMEDOUT;
}

int consumer(int lfd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.fd = lfd };
	int epfd = SYS(epoll_create1(EPOLL_CLOEXEC)), ret;

	if (epfd < 0)
		return epfd;
	ret = SYS(epoll_ctl(epfd, EPOLL_CTL_ADD, lfd, &ev));
	if (!ret)
		return epfd;
	close(epfd);
	return ret;
}

static void *consumer_thread(void *arg)
{
	struct client_on *c = arg;

	c->ret = pin_to(c->cpu);
	if (!c->ret)
		c->ret = consumer(c->l->fd, EPOLLIN);
	return NULL;
}

int consumers(const struct listener *l, int epfd[MAX_CPUS])
{
	struct client_on c = { .l = l };
	pthread_t thread;
	int i, ret;

	for (i = 0; i < cpu_count(); i++) {
		c.cpu = cpu_id(i);
		ret = pthread_create(&thread, NULL, consumer_thread, &c);
		if (ret)
			return -ret;
		pthread_join(thread, NULL);
		if (c.ret < 0)
			return c.ret;
		epfd[i] = c.ret;
	}
	return i;
}

/* A network namespace of our own, with its loopback up. */
int new_netns(void)
{
	struct ifreq ifr = { .ifr_name = "lo" };
	int ret = SYS(unshare(CLONE_NEWNET)), fd;

	if (ret)
		return ret;
	fd = SYS(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	if (fd < 0)
		return fd;
	ifr.ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
	ret = SYS(ioctl(fd, SIOCSIFFLAGS, &ifr));
	close(fd);
	return ret;
}

int receive_on(const cpu_set_t *cpus)
{
	char dir[] = "/tmp/fs-sysfs-XXXXXX", path[96], mask[32];
	unsigned long long bits = 0;
	int i, ret;

	for (i = 0; cpus && i < MAX_CPUS; i++)
		bits |= CPU_ISSET(i, cpus) ? 1ULL << i : 0;
	/* More words than the kernel has are refused. */
	if (bits >> 32)
		snprintf(mask, sizeof(mask), "%llx,%08llx", bits >> 32, bits & UINT32_MAX);
	else
		snprintf(mask, sizeof(mask), "%llx", bits);
	if (!mkdtemp(dir))
		return -errno;
	/* /sys is that of another namespace. */
	ret = SYS(mount("sysfs", dir, "sysfs", 0, NULL));
	if (!ret) {
		snprintf(path, sizeof(path), "%s/class/net/lo/queues/rx-0/rps_cpus", dir);
		ret = file_write(path, "%s", mask);
		umount2(dir, MNT_DETACH);
	}
	rmdir(dir);
	return ret;
}

/* A setting of net.ipv4 in the caller's network namespace. */
int sysctl(const char *name, const char *val)
{
	char path[128];

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/%s", name);
	return file_write(path, "%s", val);
}

/* A counter of TcpExt in the caller's network namespace. */
long long mib(const char *name)
{
	char names[8192], values[8192], *n, *v, *ns, *vs;
	FILE *f = fopen("/proc/thread-self/net/netstat", "re");
	long long val = -ENOENT;

	if (!f)
		return -errno;
	while (fgets(names, sizeof(names), f) && fgets(values, sizeof(values), f)) {
		n = strtok_r(names, " \n", &ns);
		v = strtok_r(values, " \n", &vs);
		if (strcmp(n, "TcpExt:"))
			continue;
		while (n && v && strcmp(n, name)) {
			n = strtok_r(NULL, " \n", &ns);
			v = strtok_r(NULL, " \n", &vs);
		}
		if (n && v)
			val = strtoll(v, NULL, 10);
	}
	fclose(f);
	return val;
}

int send_fd(int sock, int fd)
{
	char buf[CMSG_SPACE(sizeof(int))] = "", byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = buf, .msg_controllen = sizeof(buf),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	return SYS(sendmsg(sock, &msg, 0)) == 1 ? 0 : -EIO;
}

int recv_fd(int sock)
{
	char buf[CMSG_SPACE(sizeof(int))] = "", byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = buf, .msg_controllen = sizeof(buf),
	};
	int ret = SYS(recvmsg(sock, &msg, MSG_CMSG_CLOEXEC)), fd;
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	if (ret < 0)
		return ret;
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return -EBADMSG;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

pid_t fork_child(void)
{
	pid_t parent = getpid(), pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		/* The device's file is shared; have one of our own. */
		fs_close_device();
	}
	return pid;
}

int reap(pid_t pid)
{
	int status, ret = 0;

	if (!WAIT_FOR((ret = SYS(waitpid(pid, &status, WNOHANG))))) {
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		return -ETIMEDOUT;
	}
	if (ret < 0)
		return ret;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int named_cpus(void)
{
	char list[256] = "", *p = list, *q;
	int last = 0, n = 1;
	FILE *f = fopen("/sys/devices/system/cpu/possible", "re");

	if (f && fgets(list, sizeof(list), f)) {
		for (q = list; *q; q++)
			if (*q == ',' || *q == '-')
				p = q + 1;
		last = atoi(p);
	}
	if (f)
		fclose(f);
	while (n <= last)
		n *= 2;
	return n;
}

in_port_t port_that_names(int step, int cpu)
{
	return 62000 / step * step + 2 * cpu;
}
