// SPDX-License-Identifier: GPL-2.0
/*
 * What the shell scripts need in C. Each command prints "ready" and its
 * process id when it is, and then stays until it is killed.
 *
 *  open		hold the device open
 *  hold		hold a spawned listener, with consumers on all CPUs
 *  pass		the same, by a process that was passed it
 *  flight		the same, in a message that nobody received
 *  child		hold a child of a spawned listener that is closed; end when
 *			the module is gone, with 0 if the child still works
 *  touch		spawn a listener, use it, and end
 *  serve PORT N [spawn]	serve with N processes
 *  work FD		accept and answer at the descriptor of a listener
 *  load ADDR PORT N	connect N times from all CPUs, and end
 */
#include "lib.h"

static int fail(const char *what, int err)
{
	fprintf(stderr, "fstool: %s: %s\n", what, strerror(-err));
	return 1;
}

static int stay(void)
{
	printf("ready %d\n", getpid());
	fflush(stdout);
	for (;;)
		pause();
	return 0;
}

static int open_spawned(struct listener *l, int *epfd)
{
	int ret = listener_open(l, DUAL, SOCK_NONBLOCK, true);

	if (!ret)
		ret = consumers(l, epfd);
	/* The listener alone is to keep the module. */
	fs_close_device();
	return ret < 0 ? ret : 0;
}

static int cmd_open(void)
{
	int fd = SYS(open(FS_DEVICE, O_RDONLY));

	return fd < 0 ? fail(FS_DEVICE, fd) : stay();
}

static int cmd_hold(void)
{
	int epfd[MAX_CPUS], ret;
	struct listener l;

	ret = open_spawned(&l, epfd);
	return ret ? fail("spawn", ret) : stay();
}

static int cmd_pass(bool received)
{
	struct listener l;
	int sv[2], ret, epfd[MAX_CPUS], i;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv))
		return fail("socketpair", -errno);
	ret = open_spawned(&l, epfd);
	if (!ret)
		ret = send_fd(sv[0], l.fd);
	if (ret)
		return fail("send", ret);
	for (i = 0; i < cpu_count(); i++)
		close(epfd[i]);
	close(l.fd);
	if (!received)
		return stay();
	/* The receiver inherits nothing but its end. */
	ret = fork();
	if (ret)
		return ret < 0;
	close(sv[0]);
	ret = recv_fd(sv[1]);
	return ret < 0 ? fail("receive", ret) : stay();
}

static int cmd_child(void)
{
	int epfd[MAX_CPUS], ret, c, fd;
	struct listener l;

	ret = open_spawned(&l, epfd);
	if (ret)
		return fail("spawn", ret);
	c = client(&l, 0);
	fd = accept_wait(l.fd);
	close(l.fd);
	ret = c < 0 || fd < 0 ? -EIO : talk(c, fd);
	if (ret)
		return fail("connection", ret);
	printf("ready %d\n", getpid());
	fflush(stdout);
	if (!WAIT_FOR(access(FS_PARAMS, F_OK)))
		return fail("unload", -ETIMEDOUT);
	ret = talk(c, fd);
	return ret ? fail("connection", ret) : 0;
}

static int cmd_touch(void)
{
	int epfd[MAX_CPUS], ret, i, c[MAX_CPUS], fd;
	struct listener l;

	ret = open_spawned(&l, epfd);
	if (ret)
		return fail("spawn", ret);
	for (i = 0; i < cpu_count(); i++) {
		c[i] = client_on(&l, cpu_id(i), i);
		if (c[i] < 0)
			return fail("connect", c[i]);
	}
	/* Take one; the others die with the listener. */
	fd = accept_wait(l.fd);
	return fd < 0 ? fail("accept", fd) : 0;
}

/* A client that was killed is no reason to stop. */
static void by_epoll(struct worker *w)
{
	for (;;) {
		w->stop = false;
		worker_by_epoll(w);
	}
}

static int cmd_serve(int port, int nr, bool spawn)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct listener l = { .fam = DUAL, .port = htons(port), .spawned = spawn };
	static struct pool pool;
	int ret;

	l.fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	set_int(l.fd, SOL_SOCKET, SO_REUSEADDR, 1);
	ret = SYS(bind(l.fd, (void *)&a6, sizeof(a6)));
	if (!ret)
		ret = SYS(listen(l.fd, SOMAXCONN));
	if (!ret && spawn)
		ret = fs_spawn(l.fd, -1);
	if (!ret)
		ret = pool_start(&pool, &l, nr, true, by_epoll);
	return ret ? fail("serve", ret) : stay();
}

struct load {
	pthread_t thread;
	const struct sockaddr_storage *ss;
	int cpu, conns, failed;
};

static int one_connection(const struct sockaddr_storage *ss, int id)
{
	struct timeval tv = { WAIT_MS / 1000, 0 };
	int fd = SYS(socket(ss->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0)), ret;

	if (fd < 0)
		return fd;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	ret = connect_wait(fd, ss, sizeof(struct sockaddr_in6));
	if (!ret)
		ret = request_send(fd, id);
	if (!ret)
		return request_end(fd, id);
	close(fd);
	return ret;
}

static void *load_main(void *arg)
{
	struct load *c = arg;
	int i, ret;

	pin_to(c->cpu);
	for (i = 0; i < c->conns; i++) {
		ret = one_connection(c->ss, i % MAX_CONNS);
		if (ret && !c->failed++)
			fail("connection", ret);
	}
	return NULL;
}

static int cmd_load(const char *addr, int port, int conns)
{
	struct sockaddr_storage ss = { 0 };
	struct sockaddr_in6 *a6 = (void *)&ss;
	struct sockaddr_in *a4 = (void *)&ss;
	struct load c[MAX_CPUS];
	int i, n = cpu_count(), failed = 0;

	a4->sin_port = htons(port);
	if (inet_pton(AF_INET, addr, &a4->sin_addr) == 1)
		a4->sin_family = AF_INET;
	else if (inet_pton(AF_INET6, addr, &a6->sin6_addr) == 1)
		a6->sin6_family = AF_INET6;
	else
		return fail(addr, -EINVAL);
	for (i = 0; i < n; i++) {
		c[i] = (struct load){
			.ss = &ss, .cpu = cpu_id(i),
			.conns = conns / n + (i < conns % n),
		};
		if (pthread_create(&c[i].thread, NULL, load_main, &c[i]))
			return fail("thread", -EAGAIN);
	}
	for (i = 0; i < n; i++) {
		pthread_join(c[i].thread, NULL);
		failed += c[i].failed;
	}
	printf("%d connections, %d failed\n", conns, failed);
	return failed != 0;
}

/* As a worker of a pool that has executed another program. */
static int cmd_work(int lfd)
{
	struct pool_shared *sh = calloc(1, sizeof(*sh));
	struct pool pool = { .sh = sh };
	struct worker w = { .pool = &pool, .lfd = lfd };

	if (!sh)
		return fail("memory", -ENOMEM);
	if (fcntl(lfd, F_GETFL) & O_NONBLOCK)
		worker_by_epoll(&w);
	while (!w.stop)
		worker_serve(&w, SYS(accept4(lfd, NULL, NULL, SOCK_CLOEXEC)));
	return sh->err ? fail("worker", sh->err) : 0;
}

int main(int argc, char **argv)
{
	const char *cmd = argc > 1 ? argv[1] : "";

	if (!strcmp(cmd, "open"))
		return cmd_open();
	if (!strcmp(cmd, "hold"))
		return cmd_hold();
	if (!strcmp(cmd, "pass"))
		return cmd_pass(true);
	if (!strcmp(cmd, "flight"))
		return cmd_pass(false);
	if (!strcmp(cmd, "child"))
		return cmd_child();
	if (!strcmp(cmd, "touch"))
		return cmd_touch();
	if (!strcmp(cmd, "serve") && argc >= 4)
		return cmd_serve(atoi(argv[2]), atoi(argv[3]), argc > 4);
	if (!strcmp(cmd, "work") && argc == 3)
		return cmd_work(atoi(argv[2]));
	if (!strcmp(cmd, "load") && argc == 5)
		return cmd_load(argv[2], atoi(argv[3]), atoi(argv[4]));
	fprintf(stderr, "usage: see the head of fstool.c\n");
	return 2;
}
