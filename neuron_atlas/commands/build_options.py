"""Values of `neuron-atlas build` that are more than a number or a word."""

from __future__ import annotations

from typing import Any

import click


class ImagesOrAuto(click.ParamType):
    """A number of images >= 1, or `auto`, which becomes None."""

    name = "number of images"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        """Read the number."""
        if value == "auto" or isinstance(value, int):
            return None if value == "auto" else value
        if not value.isdecimal() or int(value) < 1:
            self.fail(f"{value!r} is neither a number >= 1 nor 'auto'.", param, ctx)
        return int(value)


class Part(click.ParamType):
    """`i/n`, as the pair of numbers."""

    name = "i/n"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Read the two numbers."""
        if isinstance(value, tuple):
            return value
        part, _, n_parts = value.partition("/")
        if not (part.isdecimal() and n_parts.isdecimal() and 1 <= int(part) <= int(n_parts)):
            self.fail(f"{value!r} is not i/n with 1 <= i <= n, such as 3/8.", param, ctx)
        return int(part), int(n_parts)
