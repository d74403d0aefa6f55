"""All state of one task, with its changelog."""

from collections.abc import Iterator, Sequence

from streams.columns import Keyed
from streams.errors import StateError
from streams.state import changelog
from streams.state.changelog import Change, Op
from streams.state.digest import digest
from streams.state.keyed import KeyedState


class StateStore:
    """The state classes of one task.

    What happens between two commits is one unit: `drain` gives it as changelog records, `commit` makes it final,
    `rollback` undoes it. The order of a host's commit is `drain`, append what it gives, commit the log, `commit`.
    """

    def __init__(self, classes: Sequence[type[Keyed]]) -> None:
        """State without rows.

        Raises:
            StateError: two classes have the same name, or one cannot be state.
        """
        self._changes: list[Change] = []
        self._states: dict[type[Keyed], KeyedState] = {}
        self._classes = {keyed.__name__: keyed for keyed in classes}
        if len(self._classes) != len(classes):
            names = ", ".join(sorted(keyed.__name__ for keyed in classes))
            raise StateError(f"two classes of state have the same name: {names}")
        for keyed in classes:
            self._states[keyed] = KeyedState(keyed, self._changes.append)

    def __getitem__(self, keyed: type[Keyed]) -> KeyedState:
        state = self._states.get(keyed)
        if state is None:
            declared = ", ".join(self._classes) or "none"
            raise StateError(f"state {keyed.__name__} is not declared; the processor's state is: {declared}")
        return state

    def __len__(self) -> int:
        """Rows of all classes."""
        return sum(map(len, self._states.values()))

    @property
    def nbytes(self) -> int:
        """About the bytes in memory, indexes and replaced rows included."""
        return sum(state.arena.nbytes for state in self._states.values())

    def end_tick(self) -> None:
        """Let `changed` of all classes start anew; that goes into the changelog if it clears anything."""
        cleared = [state.arena.end_tick() for state in self._states.values()]
        if any(cleared):
            self._changes.append(Change(Op.END_TICK))

    def drain(self) -> list[bytes]:
        """What happened since the last commit or rollback and was not drained yet, as changelog records.

        Raises:
            StateError: one row is too long for a record.
        """
        if not self._changes:
            return []
        records = list(changelog.encode(self._changes, changelog.CHANGE))
        self._changes.clear()
        return records

    def commit(self) -> None:
        """What happened is final."""
        self._changes.clear()
        for state in self._states.values():
            state.arena.commit()

    def rollback(self) -> None:
        """Undo everything since the last commit: rows and what had changed since the tick."""
        self._changes.clear()
        for state in self._states.values():
            state.arena.rollback()

    def apply(self, record: bytes) -> None:
        """Do one record of a changelog or snapshot again; it is final at once.

        Raises:
            StateError: something is not committed yet, or the bytes are no record for these classes; nothing is done.
        """
        if any(state.arena.dirty for state in self._states.values()):
            raise StateError("a changelog record cannot be applied while there are changes that are not committed")
        changes = changelog.decode(record, self._classes)
        try:
            for change in changes:
                if change.keyed is None:
                    self.end_tick()
                else:
                    self._states[change.keyed].apply(change)
        except StateError:
            self.rollback()
            raise
        self.commit()

    def snapshot(self) -> Iterator[bytes]:
        """The whole state as it is now, as records; it may go on changing while they are read.

        Applied to an empty store they give an equal one. Nothing at all for an empty state.
        """
        arenas = {keyed: state.arena for keyed, state in self._states.items()}
        before = [Change(Op.PUT, keyed, arena.frame(arena.unchanged())) for keyed, arena in arenas.items()]
        after = [Change(Op.PUT, keyed, arena.frame(arena.changed())) for keyed, arena in arenas.items()]
        changes = [*before, Change(Op.END_TICK), *after] if any(map(_has_rows, before)) else after
        return changelog.encode((c for c in changes if c.keyed is None or _has_rows(c)), changelog.SNAPSHOT)

    def digest(self) -> bytes:
        """SHA-256 of the content, what `changed` gives included; equal for equal state, whatever its past."""
        return digest(list(self._states.values()))


def _has_rows(change: Change) -> bool:
    return change.rows is not None and not change.rows.is_empty()
