"""Where the files of a captioner's parts lie: beside its `captioner.json`, or in the hub's cache.

A part's `source` that exists relative to the captioner's folder is that path; any other is a name
on the Hugging Face hub, whose files are taken from the hub's cache and fetched into it where they
are not there yet. Nothing else is ever fetched, and no code of a repository is run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from huggingface_hub import snapshot_download

from atlas_db.errors import CaptionerError
from atlas_db.run_format import file_sha256
from builder.captioner_config import CAPTIONER_FILE, Part

#: What is fetched of a hub repository: never code, never other frameworks' weights. The second
#: tuple is fetched only where the first brought no weights.
_SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
_WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin")
#: Keys of a config.json that say who wrote it and not what the model is.
_VOLATILE_KEYS = {"transformers_version", "_name_or_path"}


def local_path(part: Part, folder: Path) -> Path | None:
    """Give the path that a part's source names, or None for the name of something on the hub.

    Raises:
        CaptionerError: The source can only be a path, and nothing is there.
    """
    source = part.source
    for library in ("timm:", "hf:"):
        source = source.removeprefix(library)
    path = folder / Path(source).expanduser()
    if path.exists():
        return path
    if source.startswith(("/", ".", "~")) or source.count("/") > 1:
        raise CaptionerError(
            f"{folder / CAPTIONER_FILE} names {source!r}, and {path} does not exist. "
            "Put the part there, or correct the path."
        )
    return None


def hub_folder(name: str, revision: str | None, *, folder: Path) -> Path:
    """Give the folder of the hub's cache that holds a repository's configuration and weights.

    Raises:
        CaptionerError: The hub cannot be reached and the files are not in the cache, or there is
            no such repository; the message says which files to put where.
    """
    snapshot = Path()
    for weights in _WEIGHT_PATTERNS:
        try:
            snapshot = Path(
                snapshot_download(
                    name,
                    revision=revision,
                    allow_patterns=[*_SMALL_FILES, weights],
                    ignore_patterns=["*/*", "consolidated*", "open_clip*"],
                )
            )
        # The hub's client raises errors of many kinds, some of them from its HTTP library.
        except Exception as error:
            raise CaptionerError(_hub_help(name, revision, folder, error)) from None
        if any(snapshot.glob(weights)):
            return snapshot
    raise CaptionerError(_hub_help(name, revision, folder, "no weights are in the cache"))


def _hub_help(name: str, revision: str | None, folder: Path, why: object) -> str:
    at = f" at revision {revision}" if revision else ""
    first_line = str(why).strip().split("\n")[0]
    return (
        f"{name!r}{at} is neither a path in {folder} nor to be had from the Hugging Face hub "
        f"({first_line}). Where the hub cannot be reached: on a machine that reaches it run "
        f"`hf download {name}{f' --revision {revision}' if revision else ''}` and bring its cache "
        "(~/.cache/huggingface/hub) here, to the same place. Or add `--local-dir FOLDER`, bring "
        "FOLDER (config.json, the *.safetensors or pytorch_model*.bin files and, for a language "
        "model, its tokenizer files) and name it as the part's 'source' in captioner.json."
    )


def weight_files(folder: Path) -> tuple[Path, ...]:
    """List a model folder's weight files, safetensors before pickles, as the loaders choose.

    Raises:
        CaptionerError: The folder has none.
    """
    for pattern in ("model*.safetensors", "pytorch_model*.bin", "*.safetensors", "*.bin", "*.pth"):
        files = tuple(sorted(folder.glob(pattern)))
        if files:
            return files
    raise CaptionerError(
        f"{folder} holds no weights. Wanted model.safetensors, its shards, or pytorch_model*.bin."
    )


def part_files(path: Path, extra: Sequence[str] = ()) -> tuple[Path, ...]:
    """List the files that define a part: a single file, or a folder's weights and configuration.

    `extra` names further files of a folder that count, such as the tokenizer's.
    """
    if path.is_file():
        return (path,)
    others = [path / name for name in ("config.json", *extra) if (path / name).is_file()]
    return (*weight_files(path), *others)


def files_sha256(files: Iterable[Path]) -> str:
    """Hash files into one hexadecimal digest: that of the file itself where there is only one.

    A config.json counts without the keys that say which version of a library wrote it.
    """
    digests = {path.name: _content_sha256(path) for path in files}
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _content_sha256(path: Path) -> str:
    if path.name != "config.json":
        return file_sha256(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: value for key, value in content.items() if key not in _VOLATILE_KEYS}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
