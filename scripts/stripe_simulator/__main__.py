"""Run the simulator until it is interrupted.

python -m scripts.stripe_simulator --port 12111 --webhook-url http://127.0.0.1:8000/api/billing/v2/webhook
"""

import argparse
import os
import signal
import sys
from pathlib import Path

from scripts.stripe_simulator.server import Simulator

DEFAULT_PORT = 12111


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"on 127.0.0.1 (default: {DEFAULT_PORT})")
    parser.add_argument("--webhook-url", help="where events are delivered (default: nowhere)")
    parser.add_argument(
        "--webhook-secret",
        default=os.environ.get("STRIPE_WEBHOOK_SECRET") or "whsec_simulator",
        help="what signs them (default: STRIPE_WEBHOOK_SECRET, or whsec_simulator)",
    )
    parser.add_argument("--state-file", type=Path, help="keeps the state from one run to the next")
    arguments = parser.parse_args()
    simulator = Simulator(
        port=arguments.port,
        webhook_url=arguments.webhook_url,
        webhook_secret=arguments.webhook_secret,
        state_file=arguments.state_file,
    )
    # Held back until they are waited for, so that none comes too early. SIGINT too: a shell starts its background jobs
    # with it ignored.
    ends = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        simulator.start()
    except OSError as error:
        print(f"Port {arguments.port}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"Simulated Stripe on {simulator.url}: no money moves.", flush=True)
    signal.sigwait(ends)
    simulator.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
