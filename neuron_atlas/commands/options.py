"""Options that mean the same in every command that has them."""

from __future__ import annotations

import click

quiet_option = click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
device_option = click.option(
    "--device", default=None, help="cpu, cuda, ... [default: cuda where there is one]"
)
