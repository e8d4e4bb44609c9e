"""Read models are rebuilt while people buy, and nobody notices."""

import os
import subprocess
import sys

import audit
from tests.api.grammar import PRICE, Api

REBUILD_ALL = [sys.executable, "-P", "-m", "cli.main", "rebuild", "--all"]


def test_people_read_what_they_did_while_all_read_models_are_rebuilt(api: Api) -> None:
    """Each read sends the position that its buyer saw last, and is refused if the read model went back."""
    sale = api.given_sale(seats=500)
    environment = {**os.environ, "DATABASE_URL": api.service.dsn}
    bought = 0
    with subprocess.Popen(REBUILD_ALL, env=environment, stdout=subprocess.PIPE, text=True) as rebuilding:
        while rebuilding.poll() is None:
            bought += 1
            ann = sale.given_inside(balance=PRICE)
            ann.when_reserving(bought).then(201)
            seats = ann.when_looking_at_seats().then(200).json["seats"]
            assert [seat["status"] for seat in seats[:bought]] == ["SOLD"] * (bought - 1) + ["HELD"]
            ann.when_listing_dates().then(200)
            ann.when_paying().then(201)
            ann.when_looking_at_payment().then(200)
            ann.when_looking_at_reservation().then(200, status="CONFIRMED")
            ann.when_looking("wallet").then(200, balance=0)
        said, _ = rebuilding.communicate()
    assert rebuilding.returncode == 0
    assert said.count(": in place at position ") == 7
    assert bought > 0
    assert audit.run(api.service.dsn).ok
