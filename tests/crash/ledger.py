"""What clients asked for and what was answered 2xx. The server has no part in it."""

import secrets
import threading
from collections import Counter, namedtuple

# How the function ends that is given the token ("ok" or "bad"), and which way it goes there: an event
# for the function, a message for a queue, an event on a bus.
Meant = namedtuple("Meant", "source fate way")


class Ledger:
    """Counts by (token, what): `what` is the change that the token was sent with, such as "created"."""

    def __init__(self):
        self.lock = threading.Lock()
        self.asked, self.answered, self.meant = Counter(), Counter(), {}
        # The position in the disk's log at which an answer was there, where there is such a log.
        self.positions = {}
        self.position = None

    def token(self, source, fate, way):
        token = "tok" + secrets.token_hex(8)
        with self.lock:
            self.meant[token] = Meant(source, fate, way)
        return token

    def ask(self, token, what, call, most=1):
        """Asks by `call`, which raises unless the answer is 2xx. Of what is asked for once more under
        the same name there may be `most` in all."""
        with self.lock:
            self.asked[token, what] = min(self.asked[token, what] + 1, most)
        answer = call()
        position = self.position() if self.position else None
        with self.lock:
            self.answered[token, what] = min(self.answered[token, what] + 1, most)
            self.positions.setdefault((token, what), position)
        return answer
