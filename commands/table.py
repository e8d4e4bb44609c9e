"""Which handler runs which command: all of them, in one place."""

from typing import Final

from commands import (
    abandon_token,
    announce_concert,
    charge_wallet,
    erase_profile,
    join_queue,
    leave_queue,
    let_in,
    open_wallet,
    pay,
    record_expiry,
    refund,
    release_reservation,
    reserve,
    run_sale,
    schedule_performance,
    withdraw_seats,
)
from commands.command import Command, Handler

HANDLERS: Final[dict[type[Command], Handler]] = {
    open_wallet.OpenWallet: open_wallet.HANDLER,
    erase_profile.EraseProfile: erase_profile.HANDLER,
    charge_wallet.ChargeWallet: charge_wallet.HANDLER,
    join_queue.JoinQueue: join_queue.HANDLER,
    leave_queue.LeaveQueue: leave_queue.HANDLER,
    reserve.Reserve: reserve.HANDLER,
    release_reservation.ReleaseReservation: release_reservation.HANDLER,
    pay.Pay: pay.HANDLER,
    refund.Refund: refund.HANDLER,
    announce_concert.AnnounceConcert: announce_concert.HANDLER,
    schedule_performance.SchedulePerformance: schedule_performance.HANDLER,
    withdraw_seats.WithdrawSeats: withdraw_seats.HANDLER,
    let_in.LetIn: let_in.HANDLER,
    record_expiry.RecordExpiry: record_expiry.HANDLER,
    abandon_token.AbandonToken: abandon_token.HANDLER,
    **run_sale.HANDLERS,
}
