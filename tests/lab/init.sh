#!/bin/sh
# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# First process of a host: lab-init ADDRESS/PREFIX GATEWAY. Becomes systemd.

# systemd-nspawn mounts the controllers of cgroup v1 read-only, and then neither runc nor systemd
# can set a limit. Done before systemd looks at them.
for controller in /sys/fs/cgroup/*/; do
    mount -o remount,bind,rw "$controller" 2>/dev/null
done

# Nodes of the host's own, which users open too: slirp4netns needs tun. The machine's stay as they
# are, and it is their mode that systemd-nspawn gives to those that it makes itself.
mkdir -p /dev/net
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
[ -e /dev/fuse ] || mknod /dev/fuse c 10 229
chmod 0666 /dev/net/tun /dev/fuse

ip address add "$1" dev host0
ip link set host0 up
ip route add default via "$2"

exec /lib/systemd/systemd
