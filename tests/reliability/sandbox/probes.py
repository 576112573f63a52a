"""Tries to get out of the service's sandbox. Runs in place of redflag under the directives of its unit; says in JSON which attempts were denied.

Each attempt is made in a process of its own. Called with `open`, it leaves out what would harm a system that has no sandbox around it: then it
shows that the attempts are real ones.
"""

import ctypes
import json
import os
import socket
import struct
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    """A system call by its number (x86-64); an error is an exception."""
    arguments = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    if libc.syscall(ctypes.c_long(number), *arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write(path):
    with open(path, "w") as file:
        file.write("x")


def read(path):
    with open(path, "rb") as file:
        file.read(64)


def mmap(protection):
    libc.mmap.restype = ctypes.c_void_p
    at = libc.mmap(None, ctypes.c_size_t(4096), protection, 0x22, -1, 0)
    if at in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "mmap")
    return at


def mprotect():
    at = mmap(3)
    if libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(4096), 5) == -1:
        raise OSError(ctypes.get_errno(), "mprotect")


def setuid_file():
    path = os.path.join(os.environ.get("STATE_DIRECTORY", "/tmp"), "suid")
    write(path)
    os.chmod(path, 0o4755)


def clock():
    time.clock_settime(time.CLOCK_REALTIME, time.time())


def listing(path):
    if not os.listdir(path):
        raise OSError("nothing to see")


def visible(path):
    if not os.path.exists(path):
        raise OSError("not there")


SAFE = {
    "write /etc": lambda: write("/etc/escaped"),
    "write /usr/local": lambda: write("/usr/local/escaped"),
    "write another service's state": lambda: write("/var/lib/other/escaped"),
    "write /run": lambda: write("/run/escaped"),
    "read a file of root": lambda: read("/srv/of-root"),
    "look into /root": lambda: listing("/root"),
    "look into another's /tmp": lambda: visible("/tmp/of-another"),
    "see process 1": lambda: read("/proc/1/environ"),
    "signal process 1": lambda: os.kill(1, 0),
    "read the memory of process 1": lambda: os.close(os.open("/proc/1/mem", os.O_RDONLY)),
    "mount": lambda: call(165, ctypes.c_char_p(b"none"), ctypes.c_char_p(b"/media"), ctypes.c_char_p(b"tmpfs"), 0, 0),
    "raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0),
    "netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "writable and executable memory": lambda: mmap(7),
    "memory made executable": mprotect,
    "namespace of users": lambda: call(272, 0x10000000),
    "namespace of mounts": lambda: call(272, 0x00020000),
    "become root": lambda: os.setuid(0),
    "file that makes root": setuid_file,
    "device file": lambda: os.mknod("/tmp/device", 0o600 | 0o060000, os.makedev(7, 0)),
    "change root": lambda: os.chroot("/tmp"),
    "host name": lambda: socket.sethostname("escaped"),
    "real-time priority": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "another personality": lambda: call(135, 0x0040000),
    "kernel setting": lambda: write("/proc/sys/kernel/domainname"),
    "tracing of the kernel": lambda: call(298, struct.pack("IIQ", 1, 128, 0) + bytes(112), 0, -1, -1, 0),
}
HARMFUL = {
    "trace process 1": lambda: call(101, 0x4206, 1, 0, 0),
    "kernel module": lambda: call(175, ctypes.c_char_p(b""), 0, ctypes.c_char_p(b"")),
    "clock": clock,
    "restart": lambda: call(169, 0xFEE1DEAD, 672274793, 0x89ABCDEF, 0),
    "swap": lambda: call(168, ctypes.c_char_p(b"/none")),
    "kernel log": lambda: read("/dev/kmsg"),
    "input and output ports": lambda: call(172, 3),
}


def denied(attempt):
    """Whether the attempt fails. A signal that ends it is a denial, too."""
    child = os.fork()
    if child == 0:
        try:
            attempt()
        except OSError:
            os._exit(1)
        except BaseException:
            os._exit(2)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 2:
        return None
    return status != 0


attempts = SAFE if sys.argv[1:] == ["open"] else SAFE | HARMFUL
print(json.dumps({name: denied(attempt) for name, attempt in attempts.items()}))
