"""The test cards, by the names of https://docs.stripe.com/testing, and what each of them does."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """How a card answers; decline codes are those of `errors.DECLINES`."""

    last4: str = "4242"
    brand: str = "visa"
    funding: str = "credit"
    on_attach: str | None = None
    on_charge: str | None = None
    # "always", or "once": not any more when the card was set up with its owner present.
    authentication: str | None = None
    # A refund to it: "pending" first, or "failed" later.
    refund: str | None = None
    # The status of the dispute that every charge gets.
    dispute: str | None = None


def _refusing(last4: str, code: str) -> Card:
    return Card(last4, on_attach=code, on_charge=code)


CARDS = {
    "pm_card_visa": Card(),
    "pm_card_visa_debit": Card("5556", funding="debit"),
    "pm_card_mastercard": Card("4444", "mastercard"),
    "pm_card_mastercard_debit": Card("8210", "mastercard", "debit"),
    "pm_card_amex": Card("8431", "amex"),
    "pm_card_discover": Card("1117", "discover"),
    "pm_card_chargeDeclined": _refusing("0002", "generic_decline"),
    "pm_card_visa_chargeDeclined": _refusing("0002", "generic_decline"),
    "pm_card_visa_chargeDeclinedInsufficientFunds": _refusing("9995", "insufficient_funds"),
    "pm_card_visa_chargeDeclinedLostCard": _refusing("9987", "lost_card"),
    "pm_card_visa_chargeDeclinedStolenCard": _refusing("9979", "stolen_card"),
    "pm_card_visa_chargeDeclinedVelocityLimitExceeded": _refusing("6975", "card_velocity_exceeded"),
    "pm_card_chargeDeclinedExpiredCard": _refusing("0069", "expired_card"),
    "pm_card_chargeDeclinedIncorrectCvc": _refusing("0127", "incorrect_cvc"),
    "pm_card_chargeDeclinedProcessingError": _refusing("0119", "processing_error"),
    "pm_card_chargeDeclinedFraudulent": _refusing("0019", "fraudulent"),
    "pm_card_chargeCustomerFail": Card("0341", on_charge="generic_decline"),
    "pm_card_authenticationRequired": Card("3184", authentication="always"),
    "pm_card_authenticationRequiredOnSetup": Card("3155", authentication="once"),
    "pm_card_pendingRefund": Card("7726", refund="pending"),
    "pm_card_refundFail": Card("5126", refund="failed"),
    "pm_card_createDispute": Card("0259", dispute="needs_response"),
    "pm_card_createDisputeInquiry": Card("1976", dispute="warning_needs_response"),
}
# The numbers that may stand in card[number], for whoever makes payment methods of their own.
NUMBERS = {
    "4242424242424242": "pm_card_visa",
    "5555555555554444": "pm_card_mastercard",
    "4000000000000002": "pm_card_chargeDeclined",
    "4000000000009995": "pm_card_visa_chargeDeclinedInsufficientFunds",
    "4000000000000341": "pm_card_chargeCustomerFail",
    "4000002760003184": "pm_card_authenticationRequired",
    "4000002500003155": "pm_card_authenticationRequiredOnSetup",
    "4000000000007726": "pm_card_pendingRefund",
    "4000000000005126": "pm_card_refundFail",
    "4000000000000259": "pm_card_createDispute",
    "4000000000001976": "pm_card_createDisputeInquiry",
}
