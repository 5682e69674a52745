# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""States of a real host: what makes each from a hardened one, and the controls that it breaks."""

from __future__ import annotations

# What the scripts share. `told` merges JSON into daemon.json, null takes a directive out.
PRELUDE = r"""
set -eu
told() {
  python3 - "$1" <<'PYTHON'
import json, sys
path = "/etc/docker/daemon.json"
data = {**json.load(open(path)), **json.loads(sys.argv[1])}
json.dump({k: v for k, v in data.items() if v is not None}, open(path, "w"), indent=2)
PYTHON
}
dropin() {
  mkdir -p "/etc/systemd/system/$1.d"
  printf '%b' "$2" > "/etc/systemd/system/$1.d/test.conf"
}
restart() { systemctl daemon-reload; systemctl restart docker.service; }
"""

# The scripts end with the host in a state that is judged; afterwards everything is put back.
STATES = {
    "somebody else's files": (
        r"""
        cd /etc/docker
        mkdir -p certs.d/hub.example && echo key > certs.d/hub.example/client.key
        chmod 0644 certs.d/hub.example/client.key
        mkdir -p /etc/sysconfig && echo '# empty' > /etc/sysconfig/docker
        chmod 0666 daemon.json /etc/sysconfig/docker
        chmod 0606 /run/docker.sock /run/containerd/containerd.sock
        chmod 0644 tls/server-key.pem
        chmod 0664 tls/server-cert.pem
        chown 1:1 tls/ca.pem
        dropin docker.service '[Service]\nEnvironment=HTTP_PROXY=http://ci:s3cret@proxy.example\n'
        dropin docker.socket '[Socket]\n'
        chmod 0664 /etc/systemd/system/docker.s*.d/test.conf
        chmod 0777 /etc/docker
        systemctl daemon-reload
        gpasswd --add daemon docker
        """,
        {
            *("socket-owner", "socket-group-members", "config-owner", "config-directory-owner"),
            *("service-owner", "socket-unit-owner", "registry-certificates-owner"),
            *("authority-owner", "certificate-owner", "key-owner", "defaults-owner"),
            *("containerd-socket-owner", "credentials"),
        },
    ),
    "told and not done": (
        r"""
        told '{"group": "nogroup", "label": "a=b", "registry-mirrors": ["https://mirror.example"]}'
        dropin docker.service '[Service]\nMemoryMax=8G\n'
        mkdir -p /etc/sysconfig && echo 'OPTIONS="--icc=false"' > /etc/sysconfig/docker
        """,
        {
            *("group-ignored", "config-ignored", "config-applied", "service-limits"),
            *("defaults-ignored", "units-loaded"),
        },
    ),
    "a bridge with a container on it": (
        "told '{\"mtu\": 1400}'; restart",
        {"bridge-applied"},
    ),
    "a broken file": (
        "printf '{\"icc\": false,}' > /etc/docker/daemon.json",
        {"config-parses"},
    ),
    "a daemon that would not start": (
        r"""
        told '{"no-such-directive": 1, "seccomp-profile": "/nowhere.json", "tlskey": "/etc/passwd"}'
        told '{"authorization-plugins": ["nobody"]}'
        dropin docker.socket '[Socket]\nSocketGroup=nobody-has-this\n'
        ln -sf /dev/null /etc/systemd/system/docker-tls.socket
        systemctl daemon-reload
        """,
        {
            *("config-accepted", "files-present", "certificate-usable", "plugins-present"),
            *("socket-owner-exists", "config-applied"),
        },
    ),
    "a masked daemon": (
        "ln -s /dev/null /etc/systemd/system/docker.service; systemctl daemon-reload",
        {"unit-usable"},
    ),
    "a swarm": (
        r"""
        told '{"live-restore": null}'; restart
        docker swarm init --advertise-addr 127.0.0.1 > /dev/null
        told '{"live-restore": true}'
        """,
        {"swarm-live-restore", "config-applied"},
    ),
    "an open daemon": (
        r"""
        told '{"iptables": false, "icc": null, "seccomp-profile": "unconfined", "debug": true}'
        told '{"insecure-registries": ["registry.example"], "experimental": true}'
        told '{"metrics-addr": "0.0.0.0:9323", "default-ipc-mode": "shareable"}'
        told '{"tlsverify": null, "tlscacert": null, "tlscert": null, "tlskey": null}'
        told '{"no-new-privileges": null, "userland-proxy": null, "log-opts": null}'
        told '{"default-ulimits": null, "live-restore": null}'
        rm /etc/systemd/system/docker.service.d/hardened.conf
        systemctl daemon-reload; systemctl stop docker-tls.socket docker.service docker.socket
        dropin docker.socket '[Socket]\nListenStream=2375\n'
        systemctl daemon-reload; systemctl start docker.socket docker.service
        """,
        {
            *("iptables", "icc", "seccomp", "log-level", "registries", "experimental"),
            *("diagnostics", "namespaces", "listener-verified", "listener-refuses-strangers"),
            *("no-new-privileges", "userland-proxy", "logs-bounded", "ulimits", "live-restore"),
        },
    ),
}

# Someone else on the daemon's socket, who says what the first argument makes of it.
IMPOSTOR = r"""
mv /run/docker.sock /run/docker.sock.kept
cat > /var/tmp/impostor.py <<'PYTHON'
import os, socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind("/run/docker.sock")
listener.listen(50)
while True:
    client = listener.accept()[0]
    client.recv(1000)
    kind = sys.argv[1]
    try:
        if kind == "half":
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"Swarm\": ")
            kept = client.dup()
        if kind == "endless":
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                client.sendall(b" " * 65536)
        if kind == "slow":
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(1000):
                client.sendall(b" ")
                time.sleep(0.5)
        if kind == "junk":
            body = b"[" * 100000
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
            client.sendall(head + body)
        if kind == "other":
            body = b'[[], {"Id": {}, "State": 5}, null, "\\ud800"]'
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
            client.sendall(head + body)
    except OSError:
        pass
    if kind != "half":
        client.close()
PYTHON
systemd-run --quiet --unit=impostor python3 /var/tmp/impostor.py KIND
sleep 0.5
"""
LIVE = {"config-applied", "bridge-applied"}
OF_THE_FILE = {"config-parses", "config-accepted", "icc", "no-new-privileges", "live-restore"}

# States in which little can be judged: a script, and what may not pass.
HOSTILE = {
    "a daemon that hangs": ("kill -STOP $(pidof dockerd)", LIVE),
    **{
        "a socket that answers: %s" % kind: (IMPOSTOR.replace("KIND", kind), LIVE)
        for kind in ("half", "endless", "slow", "junk", "other")
    },
    "a FIFO": ("cd /etc/docker; rm daemon.json; mkfifo daemon.json", OF_THE_FILE),
    "a directory": ("cd /etc/docker; rm daemon.json; mkdir daemon.json", OF_THE_FILE),
    "a file of a gigabyte": ("truncate --size 1G /etc/docker/daemon.json", OF_THE_FILE),
    "a file without end": ("ln -sf /dev/zero /etc/docker/daemon.json", OF_THE_FILE),
    "a link to itself": ("ln -sf daemon.json /etc/docker/daemon.json", OF_THE_FILE),
    "no UTF-8": ("printf '{\"icc\": \\377}' > /etc/docker/daemon.json", OF_THE_FILE),
    "a unit that is none": (
        "rm -rf /etc/systemd/system/docker.service.d; mkfifo /etc/systemd/system/docker.service",
        {"daemon-readable", *LIVE, *OF_THE_FILE},
    ),
    "noise in the place of certificates": (
        "cd /etc/docker/tls; for file in *.pem; do head -c 100000 /dev/urandom > $file; done",
        {"certificate-usable"},
    ),
}
