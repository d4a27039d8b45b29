"""What importing the API loads, and what it does not."""

import subprocess
import sys

PROGRAM = """
import sys
import api.app, api.server
heavy = {"torch", "transformers", "timm", "mkdocs", "builder", "atlas_site"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""


def test_importing_the_api_loads_neither_torch_nor_its_neighbours() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
