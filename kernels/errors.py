"""What can go wrong in `kernels`: one class a kind; a message says what, where, what to do."""

from __future__ import annotations


class KernelError(ValueError):
    """Base of all errors raised by `kernels`."""


class BadArray(KernelError):
    """An array has a dtype or a shape the function does not define."""


class BadRange(KernelError):
    """An integer range, bit width or group size that cannot be used as asked."""


class NotFinite(KernelError):
    """A NaN, or an infinity where it has no meaning, reached the arithmetic."""


class NoKernel(KernelError):
    """The operator has no kernel for these types, options or this path."""


class RuntimeRefuses(KernelError):
    """The official runtime itself stops here (an error or an abort), so there is no answer."""


class Undefined(NoKernel):
    """The official kernel's own result is not defined: it depends on what memory held before."""
