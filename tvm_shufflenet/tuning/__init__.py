"""Tuning: tasks, search, measurement over RPC, verification, and the records they leave."""
