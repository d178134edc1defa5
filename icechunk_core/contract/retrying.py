"""When a request that failed is sent again: one policy for all who repeat requests.

What a failure means, and whether a repetition could do harm, backends know. How often, how long apart and for
how long is decided here.
"""

from __future__ import annotations

from attrs import field, frozen, validators

__all__ = ["RetryPolicy"]


@frozen
class RetryPolicy:
    """How often and how long to repeat.

    Attributes
    ----------
    attempts
        Calls at most, the first among them.
    first_wait, longest_wait
        Seconds: the ceiling of the first wait, which doubles up to the longest. A wait is a
        random part of its ceiling (full jitter), so that clients do not come back together.
    deadline
        Seconds from the first call after which none is begun any more.
    """

    attempts: int = field(default=5, validator=validators.ge(1))
    first_wait: float = field(default=0.1, validator=validators.ge(0))
    longest_wait: float = field(default=5.0, validator=validators.ge(0))
    deadline: float = field(default=60.0, validator=validators.gt(0))

    def wait(self, failures: int, uniform: float) -> float:
        """Seconds to wait after so many failures, given a number in [0, 1).

        >>> RetryPolicy(first_wait=0.1).wait(3, 0.5)
        0.2
        """
        ceiling: float = min(self.longest_wait, self.first_wait * 2.0 ** min(failures - 1, 30))
        return uniform * ceiling

    def next_wait(
        self,
        failures: int,
        elapsed: float,
        uniform: float,
        *,
        asked: float | None = None,
        counted: bool = True,
        at_once: bool = False,
    ) -> float | None:
        """Seconds until the next call, or ``None`` if there is to be none.

        Parameters
        ----------
        failures, elapsed
            Calls that failed, and seconds since the first one began.
        uniform
            A random number in [0, 1).
        asked
            What the service asked to wait (``Retry-After``). The wait begins with that, so that those who
            were all told the same do not come back together.
        counted
            Whether ``attempts`` ends it; otherwise the deadline does alone.
        at_once
            The first repetition need not wait: a connection that had been idle was gone.

        Examples
        --------
        >>> policy = RetryPolicy(attempts=3, deadline=10.0)
        >>> policy.next_wait(1, 0.5, 0.5), policy.next_wait(1, 0.5, 0.5, asked=2.0)
        (0.05, 2.05)
        >>> policy.next_wait(3, 0.5, 0.5), policy.next_wait(1, 9.0, 0.5, asked=2.0)
        (None, None)
        """
        if counted and failures >= self.attempts:
            return None
        wait = 0.0 if at_once and failures == 1 else self.wait(failures, uniform)
        wait += asked or 0.0
        return wait if elapsed + wait <= self.deadline else None
