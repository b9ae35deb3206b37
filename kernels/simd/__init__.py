"""Whole models by vector code: kernels written through LLVM, programs of them over one arena."""
