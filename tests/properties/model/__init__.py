"""The whole service a second time, small and slow, written from the rules and from nothing else.

It knows the words of the domain, the topics of its events and its error codes. It foretells what comes of
every command, to the last field of the last event; what the real service does must be exactly that.
"""
