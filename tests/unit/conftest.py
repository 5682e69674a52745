# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host made of plain files, as Debian's docker.io leaves one."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import socketserver
import tempfile
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler

import pytest
from _dockerd import drift, plan, program, snapshot, told, units
from _dockerd.does import Does, Process
from _dockerd.host import Host, Stat
from _dockerd.instance import Instance
from _dockerd.snapshot import Manifest, Read
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CONFIG = "/etc/docker/daemon.json"
SERVICE = "/usr/lib/systemd/system/docker.service"
SOCKET = "/usr/lib/systemd/system/docker.socket"
DEBIAN = {
    SERVICE: """\
[Unit]
Requires=docker.socket

[Service]
Type=notify
EnvironmentFile=-/etc/default/docker
ExecStart=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock $DOCKER_OPTS
ExecReload=/bin/kill -s HUP $MAINPID
""",
    SOCKET: """\
[Socket]
ListenStream=/run/docker.sock
SocketMode=0660
SocketUser=root
SocketGroup=docker
""",
    "/etc/default/docker": '#DOCKER_OPTS="--dns 192.0.2.1"\n',
    "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\nci:x:1000:1000::/home/ci:/bin/sh\n",
    "/etc/group": "root:x:0:\ndocker:x:998:ci\nci:x:1000:\n",
}


# What /info says of a daemon without any settings.
SHOWN = {
    "LiveRestoreEnabled": False,
    "Debug": False,
    "ExperimentalBuild": False,
    "LoggingDriver": "json-file",
}


class Directory(Host):
    """A host below a directory, with what a test needs to set it up and to read it."""

    def put(self, path, text, mode=0o644):
        """Make a file, its directory included; text, bytes, or data that becomes JSON."""
        target = self.real(path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not isinstance(text, (str, bytes)):
            text = json.dumps(text)
        with open(target, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(target, mode)

    def text(self, path):
        return self.read(path).decode()

    def tree(self):
        """Every file below the root with its contents and mode."""
        found = {}
        for directory, _directories, names in os.walk(self.root):
            for name in names:
                path = os.path.join(directory, name)
                with open(path, "rb") as file:
                    found[path] = (file.read(), os.stat(path).st_mode)
        return found

    def keep_safe(self):
        """Put in place what every plan has first: program, recovery unit and guard."""
        for path, data in program.files(Instance(), CONFIG).items():
            self.put(path, data, 0o600 if path == Instance().program_path else 0o644)

    def told(self, version="26.1.5"):
        return told.read_told(Instance(), self, version)

    def seen(self, version="26.1.5"):
        return snapshot.read(Instance(), self, version)

    def plan(self, directives, **rest):
        predicted = rest.pop("predicted", ())
        return plan.make(self.seen(), self, plan.Desired(directives, **rest), predicted)

    def apply(self, made):
        """What a transaction does with a plan's files, without a daemon."""
        for change in made.files:
            if change.after is None:
                self.remove(change.path)
            else:
                self.write(change.path, change.after, change.mode, os.geteuid(), os.getegid())
        manifest = made.manifest
        path = made.snapshot.instance.manifest_path
        self.write(path, manifest.dump(), 0o600, os.geteuid(), os.getegid())


def running(host, **changes):
    """The host with a daemon that runs as it is told; ``changes`` are fields of Does."""
    seen = host.seen()
    argv = [word.text for word in seen.told.words]
    active = {
        name: {"ActiveState": "active", "Listen": "/run/docker.sock (Stream)"}
        for name in ("docker.service", "docker.socket")
    }
    bound = {}
    if seen.told.tls_socket and not seen.told.tls_socket.masked:
        active["docker-tls.socket"] = {"ActiveState": "active"}
        for value in units.listeners(seen.told.tls_socket):
            bound.update({place: {2} for place in drift._places(value)})
    does = Does(
        units=active,
        process=Process(1, 0.0, ["boot", 1, 1], argv),
        answers=True,
        info=dict(SHOWN),
        inode=Stat("socket", 0o660, 0, 998, 0, 0.0, 1),
        bound=bound,
        paths={"/run/docker.sock": {1}},
        descriptors={1, 2},
        manager={1, 2},
    )
    seen.does = replace(does, **changes)
    if seen.does.inode:
        seen.owners[seen.instance.socket_path] = (
            host.user(seen.does.inode.uid),
            host.group(seen.does.inode.gid),
        )
    seen.read = Read(dict(seen.told.data), argv[1:], dict(seen.digests))
    seen.manifest = Manifest(applied={"identity": ["boot", 1, 1]})
    return seen


@pytest.fixture
def empty(tmp_path):
    """A host without anything."""
    return Directory(str(tmp_path))


@pytest.fixture
def host(empty):
    """A host as Debian's docker.io leaves it."""
    for path, text in DEBIAN.items():
        empty.put(path, text)
    return empty


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.server.connections += 1

    def do_GET(self):
        self.server.asked.append(self.path)
        answer = self.server.answers.get(self.path, (404, {}))
        if callable(answer):
            answer(self)
            self.close_connection = True
            return
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *rest):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """What speaks HTTP on a unix socket: ``answers`` by URL are data, (status, data) or code."""

    daemon_threads = True

    def __init__(self, path, answers):
        super().__init__(path, _Handler)
        self.path, self.answers = path, answers
        self.asked, self.connections = [], 0

    def handle_error(self, *rest):
        pass  # whoever asked has gone


@pytest.fixture
def serve():
    """Starts servers, each with its answers, and ends them."""
    # Not tmp_path: the path of a unix socket has 107 characters at most.
    directory, servers = tempfile.mkdtemp(), []

    def start(answers):
        server = Server("%s/%d.sock" % (directory, len(servers)), answers)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def pair():
    """A self-signed server certificate and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "web1")])
    start = datetime.datetime(2026, 1, 1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
