"""The metadata hook of every Pants distribution: it writes down what the distribution depends on.

The distributions are released together, under one version, and are tested together only. So a sibling is pinned
to exactly the version that is being built, which a static `dependencies` list could not say without repeating the
version in six files. This file is the same in each package (a hook kept outside of a package's own folder would
be missing from its sdist); `tests/packaging` holds the copies against each other.
"""

from __future__ import annotations

from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class LockStepHook(MetadataHookInterface):
    """Sets `project.dependencies` from `[tool.hatch.metadata.hooks.custom]`.

    The table has two lists: `siblings`, names of Pants distributions, pinned `==` to this version; and
    `dependencies`, requirements on other projects, taken as they are.
    """

    def update(self, metadata: dict[str, Any]) -> None:
        """Adds `dependencies` to the metadata, in which the version is known by now."""
        version = metadata["version"]
        pins = [f"{sibling}=={version}" for sibling in self.config.get("siblings", [])]
        metadata["dependencies"] = pins + list(self.config.get("dependencies", []))
