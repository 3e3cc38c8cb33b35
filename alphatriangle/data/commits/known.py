"""What one process knows of the commits of a run: each is read once.

Commit files never change, so that the names in their folder tell what is new, and what somebody
else has removed. A save costs the same however many commits are kept.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable

from alphatriangle.data.commits.files import CommitList, StoredCommit, commit_names, read_commits
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.records import CommittedFile


class KnownCommits:
    """The commits of a run; any thread may look."""

    def __init__(self, paths: PathManager) -> None:
        self.paths = paths
        self._lock = threading.Lock()
        self._by_name: dict[str, StoredCommit] = {}
        self._list = CommitList([], [])
        # Successive commits name the same files: each is held once, with how many name it.
        self._files: dict[str, CommittedFile] = {}
        self._naming: Counter[str] = Counter()

    def look(self) -> CommitList:
        """All commits that there are now.

        Raises:
            FileUnavailableError: one cannot be read now, and may be the newest.
        """
        with self._lock:
            names = commit_names(self.paths)
            found = read_commits(self.paths, names - self._by_name.keys())
            gone = {name for name in self._by_name if name not in names}
            if gone or found.commits:
                self._change(gone, found.commits)
            self._list = CommitList(self._list.commits, found.unreadable)
            return self._list

    def add(self, stored: StoredCommit) -> None:
        """This process has just written it."""
        with self._lock:
            name = stored.path.name
            self._change({name} & self._by_name.keys(), [stored])

    def named_by_these_alone(self, commits: Iterable[StoredCommit]) -> list[str]:
        """Of the files of these, of the last look, those that no other commit names."""
        with self._lock:
            here = Counter(file.path for stored in commits for file in stored.commit.files)
            return sorted(path for path, n in here.items() if n == self._naming[path])

    def _change(self, gone: set[str], new: Iterable[StoredCommit]) -> None:
        # A list of its own: whoever looked before goes on with what was there then.
        commits = self._list.commits
        leaving = [self._by_name.pop(name) for name in gone]
        identities = {id(stored) for stored in leaving}
        commits = [stored for stored in commits if id(stored) not in identities]
        for stored in leaving:
            for file in stored.commit.files:
                self._naming[file.path] -= 1
                if self._naming[file.path] == 0:
                    del self._naming[file.path], self._files[file.path]
        for stored in new:
            files = stored.commit.files
            for i, file in enumerate(files):
                if (shared := self._files.setdefault(file.path, file)) == file:
                    files[i] = shared
            self._naming.update(file.path for file in files)
            self._by_name[stored.path.name] = stored
            commits.append(stored)
        # Almost in order already.
        commits.sort(key=lambda stored: stored.commit.sequence, reverse=True)
        self._list = CommitList(commits, self._list.unreadable)
