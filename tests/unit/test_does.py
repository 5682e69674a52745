# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel says of processes and sockets, of this very process too."""

from __future__ import annotations

import os
import socket
import struct
import sys
from contextlib import ExitStack

import pytest
from _dockerd import does
from _dockerd.host import Host

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout"
LINE = "   0: %s:%04X %s:0000 %s 00000000:00000000 00:00000000 00000000     0        0 %d 1 0 100"
UNIX = """\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 11 /run/docker.sock
0000000000000000: 00000003 00000000 00000000 0001 03 12 /run/docker.sock
0000000000000000: 00000002 00000000 00010000 0001 01 13 /run/with a space.sock
0000000000000000: 00000002 00000000 00010000 0001 01 14
0000000000000000: 00000002 00000000 00010000 0001 01 15 @abstract
"""


def printed(address):
    """An address as the kernel of this machine prints it: each word in the machine's order."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    raw = socket.inet_pton(family, address)
    return "".join("%08X" % word for word in struct.unpack("=%dI" % (len(raw) // 4), raw))


def test_the_live_process_is_read():
    """This very process, which the kernel describes as it does dockerd."""
    process = does._process(Host(), os.getpid())
    assert process.pid == os.getpid()
    assert process.identity[1] == os.getpid()
    assert process.identity[0] == Host().boot != ""
    assert does._process(Host(), 2**22 + 1) is None
    with open("/proc/self/cmdline", "rb") as file:
        assert process.argv == file.read().decode().split("\0")[:-1]


@pytest.mark.parametrize(
    ("address", "read"),
    [
        ("0.0.0.0", "0.0.0.0"),
        ("192.0.2.1", "192.0.2.1"),
        ("::", "::"),
        ("::1", "::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1:2:3:4", "fe80::1:2:3:4"),
    ],
)
def test_an_address_is_read_in_the_order_of_this_machine(address, read):
    assert does._address(printed(address)) == read


def test_an_address_is_read_in_the_other_order_too(monkeypatch):
    other = {"little": "big", "big": "little"}[sys.byteorder]
    monkeypatch.setattr(does.sys, "byteorder", other)
    assert does._address(printed("192.0.2.1")) == "1.2.0.192"
    assert does._address(printed("::1")) == "::100:0"


def test_listeners_are_told_by_address_and_port(empty):
    lines = [
        HEAD,
        LINE % (printed("127.0.0.1"), 2376, printed("0.0.0.0"), "0A", 1),
        LINE % (printed("0.0.0.0"), 2376, printed("0.0.0.0"), "0A", 2),
        LINE % (printed("0.0.0.0"), 2376, printed("0.0.0.0"), "0A", 3),  # SO_REUSEPORT
        LINE % (printed("127.0.0.1"), 2377, printed("127.0.0.1"), "01", 4),  # a connection
    ]
    empty.put("/proc/net/tcp", "\n".join(lines) + "\n")
    lines = [HEAD, LINE % (printed("::"), 2376, printed("::"), "0A", 5)]
    empty.put("/proc/net/tcp6", "\n".join(lines) + "\n")
    assert does._bound(empty) == {
        ("127.0.0.1", 2376): {1},
        ("0.0.0.0", 2376): {2, 3},
        ("::", 2376): {5},
    }


def test_a_kernel_without_ipv6_has_no_table_of_it(empty):
    empty.put("/proc/net/tcp", HEAD + "\n")
    assert does._bound(empty) == {}


def test_unix_sockets_are_told_by_path_where_somebody_listens(empty):
    empty.put("/proc/net/unix", UNIX)
    assert does._paths(empty) == {
        "/run/docker.sock": {11},
        "/run/with a space.sock": {13},
        "@abstract": {15},
    }


@pytest.mark.parametrize(
    ("family", "address", "read"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0", "0.0.0.0"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::", "::"),
        (socket.AF_INET6, "::ffff:127.0.0.1", "::ffff:7f00:1"),
    ],
)
def test_a_live_listener_is_found_where_it_is_bound(family, address, read):
    with ExitStack() as stack:
        try:
            listener = stack.enter_context(socket.socket(family))
            listener.bind((address, 0))
        except OSError as error:
            pytest.skip("this machine has no %s: %s" % (address, error.strerror))
        listener.listen()
        port = listener.getsockname()[1]
        (found,) = [place for place in does._bound(Host()) if place[1] == port]
        assert does.ipaddress.ip_address(found[0]) == does.ipaddress.ip_address(read)
        assert does._bound(Host())[found] & does._sockets(Host(), os.getpid())


def test_a_live_unix_socket_is_found_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a unix socket has 107 characters at most
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("some.sock")
        assert "some.sock" not in does._paths(Host())
        listener.listen()
        assert does._paths(Host())["some.sock"] <= does._sockets(Host(), os.getpid())
