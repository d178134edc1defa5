"""A plugin for a first-party scheme that needs, at import, a package that is missing."""

import another_sdk_that_nobody_has  # type: ignore[import-not-found] # noqa: F401
