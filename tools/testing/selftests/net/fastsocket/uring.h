/* SPDX-License-Identifier: GPL-2.0 */
/* As much of io_uring as it takes to accept connections. */
#ifndef FASTSOCKET_SELFTEST_URING_H
#define FASTSOCKET_SELFTEST_URING_H

#include <linux/io_uring.h>
#include "lib.h"

#define URING_ENTRIES	8

struct uring {
	int fd;
	char *rings;
	struct io_uring_sqe *sqes;
	struct io_uring_params p;
};

/* -ENOSYS or -EPERM where there is no io_uring for us. */
static inline int uring_open(struct uring *u)
{
	size_t sq, cq, size;

	memset(u, 0, sizeof(*u));
	u->fd = SYS(syscall(SYS_io_uring_setup, URING_ENTRIES, &u->p));
	if (u->fd < 0)
		return u->fd;
	if (!(u->p.features & IORING_FEAT_SINGLE_MMAP))
		return -ENOSYS;
	sq = u->p.sq_off.array + u->p.sq_entries * sizeof(__u32);
	cq = u->p.cq_off.cqes + u->p.cq_entries * sizeof(struct io_uring_cqe);
	size = sq > cq ? sq : cq;
	u->rings = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			u->fd, IORING_OFF_SQ_RING);
	u->sqes = mmap(NULL, u->p.sq_entries * sizeof(*u->sqes), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, u->fd, IORING_OFF_SQES);
	return u->rings == MAP_FAILED || (void *)u->sqes == MAP_FAILED ? -ENOMEM : 0;
}

static inline atomic_uint *uring_u32(struct uring *u, __u32 off)
{
	return (atomic_uint *)(u->rings + off);
}

/* Submit one request that @sqe describes. */
static inline int uring_submit(struct uring *u, const struct io_uring_sqe *sqe)
{
	atomic_uint *tail = uring_u32(u, u->p.sq_off.tail);
	unsigned int pos = *tail, i = pos & (u->p.sq_entries - 1);
	int ret;

	u->sqes[i] = *sqe;
	*uring_u32(u, u->p.sq_off.array + i * sizeof(__u32)) = i;
	atomic_store_explicit(tail, pos + 1, memory_order_release);
	do {
		ret = SYS(syscall(SYS_io_uring_enter, u->fd, 1, 0, 0, NULL, 0));
	} while (ret == -EINTR);
	return ret == 1 ? 0 : ret < 0 ? ret : -EIO;
}

/* A completion, if there is one. */
static inline bool uring_peek(struct uring *u, struct io_uring_cqe *cqe)
{
	atomic_uint *head = uring_u32(u, u->p.cq_off.head);
	unsigned int pos = *head;

	if (pos == atomic_load_explicit(uring_u32(u, u->p.cq_off.tail),
					memory_order_acquire))
		return false;
	pos &= u->p.cq_entries - 1;
	*cqe = ((struct io_uring_cqe *)(u->rings + u->p.cq_off.cqes))[pos];
	atomic_store_explicit(head, *head + 1, memory_order_release);
	return true;
}

/* Sleep until there is a completion. */
static inline int uring_wait(struct uring *u, struct io_uring_cqe *cqe)
{
	int ret;

	while (!uring_peek(u, cqe)) {
		ret = SYS(syscall(SYS_io_uring_enter, u->fd, 0, 1,
				  IORING_ENTER_GETEVENTS, NULL, 0));
		if (ret < 0 && ret != -EINTR)
			return ret;
	}
	return 0;
}

static inline int uring_accept(struct uring *u, int lfd, int ioprio)
{
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_ACCEPT, .fd = lfd, .ioprio = ioprio,
		.accept_flags = SOCK_CLOEXEC,
	};

	return uring_submit(u, &sqe);
}

/* End the accept that is under way. */
static inline int uring_cancel(struct uring *u)
{
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_ASYNC_CANCEL, .fd = -1, .user_data = 1,
	};

	return uring_submit(u, &sqe);
}

static inline void uring_close(struct uring *u)
{
	close(u->fd);
}

static inline bool have_uring(void)
{
	struct uring u;
	int ret = uring_open(&u);

	uring_close(&u);
	return !ret;
}

/* A worker that has a ring. */
static inline void worker_by_uring(struct worker *w, int ioprio)
{
	struct io_uring_cqe cqe;
	bool armed = false;
	struct uring u;
	int ret;

	ret = uring_open(&u);
	if (ret)
		worker_fail(w, ret);
	if (!ret) {
		ret = uring_accept(&u, w->lfd, ioprio);
		if (ret)
			worker_fail(w, ret);
		armed = true;
	}
	worker_ready(w);
	while (!w->stop) {
		if (!armed)
			ret = uring_accept(&u, w->lfd, ioprio);
		armed = true;
		if (!ret)
			ret = uring_wait(&u, &cqe);
		if (ret)
			worker_fail(w, ret);
		else
			worker_serve(w, cqe.res);
		if (!ret && !(cqe.flags & IORING_CQE_F_MORE))
			armed = false;
	}
	/* Closing the ring would leave it accepting for a while. */
	if (armed && !ret)
		ret = uring_cancel(&u);
	while (armed && !ret) {
		ret = uring_wait(&u, &cqe);
		if (!ret && !cqe.user_data && cqe.res >= 0)
			worker_serve(w, cqe.res);
		if (!cqe.user_data && !(cqe.flags & IORING_CQE_F_MORE))
			armed = false;
	}
	uring_close(&u);
}

#endif /* FASTSOCKET_SELFTEST_URING_H */
