"""For all tests: Ctrl-C works as in a terminal, also where a shell started them in the background."""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
