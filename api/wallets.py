"""Wallets: what they hold, charging them, and every movement."""

import msgspec

from aggregates.errors import TokenInvalid, UserNotFound
from api import paging
from api.call import Call, Rendered, Reply, json_reply
from api.endpoint import Operation
from api.views import Charge, ChargeView, Page, PageQuery, WalletEntryView, WalletView
from commands.charge_wallet import ChargeWallet, WalletChargedResult
from commands.unit_of_work import Visit
from projections import wallet_entries


async def charge(call: Call[Charge, None]) -> Reply:
    """Add won to a wallet; where the service is set so, only for a user with a live token."""
    user_id = call.user_id
    visit = None
    if call.services.settings.wallet_needs_token:
        claims = call.require_claims()
        if claims.sub != user_id:
            raise TokenInvalid("This token is another user's.")
        visit = Visit(claims.concert, claims.jti)
    return await call.execute(ChargeWallet(user_id, call.body.amount, visit), _rendered, caller=user_id)


def _rendered(charged: WalletChargedResult) -> Rendered:
    return Rendered(201, ChargeView(charged.user_id, charged.amount, charged.balance))


async def look(call: Call[None, None]) -> Reply:
    """Answer with what the wallet holds."""
    user_id = call.user_id
    found = await call.read(wallet_entries.PROJECTION, wallet_entries.find_wallet, user_id)
    if found.value is None:
        raise UserNotFound
    return json_reply(200, WalletView(user_id, found.value.balance), found.position)


async def entries(call: Call[None, PageQuery]) -> Reply:
    """Answer with the wallet's movements, oldest first."""
    user_id, after = call.user_id, paging.place(call.query.after)
    wallet = await call.read(wallet_entries.PROJECTION, wallet_entries.find_wallet, user_id)
    if wallet.value is None:
        raise UserNotFound
    found = await call.read(
        wallet_entries.PROJECTION,
        wallet_entries.list_page,
        user_id,
        after=after,
        limit=call.query.limit,
    )
    return paging.page_reply(found, _entry)


def _entry(entry: wallet_entries.EntryFound) -> WalletEntryView:
    return msgspec.convert(entry, WalletEntryView, from_attributes=True)


OPERATIONS = [
    Operation(
        "GET",
        "/api/v1/users/{user_id}/wallet",
        "Look at a wallet",
        look,
        {200: WalletView},
        errors=("USER_NOT_FOUND",),
    ),
    Operation(
        "POST",
        "/api/v1/users/{user_id}/wallet/charges",
        "Charge a wallet",
        charge,
        {201: ChargeView},
        body=Charge,
        errors=(
            "USER_NOT_FOUND",
            "AMOUNT_OUT_OF_RANGE",
            "BALANCE_LIMIT_EXCEEDED",
            "CHARGE_NOT_ALLOWED_WHILE_HOLDING",
            "TOKEN_MISSING",
            "TOKEN_INVALID",
            "TOKEN_LOST",
            "TOKEN_EXPIRED",
            "TOKEN_ENDED",
        ),
        example={"amount": 500_000},
        command=True,
    ),
    Operation(
        "GET",
        "/api/v1/users/{user_id}/wallet/entries",
        "List a wallet's movements",
        entries,
        {200: Page[WalletEntryView]},
        query=PageQuery,
        errors=("USER_NOT_FOUND",),
    ),
]
