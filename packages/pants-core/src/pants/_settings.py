"""Settings of a channel: class attributes that subclasses and instances may set, checked where they are set."""

from __future__ import annotations

from typing import Any


class Setting:
    """A number, 0 or more, or None.

    Raises:
        TypeError: It is set to anything else.
        ValueError: It is set to a number below 0, or not a number (NaN).
    """

    def __init__(self, default: float | None, doc: str) -> None:
        self.default = default
        self.__doc__ = doc
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        check_setting(name, self.default)

    def __get__(self, instance: Any, owner: type) -> Any:
        return self.default if instance is None else instance.__dict__.get(self.name, self.default)

    def __set__(self, instance: Any, value: float | None) -> None:
        check_setting(self.name, value)
        instance.__dict__[self.name] = value

    def __delete__(self, instance: Any) -> None:
        instance.__dict__.pop(self.name, None)


def check_setting(name: str, value: object) -> None:
    """Raise unless ``value`` may be a setting's."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a number or None, not {value!r}")
    if not value >= 0:
        raise ValueError(f"{name} is 0 or more, not {value!r}")


def replace_by_settings(cls: type) -> None:
    """Make plain values, given to settings in a subclass (``close_timeout = 5``), those settings' defaults there."""
    for name, value in list(cls.__dict__.items()):
        if hasattr(value, "__get__"):  # a method, or a property: the subclass's own affair
            continue
        if any(isinstance(base.__dict__.get(name), Setting) for base in cls.__mro__[1:]):
            setting = Setting(value, cls.__dict__.get("__doc__") or "")
            setting.__set_name__(cls, name)
            setattr(cls, name, setting)
