"""Real IKE peers in network namespaces, and the rows of scripts/interop: our gateway against them."""
