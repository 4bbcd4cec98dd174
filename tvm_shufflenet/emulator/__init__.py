"""AArch64 without a board: programs run under QEMU, and what they execute is counted.

Emulated wall-clock time says nothing about a real core, so nothing here measures time: the unit
is executed instructions, with their classes and, on request, the misses of a cache model.

- `root` prepares an arm64 Debian and aarch64 wheels, once, in the user's cache folder.
- `cpus` says what a guest sees of its CPU, `guest` starts programs in it.
- `plugin` builds the QEMU plugin that counts; `counting` and ``python -m
  tvm_shufflenet.emulator.count`` count one inference of a library, `peers` of other runtimes.
- `board` starts the emulated RPC board that tuning uses.
"""
