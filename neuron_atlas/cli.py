"""`neuron-atlas`: one command for each thing that a user does."""

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="neuron-atlas")
def main() -> None:
    """Build, browse and query an atlas of the neurons that turn pictures into words."""
