"""Prompt-lookup speculation (Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding).

What a text repeats of itself is guessed from where its last words stood before. A guess is checked by computing all its
tokens in one run; tokens are still chosen by the sampler alone, so a wrong guess costs time and changes nothing. But a
chunk's kernels round differently from a one-token step, so the text may differ from that without speculation where two
tokens are nearly equal: the option is never a default.
"""

from collections.abc import Sequence

import numpy as np

from llmbuilder.decoding.samples import SampleGroup

LONGEST_MATCH, SHORTEST_MATCH = 3, 2
"""Length of the ending that is looked for. What followed a single token before is too seldom right to pay."""


class LookupGroup(SampleGroup):
    """One continuation that guesses ahead."""

    @property
    def speculates(self) -> bool:
        """Yes: its chunks are not computed beside other rows."""
        return True

    def draft(self, most: int) -> Sequence[int]:
        """At most ``most`` tokens that may follow."""
        wanted = self.prompt.config.prompt_lookup_num_tokens or 0
        continuation = self.continuations[0]
        return find_draft([*self.prompt.ids, *continuation.new_ids], min(wanted, most))


def find_draft(ids: Sequence[int], count: int) -> Sequence[int]:
    """What followed the last earlier occurrence of the longest ending of ``ids``.

    Args:
        ids: the text so far.
        count: most tokens to return.

    Returns:
        Up to ``count`` ids, none if the last two have not stood together before.
    """
    earlier = np.asarray(ids, np.int64)
    for size in range(min(LONGEST_MATCH, len(earlier) - 1), SHORTEST_MATCH - 1, -1):
        windows = np.lib.stride_tricks.sliding_window_view(earlier[:-1], size)
        matches = np.flatnonzero((windows == earlier[-size:]).all(axis=1))
        if matches.size:
            start = int(matches[-1]) + size
            return [int(i) for i in earlier[start : start + count]]
    return []
