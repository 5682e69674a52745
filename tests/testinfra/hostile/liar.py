#!/usr/bin/python3
# Copyright: hardened.docker contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The python3 of a host whose root lies to the controller; its own name says which lie it tells.

It is called as Ansible calls an interpreter, with the module on its standard input. It runs the
module with the real one, keeps what it was sent, and answers what suits it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time

PLACE = "/var/tmp/hostile"
EVIL = "\x1b[31mEVIL\x00\r\u202e\x9b\x07"
STOLEN = {
    "dockerd_tls_clients": [{"name": "stolen", "hosts": ["all"], "user": "root"}],
    "dockerd_report": PLACE + "/overwritten",
    "dockerd_tls_authority_directory": PLACE + "/authority",
    "dockerd_result": {"activation": EVIL, "engine": None},
    "ansible_check_mode": True,
    "ansible_pkg_mgr": "apt",
}
COUNTS = dict.fromkeys(
    ("critical", "high", "medium", "low", "passed", "unknown", "waived", "not applicable"), 0
)
DOCKERD = {
    "changed": False,
    "files": [],
    "activation": "none",
    "reasons": [],
    "foreign": [],
    "displaced": [],
    "left": [],
    "notes": [],
    "recovered": False,
    "restart_seconds": 0.0,
    "engine": {"version": "26.1.5", "running": True, "containers": 0, "listeners": []},
    "before": COUNTS,
    "after": COUNTS,
    "findings": [],
}


def request(kind="p256", sans=(), subject="x", authority=False) -> str:
    """A request as openssl makes it, with whatever is asked for."""
    key = {"p256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["rsa:2048"]}[kind]
    names = ["IP:" + one if one[0].isdigit() or "::" in one else "DNS:" + one for one in sans]
    words = ["openssl", "req", "-new", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=" + subject]
    words += ["-newkey", *key]
    words += ["-addext", "subjectAltName=" + ",".join(names)] if names else []
    words += ["-addext", "basicConstraints=critical,CA:TRUE"] if authority else []
    made = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return made.stdout.decode()


class Call:
    """One module that the controller wants to be run."""

    def __init__(self, lie: str) -> None:
        self.lie, self.payload = lie, sys.stdin.buffer.read()
        name = re.search(rb'_ansible_module_name\\?": \\?"([a-z_.]+)', self.payload)
        self.module = name.group(1).decode().rpartition(".")[2] if name else ""
        self.check = b'_ansible_check_mode": true' in self.payload
        self.again = b'"certificates": {"' in self.payload
        with open("%s/%s.sent" % (PLACE, lie), "ab") as file:
            file.write(self.payload + b"\n")

    def honest(self) -> dict:
        """What the module says."""
        words = ["/usr/bin/python3", *sys.argv[1:]]
        done = subprocess.run(words, input=self.payload, stdout=subprocess.PIPE, check=False)
        return json.loads(done.stdout)

    def asking(self, **changes) -> dict:
        """What dockerd_tls says when it asks for a signature, with other requests."""
        answer = self.honest()
        for one in answer.get("requests", []):
            one.update(changes)
        return answer


def names(call: Call, *more: str, **crafted) -> dict:
    """An answer that asks for more names than the host has."""
    answer = call.honest()
    for one in answer.get("requests", []):
        one["sans"] = [*one["sans"], *more]
        one["request"] = request(sans=one["sans"], **crafted)
    return answer


def other_requests(call: Call, change) -> dict:
    answer = call.honest()
    if "requests" in answer:
        answer["requests"] = change(answer["requests"])
    return answer


def changed_mind(call: Call) -> dict:
    answer = call.honest()
    if call.again:
        answer["leaves"] = [{**one, "name": EVIL} for one in answer["leaves"]]
        answer["requests"] = [
            {
                "name": call.lie,
                "request": request(sans=["vault.prod.example"]),
                "sans": ["vault.prod.example"],
                "usable": True,
            }
        ]
    return answer


def doubled(requests: list) -> list:
    return [*requests, *({**one, "name": "honest"} for one in requests)]


TLS = {
    # What is listed is all that is signed, and the host asks for more.
    "listed-more": lambda call: names(call, "*.prod.example", "vault.prod.example"),
    "wildcard": lambda call: names(call, "*.prod.example"),
    "case": lambda call: names(call, "db3"),
    "qualified": lambda call: names(call, "db3.lab.test"),
    "address": lambda call: names(call, "203.0.113.33"),
    "by-other": lambda call: names(call, "docker.prod.example"),
    "many-names": lambda call: names(call, *("n%d.example" % one for one in range(600))),
    "evil-names": lambda call: call.asking(sans=[EVIL, "a\nb"]),
    "names-no-list": lambda call: call.asking(sans="localhost"),
    "other-key": lambda call: names(call, kind="rsa"),
    "authority": lambda call: names(call, subject="root", authority=True),
    "no-request": lambda call: call.asking(request="\x00" + EVIL),
    "two-servers": lambda call: other_requests(call, doubled),
    "twice": lambda call: other_requests(call, lambda found: found * 2),
    "other-server": lambda call: call.asking(name="honest"),
    "path": lambda call: call.asking(name="../../../../" + PLACE.strip("/") + "/x"),
    "changed-mind": changed_mind,
    "facts": lambda call: {**call.honest(), "ansible_facts": STOLEN},
    "controller-files": lambda call: {
        **call.honest(),
        "controller_files": ["/etc/passwd"],
        "files": ["/etc/passwd", "../../../etc/shadow"],
    },
    "chain": lambda call: {**call.honest(), "leaves": [{"name": "x"}] * 100000},
    "client-admin": lambda call: call.asking(name="admin"),
    "client-usage": lambda call: names(call, "honest"),
}


def dockerd(**lies):
    return lambda call: {**DOCKERD, **lies}


ANSWERS = {
    "engine-null": dockerd(engine=None),
    "not-a-number": dockerd(restart_seconds=float("nan")),
    "huge-number": dockerd(before={**COUNTS, "high": 10**5000}),
    "failed-text": dockerd(failed="no"),
    "large": dockerd(notes=["x" * 1000] * 40000),
    "other-module": lambda call: {"changed": False, "ping": "pong"},
    "failed-evil": lambda call: {"failed": True, "msg": EVIL, "exception": EVIL, "rc": EVIL},
    "exit-1": dockerd(failed=False, rc=1, stdout=EVIL, stderr=EVIL, cmd=EVIL),
    "text": lambda call: EVIL * 10,
    "tagged": lambda call: {
        **DOCKERD,
        "notes": [{"__ansible_type": "TrustedAsTemplate", "value": "{{ 1 }}"}],
    },
    "deep": lambda call: "[" * 100000,
    "drip": lambda call: drip(0.2),
    "flood": lambda call: drip(0),
    "unreachable": lambda call: gone(),
    # These are answers, and what they hold besides goes nowhere.
    "pass-facts": dockerd(ansible_facts=STOLEN, notes=["{{ 6 * 7 }}", EVIL]),
    "pass-internal": dockerd(
        _ansible_no_log=True,
        _ansible_verbose_always=True,
        add_host={"host_name": "made", "groups": ["all"]},
        add_group="made",
        results=[{"item": EVIL}],
        invocation={"module_args": {"x": EVIL}},
        exception=EVIL,
        deprecations=[{"msg": EVIL, "version": EVIL}],
    ),
    "pass-warnings": dockerd(warnings=["[WARNING]: " + EVIL + "\nPLAY RECAP"] * 10000),
    "pass-notes": dockerd(
        notes=[EVIL + "\nhonest  9.9  0/0/0/0  forged"] * 9000,
        foreign=[EVIL],
        displaced=[EVIL + "\n"],
        activation="reload\nhonest   9.9  0/0/0/0",
        engine={"version": "26" + EVIL + "\nhonest", "running": 1 > 0, "containers": 1,
                "listeners": [EVIL]},
    ),
    "pass-diff": dockerd(
        changed=True,
        diff=[{"before_header": EVIL, "before": EVIL, "after": EVIL + "\n", "after_header": EVIL}],
    ),
    "pass-junk": lambda call: EVIL + "\n" + json.dumps(DOCKERD) + "\n" + EVIL + "}\n",
}  # fmt: skip


def drip(pause: float) -> None:
    """An answer that does not end."""
    while True:
        sys.stdout.write("x" * (1 if pause else 1 << 20))
        sys.stdout.flush()
        time.sleep(pause)


def gone() -> None:
    sys.stderr.write(EVIL + "\n")
    sys.stderr.flush()
    os._exit(255)


def main() -> None:
    call = Call(os.path.basename(sys.argv[0]))
    lies = {"dockerd_tls": TLS, "dockerd": ANSWERS}.get(call.module, {})
    if call.lie in ("setup", "packages") and not call.module.startswith("dockerd"):
        # In the place of Ansible's own modules.
        answer: object = {"changed": False, "ansible_facts": STOLEN}
    elif call.lie in lies:
        answer = lies[call.lie](call)
    else:
        answer = call.honest()
    sys.stdout.write(answer if isinstance(answer, str) else json.dumps(answer))


if __name__ == "__main__":
    sys.set_int_max_str_digits(0) if hasattr(sys, "set_int_max_str_digits") else None
    main()
