"""The parameters of a request: Stripe's form encoding, read by name and type.

A handler takes what it knows and calls `done()`; what is left over is refused as unknown. Everything up to there is
validation, everything after it execution: the difference decides what an idempotency key remembers.
"""

import re
from collections.abc import Iterable
from typing import Any

from scripts.stripe_simulator.errors import refused

KEY = re.compile(r"([^\[\]]+)|\[([^\[\]]*)\]")


def decode(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Nested values of `a[b][0]=c`; `a[]=c` appends. Hashes whose keys are 0, 1, … are lists."""
    tree: dict[str, Any] = {}
    for name, value in pairs:
        path = [first or rest for first, rest in KEY.findall(name)]
        here = tree
        for step in path[:-1]:
            here = here.setdefault(step or str(len(here)), {})
            if not isinstance(here, dict):
                raise refused(f"Invalid request: {name} is both a value and a hash.", name)
        here[path[-1] or str(len(here))] = value
    return {name: _lists(value) for name, value in tree.items()}


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value and all(key.isdigit() for key in value):
        return [_lists(value[key]) for key in sorted(value, key=int)]
    return {key: _lists(each) for key, each in value.items()}


class Params:
    """One level of parameters; `at` is where it stands in the request, for the messages."""

    def __init__(self, values: dict[str, Any], at: str = "") -> None:
        self.values = values
        self.at = at
        self.read: set[str] = set()
        self.parts: list[Params] = []

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def name(self, name: str) -> str:
        """The parameter as the caller wrote it."""
        return f"{self.at}[{name}]" if self.at else name

    def done(self) -> None:
        """End of validation: every parameter has been read."""
        for name in self.values:
            if name not in self.read:
                raise refused(
                    f"Received unknown parameter: {self.name(name)} (unknown to Stripe, or not simulated)",
                    self.name(name),
                    "parameter_unknown",
                )
        for part in self.parts:
            part.done()

    def raw(self, name: str, *, required: bool = False) -> Any:
        """The value as it was sent: text, list or hash; None when it was not."""
        self.read.add(name)
        value = self.values.get(name)
        if required and value in (None, ""):
            raise refused(f"Missing required param: {self.name(name)}.", self.name(name), "parameter_missing")
        return value

    def text(self, name: str, default: str | None = None, *, required: bool = False) -> str | None:
        """A text; an empty one unsets, and reads as None."""
        value = self.raw(name, required=required)
        if value is None:
            return default
        if not isinstance(value, str):
            raise refused(f"Invalid string: {value}", self.name(name))
        return value or None

    def needed(self, name: str) -> str:
        """A text that must be there."""
        value = self.text(name, required=True)
        assert value is not None
        return value

    def integer(self, name: str, default: int | None = None, *, required: bool = False) -> int | None:
        value = self.text(name, required=required)
        if value is None:
            return default
        try:
            return int(value)
        except ValueError:
            raise refused(f"Invalid integer: {value}", self.name(name), "parameter_invalid_integer") from None

    def positive(self, name: str, *, required: bool = False) -> int | None:
        """An integer of at least 1, as amounts are."""
        value = self.integer(name, required=required)
        if value is not None and value < 1:
            raise refused(
                "This value must be greater than or equal to 1.", self.name(name), "parameter_invalid_integer"
            )
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.text(name)
        if value is None:
            return default
        if value not in {"true", "false"}:
            raise refused(f"Invalid boolean: {value}", self.name(name))
        return value == "true"

    def choice(self, name: str, options: Iterable[str], default: str | None = None) -> str | None:
        value = self.text(name)
        allowed = list(options)
        if value is None:
            return default
        if value not in allowed:
            shown = ", ".join(allowed)
            raise refused(f"Invalid {self.name(name)}: must be one of {shown}", self.name(name))
        return value

    def texts(self, name: str) -> list[str]:
        """A list of texts; empty when it was not sent, or sent empty."""
        value = self.raw(name) or []
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise refused("Invalid array", self.name(name))
        return value

    def part(self, name: str) -> "Params":
        """A hash; empty when it was not sent, or sent empty."""
        value = self.raw(name) or {}
        if not isinstance(value, dict):
            raise refused("Invalid object", self.name(name))
        part = Params(value, self.name(name))
        self.parts.append(part)
        return part

    def each(self, name: str) -> list["Params"]:
        """A list of hashes."""
        value = self.raw(name) or []
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise refused("Invalid array", self.name(name))
        found = [Params(each, f"{self.name(name)}[{number}]") for number, each in enumerate(value)]
        self.parts.extend(found)
        return found

    def metadata(self, current: dict[str, str] | None = None) -> dict[str, str]:
        """The metadata after this request: keys are merged, an empty value removes its key, '' removes them all."""
        value = self.raw("metadata")
        if value is None:
            return dict(current or {})
        if value == "":
            return {}
        if not isinstance(value, dict):
            raise refused("Invalid object", self.name("metadata"))
        for key, each in value.items():
            if not isinstance(each, str) or len(key) > 40 or len(each) > 500:
                raise refused(
                    "Metadata is a hash of texts, with keys of at most 40 and values of at most 500 characters.",
                    self.name(f"metadata[{key}]"),
                )
        merged = {**(current or {}), **value}
        kept = {key: each for key, each in merged.items() if each != ""}
        if len(kept) > 50:
            raise refused("You can specify up to 50 metadata keys.", self.name("metadata"))
        return kept

    def texts_of(self, *names: str) -> dict[str, str | None]:
        """Those of the named texts that were sent; None for one sent empty."""
        return {name: self.text(name) for name in names if name in self}
