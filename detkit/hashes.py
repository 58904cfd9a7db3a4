"""Sets of very many names in 8 bytes each: of a list of ten million, only hashes are held in memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray


def hash_of(name: str) -> int:
    """64 bits of BLAKE2b of a name, the same on all machines."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class HashSet:
    """Names by their hashes, uint64 in rising order. Of ten million, two share one with a chance of 3 in a million.

    Where that would matter, who asks compares the names themselves; else a name that is not there counts as there.
    """

    def __init__(self, names: Iterable[str] = (), hashes: NDArray[np.uint64] | None = None) -> None:
        self.hashes = _sorted(names) if hashes is None else hashes

    @classmethod
    def repeated(cls, names: Iterable[str]) -> HashSet:
        """The names that come more than once."""
        every = _sorted(names)
        again = every[1:][every[1:] == every[:-1]]
        return cls(hashes=np.unique(again))

    def __contains__(self, name: str) -> bool:
        if not len(self.hashes):
            return False
        wanted = np.uint64(hash_of(name))
        at = int(np.searchsorted(self.hashes, wanted))
        return at < len(self.hashes) and bool(self.hashes[at] == wanted)

    def __len__(self) -> int:
        return len(self.hashes)


def _sorted(names: Iterable[str]) -> NDArray[np.uint64]:
    hashes = array("Q")
    for name in names:
        hashes.append(hash_of(name))
    found = np.frombuffer(hashes, np.uint64) if hashes else np.zeros(0, np.uint64)
    found.sort()  # in place
    return found
