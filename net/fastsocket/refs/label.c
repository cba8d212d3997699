// SPDX-License-Identifier: GPL-2.0
/*
 * Fastsocket, the built-in half of refs: the security label of the unconfined.
 *
 * Built in and in C because it outlives fastsocket.ko, and because there are no
 * static keys for Rust.
 */

#include <linux/bits.h>
#include <linux/cache.h>
#include <linux/fastsocket_label.h>
#include <linux/init.h>
#include <linux/refcount.h>

/*
 * More than may be given up uncounted while the key is switched, place by place:
 * who takes a reference by one that is, and gives it up by one that is not yet.
 */
#define FASTSOCKET_LABEL_REFS	BIT(29)

DEFINE_STATIC_KEY_FALSE(fastsocket_label_enabled);

struct kref *fastsocket_label __ro_after_init;

/**
 * fastsocket_set_label() - say which label it is.
 * @label: its count; it is never to go.
 */
void __init fastsocket_set_label(struct kref *label)
{
	fastsocket_label = label;
}

/**
 * fastsocket_keep_label() - count in it no more.
 *
 * For the first time that the module is there; then it does nothing.
 *
 * Context: process, may sleep; one at a time.
 */
void fastsocket_keep_label(void)
{
	if (!fastsocket_label || static_key_enabled(&fastsocket_label_enabled))
		return;
	refcount_add(FASTSOCKET_LABEL_REFS, &fastsocket_label->refcount);
	static_branch_enable(&fastsocket_label_enabled);
}
