# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A certificate and its key, replaced as one, though they are two files.

A daemon that starts between two writes would find a pair that does not match, and stay down. So
both lie ready beside their places first, the certificate last: once it is there, the exchange is
decided, and whoever comes across it completes it by two renames: the run, the next run, or the
guard before the daemon starts.

The standard library alone: each start of dockerd waits for this.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

NEXT = ".%s.hardened-next"
DRAFT = ".hardened-new"  # how a file is called that is not whole yet, see host.py


def ready(path: str) -> tuple[str, str]:
    """A file's place, links followed, and where what will take that place lies."""
    place = os.path.realpath(path)
    directory, name = os.path.split(place)
    return place, os.path.join(directory, NEXT % name)


def waits(certificate: str) -> bool:
    """Whether a new certificate lies ready."""
    return os.path.lexists(ready(certificate)[1])


def decided(certificate: str, key: str) -> bool:
    """Whether what lies ready is to take the place of this pair: it fits, and is the last word."""
    certificate, new_certificate = ready(certificate)
    key, new_key = ready(key)
    if not os.path.lexists(new_certificate) or _overtaken(certificate, key, new_certificate):
        return False
    # In this order, for another one may be about to rename the key.
    return _fits(new_certificate, new_key) or (
        not os.path.lexists(new_key) and _fits(new_certificate, key)
    )


def complete(certificate: str, key: str) -> bool:
    """Put in place what was decided; whether there was anything. Raises OSError."""
    done = decided(certificate, key)
    for place, name in (ready(key), ready(certificate)):
        # Where it is gone, somebody else was faster, or came so far before he was cut off.
        with suppress(FileNotFoundError):
            if done:
                os.rename(name, place)
                _sync(os.path.dirname(place))
        for useless in [name + DRAFT] if done else [name, name + DRAFT]:
            with suppress(OSError):  # such as somebody's directory, which a new pair will name
                os.unlink(useless)
    return done


def _overtaken(certificate: str, key: str, new_certificate: str) -> bool:
    """Whether somebody put another pair in place since, which fits."""
    with suppress(OSError):  # such as a certificate that is not there
        there, ready_since = os.stat(certificate).st_ctime, os.stat(new_certificate).st_ctime
        # A time that is to come is of a clock that was wrong, and says nothing.
        return ready_since < there <= time.time() and _fits(certificate, key)
    return False


def _fits(certificate: str, key: str) -> bool:
    """Whether a server could serve with this pair."""
    import ssl  # pylint: disable=import-outside-toplevel

    if not os.path.isfile(certificate) or not os.path.isfile(key):
        return False  # a pipe would keep the daemon waiting for ever
    with suppress(OSError, ValueError):
        # No key of a daemon's has a password; without one here, OpenSSL would ask a terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
        return True
    return False


def _sync(directory: str) -> None:
    """Make a rename outlive a loss of power, and come before the next one, fsync(2)."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
