"""The configuration of the billing system: tiers, admin limits, rate card, packages and settings.

Edit, look at the difference with `make config-diff`, and bring it into the database with
`make config-apply`. `make config-pull` writes this file from the database.
"""

from decimal import Decimal

# Subscription tiers. monthly_credits and rollover_cap in credits, 1 credit = 1 US dollar.
TIERS = {
    "free": {
        "display_name": "Free",
        "monthly_credits": Decimal("5.00"),
        "price_cents": 0,
        "can_purchase_credits": False,
        "rank": 0,
        "grant_expires_after": "1 mon",
        "rollover_cap": None,
    },
    "tier_2_20": {
        "display_name": "Plus",
        "monthly_credits": Decimal("25.00"),
        "price_cents": 2000,
        "can_purchase_credits": False,
        "rank": 1,
        "grant_expires_after": "1 mon",
        "rollover_cap": None,
    },
    "tier_6_50": {
        "display_name": "Pro",
        "monthly_credits": Decimal("55.00"),
        "price_cents": 5000,
        "can_purchase_credits": False,
        "rank": 2,
        "grant_expires_after": "1 mon",
        "rollover_cap": None,
    },
    "tier_12_100": {
        "display_name": "Business",
        "monthly_credits": Decimal("105.00"),
        "price_cents": 10000,
        "can_purchase_credits": False,
        "rank": 3,
        "grant_expires_after": "1 mon",
        "rollover_cap": None,
    },
    "tier_25_200": {
        "display_name": "Ultra",
        "monthly_credits": Decimal("205.00"),
        "price_cents": 20000,
        "can_purchase_credits": False,
        "rank": 4,
        "grant_expires_after": "1 mon",
        "rollover_cap": None,
    },
    "tier_50_400": {
        "display_name": "Team",
        "monthly_credits": Decimal("405.00"),
        "price_cents": 40000,
        "can_purchase_credits": False,
        "rank": 5,
        "grant_expires_after": "1 mon",
        "rollover_cap": None,
    },
    "tier_125_800": {
        "display_name": "Scale",
        "monthly_credits": Decimal("805.00"),
        "price_cents": 80000,
        "can_purchase_credits": False,
        "rank": 6,
        "grant_expires_after": "1 mon",
        "rollover_cap": None,
    },
    "tier_200_1000": {
        "display_name": "Enterprise",
        "monthly_credits": Decimal("1005.00"),
        "price_cents": 100000,
        "can_purchase_credits": True,
        "rank": 7,
        "grant_expires_after": "1 mon",
        "rollover_cap": None,
    },
}

# What an admin may move, in credits; None is no limit. Days are UTC days.
ADMIN_LIMITS = {
    "regular_admin": {
        "max_credit_adjustment": Decimal("1000"),
        "max_daily_total": Decimal("5000"),
        "can_refund": False,
        "approval_above": None,
    },
    "super_admin": {
        "max_credit_adjustment": Decimal("100000"),
        "max_daily_total": Decimal("500000"),
        "can_refund": True,
        "approval_above": None,
    },
}

# US dollars per million tokens, and the factor from a provider's price to ours.
MODEL_PRICES = {
    "claude-3-5-haiku": {
        "input_per_million": Decimal("0.80"),
        "cached_input_per_million": Decimal("0.08"),
        "output_per_million": Decimal("4.00"),
        "multiplier": Decimal("1.5"),
    },
    "claude-opus-4-1": {
        "input_per_million": Decimal("15.00"),
        "cached_input_per_million": Decimal("1.50"),
        "output_per_million": Decimal("75.00"),
        "multiplier": Decimal("1.5"),
    },
    "claude-sonnet-4": {
        "input_per_million": Decimal("3.00"),
        "cached_input_per_million": Decimal("0.30"),
        "output_per_million": Decimal("15.00"),
        "multiplier": Decimal("1.5"),
    },
    "deepseek-chat": {
        "input_per_million": Decimal("0.27"),
        "cached_input_per_million": Decimal("0.07"),
        "output_per_million": Decimal("1.10"),
        "multiplier": Decimal("1.5"),
    },
    "gemini-2.5-flash": {
        "input_per_million": Decimal("0.30"),
        "cached_input_per_million": Decimal("0.075"),
        "output_per_million": Decimal("2.50"),
        "multiplier": Decimal("1.5"),
    },
    "gemini-2.5-pro": {
        "input_per_million": Decimal("1.25"),
        "cached_input_per_million": Decimal("0.31"),
        "output_per_million": Decimal("10.00"),
        "multiplier": Decimal("1.5"),
    },
    "gpt-4.1": {
        "input_per_million": Decimal("2.00"),
        "cached_input_per_million": Decimal("0.50"),
        "output_per_million": Decimal("8.00"),
        "multiplier": Decimal("1.5"),
    },
    "gpt-4.1-mini": {
        "input_per_million": Decimal("0.40"),
        "cached_input_per_million": Decimal("0.10"),
        "output_per_million": Decimal("1.60"),
        "multiplier": Decimal("1.5"),
    },
    "gpt-4o": {
        "input_per_million": Decimal("2.50"),
        "cached_input_per_million": Decimal("1.25"),
        "output_per_million": Decimal("10.00"),
        "multiplier": Decimal("1.5"),
    },
    "gpt-4o-mini": {
        "input_per_million": Decimal("0.15"),
        "cached_input_per_million": Decimal("0.075"),
        "output_per_million": Decimal("0.60"),
        "multiplier": Decimal("1.5"),
    },
    "gpt-5": {
        "input_per_million": Decimal("1.25"),
        "cached_input_per_million": Decimal("0.125"),
        "output_per_million": Decimal("10.00"),
        "multiplier": Decimal("1.5"),
    },
    "gpt-5-mini": {
        "input_per_million": Decimal("0.25"),
        "cached_input_per_million": Decimal("0.025"),
        "output_per_million": Decimal("2.00"),
        "multiplier": Decimal("1.5"),
    },
    "o3": {
        "input_per_million": Decimal("2.00"),
        "cached_input_per_million": Decimal("0.50"),
        "output_per_million": Decimal("8.00"),
        "multiplier": Decimal("1.5"),
    },
    "o4-mini": {
        "input_per_million": Decimal("1.10"),
        "cached_input_per_million": Decimal("0.275"),
        "output_per_million": Decimal("4.40"),
        "multiplier": Decimal("1.5"),
    },
}

# Credits that are sold in one piece: how many, and for how many US cents.
PACKAGES = {
    "10": {
        "amount": Decimal("10"),
        "price_cents": 1000,
    },
    "25": {
        "amount": Decimal("25"),
        "price_cents": 2500,
    },
    "50": {
        "amount": Decimal("50"),
        "price_cents": 5000,
    },
    "100": {
        "amount": Decimal("100"),
        "price_cents": 10000,
    },
    "250": {
        "amount": Decimal("250"),
        "price_cents": 25000,
    },
    "500": {
        "amount": Decimal("500"),
        "price_cents": 50000,
    },
}

# Settings of the whole installation; amounts in credits.
SETTINGS = {
    "reversal_grace": "7 days",
    "min_purchase": Decimal("5"),
    "max_purchase": Decimal("10000"),
    "low_balance": Decimal("1"),
    "depleted_balance": Decimal("0.01"),
    "retention": "90 days",
    "approval_lifetime": "7 days",
}
