# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""States of a real host: what makes each from a hardened one, and the controls that it breaks."""

from __future__ import annotations

from typing import Iterable, NamedTuple


class State(NamedTuple):
    """A script, the controls that fail in the state it makes, and others that pass there."""

    script: str
    fails: Iterable[str]
    passes: Iterable[str] = ()


# What the scripts share. `told` merges JSON into daemon.json, where null takes a directive out;
# `leaf` makes an authority of its own and puts a server certificate of it in place.
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
container() {
  docker image inspect busybox || docker import /opt/busybox.tar busybox
  docker run --detach --name "$@" busybox sleep 1000
}
leaf() {
  python3 - "$@" <<'PYTHON'
import datetime, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage, NameOID

now = datetime.datetime.now(datetime.timezone.utc)


def make(name, bits, days, issuer=None, signer=None, authority=False, names=(), usages=()):
    key = rsa.generate_private_key(65537, bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begins, ends = now - datetime.timedelta(days=400), now + datetime.timedelta(days=days)
    builder = x509.CertificateBuilder(issuer or subject, subject, key.public_key(), 7, begins, ends)
    builder = builder.add_extension(x509.BasicConstraints(authority, None), True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), False)
    return builder.sign(signer or key, hashes.SHA256()), key


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def secret(key):
    kind, plain = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, kind, plain)


days, bits, tls = int(sys.argv[1]), int(sys.argv[2]), "/etc/docker/tls/"
both = [Usage.SERVER_AUTH, Usage.CLIENT_AUTH]
root, signer = make("one for all", 2048, 1000, authority=True)
name = [x509.DNSName("elsewhere.example")]
mine, key = make("mine", bits, days, root.subject, signer, names=name, usages=both)
stranger = make("stranger", 2048, 100)[0]
for name, data in (
    ("ca.pem", pem(root)),
    ("server-cert.pem", pem(mine) + (pem(stranger) if "stranger" in sys.argv else b"")),
    ("server-key.pem", secret(key)),
    ("ca-key.pem", secret(signer)),
):
    with open(tls + name, "wb") as file:
        file.write(data)
PYTHON
}
plugin() {
  mkdir -p /run/docker/plugins
  cat > /var/tmp/plugin.py <<'PYTHON'
import json, os, socketserver
from http.server import BaseHTTPRequestHandler

PATH = "/run/docker/plugins/test.sock"


class Plugin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        activated = self.path == "/Plugin.Activate"
        body = json.dumps({"Implements": ["authz"]} if activated else {"Allow": True}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "dockerd"


if os.path.exists(PATH):
    os.unlink(PATH)
socketserver.ThreadingUnixStreamServer(PATH, Plugin).serve_forever()
PYTHON
  systemd-run --quiet --unit=test-plugin python3 /var/tmp/plugin.py
  for turn in $(seq 50); do test -S /run/docker/plugins/test.sock && break; sleep 0.1; done
}
"""

# The scripts end with the host in a state that is judged; afterwards everything is put back.
STATES = {
    "files in the wrong hands": State(
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
        [
            *("socket-owner", "socket-group-members", "config-owner", "config-directory-owner"),
            *("service-owner", "socket-unit-owner", "registry-certificates-owner"),
            *("authority-owner", "certificate-owner", "key-owner", "defaults-owner"),
            *("containerd-socket-owner", "credentials"),
        ],
    ),
    "files in the right hands": State(
        r"""
        mkdir -p /etc/docker/certs.d/hub.example && cd /etc/docker/certs.d/hub.example
        echo key > client.key && chmod 0400 client.key
        """,
        [],
        ["registry-certificates-owner"],
    ),
    "told and not done": State(
        r"""
        told '{"group": "nogroup", "label": "a=b", "registry-mirrors": ["https://mirror.example"]}'
        dropin docker.service '[Service]\nMemoryMax=8G\n'
        mkdir -p /etc/sysconfig && echo 'OPTIONS="--icc=false"' > /etc/sysconfig/docker
        echo DOCKER_CONTENT_TRUST=1 >> /etc/environment
        """,
        [
            *("group-ignored", "config-ignored", "config-applied", "service-limits"),
            *("defaults-ignored", "units-loaded", "content-trust"),
        ],
    ),
    "told where it counts": State(
        r"""
        told '{"group": "docker", "log-driver": "syslog"}'
        told '{"log-opts": {"syslog-address": "udp://127.0.0.1:514"}}'
        dropin docker.service '[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H unix:///run/d.sock\n'
        echo DOCKER_CONTENT_TRUST=1 >> /etc/environment
        echo DOCKER_CONTENT_TRUST_SERVER=https://notary.example >> /etc/environment
        """,
        [],
        ["group-ignored", "logs-remote", "content-trust"],
    ),
    "a bridge with a container on it": State(
        "container test-bridge; told '{\"mtu\": 1400}'; restart", ["bridge-applied"]
    ),
    "an engine that was upgraded": State(
        r"""
        file=$(readlink --canonicalize "$(command -v dockerd)")
        cp --preserve "$file" "$file.new" && mv "$file.new" "$file"
        """,
        ["engine-restarted"],
    ),
    "a broken file": State(
        "printf '{\"icc\": false,}' > /etc/docker/daemon.json", ["config-parses"]
    ),
    "a daemon that would not start": State(
        r"""
        told '{"no-such-directive": 1, "seccomp-profile": "/nowhere.json", "tlskey": "/etc/passwd"}'
        told '{"authorization-plugins": ["nobody"], "userns-remap": "nobody-has-this"}'
        dropin docker.socket '[Socket]\nSocketGroup=nobody-has-this\n'
        systemctl daemon-reload
        """,
        [
            *("config-accepted", "files-present", "certificate-usable", "plugins-present"),
            *("socket-owner-exists", "config-applied", "host-provides"),
        ],
    ),
    "a masked daemon": State(
        "ln -s /dev/null /etc/systemd/system/docker.service; systemctl daemon-reload",
        ["unit-usable"],
    ),
    "a swarm": State(
        r"""
        told '{"live-restore": null}'; restart
        docker swarm init --advertise-addr 127.0.0.1 > /dev/null
        told '{"live-restore": true}'
        """,
        ["swarm-live-restore", "config-applied"],
    ),
    "an open daemon": State(
        r"""
        told '{"iptables": false, "icc": null, "debug": true}'
        told '{"insecure-registries": ["registry.example"], "experimental": true}'
        told '{"metrics-addr": "0.0.0.0:9323", "default-ipc-mode": "shareable"}'
        told '{"tlsverify": null, "tlscacert": null, "tlscert": null, "tlskey": null}'
        told '{"no-new-privileges": null, "userland-proxy": null, "log-opts": null}'
        told '{"default-ulimits": null, "live-restore": null, "cgroup-parent": "/limited"}'
        rm /etc/systemd/system/docker.service.d/hardened-guard.conf
        systemctl daemon-reload; systemctl stop docker-tls.socket docker.service docker.socket
        dropin docker.socket '[Socket]\nListenStream=2375\n'
        told '{"exec-opts": ["native.cgroupdriver=cgroupfs"]}'
        systemctl daemon-reload; systemctl start docker.socket docker.service
        """,
        [
            *("iptables", "icc", "log-level", "registries", "experimental"),
            *("diagnostics", "namespaces", "listener-verified", "listener-refuses-strangers"),
            *("no-new-privileges", "userland-proxy", "logs-bounded", "ulimits", "live-restore"),
            *("cgroup-parent", "logs-remote", "authorization-plugin"),
        ],
    ),
    "no filter for system calls": State(
        # For 20.10 that is the name of a file, and it does not start.
        'told \'{"seccomp-profile": "unconfined"}\'; restart || true',
        ["seccomp"],
    ),
    "directives of engines to come": State(
        r"""
        told '{"allow-direct-routing": true, "nri-opts": {"enable": true}}'
        told '{"default-ulimits": {"nofile": {"Name": "nofile", "Soft": 5, "Hard": 2000000000}}}'
        """,
        ["forwarding", "node-resource-interface", "ulimits-grantable"],
    ),
    "users of a namespace": State(
        'told \'{"userns-remap": "default"}\'; restart', [], ["userns-remap"]
    ),
    "containers that own the host": State(
        r"""
        container test-socket --volume /run:/host
        container test-confined --cap-add SYS_ADMIN --security-opt seccomp=unconfined
        container test-namespaces --pid host --network host
        container test-mounts --volume /etc:/host
        """,
        [
            *("container-socket", "container-confined", "container-namespaces"),
            *("container-sensitive-mounts", "container-limits"),
        ],
    ),
    "a privileged container": State(
        # Where the machine itself lacks capabilities, 20.10 cannot start one.
        "container test-privileged --privileged || true",
        [],
    ),
    "a container that owns nothing": State(
        "container test-modest --memory 64m --pids-limit 50 --volume /srv:/data:ro",
        [],
        [
            *("container-socket", "container-privileged", "container-confined"),
            *("container-namespaces", "container-sensitive-mounts", "container-limits"),
        ],
    ),
    "certificates of one authority for all": State(
        "leaf -1 1024 stranger",
        [
            *("certificate-valid", "certificate-usage", "certificate-names", "certificate-chain"),
            *("certificate-strong", "authority-key-absent", "authorities-apart"),
            "certificate-served",
        ],
    ),
    "a certificate that nobody renewed": State("leaf 5 2048", ["certificate-expires-soon"]),
    "a plugin": State(
        'plugin; told \'{"authorization-plugins": ["test"]}\'; restart',
        [],
        [
            *("authorization-plugin", "plugins-present", "authorization-alive"),
            *("authorization-asked", "authorization-by-flag", "grpc-bypass"),
        ],
    ),
    "a plugin that died": State(
        r"""
        plugin; told '{"authorization-plugins": ["test"]}'; restart
        systemctl stop test-plugin.service
        """,
        ["authorization-alive"],
    ),
    "a plugin by flag": State(
        r"""
        plugin
        dropin docker.service '[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// \
            --containerd=/run/containerd/containerd.sock --authorization-plugin=test\n'
        restart
        """,
        ["authorization-by-flag"],
    ),
    "a plugin that the daemon was not told of": State(
        'plugin; told \'{"authorization-plugins": ["test"]}\'', ["authorization-asked"]
    ),
    "a plugin that anybody can be": State(
        r"""
        mkdir -p /etc/docker/plugins; cd /etc/docker/plugins
        told '{"authorization-plugins": ["far"]}'
        echo '{"Name": "far", "Addr": "https://plugin.example", "TLSConfig": {}}' > far.json
        """,
        ["authorization-spec-insecure"],
    ),
    "a plugin whose authority is known": State(
        r"""
        mkdir -p /etc/docker/plugins; cd /etc/docker/plugins
        told '{"authorization-plugins": ["far"]}'
        echo '{"Name": "far", "Addr": "https://plugin.example",' > far.json
        echo ' "TLSConfig": {"CAFile": "/etc/docker/tls/ca.pem"}}' >> far.json
        """,
        [],
        ["authorization-spec-insecure"],
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
