"""``python -m tests.durability.gate``: is the proof worth anything?

Takes one protection at a time out of a copy of the package (an fsync, a rename, a digest check, a
lock, an entry of the allow-list) and runs the suite: it must fail every time. What survives is
printed, and the exit code is 1.

Which test failed is noted in ``killers.json``, and is what the next gate tries first: where it fails
again, the rest of the suite has nothing to add. With ``--all`` nothing noted is looked at.
"""

# ruff: noqa: E501 - one line a mutant reads better than five.
from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
KILLERS = Path(__file__).with_name("killers.json")
DATA = "alphatriangle/data"


class Mutant(NamedTuple):
    """``old`` in ``file`` becomes ``new``; ``tests`` must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: str


CRASH = "tests/durability/test_crash_points.py"
FAULTS = "tests/durability/test_disk_faults.py"
TYPES = "tests/data/commits/test_state_types.py"
FINITE = "tests/data/commits/test_not_finite.py"
# All of the data module's, but for neighbours and the loops of others: those take minutes.
STATE = (
    "tests/data/commits tests/data/replay tests/data/runs tests/data/storage"
    " tests/data/test_data_manager.py tests/data/test_golden.py tests/data/test_serializer.py"
)
ROT = f"tests/durability/test_rot.py {STATE}"
WRITERS = "tests/durability/test_replica_writers.py"
REPLICA = "tests/data/replica"
COLUMNS = "tests/data/replay/test_any_columns.py"
FORGED = "tests/durability/test_malice_columns.py"
CHECKSUMS = "tests/data/commits/test_checksums.py"
NEWEST = "tests/data/commits/test_newest.py"
MALICE = f"tests/durability/test_malice.py {STATE}"
CONTRACT = "tests/data/stores/test_contract.py"
FOLDER = "tests/data/stores/test_folder.py"
CUTS = "tests/data/stores/test_power_cuts.py"
LINE = "tests/data/stores/test_remote_faults.py"
PROBE = "tests/data/stores/test_conditions.py"
CURVES = "tests/data/test_data_manager.py"

# fmt: off
MUTANTS = [
    # what a save does later
    Mutant("the curves before the commit", "commits/capture.py", "            sync()\n", "            pass\n", CURVES),
    # which commit is the newest
    Mutant("the note of the newest is of these commits", "commits/newest.py", " or note.names_sha256 != _names_digest(names)", "", NEWEST),
    Mutant("names may come back", "commits/newest.py", "        fs.remove(self._paths.newest)\n", "", NEWEST),
    Mutant("the note is gone before they do", "commits/newest.py", "        disk.sync_folder(self._paths.run)\n", "", CRASH),
    Mutant("a noted newest that is not sound is passed over", "commits/loading.py", "        except DataError as e:\n            logger.info(", "        except KeyError as e:\n            logger.info(", NEWEST),
    # stores
    Mutant("store: fsync of a created object", "stores/folder.py", "                f.write(content)\n                disk.sync(f)\n            if fs.read_bytes", "                f.write(content)\n            if fs.read_bytes", CUTS),
    Mutant("store: fsync of a created object's name", "stores/folder.py", "            self._link(temporary, path, key)\n            disk.sync_folder(path.parent)\n", "            self._link(temporary, path, key)\n", CUTS),
    Mutant("store: fsync of a file", "stores/folder.py", "it was not copied\")\n                disk.sync(f)\n", "it was not copied\")\n", CUTS),
    Mutant("store: fsync of a file's name", "stores/folder.py", "            disk.rename(temporary, target)\n            disk.sync_folder(target.parent)\n", "            disk.rename(temporary, target)\n", CUTS),
    Mutant("store: fsync of a hint", "stores/folder.py", "                f.write(content)\n                disk.sync(f)\n            disk.rename", "                f.write(content)\n            disk.rename", CUTS),
    Mutant("store: fsync of a folder", "stores/folder.py", "            disk.make_folder(folder)\n            disk.sync_folder(folder.parent)\n", "            disk.make_folder(folder)\n", CUTS),
    Mutant("store: fsync after deletion", "stores/folder.py", "                disk.sync_folder(folder)\n", "                pass\n", CUTS),
    Mutant("store: an object is created by linking", "stores/folder.py", "            disk.hard_link(temporary, path)\n        except", "            disk.rename(temporary, path)\n        except", CONTRACT),
    Mutant("store: a created object is read back", "stores/folder.py", "if fs.read_bytes(temporary) != content:", "if False:", FOLDER),
    Mutant("store: a file is read back", "stores/folder.py", "if fs.digest_of(temporary).identity != (size, sha256):", "if False:", FOLDER),
    Mutant("store: a rotten file stays here", "stores/folder.py", "if (done, digest.hexdigest()) != (size, sha256):", "if False:", f"{CONTRACT} {FOLDER}"),
    Mutant("store: the root is there", "stores/folder.py", "        if not is_folder:\n", "        if False:\n", FOLDER),
    Mutant("store: the disk is the same", "stores/folder.py", "        if device != self._device:\n", "        if False:\n", FOLDER),
    Mutant("store: a disk that fails is not empty", "stores/folder.py", "if doing == \"read\" and error.errno in _NOT_THERE:", "if doing == \"read\":", FOLDER),
    Mutant("store: checksums are sent", "stores/access.py", "            settings[\"checksum_algorithm\"] = \"SHA256\"\n", "            pass\n", LINE),
    Mutant("store: nothing is tried again", "stores/access.py", "\"max_retries\": 0, \"retry_timeout\": timedelta(0)", "\"max_retries\": 1", LINE),
    Mutant("store: a deadline", "stores/access.py", "\"timeout\": timedelta(seconds=seconds)", "\"timeout\": timedelta(seconds=9)", LINE),
    Mutant("store: a create is conditional", "stores/remote.py", "self._put(key, content, \"create\")", "self._put(key, content, \"overwrite\")", CONTRACT),
    Mutant("store: a rotten file is not put together", "stores/remote.py", "if (size, digest.hexdigest()) != self._wanted:", "if False:", CONTRACT),
    Mutant("store: what was put is read back", "stores/remote.py", "self._reads_back = scheme != \"s3\"", "self._reads_back = False", PROBE),
    Mutant("store: keys are looked for again", "stores/remote.py", "            self._clients = None\n        # Here", "            pass\n        # Here", LINE),
    Mutant("store: no bucket is not no object", "stores/remote_errors.py", "    if code in _NO_OBJECT:\n", "    if status == \"404\":\n", LINE),
    Mutant("store: one of eight", "stores/conditions.py", "        if told > 1:\n", "        if False:\n", PROBE),
    Mutant("store: what was created stays", "stores/conditions.py", "store.get(key, limit=1000) != created[0]", "False", PROBE),
    Mutant("store: checksums are checked", "stores/conditions.py", "    if not sender.takes_wrong_checksum(key):\n", "    if True:\n", PROBE),
    Mutant("store: commits in MLflow that are missing something", "elsewhere/mlflow_restore.py", "            if file.kind == \"episodes\":\n", "            if True:\n", "tests/data/elsewhere/test_mlflow_restore.py"),
    # fsync
    Mutant("fsync of any file", "storage/disk.py", "            os.fsync(file.fileno())", "            pass", CRASH),
    Mutant("fsync of any folder", "storage/disk.py", "            os.fsync(descriptor)", "            pass", CRASH),
    Mutant(
        "only what a file system cannot do is no error",
        "storage/disk.py",
        "            if e.errno not in _CANNOT_SYNC_FOLDERS:",
        "            if False:",
        FAULTS,
    ),
    Mutant("fsync of a written file", "storage/fs.py", "            disk.sync(raw)\n", "            raw.flush()\n", CRASH),
    Mutant(
        "a line of its own after a torn one",
        "storage/fs.py",
        """start = b"" if is_new or _ends_with_a_line(path) else b"\\n\"""",
        'start = b""',
        CRASH,
    ),
    Mutant(
        "fsync of the folder of a written file",
        "storage/fs.py",
        "    disk.sync_folder(path.parent)\n    rest()\n    return digest",
        "    rest()\n    return digest",
        CRASH,
    ),
    Mutant("fsync of a log", "storage/fs.py", "        disk.sync(f)\n", "        f.flush()\n", CRASH),
    Mutant(
        "fsync of the folder of a new log",
        "storage/fs.py",
        "    if is_new:\n        disk.sync_folder(path.parent)\n",
        "",
        CRASH,
    ),
    Mutant("fsync of the folder of a link", "storage/fs.py", "    disk.sync_folder(link.parent)\n", "", CRASH),
    Mutant("fsync of a copy", "storage/fs.py", "            disk.sync(copy)\n", "", CRASH),
    Mutant(
        "fsync of the parent of a new folder",
        "storage/fs.py",
        "    disk.sync_folder(folder.parent)\n",
        "",
        CRASH,
    ),
    Mutant("fsync after commits are removed", "commits/pruning.py", "    disk.sync_folder(paths.commits)\n", "", CRASH),
    Mutant("fsync of what an archive holds", "runs/archive.py", "                disk.sync(copy)\n", "", CRASH),
    Mutant("fsync of the names of a new run", "runs/fork.py", "            disk.sync_folder(path.parent)\n", "", CRASH),
    # rename
    Mutant(
        "rename of a written file",
        "storage/fs.py",
        '    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")\n    try:',
        "    temporary = path\n    try:",
        CRASH,
    ),
    Mutant(
        "rename of a link",
        "storage/fs.py",
        '    temporary = link.with_name(f".{link.name}.{os.getpid()}{TEMPORARY_SUFFIX}")\n',
        "    temporary = link\n",
        CRASH,
    ),
    # order
    Mutant(
        "names of its own for a step saved twice",
        "path_manager.py",
        "    while candidate.exists() or candidate.is_symlink():",
        "    while False:",
        CRASH,
    ),
    Mutant(
        "files go after their commits",
        "commits/pruning.py",
        "    for stored in plan.removed:\n        fs.remove(stored.path)\n",
        "    for path in plan.files:\n        fs.remove(paths.run / Path(path))\n"
        "    for stored in plan.removed:\n        fs.remove(stored.path)\n",
        CRASH,
    ),
    Mutant(
        "a run of damaged commits is a run",
        "runs/fork.py",
        "    if known.commits or known.unreadable:",
        "    if known.commits:",
        STATE,
    ),
    Mutant("a failed save is undone", "commits/writer.py", "            self._undo(stored)\n", "", f"{FAULTS} {STATE}"),
    Mutant(
        "a commit whose folder was not synced is taken back",
        "commits/files.py",
        "        with contextlib.suppress(OSError):\n            fs.remove(path)\n        raise",
        "        raise",
        FAULTS,
    ),
    Mutant(
        "what cannot be read now is not damage",
        "errors.py",
        "    if error.errno in _LOST:",
        "    if True:",
        FAULTS,
    ),
    Mutant(
        "the lock is given back whatever happens",
        "storage/lock.py",
        "            with contextlib.suppress(OSError):\n                fs.remove(self._owner)\n",
        "            fs.remove(self._owner)\n",
        FAULTS,
    ),
    Mutant(
        "columns of a lineage do not change",
        "commits/capture.py",
        "    if before and (change := before.change(kind)):",
        "    if False and (change := before.change(kind)):",
        COLUMNS,
    ),
    Mutant(
        "columns of merged segments are the same",
        "replay/segments.py",
        "        if not schema.equals(head.schema, check_metadata=True):",
        "        if False:",
        COLUMNS,
    ),
    Mutant(
        "rows of another lineage are not mixed in",
        "commits/writer.py",
        "        if lineage != self._lineage or not self._segments:",
        "        if not self._segments:",
        STATE,
    ),
    # digests
    Mutant(
        "digest of a committed file",
        "commits/files.py",
        "    if digest.sha256 != file.sha256:",
        "    if False:",
        ROT,
    ),
    Mutant(
        "checksum of a committed file that a start reads",
        "commits/files.py",
        "    if found != value:",
        "    if False:",
        ROT,
    ),
    Mutant(
        "whoever verifies looks at both digests",
        "commits/files.py",
        'None if file.xxh3 in (None, digest.xxh3) else "xxh3"',
        "None",
        CHECKSUMS,
    ),
    Mutant(
        "a checksum is of its version",
        "records.py",
        "        if self.format_version == 1 and any",
        "        if False and any",
        f"{CHECKSUMS} {MALICE}",
    ),
    Mutant(
        "replica: a record is of its commit's version",
        "replica/records.py",
        "        if self.format_version != self.commit.format_version:",
        "        if False:",
        REPLICA,
    ),
    Mutant("links among committed files", "commits/files.py", "    if (run / file.path).is_symlink():", "    if False:", MALICE),
    Mutant("seal of a commit", "commits/files.py", "    if seal_of(commit) != record.seal:", "    if False:", ROT),
    Mutant(
        "digest of a segment that is read",
        "replay/arrow_files.py",
        "    if value != checksum.value:",
        "    if False:",
        ROT,
    ),
    Mutant(
        "digest of a segment that is merged",
        "replay/segments.py",
        "        if digest.sha256 != ref.sha256 or ref.xxh3 not in (None, digest.xxh3):",
        "        if False:",
        STATE,
    ),
    Mutant(
        "digest of a recording that is merged",
        "replay/recordings.py",
        "(_read(source, checksum) for",
        "(_read(source) for",
        STATE,
    ),
    Mutant(
        "step of checkpoint and commit",
        "commits/soundness.py",
        "    if commit.global_step != checkpoint.global_step:",
        "    if False:",
        STATE,
    ),
    Mutant(
        "segments of buffer and commit",
        "commits/soundness.py",
        "        if name not in named or named[name].sha256 != ref.sha256:",
        "        if False:",
        STATE,
    ),
    Mutant("weights that are not finite", "commits/writer.py", "        self._check_finite(capture)\n", "", FINITE),
    Mutant("optimizer state that is not finite", "commits/writer.py", '("model_state_dict", "optimizer_state_dict")', '("model_state_dict",)', FINITE),
    Mutant("reading back before a commit", "commits/writer.py", "            self._read_back(commit)\n", "", f"{FAULTS} {STATE}"),
    Mutant(
        "reading back the commit",
        "commits/writer.py",
        "            if read_commit(stored.path) != commit:",
        "            if False:",
        FAULTS,
    ),
    Mutant(
        "rows are read through the reader of a start",
        "commits/soundness.py",
        "        rows.check(known)\n",
        "        pass\n",
        STATE,
    ),
    Mutant(
        "rows are read before a commit is chosen",
        "commits/soundness.py",
        "        rows.read()\n",
        "        pass\n",
        STATE,
    ),
    Mutant(
        "what was merged for a failed save is dropped",
        "commits/writer.py",
        '            self._segments = self._committed.of_kind("segment")\n',
        "            pass\n",
        STATE,
    ),
    Mutant(
        "recordings that were merged for a failed save are dropped",
        "commits/writer.py",
        '            self._recordings = self._committed.of_kind("episodes")\n',
        "            pass\n",
        STATE,
    ),
    # locks
    Mutant(
        "lock of a trainer",
        "data_manager.py",
        "        self._lock.acquire()\n",
        "",
        STATE,
    ),
    Mutant(
        "garbage stays while a commit cannot be read",
        "commits/writer.py",
        "        if known.unreadable:\n            return\n",
        "",
        STATE,
    ),
    Mutant(
        "files that an unreadable commit may name",
        "commits/pruning.py",
        "    files = [] if known.unreadable else",
        "    files = [] if False else",
        STATE,
    ),
    # hostile files
    Mutant(
        "the allow-list",
        "safe_pickle.py",
        "        if (module, name) not in _ALLOWED:",
        "        if False:",
        MALICE,
    ),
    Mutant("dtypes of their own", "safe_pickle.py", '"dtype"): _dtype', '"dtype"): None', MALICE),
    Mutant("positions of generators", "state_types.py", "        if not 0 <= position <= length:\n", "        if False:\n", TYPES),
    Mutant("objects in arrays", "dtypes.py", "        case str(name) if _SIMPLE.fullmatch(name):\n", "        case str(name):\n", TYPES),
    Mutant("pools of seeds", "state_types.py", "    if _a(int, pool_size) > _POOL_LIMIT:\n", "    if False:\n", TYPES),
    Mutant("refusal at the save", "serializer.py", "        raise _RefusedError(obj, obj.reason if", "        return NotImplemented  # (obj, obj.reason if", TYPES),
    Mutant(
        "functions that a file cannot change",
        "safe_pickle.py",
        "        return found if isinstance(found, type) else _Function(found)",
        "        return found",
        MALICE,
    ),
    Mutant("empty deques only", "safe_pickle.py", '"deque"): _deque', '"deque"): None', MALICE),
    Mutant(
        "generators inside their tables",
        "safe_pickle.py",
        "            state_types.check_generator(item)\n",
        "",
        MALICE,
    ),
    Mutant("bytes that are there", "safe_pickle.py", "    dispatch[pickle.BYTEARRAY8[0]] = _bytearray\n", "", MALICE),
    Mutant("dtypes of one kind of state", "safe_pickle.py", " and state not in _DTYPE_STATES:", " and False:", MALICE),
    Mutant("arrays are made once", "safe_pickle.py", "isinstance(made, np.ndarray) and made.size:", "False:", MALICE),
    Mutant("arrays of numbers only", "safe_pickle.py", "        _check_arrays(value)\n", "        pass\n", MALICE),
    Mutant(
        "segment names",
        "serializer.py",
        "_SEGMENT_NAME.fullmatch(name) and",
        "True and",
        MALICE,
    ),
    # columns of any kind (format version 2)
    Mutant("v2: columns that a file names", "serializer.py", "        check_schema(data.schema_of_rows)\n", "        pass\n", FORGED),
    Mutant("v2: mutable columns of as many rows", "serializer.py", "or values.shape[:1] != (count,):", "or False:", FORGED),
    Mutant("v2: mutable columns of plain numbers", "serializer.py", "            schema_of({name: values})\n", "            pass\n", FORGED),
    Mutant("v2: rows of the version that is said", "serializer.py", "    if data.codec == FORMAT_1 or not isinstance(data.buffer_list, SegmentedRows):", "    if False:", FORGED),
    Mutant("v2: version 1 has no columns", "serializer.py", "        if data.codec != FORMAT_1 or data.columns or data.mutable or data.counters:", "        if False:", FORGED),
    Mutant("v2: a codec that is known", "serializer.py", "    codec_of_file(path, data.codec)\n", "", FORGED),
    Mutant("v2: counters are of the rows", "serializer.py", "and (items.first, items.end) != numbers:", "and False:", FORGED),
    Mutant("v2: counters are numbers of rows", "serializer.py", "    if not 0 <= numbers[0] <= numbers[1] < _ROW_NUMBERS:", "    if False:", FORGED),
    Mutant("v2: numbers of the rows of segments", "serializer.py", " and 0 <= ref_first <= ref_end < _ROW_NUMBERS", "", FORGED),
    Mutant("v2: numbers of rows", "serializer.py", "            if not 0 <= first <= end < _ROW_NUMBERS:", "            if not 0 <= first <= end:", FORGED),
    Mutant("v2: names of columns are text", "schemas.py", "    columns: dict[StrictStr, ", "    columns: dict[str, ", FORGED),
    Mutant("v2: sizes of columns are whole", "schemas.py", "tuple[StrictInt, ...]", "tuple[int, ...]", FORGED),
    Mutant("v2: columns of buffer and segment", "replay/segments.py", "        return schema_change(self.schema, now.schema) if self.schema and now.schema else None", "        return None", FORGED),
    Mutant("v2: codec of buffer and segment", "replay/segments.py", "        if self.codec_name != now.codec_name:\n            return", "        if False:\n            return", FORGED),
    Mutant("v2: a read segment is what its buffer names", "replay/rows.py", "read_segment(path, ref.checksum, self.kind)", "read_segment(path, ref.checksum)", FORGED),
    Mutant("v2: a checked segment is what its buffer names", "replay/rows.py", "check_segment(self.folder / ref.name, ref, self.kind)", "check_segment(self.folder / ref.name, ref)", FORGED),
    Mutant("v2: batches are valid", "replay/segments.py", "            batch.validate(full=True)\n", "", FORGED),
    Mutant("v2: dimensions in a segment", "replay/arrow.py", "    if len(parts) > _MOST_AXES:", "    if False:", FORGED),
    Mutant("v2: versions without end", "replay/arrow_files.py", " and len(version) <= _LONGEST_VERSION", "", FORGED),
    Mutant("v2: rows of segments in buffer and commit", "commits/soundness.py", "        if (named[name].first, named[name].end) != (ref.first, ref.end):", "        if False:", FORGED),
    Mutant("v2: all segments of a commit are its buffer's", "commits/soundness.py", "    if list(needed) != ", "    if False and list(needed) != ", FORGED),
    Mutant("v2: codec of merged segments", "replay/segments.py", "        if codec_name != head.codec_name:", "        if False:", COLUMNS),
    Mutant("v2: mutable columns that can be saved", "commits/capture.py", "            schema_of({name: views[0] for name, views in mutable.items()})\n", "            pass\n", COLUMNS),
    Mutant("v2: mutable columns of the ring", "../utils/ring.py", "        self._check_mutable(saved, total - oldest)\n", "", FORGED),
    # the copy elsewhere
    Mutant("replica: a look for newer claims after each commit", "replica/publisher.py", "        if not is_acknowledged(is_newer_claim=self._reader.has_claim(self.epoch + 1)):", "        if False:", WRITERS),
    Mutant("replica: what exists is compared", "replica/protocol.py", '    return "landed" if found == mine else "another"', '    return "landed"', WRITERS),
    Mutant("replica: what was not answered is read back", "replica/claims.py", '            if verdict != "absent":', "            if True:", REPLICA),
    Mutant("replica: objects before their commit", "replica/publisher.py", "        self._store.put_file(key, path, size, sha256)\n", "", REPLICA),
    Mutant("replica: the base is looked for after the claim", "replica/claims.py", "            base = find_base(reader, reader.look(), history)", "            base = find_base(reader, found, history)", WRITERS),
    Mutant("replica: who may not go on claims nothing", "replica/claims.py", "        base = find_base(reader, found, history)\n        if begun", "        base = None\n        if begun", WRITERS),
    Mutant("replica: a folder goes on from what it has", "replica/protocol.py", "    return newest.seal in history.seals and", "    return", WRITERS),
    Mutant("replica: what a crash left is a proof", "replica/session.py", "            seals.add(seal_shown(left))\n", "            pass\n", WRITERS),
    Mutant("replica: what was acknowledged is a proof", "replica/session.py", "            seals.add(acknowledged.seal)\n", "            pass\n", WRITERS),
    Mutant("replica: numbers are not used again", "replica/garbage.py", "if d.epoch < self._publisher.epoch]", "]", f"{REPLICA} {WRITERS}"),
    Mutant("replica: garbage has its hour", "replica/garbage.py", ">= GRACE_SECONDS]", ">= 0]", REPLICA),
    Mutant("replica: garbage is what nothing kept needs", "replica/protocol.py", " for place in places[key]} - needed", " for place in places[key]}", REPLICA),
    Mutant("replica: a look for others before garbage goes", "replica/garbage.py", "        if publisher.has_successor():\n            raise publisher.fenced()\n        try:", "        try:", REPLICA),
    Mutant("replica: the base stays until there is a second", "replica/protocol.py", "    return number >= 2", "    return True", "tests/durability/test_replica_model.py"),
    Mutant("replica: a held file is a link of its own", "replica/spool.py", "            disk.hard_link(path, link)\n", "            return path\n", REPLICA),
    Mutant("replica: seal of a record", "replica/records.py", "    if _seal(fields) != record.seal:", "    if False:", REPLICA),
    Mutant("replica: a record of its place", "replica/records.py", "    if record.position != position:", "    if False:", REPLICA),
    Mutant("replica: digest of what is restored", "replica/fetching.py", "            if (differs := difference(file, digest)) is not None:", "            if False:", REPLICA),
    Mutant("replica: a store out of reach is no damage", "replica/restoring.py", "            except _STOP:\n                raise\n", "", REPLICA),
    Mutant("replica: a restored commit comes last", "replica/restoring.py", "            self._fill(record, self._placing(record, damaged))\n", "            fs.write_bytes(target.commit(record.commit.global_step), sealed(record.commit))\n            self._fill(record, self._placing(record, damaged))\n", REPLICA),
    Mutant("replica: nothing here is overwritten", "replica/restoring.py", "    if known.commits or known.unreadable:", "    if False:", REPLICA),
    Mutant("replica: a store that has forgotten is no new one", "replica/claims.py", "            raise _forgotten(reader)\n", "            pass\n", "tests/cli/test_replica.py"),
    Mutant("replica: a number that is missing is looked past", "replica/protocol.py", "        return exists(number) or exists(number + 1)", "        return exists(number)", REPLICA),
    Mutant("replica: what was just put is no orphan", "replica/sweeping.py", "        if not is_needed and age >= (GRACE_SECONDS if is_own else _ORPHAN_SECONDS):", "        if not is_needed:", REPLICA),
    Mutant("replica: damaged commits are not built on", "replica/session.py", "        publisher.forget(places)\n", "", REPLICA),
    Mutant(
        "paths of committed files",
        "records.py",
        "    if not parts or path.startswith",
        "    if False and path.startswith",
        MALICE,
    ),
]
# fmt: on


def allow_list_entries() -> list[Mutant]:
    """Each entry away: nothing stands in the list that no saved state needs."""
    text = (ROOT / DATA / "safe_pickle.py").read_text()
    listed = text[text.index("_ALLOWED: Final") :]
    lines = re.findall(r'^    \("[^\n]*,\n', listed, re.MULTILINE)
    return [
        Mutant(f"entry {line.strip().rstrip(',')}", "safe_pickle.py", line, "", STATE)
        for line in lines
    ]


def killer_of(mutant: Mutant, copy: Path, known: str | None) -> str | None:
    """The test that fails, the ``known`` one if it does; None where all of them pass."""
    path = copy / DATA / mutant.file
    text = path.read_text()
    assert text.count(mutant.old) == 1, f"{mutant.name}: its place has changed"
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        if known is not None and _first_failure(copy, [known]) == known:
            return known
        return _first_failure(copy, ["-n", "2", *mutant.tests.split()])
    finally:
        path.write_text(text)


def _first_failure(copy: Path, arguments: list[str]) -> str | None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return None
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    # A test that is noted and is no more fails in another way.
    assert failed or "-n" not in arguments, f"{done.stdout[-2000:]}{done.stderr}"
    return failed[1] if failed else None


def main(names: list[str]) -> int:
    """Try the mutants whose names hold one of ``names``, or all."""
    noted: dict[str, str] = json.loads(KILLERS.read_text())
    known = {} if "--all" in names else noted
    names = [name for name in names if name != "--all"]
    mutants = [*MUTANTS, *allow_list_entries()]
    chosen = [m for m in mutants if not names or any(n in m.name for n in names)]
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("alphatriangle", "tests", "pyproject.toml"):
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, copy / part)
            else:
                shutil.copyfile(source, copy / part)
        tests = " ".join(sorted({path for m in chosen for path in m.tests.split()}))
        unchanged = Mutant("nothing", "storage/disk.py", "class Disk:", "class Disk:", tests)
        if killer_of(unchanged, copy, None) is not None:
            sys.stderr.write("error: the suite fails without any change\n")
            return 2
        for mutant in chosen:
            begin = time.monotonic()
            killer = killer_of(mutant, copy, known.get(mutant.name))
            if killer is None:
                survivors.append(mutant.name)
            else:
                noted[mutant.name] = killer
                KILLERS.write_text(json.dumps(noted, indent=1, sort_keys=True) + "\n")
            verdict = "SURVIVED" if killer is None else "killed"
            sys.stdout.write(f"{verdict:<9} {mutant.name} ({time.monotonic() - begin:.0f} s)\n")
            sys.stdout.flush()
    figures = {"name": "gate", "mutants": len(chosen), "survivors": survivors}
    sys.stdout.write(json.dumps(figures) + "\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
