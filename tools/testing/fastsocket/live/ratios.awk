#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# ratios.awk: what `make bench-live` prints of its runs. Each line of the input is one run, its fields
# divided by tabs:
#
#   server, kind, round, requests per second, kernel time per request, local share in percent or "-",
#   share of the servers' CPU time that was used in percent, failed requests
#
# or, for a kind that a server does not have, "server, kind, -". A run is compared with the run of kind
# "single" of the same server and round: so what slows down a whole round slows down both. What is
# printed of these ratios is the median and, as their spread, the least and the greatest. Of "single"
# itself it is the ratio to its median over the rounds, which says how much runs differ that do not
# differ in anything.
#
# With -v separate=1, the servers have CPUs of their own.

BEGIN {
	FS = "\t"
	n_kinds = split("single reuseport fastsocket", kinds, " ")
}

{
	if (!($1 in seen)) { seen[$1]; servers[++n_servers] = $1 }
	has[$1, $2] = 1
	if ($3 == "-") next
	runs[$1, $2]++
	if ($3 > rounds) rounds = $3
	ran[$1, $2, $3] = 1
	rate[$1, $2, $3] = $4
	kernel[$1, $2, $3] = $5
	if ($6 != "-") { local[$1, $2] += $6; locals[$1, $2]++ }
	busy[$1, $2] += $7
	failed[$1, $2] += $8
}

# Sorts the numbers list[1] to list[n].
function sort_list(n,	i, j, x)
{
	for (i = 2; i <= n; i++) {
		x = list[i]
		for (j = i - 1; j > 0 && list[j] > x; j--)
			list[j + 1] = list[j]
		list[j + 1] = x
	}
}

# Sets least, greatest and median of list[1] to list[n].
function sum_up(n)
{
	sort_list(n)
	least = list[1]
	greatest = list[n]
	median = n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}

# Puts the ratios of what a kind had into list, and returns how many they are.
function ratios(what, server, kind,	round, n, base)
{
	n = 0
	if (kind == "single") {
		for (round = 1; round <= rounds; round++)
			if (ran[server, kind, round])
				list[++n] = value(what, server, kind, round)
		if (!n)
			return 0
		sum_up(n)
		if (!median)
			return 0
		for (round = 1; round <= n; round++)
			list[round] /= median
		return n
	}
	for (round = 1; round <= rounds; round++) {
		if (!ran[server, kind, round] || !ran[server, "single", round])
			continue
		base = value(what, server, "single", round)
		if (base > 0)
			list[++n] = value(what, server, kind, round) / base
	}
	return n
}

function value(what, server, kind, round)
{
	return what == "rate" ? rate[server, kind, round] : kernel[server, kind, round]
}

# A cell of the table; and a remark, if what it says is not more than chance.
function cell(what, server, kind,	n)
{
	n = ratios(what, server, kind)
	if (!n)
		return sprintf("%24s", "-")
	sum_up(n)
	if (kind != "single" && rounds > 1 && greatest - least > (median > 1 ? median - 1 : 1 - median))
		remark(server ", " kind ", " (what == "rate" ? "requests/s" : "kernel time") \
			": the difference is within the spread: it says nothing")
	return sprintf("%8.2f (%.2f .. %.2f)", median, least, greatest)
}

function remark(text)
{
	remarks[++n_remarks] = text
}

END {
	printf "%-12s %-11s %24s %24s %9s %6s %7s\n", "server", "kind", "requests/s", "kernel time", "local", "busy", "failed"
	for (s = 1; s <= n_servers; s++) {
		for (k = 1; k <= n_kinds; k++) {
			server = servers[s]
			kind = kinds[k]
			if (!has[server, kind])
				continue
			n = runs[server, kind]
			if (!n) {
				printf "%-12s %-11s %24s %24s %9s %6s %7s\n", server, kind, "-", "-", "-", "-", "-"
				continue
			}
			share = "-"
			if (locals[server, kind])
				share = sprintf("%.2f %%", local[server, kind] / locals[server, kind])
			used = busy[server, kind] / n
			printf "%-12s %-11s %24s %24s %9s %4.0f %% %7d\n", server, kind, cell("rate", server, kind),
				cell("kernel", server, kind), share, used, failed[server, kind]
			if (separate && used < 80)
				remark(server ", " kind ": the servers' CPUs were not busy: requests/s says how fast the load is")
		}
	}
	if (rounds < 2)
		remark("one round has no spread: it says nothing")
	if (n_remarks)
		print ""
	for (i = 1; i <= n_remarks; i++)
		print remarks[i]
}
