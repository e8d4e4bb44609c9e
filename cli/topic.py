"""`ticketing topic schema`: what stands on the topic, for those who read it."""

from cli.console import out

SCHEMA_HELP = """Print the AsyncAPI document of the Kafka topic: every event with its schema and an example.

\b
Example:
  ticketing topic schema > asyncapi.json
"""


def schema() -> None:
    """Print the document."""
    from importlib.metadata import version

    import msgspec

    from infrastructure.asyncapi import document

    encoded = msgspec.json.encode(document(version("ticketing")))
    out.print(msgspec.json.format(encoded).decode(), markup=False)
