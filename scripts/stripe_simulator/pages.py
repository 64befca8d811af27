"""The pages that Stripe hosts: checkout, the customer portal, 3-D Secure, and the ones that only tell."""

from typing import TYPE_CHECKING

from flask import Blueprint, redirect, render_template_string, request
from flask.typing import ResponseReturnValue

from scripts.stripe_simulator import checkout, portal
from scripts.stripe_simulator.cards import CARDS
from scripts.stripe_simulator.control import authenticate
from scripts.stripe_simulator.errors import ApiError

if TYPE_CHECKING:
    from scripts.stripe_simulator.server import Core

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ title }} (simulated Stripe)</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 30rem; margin: 3rem auto; padding: 0 1rem; color: #1a1a2e }
  small { color: #666 } .error { color: #b00020 } table { width: 100% } td:last-child { text-align: right }
  button, select { font: inherit; padding: .5rem 1rem; margin: .25rem .25rem .25rem 0 }
  .main { background: #635bff; color: white; border: 0; border-radius: .3rem }
</style>
<h1>{{ title }}</h1>
<p><small>This is the Stripe simulator. No money moves.</small></p>
{% if error %}<p class="error" role="alert">{{ error }}</p>{% endif %}
{% if rows %}<table>{% for name, value in rows %}<tr><td>{{ name }}</td><td>{{ value }}</td></tr>{% endfor %}</table>
{% endif %}
{% for form in forms %}<form method="post">
{% for name, value in form.hidden.items() %}<input type="hidden" name="{{ name }}" value="{{ value }}">{% endfor %}
{% if form.cards %}<p><label>Card <select name="card">
{% for card in cards %}<option>{{ card }}</option>{% endfor %}</select></label></p>{% endif %}
{% for value, label in form.buttons %}<button name="action" value="{{ value }}"
{% if loop.first %}class="main"{% endif %}>{{ label }}</button>{% endfor %}
</form>{% endfor %}
{% if back %}<p><a href="{{ back }}">Back</a></p>{% endif %}
</html>
"""


def money(amount: int, currency: str) -> str:
    return f"{amount // 100}.{amount % 100:02d} {currency.upper()}"


def form(*buttons: tuple[str, str], cards: bool = False, **hidden: str) -> dict[str, object]:
    return {"buttons": buttons, "cards": cards, "hidden": hidden}


def show(title: str, **values: object) -> str:
    return render_template_string(PAGE, title=title, cards=CARDS, **{"forms": [], **values})


def blueprint(core: "Core") -> Blueprint:
    """The pages of one simulator."""
    bp = Blueprint("pages", __name__)
    store = core.store

    @bp.errorhandler(ApiError)
    def refused(error: ApiError) -> ResponseReturnValue:
        return show("Not possible", error=str(error)), error.status

    @bp.get("/c/pay/<key>")
    def checkout_page(key: str) -> ResponseReturnValue:
        with store.lock:
            return _checkout(key)

    def _checkout(key: str, error: str | None = None) -> str:
        item = store.get("checkout.session", key)
        lines = [
            (f"{line['quantity']} x {line['description']}", money(line["amount_total"], line["currency"]))
            for line in store.hidden[key]["items"]
        ]
        if item["amount_total"] is not None:
            lines.append(("Total", money(item["amount_total"], item["currency"])))
        if item["status"] != "open":
            return show(f"This checkout is {item['status']}", rows=lines)
        buttons = [("pay", "Save card" if item["mode"] == "setup" else "Pay"), ("decline", "Decline")]
        return show(
            "Checkout",
            rows=lines,
            error=error,
            forms=[form(*buttons, ("cancel", "Cancel"), cards=True)],
        )

    @bp.post("/c/pay/<key>")
    def checkout_button(key: str) -> ResponseReturnValue:
        """Pay, decline (the page says why, and pays again), or cancel (the session stays open, as at Stripe)."""
        action, card = request.form.get("action"), request.form.get("card", "pm_card_visa")
        with store.lock:
            item = checkout.opened(store, key)
            if action == "cancel":
                return redirect(item["cancel_url"] or f"{store.url}/c/pay/{key}", 303)
            try:
                checkout.complete(store, key, "pm_card_chargeDeclined" if action == "decline" else card)
            except ApiError as error:
                return _checkout(key, str(error)), error.status
            finally:
                store.save()
            return redirect(checkout.success_url(item), 303)

    @bp.get("/p/session/<key>")
    def portal_page(key: str) -> ResponseReturnValue:
        with store.lock:
            return _portal(key)

    def _portal(key: str, error: str | None = None) -> str:
        session = store.get("billing_portal.session", key)
        rows, forms = [], []
        for item in portal.running(store, session):
            row = item["items"]["data"][0]
            ends = ", ends with this period" if item["cancel_at_period_end"] else ""
            name = store.get("product", row["price"]["product"])["name"]
            rows.append((name, f"{item['status']}{ends}"))
            button = ("resume", f"Resume {name}") if item["cancel_at_period_end"] else ("cancel", f"Cancel {name}")
            forms.append(form(button, subscription=item["id"]))
        forms.append(form(("card", "Update card"), cards=True))
        return show("Your subscriptions", rows=rows, forms=forms, error=error, back=session["return_url"])

    @bp.post("/p/session/<key>")
    def portal_button(key: str) -> ResponseReturnValue:
        with store.lock:
            try:
                portal.act(
                    store,
                    key,
                    request.form.get("action", ""),
                    subscription=request.form.get("subscription"),
                    card=request.form.get("card", "pm_card_visa"),
                )
            except ApiError as error:
                return _portal(key, str(error)), error.status
            finally:
                store.save()
        return redirect(f"{store.url}/p/session/{key}", 303)

    @bp.get("/3ds/<key>")
    def authentication_page(key: str) -> ResponseReturnValue:
        with store.lock:
            item = store.get("payment_intent", key)
            return show(
                "3-D Secure",
                rows=[("Amount", money(item["amount"], item["currency"])), ("Status", item["status"])],
                forms=[form(("complete", "Complete"), ("fail", "Fail"))] if item["status"] == "requires_action" else [],
            )

    @bp.post("/3ds/<key>")
    def authentication_button(key: str) -> ResponseReturnValue:
        with store.lock:
            action = store.get("payment_intent", key)["next_action"] or {"redirect_to_url": {"return_url": None}}
            back = action["redirect_to_url"]["return_url"] or f"{store.url}/3ds/{key}"
            authenticate(core, key, success=request.form.get("action") == "complete")
            store.save()
        return redirect(back, 303)

    @bp.get("/invoices/<key>")
    def invoice_page(key: str) -> ResponseReturnValue:
        with store.lock:
            item = store.get("invoice", key)
            lines = [(line["description"], money(line["amount"], line["currency"])) for line in item["lines"]["data"]]
            due = ("Amount due", money(item["amount_due"], item["currency"]))
            return show(f"Invoice {item['number']}", rows=[*lines, due, ("Status", item["status"])])

    @bp.get("/receipts/<key>")
    def receipt_page(key: str) -> ResponseReturnValue:
        with store.lock:
            item = store.get("charge", key)
            paid, back = item["amount_captured"], item["amount_refunded"]
            currency = item["currency"]
            return show("Receipt", rows=[("Paid", money(paid, currency)), ("Refunded", money(back, currency))])

    return bp
