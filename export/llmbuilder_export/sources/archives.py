"""How ``torch.save`` packs a checkpoint: a zip archive, whose entries are stored as they are, around one pickle.

Before PyTorch 1.6 it wrote five pickles in a row, and the numbers after them.
"""

import zipfile
from pathlib import Path

from llmbuilder.errors import ExportError
from llmbuilder_export.sources.pickles import check_pickle

_PICKLE = b"\x80"
_LEGACY_PICKLES = 5
_AGAIN = "Save the model again, with torch.save."


def check_archive(path: Path) -> bool:
    """Look at how a checkpoint is packed and at what its pickle says, before it is loaded.

    Returns:
        Whether it is a zip archive, which can be mapped into memory.

    Raises:
        ExportError: it is larger inside than outside, or its pickle may say what it says in no checkpoint.
        ValueError: it is no PyTorch checkpoint.
        zipfile.BadZipFile: it is damaged.
    """
    size = path.stat().st_size
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            if file.read(1) != _PICKLE:
                raise ValueError
            file.seek(0)
            for _ in range(_LEGACY_PICKLES):
                check_pickle(file, path, size)
        return False
    with zipfile.ZipFile(path) as archive, archive.open(_find_pickle(archive, path, size)) as stream:
        check_pickle(stream, path, size)
    return True


def _find_pickle(archive: zipfile.ZipFile, path: Path, size: int) -> zipfile.ZipInfo:
    """The archive's pickle, if no entry is compressed and all together are no larger than the file."""
    entries = archive.infolist()
    if any(
        entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size
        for entry in entries
    ):
        raise ExportError(f"{path} holds compressed entries, which torch.save does not write. {_AGAIN}")
    if sum(entry.file_size for entry in entries) > size:
        raise ExportError(f"{path} says that it holds more bytes than it has. {_AGAIN}")
    names = [entry.filename.casefold() for entry in entries]
    pickles = [
        entry for entry, name in zip(entries, names, strict=True) if name.partition("/")[2] == "data.pkl"
    ]
    if len(pickles) != 1 or len(set(names)) != len(names):
        raise ValueError
    return pickles[0]
