// SPDX-License-Identifier: GPL-2.0
/* The module, its device, and the commands; see lib.h. */

#include "lib.h"

static int device = -1;

static int open_device(void)
{
	if (device < 0)
		device = SYS(open(FS_DEVICE, O_RDONLY | O_CLOEXEC));
	return device < 0 ? device : 0;
}

void fs_close_device(void)
{
	if (device >= 0)
		close(device);
	device = -1;
}

int fs_param(const char *name)
{
	char path[128];
	int val;
	FILE *f;

	snprintf(path, sizeof(path), FS_PARAMS "%s", name);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	if (fscanf(f, "%d", &val) != 1)
		val = -EINVAL;
	fclose(f);
	return val;
}

int fs_set_param(const char *name, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), FS_PARAMS "%s", name);
	return file_write(path, "%s", value);
}

static int run(const char *cmd)
{
	int ret = system(cmd);

	return ret < 0 || !WIFEXITED(ret) ? -ECHILD : WEXITSTATUS(ret);
}

/* Unload the module; 0 if it was not there. */
int fs_unload(void)
{
	fs_close_device();
	/* A listener of the test before may still wait for RCU. */
	if (fs_param("enable_listen_spawn") >= 0 &&
	    !WAIT_FOR(!run("rmmod fastsocket 2>/dev/null")))
		return -EBUSY;
	return 0;
}

/* Load the module with these parameters, whatever it had before. */
int fs_reload_with(const char *params)
{
	char cmd[256];
	int ret = fs_unload();

	if (ret)
		return ret;
	snprintf(cmd, sizeof(cmd), "modprobe fastsocket %s 2>/dev/null", params);
	if (run(cmd))
		return -ENODEV;
	/* devtmpfs makes the node; there may be a udev that touches it. */
	return WAIT_FOR(open_device() == 0) ? 0 : open_device();
}

/* Have it loaded with a parameter, and the others as they are by default, or were. */
int fs_load_with(const char *param)
{
	const char *value = strchr(param, '=');
	char name[64];

	snprintf(name, sizeof(name), "%.*s", (int)(value - param), param);
	if (fs_param(name) == atoi(value + 1))
		return open_device();
	return fs_reload_with(param);
}

/* Load it with a mode of listen spawn. */
int fs_reload(int mode)
{
	char param[64];

	snprintf(param, sizeof(param), "enable_listen_spawn=%d", mode);
	return fs_reload_with(param);
}

int fs_load(int mode)
{
	if (fs_param("enable_listen_spawn") == mode)
		return open_device();
	return fs_reload(mode);
}

/* TCP sockets in memory, of all network namespaces. */
static long long tcp_sockets(void)
{
	long long n = -ENOENT;
	char line[256], *p;
	FILE *f = fopen("/proc/net/sockstat", "re");

	while (f && fgets(line, sizeof(line), f)) {
		p = strstr(line, " alloc ");
		if (!strncmp(line, "TCP:", 4) && p)
			n = atoll(p + strlen(" alloc "));
	}
	if (f)
		fclose(f);
	return n;
}

void left_begin(struct trace_left *t)
{
	fs_close_device();
	t->refs = file_number("/sys/module/fastsocket/refcnt");
	t->socks = tcp_sockets();
	t->taint = file_number("/proc/sys/kernel/tainted");
}

const char *left_end(const struct trace_left *t)
{
	fs_close_device();
	if (t->taint != file_number("/proc/sys/kernel/tainted"))
		return "a complaint of the kernel";
	/* Sockets wait for RCU, and for the last packet that mentions them. */
	if (!WAIT_FOR(file_number("/sys/module/fastsocket/refcnt") <= t->refs))
		return "a reference to the module";
	if (!WAIT_FOR(tcp_sockets() <= t->socks))
		return "a socket";
	return NULL;
}

int fs_ioctl(unsigned long cmd, struct fsocket_ioctl_arg *arg)
{
	int ret = open_device();

	return ret ? ret : SYS(ioctl(device, cmd, arg));
}

/* An argument whose unused fields hold garbage, as old libraries leave them. */
static struct fsocket_ioctl_arg arg_for(int fd)
{
	struct fsocket_ioctl_arg arg;

	memset(&arg, 0xa5, sizeof(arg));
	arg.fd = fd;
	return arg;
}

static int dev_socket(int family, int type, int protocol)
{
	struct fsocket_ioctl_arg arg = arg_for(0xa5a5a5a5);

	arg.op.socket_op.family = family;
	arg.op.socket_op.type = type;
	arg.op.socket_op.protocol = protocol;
	return fs_ioctl(FSOCKET_IOC_SOCKET, &arg);
}

static int dev_listen(int fd, int backlog)
{
	struct fsocket_ioctl_arg arg = arg_for(fd);

	arg.backlog = backlog;
	return fs_ioctl(FSOCKET_IOC_LISTEN, &arg);
}

static int dev_accept(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	struct fsocket_ioctl_arg arg = arg_for(fd);

	arg.op.accept_op.sockaddr = sa;
	arg.op.accept_op.sockaddr_len = (int *)len;
	arg.op.accept_op.flags = flags;
	return fs_ioctl(FSOCKET_IOC_ACCEPT, &arg);
}

static int dev_close(int fd)
{
	struct fsocket_ioctl_arg arg = arg_for(fd);

	return fs_ioctl(FSOCKET_IOC_CLOSE, &arg);
}

static int dev_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	struct fsocket_ioctl_arg arg = arg_for(fd);

	arg.op.epoll_op.epoll_fd = epfd;
	arg.op.epoll_op.ep_ctl_cmd = op;
	arg.op.epoll_op.ev = ev;
	return fs_ioctl(FSOCKET_IOC_EPOLL_CTL, &arg);
}

static int dev_shutdown(int fd, int how)
{
	struct fsocket_ioctl_arg arg = arg_for(fd);

	arg.op.shutdown_op.how = how;
	return fs_ioctl(FSOCKET_IOC_SHUTDOWN_LISTEN, &arg);
}

const struct fs_api dev_api = {
	dev_socket, dev_listen, dev_accept, dev_close, dev_epoll_ctl, dev_shutdown,
};

static int sys_socket(int family, int type, int protocol)
{
	return SYS(syscall(SYS_socket, family, type, protocol));
}

static int sys_listen(int fd, int backlog)
{
	return SYS(syscall(SYS_listen, fd, backlog));
}

static int sys_accept(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	return SYS(syscall(SYS_accept4, fd, sa, len, flags));
}

static int sys_close(int fd)
{
	return SYS(syscall(SYS_close, fd));
}

static int sys_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	return SYS(syscall(SYS_epoll_ctl, epfd, op, fd, ev));
}

static int sys_shutdown(int fd, int how)
{
	return SYS(syscall(SYS_shutdown, fd, how));
}

const struct fs_api sys_api = {
	sys_socket, sys_listen, sys_accept, sys_close, sys_epoll_ctl, sys_shutdown,
};

int fs_spawn(int fd, int cpu)
{
	struct fsocket_ioctl_arg arg = arg_for(fd);

	arg.op.spawn_op.cpu = cpu;
	return fs_ioctl(FSOCKET_IOC_SPAWN_LISTEN, &arg);
}

int fs_spawn_all(void)
{
	struct fsocket_ioctl_arg arg = arg_for(0xa5a5a5a5);

	return fs_ioctl(FSOCKET_IOC_SPAWN_ALL_LISTEN, &arg);
}

static long long stat_row(const char *file, const char *name, const char *row)
{
	char path[64], head[1024], line[1024], *h, *v, *hs, *vs;
	long long val = -ENOENT;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/thread-self/net/%s", file);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	if (!fgets(head, sizeof(head), f))
		head[0] = 0;
	while (fgets(line, sizeof(line), f)) {
		v = strtok_r(line, " \t\n", &vs);
		if (!v || strcmp(v, row))
			continue;
		h = strtok_r(head, " \t\n", &hs);
		for (; h && v; h = strtok_r(NULL, " \t\n", &hs),
			       v = strtok_r(NULL, " \t\n", &vs))
			if (!strcmp(h, name))
				val = strtoll(v, NULL, 10);
		break;
	}
	fclose(f);
	return val;
}

long long stat_total(const char *file, const char *name)
{
	return stat_row(file, name, "total");
}

long long stat_cpu(const char *file, const char *name, int cpu)
{
	char row[16];

	snprintf(row, sizeof(row), "%d", cpu);
	return stat_row(file, name, row);
}
