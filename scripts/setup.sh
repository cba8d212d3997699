#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# setup.sh: install what building, booting and testing need. Never asks, and can be repeated.
#
# On Debian 12, as root, everything comes from Debian's archive (QEMU from its backports, if they are
# to be had), crates.io (bindgen) and PyPI (virtme-ng). The latter two go to the cache outside the
# clone, not into the system.
# Elsewhere, or without root, it says exactly what is missing.
#
# setup.sh --check [build]: only look, quickly; end 1 and say what is missing, of all or of what builds.
#
# With FASTSOCKET_SOAK=1, also the programs that only a soak runs.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

BINDGEN=0.73.2
VIRTME_NG=1.42

BUILD_PACKAGES=(
	# the kernel's build
	bc bison ccache clang-19 cpio file flex git kmod libc6-dev libclang-19-dev libelf-dev libssl-dev
	lld-19 llvm-19 make perl pkg-config python3 rsync xz-utils
	# Rust: compiler, its sources, cargo, rustfmt and clippy, always of one version
	cargo-web rust-web-clippy rust-web-src rustc-web rustfmt-web
)
PACKAGES=(
	# the kernel's source, pinned by BASE where the archive still has it
	"$(read_base package)"
	"${BUILD_PACKAGES[@]}"
	# the guest
	busybox-static python3-venv qemu-system-x86
	# tests and demo
	apache2-utils bpftool ethtool gcc golang-go haproxy iproute2 iptables iputils-ping jq libbpf-dev
	libc6-dev-i386 libcap-dev libgcc-12-dev lib32gcc-12-dev libmnl-dev lighttpd netcat-openbsd
	nftables nginx-light procps psmisc shellcheck socat util-linux
)
# Their packages would start them and enable them at boot: nothing of ours wants that.
DAEMONS=(nginx haproxy lighttpd)
# What tools/testing/selftests/net/fastsocket/programs/ runs.
if [ "${FASTSOCKET_SOAK:-}" = 1 ]; then
	PACKAGES+=(apache2-bin curl gunicorn nodejs openssh-client openssh-server php-fpm postgresql puma redis-server
		squid systemd uwsgi-core uwsgi-plugin-python3 vsftpd)
	DAEMONS+=(php8.2-fpm postgresql redis-server squid ssh vsftpd)
fi

# Debian 12's QEMU is older than scripts/lib.sh would have it; its backports are for this alone.
BACKPORTS=bookworm-backports

# missing_packages PACKAGE...: those that are not installed.
missing_packages() {
	LC_ALL=C comm -13 <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
		sed -n 's/^installed //p' | LC_ALL=C sort -u) <(printf '%s\n' "$@" | LC_ALL=C sort -u)
}

have_bindgen() { [ "$("$CACHE/tools/bin/bindgen" --version 2>/dev/null)" = "bindgen $BINDGEN" ]; }
have_vng() { [ -x "$CACHE/tools/venv/bin/vng" ] && [ -d "$(echo "$CACHE"/tools/venv/lib/python3*/site-packages/virtme_ng-$VIRTME_NG.dist-info)" ]; }

debian12() { [ -r /etc/os-release ] && (. /etc/os-release && [ "${ID:-}" = debian ] && [ "${VERSION_ID:-}" = 12 ]); }

elsewhere() {
	cat >&2 <<-END
	This is not Debian 12. Install these yourself, then run this again for bindgen and virtme-ng:
	  - clang, lld, llvm and libclang 19, callable as clang-19, ld.lld-19, llvm-ar-19 ...
	  - rustc 1.78 or newer in /usr/bin, with cargo, rustfmt, clippy and rust-src of the same version
	  - bc bison cpio flex kmod make perl rsync xz, headers of libelf and OpenSSL; ccache if you like
	  - qemu-system-x86_64 (10.0 or newer: older ones cannot count, and before 8.1 guests are slow), a static busybox in /bin, python3 with venv
	  - for tests and the demo: nginx, haproxy, lighttpd, ab, iproute2, ethtool, iptables, nftables,
	    socat, nc, jq, shellcheck, bpftool, headers of libbpf, libcap and libmnl, a 32-bit libc, go
	  - for soaks, those of the programs in tools/testing/selftests/net/fastsocket/programs/ that shall be tested
	  - a Linux 6.12.y source tree, given to make as KSRC=/path/to/it
	END
}

# check all|build
check() {
	local missing=() as='' tool tools=(clang-19 ld.lld-19 rustc cargo flex bison bc cpio rsync) packages=("${BUILD_PACKAGES[@]}")
	if [ "$1" = all ]; then packages=("${PACKAGES[@]}") tools+=(qemu-system-x86_64 busybox); fi
	if command -v dpkg-query >/dev/null && debian12; then
		mapfile -t missing < <(missing_packages "${packages[@]}")
	else
		for tool in "${tools[@]}"; do
			command -v "$tool" >/dev/null || missing+=("$tool")
		done
	fi
	[ ${#missing[@]} = 0 ] || [ "$(id -u)" = 0 ] || as=' as root, and then'
	have_bindgen || missing+=("bindgen $BINDGEN")
	[ "$1" = build ] || have_vng || missing+=("virtme-ng $VIRTME_NG")
	[ ${#missing[@]} = 0 ] && return
	note "missing: ${missing[*]}"
	note "run 'make setup'$as as $(id -un) (bindgen and virtme-ng are each user's own, in $CACHE)"
	return 1
}

# add_archive ARCHIVE SUITE: in `sources`, options for apt that make it look there too. The system's own list
# of sources stays as it is.
add_archive() {
	local dir
	dir=$(mktemp -d)
	chmod 755 "$dir"
	sources=(-o Dir::Etc::SourceList="$dir/sources.list" -o APT::Get::List-Cleanup=false)
	{
		cat /etc/apt/sources.list 2>/dev/null || true
		printf 'deb [signed-by=%s] http://deb.debian.org/%s %s main\n' \
			/usr/share/keyrings/debian-archive-keyring.gpg "$1" "$2"
	} >"$dir/sources.list"
}

remove_archive() {
	[ ${#sources[@]} = 0 ] || rm -r "$(dirname "${sources[1]#*=}")"
}

# update_lists PACKAGE...: apt takes an archive that it cannot reach for a warning. It is one for us if the
# packages can be had all the same: the system may have other archives.
update_lists() {
	progress "apt-get update" apt-update.log apt-get -q "${sources[@]}" -o APT::Update::Error-Mode=any update ||
		apt-get -q -s "${sources[@]}" install "$@" >/dev/null 2>&1 ||
		die "without what apt-get update did not get, not all of these can be had: $*"
}

install_packages() {
	local missing policy=/usr/sbin/policy-rc.d ours='' new=() known d base sources
	mapfile -t missing < <(missing_packages "${PACKAGES[@]}")
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ "$(id -u)" != 0 ]; then
		note "not root, and these packages are missing; run as root:"
		note "  apt-get update && apt-get install --no-install-recommends ${missing[*]}"
		exit 1
	fi
	[ ${#missing[@]} -lt 20 ] || need_space /usr 3 "what is missing of Debian's packages"
	note "installing from Debian's archive: ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	sources=()
	base=$(read_base package)
	mapfile -t known < <(printf '%s\n' "${missing[@]}" | grep -vxF "$base")
	update_lists "${known[@]}"
	# A system without the security archive, where Debian keeps the kernel's source.
	if ! apt-cache show "$base" >/dev/null 2>&1; then
		add_archive debian-security bookworm-security
		update_lists "${missing[@]}"
	fi

	for d in "${DAEMONS[@]}"; do
		[ -e "/etc/init.d/$d" ] || new+=("$d")
	done
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\n# fastsocket setup.sh: start no daemon while packages are installed\nexit 101\n' >$policy
		chmod +x $policy
		ours=1
		# shellcheck disable=SC2064
		trap "rm -f $policy" EXIT
	fi
	# The version that the patches were made on, while the archive has it; prepare.sh says if not.
	if apt-cache "${sources[@]}" madison "$base" | grep -qF " $(read_base version) "; then
		mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sed "s/^$base\$/&=$(read_base version)/")
	fi
	progress "apt-get install" apt-install.log \
		apt-get -q -y "${sources[@]}" --no-install-recommends -o Dpkg::Options::=--force-confold install "${missing[@]}"
	remove_archive
	if [ -n "$ours" ]; then rm -f $policy; trap - EXIT; fi
	if command -v systemctl >/dev/null; then
		for d in "${new[@]}"; do systemctl -q disable "$d" 2>/dev/null || true; done
	fi
}

# Without backports, vm.sh makes do with the older QEMU.
install_new_qemu() {
	local sources
	if [ "$(id -u)" != 0 ] || qemu_counts; then return; fi
	note "installing QEMU from $BACKPORTS"
	add_archive debian $BACKPORTS
	export DEBIAN_FRONTEND=noninteractive
	if ! { progress "apt-get update" apt-backports-update.log apt-get -q "${sources[@]}" update &&
		progress "apt-get install" apt-backports.log \
			apt-get -q -y --no-install-recommends "${sources[@]}" -t $BACKPORTS install qemu-system-x86; }; then
		note "no QEMU from $BACKPORTS: without 10.0, nothing can be counted; before 8.1, guests take longer"
	fi
	remove_archive
}

install_tools() {
	mkdir -p "$CACHE/tools"
	exec 7>"$CACHE/tools/.lock"
	flock 7
	if ! have_bindgen; then
		need_space "$CACHE/tools" 1 "bindgen's build"
		note "installing bindgen $BINDGEN from crates.io into $CACHE/tools (some minutes)"
		PATH=/usr/bin:/bin:$PATH CARGO_TARGET_DIR='' RUSTFLAGS='' progress bindgen bindgen.log \
			env -u CARGO_TARGET_DIR -u RUSTUP_TOOLCHAIN RUSTC=/usr/bin/rustc \
			/usr/bin/cargo install bindgen-cli --locked --version $BINDGEN --root "$CACHE/tools" --force
	fi
	if ! have_vng; then
		note "installing virtme-ng $VIRTME_NG from PyPI into $CACHE/tools/venv"
		progress venv virtme-ng.log /usr/bin/python3 -m venv --clear "$CACHE/tools/venv"
		progress virtme-ng virtme-ng.log "$CACHE/tools/venv/bin/pip" install --disable-pip-version-check "virtme-ng==$VIRTME_NG"
	fi
}

usage() { die "usage: setup.sh [--check [build]]"; }

case ${1:-} in
--check)
	case ${2:-all} in all | build) check "${2:-all}" ;; *) usage ;; esac
	;;
'')
	mkdir -p "$BUILD/logs"
	# Root may do this for a user, who builds in the same clone.
	[ "$(id -u)" != 0 ] || chown --reference="$TOP" "$TOP/build" "$BUILD" "$BUILD/logs"
	if debian12; then
		install_packages
		install_new_qemu
	elif ! { command -v cargo && command -v clang-19; } >/dev/null; then
		elsewhere
		exit 1
	fi
	install_tools
	check all
	note "everything is installed"
	;;
*) usage ;;
esac
