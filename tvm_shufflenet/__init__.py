"""Compile ShuffleNet to ARM CPUs through TVM Relay, tuned over RPC, deployed as one ``.so``."""

__version__ = "0.1.0"
