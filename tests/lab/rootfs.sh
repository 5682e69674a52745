#!/bin/sh
# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Finish a root file system: rootfs.sh ROOT. Runs as mmdebstrap's customize hook.
set -eu
root=$1

# Keys, names and the resolver belong to a host, not to the image.
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/resolv.conf" "$root/etc/hostname"
: > "$root/etc/resolv.conf"

# No modules to load from within a namespace, nothing to download, no terminal on the console.
for unit in systemd-modules-load.service apt-daily.timer apt-daily-upgrade.timer \
    console-getty.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

# An image for `docker import`: busybox and a link for each of its commands.
chroot "$root" sh -eu -c '
    image=$(mktemp -d)
    chmod 0755 "$image"
    mkdir -p "$image/bin" "$image/etc" "$image/tmp" "$image/var"
    chmod 1777 "$image/tmp"
    cp "$(command -v busybox)" "$image/bin/busybox"
    for name in $(busybox --list); do
        [ "$name" = busybox ] || ln -s busybox "$image/bin/$name"
    done
    echo "root:x:0:0:root:/:/bin/sh" > "$image/etc/passwd"
    echo "root:x:0:" > "$image/etc/group"
    tar -C "$image" -cf /opt/busybox.tar .
    rm -r "$image"
'
