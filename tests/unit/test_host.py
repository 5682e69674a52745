# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from _dockerd import host as module
from _dockerd.errors import HostError, Overtaken
from _dockerd.host import LINKS_LIMIT, Candidate, Host, User
from _dockerd.instance import rootless
from conftest import Directory

ME = (os.geteuid(), os.getegid())
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_an_absolute_link_stays_below_the_root(empty):
    empty.put("/etc/passwd", "inside")
    os.makedirs(empty.real("/usr"))
    os.symlink("/etc/passwd", empty.real("/") + "/usr/users")
    assert empty.text("/usr/users") == "inside"
    assert empty.real("/usr/users") == empty.real("/etc/passwd")


@pytest.mark.parametrize(
    ("target", "ends"),
    [
        ("../../../../../../etc/passwd", "/etc/passwd"),
        ("/../..//./etc/passwd", "/etc/passwd"),
        ("passwd", "/links/passwd"),
        ("/", "/"),
    ],
)
def test_no_link_leaves_the_root(empty, target, ends):
    os.makedirs(empty.real("/links"))
    os.symlink(target, empty.real("/links") + "/one")
    assert os.path.normpath(empty.real("/links/one")) == os.path.normpath(empty.root + ends)


def test_usr_merge_is_followed_in_the_middle_of_a_path(empty):
    empty.put("/usr/lib/systemd/system/docker.service", "unit")
    os.symlink("usr/lib", empty.root + "/lib")
    assert empty.text("/lib/systemd/system/docker.service") == "unit"
    assert empty.list("/lib/systemd/system") == ["docker.service"]


def test_as_many_links_as_linux_follows_and_no_more(empty):
    empty.put("/0", "end")
    for number in range(1, LINKS_LIMIT + 2):
        os.symlink(str(number - 1), "%s/%d" % (empty.root, number))
    assert empty.text("/%d" % LINKS_LIMIT) == "end"
    with pytest.raises(HostError, match="too many symbolic links"):
        empty.read("/%d" % (LINKS_LIMIT + 1))


@pytest.mark.parametrize("live", [False, True])
def test_a_loop_is_an_error_where_a_file_is_wanted_and_nothing_in_a_listing(empty, live):
    os.symlink("b", empty.root + "/a")
    os.symlink("a", empty.root + "/b")
    host, path = (Host(), empty.root + "/a") if live else (empty, "/a")
    for reader in (host.stat, host.read):
        with pytest.raises(HostError, match="links"):
            reader(path)
    assert host.list(path) == []
    assert host.link(path + "/c") is None


@pytest.mark.parametrize("path", ["/nowhere", "/nowhere/below", "/file/below"])
def test_what_is_not_there(empty, path):
    empty.put("/file", "")
    assert empty.stat(path) is None
    assert empty.list(path) == []
    assert empty.link(path) is None
    with pytest.raises(FileNotFoundError):
        empty.read(path)


@pytest.mark.parametrize("path", ["/a\0b", "/" + "x" * 300])
@pytest.mark.parametrize("live", [False, True])
def test_a_path_that_no_system_takes_is_an_error_with_its_name(empty, path, live):
    host = Host() if live else empty
    for reader in (host.stat, host.read):
        with pytest.raises(HostError) as error:
            reader(path)
        assert path in str(error.value)
    assert host.list(path) == []
    assert host.link(path) is None


def _fifo(path):
    os.mkfifo(path)


def _socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path)


@pytest.mark.parametrize(
    ("make", "kind"), [(_fifo, "other"), (os.mkdir, "directory"), (_socket, "socket")]
)
def test_only_regular_files_are_read(empty, make, kind, monkeypatch):
    monkeypatch.chdir(empty.root)  # the path of a unix socket has 107 characters at most
    make("odd")
    assert empty.stat("/odd").kind == kind
    with pytest.raises(HostError, match="/odd"):
        empty.read("/odd")


def test_a_huge_file_is_refused_by_its_size_and_by_what_it_gives(empty):
    empty.put("/huge", b"")
    os.truncate(empty.real("/huge"), 1 << 30)
    with pytest.raises(HostError, match="1073741824 bytes"):
        empty.read("/huge")
    empty.put("/small", b"12345")
    assert empty.read("/small", limit=5) == b"12345"
    with pytest.raises(HostError, match="more than the 4"):
        empty.read("/small", limit=4)
    # Files in /proc have the size 0 and give what they like.
    with pytest.raises(HostError, match="more than the 4 bytes that are read"):
        Host().read("/proc/self/status", limit=4)


@pytest.mark.parametrize("size", [0, 1, module.PIECE, 3 * module.PIECE + 1])
def test_a_file_is_read_whole_however_many_pieces_it_takes(empty, size):
    empty.put("/file", b"x" * size)
    assert empty.read("/file") == b"x" * size


def test_what_the_kernel_says_in_proc_sys_is_read():
    """It has no size, and is refused to whoever asks for 4 MiB at once."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        assert Host().boot == file.read().strip() != ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_not_an_absent_one(empty):
    empty.put("/secret", "", mode=0)
    with pytest.raises(HostError, match="Permission denied"):
        empty.read("/secret")


def test_write_makes_directories_and_sets_the_mode(empty):
    empty.write("/etc/docker/daemon.json", b"{}", 0o640, *ME)
    status = empty.stat("/etc/docker/daemon.json")
    assert (status.kind, status.mode, status.size) == ("file", 0o640, 2)
    assert empty.list("/etc/docker") == ["daemon.json"]


@pytest.mark.parametrize("broken", ["fchown", "fsync", "rename"])
def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing(empty, broken, monkeypatch):
    empty.put("/etc/file", "old", mode=0o600)

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, broken, fail)
    with pytest.raises(HostError, match="/etc/file cannot be written: No space left"):
        empty.write("/etc/file", b"new", 0o644, *ME)
    assert empty.text("/etc/file") == "old"
    assert empty.stat("/etc/file").mode == 0o600
    assert empty.list("/etc") == ["file"]


def test_nobody_ever_sees_more_than_the_mode_allows(empty, monkeypatch):
    modes = []
    real = os.rename

    def watch(source, target):
        modes.append(stat.S_IMODE(os.stat(source).st_mode))
        real(source, target)

    monkeypatch.setattr(module.os, "rename", watch)
    empty.put("/key", "old", mode=0o666)
    empty.write("/key", b"new", 0o400, *ME)
    assert modes == [0o400]
    assert empty.stat("/key").mode == 0o400


@pytest.mark.parametrize("target", ["/srv/real.json", "../srv/real.json", "/srv/missing.json"])
def test_a_link_stays_a_link(empty, target):
    empty.put("/srv/real.json", "old")
    os.makedirs(empty.real("/etc"))
    os.symlink(target, empty.root + "/etc/daemon.json")
    empty.write("/etc/daemon.json", b"new", 0o644, *ME)
    assert empty.link("/etc/daemon.json") == target
    assert empty.text("/srv/" + os.path.basename(target)) == "new"


def test_the_file_behind_a_mask_is_never_replaced(empty):
    """systemctl mask makes a link to /dev/null; a rename onto that would end the device."""
    os.makedirs(empty.real("/dev"))
    os.mkfifo(empty.real("/dev/null"))
    os.symlink("/dev/null", empty.root + "/docker-tls.socket")
    with pytest.raises(HostError, match="no regular file"):
        empty.write("/docker-tls.socket", b"[Socket]", 0o644, *ME)
    assert stat.S_ISFIFO(os.stat(empty.real("/dev/null")).st_mode)
    assert empty.list("/dev") == ["null"]


def test_remove_rename_and_trees(empty):
    empty.put("/a/one", "1")
    empty.remove("/a/one")
    empty.remove("/a/one")
    assert empty.list("/a") == []
    empty.put("/a/two", "2")
    empty.rename("/a", "/b")
    assert empty.text("/b/two") == "2"
    with pytest.raises(HostError, match="/a"):
        empty.rename("/a", "/c")
    with pytest.raises(HostError, match="/b cannot be removed"):
        empty.remove("/b")
    empty.remove_tree("/b")
    empty.remove_tree("/b")
    assert empty.stat("/b") is None


def _link(path):
    os.symlink(os.getcwd(), path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, _socket, _link])
def test_a_tree_may_be_anything_and_keeps_nobody_waiting(tmp_path, make, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").touch()
    make("odd")
    Host().remove_tree(str(tmp_path / "odd"))
    assert os.listdir(tmp_path) == ["other"]


def test_what_is_added_goes_to_the_end(empty):
    empty.append("/log", b"one", 0o600)
    empty.append("/log", b"two", 0o644)
    assert empty.text("/log") == "onetwo"
    assert empty.stat("/log").mode == 0o600


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/etc/passwd", path)]
)
def test_nothing_is_added_to_what_is_no_file(empty, make):
    make(empty.root + "/odd")
    with pytest.raises(HostError, match="/odd"):
        empty.append("/odd", b"text", 0o600)


def test_names_come_from_the_files_of_that_root(host):
    assert (host.user(1000), host.group(998)) == ("ci", "docker")
    assert (host.user(4242), host.group(4242)) == ("4242", "4242")
    assert (host.uid("ci"), host.gid("docker")) == (1000, 998)
    assert (host.uid("1234"), host.gid("1234")) == (1234, 1234)
    assert (host.uid("nobody-here"), host.gid("")) == (None, None)
    assert host.members("docker") == ["ci"]
    assert host.members("ci") == []
    assert host.uid("\u00b2") is None  # a digit to Python, a number to nobody


@pytest.mark.parametrize("text", [None, "", "nonsense\n:::\n\n", b"\xff\xfe\x00"])
def test_broken_user_databases_know_nobody(empty, text):
    if text is not None:
        empty.put("/etc/passwd", text)
        empty.put("/etc/group", text)
    assert empty.user(0) == "0"
    assert empty.uid("root") is None
    assert empty.members("docker") == []


def test_the_live_host_asks_its_own_directories():
    live = Host()
    assert live.live
    assert live.user(0) == "root"
    assert live.uid("root") == 0
    assert live.group(0) == "root"
    assert live.uid("no such user") is None
    assert live.user(2**32 - 2) == str(2**32 - 2)


def test_a_directory_runs_nothing(empty):
    assert not empty.live
    assert empty.run(["true"]).rc == 127


def test_run_tells_what_went_wrong():
    live = Host()
    done = live.run(["cat"], standard_input=b"fed")
    assert (done.rc, done.out) == (0, "fed")
    assert live.run(["sh", "-c", 'echo "$MORE" >&2; exit 3'], env={"MORE": "a  b"}).words == "a b"
    assert live.run(["/no/such/binary"]).rc == 127
    assert live.run(["true", "\0"]).rc == 127
    slow = live.run([sys.executable, "-c", "import time; time.sleep(9)"], timeout=0.2)
    assert (slow.rc, slow.words) == (124, "%s did not end within 0.2 seconds" % sys.executable)
    begun = time.monotonic()
    endless = live.run(["cat", "/dev/zero"], timeout=60)
    assert (endless.rc, endless.words) == (124, "cat said more than 4194304 bytes")
    # What it started does not go on, nor keep us waiting.
    assert live.run(["sh", "-c", "sleep 60 & exec cat /dev/zero >&2"], timeout=60).rc == 124
    assert time.monotonic() - begun < 30
    assert live.run(["sh", "-c", "exec >&- 2>&-; sleep 60"], timeout=0.2).rc == 124
    long = live.run(["head", "--bytes=1000000", "/dev/zero"])
    assert (long.rc, len(long.out)) == (0, 1000000)


def test_the_lock_is_held_until_the_block_ends(empty):
    import fcntl

    with empty.locked("/lock"), open(empty.real("/lock")) as other:
        with pytest.raises(OSError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with open(empty.real("/lock")) as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(HostError, match="/missing/lock"), empty.locked("/missing/lock"):
        pass


# -- a host with changes that were not made yet


@pytest.fixture
def candidate(empty):
    empty.put("/etc/kept", "kept")
    empty.put("/etc/changed", "old")
    empty.put("/etc/gone", "gone")
    changes = {"/etc/changed": b"newer", "/etc/gone": None, "/etc/made": b"made", "/new/one": b""}
    return Candidate(empty, changes, ["/etc/key.pem"])


def test_a_candidate_shows_what_would_be(candidate):
    assert candidate.read("/etc/kept") == b"kept"
    assert candidate.read("/etc/changed") == b"newer"
    assert candidate.read("/etc/made") == b"made"
    with pytest.raises(FileNotFoundError):
        candidate.read("/etc/gone")
    assert candidate.stat("/etc/gone") is None
    assert candidate.stat("/etc/changed").size == 5
    assert candidate.stat("/etc/made").mode == 0o644
    assert candidate.list("/etc") == ["changed", "kept", "made"]
    assert candidate.list("/new") == ["one"]


def test_a_candidate_changes_nothing(candidate, empty):
    candidate.read("/etc/made")
    assert empty.text("/etc/changed") == "old"
    assert empty.list("/etc") == ["changed", "gone", "kept"]


def test_predicted_files_exist_with_contents_unknown(candidate, empty):
    assert candidate.predicted("/etc/key.pem")
    assert not candidate.predicted("/etc/kept")
    assert not empty.predicted("/etc/key.pem")
    assert candidate.stat("/etc/key.pem").kind == "file"
    assert candidate.read("/etc/key.pem") == b""


def test_a_made_file_can_be_read_before_its_directory_exists(empty):
    view = Candidate(empty, {"/etc/systemd/system/docker.service.d/x.conf": b"[Service]"})
    assert view.list("/etc/systemd/system/docker.service.d") == ["x.conf"]
    assert view.stat("/etc/systemd/system/docker.service.d/x.conf").kind == "file"


@root_only
def test_own_sets_owner_and_mode(empty):
    empty.put("/run/docker.sock", "")
    empty.own("/run/docker.sock", 0o660, 0, 998)
    status = empty.stat("/run/docker.sock")
    assert (status.mode, status.uid, status.gid) == (0o660, 0, 998)
    with pytest.raises(HostError, match="/nowhere"):
        empty.own("/nowhere", 0o600, 0, 0)


# -- questions over a socket


def test_a_session_goes_on_after_the_other_side_hung_up(serve):
    server = serve({"/a": {"a": 1}, "/gone": lambda handler: None})
    with Host().session(server.path, 2) as ask:
        assert ask("/a") == (200, b'{"a": 1}')
        with pytest.raises(HostError, match="closed connection"):
            ask("/gone")
        assert ask("/nothing")[0] == 404
    assert server.connections == 2


def test_a_session_has_a_limit_in_all(serve, monkeypatch):
    monkeypatch.setattr(module, "SESSION_LIMIT", 25)
    with Host().session(serve({"/a": b"x" * 10}).path, 2) as ask:
        ask("/a")
        ask("/a")
        with pytest.raises(HostError, match="too many bytes"):
            ask("/a")


def test_a_question_is_over_in_time(serve):
    def trickle(handler):
        while True:
            time.sleep(0.05)
            handler.wfile.write(b"x")

    server, start = serve({"/a": trickle}), time.monotonic()
    with pytest.raises(HostError, match="timed out"):
        Host().get(server.path, "/a", timeout=0.3)
    assert time.monotonic() - start < 2


def test_the_path_of_a_file_without_links(empty):
    empty.put("/run/docker.sock", "")
    os.symlink("/run", empty.root + "/var")
    for path in ("/var/docker.sock", "/run/docker.sock", "/run/../var/docker.sock"):
        assert empty.resolve(path) == "/run/docker.sock"
    assert empty.resolve("/var/..") == empty.resolve("/") == "/"
    assert empty.resolve("/gone") == "/gone"
    assert Host().resolve("/proc/self/root") == "/"


NOBODY = User("nobody", 65534, 65534, "/nonexistent")


@pytest.fixture
def shared():
    """A directory of nobody's beside one of root's, both of which everybody may enter."""
    with tempfile.TemporaryDirectory() as top:
        os.chmod(top, 0o755)
        for name, uid, mode in (("home", NOBODY.uid, 0o755), ("root", 0, 0o755)):
            os.mkdir("%s/%s" % (top, name))
            os.chown("%s/%s" % (top, name), uid, uid)
            os.chmod("%s/%s" % (top, name), mode)
        with open(top + "/root/secret", "w", encoding="ascii") as file:
            file.write("secret")
        os.chmod(top + "/root/secret", 0o600)
        os.symlink(top + "/root", top + "/home/link")
        yield top


@root_only
def test_links_in_a_home_lead_no_further_than_its_owner_goes(shared):
    seen = Host().seen_by(NOBODY)
    with pytest.raises(HostError, match="Permission denied"):
        seen.read(shared + "/home/link/secret")
    for change in (
        lambda: seen.write(shared + "/home/link/new", b"", 0o644, NOBODY.uid, NOBODY.gid),
        lambda: seen.write(shared + "/home/link/secret", b"", 0o644, NOBODY.uid, NOBODY.gid),
        lambda: seen.remove(shared + "/home/link/secret"),
        lambda: seen.make_directory(shared + "/home/link/new", 0o700),
        lambda: seen.own(shared + "/home/link/secret", 0o644, NOBODY.uid, NOBODY.gid),
        lambda: seen.rename(shared + "/home/link/secret", shared + "/home/mine"),
    ):
        with pytest.raises(HostError):
            change()
    seen.remove_tree(shared + "/home/link/")
    assert os.listdir(shared + "/root") == ["secret"]
    assert Host().read(shared + "/home/link/secret") == b"secret"


@root_only
def test_what_a_user_may_write_is_the_users(shared):
    seen, path = Host().seen_by(NOBODY), shared + "/home/a/b/file"
    seen.write(path, b"text", 0o640, NOBODY.uid, NOBODY.gid)
    for each in (path, shared + "/home/a/b", shared + "/home/a"):
        assert seen.stat(each).uid == NOBODY.uid
    assert Candidate(seen, {}).viewer == NOBODY  # a candidate sees no more than its host
    assert Host().seen_by(User("root", 0, 0, "/root")).viewer is None


@root_only
def test_a_user_keeps_a_file_in_a_group_that_is_another_s_and_gets_no_rights_with_it(shared):
    seen, path = Host().seen_by(NOBODY), shared + "/home/file"
    seen.write(path, b"text", 0o6755, NOBODY.uid, 4)
    status = os.stat(path)
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (NOBODY.uid, 4, 0o755)
    with pytest.raises(HostError, match="not permitted"):
        seen.write(path, b"other", 0o644, 0, 4)
    assert seen.read(path) == b"text"


@root_only
def test_a_user_s_command_runs_without_root_and_its_environment_counts_for_nobody_else(shared):
    for name in ("runuser", "env", "id"):
        with open("%s/home/%s" % (shared, name), "w", encoding="ascii") as file:
            file.write("#!/bin/sh\nexec /usr/bin/id -u\n")
        os.chmod("%s/home/%s" % (shared, name), 0o755)
    done = Host().run(rootless(NOBODY).command("id", PATH=shared + "/home"))
    assert (done.rc, done.out) == (0, "65534\n")
    done = Host().run(rootless(NOBODY).command("env"), env={"TOKEN": "s3cret"})
    assert "XDG_RUNTIME_DIR=/run/user/65534" in done.out
    assert "TOKEN" not in done.out


def test_a_command_has_no_terminal_to_type_into():
    words = [sys.executable, "-c", "import os; print(os.getsid(0))"]
    assert int(Host().run(words).out) != os.getsid(0)


@root_only
def test_threads_have_rights_of_their_own(shared):
    seen, ours = Host().seen_by(NOBODY), Host()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(os.getpid).result()  # a thread has the rights of whoever starts it
        with seen._rights(shared):
            assert pool.submit(ours.read, shared + "/root/secret").result() == b"secret"
            with pytest.raises(HostError, match="Permission denied"):
                ours.read(shared + "/root/secret")


@root_only
def test_our_own_state_is_not_the_users(monkeypatch, shared):
    monkeypatch.setattr(Host, "PRIVATE", shared + "/")
    seen, theirs = Host().seen_by(NOBODY), "%s/%d" % (shared, NOBODY.uid)
    os.rename(shared + "/root", theirs)
    assert seen.read(theirs + "/secret") == b"secret"
    os.makedirs(shared + "/home/a/b")
    os.symlink(shared + "/home/a/b", shared + "/home/c")
    os.makedirs("%s/home/%d" % (shared, NOBODY.uid))
    os.symlink(theirs + "/secret", "%s/home/%d/x" % (shared, NOBODY.uid))
    for path in (
        "%s/../home/%d/x" % (theirs, NOBODY.uid),
        "%s/home/c/../../../%d/secret" % (shared, NOBODY.uid),
        "%s/home/c/../../%d/x" % (shared, NOBODY.uid),
        "%s/./%d/secret" % (shared, NOBODY.uid),
        "%s//%d/secret" % (shared, NOBODY.uid),
    ):
        with pytest.raises((HostError, FileNotFoundError)):
            seen.read(path)


# -- written by others meanwhile


@pytest.mark.parametrize("now", [None, b"", b"read", b"theirs"])
@pytest.mark.parametrize("expected", [None, b"", b"read"])
@pytest.mark.parametrize("change", ["write", "remove"])
def test_a_file_is_changed_only_where_it_is_as_it_was_read(empty, now, expected, change):
    if now is not None:
        empty.put("/etc/file", now)

    def do():
        if change == "write":
            empty.write("/etc/file", b"new", 0o644, *ME, expected)
        else:
            empty.remove("/etc/file", expected)

    if now == expected:
        do()
        assert empty.optional("/etc/file") == (b"new" if change == "write" else None)
    else:
        with pytest.raises(Overtaken, match="/etc/file was changed by somebody else meanwhile"):
            do()
        assert empty.optional("/etc/file") == now
        assert [name for name in empty.list("/etc") if name.startswith(".")] == []


def test_what_a_link_points_to_is_compared(empty):
    empty.put("/srv/real", "read")
    os.makedirs(empty.real("/etc"))
    os.symlink("/srv/real", empty.root + "/etc/file")
    with pytest.raises(Overtaken):
        empty.write("/etc/file", b"new", 0o644, *ME, b"other")
    empty.write("/etc/file", b"new", 0o644, *ME, b"read")
    assert empty.text("/srv/real") == "new"


def test_a_fifo_that_came_meanwhile_keeps_nobody_waiting(empty):
    os.makedirs(empty.real("/etc"))
    os.mkfifo(empty.real("/etc/file"))
    with pytest.raises(HostError, match="no regular file"):
        empty.remove("/etc/file", b"read")
    assert empty.list("/etc") == ["file"]


def test_what_a_killed_run_left_half_written_goes(empty):
    draft = "/etc/" + module.DRAFT % "file"
    empty.put(draft, "half")
    empty.write("/etc/file", b"new", 0o644, *ME)
    assert empty.list("/etc") == ["file"]
    empty.put(draft, "half")
    empty.tidy("/etc/file")
    empty.tidy("/etc/file")
    assert empty.list("/etc") == ["file"]


def test_a_directory_of_dropins_goes_with_the_last_and_no_other_directory(empty):
    for path in ("/etc/docker/daemon.json", "/etc/docker.socket.d/a", "/etc/docker.socket.d/b"):
        empty.put(path, "")
    empty.remove("/etc/docker/daemon.json")
    empty.remove("/etc/docker.socket.d/a")
    assert empty.list("/etc") == ["docker", "docker.socket.d"]
    empty.remove("/etc/docker.socket.d/b")
    assert empty.list("/etc") == ["docker"]


def test_a_lock_that_somebody_holds_is_waited_for_or_not(empty):
    with empty.locked("/lock"), pytest.raises(HostError, match="/lock is held by another run"):
        with empty.locked("/lock", wait=False):
            pass
    with empty.locked("/lock", wait=False):
        pass


# -- what keeps a file from being written


ROOM = 1024 * 1024


@pytest.fixture
def mounted(tmp_path):
    """``mounted(options)``: a file system of its own, as a host."""
    places = []

    def mount(options):
        place = tmp_path / str(len(places))
        place.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", options, "none", str(place)]
        if os.geteuid() or subprocess.run(words, check=False).returncode:
            pytest.skip("needs root with the right to mount")
        places.append(place)
        return Directory(str(place))

    yield mount
    for place in places:
        subprocess.run(["umount", str(place)], check=True)


def test_nothing_stands_in_the_way(empty):
    empty.put("/etc/file", "")
    for path in ("/etc/file", "/etc/other", "/etc/a/b/c", "/", "relative", ""):
        assert empty.obstacle(path, ROOM) == ""
    for path in ("relative/path", "/a\0b", ""):
        assert Host().obstacle(path, 0) == ""


def test_a_full_file_system(mounted):
    host = mounted("size=512k")
    assert host.obstacle("/file", ROOM) == "has 512 KiB left, and 1024 are needed"
    assert host.obstacle("/file", ROOM // 4) == ""


def test_a_file_system_without_an_inode_left(mounted):
    host = mounted("size=8m,nr_inodes=3")
    assert host.obstacle("/file", ROOM) == ""
    host.put("/one", "")
    host.put("/two", "")
    assert host.obstacle("/three", ROOM) == "has no inode left for a new file"
    with pytest.raises(HostError, match="No space left"):
        host.write("/three", b"", 0o644)


def test_a_file_system_that_is_read_only(mounted):
    host = mounted("size=8m,ro")
    assert host.obstacle("/file", ROOM) == "is on a file system that is mounted read-only"
    with pytest.raises(HostError, match="Read-only file system"):
        host.write("/file", b"", 0o644)


def test_a_file_system_that_does_not_count_inodes(empty, monkeypatch):
    counted = os.statvfs(empty.root)

    class Uncounted:
        f_bfree, f_frsize, f_flag, f_files, f_ffree = counted.f_bfree, counted.f_frsize, 0, 0, 0

    monkeypatch.setattr(module.os, "statvfs", lambda path: Uncounted)
    assert empty.obstacle("/file", 0) == ""


@pytest.mark.parametrize("flag", ["i", "a"])
@pytest.mark.parametrize(
    ("frozen", "path", "stuck"),
    [
        ("/etc/file", "/etc/file", True),
        ("/etc", "/etc/file", True),
        ("/etc", "/etc/new", True),
        ("/etc", "/etc/new/deep", True),
        ("/etc", "/etc/made/file", False),
        ("/etc", "/etc/made/new", False),
        ("/etc", "/etc/made", False),
    ],
)
def test_what_nobody_may_change(empty, frozen, path, stuck, flag):
    """That of / on a system by ostree stands in nobody's way below /etc."""
    empty.put("/etc/file", "")
    empty.put("/etc/made/file", "")
    done = subprocess.run(
        ["chattr", "+" + flag, empty.real(frozen)], stderr=subprocess.PIPE, check=False
    )
    if done.returncode:
        pytest.skip("this file system has no such flag: %s" % done.stderr.decode().strip())
    try:
        found = empty.obstacle(path, ROOM)
        assert found == ("cannot be changed: %s is immutable, chattr(1)" % frozen if stuck else "")
        if not stuck and path != "/etc/made":
            empty.write(path, b"new", 0o644, *ME)
    finally:
        subprocess.run(["chattr", "-" + flag, empty.real(frozen)], check=True)


def test_a_run_that_waits_ends_with_whoever_started_it(empty):
    """A queued run must not change a host after its operator gave up."""
    empty.put("/run/x", "")
    code = (
        "import sys; sys.path.insert(0, %r)\n"
        "from _dockerd.host import Host\n"
        "try:\n"
        "    with Host(%r).locked('/run/lock'): print('in')\n"
        "except Exception as error: sys.stderr.write(str(error))\n"
    ) % (os.path.dirname(os.path.dirname(module.__file__)), empty.root)
    with empty.locked("/run/lock"):
        words = [sys.executable, "-c", code]
        waiting = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(1)
        assert waiting.poll() is None
        waiting.stdout.close()
        assert waiting.wait(10) == 0
        assert waiting.stderr.read() == "/run/lock is held by another run"


@root_only
def test_what_lies_ready_beside_ours_is_ours_too(shared):
    ours = shared + "/root/unit.conf"
    Host().write(ours, b"former", 0o644)
    seen = Host().seen_by(NOBODY, (ours,))
    ready = seen.beside(ours, module.READY % "0123456789ab")
    seen.write(ready, b"next", 0o644)
    assert Host().stat(ready).uid == 0
    seen.promote(ours, ready, b"former")
    assert seen.read(ours) == b"next"
    seen.write(ready, b"next", 0o644)
    seen.tidy(ours)
    assert seen.stat(ready) is None
    for other in (ready + "/x", shared + "/root/.secret.hardened-0123", ready.replace("-", "-g")):
        with pytest.raises(HostError, match="Permission denied"):
            seen.write(other, b"", 0o644)


def test_what_lies_ready_takes_a_place_only_where_nobody_wrote_meanwhile(empty):
    empty.put("/etc/file", "former")
    ready = empty.beside("/etc/file", module.READY % "ab")
    empty.put(ready, "next")
    with pytest.raises(Overtaken, match="/etc/file was changed by somebody else"):
        empty.promote("/etc/file", ready, b"other")
    assert (empty.text("/etc/file"), empty.text(ready)) == ("former", "next")
    with pytest.raises(HostError, match="/etc/file cannot be written: No such file"):
        empty.promote("/etc/file", ready + "c")


def test_a_drop_in_directory_goes_with_the_last_of_what_lay_ready(empty):
    empty.put("/etc/a.d/.x.conf.hardened-ab", "")
    empty.put("/etc/a.d/.x.conf.hardened-new", "")
    empty.tidy("/etc/a.d/x.conf")
    assert not empty.list("/etc/a.d")
    assert not os.path.exists(empty.real("/etc/a.d"))
    empty.tidy("/etc/none.d/x.conf")
