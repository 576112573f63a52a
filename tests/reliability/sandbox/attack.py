"""Attacks redflag.service inside a machine of its own (systemd-nspawn), as root of that machine, and writes what it found to /mnt/found.json.

The machine has little memory, and it is taken away by a neighbour.
"""

import json
import os
import signal
import subprocess
import time

UNIT = "redflag.service"
found = {}


def systemctl(*words):
    return subprocess.run(["systemctl", *words], capture_output=True, text=True)


def shown(unit=UNIT):
    names = "ActiveState,SubState,MainPID,Result,ExecMainStatus,StatusText,NRestarts"
    lines = systemctl("show", unit, "-p", names).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def main_pid():
    pid = shown()["MainPID"]
    if pid == "0":
        raise RuntimeError("it does not run")
    return pid


def until(look, within, pause=0.01):
    """Seconds until it is so; none if it never was."""
    begun = time.monotonic()
    while time.monotonic() - begun < within:
        if look():
            return time.monotonic() - begun
        time.sleep(pause)
    return None


def running_other_than(old):
    now = shown()
    return now["ActiveState"] == "active" and now["MainPID"] not in ("0", old)


def say(name, value):
    found[name] = value
    with open("/mnt/found.part", "w") as file:
        json.dump(found, file)
    os.replace("/mnt/found.part", "/mnt/found.json")


def start():
    systemctl("start", UNIT)
    state = shown()
    say("started", state["ActiveState"] == "active")
    say("status", state["StatusText"])


def kills():
    took = []
    for _ in range(KILLS):
        old = main_pid()
        os.kill(int(old), signal.SIGKILL)
        took.append(until(lambda: running_other_than(old), 30))
    say("kills", took)


def reload():
    systemctl("reload", UNIT)
    say("reloaded", shown()["ActiveState"] == "active")


def hang():
    old = main_pid()
    os.kill(int(old), signal.SIGSTOP)
    say("hang", until(lambda: not os.path.exists(f"/proc/{old}"), WATCHDOG * 3, 0.05))
    say("after hang", until(lambda: running_other_than(old), 30))


EATER = """
import os, sys, time
eaten = []
while os.path.exists("/proc/" + sys.argv[1]):
    eaten.append(b"x" * (4 << 20))
    time.sleep(0.01)
"""


def starve():
    """A neighbour eats what memory the machine has; the kernel ends redflag."""
    old = main_pid()
    eater = subprocess.Popen(["python3", "-c", EATER, old])
    say("starved", until(lambda: not os.path.exists(f"/proc/{old}"), 120))
    eater.kill()
    eater.wait()
    say("after starving", until(lambda: running_other_than(old), 30))


def stop():
    begun = time.monotonic()
    systemctl("stop", UNIT)
    state = shown()
    say("stopped", [time.monotonic() - begun, state["ActiveState"], state["Result"]])


def credentials():
    for unit in ("redflag-empty.service", "redflag-missing.service"):
        systemctl("start", unit)
        until(lambda: shown(unit)["ActiveState"] == "failed", 10)
        log = open(f"/mnt/{unit}.log").read() if os.path.exists(f"/mnt/{unit}.log") else ""
        say(unit, shown(unit) | {"log": log})


def probes():
    os.makedirs("/var/lib/other", exist_ok=True)
    for path in ("/srv/of-root", os.path.expanduser("~root/of-root"), "/tmp/of-another"):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "w").close()
    os.chmod("/srv/of-root", 0o600)
    systemctl("start", "redflag-probes.service")
    state = shown("redflag-probes.service")
    say("probes", json.loads(open("/mnt/probes.json").read() or "null") or state)
    control = subprocess.run(["python3", "/opt/redflag/probes.py", "open"], capture_output=True, text=True)
    say("control", json.loads(control.stdout or "null"))


with open("/mnt/plan.json") as file:
    plan = json.load(file)
KILLS, WATCHDOG = plan["kills"], plan["watchdog"]
for attack in (start, kills, reload, hang, starve, stop, credentials, probes):
    try:
        attack()
    except Exception as error:  # noqa: BLE001 - what it found so far is told all the same
        say("broke", f"{attack.__name__}: {error!r}")
say("finished", True)
subprocess.run(["systemctl", "exit", "0"])
