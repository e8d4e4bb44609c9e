"""What all tests share: the plugins with their fixtures, and how Hypothesis looks for examples."""

import os

from hypothesis import Phase, settings

pytest_plugins = [
    "pytester",
    "tests.kafka_fixtures",
    "tests.live_sale",
    "tests.postgres_fixtures",
    "tests.skipped_tests",
]

# No deadline per example: it would measure the machine, and two cores are often busy.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("mutants", settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate])
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") == "true" else "default")
)
