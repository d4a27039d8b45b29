"""The paper's experiments on a finished run: see `experiment` for how one is written."""
