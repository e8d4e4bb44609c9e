"""Reading the metrics as Prometheus does."""

from prometheus_client.parser import text_string_to_metric_families

from tests.api.grammar import Api


def samples(api: Api) -> dict[tuple[str, ...], float]:
    """Every sample of the metrics, by its name and labels."""
    text = api.when("GET", "/metrics").then(200).answer.content.decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
