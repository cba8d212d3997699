// SPDX-License-Identifier: GPL-2.0
/* A pool of workers and the clients that load it; see lib.h. */

#include "lib.h"

#define STOP_ID		-1
/* Connections that a client has open at the same time. */
#define BURST		4

void worker_ready(struct worker *w)
{
	atomic_store(&w->pool->sh->tid[w->index], gettid_());
	atomic_fetch_add(&w->pool->sh->ready, 1);
}

void worker_serve(struct worker *w, int fd)
{
	struct timeval tv = { WAIT_MS / 1000, 0 };
	struct pool_shared *sh = w->pool->sh;
	int id, ret;

	if (fd < 0) {
		worker_fail(w, fd);
		return;
	}
	set_nonblock(fd, false);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	ret = read_full(fd, &id, sizeof(id));
	if (ret != sizeof(id)) {
		worker_fail(w, ret < 0 ? ret : -EPIPE);
	} else if (id == STOP_ID) {
		w->stop = true;
	} else if (id < 0 || id >= MAX_CONNS) {
		worker_fail(w, -EBADMSG);
	} else {
		atomic_fetch_add(&sh->served[id], 1);
		atomic_fetch_add(&sh->by_worker[w->index], 1);
	}
	if (ret == sizeof(id) && write_full(fd, &id, sizeof(id)) != sizeof(id))
		worker_fail(w, -EPIPE);
	close(fd);
}

void worker_by_epoll(struct worker *w)
{
	int epfd = consumer(w->lfd, EPOLLIN), ret, fd;
	struct epoll_event ev;

	if (epfd < 0)
		worker_fail(w, epfd);
	worker_ready(w);
	while (!w->stop) {
		ret = SYS(epoll_wait(epfd, &ev, 1, -1));
		fd = ret == 1 ? SYS(accept4(w->lfd, NULL, NULL, SOCK_CLOEXEC)) : ret;
		if (fd != -EAGAIN && fd != -EINTR)
			worker_serve(w, fd);
	}
	close(epfd);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct pool *p = w->pool;

	w->lfd = p->l->fd;
	/* What a library does in the child of a fork. */
	if (p->procs && p->l->spawned) {
		int ret = fs_spawn_all();

		if (ret)
			worker_fail(w, ret);
	}
	if (p->init)
		p->init(w);
	p->loop(w);
	atomic_fetch_sub(&p->sh->live, 1);
	return NULL;
}

/* The caller zeroes @p, and may set .init before. */
int pool_start(struct pool *p, struct listener *l, int nr, bool procs,
	       void (*loop)(struct worker *w))
{
	struct worker *w;
	int i, ret;

	if (nr > MAX_WORKERS)
		nr = MAX_WORKERS;
	p->sh = mmap(NULL, sizeof(*p->sh), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p->sh == MAP_FAILED)
		return -errno;
	p->l = l;
	p->loop = loop;
	p->procs = procs;
	p->nr = nr;
	atomic_store(&p->sh->live, nr);
	for (i = 0; i < nr; i++) {
		w = &p->worker[i];
		w->pool = p;
		w->index = i;
		if (!procs) {
			ret = pthread_create(&p->thread[i], NULL, worker_main, w);
			if (ret)
				return -ret;
			continue;
		}
		p->pid[i] = fork_child();
		if (p->pid[i] < 0)
			return -errno;
		if (!p->pid[i]) {
			worker_main(w);
			_exit(0);
		}
	}
	if (!WAIT_FOR(p->sh->ready == nr || p->sh->err))
		return -ETIMEDOUT;
	return p->sh->err;
}

int request_send(int fd, int id)
{
	int ret = write_full(fd, &id, sizeof(id));

	return ret == sizeof(id) ? 0 : ret < 0 ? ret : -EPIPE;
}

/* The same number comes back, and then the end of the stream. */
int request_end(int fd, int id)
{
	int got = ~id, ret = read_full(fd, &got, sizeof(got));

	if (ret == sizeof(got) && got != id)
		ret = -EBADMSG;
	else if (ret == sizeof(got))
		ret = read_full(fd, &got, 1);
	else if (ret >= 0)
		ret = -EPIPE;
	close(fd);
	return ret;
}

int request(const struct listener *l, int cpu, int id)
{
	int fd = client_on(l, cpu, id), ret;

	if (fd < 0)
		return fd;
	ret = request_send(fd, id);
	if (!ret)
		return request_end(fd, id);
	close(fd);
	return ret;
}

struct loader {
	pthread_t thread;
	struct pool *p;
	int cpu, first, step, conns, failed, err;
};

static void *loader_main(void *arg)
{
	int fd[BURST], id, i, n, ret;
	struct loader *c = arg;

	/* A CPU that was unplugged cannot be had. */
	ret = pin_to(c->cpu);
	if (ret == -EINVAL)
		ret = 0;
	for (id = c->first; !ret && id < c->conns; id += n * c->step) {
		for (n = 0; n < BURST && id + n * c->step < c->conns; n++) {
			fd[n] = client(c->p->l, id + n * c->step);
			if (fd[n] < 0 || request_send(fd[n], id + n * c->step))
				c->err = fd[n] < 0 ? fd[n] : -EPIPE;
		}
		for (i = 0; i < n; i++) {
			int end = fd[i] < 0 ? fd[i] :
				request_end(fd[i], id + i * c->step);

			if (end) {
				c->failed++;
				c->err = end;
			}
		}
		/* One that waited in vain is enough to know. */
		if (c->failed)
			break;
	}
	if (ret)
		c->err = ret;
	return NULL;
}

int pool_load(struct pool *p, int conns)
{
	return pool_load_from(p, conns, cpu_count());
}

int pool_load_from(struct pool *p, int conns, int n)
{
	struct loader c[MAX_CPUS];
	int i, bad = 0, err = 0;

	for (i = 0; i < conns; i++)
		atomic_store(&p->sh->served[i], 0);
	for (i = 0; i < n; i++) {
		c[i] = (struct loader){
			.p = p, .cpu = cpu_id(i), .first = i, .step = n, .conns = conns,
		};
		if (pthread_create(&c[i].thread, NULL, loader_main, &c[i]))
			return -EAGAIN;
	}
	for (i = 0; i < n; i++) {
		pthread_join(c[i].thread, NULL);
		if (c[i].err && !err) {
			err = c[i].err;
			printf("# client on CPU %d: %s\n", c[i].cpu, strerror(-err));
		}
	}
	for (i = 0; i < conns; i++)
		bad += p->sh->served[i] != 1;
	return bad || err ? (bad ? bad : err) : 0;
}

int pool_kill(struct pool *p, int i)
{
	int ret;

	kill(p->pid[i], SIGKILL);
	ret = reap(p->pid[i]);
	p->pid[i] = 0;
	atomic_fetch_sub(&p->sh->live, 1);
	return ret == 128 + SIGKILL ? 0 : -ECHILD;
}

bool pool_asleep(struct pool *p)
{
	int i;

	for (i = 0; i < p->nr; i++)
		if ((!p->procs || p->pid[i]) && !wait_asleep(p->sh->tid[i]))
			return false;
	return true;
}

int pool_stop(struct pool *p)
{
	int i, n, ret = 0;

	for (n = p->sh->live; !ret && n > 0; n--) {
		ret = request(p->l, cpu_id(n), STOP_ID);
		if (!ret && !WAIT_FOR(p->sh->live < n))
			ret = -ETIMEDOUT;
	}
	for (i = 0; i < p->nr; i++) {
		if (!p->procs && !ret)
			pthread_join(p->thread[i], NULL);
		if (!p->procs || !p->pid[i])
			continue;
		if (ret)
			kill(p->pid[i], SIGKILL);
		if (reap(p->pid[i]) && !ret)
			ret = -ECHILD;
	}
	return ret;
}

int pool_error(struct pool *p)
{
	if (p->sh->err)
		printf("# worker failed at line %d: %s\n", p->sh->err_line,
		       strerror(-p->sh->err));
	return p->sh->err;
}
