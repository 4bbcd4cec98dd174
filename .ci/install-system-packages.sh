#!/bin/sh
# System packages that the tests of the ARM side need, on Debian 12; needs root. What is missing
# afterwards makes those tests fail, not skip.
#   qemu-user       runs AArch64 programs, with plugins (QEMU 7.2)
#   gcc, libc6-dev  build the plugin that counts, and link packages for this machine
#   gcc-aarch64-linux-gnu, libc6-dev-arm64-cross  link packages for boards; ziglang does too
#   openssh-*       boards over SSH, against a server on loopback with temporary keys
#   libgomp1        ncnn's and MNN's wheels load it
set -eu
packages="qemu-user gcc libc6-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross
  openssh-client openssh-server libgomp1"
missing=""
for package in $packages; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' \
    || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
export DEBIAN_FRONTEND=noninteractive
# A server that starts by itself is not wanted: the tests run their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get -q update
# shellcheck disable=SC2086
apt-get -q install -y --no-install-recommends $missing
