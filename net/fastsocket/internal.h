/* SPDX-License-Identifier: GPL-2.0 */
/* What the built-in files of Fastsocket share with each other only. */
#ifndef _FASTSOCKET_INTERNAL_H
#define _FASTSOCKET_INTERNAL_H

struct module;
struct sock;

/* hooks.c */
struct module *fastsocket_owner(void);
void fastsocket_local_data_ready(struct sock *local);

/* listener.c */
bool fastsocket_can_clone(const struct sock *sk);

#endif /* _FASTSOCKET_INTERNAL_H */
