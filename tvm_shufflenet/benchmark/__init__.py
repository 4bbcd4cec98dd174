"""Measure packages and other runtimes side by side: verified first, interleaved, raw times kept."""
