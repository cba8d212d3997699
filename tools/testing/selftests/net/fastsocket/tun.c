// SPDX-License-Identifier: GPL-2.0
/* A TUN device, and single segments by it; see tun.h. */

#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <netinet/ip.h>
#include "tun.h"

#define DEV		"fs0"

static const char *const addr4[] = { "192.0.2.1", "192.0.2.2" };
static const char *const addr6[] = { "2001:db8::1", "2001:db8::2" };

/* Not in a header that goes with those of the C library. */
struct in6_ifreq_ {
	struct in6_addr addr;
	uint32_t prefixlen;
	int ifindex;
};

/* The server's addresses: add or remove them. */
static int set_addresses(bool there)
{
	int s4 = socket(AF_INET, SOCK_DGRAM, 0), s6 = socket(AF_INET6, SOCK_DGRAM, 0), ret;
	struct in6_ifreq_ ifr6 = { .prefixlen = 64, .ifindex = if_nametoindex(DEV) };
	struct sockaddr_in a4 = { .sin_family = AF_INET };
	struct ifreq ifr = { .ifr_name = DEV };

	inet_pton(AF_INET, there ? addr4[0] : "0.0.0.0", &a4.sin_addr);
	memcpy(&ifr.ifr_addr, &a4, sizeof(a4));
	ret = SYS(ioctl(s4, SIOCSIFADDR, &ifr));
	inet_pton(AF_INET, "255.255.255.0", &a4.sin_addr);
	memcpy(&ifr.ifr_netmask, &a4, sizeof(a4));
	if (!ret && there)
		ret = SYS(ioctl(s4, SIOCSIFNETMASK, &ifr));
	ifr.ifr_flags = IFF_UP | IFF_RUNNING;
	if (!ret)
		ret = SYS(ioctl(s4, SIOCSIFFLAGS, &ifr));
	inet_pton(AF_INET6, addr6[0], &ifr6.addr);
	if (!ret)
		ret = SYS(ioctl(s6, there ? SIOCSIFADDR : SIOCDIFADDR, &ifr6));
	close(s4);
	close(s6);
	return ret;
}

/* Can the server's address be used? Work of the kernel says so, a moment later. */
static bool has_address(void)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6 };
	int fd = socket(AF_INET6, SOCK_STREAM, 0), ret;

	inet_pton(AF_INET6, addr6[0], &a6.sin6_addr);
	ret = bind(fd, (void *)&a6, sizeof(a6));
	close(fd);
	return !ret;
}

int tun_addresses(bool there)
{
	int ret = set_addresses(there);

	if (!ret && there && !WAIT_FOR(has_address()))
		ret = -EADDRNOTAVAIL;
	return ret;
}

int tun_open(void)
{
	struct ifreq ifr = { .ifr_name = DEV, .ifr_flags = IFF_TUN | IFF_NO_PI };
	int fd = SYS(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)), ret;

	if (fd < 0)
		return fd;
	ret = SYS(ioctl(fd, TUNSETIFF, &ifr));
	/* Nobody else is asked for it. */
	if (!ret)
		ret = file_write("/proc/sys/net/ipv6/conf/" DEV "/accept_dad", "0");
	if (!ret)
		ret = tun_addresses(true);
	return ret ? ret : fd;
}

int tun_listen(struct listener *l, enum fam fam, int backlog, bool spawned)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in a4 = { .sin_family = AF_INET };
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int ret;

	l->fam = fam;
	l->fd = socket(fam == V4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
	ret = fam == V4 ? SYS(bind(l->fd, (void *)&a4, sizeof(a4))) :
		SYS(bind(l->fd, (void *)&a6, sizeof(a6)));
	if (!ret)
		ret = SYS(listen(l->fd, backlog));
	if (!ret && spawned)
		ret = fs_spawn(l->fd, -1);
	if (!ret)
		ret = SYS(getsockname(l->fd, (void *)&ss, &len));
	l->port = ((struct sockaddr_in *)&ss)->sin_port;
	l->spawned = spawned;
	return ret;
}

static uint32_t sum(uint32_t acc, const void *buf, size_t len)
{
	const uint16_t *p = buf;

	for (; len > 1; len -= 2)
		acc += *p++;
	return acc;
}

static uint16_t fold(uint32_t acc)
{
	while (acc >> 16)
		acc = (acc & 0xffff) + (acc >> 16);
	return ~acc;
}

static size_t ip_header(enum fam fam, char *buf, uint32_t *acc)
{
	struct ipv6hdr *ip6 = (void *)buf;
	struct iphdr *ip = (void *)buf;

	*acc = htons(IPPROTO_TCP) + htons(sizeof(struct tcphdr));
	if (fam == V4) {
		*ip = (struct iphdr) { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP };
		ip->tot_len = htons(sizeof(*ip) + sizeof(struct tcphdr));
		inet_pton(AF_INET, addr4[1], &ip->saddr);
		inet_pton(AF_INET, addr4[0], &ip->daddr);
		ip->check = fold(sum(0, ip, sizeof(*ip)));
		*acc = sum(*acc, &ip->saddr, 8);
		return sizeof(*ip);
	}
	*ip6 = (struct ipv6hdr) { .version = 6, .hop_limit = 64, .nexthdr = IPPROTO_TCP };
	ip6->payload_len = htons(sizeof(struct tcphdr));
	inet_pton(AF_INET6, addr6[1], &ip6->saddr);
	inet_pton(AF_INET6, addr6[0], &ip6->daddr);
	*acc = sum(*acc, &ip6->saddr, 32);
	return sizeof(*ip6);
}

int tun_put(int tun, enum fam fam, const struct segment *s)
{
	char buf[128] = { 0 };
	uint32_t acc;
	size_t len = ip_header(fam, buf, &acc);
	struct tcphdr *th = (void *)(buf + len);
	int ret;

	th->source = s->sport;
	th->dest = s->dport;
	th->seq = htonl(s->seq);
	th->ack_seq = htonl(s->ack);
	th->doff = 5;
	th->window = htons(65000);
	((uint8_t *)th)[13] = s->flags;
	th->check = fold(sum(acc, th, sizeof(*th)));
	len += sizeof(*th);
	ret = write_full(tun, buf, len);
	return ret == (int)len ? 0 : ret < 0 ? ret : -EIO;
}

struct put {
	int tun, cpu, ret;
	enum fam fam;
	const struct segment *s;
};

static void *put_main(void *arg)
{
	struct put *p = arg;

	p->ret = pin_to(p->cpu);
	if (!p->ret)
		p->ret = tun_put(p->tun, p->fam, p->s);
	return NULL;
}

int tun_put_on(int tun, enum fam fam, const struct segment *s, int cpu)
{
	struct put p = { tun, cpu, 0, fam, s };
	pthread_t thread;
	int ret = pthread_create(&thread, NULL, put_main, &p);

	if (ret)
		return -ret;
	pthread_join(thread, NULL);
	return p.ret;
}

bool tun_get(int tun, enum fam fam, in_port_t port, struct segment *s, int ms)
{
	size_t head = fam == V4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	long long end = now_ms() + ms;
	struct tcphdr *th;
	char buf[2048];
	int len;

	do {
		len = SYS(read(tun, buf, sizeof(buf)));
		if (len < 0) {
			if (ms)
				poll_one(tun, POLLIN, 10);
			continue;
		}
		th = (void *)(buf + head);
		if ((buf[0] >> 4) != (fam == V4 ? 4 : 6) ||
		    buf[fam == V4 ? 9 : 6] != IPPROTO_TCP || th->dest != port)
			continue;
		s->seq = ntohl(th->seq);
		s->ack = ntohl(th->ack_seq);
		s->flags = ((uint8_t *)th)[13];
		return true;
	} while (len >= 0 || now_ms() < end);
	return false;
}

bool tun_syn(int tun, const struct listener *l, in_port_t sport, int cpu, struct segment *answer)
{
	struct segment s = { sport, l->port, 1000, 0, TUN_SYN };

	/* The answer comes before this returns, if one does. */
	return !tun_put_on(tun, l->fam, &s, cpu) && tun_get(tun, l->fam, sport, answer, 0) &&
	       answer->flags == (TUN_SYN | TUN_ACK);
}

int tun_connect(int tun, const struct listener *l, in_port_t sport, int cpu)
{
	struct segment got, s = { sport, l->port, 1001, 0, TUN_ACK };
	int ret;

	if (!tun_syn(tun, l, sport, cpu, &got))
		return -ECONNREFUSED;
	s.ack = got.seq + 1;
	ret = tun_put_on(tun, l->fam, &s, cpu);
	return ret ? ret : accept_wait(l->fd);
}
