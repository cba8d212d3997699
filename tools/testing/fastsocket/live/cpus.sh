# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# CPUs: which there are for whom, and what they did.

# usable_cpus: the CPUs that we may run on, a line each: those of one core next to each other, and
# those of one package.
usable_cpus() {
	local range cpu core package topology
	for range in $(taskset -cp $$ | sed 's/.*: //; s/,/ /g'); do
		seq "${range%-*}" "${range#*-}"
	done | while read -r cpu; do
		topology=/sys/devices/system/cpu/cpu$cpu/topology core=$cpu package=0
		[ ! -r "$topology" ] || read -r package <"$topology/physical_package_id"
		[ ! -r "$topology" ] || core=$(grep -o '^[0-9]*' "$topology/thread_siblings_list")
		echo "$package $core $cpu"
	done | sort -n -k1,1 -k2,2 -k3,3
}

# split_cpus: sets server_cpus and load_cpus. With 8 CPUs or more each gets a half, and no core is
# divided between them: what the load takes is not taken from the servers. With fewer the halves would
# be too small to be worth it, and load_cpus is empty: everything runs everywhere.
split_cpus() {
	local package core cpu n=0 half last='' all=()
	server_cpus=() load_cpus=()
	mapfile -t all < <(usable_cpus)
	half=$((${#all[@]} / 2))
	while read -r package core cpu; do
		if [ ${#all[@]} -lt 8 ] || [ $n -lt $half ] || [ "$package $core" = "$last" ]; then
			server_cpus+=("$cpu") last="$package $core" n=$((n + 1))
		else
			load_cpus+=("$cpu")
		fi
	done < <(printf '%s\n' "${all[@]}")
}

# cpu_times all|CPU...: the ticks that these spent in the kernel, idle, stolen, and altogether. "In the
# kernel" is system, irq and softirq.
cpu_times() {
	awk -v cpus="$*" 'BEGIN { n = split(cpus, a, " "); for (i = 1; i <= n; i++) want[a[i] == "all" ? "cpu" : "cpu" a[i]] }
		$1 in want { kernel += $4 + $7 + $8; idle += $5 + $6; steal += $9; for (i = 2; i <= 9; i++) all += $i }
		END { printf "%.0f %.0f %.0f %.0f\n", kernel, idle, steal, all }' /proc/stat
}

# percent PART WHOLE
percent() { echo $(($2 > 0 ? 100 * $1 / $2 : 0)); }

# busy_now: the share of the machine's CPU time that is used or stolen, in percent: by others, when
# nothing of ours runs.
busy_now() {
	local idle all idle_later all_later
	read -r _ idle _ all < <(cpu_times all)
	# How long is looked, and nothing that is waited for.
	sleep 2
	read -r _ idle_later _ all_later < <(cpu_times all)
	percent $((all_later - all - idle_later + idle)) $((all_later - all))
}
