"""Wallets and their movements."""

from commands.charge_wallet import ChargeWallet
from projections import wallet_entries
from projections.wallet_entries import EntryFound, EntryType, WalletFound
from tests.aggregates.given import ANN, BEN, at, payment_of
from tests.commands.steps import PRICE, inside, on_sale, pay, refund, registered, reserve
from tests.projections.read_models import ReadModels


def movements(entries: object) -> list[tuple[EntryType, int, int]]:
    assert isinstance(entries, list)
    return [(entry.type, entry.amount, entry.balance) for entry in entries]


def test_a_wallet_that_was_opened_is_empty(read_models: ReadModels) -> None:
    read_models.given(registered(ANN))

    assert read_models.read(wallet_entries.find_wallet, ANN) == WalletFound(ANN, 0)
    assert read_models.read(wallet_entries.find_wallet, BEN) is None
    assert read_models.read(wallet_entries.list_page, ANN, limit=5).items == []


def test_w1_every_movement_tells_the_balance_after_it(read_models: ReadModels) -> None:
    read_models.given(on_sale(), inside(ANN, balance=2 * PRICE), reserve(ANN, 1), pay(ANN), refund(ANN))

    page = read_models.read(wallet_entries.list_page, ANN, limit=5)

    assert movements(page.items) == [
        (EntryType.CHARGED, 2 * PRICE, 2 * PRICE),
        (EntryType.DEBITED, PRICE, PRICE),
        (EntryType.REFUNDED, PRICE, 2 * PRICE),
    ]
    assert [entry.payment_id for entry in page.items] == [None, payment_of(ANN), payment_of(ANN)]
    assert read_models.read(wallet_entries.find_wallet, ANN) == WalletFound(ANN, 2 * PRICE)


def test_balances_run_on_from_batch_to_batch(read_models: ReadModels) -> None:
    read_models.given(registered(ANN, balance=5), registered(BEN, balance=100), ChargeWallet(ANN, 1))
    read_models.given("12:30", ChargeWallet(ANN, 10), ChargeWallet(BEN, 100), ChargeWallet(ANN, 20))

    page = read_models.read(wallet_entries.list_page, ANN, limit=5)

    assert [entry.balance for entry in page.items] == [5, 6, 16, 36]
    assert page.items[2] == EntryFound(
        page.items[2].position, EntryType.CHARGED, 10, 16, payment_id=None, recorded_at=at("12:30")
    )


def test_movements_are_paged_in_the_order_of_the_log(read_models: ReadModels) -> None:
    read_models.given(registered(ANN), *[ChargeWallet(ANN, amount) for amount in range(1, 6)])

    amounts: list[list[int]] = []
    after: int | None = 0
    while after is not None:
        page = read_models.read(wallet_entries.list_page, ANN, after=after, limit=2)
        amounts.append([entry.amount for entry in page.items])
        after = page.next

    assert amounts == [[1, 2], [3, 4], [5]]
