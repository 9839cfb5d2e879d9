"""Labs: hosts and gateways in network namespaces, for scripts/quickstart, scripts/lab and tests/system."""
