"""A stateful Stripe over real HTTP, for tests and for a run without Stripe.

    python -m scripts.stripe_simulator --port 12111 --webhook-url URL --webhook-secret whsec_…

The official SDK talks to it by its `api_base`. What Stripe's API has no call for (a customer who pays, a dispute, time
that passes, a fault) is below /_sim: see `client.Control`.
"""

from scripts.stripe_simulator.client import Control, ControlError
from scripts.stripe_simulator.server import Simulator

__all__ = ["Control", "ControlError", "Simulator"]
