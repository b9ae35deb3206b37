"""Schemes that ship; a user's own is one more subclass of `Scheme`."""

from qcore.schemes.base import Scheme
from qcore.schemes.minmax import MinMax
from qcore.schemes.symmetric import Symmetric

__all__ = ["MinMax", "Scheme", "Symmetric"]
