#!/bin/sh
# Installs what is missing of the Debian packages that the build and the tests
# need; with the word "lint", what `make lint` and `make fuzz` need too. Where
# nothing is missing it changes nothing and does not ask the network.
set -eu

packages='gcc libc6-dev make pkg-config
libcjson-dev libcurl4-openssl-dev libseccomp-dev libssl-dev libxxhash-dev
libyaml-dev
check python3 python3-pytest python3-pytest-xdist python3-websockets
websocketd node-ws tinyproxy-bin nftables iproute2 ca-certificates
jq openssl procps binutils libfuse3-dev fuse3 e2fsprogs mount
util-linux logrotate'
[ "${1:-}" != lint ] || packages="$packages
clang clang-format cppcheck mandoc shellcheck"

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
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || {
		echo "deps: not root, and no sudo; as root: apt-get install$missing" >&2
		exit 100
	}
	sudo=sudo
fi
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
