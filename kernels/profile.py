"""Which runtime's integers are meant: the execution path, the package and its changes.

A profile is an explicit argument of everything that computes and a part of every report. There is
no single result of a .tflite file: the official interpreter has three paths, each with arithmetic
of its own, and some rules changed between releases (docs/numerics.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.errors import KernelError

PATHS = ("reference", "optimized", "xnnpack")
# Runtime -> the release whose integers are meant.
RUNTIMES = {"litert": "ai-edge-litert 2.3", "tensorflow": "tensorflow 2.21"}


@dataclass(frozen=True)
class Profile:
    """How a runtime computes.

    path: "reference" (BUILTIN_REF kernels), "optimized" (the kernels without a delegate) or
        "xnnpack" (the default: XNNPACK for what it takes, optimized kernels for the rest).
    runtime: "litert" (ai-edge-litert 2.3) or "tensorflow" (2.21).
    portable: matrix products of the optimized path by ruy's portable code instead of its vector
        code (other processors; environment variable RUY_PATHS=1): one rounding, E26.
    """

    path: str = "reference"
    runtime: str = "litert"
    portable: bool = False

    def __post_init__(self) -> None:
        if self.path not in PATHS:
            raise KernelError(f"profile: no path {self.path!r}; there are {', '.join(PATHS)}")
        if self.runtime not in RUNTIMES:
            raise KernelError(
                f"profile: no runtime {self.runtime!r}; there are {', '.join(RUNTIMES)}"
            )

    @property
    def is_reference(self) -> bool:
        return self.path == "reference"

    @property
    def is_xnnpack(self) -> bool:
        return self.path == "xnnpack"

    @property
    def litert(self) -> bool:
        """ai-edge-litert 2.3, whose XNNPACK is newer than that of tensorflow 2.21."""
        return self.runtime == "litert"

    def __str__(self) -> str:
        return f"{self.path} path of {RUNTIMES[self.runtime]}" + (
            ", portable ruy" if self.portable else ""
        )


REFERENCE, OPTIMIZED, XNNPACK = (Profile(path) for path in PATHS)
