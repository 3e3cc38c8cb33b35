"""The replica's protocol as a machine of single steps, to be explored whole.

Every step is one request to the store. What is decided between them is decided by the functions of
``alphatriangle.data.replica.protocol`` that the real code uses. Writers restore, claim, publish,
collect garbage, are stopped anywhere for any time, crash and start again on their folder, on a
copy of it, or on one that was rolled back; answers are lost; objects rot. A writer can be copied
with its memory. No grace protects garbage here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from alphatriangle.data.replica import protocol
from alphatriangle.data.replica.layout import ObjectPlace, Position
from alphatriangle.data.replica.protocol import History, KeepRules
from alphatriangle.data.replica.records import Dropped, Held

KEEP = KeepRules(keep_last=1)
Phase = Literal[
    "idle",
    "look",
    "scan",
    "claim",
    "relook",
    "rescan",
    "ready",
    "put",
    "create",
    "read back",
    "check",
    "collect",
    "remove",
    "stopped",
]


class Record(NamedTuple):
    """A commit of the replica."""

    position: Position
    nonce: int
    lineage: tuple[str, ...]  # the commits that led to it, itself last
    refs: frozenset[ObjectPlace]
    holds: tuple[Held, ...]
    dropped: tuple[Dropped, ...]

    @property
    def content(self) -> bytes:
        return repr((self.position, self.nonce, self.lineage[-1])).encode()


class Writer(NamedTuple):
    """A process, or what is left of it: its folder."""

    phase: Phase = "idle"
    folder: tuple[str, ...] = ()  # its commits, the newest last
    left: int = 0  # commits it may still make
    nonce: int = 0
    epoch: int = 0
    number: int = 0
    scanned: int = 0  # the epoch whose commits are looked for next
    holds: tuple[Held, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    known: frozenset[ObjectPlace] = frozenset()
    pending: Record | None = None
    base: Record | None = None
    passed_over: frozenset[Position] = frozenset()


class World(NamedTuple):
    """The store, everybody, and what may still go wrong."""

    claims: tuple[int, ...] = ()  # nonce of each epoch, from 1
    commits: frozenset[Record] = frozenset()
    objects: frozenset[ObjectPlace] = frozenset()
    writers: tuple[Writer, ...] = ()
    acknowledged: frozenset[tuple[str, ...]] = frozenset()  # the files of each
    rotten: frozenset[str] = frozenset()  # files that rot has hit, and commits
    boots: int = 0
    losses: int = 0
    crashes: int = 0
    rots: int = 0
    clones: int = 0  # of memory


class Decisions(NamedTuple):
    """What the protocol decides; mutants put another one in its place."""

    is_acknowledged: Callable[..., bool] = protocol.is_acknowledged
    judged: Callable[[bytes, bytes | None], str] = protocol.judged
    goes_on_from: Callable[[Held | None, History], bool] = protocol.goes_on_from
    garbage: Callable[..., set[ObjectPlace]] = protocol.garbage
    may_collect: Callable[[int], bool] = protocol.may_collect
    looks_again_after_claim: bool = True
    creates_exclusively: bool = True
    keeps_own_numbers: bool = True
    puts_objects_first: bool = True


def files_of(lineage: tuple[str, ...]) -> tuple[str, ...]:
    """Content of its own, and what it shares with the commit before it."""
    return lineage[-2:]


def held(record: Position, lineage: tuple[str, ...]) -> Held:
    return Held(record.epoch, record.number, len(lineage), 0, 0, lineage[-1])


def head_of(world: World, epoch: int) -> Record | None:
    of_epoch = [r for r in world.commits if r.position.epoch == epoch]
    return max(of_epoch, key=lambda r: r.position.number, default=None)


def restorable(world: World) -> tuple[Record | None, frozenset[Position]]:
    """What a restore takes, and what it passes over."""
    passed: set[Position] = set()
    for epoch in range(len(world.claims), 0, -1):
        if (head := head_of(world, epoch)) is None:
            continue
        by_position = {r.position: r for r in world.commits}
        for candidate in sorted(head.holds, key=lambda h: h.sequence, reverse=True):
            record = by_position.get(candidate.position)
            if record is not None and record.refs <= world.objects:
                return record, frozenset(passed)
            passed.add(candidate.position)
        return None, frozenset(passed)
    return None, frozenset()


def is_lost(world: World) -> str | None:
    """An acknowledged commit that a restore would not bring back, though nothing has rotted."""
    record, _ = restorable(world)
    if record is None and world.rotten:
        return None  # A clear stop.
    there = set() if record is None else set(record.lineage)
    for files in world.acknowledged:
        if files[-1] not in there and not world.rotten & set(files):
            return files[-1]
    return None


def steps(world: World, rules: Decisions) -> Iterator[tuple[str, World]]:
    """Everything that may happen next."""
    for index, writer in enumerate(world.writers):
        for what, changed, after in _writer_steps(world, index, writer, rules):
            writers = (*after.writers[:index], changed, *after.writers[index + 1 :])
            yield f"{index}: {what}", after._replace(writers=writers)
        if writer.phase not in ("idle", "stopped") and world.crashes:
            left = world._replace(crashes=world.crashes - 1)
            for what, folder in (("crash", writer.folder), ("rolled back", writer.folder[:-1])):
                if what == "crash" or folder:
                    again = Writer("look", folder, writer.left, passed_over=writer.passed_over)
                    writers = (*world.writers[:index], again, *world.writers[index + 1 :])
                    yield f"{index}: {what}", left._replace(writers=writers)
        if writer.phase == "ready" and world.clones:
            for other, idle in enumerate(world.writers):
                if idle.phase == "idle":
                    copy = writer._replace(left=idle.left)
                    writers = (*world.writers[:other], copy, *world.writers[other + 1 :])
                    copied = world._replace(writers=writers, clones=world.clones - 1)
                    yield f"{other}: a copy of the memory of {index}", copied
    if world.rots:
        rotting = world._replace(rots=world.rots - 1)
        for record in world.commits:
            hit = world.rotten | {record.lineage[-1]}
            yield (
                f"rot of commit {record.position}",
                rotting._replace(commits=world.commits - {record}, rotten=hit),
            )
        for place in world.objects:
            hit = world.rotten | {place.sha256}
            yield (
                f"rot of object {place}",
                rotting._replace(objects=world.objects - {place}, rotten=hit),
            )


_Step = tuple[str, Writer, World]


def _writer_steps(world: World, index: int, w: Writer, rules: Decisions) -> Iterator[_Step]:
    match w.phase:
        case "idle":
            yield from _starts(world, index, w)
        case "look" | "relook":
            scan: Phase = "scan" if w.phase == "look" else "rescan"
            yield "looks for claims", w._replace(phase=scan, scanned=len(world.claims)), world
        case "scan" | "rescan":
            yield from _scan(world, w, rules)
        case "claim":
            yield from _claim(world, w, rules)
        case "ready":
            if w.left:
                name = f"{index}{w.left}"
                made = w._replace(phase="put", folder=(*w.folder, name), left=w.left - 1)
                yield f"makes commit {name}", made, world
            if w.dropped and rules.may_collect(w.number):
                yield "wants to collect", w._replace(phase="collect"), world
        case "put":
            record = _record(w, w.folder)
            own = frozenset(p for p in record.refs if p not in w.known)
            put = w._replace(phase="create", pending=record, known=w.known | record.refs)
            if rules.puts_objects_first:
                yield "puts objects", put, world._replace(objects=world.objects | own)
            else:
                yield "puts no objects yet", put, world
        case "create":
            yield from _create(world, w, rules)
        case "read back":
            assert w.pending is not None
            there = next((r for r in world.commits if r.position == w.pending.position), None)
            verdict = rules.judged(w.pending.content, None if there is None else there.content)
            phase: Phase = {"landed": "check", "absent": "create", "another": "stopped"}[verdict]  # type: ignore[assignment]
            yield f"reads back: {verdict}", w._replace(phase=phase), world
        case "check":
            yield from _check(world, w, rules)
        case "collect":
            following = Position(w.epoch, w.number + 1)
            is_seen = any(r.position == following for r in world.commits)
            is_over = is_seen or len(world.claims) > w.epoch
            yield (
                "looks before it collects",
                w._replace(phase="stopped" if is_over else "remove"),
                world,
            )
        case "remove":
            yield _remove(world, w, rules)


def _starts(world: World, index: int, w: Writer) -> Iterator[_Step]:
    record, passed = restorable(world)
    if record is not None:
        begun = w._replace(phase="look", folder=record.lineage, passed_over=passed)
        yield "restores", begun, world
    elif not world.commits:
        yield "starts afresh", w._replace(phase="look"), world
    for other, there in enumerate(world.writers):
        if other != index and there.folder:
            copy = Writer("look", there.folder, w.left, passed_over=there.passed_over)
            yield f"is a copy of the folder of {other}", copy, world


def _history(w: Writer) -> History:
    return History(frozenset(w.folder), len(w.folder), None, w.passed_over)


def _scan(world: World, w: Writer, rules: Decisions) -> Iterator[_Step]:
    """One epoch a step, the newest first."""
    if w.scanned > 0 and (head := head_of(world, w.scanned)) is None:
        yield "finds no commits there", w._replace(scanned=w.scanned - 1), world
        return
    base, holds, newest = None, (), None
    if w.scanned > 0:
        assert head is not None
        holds = tuple(h for h in head.holds if h.position not in w.passed_over)
        newest = max(holds, key=lambda h: h.sequence, default=None)
        base = head
    if not rules.goes_on_from(newest, _history(w)):
        yield "has diverged", w._replace(phase="stopped"), world
    elif w.phase == "scan":
        yield (
            "may go on",
            w._replace(phase="claim", scanned=len(world.claims), base=base, holds=holds),
            world,
        )
    else:
        yield "has its base", _based(world, w, base, holds, newest), world


def _based(
    world: World, w: Writer, base: Record | None, holds: tuple[Held, ...], newest: Held | None
) -> Writer:
    if base is None or newest is None:
        return w._replace(phase="ready", base=None, scanned=0)
    at = next((r for r in world.commits if r.position == newest.position), None)
    if at is None:  # Rotten: the folder has gone on from it.
        rest = tuple(h for h in holds if h != newest)
        return w._replace(phase="ready", holds=rest, known=base.refs, base=None, scanned=0)
    ready = w._replace(
        holds=holds, dropped=base.dropped, known=base.refs | at.refs, base=None, scanned=0
    )
    # The newest again, in the own epoch, with its objects where they are.
    record = _record(ready, at.lineage)
    return ready._replace(phase="create", pending=record._replace(refs=at.refs))


def _claim(world: World, w: Writer, rules: Decisions) -> Iterator[_Step]:
    # What it saw before: ``scanned`` is kept by the scan as the newest claim then.
    epoch = w.scanned + 1
    nonce = world.boots + 1
    after: Phase = "relook"
    if len(world.claims) >= epoch:
        yield "is too late to claim", w._replace(phase="look"), world
        return
    claimed = world._replace(claims=(*world.claims, nonce), boots=nonce)
    mine = w._replace(phase=after, epoch=epoch, nonce=nonce, number=0)
    if not rules.looks_again_after_claim:
        newest = max(w.holds, key=lambda h: h.sequence, default=None)
        mine = _based(world, mine, w.base, w.holds, newest)
    yield f"claims {epoch}", mine, claimed
    if world.losses:
        # Reading back tells whose it is, as with a commit; here only that it may not be there.
        yield "claims, in vain", w, world._replace(losses=world.losses - 1)


def _record(w: Writer, lineage: tuple[str, ...]) -> Record:
    position = Position(w.epoch, w.number + 1)
    choice = protocol.kept(
        w.holds, held(position, lineage), KEEP, best_sequence=None, pins=(), now_ns=0
    )
    places = {place.sha256: place.epoch for place in w.known}
    refs = frozenset(ObjectPlace(places.get(f, w.epoch), f) for f in files_of(lineage))
    dropped = protocol.still_dropped(w.dropped, choice.dropped, (), w.epoch)
    return Record(position, w.nonce, lineage, refs, tuple(choice.holds), tuple(dropped))


def _create(world: World, w: Writer, rules: Decisions) -> Iterator[_Step]:
    assert w.pending is not None
    record = w.pending
    there = next((r for r in world.commits if r.position == record.position), None)
    if there is not None and rules.creates_exclusively:
        yield "finds it exists", w._replace(phase="read back"), world
        return
    put = world._replace(commits=(world.commits - ({there} if there else set())) | {record})
    yield f"creates {record.position}", w._replace(phase="check"), put
    if world.losses:
        lost = world.losses - 1
        unsure = w._replace(phase="read back")
        yield f"creates {record.position}, unheard", unsure, put._replace(losses=lost)
        yield "creates nothing, unheard", unsure, world._replace(losses=lost)


def _check(world: World, w: Writer, rules: Decisions) -> Iterator[_Step]:
    assert w.pending is not None
    record = w.pending
    if not rules.is_acknowledged(is_newer_claim=len(world.claims) > w.epoch):
        yield "is fenced", w._replace(phase="stopped", pending=None), world
        return
    done = w._replace(
        phase="ready",
        pending=None,
        number=record.position.number,
        holds=record.holds,
        dropped=record.dropped,
        known=record.refs,
    )
    after = world._replace(acknowledged=world.acknowledged | {files_of(record.lineage)})
    if not rules.puts_objects_first:
        after = after._replace(objects=world.objects | record.refs)
    yield f"is acknowledged: {record.lineage[-1]}", done, after


def _remove(world: World, w: Writer, rules: Decisions) -> _Step:
    by_position = {r.position: r for r in world.commits}
    kept_at = [h.position for h in w.holds]
    due = [d.position for d in w.dropped]
    if not by_position.keys() >= set(kept_at):
        return "cannot read what it keeps", w._replace(phase="ready", dropped=()), world
    places = {p: by_position[p].refs if p in by_position else frozenset() for p in (*kept_at, *due)}
    doomed = rules.garbage(due, kept_at, places)
    gone = {p for p in due if p.epoch < w.epoch or not rules.keeps_own_numbers}
    commits = frozenset(r for r in world.commits if r.position not in gone)
    after = world._replace(commits=commits, objects=world.objects - doomed)
    return "removes garbage", w._replace(phase="ready", dropped=(), known=w.known - doomed), after


class Explored(NamedTuple):
    """What an exploration has found."""

    states: int
    lost: list[str] | None
    """The steps that lead to the loss of an acknowledged commit."""


def explore(world: World, rules: Decisions, most: int = 3_000_000) -> Explored:
    """All that can happen, each state once, until something acknowledged is lost."""
    came_from: dict[World, tuple[World, str] | None] = {world: None}
    waiting = [world]
    while waiting:
        here = waiting.pop()
        if is_lost(here) is not None:
            path, at = [], here
            while (before := came_from[at]) is not None:
                at = before[0]
                path.append(before[1])
            return Explored(len(came_from), path[::-1])
        for what, after in steps(here, rules):
            if after not in came_from:
                came_from[after] = (here, what)
                waiting.append(after)
        assert len(came_from) < most, "the model is too large to be explored"
    return Explored(len(came_from), None)
