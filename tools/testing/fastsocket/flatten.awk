#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# flatten.awk: read TAP or KTAP, nested by indentation ("    ok 1 ...", KUnit) or by comment signs
# ("# ok 1 ...", kselftest's runner), and print one line for each test that has no tests below it:
# result (ok, skip, fail), a tab, the name with its parents'.
#
# A parent's line comes after its children's, so children are kept until it names them.

function depth(line,   m) {
	m = line
	sub(/(not )?ok .*/, "", m)
	gsub(/# /, "    ", m)
	return length(m)
}

function flush_deeper(d, parent,   i, n, out_n) {
	# Give a parent's name to everything deeper that waits, and tell whether there was anything.
	n = 0
	for (i = 1; i <= waiting; i++)
		if (at[i] > d) {
			name[i] = parent " / " name[i]
			at[i] = d
			n++
		}
	return n
}

{
	sub(/\r$/, "")
	# The kernel's log puts a time before each line.
	sub(/^\[ *[0-9]+\.[0-9]+\] /, "")
}

/^[ #]*(not )?ok [0-9]+/ {
	d = depth($0)
	line = $0
	sub(/^[ #]*/, "", line)
	result = line ~ /^not ok/ ? "fail" : "ok"
	sub(/^(not )?ok [0-9]+ *-? */, "", line)
	if (line ~ /# *(SKIP|XFAIL)/)
		result = "skip"
	sub(/ *#.*$/, "", line)
	if (flush_deeper(d, line) && result != "fail")
		next
	# A failed parent of children that all passed failed by itself.
	if (result == "fail") {
		below = 0
		for (i = 1; i <= waiting; i++)
			if (index(name[i], line " / ") == 1 && res[i] == "fail")
				below = 1
		if (below)
			next
	}
	waiting++
	at[waiting] = d
	name[waiting] = line
	res[waiting] = result
}

END {
	for (i = 1; i <= waiting; i++)
		print res[i] "\t" name[i]
}
