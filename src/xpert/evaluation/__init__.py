"""The demos: a sample person through the whole method, with texts and with pictures."""
