"""Where the value of a field comes from. Nothing is guessed: a source finds, or says why not."""

from .build import build, check
from .computed import Constant, Expression
from .contract import Agreement, Found, Key, Resolution, Source, Unresolved
from .first_of import FirstOf
from .reference import Reference
from .scope import Scope
from .unique import Unique

__all__ = [
    "Agreement",
    "Constant",
    "Expression",
    "FirstOf",
    "Found",
    "Key",
    "Reference",
    "Resolution",
    "Scope",
    "Source",
    "Unique",
    "Unresolved",
    "build",
    "check",
]
