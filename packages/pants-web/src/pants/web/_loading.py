"""Finding the application that a command line names, ``module:app``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Iterator
from types import ModuleType, TracebackType
from typing import Any, Final

# What an application is called, where the name is left out.
_USUAL_NAMES: Final = ("app", "application")

_FORM: Final = "write MODULE:NAME or FILE.py:NAME"


class LoadingError(Exception):
    """What was asked for is not there, or is something else. The message is for whoever has typed it."""


def load(text: str) -> Any:
    """Import a module, and return what is called so in it.

    Args:
        text: ``module:name``, ``file.py:name``; ``package.module:name.attribute``; ``module:function()`` for what a
            function returns. ``app`` or ``application`` is meant where there is no name.

    Raises:
        LoadingError: There is no such module, or nothing of that name in it.
        Exception: Whatever the module raises when it is imported, or the function.
    """
    where, _, name = text.partition(":")
    if where.endswith(".py") or os.sep in where:
        module = _import_file(where)
    else:
        module = _import_module(where)
    if not name:
        name = next((usual for usual in _USUAL_NAMES if hasattr(module, usual)), "")
        if not name:
            raise LoadingError(f"{where} has no {' and no '.join(_USUAL_NAMES)}; {_FORM}{_suggestion(module)}")
    path, is_call = (name[:-2], True) if name.endswith("()") else (name, False)
    found: Any = module
    for attribute in path.split("."):
        if not attribute.isidentifier():
            raise LoadingError(f"{name!r} is not a name in a module; {_FORM}")
        if not hasattr(found, attribute):
            raise LoadingError(f"{where} has no {path}{_suggestion(module)}")
        found = getattr(found, attribute)
    if not is_call:
        return found
    if not callable(found):
        raise LoadingError(f"{path} in {where} is no function; leave the parentheses out")
    return found()


def _suggestion(module: ModuleType) -> str:
    from pants.web import Application

    names = [name for name, value in vars(module).items() if isinstance(value, Application)]
    return f"; did you mean {module.__name__}:{names[0]}?" if len(names) == 1 else ""


def _import_module(name: str) -> ModuleType:
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise LoadingError(f"{name!r} is not the name of a module; {_FORM}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # another one is missing, that the module imports
        if error.name == name and (parent := sys.modules.get(name.rpartition(".")[0])) is not None:
            attribute = name.rpartition(".")[2]
            if hasattr(parent, attribute):
                raise LoadingError(f"{name} is no module; did you mean {parent.__name__}:{attribute}?") from None
        raise LoadingError(f"there is no module {error.name}, neither in {os.getcwd()} nor installed") from None


def _import_file(path: str) -> ModuleType:
    """Import a file, under the name that it has for others: below the packages that it is in."""
    path = os.path.abspath(path)
    if not os.path.isfile(path):
        raise LoadingError(f"there is no file {path}")
    directory, stem = os.path.split(path.removesuffix(".py"))
    if stem == "__init__":
        directory, stem = os.path.split(directory)
    name = stem
    while os.path.isfile(os.path.join(directory, "__init__.py")):
        directory, package = os.path.split(directory)
        name = f"{package}.{name}"
    if not path.endswith(".py") or not all(part.isidentifier() for part in name.split(".")):
        raise LoadingError(f"{path} cannot be imported, as its name is none of a module in Python")
    if directory not in sys.path:
        sys.path.insert(0, directory)
    module = importlib.import_module(name)
    if os.path.realpath(getattr(module, "__file__", None) or "") != os.path.realpath(path):
        raise LoadingError(f"{path} has the name of another module, {module!r}; rename it")
    return module


def check(app: Any) -> None:
    """Raise LoadingError unless something can be called with a request, as far as that can be told.

    What else people have at hand gets a message of its own.
    """
    if not callable(app):
        raise LoadingError(f"{app!r} cannot be called with a request, so it is no application")
    count = _argument_count(app)
    if count == 0:
        raise LoadingError(f"{app!r} takes no request; if it returns the application, write () behind its name")
    if count == 2:
        raise LoadingError(f"{app!r} takes two arguments, as WSGI applications do; to run one of these give --wsgi")
    if count == 3:
        raise LoadingError(f"{app!r} takes three arguments, as ASGI applications do, which cannot be run here")


def _argument_count(function: Any) -> int | None:
    """Return how many arguments a function needs; None if one will do, or that cannot be told."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(None)
    except TypeError:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        needed = [p for p in signature.parameters.values() if p.kind in kinds and p.default is p.empty]
        return len(needed)
    return None


# --- Exceptions of the program ----------------------------------------------------------------------------------------


def own_traceback(error: BaseException) -> TracebackType | None:
    """Return the traceback of an exception without what has led to the program's first frame."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return trace


def _is_ours(filename: str) -> bool:
    return (
        filename.startswith("<frozen importlib")
        or filename in (__file__, importlib.__file__)
        or (os.path.dirname(filename) == os.path.dirname(__file__))
    )


def report(error: BaseException) -> None:
    """Write the traceback of an exception of the program to standard error."""
    traceback.print_exception(type(error), error, own_traceback(error))


def files_of(error: BaseException) -> Iterator[str]:
    """Yield the files that an exception has to do with."""
    if isinstance(error, SyntaxError) and error.filename:
        yield os.path.abspath(error.filename)
    for frame, _ in traceback.walk_tb(error.__traceback__):
        yield os.path.abspath(frame.f_code.co_filename)
