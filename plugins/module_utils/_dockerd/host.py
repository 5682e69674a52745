# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only door to the machine.

Everything that reads or changes a host goes through a :class:`Host`: the live machine,
a mounted image or a plain directory below ``root``, or a :class:`Candidate`, which shows
a host as it would be after changes that were not made yet.
"""

from __future__ import annotations

import copy
import ctypes
import errno
import fcntl
import functools
import grp
import hashlib
import os
import posixpath
import pwd
import re
import select
import selectors
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Callable, Iterable, Iterator

from .errors import HostError, Overtaken, Refused

READ_LIMIT = 4 * 1024 * 1024
PIECE = 64 * 1024  # bytes that a file is asked for at once
SESSION_LIMIT = 16 * READ_LIMIT  # bytes that one session of questions may bring in
LINKS_LIMIT = 40  # what Linux allows in one path, path_resolution(7)
DRAFT = ".%s.hardened-new"  # a file that is not whole yet; one name, so that the next run finds it
# What lies ready to take a file's place, by the digest of its bytes; DRAFT, too, begins like it.
READY = ".%%s.hardened-%s"
_LIES_READY = re.compile(r"[.](.+)[.]hardened-[0-9a-f]+")
ANYTHING = object()  # whatever a file holds, it may be replaced


@dataclass(frozen=True)
class Stat:
    """What is known of a file: ``kind`` is file, directory, socket, link or other."""

    kind: str
    mode: int  # permission bits only, 0 to 0o7777
    uid: int
    gid: int
    size: int  # bytes
    ctime: float  # seconds since the epoch; a file that is moved to its place has a new one
    inode: int
    device: int = 0  # of the file system; with the inode it is one file and no other


@dataclass(frozen=True)
class User:
    """An entry of passwd(5)."""

    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True)
class Result:
    """A finished command."""

    rc: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """What the command had to say, standard error first, on one line."""
        return " ".join((self.err or self.out).split())


def _unheard() -> bool:
    """Whether nobody reads this process's standard output any more, as when its SSH has ended."""
    poll = select.poll()
    poll.register(1, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _handle, event in poll.poll(0))


def digest(data: bytes | None) -> str:
    """A fingerprint of a file's bytes (SHA-256, hexadecimal); empty where there is no file."""
    return "" if data is None else hashlib.sha256(data).hexdigest()


def as_text(data: bytes | None) -> str:
    """A file's bytes as a diff shows them; of a program only that it is another one."""
    if data and b"\0" in data:
        return "SHA-256 %s\n" % digest(data)
    return (data or b"").decode("utf-8", "replace")


def _stat(status: os.stat_result) -> Stat:
    kinds = (
        (stat.S_ISREG, "file"),
        (stat.S_ISDIR, "directory"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISLNK, "link"),
    )
    kind = next((name for test, name in kinds if test(status.st_mode)), "other")
    return Stat(
        kind,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_size,
        status.st_ctime,
        status.st_ino,
        status.st_dev,
    )


# The live host's own look-ups, which know directories such as LDAP too.
_NSS = {
    ("passwd", 0): pwd.getpwnam,
    ("passwd", 2): lambda uid: pwd.getpwuid(int(uid)),
    ("group", 0): grp.getgrnam,
    ("group", 2): lambda gid: grp.getgrgid(int(gid)),
}


def _read(handle: int, most: int) -> bytes:
    """What a file gives, up to so many bytes.

    In pieces: a file in /proc/sys refuses to be asked for 4 MiB at once, proc_sys_call_handler in
    fs/proc/proc_sysctl.c.
    """
    pieces, left = [], most
    while left > 0:
        pieces.append(os.read(handle, min(left, PIECE)))
        left -= len(pieces[-1])
        if not pieces[-1]:
            break
    return b"".join(pieces)


def _sync(directory: str) -> None:
    """Make a rename outlive a loss of power, fsync(2)."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _draft(path: str) -> str:
    """Where a file is written before it takes its place."""
    directory, name = os.path.split(path)
    return os.path.join(directory, DRAFT % name.lstrip("."))


def _make_parents(directory: str) -> None:
    """Make a directory and those above it, so that they outlive a loss of power."""
    missing = []
    while not os.path.isdir(directory):
        missing.append(directory)
        directory = os.path.dirname(directory)
    for path in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(path, 0o755)
        _sync(os.path.dirname(path))


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


class _PunctualSocket(socket.socket):
    """A socket that gives up at one moment, however slowly the other side sends."""

    until = 0.0  # by time.monotonic()

    def _hurry(self) -> None:
        left = self.until - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        self.settimeout(left)

    def recv_into(self, *rest):
        self._hurry()
        return super().recv_into(*rest)

    def sendall(self, *rest):
        self._hurry()
        return super().sendall(*rest)

    def connect(self, address):
        self._hurry()
        return super().connect(address)


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str, until: float) -> None:
        super().__init__("docker")
        self._path, self._until = path, until

    def connect(self) -> None:
        self.sock = _PunctualSocket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.until = self._until
        self.sock.connect(self._path)


def _run(argv: list[str], given, timeout: float, env: dict) -> Result:
    """Run a command to its end.

    Raises OSError, ValueError, subprocess.TimeoutExpired, or OverflowError where it says too much.
    """
    until = time.monotonic() + timeout
    process = subprocess.Popen(
        argv,
        stdin=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",  # ours may be closed to the user as whom a command runs
        # Away from root's terminal, into which a user's program could type, tty_ioctl(4).
        start_new_session=True,
        env=env,
    )
    said = {process.stdout: b"", process.stderr: b""}
    with process, selectors.DefaultSelector() as selector:
        for pipe in said:
            selector.register(pipe, selectors.EVENT_READ)
        try:
            while selector.get_map():
                ready = selector.select(max(0.0, until - time.monotonic()))
                for key in [key for key, dummy in ready]:
                    data = os.read(key.fd, READ_LIMIT)
                    said[key.fileobj] += data
                    if not data:
                        selector.unregister(key.fileobj)
                if not ready:
                    raise subprocess.TimeoutExpired(argv, timeout)
                if sum(map(len, said.values())) > READ_LIMIT:
                    raise OverflowError("said more than %d bytes" % READ_LIMIT)
            process.wait(max(0.1, until - time.monotonic()))
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return Result(process.returncode, *(text.decode("utf-8", "replace") for text in said.values()))


_FS_IOC_GETFLAGS = 0x80086601  # linux/fs.h, on all but a few old architectures
# File-system ids: what the kernel asks of whoever opens a file or connects to a socket. They are
# each thread's own, setfsuid(2), where an effective id is the whole process's.
_LIBC = ctypes.CDLL(None)
_ASK = -1  # is no id: nothing changes, and the answer is the present one


def _with_rights(method):
    """Do it with the rights of the user for whom this host is seen; see :meth:`Host.seen_by`."""

    @functools.wraps(method)
    def limited(self, path, *args, **kwargs):
        with self._rights(path):
            return method(self, path, *args, **kwargs)

    return limited


class Host:
    """A machine below ``root``. Commands and sockets exist only where root is ``/``.

    ``viewer`` is the user whose rights files and sockets are opened with, None for our own.
    """

    PRIVATE = "/var/lib/hardened-docker/"  # root's business; below it what is of a user's daemon

    def __init__(
        self, root: str = "/", viewer: User | None = None, ours: tuple[str, ...] = ()
    ) -> None:
        self.root = os.path.abspath(root)
        self.viewer = viewer
        self.ours = ours

    def seen_by(self, user: User, ours: tuple[str, ...] = ()) -> Host:
        """The same host, its files read and written with the rights of a user.

        What lies in a home is in its owner's hands: a link there could lead root to read or
        write anything. With the user's rights it leads only where the user can go already.
        ``ours`` are paths outside of homes that stay root's.
        """
        seen = copy.copy(self)
        seen.viewer, seen.ours = None, ours
        if user.uid and self.live and os.geteuid() == 0:
            seen.viewer = user
            os.setgroups([])  # root needs none, and nobody should have them from root
        return seen

    @contextmanager
    def _rights(self, path: str) -> Iterator[None]:
        if not self.viewer or self._is_ours(path) or self._is_state(path, self.viewer):
            yield
            return
        group, user = _LIBC.setfsgid(self.viewer.gid), _LIBC.setfsuid(self.viewer.uid)
        try:
            if _LIBC.setfsuid(_ASK) != self.viewer.uid:
                raise HostError("%s: no right to act as %s" % (path, self.viewer.name), path=path)
            yield
        finally:
            _LIBC.setfsuid(user)
            _LIBC.setfsgid(group)

    def _is_ours(self, path: str) -> bool:
        """Whether this is root's wherever it lies, or lies ready to take the place of what is."""
        directory, _slash, name = path.rpartition("/")
        own = _LIES_READY.fullmatch(name)
        return path in self.ours or bool(own and "%s/%s" % (directory, own[1]) in self.ours)

    def _is_state(self, path: str, viewer: User) -> bool:
        """Whether this is what we keep of the viewer's daemon, word for word.

        The way there holds nothing of a user's; with .. it could, behind a link.
        """
        ours = "%s%d/" % (self.PRIVATE, viewer.uid)
        return (path + "/").startswith(ours) and ".." not in path.split("/")

    @property
    def live(self) -> bool:
        """Whether this is the running machine and not a directory that holds one."""
        return self.root == "/"

    @property
    def boot(self) -> str:
        """What tells this boot of the host from every other, random(4)."""
        return (self.optional("/proc/sys/kernel/random/boot_id") or b"").decode().strip()

    @property
    def name(self) -> str:
        """What the machine calls itself; a directory without a name goes by its path."""
        if self.live:
            return os.uname().nodename
        lines = (self.optional("/etc/hostname") or b"").decode("utf-8", "replace").split()
        return lines[0] if lines else self.root

    @property
    def whole(self) -> bool:
        """Whether this is a whole file system, and not a directory with a few files in it."""
        return self.live or bool(self.stat("/etc/passwd"))

    def real(self, path: str) -> str:
        """The path below the root, links resolved as the host itself would resolve them."""
        if self.live:
            return path
        done: list = []
        todo = [part for part in path.split("/") if part]
        links = 0
        while todo:
            part = todo.pop(0)
            if part == ".":
                continue
            if part == "..":
                del done[-1:]
                continue
            here = os.path.join(self.root, *done, part)
            if not os.path.islink(here):
                done.append(part)
                continue
            links += 1
            if links > LINKS_LIMIT:
                raise HostError("%s: too many symbolic links" % path, path=path)
            target = os.readlink(here)
            if target.startswith("/"):
                done = []
            todo = [piece for piece in target.split("/") if piece] + todo
        return os.path.join(self.root, *done)

    @_with_rights
    def beside(self, path: str, form: str) -> str:
        """A name in the directory of the file behind ``path``, links followed; %s is its own."""
        target = self.real(path)
        if os.path.islink(target):
            target = os.path.realpath(target)
        directory, name = os.path.split("/" + target[len(self.root) :].lstrip("/"))
        return os.path.join(directory, form % name)

    # -- reading

    @_with_rights
    def stat(self, path: str) -> Stat | None:
        """The file behind ``path``, links followed; None where there is none.

        Raises HostError where the host will not say.
        """
        try:
            return _stat(os.stat(self.real(path)))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:  # ValueError: a null byte in the path
            raise HostError("%s: %s" % (path, _why(error)), path=path) from error

    @_with_rights
    def read(self, path: str, limit: int = READ_LIMIT) -> bytes:
        """The bytes of a regular file.

        Raises FileNotFoundError where there is none, and HostError for anything that is
        no regular file, is larger than ``limit`` bytes, or cannot be read.
        """
        try:
            # Without O_NONBLOCK a FIFO in place of the file would hang the reader.
            handle = os.open(self.real(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(errno.ENOENT, "No such file", path) from None
        except (OSError, ValueError) as error:
            raise HostError("%s: %s" % (path, _why(error)), path=path) from error
        try:
            status = _stat(os.fstat(handle))
            if status.kind != "file":
                raise HostError("%s is no regular file (%s)" % (path, status.kind), path=path)
            if status.size > limit:
                raise HostError(
                    "%s is %d bytes, more than the %d that are read" % (path, status.size, limit),
                    path=path,
                )
            data = _read(handle, limit + 1)
        except OSError as error:
            raise HostError("%s: %s" % (path, error.strerror), path=path) from error
        finally:
            os.close(handle)
        if len(data) > limit:
            raise HostError("%s is more than the %d bytes that are read" % (path, limit), path=path)
        return data

    def optional(self, path: str) -> bytes | None:
        """The bytes of a regular file; None where they cannot be read."""
        try:
            return self.read(path)
        except (FileNotFoundError, HostError):
            return None

    def predicted(self, path: str) -> bool:
        """Whether the file's contents are not known yet; see :class:`Candidate`."""
        return False

    @_with_rights
    def list(self, path: str) -> list[str]:
        """The sorted names in a directory; none where it is no readable directory."""
        try:
            return sorted(os.listdir(self.real(path)))
        except (OSError, ValueError, HostError):
            return []

    @_with_rights
    def link(self, path: str) -> str | None:
        """Where a symbolic link points, None for anything else."""
        try:
            parent, name = posixpath.split(path)
            return os.readlink(os.path.join(self.real(parent), name))
        except (OSError, ValueError, HostError):
            return None

    @_with_rights
    def resolve(self, path: str) -> str:
        """The path of the same file without a symbolic link in it, whether it is there or not."""
        if self.live:
            return os.path.realpath(path)
        relative = os.path.relpath(self.real(path), self.root)
        return "/" if relative == "." else "/" + relative

    def user(self, uid: int) -> str:
        """The name of a user of this host; the number where it has none."""
        return self._look_up("passwd", 2, str(uid), 0) or str(uid)

    def group(self, gid: int) -> str:
        """The name of a group of this host; the number where it has none."""
        return self._look_up("group", 2, str(gid), 0) or str(gid)

    def users(self) -> list[User]:
        """Those of /etc/passwd, and on a live host those that are logged in from elsewhere."""
        found: dict = {}
        for user in self._accounts():
            found.setdefault(user.uid, user)  # of two with one uid the first, getpwuid(3)
        for uid in map(int, filter(str.isdecimal, self.list("/run/user") if self.live else [])):
            name = self._look_up("passwd", 2, str(uid), 0)
            if uid not in found and name:
                entry = pwd.getpwnam(name)
                found[uid] = User(name, uid, entry.pw_gid, entry.pw_dir)
        return list(found.values())

    def _accounts(self) -> Iterator[User]:
        for line in (self.optional("/etc/passwd") or b"").decode("utf-8", "replace").splitlines():
            fields = line.split(":")
            if len(fields) >= 6 and fields[2].isdecimal() and fields[3].isdecimal():
                yield User(fields[0], int(fields[2]), int(fields[3]), fields[5])

    def known(self, name: str) -> User:
        """The user of that name, wherever users come from. Raises Refused where there is none."""
        found = next((user for user in self._accounts() if user.name == name), None)
        if not found and self.uid(name) is not None and self.live:
            entry = pwd.getpwnam(name)
            found = User(name, entry.pw_uid, entry.pw_gid, entry.pw_dir)
        if not found:
            raise Refused("%s is no user of this host; make the user first." % name)
        return found

    def uid(self, name: str) -> int | None:
        """The number of a user of this host, by name or number; None where there is none."""
        found = name if name.isdecimal() else self._look_up("passwd", 0, name, 2)
        return int(found) if found else None

    def gid(self, name: str) -> int | None:
        """The number of a group of this host, by name or number; None where there is none."""
        found = name if name.isdecimal() else self._look_up("group", 0, name, 2)
        return int(found) if found else None

    def members(self, group: str) -> list[str]:
        """The users that a group lists; those whose primary group it is are not among them."""
        return sorted(filter(None, (self._look_up("group", 0, group, 3) or "").split(",")))

    def _look_up(self, database: str, field: int, value: str, wanted: int) -> str | None:
        """A field of a user or group entry, passwd(5) and group(5)."""
        if self.live:
            try:
                entry = _NSS[database, field](value)
            except KeyError:
                return None
            return ",".join(entry[wanted]) if wanted == 3 else str(entry[wanted])
        try:
            lines = self.read("/etc/" + database).decode("utf-8", "replace").splitlines()
        except (FileNotFoundError, HostError):
            lines = []
        for line in lines:
            fields = line.split(":")
            if len(fields) > max(field, wanted) and fields[field] == value:
                return fields[wanted]
        return None

    @_with_rights
    def obstacle(self, path: str, room: int) -> str:
        """What would keep root from writing ``room`` bytes to a file; empty where nothing does."""
        path = there = posixpath.join("/", path)
        while not os.path.exists(self.real(there)):
            there = posixpath.dirname(there)
        status = os.statvfs(self.real(there))
        left = status.f_bfree * status.f_frsize
        if status.f_flag & os.ST_RDONLY:
            return "is on a file system that is mounted read-only"
        if left < room:
            return "has %d KiB left, and %d are needed" % (left // 1024, room // 1024)
        if status.f_files and not status.f_ffree:  # some file systems do not count them
            return "has no inode left for a new file"
        # A file is replaced by a rename in its directory; that one's own directory need not change.
        # Of a system by ostree, / is immutable.
        whole = os.path.isdir(self.real(there))
        for place in [there] if whole else [there, posixpath.dirname(there)]:
            if self._immutable(place):
                return "cannot be changed: %s is immutable, chattr(1)" % place
        return ""

    def _immutable(self, path: str) -> bool:
        """Whether FS_IMMUTABLE_FL or FS_APPEND_FL is set, ioctl_iflags(2)."""
        try:
            handle = os.open(self.real(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            flags = fcntl.ioctl(handle, _FS_IOC_GETFLAGS, b"\0" * 8)
            return bool(int.from_bytes(flags[:4], sys.byteorder) & 0x30)
        except OSError:
            return False  # such as a file system without these flags
        finally:
            os.close(handle)

    # -- changing

    @_with_rights
    def write(
        self,
        path: str,
        data: bytes,
        mode: int,
        uid: int = 0,
        gid: int = 0,
        expected: object = ANYTHING,
    ) -> None:
        """Put a file in place whole or not at all, its directory made where missing.

        ``expected`` are the bytes that it replaces, None for no file.

        Raises HostError with the former file untouched, and Overtaken where that is another than
        expected.
        """
        target = os.path.realpath(self.real(path))  # a link stays, what it points to changes
        if os.path.lexists(target) and not os.path.isfile(target):
            # Such as /dev/null, to which a link masks a unit.
            raise HostError("%s cannot be written: it is no regular file" % path, path=path)
        temporary, made = _draft(target), False
        try:
            _make_parents(os.path.dirname(target))
            with suppress(FileNotFoundError):
                os.unlink(temporary)  # a run that was killed left it
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(temporary, flags, 0o600)
            made = True
            with os.fdopen(handle, "wb") as file:
                self._own(file.fileno(), uid, gid)
                # A user who swaps files meanwhile must not get a program with another's rights.
                os.fchmod(file.fileno(), mode & 0o777 if self.viewer else mode)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if expected is not ANYTHING:
                self._compare(path, expected)
            os.rename(temporary, target)
            made = False
            _sync(os.path.dirname(target))
        except OSError as error:
            raise HostError(
                "%s cannot be written: %s" % (path, error.strerror), path=path
            ) from error
        finally:
            if made:
                with suppress(OSError):
                    os.unlink(temporary)

    def _compare(self, path: str, expected: object) -> None:
        try:
            now = self.read(path)
        except FileNotFoundError:
            now = None
        if now != expected:
            raise Overtaken(
                "%s was changed by somebody else meanwhile. Find out who writes it, such as"
                " another configuration management, and let one of the two leave it alone" % path,
                path=path,
            )

    @_with_rights
    def append(self, path: str, data: bytes, mode: int) -> None:
        """Add to a file, which is made where there is none, so that it outlives a loss of power.

        Raises HostError.
        """
        try:
            # Without O_NONBLOCK a FIFO in place of the file would hang the writer.
            how = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            handle = os.open(self.real(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND | how, mode)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _sync(os.path.dirname(self.real(path)))
        except OSError as error:
            raise HostError("%s: %s" % (path, error.strerror), path=path) from error

    @_with_rights
    def promote(self, path: str, name: str, expected: object = ANYTHING) -> None:
        """Let what lies under a name beside a file take its place, for which it needs no space.

        Raises HostError with nothing changed, and Overtaken where the place holds other bytes than
        ``expected``.
        """
        try:
            if expected is not ANYTHING:
                self._compare(path, expected)
            target = os.path.realpath(self.real(path))
            os.rename(self.real(name), target)
            _sync(os.path.dirname(target))
        except OSError as error:
            words = "%s cannot be written: %s" % (path, error.strerror)
            raise HostError(words, path=path) from error

    @_with_rights
    def tidy(self, path: str) -> None:
        """Remove what lies ready beside a file, and what a run left that was killed at it.

        A drop-in directory that is left empty goes, too.
        """
        directory, name = os.path.split(os.path.realpath(self.real(path)))
        with suppress(OSError):
            begins = READY % "" % name.lstrip(".")
            found = [one for one in os.listdir(directory) if one.startswith(begins)]
            for one in found:
                with suppress(OSError):  # somebody's directory, say
                    os.unlink(os.path.join(directory, one))
            if found and directory.endswith(".d"):
                os.rmdir(directory)

    def _own(self, handle: int, uid: int, gid: int) -> None:
        """Give a new file to its owner; to a group of which the viewer is none, only root can."""
        viewer = self.viewer
        if not viewer or uid != viewer.uid or gid == viewer.gid:
            os.fchown(handle, uid, gid)
            return
        former = _LIBC.setfsuid(0)
        try:
            os.fchown(handle, -1, gid)
        finally:
            _LIBC.setfsuid(former)

    @_with_rights
    def own(self, path: str, mode: int, uid: int, gid: int) -> None:
        """Set owner and permission bits of what is there already."""
        try:
            os.chown(self.real(path), uid, gid)
            os.chmod(self.real(path), mode)
        except OSError as error:
            raise HostError("%s: %s" % (path, error.strerror), path=path) from error

    @_with_rights
    def make_directory(self, path: str, mode: int) -> None:
        """Make a directory and its parents; ``mode`` is for the last one."""
        try:
            _make_parents(self.real(path))
            if stat.S_IMODE(os.stat(self.real(path)).st_mode) != mode:
                os.chmod(self.real(path), mode)
        except OSError as error:
            raise HostError("%s: %s" % (path, error.strerror), path=path) from error

    @_with_rights
    def remove(self, path: str, expected: object = ANYTHING) -> None:
        """Remove a file, and the drop-in directory that it leaves empty.

        Nothing happens where there is none. Raises Overtaken where the file holds other bytes
        than ``expected``.
        """
        try:
            if expected is not ANYTHING:
                self._compare(path, expected)
            os.unlink(self.real(path))
            _sync(os.path.dirname(self.real(path)))
            parent = posixpath.dirname(path)
            if parent.endswith(".d") and not self.list(parent):
                os.rmdir(self.real(parent))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise HostError(
                "%s cannot be removed: %s" % (path, error.strerror), path=path
            ) from error

    @_with_rights
    def remove_tree(self, path: str) -> None:
        """Remove a directory with all below it, or a file; nothing happens where there is none."""
        with suppress(OSError):
            os.unlink(self.real(path))  # rmtree waits at a FIFO for whoever writes to it
        shutil.rmtree(self.real(path), ignore_errors=True)

    @_with_rights
    def rename(self, path: str, target: str) -> None:
        """Give a file or directory another name, in one step."""
        try:
            os.rename(self.real(path), self.real(target))
            _sync(os.path.dirname(self.real(target)))
        except OSError as error:
            raise HostError("%s: %s" % (path, error.strerror), path=path) from error

    @contextmanager
    def locked(self, path: str, wait: bool = True) -> Iterator[None]:
        """Hold a lock file for as long as the block runs; wait for whoever holds it.

        Raises HostError where the file cannot be made, where somebody holds it and ``wait`` is
        false, or where whoever started this run is gone: it must not happen later, unseen.
        """
        try:
            handle = os.open(self.real(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HostError("%s: %s" % (path, error.strerror), path=path) from error
        with os.fdopen(handle):
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if not wait or _unheard():
                        raise HostError("%s is held by another run" % path, path=path) from error
                    time.sleep(0.1)
            yield

    # -- the running machine

    def run(
        self,
        argv: list[str],
        timeout: float = 30,
        env: dict | None = None,
        standard_input: bytes = b"",
    ) -> Result:
        """Run a command without a shell.

        ``timeout`` is in seconds; rc is 127 where the command is missing, 124 where it takes
        too long, or says more than :data:`READ_LIMIT` bytes.
        """
        if not self.live:
            return Result(127, "", "commands run on a live host only")
        try:
            with tempfile.TemporaryFile() as given:
                given.write(standard_input)
                given.seek(0)
                if self.viewer:
                    os.fchown(given.fileno(), self.viewer.uid, self.viewer.gid)  # for /dev/stdin
                return _run(argv, given, timeout, {**os.environ, "LC_ALL": "C", **(env or {})})
        except subprocess.TimeoutExpired:
            return Result(124, "", "%s did not end within %g seconds" % (argv[0], timeout))
        except OverflowError as error:
            return Result(124, "", "%s %s" % (argv[0], error))
        except (OSError, ValueError) as error:
            return Result(127, "", "%s: %s" % (argv[0], _why(error)))

    def get(self, path: str, url: str, timeout: float = 5) -> tuple[int, bytes]:
        """An HTTP GET over a unix socket: the status and the body.

        Raises HostError where nobody answers in time, which is ``timeout`` seconds in all.
        """
        with self.session(path, timeout) as ask:
            return ask(url)

    @contextmanager
    def session(self, path: str, timeout: float) -> Iterator[Callable[..., tuple[int, bytes]]]:
        """Questions over one connection to a unix socket: ``ask(url, method="GET")``.

        ``timeout`` is in seconds and for all of them together. ``ask`` gives the status and the
        body; it raises HostError where nobody answers in time, or with more than a sane answer
        has.
        """
        connection = _UnixConnection(path, time.monotonic() + timeout)
        left = SESSION_LIMIT

        def ask(url: str, method: str = "GET") -> tuple[int, bytes]:
            nonlocal left
            try:
                with self._rights(path):  # it connects with the first question
                    connection.request(method, url)
                response = connection.getresponse()
                body = response.read(READ_LIMIT + 1)
            except (OSError, HTTPException, ValueError) as error:
                connection.close()
                why = str(error) or type(error).__name__
                raise HostError("%s: %s" % (path, why), path=path) from error
            left -= len(body)
            if len(body) > READ_LIMIT or left < 0:
                connection.close()
                raise HostError("%s answers %s with too many bytes" % (path, url), path=path)
            return response.status, body

        try:
            yield ask
        finally:
            connection.close()

    def handshake(self, address: str, port: int, timeout: float = 2) -> tuple[bytes, bool]:
        """Talk to a listener without a certificate of one's own; ``timeout`` is in seconds.

        Returns the certificate it serves (DER, empty where it speaks plain HTTP), and whether
        it answered a request, which no listener of dockerd's may do for a stranger.
        Raises HostError where nobody listens, or it speaks neither.
        """
        context = ssl.create_default_context()
        context.check_hostname = False
        # Nothing is sent that matters, and the certificate is compared with the file on disk.
        context.verify_mode = ssl.CERT_NONE
        request = b"GET /_ping HTTP/1.0\r\n\r\n"
        try:
            with socket.create_connection((address, port), timeout) as plain:
                with context.wrap_socket(plain) as secure:
                    served = secure.getpeercert(True) or b""
                    try:
                        secure.sendall(request)
                        answered = b" 200 " in secure.recv(32)
                    except OSError:
                        answered = False
                    return served, answered
        except ssl.SSLError:
            pass
        except (OSError, ValueError) as error:
            raise HostError("%s port %d: %s" % (address, port, error)) from error
        try:
            with socket.create_connection((address, port), timeout) as plain:
                plain.sendall(request)
                return b"", b" 200 " in plain.recv(32)
        except OSError as error:
            raise HostError("%s port %d: %s" % (address, port, error)) from error


class Candidate(Host):
    """A host as it would be with some files changed: ``{path: bytes, or None for gone}``.

    Judging a candidate needs no second set of rules: it is read like any other host.
    ``predicted`` are files that somebody else will have made by then, contents unknown.
    """

    def __init__(
        self, host: Host, files: dict[str, bytes | None], predicted: Iterable[str] = ()
    ) -> None:
        super().__init__(host.root, host.viewer, host.ours)
        self._files = files
        self._predicted = frozenset(predicted)

    def predicted(self, path: str) -> bool:
        return path in self._predicted

    def read(self, path: str, limit: int = READ_LIMIT) -> bytes:
        if path in self._predicted:
            return b""
        if path not in self._files:
            return super().read(path, limit)
        data = self._files[path]
        if data is None:
            raise FileNotFoundError(errno.ENOENT, "No such file", path)
        return data

    def stat(self, path: str) -> Stat | None:
        if path in self._predicted:
            return Stat("file", 0o400, 0, 0, 0, 0.0, 0)
        if path not in self._files:
            return super().stat(path)
        data = self._files[path]
        return None if data is None else Stat("file", 0o644, 0, 0, len(data), 0.0, 0)

    def list(self, path: str) -> list[str]:
        names = set(super().list(path))
        for changed, data in self._files.items():
            parent, name = posixpath.split(changed)
            if parent == path:
                names.discard(name)
                if data is not None:
                    names.add(name)
        return sorted(names)
