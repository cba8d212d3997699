/* SPDX-License-Identifier: GPL-2.0 */
/* What the built-in files of Fastsocket share with each other only. */
#ifndef _FASTSOCKET_INTERNAL_H
#define _FASTSOCKET_INTERNAL_H

struct module;

/* hooks.c */
struct module *fastsocket_owner(void);

#endif /* _FASTSOCKET_INTERNAL_H */
