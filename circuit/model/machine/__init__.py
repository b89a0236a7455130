"""The machine: BLAS, threads, allocator, faster kernels, launched processes."""
