"""`python -m neuron_atlas` is `neuron-atlas`."""

from neuron_atlas.cli import main

main()
