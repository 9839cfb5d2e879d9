"""Traffic of real programs between two machines of a lab."""
import json
import pathlib
import re

from labs.network import wait_until

ECHO = pathlib.Path(__file__).with_name("echo.py")


def listening(machine, port):
    return f":{port} " in machine.run("ss", "-Hltn").stdout


class Iperf:
    """An iperf3 server on one machine, for runs from others."""

    def __init__(self, machine, address, port=5201):
        self.machine, self.address, self.port = machine, address, port
        self.process = machine.start("iperf3", "--server", "--port", port)
        wait_until("iperf3 listens", lambda: listening(machine, port))

    def run(self, client, seconds, *options):
        """Runs a client to its end; iperf3's JSON document."""
        wait_until("iperf3 listens", lambda: listening(self.machine, self.port))  # not for a moment behind each run
        done = client.run("iperf3", "--client", self.address, "--port", self.port, "--json", "--time", seconds, *options,
                          check=False, timeout=seconds + 30)
        return json.loads(done.stdout)

    def start(self, client, seconds, *options, **popen):
        return client.start("iperf3", "--client", self.address, "--port", self.port, "--time", seconds, *options, **popen)

    def stop(self):
        self.machine.stop(self.process)


class Echo:
    """A server on one machine that sends back what it gets, for clients on others."""

    def __init__(self, machine, address, port=7007):
        self.machine, self.address, self.port = machine, address, port
        self.process = machine.start("/usr/bin/python3", ECHO, "serve", address, port)
        wait_until("the echo server listens", lambda: listening(machine, port))

    def tcp(self, client, to=None, port=None, size=100_000, source=None):
        """Whether a client's connection brought back all that it sent."""
        return self._ask(client, "tcp", to, port, size, source) == size

    def udp(self, client, to=None, port=None, flows=1, source=None):
        """How many of `flows` datagrams, each with a source port of its own, came back."""
        return self._ask(client, "udp", to, port, flows, source)

    def _ask(self, client, how, to, port, number, source):
        words = [how, to or self.address, port or self.port, number, *([source] if source else [])]
        done = client.run("/usr/bin/python3", ECHO, *words, check=False, timeout=30)
        return int(done.stdout) if done.returncode == 0 else 0

    def stop(self):
        self.machine.stop(self.process)


def ping_each_size(machine, address, sizes, options=""):
    """Pings once with every size; the sizes that were not answered."""
    ping = f"ping -n -q -c 1 -W 2 {options} -s $size {address}"
    loop = f"for size in {' '.join(map(str, sizes))}; do {ping} >/dev/null || echo $size; done"
    return [int(word) for word in machine.run("sh", "-c", loop, timeout=len(sizes) * 3 + 10).stdout.split()]


def checksum(machine, file):
    return re.match(r"[0-9a-f]{64}", machine.run("sha256sum", file).stdout)[0]


def copy_file(server, address, client, source, target, port=8000):
    """Copies a file over HTTP from `server` (its `address`) to `client`; the seconds that it took."""
    process = server.start("/usr/bin/python3", "-m", "http.server", port, "--directory", source.parent)
    try:
        wait_until("the HTTP server listens", lambda: listening(server, port))
        output = client.run("curl", "--silent", "--show-error", "--fail", "--output", target, "--write-out", "%{time_total}",
                            "--max-time", 120, f"http://{address}:{port}/{source.name}", timeout=130).stdout
        return float(output)
    finally:
        server.stop(process)
