"""Two short sales that keep every rule, in which between them every event there is is recorded."""

from datetime import timedelta

from tests.audit.forgeries.forgery import ANN, BEN, CAT, GALA, let_in, on_sale, reserved_by_the_poor
from tests.audit.log_builder import LogBuilder


def a_sale_of_all_kinds() -> LogBuilder:
    """A log after which every column of every read model has a value somewhere."""
    sales = {"sales_open_at": "2026-01-01T00:00:00Z", "sales_close_at": "2026-06-01T00:00:00Z"}
    log = on_sale(**sales)
    log.last("concert.performance_scheduled").payload["end_time"] = "21:30"
    let_in(log, BEN, CAT)
    log.fail_payment(reserved_by_the_poor(log))
    paid, given_back = log.reserve(GALA, BEN, 1, 2), log.reserve(GALA, CAT, 3)
    log.pay(paid)
    log.pay(given_back)
    log.refund(given_back)
    log.join(GALA, CAT)
    log.leave(GALA, CAT)
    log.join(GALA, BEN)
    log.schedule(GALA, "2026-03-02T10:00", log.now + timedelta(seconds=1))
    log.pass_time(2)
    log.withdraw(GALA, "2026-03-02T10:00")
    log.pause(GALA)
    return log


def a_strict_sale() -> LogBuilder:
    """A log of a sale in which nobody charges while holding, and who cannot pay loses the hold."""
    log = on_sale(charge_while_holding=False, on_insufficient_balance="release_hold")
    log.change_policy(GALA, charge_while_holding=False, on_insufficient_balance="release_hold", max_active=3)
    let_in(log, BEN)
    given_back = log.reserve(GALA, BEN, 1, 2)
    log.pay(given_back)
    log.refund(given_back)
    let_in(log, BEN)
    log.release(log.reserve(GALA, BEN, 5))
    unpaid = reserved_by_the_poor(log)
    with log.append():
        log.fail_payment(unpaid)
        log.release(unpaid)
    lapsing = log.reserve(GALA, ANN, 9)
    log.pass_time(300)
    log.reserve(GALA, BEN, 9)
    log.expire_hold(lapsing)
    log.pass_time(300)
    log.expire_token(GALA, ANN)
    log.leave(GALA, BEN)
    log.pause(GALA)
    log.resume(GALA)
    let_in(log, CAT)
    log.close_sales(GALA)
    return log
