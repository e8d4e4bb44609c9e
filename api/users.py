"""Users: registering, and erasing what is known of a person."""

import msgspec

from aggregates.ids import UserId
from api.call import Call, Completed, Rendered, Reply
from api.endpoint import Operation
from api.views import NewUser, UserView
from commands.erase_profile import EraseProfile
from commands.fresh_ids import fresh_id
from commands.open_wallet import OpenWallet, WalletOpen
from infrastructure import profiles


async def register(call: Call[NewUser, None]) -> Reply:
    """Open a wallet for a user; the same user again is answered as they are."""
    user_id = UserId(call.body.user_id or fresh_id())

    async def with_name(view: UserView, opened: WalletOpen | None) -> Completed[UserView]:
        if opened is not None and opened.created:
            name = call.body.name  # as it has just been written
        else:
            name = await call.services.read_models.read(profiles.name_of, user_id=view.user_id)
        return Completed(msgspec.structs.replace(view, name=name))

    return await call.execute(
        OpenWallet(user_id, call.body.name),
        _rendered,
        caller=call.body.user_id or "",
        complete=with_name,
        view_type=UserView,
    )


def _rendered(result: WalletOpen) -> Rendered:
    view = UserView(result.user_id, None, result.balance)
    return Rendered(201 if result.created else 200, view)


async def erase_profile(call: Call[None, None]) -> Reply:
    """Erase the user's name; wallet, payments and audit stay whole."""
    user_id = call.user_id
    return await call.execute(EraseProfile(user_id), lambda _: Rendered(204), caller=user_id)


OPERATIONS = [
    Operation(
        "POST",
        "/api/v1/users",
        "Register a user",
        register,
        {201: UserView, 200: UserView},
        body=NewUser,
        example={"name": "Kim Minji"},
        command=True,
    ),
    Operation(
        "DELETE",
        "/api/v1/users/{user_id}/profile",
        "Erase a user's name",
        erase_profile,
        {204: None},
        errors=("USER_NOT_FOUND",),
        command=True,
    ),
]
