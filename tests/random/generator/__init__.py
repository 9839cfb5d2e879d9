"""Makes random scenarios for the recorder: a seed is a gateway, its tables, packets, and changes between them."""
