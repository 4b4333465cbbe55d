"""A folder of images, or of other files, with one sub-folder a class."""

import os

from ..core.errors import UsageError
from .files import SPLIT_NAMES, LabelledFiles, files_below, hidden
from .kinds import IMAGES, RECORDINGS, FileKind

_LAYOUT = "expected is one sub-folder a class, optionally under train, val and test"


def read_folder(root: str, kind: FileKind = IMAGES) -> LabelledFiles:
    """Lists ``root/CLASS/**`` or ``root/{train,val,test}/CLASS/**``, sorted by path.

    Splits may also be called training, valid, validation, dev and testing. A val or test folder
    without class sub-folders holds no labels and is passed over, with a note.

    Args:
        root: The folder.
        kind: Of the files that are listed.

    Raises:
        UsageError: It is missing or not laid out like that.
    """
    if not os.path.isdir(root):
        what = "No such folder" if not os.path.exists(root) else "Not a folder"
        raise UsageError(f"{what}: {root!r}.")
    splits: dict[str, str] = {}
    folders = _folders(root)
    for name in folders:
        part = SPLIT_NAMES.get(name.lower())
        if part is not None and part in splits:
            raise UsageError(
                f"{root!r} has two folders for the {part} split, {splits[part]} and {name}: "
                "remove one."
            )
        if part is not None:
            splits[part] = name
    if splits and "train" not in splits:
        raise UsageError(
            f"{root!r} has a folder {next(iter(splits.values()))} but no folder train: {_LAYOUT}."
        )
    if not splits:
        splits = {"train": ""}
    paths: list[str] = []
    labels: list[str] = []
    parts: list[str] = []
    notes: list[str] = []
    for part, name in splits.items():
        base = os.path.join(root, name) if name else root
        found = {label: files_below(os.path.join(base, label), kind) for label in _folders(base)}
        empty = [label for label, files in found.items() if not files]
        if part != "train" and len(empty) == len(found):
            notes.append(f"The folder {name} has no class sub-folders and was not used.")
            continue
        if len(empty) == len(found):
            raise UsageError(_nothing(base, bool(found), kind))
        if empty:
            notes.append(f"Sub-folders without {kind.many} were not used: {', '.join(empty)}.")
        loose = sum(kind.matches(name) and not hidden(name) for name in os.listdir(base))
        if loose:
            notes.append(f"{loose} {kind.many} outside the class sub-folders were not used.")
        for label, files in found.items():
            paths += files
            labels += [label] * len(files)
            parts += [part] * len(files)
    if not set(folders) <= set(splits.values()) and "" not in splits.values():
        others = ", ".join(sorted(set(folders) - set(splits.values())))
        notes.append(f"Folders beside the splits were not used: {others}.")
    return LabelledFiles(root, paths, labels, parts, notes=tuple(notes))


def _folders(base: str) -> list[str]:
    try:
        return sorted(e.name for e in os.scandir(base) if e.is_dir() and not hidden(e.name))
    except PermissionError:
        raise UsageError(f"No permission to read {base!r}.") from None


def _nothing(base: str, has_folders: bool, kind: FileKind) -> str:
    found = [name for _, _, names in os.walk(base) for name in names]
    if not has_folders and any(map(kind.matches, found)):
        return f"{base!r} holds {kind.many} but no sub-folders: {_LAYOUT}."
    if any(name.lower().endswith((".dcm", ".nii", ".nii.gz")) for name in found):
        return f"{base!r} holds no {kind.many}: scans are for --domain medical."
    if kind is not RECORDINGS and any(map(RECORDINGS.matches, found)):
        return (
            f"{base!r} holds no {kind.many}: recordings are for --domain speech, which needs "
            "pip install 'nas_domains[speech]'."
        )
    seen = f"only {len(found)} other file(s)" if found else "no files"
    return f"{base!r} holds no {kind.many}, {seen}: {_LAYOUT}."
