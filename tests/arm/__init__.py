"""AArch64 for real: under QEMU, and over SSH. What these need and lack is a failure, no skip."""
