"""What runs inside the emulated board, with numpy and TVM's runtime at hand."""
