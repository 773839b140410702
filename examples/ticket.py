"""Opens a ticket by HTTP for a run that failed: a step for runchain, standard library only.

The idempotency key makes a second attempt harmless where the first one's answer was lost: a tracker
that knows such keys (many do, by this header) answers with the ticket that is there already.
"""

import json
import os
import sys
import urllib.error
import urllib.request

NOT_NOW = 75  # EX_TEMPFAIL: runchain tries again and uses up no last attempt by it
NEVER = 65  # EX_DATAERR: the tracker refuses what we send; trying again can't help


def main() -> int:
    run = json.load(sys.stdin)
    ticket = {
        "title": f"run {run['run_id']} ended as {run['status']}",
        "ended_at": run["ended_at"],
        "bag": run["results"]["upload"]["url"],
        "report": os.environ["RUNCHAIN_REPORT"],
    }
    request = urllib.request.Request(
        os.environ["TICKET_URL"],
        data=json.dumps(ticket).encode(),
        headers={
            "Content-Type": "application/json",
            "Authorization": f"Bearer {os.environ['TICKET_TOKEN']}",
            "Idempotency-Key": os.environ["RUNCHAIN_IDEMPOTENCY_KEY"],
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            # The last line is the step's result; `runchain show` has it.
            print(json.dumps({"ticket": json.load(answer)["id"]}))
            return 0
    except urllib.error.HTTPError as error:
        print(f"{error.code} {error.reason}: {error.read(2000)!r}", file=sys.stderr)
        return NEVER if 400 <= error.code < 500 and error.code != 429 else NOT_NOW
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return NOT_NOW


if __name__ == "__main__":
    sys.exit(main())
