"""Settings of a channel: class attributes that subclasses and instances may set, checked where they are set."""

from __future__ import annotations

import copy
from typing import Any


class Setting:
    """A number, 0 or more, or None; a subclass may be for something else, by another `check`.

    Args:
        default: What it is as long as it is not set.
        doc: What it is for.
        above_zero: Whether 0 will not do.

    Raises:
        TypeError: It is set to anything else.
        ValueError: It is set to a number below 0, or not a number (NaN).
    """

    def __init__(self, default: Any, doc: str, above_zero: bool = False) -> None:
        self.default = default
        self.above_zero = above_zero
        self.__doc__ = doc
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.check(self.default)

    def check(self, value: Any) -> None:
        """Raise unless ``value`` may be the setting's."""
        check_setting(self.name, value, self.above_zero)

    def __get__(self, instance: Any, owner: type) -> Any:
        return self.default if instance is None else instance.__dict__.get(self.name, self.default)

    def __set__(self, instance: Any, value: Any) -> None:
        self.check(value)
        instance.__dict__[self.name] = value

    def __delete__(self, instance: Any) -> None:
        instance.__dict__.pop(self.name, None)


def check_setting(name: str, value: object, above_zero: bool = False) -> None:
    """Raise unless ``value`` may be a setting's."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a number or None, not {value!r}")
    if not value >= 0:
        raise ValueError(f"{name} is 0 or more, not {value!r}")
    if above_zero and not value:
        raise ValueError(f"{name} is above 0, or None for never")


def settle_class_values(cls: type) -> None:
    """See to the plain values that a subclass gives to what is no plain value in a class above it.

    Given to a `Setting` (``close_timeout = 5``), one is that setting's default there. Given to a property
    (``read_delimiter = b"x"``), it would be lost.

    Raises:
        TypeError: A value is given to a property, or is none of a setting's.
        ValueError: It is out of a setting's range.
    """
    for name, value in list(cls.__dict__.items()):
        if hasattr(value, "__get__"):  # a method, or a property: the subclass's own affair
            continue
        inherited = next((base.__dict__[name] for base in cls.__mro__[1:] if name in base.__dict__), None)
        if isinstance(inherited, Setting):
            setting = copy.copy(inherited)
            setting.default = value
            setting.__set_name__(cls, name)
            setattr(cls, name, setting)
        elif isinstance(inherited, property):
            raise TypeError(f"{name} is set on each {cls.__name__}, in on_connect() for example, not in the class")
