"""The random numbers of one scenario, and addresses made with them."""

import ipaddress
import random


class Source(random.Random):
    """Python's generator with the choices that scenarios are made of."""

    def chance(self, percent):
        return self.randrange(100) < percent

    def weighted(self, pairs):
        """One of the values of (value, weight) pairs."""
        values, weights = zip(*pairs)
        return self.choices(values, weights)[0]

    def some(self, values, most):
        """Up to `most` of the values, in their order."""
        values = list(values)
        taken = set(self.sample(range(len(values)), min(len(values), self.randint(0, most))))
        return [value for place, value in enumerate(values) if place in taken]


def host(prefix, number):
    """The address of a network with this number."""
    return str(ipaddress.ip_network(prefix)[number])


def family_of(address):
    return 6 if ":" in address else 4


def whole(family):
    return "::/0" if family == 6 else "0.0.0.0/0"


def narrowed(source, prefix):
    """The prefix itself, half of it, or one of its hosts."""
    network = ipaddress.ip_network(prefix)
    kind = source.weighted([("whole", 6), ("half", 2), ("host", 2)])
    if kind == "host":
        return str(ipaddress.ip_network(network[source.randint(2, 5)]))
    return str(next(network.subnets())) if kind == "half" else prefix


def widened(prefix, bits):
    return str(ipaddress.ip_network(prefix).supernet(bits))
