// SPDX-License-Identifier: GPL-2.0
/*
 * One of the kernel's BPF selftests as a program of its own. test_progs, which they are made for,
 * is built of all of them at once, and for a kernel with BTF. PROG_TEST is the test's source, RUN
 * its function. Each subtest is a line of TAP.
 */

#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "test_progs.h"
#include "network_helpers.h"
#include "kselftest.h"

struct netns_obj {
	int before;
};

static char subtest[MAX_SUBTEST_NAME];
static unsigned int errors, skips;
static FILE *out;
static char *log_text;
static size_t log_size;

/* Every assertion has something to say: it is kept, and told if one has failed. */
static void begin(void)
{
	errors = 0;
	skips = 0;
	fflush(stdout);
	out = stdout;
	stdout = open_memstream(&log_text, &log_size);
	if (!stdout)
		abort();
}

static void end(void)
{
	char *rest, *line;

	fclose(stdout);
	stdout = out;
	rest = errors ? log_text : NULL;
	while ((line = strsep(&rest, "\n")))
		if (*line && !strstr(line, ":PASS:"))
			ksft_print_msg("%s\n", line);
	ksft_test_result_report(errors ? KSFT_FAIL : skips ? KSFT_SKIP : KSFT_PASS,
				"%s\n", subtest);
	free(log_text);
}

bool test__start_subtest(const char *name)
{
	static bool inside;

	/* What comes before the first subtest is told only if it failed. */
	if (inside || errors) {
		end();
		begin();
	}
	inside = true;
	snprintf(subtest, sizeof(subtest), "%s", name);
	return true;
}

void test__fail(void)
{
	errors++;
}

void test__skip(void)
{
	skips++;
}

/*
 * A spawned socket takes a SYN by a local listener only where somebody waits at the socket, and
 * these tests accept when all is over.
 */
int listen(int fd, int backlog)
{
	int (*next)(int fd, int backlog) = dlsym(RTLD_NEXT, "listen");
	struct epoll_event event = { .events = EPOLLIN };
	static int epoll = -1;

	if (next(fd, backlog))
		return -1;
	if (epoll < 0)
		epoll = epoll_create1(EPOLL_CLOEXEC);
	/* It is in there already if it listens anew. */
	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	return 0;
}

/* A namespace needs no name here, and its caller is always to be in it. */
struct netns_obj *netns_new(const char *name, bool open_it)
{
	struct netns_obj *netns = malloc(sizeof(*netns));

	if (!netns)
		return NULL;
	netns->before = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (netns->before >= 0 && !unshare(CLONE_NEWNET) && !system("ip link set lo up"))
		return netns;
	netns_free(netns);
	return NULL;
}

void netns_free(struct netns_obj *netns)
{
	if (!netns)
		return;
	setns(netns->before, CLONE_NEWNET);
	close(netns->before);
	free(netns);
}

__u32 link_info_prog_id(const struct bpf_link *link, struct bpf_link_info *info)
{
	__u32 len = sizeof(*info);

	memset(info, 0, len);
	if (CHECK_FAIL(bpf_obj_get_info_by_fd(bpf_link__fd(link), info, &len)))
		return 0;
	return info->prog_id;
}

#include PROG_TEST

int main(int argc, char **argv)
{
	ksft_print_header();
	if (geteuid())
		ksft_exit_skip("needs root\n");
	snprintf(subtest, sizeof(subtest), "%s", basename(argv[0]));
	begin();
	RUN();
	end();
	/* Only now is it known how many there are. */
	ksft_set_plan(ksft_test_num());
	if (ksft_get_xskip_cnt() == ksft_plan)
		return KSFT_SKIP;
	ksft_finished();
}
