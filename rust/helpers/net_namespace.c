// SPDX-License-Identifier: GPL-2.0

#include <linux/nsproxy.h>
#include <net/net_namespace.h>

void rust_helper_put_net(struct net *net)
{
	put_net(net);
}

struct net *rust_helper_current_net_get(void)
{
	return current->nsproxy ? get_net(current->nsproxy->net_ns) : NULL;
}
