/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fastsocket: the security label of all who are confined by nothing.
 *
 * AppArmor counts in a label each socket and each open file of whom has it.
 * That of the unconfined is there as long as the machine is up: its references
 * need not be counted.  Where they are not, that is said once and for all,
 * since who gives one up does not know when it was taken.
 */
#ifndef _LINUX_FASTSOCKET_LABEL_H
#define _LINUX_FASTSOCKET_LABEL_H

#include <linux/jump_label.h>
#include <linux/kref.h>

#ifdef CONFIG_FASTSOCKET_HOOKS

/* On since fastsocket.ko was there for the first time. */
DECLARE_STATIC_KEY_FALSE(fastsocket_label_enabled);

extern struct kref *fastsocket_label;

void fastsocket_set_label(struct kref *label);
void fastsocket_keep_label(void);

/**
 * fastsocket_keeps_label() - are references to a label not counted?
 * @label: where they would be, or NULL.
 *
 * Context: any.
 */
static inline bool fastsocket_keeps_label(const struct kref *label)
{
	return static_branch_unlikely(&fastsocket_label_enabled) &&
	       label == fastsocket_label;
}

#else

static inline void fastsocket_set_label(struct kref *label)
{
}

static inline bool fastsocket_keeps_label(const struct kref *label)
{
	return false;
}

#endif /* CONFIG_FASTSOCKET_HOOKS */

#endif /* _LINUX_FASTSOCKET_LABEL_H */
