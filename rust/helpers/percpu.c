// SPDX-License-Identifier: GPL-2.0

#include <linux/percpu.h>

void __percpu *rust_helper___alloc_percpu_gfp(size_t size, size_t align, gfp_t gfp)
{
	return __alloc_percpu_gfp(size, align, gfp);
}
