"""Reaching boards over TVM's RPC: tracker, servers and sessions, all real processes."""
