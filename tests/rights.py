"""Rights that are missing: root has them all, so the system's answer is changed instead."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest


def shut(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Nobody may search it."""
    look = os.stat

    def refuse(path: Any, **options: Any) -> os.stat_result:
        if isinstance(path, str | Path) and folder in Path(path).parents:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return look(path, **options)

    patch.setattr(os, "stat", refuse)


def unreadable(patch: pytest.MonkeyPatch, file: Path) -> None:
    """Nobody may read it."""
    look, opened = os.access, Path.open

    def denied(path: Any, mode: int, **options: Any) -> bool:
        return not (Path(path) == file and mode & os.R_OK) and look(path, mode, **options)

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == file:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *arguments, **options)

    patch.setattr(os, "access", denied)
    patch.setattr(Path, "open", refuse)


def others(patch: pytest.MonkeyPatch, *folders: Path) -> None:
    """They belong to another user, who lets nobody else write."""
    look = os.access

    def denied(path: Any, mode: int, **options: Any) -> bool:
        return not (Path(path) in folders and mode & os.W_OK) and look(path, mode, **options)

    patch.setattr(os, "access", denied)
