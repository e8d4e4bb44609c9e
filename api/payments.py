"""Payments: paying a reservation from the wallet, looking at payments, giving one back."""

from aggregates.errors import PaymentNotFound
from aggregates.ids import PaymentId, ReservationId, UserId
from api import paging
from api.call import Call, Rendered, Reply, json_reply
from api.endpoint import Access, Operation
from api.reservations import ACTIVE_TOKEN_ERRORS
from api.views import Page, PageQuery, PaymentView, PayRequest, RefundRequest
from commands.fresh_ids import fresh_id
from commands.pay import Paid, Pay
from commands.refund import Refund
from projections import payments


async def pay(call: Call[PayRequest, None]) -> Reply:
    """Pay the reservation named, or the token's open one."""
    wanted = call.body.reservation_id
    reservation_id = None if wanted is None else ReservationId(wanted)
    command = Pay(call.visit, call.claims.sub, PaymentId(fresh_id()), reservation_id, call.body.amount)
    return await call.execute(
        command, lambda paid: Rendered(201, _view_of_paid(paid)), caller=call.claims.sub
    )


async def refund(call: Call[RefundRequest, None]) -> Reply:
    """Give a whole payment back to its user's wallet."""
    user_id = UserId(call.body.user_id)
    command = Refund(PaymentId(call.uuid("payment_id")), user_id)
    return await call.execute(command, lambda paid: Rendered(200, _view_of_paid(paid)), caller=user_id)


def _view_of_paid(paid: Paid) -> PaymentView:
    return PaymentView(
        payment_id=paid.payment_id,
        reservation_id=paid.reservation_id,
        user_id=paid.user_id,
        concert_code=paid.code,
        concert_title=paid.title,
        date=paid.date,
        start_time=paid.start_time,
        seat_numbers=paid.seat_numbers,
        amount=paid.amount,
        status="COMPLETED" if paid.refunded_at is None else "REFUNDED",
        balance=paid.balance,
        paid_at=paid.paid_at,
        refunded_at=paid.refunded_at,
    )


async def look(call: Call[None, None]) -> Reply:
    """Answer with one payment of the token's owner."""
    found = await call.read(payments.PROJECTION, payments.find, PaymentId(call.uuid("payment_id")))
    payment = found.value
    if payment is None or payment.user_id != call.claims.sub:
        raise PaymentNotFound
    return json_reply(200, _view(payment), found.position)


async def list_of_user(call: Call[None, PageQuery]) -> Reply:
    """Answer with a user's payments, oldest first."""
    found = await call.read(
        payments.PROJECTION,
        payments.list_page,
        call.user_id,
        after=paging.place(call.query.after),
        limit=call.query.limit,
    )
    return paging.page_reply(found, _view)


def _view(payment: payments.PaymentFound) -> PaymentView:
    return PaymentView(
        payment_id=payment.payment_id,
        reservation_id=payment.reservation_id,
        user_id=payment.user_id,
        concert_code=payment.code,
        concert_title=payment.title,
        date=payment.date,
        start_time=payment.start_time,
        seat_numbers=tuple(payment.seat_numbers),
        amount=payment.amount,
        status=payment.status.value,
        balance=payment.balance,
        paid_at=payment.paid_at,
        refunded_at=payment.refunded_at,
    )


OPERATIONS = [
    Operation(
        "POST",
        "/api/v1/payments",
        "Pay a reservation",
        pay,
        {201: PaymentView},
        access=Access.TOKEN,
        body=PayRequest,
        errors=(
            *ACTIVE_TOKEN_ERRORS,
            "TOKEN_MISMATCH",
            "RESERVATION_NOT_FOUND",
            "RESERVATION_NOT_OPEN",
            "AMOUNT_MISMATCH",
            "HOLD_EXPIRED",
            "RATE_LIMITED",
            "INSUFFICIENT_BALANCE",
        ),
        example={"reservation_id": "5e3c0b1a-54cf-4f1a-8f2e-0d3f6f2f3a11", "amount": 200_000},
        command=True,
    ),
    Operation(
        "GET",
        "/api/v1/payments/{payment_id}",
        "Look at a payment",
        look,
        {200: PaymentView},
        access=Access.TOKEN,
        errors=("PAYMENT_NOT_FOUND",),
    ),
    Operation(
        "POST",
        "/api/v1/payments/{payment_id}/refund",
        "Give a payment back",
        refund,
        {200: PaymentView},
        body=RefundRequest,
        errors=("PAYMENT_NOT_FOUND", "REFUND_NOT_ALLOWED"),
        example={"user_id": "2ca587d1-670e-4066-a42e-cac8f6bc4a1a"},
        command=True,
    ),
    Operation(
        "GET",
        "/api/v1/users/{user_id}/payments",
        "List a user's payments",
        list_of_user,
        {200: Page[PaymentView]},
        query=PageQuery,
    ),
]
