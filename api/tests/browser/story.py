"""One customer with something of everything, every text of whom is an attempt at a script."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from psycopg.types.json import Jsonb

from api.tests.browser.conftest import Site

# No blanks: it fits wherever a text does, and no line is broken in it.
SCRIPT = """"><script>window.injected=1</script><svg/onload=window.injected=1><img/src=/injected.png>'{{7*7}}&lt;"""
TIER = "tier_200_1000"


def scripted(field: str) -> str:
    """What an attacker has put there."""
    return f"{field}{SCRIPT}"


@dataclass
class Story:
    """Whom the pages are about, and what their paths need."""

    user: UUID
    admin: UUID
    entry_no: int
    hold_id: UUID
    approval_id: UUID
    decided_id: UUID
    bulk_id: UUID


def tell(site: Site) -> Story:
    """Let everything happen once; the balance stays positive, and a hold, a request and a lot that expires are open."""
    boss, admin, user = site.super_admin, site.admin(), site.user(TIER, reference=scripted("reference"))
    tier = site.call("read_config", actor=boss).read_config["tiers"][TIER]
    site.call(
        "change_config", actor=boss, section="tiers", name=TIER, before=Jsonb(tier),
        after=Jsonb(tier | {"display_name": scripted("tier")}), reason=scripted("config reason"),
    )  # fmt: skip
    prices = site.call("read_config", actor=boss).read_config["model_prices"]["gpt-4o"]
    site.call(
        "change_config", actor=boss, section="model_prices", name=scripted("model"), before=None, after=Jsonb(prices),
        reason="A price",
    )  # fmt: skip
    site.call(
        "grant_credits", user_id=user, amount=Decimal(30), source="promotion", description=scripted("grant"),
        expires_at=datetime.now(UTC) + timedelta(days=9), reference_type=scripted("grant type"),
        reference_id=scripted("grant id"), idempotency_key=scripted("grant key"),
        metadata=Jsonb({scripted("grant name"): scripted("grant value")}),
    )  # fmt: skip
    spent = site.call(
        "deduct_credits", user_id=user, amount=Decimal("12.345678901"), description=scripted("description"),
        reference_type=scripted("type"), reference_id=scripted("id"), idempotency_key=scripted("key"),
        metadata=Jsonb({scripted("name"): scripted("value"), "feature": scripted("feature")}),
    )  # fmt: skip
    site.call(
        "deduct_tokens", user_id=user, model=scripted("model"), prompt_tokens=20_000, completion_tokens=4_000,
        reference_type="call", reference_id=scripted("call"),
    )  # fmt: skip
    site.call("deduct_credits", user_id=user, amount=Decimal(5_000), description=scripted("refused"))
    hold = site.call(
        "hold_credits", user_id=user, amount=Decimal(40), expires_in=timedelta(days=2), description=scripted("hold"),
        idempotency_key=scripted("hold key"),
    )  # fmt: skip
    site.call(
        "adjust_credits", actor=admin, user_id=user, amount=Decimal(-3), reason=scripted("reason"),
        idempotency_key=scripted("adjustment key"),
    )  # fmt: skip
    site.call("request_refund", actor=boss, user_id=user, amount=Decimal(2), reason=scripted("refund"))
    site.call("set_account_status", actor=admin, user_id=user, status="frozen", reason=scripted("frozen"))
    site.call("set_account_status", actor=admin, user_id=user, status="active", reason="Asked")
    asked = [
        site.call(
            "request_approval", actor=admin, user_id=user, action="adjust_credits", amount=Decimal(amount),
            reason=scripted("request"), idempotency_key=scripted(f"request {amount}"),
        ).approval_id
        for amount in (2000, 3000)
    ]  # fmt: skip
    site.call("decline_request", actor=boss, approval_id=asked[0], reason=scripted("decision"))
    site.call("set_user_role", actor=boss, user_id=site.user(), role="admin", reason=scripted("role"))
    rows = [{"row_no": 1, "user_id": str(user), "amount": "1"}]
    bulk = site.call(
        "begin_bulk_grant", actor=boss, name=scripted("campaign"), rows=Jsonb(rows), reason=scripted("bulk")
    )
    site.buy(user, "25")
    site.subscribe(user, TIER)
    return Story(user, admin, spent.entry_no, hold.hold_id, asked[1], asked[0], bulk.bulk_id)
