"""The machine below the model: runtime, BLAS, threads, allocator, faster kernels, launched processes."""
