// SPDX-License-Identifier: GPL-2.0
/* Control groups of a test's own, of version 2; see lib.h. */

#include <sys/mount.h>

#include "lib.h"

static char root[] = "/tmp/fastsocket-cgroup-XXXXXX";
static char made[4][32];
static int nr_made;

static void path_of(char path[128], const char *group, const char *file)
{
	snprintf(path, 128, "%s/fastsocket-%s/%s", root, group, file);
}

int cgroup_mount(const char *controllers)
{
	char path[128];

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    !mkdtemp(root) || mount("none", root, "cgroup2", 0, NULL))
		return -errno;
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", root);
	return file_write(path, "%s", controllers);
}

int cgroup_new(const char *group)
{
	char path[128];

	path_of(path, group, "");
	if (nr_made == sizeof(made) / sizeof(made[0]))
		return -ENOSPC;
	snprintf(made[nr_made++], sizeof(made[0]), "%s", group);
	return SYS(mkdir(path, 0755));
}

int cgroup_write(const char *group, const char *file, const char *val)
{
	char path[128];

	path_of(path, group, file);
	return file_write(path, "%s", val);
}

long long cgroup_read(const char *group, const char *file)
{
	char path[128];

	path_of(path, group, file);
	return file_number(path);
}

int cgroup_move(const char *group, pid_t pid)
{
	char val[16];

	snprintf(val, sizeof(val), "%d", pid);
	return cgroup_write(group, "cgroup.procs", val);
}

/* A number in a file that has many: "name number" in each line. */
static long long field(const char *group, const char *file, const char *name)
{
	char path[128], word[64];
	long long value;
	FILE *f;

	path_of(path, group, file);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (fscanf(f, "%63s %lld", word, &value) == 2) {
		if (!strcmp(word, name)) {
			fclose(f);
			return value;
		}
	}
	fclose(f);
	return -ENOENT;
}

pid_t cgroup_throttle(const char *group, pid_t pid, int cpu)
{
	int ret = cgroup_new(group);
	pid_t hog;

	if (!ret)
		ret = cgroup_write(group, "cpu.max", "5000 100000");
	if (ret)
		return ret;
	hog = fork_child();
	if (!hog) {
		pin_to(cpu);
		for (;;)
			;
	}
	ret = hog < 0 ? hog : cgroup_move(group, hog) ?: cgroup_move(group, pid);
	if (!ret && !WAIT_FOR(field(group, "cpu.stat", "nr_throttled") > 1))
		ret = -ETIMEDOUT;
	return ret ?: hog;
}

void cgroup_unmount(void)
{
	char path[128];

	while (nr_made) {
		path_of(path, made[--nr_made], "");
		WAIT_FOR(!rmdir(path) || errno == ENOENT);
	}
	umount2(root, MNT_DETACH);
	rmdir(root);
}
