#!/bin/sh
# Installs what is missing of the Debian packages that the build and the tests
# need; with the word "lint", what `make lint` and `make fuzz` need too; with
# "bench-peers" and a directory, others' logs, which `make bench-peers` times.
# Where nothing is missing it changes nothing and does not ask the network.
set -eu

packages='gcc libc6-dev make pkg-config
libcjson-dev libcurl4-openssl-dev libseccomp-dev libssl-dev libxxhash-dev
libyaml-dev
check python3 python3-pytest python3-pytest-xdist python3-websockets
websocketd node-ws tinyproxy-bin nftables iproute2 ca-certificates
jq openssl procps binutils libfuse3-dev fuse3 e2fsprogs mount
util-linux logrotate'
[ "${1:-}" != lint ] || packages="$packages
clang clang-format cppcheck libclang-rt-dev mandoc shellcheck"
# SQLite and a client of Redis are libraries. Redis's server is in redis-tools,
# under the name of redis-check-rdb; the package redis-server adds a service.
[ "${1:-}" != bench-peers ] || packages="$packages
libhiredis-dev libsqlite3-dev redis-tools"

# The package rsyslog would become the machine's system log, in the place of
# another that may be there. Where it is not it is unpacked into the directory,
# not installed; the libraries that it needs are.
unpack=
if [ "${1:-}" = bench-peers ] && [ ! -x /usr/sbin/rsyslogd ]; then
	unpack=${2:?into which directory}
	packages="$packages
libestr0 libfastjson4 liblognorm5"
	[ ! -x "$unpack/usr/sbin/rsyslogd" ] || unpack=
fi
unpack_rsyslog() {
	[ -n "$unpack" ] || return 0
	echo "deps: unpacking rsyslog into $unpack"
	mkdir -p "$unpack"
	rm -f "$unpack"/rsyslog_*.deb
	(cd "$unpack" && apt-get download -q rsyslog >/dev/null 2>&1) || {
		# The same goes for the package lists as below.
		$sudo apt-get update -q
		(cd "$unpack" && apt-get download -q rsyslog)
	}
	dpkg --fsys-tarfile "$unpack"/rsyslog_*.deb |
		tar -x -C "$unpack" ./usr/lib ./usr/sbin
	rm "$unpack"/rsyslog_*.deb
}

# Whichever nginx is there already will do, and stays as it is.
[ -x /usr/sbin/nginx ] || packages="$packages nginx-light"
# The same goes for cron, of which others than Debian's own have a crond.
[ -x /usr/sbin/crond ] || packages="$packages cron"

missing=
for package in $packages; do
	# shellcheck disable=SC2016 # the format is dpkg's
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) ||
		state=
	[ "$state" = installed ] || missing="$missing $package"
done
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
[ -n "$missing" ] || {
	unpack_rsyslog
	exit 0
}
[ -z "$sudo" ] || command -v sudo >/dev/null || {
	echo "deps: not root, and no sudo; as root: apt-get install$missing" >&2
	exit 100
}
echo "deps: installing$missing"

# The tests run an nginx and a cron of their own. The packages would start one as
# a service, now and at each boot, and logrotate a timer, which nobody has asked
# for. Debian's way to say no is policy-rc.d (README.policy-rc.d of
# init-system-helpers).
policy=/usr/sbin/policy-rc.d
case $missing in
*nginx* | *cron* | *logrotate*)
	if [ ! -e "$policy" ]; then
		trap '$sudo rm -f "$policy"' EXIT
		trap 'exit 1' HUP INT TERM
		printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
		$sudo chmod 755 "$policy"
	fi
	;;
esac
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # the names are words
$sudo apt-get install -y -q --no-install-recommends $missing >/dev/null 2>&1 || {
	# The package lists may be old, or absent on a new machine.
	$sudo apt-get update -q
	$sudo apt-get install -y -q --no-install-recommends $missing
}
for service in nginx cron; do
	case $missing in
	*$service*) $sudo update-rc.d "$service" disable >/dev/null 2>&1 || true ;;
	esac
done
case $missing in
*logrotate*)
	$sudo systemctl disable logrotate.timer >/dev/null 2>&1 || true
	;;
esac
unpack_rsyslog
