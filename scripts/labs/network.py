"""Namespaces, cables and processes of one lab; everything is gone after close().

All names begin with the lab's prefix, so that labs with different prefixes run side by side. Interfaces have no
offloads (a checksum or a segment left to a NIC that does not exist would reach the gateway unfinished) and no
IPv6 (router solicitations would be noise on the wire).
"""
import os
import re
import signal
import subprocess
import textwrap
import time


class LabError(Exception):
    """Something that a lab needs did not work; the text says what, for people."""


def run(*command, check=True, timeout=120, **options):
    """Runs a command to its end; its output is text in .stdout and .stderr."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, **options)
    if check and done.returncode != 0:
        words = textwrap.shorten(" ".join(map(str, command)), 200)
        raise LabError(f"{words}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


class Namespace:
    """One machine of the lab."""

    def __init__(self, name):
        self.name = name
        run("ip", "netns", "add", name)
        self.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
        self.ip("link", "set", "lo", "up")
        self.processes = []

    def command(self, *words):
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def run(self, *words, **options):
        return run(*self.command(*words), **options)

    def ip(self, *words):
        return run("ip", "-n", self.name, *words)

    def start(self, *words, **options):
        """Starts a process that stop() and close() end; returns it at once."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | options
        process = subprocess.Popen(self.command(*words), **options)
        self.processes.append(process)
        return process

    def stop(self, process, how=signal.SIGTERM, timeout=10):
        """Ends a process that start() started, and waits for it."""
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process in self.processes:
            self.processes.remove(process)

    def pids(self):
        return [int(word) for word in run("ip", "netns", "pids", self.name, check=False).stdout.split()]

    def close(self):
        for process in list(self.processes):
            self.stop(process, timeout=5)
        for how, patience in ((signal.SIGTERM, 3), (signal.SIGKILL, 3)):
            self._end_all(how, patience)
        run("ip", "netns", "del", self.name, check=False)

    def _end_all(self, how, patience_s):
        """Ends whatever still lives in the namespace: it is ours, the namespace carries the lab's prefix."""
        for pid in self.pids():
            try:
                os.kill(pid, how)
            except ProcessLookupError:
                pass
        end = time.monotonic() + patience_s
        while self.pids() and time.monotonic() < end:
            time.sleep(0.05)


class Network:
    """The namespaces of a lab; a context manager that removes them, and those of earlier runs that died.

    Without `lasting` the names carry this process's id, so that runs do not meet.
    """

    def __init__(self, prefix, lasting=False):
        self.prefix = prefix if lasting else f"{prefix}{os.getpid()}"
        self.machines = {}
        remove_leftovers(prefix, lasting)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def machine(self, name):
        self.machines[name] = Namespace(f"{self.prefix}-{name}")
        return self.machines[name]

    def cable(self, one, one_interface, other, other_interface, mtu=1500):
        """A veth pair between two machines, up, without offloads."""
        run("ip", "link", "add", "name", one_interface, "netns", one.name, "mtu", mtu, "type", "veth",
            "peer", "name", other_interface, "netns", other.name, "mtu", mtu)
        for machine, interface in ((one, one_interface), (other, other_interface)):
            machine.run("ethtool", "-K", interface, *"tx off rx off tso off gso off gro off".split())
            machine.ip("link", "set", interface, "up")

    def host(self, name, address, gateway):
        """A machine that knows nothing of us: one interface eth0 and a default route. Cable it with attach_host."""
        machine = self.machine(name)
        machine.address, machine.gateway = address, gateway
        return machine

    def attach_host(self, host, other, other_interface, mtu=1500):
        self.cable(host, "eth0", other, other_interface, mtu)
        host.ip("address", "add", host.address, "dev", "eth0")
        host.ip("route", "add", "default", "via", host.gateway)

    def add_ipv6(self, machine, interface, addresses, gateway=None):
        """Switches IPv6 on at one interface, without detection of duplicates and without router solicitations."""
        settings = {"router_solicitations": 0, "accept_ra": 0, "accept_dad": 0, "disable_ipv6": 0}
        machine.run("sysctl", "-qw", *(f"net.ipv6.conf.{interface}.{name}={value}" for name, value in settings.items()))
        for address in addresses:
            machine.ip("address", "add", address, "dev", interface, "nodad")
        if gateway:
            machine.ip("route", "add", "default", "via", gateway)

    def bridge(self, machine, ports):
        """Makes a machine the wire between its ports: what comes in at one goes out of the others."""
        machine.ip("link", "add", "name", "wire", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
        machine.ip("link", "set", "wire", "up")
        for port in ports:
            machine.ip("link", "set", port, "master", "wire")

    def close(self):
        for machine in self.machines.values():
            machine.close()
        self.machines = {}


def remove_leftovers(prefix, lasting=False):
    """Removes the namespaces that labs of this prefix left behind, and what runs in them; not those of a process that lives."""
    for line in run("ip", "netns", "list").stdout.splitlines():
        name = line.split()[0] if line.split() else ""
        owner = re.match(re.escape(prefix) + r"(\d*)-", name)
        if owner and (owner[1] == "") == lasting and not (owner[1] and os.path.exists(f"/proc/{owner[1]}")):
            leftover = Namespace.__new__(Namespace)
            leftover.name, leftover.processes = name, []
            leftover.close()


def wait_until(what, question, timeout=10.0, pause=0.05):
    """Asks until the answer is true and returns it; raises LabError naming `what` when time is up."""
    end = time.monotonic() + timeout
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise LabError(f"{what}: still not so after {timeout} s")
        time.sleep(pause)
